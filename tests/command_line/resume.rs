//! The same bits for any number of threads, and after any interruption.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::program::{Workplace, contents};

const FILES: [&str; 5] =
    ["history.csv", "lineage.csv", "champions.npz", "champions/0.png", "gallery.png"];

/// Both runs have the same archive, tables and pictures.
pub(crate) fn assert_same(place: &Workplace, one: &str, other: &str) {
    assert_eq!(place.digest(one), place.digest(other), "{one}, {other}");
    for file in FILES {
        let (a, b) = (place.read(&format!("{one}/{file}")), place.read(&format!("{other}/{file}")));
        assert!(a == b, "{file} of {one} and {other}");
    }
}

#[test]
fn threads_change_nothing() {
    let place = Workplace::new();
    for (name, options) in [
        ("cppn", "--encoding cppn"),
        ("direct", "--encoding direct"),
        ("crossed", "--preset mnist-direct-released"),
        ("float", "--model lenet-float"),
    ] {
        for threads in [1, 2, 7] {
            place.succeed(&format!(
                "evolve --generations 5 --children 60 {options} --threads {threads} \
                 --out {name}{threads}"
            ));
        }
        assert_same(&place, &format!("{name}1"), &format!("{name}2"));
        assert_same(&place, &format!("{name}1"), &format!("{name}7"));
    }
}

#[test]
fn killed_at_any_moment_and_resumed_gives_the_undisturbed_run() {
    let place = Workplace::new();
    let line = "evolve --generations 200 --children 30 --seed 3";
    let started = Instant::now();
    place.succeed(&format!("{line} --out whole"));
    let whole = started.elapsed();
    // A generator of delays: any will do, the same in every test.
    let mut state = 12345_u32;
    let mut kills = 0;
    for attempt in 0..10 {
        let run = format!("run{attempt}");
        for session in 0.. {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Up to a third of what the run takes, and later longer, so that it ends.
            let third = whole.mul_f64(f64::from(1 + session / 4) / 3.0);
            let delay = third.mul_f64(f64::from(state >> 8) / f64::from(1 << 24));
            let threads = 1 + session % 3;
            let mut command =
                place.command(&format!("{line} --out {run} --resume --threads {threads}"));
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(delay);
            // SIGKILL on Unix.
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.is_empty(), "{run}, session {session}: {errors}");
            if output.status.success() {
                break;
            }
            kills += 1;
        }
        assert_same(&place, "whole", &run);
    }
    println!("{kills} kills");
    assert!(kills >= 10, "{kills}");
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let place = Workplace::new();
    let line = "evolve --generations 25 --children 20 --encoding direct --out";
    let first = place.json(&format!("{line} run"));
    place.copy("run", "copy");
    let second = place.json("evolve --resume --out run");
    assert_eq!(first["digest"], second["digest"]);
    assert_eq!(first["evaluations"], second["evaluations"]);
    assert_same(&place, "run", "copy");
}

#[test]
fn a_longer_run_is_the_extension_of_a_shorter() {
    for encoding in ["cppn", "direct"] {
        let place = Workplace::new();
        let line = format!("evolve --children 20 --encoding {encoding}");
        place.succeed(&format!("{line} --generations 50 --out whole"));
        place.succeed(&format!("{line} --generations 7 --out run"));
        place.succeed("evolve --resume --generations 33 --out run");
        place.succeed("evolve --resume --generations 50 --out run");
        assert_same(&place, "whole", "run");
        assert_eq!(place.manifest("run")["generations"], 50);
        assert_eq!(place.manifest("run")["status"], "done");
    }
}

#[test]
fn the_default_folder_resumes_with_the_plan_of_its_run() {
    let place = Workplace::new();
    let first = place.json("evolve --generations 3 --children 20 --seed 8");
    assert_eq!(first["folder"], "runs/lenet-mnist-cppn-seed8");
    let again = place.json("evolve --resume --seed 8");
    assert_eq!(first["digest"], again["digest"]);
    assert_eq!(again["generations"], 3);
}

#[test]
fn reports_are_rebuilt_from_four_files() {
    let place = Workplace::new();
    place.succeed("evolve --generations 30 --children 20 --out run");
    let before = contents(&place.path("run"));
    for entry in fs::read_dir(place.path("run")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else if !["run.json", "checkpoint.bin", "history.csv", "lineage.csv"].contains(&name) {
            fs::remove_file(&path).unwrap();
        }
    }
    place.succeed("report run");
    let after = contents(&place.path("run"));
    for (path, bytes) in &before {
        assert!(after.get(path) == Some(bytes), "{}", path.display());
    }
    assert_eq!(before.len(), after.len());
}

#[test]
fn a_killed_run_has_a_report_of_its_last_checkpoint() {
    let place = Workplace::new();
    let mut command = place.command("evolve --generations 100000 --children 20 --out run");
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    while !place.path("run/checkpoint.bin").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    place.succeed("report run");
    assert!(place.path("run/gallery.png").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    place.succeed("report run");
    place.copy("run", "copy");
    place.succeed("report copy");
    let done = place.manifest("run")["generations_done"].as_u64().unwrap();
    assert_eq!(done % 20, 0, "checkpoints come every 20 generations");
    for file in ["gallery.png", "champions.npz", "report.html"] {
        assert!(place.read(&format!("run/{file}")) == place.read(&format!("copy/{file}")));
    }
    // One that lost its checkpoint keeps the rest.
    let history = place.read("copy/history.csv");
    fs::remove_file(place.path("copy/checkpoint.bin")).unwrap();
    place.refuse("report copy", &["copy/checkpoint.bin", "missing or old"]);
    place.refuse("evolve --out copy --resume", &["copy/checkpoint.bin", "missing or old"]);
    assert!(place.read("copy/history.csv") == history);
    // One that was killed before its first checkpoint.
    let mut manifest = place.manifest("copy");
    manifest["generations_done"] = 0.into();
    place.write("copy/run.json", manifest.to_string());
    fs::remove_file(place.path("copy/history.csv")).unwrap();
    place.succeed("report copy");
}
