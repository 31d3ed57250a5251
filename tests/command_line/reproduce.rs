//! The paper's experiments, as small as they go.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Workplace, contents};

const TINY: &str = "--seeds 2 --generations 4 --children 20 --model lenet";

/// `results.json` without what the clock says.
fn results(place: &Workplace, out: &str) -> Value {
    let mut results: Value =
        serde_json::from_slice(&place.read(&format!("{out}/results.json"))).unwrap();
    for row in results["experiments"].as_array_mut().unwrap() {
        assert!(row["seconds"].take().is_f64(), "{row}");
    }
    results
}

#[test]
fn a_figure_is_measured_beside_the_paper() {
    let place = Workplace::new();
    let text = place.succeed(&format!("reproduce mnist-cppn {TINY} --out out"));
    for word in ["mnist-cppn lenet", "median", "160", "4 of 200 generations, 20 of 200 children"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(text.ends_with("look at out/index.html\n"), "{text}");
    assert!(
        text.lines().take_while(|line| !line.is_empty()).all(|line| line.chars().count() <= 80),
        "{text}"
    );

    let first = results(&place, "out");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all = ["command", "experiments", "level", "machine", "quick", "resamples", "version"];
    assert_eq!(keys(&first), all);
    assert_eq!(first["command"], format!("mirage reproduce mnist-cppn {TINY}"));
    let row = &first["experiments"][0];
    let expected = [
        "command",
        "criteria",
        "evaluations",
        "generations",
        "measures",
        "model",
        "model_sha256",
        "name",
        "ours",
        "paper",
        "reason",
        "runs",
        "seconds",
        "seeds",
        "settings",
        "source",
        "subject",
        "title",
        "verdict",
    ];
    assert_eq!(keys(row), expected);
    assert_eq!(row["seeds"], serde_json::json!([1, 2]));
    assert_eq!((&row["evaluations"], &row["generations"]), (&160.into(), &4.into()));
    let median = &row["measures"]["median_confidence"];
    let [low, high] = [0, 1].map(|end| median["interval"][end].as_f64().unwrap());
    assert!((low..=high).contains(&median["value"].as_f64().unwrap()), "{median}");
    assert_eq!(row["verdict"], "not-comparable");

    // The number is that of the runs, which every other command can look at.
    let mut medians: Vec<f64> = Vec::new();
    for run in row["runs"].as_array().unwrap() {
        let folder = format!("out/{}", run["folder"].as_str().unwrap());
        assert_eq!(run["digest"], place.digest(&folder));
        place.succeed(&format!("report {folder}"));
        let alone = place.json(&format!(
            "evolve --generations 4 --children 20 --seed {} --out alone{}",
            run["seed"], run["seed"]
        ));
        assert_eq!(run["digest"], alone["digest"]);
        medians.push(alone["median_confidence"].as_f64().unwrap());
    }
    let mean = (medians[0] + medians[1]) / 2.0;
    assert!((mean - median["value"].as_f64().unwrap()).abs() < 1e-6, "{medians:?} {median}");

    let page = String::from_utf8(place.read("out/index.html")).unwrap();
    for word in ["Fig. 5", "not comparable: 4 of 200 generations", "<polygon", "seed1/report.html"]
    {
        assert!(page.contains(word), "{word}");
    }
    assert!(place.path("out/mnist-cppn/lenet-gallery.png").exists());

    // What is done is used again, and more seeds join it.
    let runs = contents(&place.path("out/runs"));
    place.succeed(&format!("reproduce mnist-cppn {TINY} --out out --threads 1"));
    let mut again = results(&place, "out");
    again["machine"] = first["machine"].clone();
    assert_eq!(again, first);
    assert!(runs == contents(&place.path("out/runs")), "a run that is done was touched");
    let json = place.json(&format!("reproduce mnist-cppn {} --out out", TINY.replace("2", "3")));
    assert_eq!(json["experiments"][0]["seeds"].as_array().unwrap().len(), 3);
}

#[test]
fn a_run_whose_checkpoint_is_damaged_goes_on_from_the_one_before() {
    let place = Workplace::new();
    let line =
        "reproduce mnist-cppn --model lenet --seeds 1 --generations 30 --children 20 --out out";
    place.succeed(line);
    let whole = results(&place, "out");
    place.write("out/runs/lenet-mnist-cppn-20-seed1/checkpoint.bin", "");
    let output = place.command(line).output().unwrap();
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(warning.contains("checkpoint.bin"), "{warning}");
    assert_eq!(results(&place, "out"), whole);
}

#[test]
fn what_was_killed_goes_on_to_the_same_results() {
    let place = Workplace::new();
    let line =
        "reproduce mnist-direct --model lenet-float --seeds 2 --generations 60 --children 40";
    let started = Instant::now();
    place.succeed(&format!("{line} --out whole"));
    let whole = started.elapsed();
    let mut kills = 0;
    for attempt in 1..=20 {
        let mut command = place.command(&format!("{line} --out killed"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(0.15 * f64::from(attempt)).max(Duration::from_millis(5)));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            break;
        }
        assert!(output.stderr.is_empty() || output.stderr.starts_with(b"warning"), "{output:?}");
        kills += 1;
    }
    assert!(kills > 0);
    place.succeed(&format!("{line} --out killed"));
    assert_eq!(results(&place, "whole"), results(&place, "killed"));
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_with_the_command_to_go_on() {
    let place = Workplace::new();
    let line = "reproduce mnist-cppn --seeds 3 --generations 100000 --out out";
    let mut command = place.command(line);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let run = "out/runs/lenet-mnist-cppn-200-seed1/run.json";
    while !place.path(run).exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("`mirage reproduce mnist-cppn --seeds 3 --generations 100000 --out out`"),
        "{told}"
    );
    assert!(output.stdout.is_empty() && !place.path("out/results.json").exists());
    assert!(
        place.manifest("out/runs/lenet-mnist-cppn-200-seed1")["generations_done"].as_u64()
            > Some(0)
    );
}

#[test]
fn all_leaves_out_what_is_not_here() {
    let place = Workplace::new();
    let all = place.json("reproduce all --quick --seeds 1 --generations 3 --children 20 --out out");
    let rows = all["experiments"].as_array().unwrap();
    let of = |name: &str| rows.iter().filter(|row| row["name"] == name).collect::<Vec<_>>();
    for name in ["imagenet-direct", "imagenet-cppn", "imagenet-ascent"] {
        let row = of(name)[0];
        assert_eq!(row["verdict"], "not-run", "{row}");
        assert!(row["reason"].as_str().unwrap().contains("mirage models pull"), "{row}");
    }
    assert_eq!(of("mnist-cppn").len(), 2, "int8 and float");
    let ascent = of("mnist-ascent")[0];
    assert_eq!(ascent["measures"]["share_at_9999"]["value"], 1.0, "{ascent}");
    let transfer = of("mnist-transfer");
    assert_eq!(transfer.len(), 3);
    let twins = of("int8-transfer");
    assert_eq!(twins.len(), 2, "both encodings");
    assert!(twins.iter().all(|row| row["verdict"] == "not-comparable"), "{twins:?}");
    assert_eq!(
        transfer.iter().filter(|row| row["verdict"] == "not-run").count(),
        2,
        "two networks"
    );
    let families = &of("mnist-lineage")[0]["measures"];
    assert!(families["founders"]["value"].as_f64() >= Some(1.0), "{families}");
    assert!(place.path("out/runs/lenet-mnist-cppn-20-seed1/tree.svg").exists());
    for name in ["mnist-retraining", "mnist-guard"] {
        let row = of(name)[0];
        assert_eq!(row["verdict"], "not-run", "{row}");
        assert!(row["reason"].as_str().unwrap().contains("mirage data pull mnist"), "{row}");
    }
    assert!(of("mnist-diversity")[0]["reason"].as_str().unwrap().contains("--seeds 2"));
    // Ascents that are done are used again, too.
    let again = place.json("reproduce mnist-ascent --quick --seeds 1 --out out");
    assert_eq!(again["experiments"][0]["measures"], ascent["measures"]);
    assert_eq!(again["experiments"][0]["seconds"], ascent["seconds"]);
}

#[test]
fn images_of_runs_are_compared_and_lose_their_copies() {
    let place = Workplace::new();
    let told = place.json(
        "reproduce mnist-diversity mnist-ablation --seeds 2 --generations 30 --children 40 \
         --out out",
    );
    let rows = told["experiments"].as_array().unwrap();
    let named = |name: &str| rows.iter().filter(|row| row["name"] == name).collect::<Vec<_>>();
    assert!(rows.iter().all(|row| row["verdict"] == "not-comparable"), "{told}");
    let run = |seed: u32| format!("out/runs/lenet-mnist-cppn-40-seed{seed}");
    // The numbers are those of the commands that look at the same runs.
    let alone = place.json(&format!("diversity {} {} --out alone", run(1), run(2)));
    let diversity = named("mnist-diversity");
    assert_eq!(diversity.len(), 2, "two presets");
    let ratio = &diversity[0]["measures"]["pixels_ratio"];
    assert_eq!(ratio["value"], alone["spaces"][0]["ratio"]);
    assert_eq!(ratio["interval"], alone["spaces"][0]["interval"]);
    assert!(place.path("out/diversity/lenet-mnist-cppn/diversity.html").exists());
    let shares = [1, 2].map(|seed| {
        let alone = place.json(&format!("ablate {}", run(seed)));
        alone["repeated"].as_f64().unwrap() / alone["images"].as_f64().unwrap()
    });
    let repeated = &named("mnist-ablation")[0]["measures"]["repeated"]["value"];
    let mean = (shares[0] + shares[1]) / 2.0;
    assert!((repeated.as_f64().unwrap() - mean).abs() < 1e-6, "{shares:?} {repeated}");
    assert!(place.path(&format!("{}/ablation.html", run(1))).exists());
    place.refuse("reproduce mnist-diversity --seeds 1 --out out", &["--seeds 2"]);
}

/// Digits of 28 × 28 pixels, of which rows 2·*d* and on are brighter than the noise: 300 to
/// train with, 100 to test with.
fn with_digits() -> Workplace {
    let place = Workplace::new();
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 / 4
    };
    for (part, count) in [("train", 300_u32), ("t10k", 100)] {
        let mut images: Vec<u8> =
            [0x803, count, 28, 28].iter().flat_map(|n| n.to_be_bytes()).collect();
        let mut labels: Vec<u8> = [0x801, count].iter().flat_map(|n| n.to_be_bytes()).collect();
        for image in 0..count {
            labels.push((image % 10) as u8);
            for pixel in 0..28 * 28 {
                images.push(noise() + if pixel / 56 == image % 10 { 150 } else { 0 });
            }
        }
        place.write(&format!("data/{part}-images-idx3-ubyte"), images);
        place.write(&format!("data/{part}-labels-idx1-ubyte"), labels);
    }
    place
}

