//! `mirage ascend`.

use std::collections::BTreeSet;
use std::path::Path;

use mirage::image::Image;
use reference::data::external;
use serde_json::Value;

use crate::program::{LENET, Workplace, contents};

/// The 8-bit confidence that `mirage classify` finds in a class.
fn classified(place: &Workplace, model: &str, file: &str, class: u64) -> Option<Value> {
    let result = place.json(&format!("classify --crops center --model {model} {file}"));
    let top = result["results"][0]["top"].as_array().unwrap();
    top.iter().find(|found| found["class"] == class).map(|found| found["confidence"].clone())
}

#[test]
fn lenet_is_certain_of_all_ten_digits() {
    let place = Workplace::new();
    let run = place.json("ascend --class all --out run");
    assert_eq!((&run["model"], &run["twin"]), (&"lenet".into(), &"lenet-float".into()));
    for key in ["classes", "classes_won", "classes_at_99", "classes_at_9999"] {
        assert_eq!(run[key], 10, "{key}");
    }
    assert_eq!(run["classes_at_9999_as_saved"], 10);
    assert_eq!(run["classes_at_9999_int8"], 10);
    assert_eq!(run["classes_stopped"], 0);
    for (class, record) in run["records"].as_array().unwrap().iter().enumerate() {
        assert_eq!(record["class"], class);
        let reached = record["reached"].as_object().unwrap();
        let names: BTreeSet<&str> = reached.keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["win", "99", "999", "9999", "best"]));
        let step = |name: &str| reached[name]["step"].as_u64().unwrap();
        assert!(step("win") <= step("99") && step("99") < step("9999"), "{record}");
    }
    let manifest: Value = serde_json::from_slice(&place.read("run/ascent.json")).unwrap();
    assert_eq!(manifest["complete"], true);
    for class in 0..10 {
        let best = |records: &Value| records[class]["reached"]["best"].clone();
        let [there, here] = [best(&manifest["classes"]), best(&run["records"])];
        assert_eq!((&there["step"], &there["confidence"]), (&here["step"], &here["confidence"]));
        let saved = [there, here].map(|best| best["as_saved"].as_f64().unwrap() as f32);
        assert_eq!(saved[0], saved[1]);
    }
    assert_eq!(manifest["preset"]["late"], 0.1);
    let history = String::from_utf8(place.read("run/history.csv")).unwrap();
    assert_eq!(history.lines().count(), 1 + 10 * 501);
    assert!(history.starts_with("class,step,confidence,objective,gradient_norm,step_size\n0,0,"));
    let page = String::from_utf8(place.read("run/report.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 10);
    assert!(!page.contains("src=\"http") && !page.contains("NaN"));
}

#[test]
fn a_person_can_check_what_is_said_of_the_pictures() {
    let place = Workplace::new();
    for objective in ["prob", "logit"] {
        let run = format!("ascend --class 3,7-8 --steps 150 --objective {objective}");
        let run = place.json(&format!("{run} --out {objective}"));
        for record in run["records"].as_array().unwrap() {
            let class = record["class"].as_u64().unwrap();
            for mark in record["reached"].as_object().unwrap().values() {
                let file = format!("{objective}/{}", mark["picture"].as_str().unwrap());
                for (model, key) in [("lenet-float", "as_saved"), ("lenet", "int8")] {
                    let found = classified(&place, model, &file, class).unwrap();
                    assert_eq!(found, mark[key], "{file} by {model}");
                }
            }
        }
    }
}

#[test]
fn threads_and_other_classes_change_nothing() {
    let place = Workplace::new();
    let line = "ascend --class 0-9 --steps 40 --preset blur-sparse --seed 5";
    for threads in [1, 2, 3] {
        place.succeed(&format!("{line} --threads {threads} --out run{threads}"));
    }
    let files = |run: &str| {
        let path = place.path(run);
        let mut files = contents(&path);
        // These say how long it took, and on how many threads.
        files.retain(|file, _| !file.ends_with("ascent.json") && !file.ends_with("report.html"));
        let relative = |(file, bytes): (std::path::PathBuf, _)| {
            (file.strip_prefix(&path).unwrap().to_owned(), bytes)
        };
        files.into_iter().map(relative).collect::<std::collections::BTreeMap<_, _>>()
    };
    let one = files("run1");
    assert!(one.contains_key(Path::new("ascent.npz")) && one.len() > 20);
    assert!(one == files("run2") && one == files("run3"));

    place.succeed("ascend --class 4 --steps 40 --preset blur-sparse --seed 5 --out alone");
    for name in ["win", "best"] {
        let file = format!("pictures/4-{name}.png");
        assert_eq!(place.read(&format!("alone/{file}")), place.read(&format!("run1/{file}")));
    }
    place.succeed("ascend --class 4 --steps 40 --preset blur-sparse --seed 6 --out other");
    assert_ne!(place.read("alone/pictures/4-best.png"), place.read("other/pictures/4-best.png"));
}

#[test]
fn a_climb_begins_with_the_picture_it_is_given() {
    let place = Workplace::new();
    let pixels: Vec<u8> = (0..784).map(|i| (i * 37 % 251) as u8).collect();
    let image = Image { width: 28, height: 28, channels: 1, pixels };
    place.write("own.png", image.to_png().unwrap());
    let history = |start: &str, out: &str| {
        place.succeed(&format!("ascend --class 7 --steps 1 --start {start} --out {out}"));
        String::from_utf8(place.read(&format!("{out}/history.csv"))).unwrap()
    };
    let first = |text: &str| -> f64 {
        text.lines().nth(1).unwrap().split(',').nth(2).unwrap().parse().unwrap()
    };
    let own = first(&history("own.png", "own"));
    let expected = place.json("classify --model lenet-float own.png");
    let found = expected["results"][0]["top"].as_array().unwrap().iter().find(|t| t["class"] == 7);
    match found {
        Some(found) => assert!((found["confidence"].as_f64().unwrap() - own).abs() < 1e-5),
        None => assert!(own < 0.1),
    }
    let starts = ["mean", "uniform", "zero"].map(|start| first(&history(start, start)));
    assert!(starts[0] != starts[1] && starts[1] != starts[2] && starts[0] != starts[2]);
}

#[test]
fn a_small_colour_network_is_climbed_in_its_window() {
    let test = "a_small_colour_network_is_climbed_in_its_window";
    let Some(network) = external(test, "models/squeezenet-v1.0.onnx") else { return };
    let network = network.canonicalize().unwrap();
    let place = Workplace::new();
    let model = network.display();
    let run = place.json(&format!("ascend --model {model} --class 207 --steps 3 --out run"));
    assert_eq!(run["twin"], Value::Null);
    let best = &run["records"][0]["reached"]["best"];
    assert_eq!(best.get("int8"), None);
    let image = Image::open(&place.path("run/pictures/207-best.png")).unwrap();
    assert_eq!((image.width, image.height, image.channels), (256, 256, 3));
    if let Some(found) = classified(&place, &model.to_string(), "run/pictures/207-best.png", 207) {
        assert_eq!(found, best["as_saved"]);
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let place = Workplace::new();
    let image =
        |width, height| Image { width, height, channels: 1, pixels: vec![9; width * height] };
    place.write("large.png", image(30, 28).to_png().unwrap());
    place.write("text.png", "This is not a picture.\n");
    place.write("own.q8", LENET);
    place.write("full/file", "");
    place.write("file", "");
    for (line, words) in [
        ("ascend", vec!["--class", "mirage ascend --help"]),
        ("ascend --class 10", vec!["--class 10", "lenet", "9"]),
        ("ascend --class 3,8-12", vec!["--class 3, 8-12", "last class", "9"]),
        ("ascend --class cat", vec!["--class", "\"cat\"", "or all"]),
        ("ascend --class 1,", vec!["--class"]),
        ("ascend --class 1 --preset smooth", vec!["--preset", "blur-sparse"]),
        ("ascend --class 1 --objective loss", vec!["--objective", "logit"]),
        ("ascend --class 1 --steps 0", vec!["--steps", "1..=1000000"]),
        ("ascend --class 1 --start large.png", vec!["--start large.png", "30 × 28", "28 × 28"]),
        ("ascend --class 1 --start text.png", vec!["--start", "text.png", "not a valid PNG"]),
        ("ascend --class 1 --start none.png", vec!["--start", "none.png"]),
        ("ascend --class 1 --model none", vec!["--model", "none"]),
        ("ascend --class 1 --model lenet-small", vec!["lenet-small", "int8", "--twin"]),
        ("ascend --class 1 --twin lenet-small", vec!["--twin", "lenet-small", "int8"]),
        ("ascend --class 1 --model lenet-float --twin lenet-float", vec!["--twin", "leave"]),
        ("ascend --class 1 --twin none.onnx", vec!["--twin", "none.onnx"]),
        ("ascend --class 1 --out full", vec!["--out full", "not empty"]),
        ("ascend --class 1 --out file", vec!["--out file", "not a folder"]),
    ] {
        place.refuse(line, &words);
    }
    assert!(!place.path("runs").exists());
    // A copy of the built-in model is known by its bytes.
    assert_eq!(place.json("ascend --class 1 --steps 1 --model own.q8")["twin"], "lenet-float");
    assert!(place.path("runs/own-ascend-plain-prob-seed1/report.html").exists());
    place.refuse("ascend --class 1 --model own.q8", &["own-ascend-plain-prob-seed1", "not empty"]);
    let test = "what_makes_no_sense_is_refused_before_anything_is_written";
    if let Some(twin) = external(test, "models/squeezenet-v1.0.onnx") {
        let twin = twin.canonicalize().unwrap();
        let line = format!("ascend --class 1 --twin {}", twin.display());
        place.refuse(&line, &["--twin", "1000 classes", "28 × 28 × 1"]);
    }
}

#[test]
fn no_gradient_is_told_of() {
    let place = Workplace::new();
    // Where another digit is certain, the probability is flat.
    place.succeed("ascend --class 3 --model lenet-float --objective logit --steps 400 --out three");
    let line = "ascend --model lenet-float --class 1,3 --steps 20 --out run";
    let mut command = place.command(&format!("{line} --start three/pictures/3-best.png"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.starts_with("class 1: stopped after 0 steps"), "{errors}");
    let manifest: Value = serde_json::from_slice(&place.read("run/ascent.json")).unwrap();
    assert_eq!(
        (&manifest["complete"], &manifest["classes"][1]["class"]),
        (&true.into(), &3.into())
    );
    assert_eq!(manifest["classes"][0]["ending"]["how"], "no-gradient");
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_what_is_done() {
    use std::time::Duration;

    let place = Workplace::new();
    let mut command = place.command("ascend --class all --steps 3000 --threads 1 --out run");
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    while !place.path("run/pictures/2-best.png").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed =
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("of 10 classes"));
    let manifest: Value = serde_json::from_slice(&place.read("run/ascent.json")).unwrap();
    let done = manifest["classes"].as_array().unwrap().len();
    assert!(manifest["complete"] == false && (2..10).contains(&done), "{done}");
    let page = String::from_utf8(place.read("run/report.html")).unwrap();
    assert!(page.contains("The run was stopped"));
    let history = String::from_utf8(place.read("run/history.csv")).unwrap();
    assert_eq!(history.lines().count(), 1 + done * 3001);
}
