//! What the program prints, and where.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{Workplace, has};

#[test]
fn json_is_one_object_with_the_promised_keys() {
    let place = Workplace::new();
    let run = place.json("evolve --generations 4 --children 30 --seed 9 --out run");
    let keys: BTreeSet<&str> = run.as_object().unwrap().keys().map(String::as_str).collect();
    for key in [
        "digest",
        "seed",
        "preset",
        "model",
        "generations",
        "evaluations",
        "seconds",
        "median_confidence",
        "classes",
        "classes_at_9999",
        "median_generation_9999",
    ] {
        assert!(keys.contains(key), "{key}");
    }
    assert_eq!(run["seed"], 9);
    assert_eq!(run["preset"], "mnist-cppn");
    assert_eq!(run["model"], "lenet");
    assert_eq!(run["generations"], 4);
    assert_eq!(run["evaluations"], 120);
    assert_eq!(run["classes"], 10);
    assert_eq!(run["digest"], place.digest("run").as_str());
    assert!(run["seconds"].as_f64().unwrap() > 0.0);
    assert!((0.0..=1.0).contains(&run["median_confidence"].as_f64().unwrap()));

    let classified = place.json("classify run/champions/3.png run/champions/4.png");
    assert_eq!(classified["results"].as_array().unwrap().len(), 2);
    assert_eq!(classified["results"][0]["top"].as_array().unwrap().len(), 5);
}

#[test]
fn champions_are_classified_as_the_run_did() {
    for options in ["", "--encoding direct", "--model lenet-float", "--preset mnist-cppn-released"]
    {
        let place = Workplace::new();
        let line = format!("evolve --generations 6 --children 40 --out run {options}");
        let run = place.json(&line);
        let confidences = run["confidences"].as_array().unwrap();
        let model = run["model"].as_str().unwrap();
        for (class, expected) in confidences.iter().enumerate() {
            let file = format!("run/champions/{class}.png");
            let result = place.json(&format!("classify --model {model} {file}"));
            let top = result["results"][0]["top"].as_array().unwrap();
            let found = top.iter().find(|p| p["class"] == class).map(|p| &p["confidence"]);
            match found {
                Some(found) => assert_eq!(found, expected, "{options} class {class}"),
                None => {
                    let least = top.last().unwrap()["confidence"].as_f64();
                    assert!(least >= expected.as_f64(), "{options} class {class}");
                }
            }
        }
    }
}

#[test]
fn nothing_but_the_result_without_a_terminal() {
    let place = Workplace::new();
    // `succeed` expects nothing on standard error.
    let text = place.succeed("evolve --generations 30 --out run");
    assert!(text.contains("digest ") && text.contains("run/report.html"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(!place.succeed("--help").contains('\u{1b}'));
}

/// A pipe whose reader goes before anything is written.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_error() {
    let place = Workplace::new();
    place.succeed("evolve --generations 2 --children 5 --out run");
    for line in [
        "evolve --generations 2 --children 5 --out new",
        "evolve --generations 2 --children 5 --out newer --json",
        "classify run/champions/0.png",
        "report run",
        "completions bash",
        "man",
        "--help",
        "--version",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(line);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{line}: {output:?}");
    }
    assert!(place.path("new/report.html").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    let place = Workplace::new();
    place.succeed("evolve --generations 2 --children 5 --out run");
    for line in ["report run", "classify run/champions/0.png", "man", "completions zsh"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command(line).stdout(full).output().unwrap();
        crate::program::assert_refused(&output, line, &["standard output"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn errors_that_cannot_be_told_are_no_panic() {
    let place = Workplace::new();
    for line in ["lineage nowhere", "report --nonsense", "ascend --class 1 --model nothing"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = place.command(line).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(2), "{line}");
    }
}

#[test]
fn paths_of_any_letters_are_fine() {
    let place = Workplace::new();
    for name in ["größe-☃-эволюция", "-", "%41&<b>\"'", "{{x}}"] {
        let mut command = place.command("evolve --generations 1 --children 5 --json");
        let output = command.arg(format!("--out={name}")).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["folder"], name);
        let model = place.path(name).join("a model.q8");
        std::fs::write(&model, crate::program::LENET).unwrap();
        let mut command = place.command("evolve --generations 1 --children 5 --out=other");
        assert!(command.arg("--model").arg(&model).output().unwrap().status.success());
        let page = String::from_utf8(place.read("other/report.html")).unwrap();
        assert!(!page.contains("<b>\""), "{name}: the page shows names as text");
        std::fs::remove_dir_all(place.path("other")).unwrap();
    }
}

#[test]
fn completion_scripts_load_where_their_shell_is() {
    let place = Workplace::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.succeed(&format!("completions {shell}"));
        assert!(script.contains("quantize"), "{shell}");
        place.write(&format!("script.{shell}"), script);
    }
    for shell in ["bash", "zsh", "fish"] {
        if has(shell, "completion script") {
            let script = place.path(&format!("script.{shell}"));
            assert!(Command::new(shell).arg("-n").arg(script).status().unwrap().success());
        }
    }
}

#[test]
fn the_manual_has_every_command() {
    let place = Workplace::new();
    let page = place.succeed("man");
    assert!(page.contains(".TH mirage 1"));
    for command in ["evolve", "classify", "report", "data", "data\\-pull", "train", "quantize"] {
        assert!(page.contains(&format!("mirage\\-{command}")), "{command}");
    }
}