#[test]
fn networks_that_learned_what_fools_them_are_fooled_again() {
    let place = with_digits();
    let line =
        "reproduce mnist-retraining --quick --generations 3 --children 20 --data data --out out";
    let told = place.json(line);
    let row = &told["experiments"][0];
    assert_eq!(row["verdict"], "not-comparable", "two networks are easier to fool: {row}");
    assert!(row["reason"].as_str().unwrap().contains("2 of 15 iterations"), "{row}");
    // 100 images for the second network are those of five runs, as are those after it.
    assert_eq!(row["evaluations"], 2 * 5 * 3 * 20);
    let share = row["measures"]["fooling_share"]["value"].as_f64().unwrap();
    assert!((share - 100.0 / 400.0).abs() < 1e-9, "{share}");
    let folder = row["runs"][0]["folder"].as_str().unwrap();
    assert!(place.path(&format!("out/{folder}/report.html")).exists(), "{folder}");
    let again = place.json(line);
    assert_eq!(again["experiments"][0]["measures"], row["measures"]);
    assert_eq!(again["experiments"][0]["seconds"], row["seconds"]);
}

#[test]
fn guards_are_evolved_against() {
    let place = with_digits();
    let line = "reproduce mnist-guard --seeds 1 --generations 2 --children 20 --data data";
    let told = place.json(&format!("{line} --out out"));
    let rows = told["experiments"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * (1 + 4), "two presets, without a guard and under each");
    let subjects: Vec<&str> = rows.iter().map(|row| row["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects[1], "lenet: mnist-cppn under max-softmax");
    for row in rows {
        assert_eq!(row["verdict"], "not-comparable");
        for score in ["max_softmax", "max_logit", "energy", "gaussian"] {
            let auroc = row["measures"][format!("auroc_{score}")]["value"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&auroc), "{row}");
        }
    }
    // The numbers are those of the command that looks at the same run.
    let run = rows[3]["runs"][0]["folder"].as_str().unwrap();
    assert_eq!(run, "runs/lenet-mnist-cppn-20-under-energy-seed1");
    let alone = place.json(&format!("guard out/{run} --data data"));
    let detection = &alone["groups"][0]["detections"][2];
    let auroc = rows[3]["measures"]["auroc_energy"]["value"].as_f64().unwrap();
    assert!((auroc - detection["auroc"].as_f64().unwrap()).abs() < 1e-6, "{alone}");
    // What is done is used again.
    let again = place.json(&format!("{line} --out out"));
    assert_eq!(again["experiments"][9]["runs"], rows[9]["runs"]);
    assert_eq!(again["experiments"][9]["measures"], rows[9]["measures"]);
}

#[test]
fn figures_are_listed() {
    let place = Workplace::new();
    let text = place.succeed("reproduce");
    assert_eq!(text, place.succeed("reproduce list"));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let list = place.json("reproduce list");
    for figure in list["figures"].as_array().unwrap() {
        assert!(text.contains(figure["name"].as_str().unwrap()), "{figure}");
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let place = Workplace::new();
    place.succeed(&format!("reproduce mnist-cppn {TINY} --out out"));
    let run = "out/runs/lenet-mnist-cppn-20-seed1/run.json";
    let manifest = String::from_utf8(place.read(run)).unwrap();
    place.write("file", "");
    for (line, words) in [
        ("reproduce fig4", &["fig4", "mnist-direct"][..]),
        ("reproduce mnist-cppn --seeds 0", &["--seeds", "1..="]),
        ("reproduce mnist-cppn --seeds 1001", &["--seeds", "1000"]),
        ("reproduce mnist-cppn all", &["all", "leave"]),
        ("reproduce all --model lenet", &["--model", "name those"]),
        ("reproduce mnist-ascent --generations 3", &["--generations", "mnist-ascent"]),
        ("reproduce mnist-cppn --crops ten", &["--crops", "mnist-cppn"]),
        ("reproduce mnist-cppn --model nothing --out out", &["nothing", "no such file"]),
        ("reproduce imagenet-cppn --model lenet --out out", &["imagenet-cppn", "grey"]),
        ("reproduce imagenet-cppn --out out", &["caffenet", "mirage models pull caffenet"]),
        ("reproduce mnist-cppn --out file", &["--out", "file"]),
        ("reproduce mnist-cppn --out /proc/x", &["--out", "/proc/x"]),
        (
            "reproduce mnist-cppn --seeds 2 --generations 2 --children 20 --model lenet --out out",
            &["--generations 2", "has done 4"],
        ),
    ] {
        place.refuse(line, words);
    }
    // What was done before is told all the same.
    let both = format!("reproduce mnist-cppn imagenet-cppn {TINY} --out both");
    place.refuse(&both, &["imagenet-cppn", "grey"]);
    let results: Value = serde_json::from_slice(&place.read("both/results.json")).unwrap();
    let rows = results["experiments"].as_array().unwrap();
    assert!(rows.len() == 1 && rows[0]["name"] == "mnist-cppn", "{results}");
    assert!(place.path("both/index.html").exists());
    let lenet = place.manifest("out/runs/lenet-mnist-cppn-20-seed1")["model"]["sha256"].clone();
    place.write(run, manifest.replace(lenet.as_str().unwrap(), &"0".repeat(64)));
    let line = format!("reproduce mnist-cppn {TINY} --out out");
    place.refuse(&line, &["lenet-mnist-cppn-20-seed1", "another model"]);
    place.write(run, manifest.replace("\"seed\": 1", "\"seed\": 9"));
    place.refuse(&line, &["lenet-mnist-cppn-20-seed1", "other settings", "--out"]);
}
