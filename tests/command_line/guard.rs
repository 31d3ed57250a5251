//! Guards that are to tell fooling images from natural ones.

use crate::program::Workplace;

/// A workplace with a run, and a list of natural images that are the run's own: six of each,
/// so that each of the three ends has the same.
fn with_run() -> Workplace {
    let place = Workplace::new();
    place.succeed("evolve --generations 30 --children 60 --seed 3 --out run");
    let line = |index| format!("run/champions/{0}.png {0}\n", index % 10);
    place.write("own.txt", (0..90).map(line).collect::<String>());
    place
}

#[test]
fn images_that_are_the_natural_ones_cannot_be_told_from_them() {
    let place = with_run();
    let told = place.json("guard run --natural own.txt --out out");
    assert_eq!((&told["model"], &told["natural"]["tested"]), (&"lenet".into(), &30.into()));
    let group = &told["groups"][0];
    assert_eq!((&group["preset"], &group["images"]), (&"mnist-cppn".into(), &10.into()));
    assert!(group["guard"].is_null());
    for score in 0..4 {
        let (detection, guard) = (&group["detections"][score], &told["guards"][score]);
        assert_eq!(detection["auroc"], 0.5, "{told}");
        assert_eq!(detection["fpr_at_95"], guard["natural_accepted"], "{told}");
    }
    let table = String::from_utf8(place.read("out/scores.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 30 + 10, "{table}");
    assert!(table.starts_with("kind,run,preset,guard,class,confidence,max_softmax,"), "{table}");
    let page = String::from_utf8(place.read("out/guard.html")).unwrap();
    assert!(page.contains("mirage guard run --natural own.txt --out out"));
    let text = place.succeed("guard run --natural own.txt");
    assert!(text.contains("(0.500)") && text.contains("EnergyGuard { threshold: -"), "{text}");
}

#[test]
fn images_are_evolved_under_each_guard_and_go_on() {
    let place = with_run();
    let line = "guard run --natural own.txt --evolve --generations 6 --out out";
    let told = place.json(line);
    let groups = told["groups"].as_array().unwrap();
    let scores = ["max-softmax", "max-logit", "energy", "gaussian"];
    assert_eq!(groups.len(), 1 + scores.len(), "{told}");
    for (group, score) in groups[1..].iter().zip(scores) {
        let run = format!("out/mnist-cppn-seed3-{score}");
        assert_eq!((&group["guard"], &group["runs"][0]), (&score.into(), &run.as_str().into()));
        let settings = place.manifest(&run)["settings"].to_string();
        assert!(settings.contains(&format!("\"guard\",\"{score}, threshold ")), "{settings}");
        assert_ne!(place.digest(&run), place.digest("run"));
        // A run like any other to those who look at it, though not to those who go on.
        place.succeed(&format!("report {run}"));
        place.refuse(&format!("evolve --resume --out {run}"), &["guard", score]);
    }
    // What is there is not evolved again, and goes on if more is asked for.
    let digest = place.digest("out/mnist-cppn-seed3-energy");
    assert_eq!(place.json(line)["groups"], told["groups"]);
    assert_eq!(place.digest("out/mnist-cppn-seed3-energy"), digest);
    place.json(&line.replace("generations 6", "generations 9"));
    assert_eq!(place.manifest("out/mnist-cppn-seed3-energy")["generations_done"], 9);
    // Runs under guards are held against the same natural images again.
    let again = place.json("guard out/mnist-cppn-seed3-energy --natural own.txt");
    assert_eq!(again["groups"][0]["guard"], "energy");
    // Other natural images make other guards.
    let other = String::from_utf8(place.read("own.txt")).unwrap().replace("/3.png", "/4.png");
    place.write("other.txt", other);
    let line = line.replace("own.txt", "other.txt");
    place.refuse(&line, &["--out", "mnist-cppn-seed3-", "another guard"]);
}

#[test]
fn what_guards_cannot_be_made_of_is_refused() {
    let place = with_run();
    place.copy("run", "unlike");
    let manifest = String::from_utf8(place.read("run/run.json")).unwrap();
    place.write("unlike/run.json", manifest.replace("\"lenet\"", "\"lenet-small\""));
    place.write("few.txt", "run/champions/1.png 1\n".repeat(59));
    place.write("same.txt", "run/champions/1.png 1\n".repeat(60));
    place.write("wrong.txt", "run/champions/1.png 10\n");
    place.succeed("evolve --model lenet-small --generations 2 --children 20 --seed 1 --out small");
    for (line, words) in [
        ("guard", &["RUN"][..]),
        ("guard nowhere --natural own.txt", &["nowhere", "no run"]),
        ("guard unlike --natural own.txt", &["unlike", "another model"]),
        ("guard run small --natural own.txt", &["small", "another model"]),
        ("guard run", &["--data", "no-data", "--natural"]),
        ("guard run --data run", &["--data", "run: no "]),
        ("guard run --natural nothing.txt", &["--natural nothing.txt"]),
        ("guard run --natural few.txt", &["few.txt: 59 images", "60"]),
        ("guard run --natural same.txt", &["--natural", "do not vary"]),
        ("guard run --natural wrong.txt", &["wrong.txt, line 1", "class 10"]),
        ("guard run --natural own.txt --evolve", &["--out"]),
        ("guard run --natural own.txt --out own.txt", &["--out own.txt"]),
    ] {
        place.refuse(line, words);
    }
}
