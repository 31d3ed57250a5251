//! The same bits for any number of threads, and after any interruption.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};
#[cfg(unix)]
use std::{
    path::Path,
    process::{Child, Command},
};

use crate::program::{Workplace, contents, flip};

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
    let line = "evolve --generations 200 --children 30 --seed 3 --checkpoint-generations 5";
    kill_and_resume(&place, line);
}

/// Runs a command line in one go, and ten times with interruptions at random moments.
pub(crate) fn kill_and_resume(place: &Workplace, line: &str) {
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
            // Killed between the two renames that keep the previous checkpoint.
            let is_fine = errors.is_empty()
                || errors.contains("going on from")
                || errors.contains("a new one begins");
            assert!(is_fine, "{run}, session {session}: {errors}");
            if output.status.success() {
                break;
            }
            kills += 1;
        }
        assert_same(place, "whole", &run);
    }
    println!("{kills} kills");
    assert!(kills >= 10, "{kills}");
}

/// What a crash or a failing disk may leave of the last checkpoint.
#[test]
fn the_previous_checkpoint_takes_the_place_of_a_lost_one() {
    let place = Workplace::new();
    for (encoding, step) in [("cppn", 20), ("direct", 21)] {
        let line = format!(
            "evolve --children 20 --seed 6 --encoding {encoding} --checkpoint-generations {step}"
        );
        let whole = format!("{encoding}-whole");
        place.succeed(&format!("{line} --generations 70 --out {whole}"));
        let first = format!("{encoding}-first");
        place.succeed(&format!("{line} --generations 63 --out {first}"));
        let good = place.read(&format!("{first}/checkpoint.bin"));
        let previous = place.read(&format!("{first}/checkpoint.previous.bin"));
        let kept = format!("generation {} of 63", if step == 20 { 60 } else { 42 });
        for (name, left, why) in [
            ("missing", None, "missing"),
            ("empty", Some(Vec::new()), "not a mirage checkpoint"),
            ("cut", Some(good[..good.len() - 9].to_vec()), "checksum"),
            ("flipped", Some(flip(good.clone())), "checksum"),
        ] {
            let run = format!("{encoding}-{name}");
            place.copy(&first, &run);
            let file = format!("{run}/checkpoint.bin");
            fs::remove_file(place.path(&file)).unwrap();
            if let Some(bytes) = left {
                place.write(&file, bytes);
            }
            // Half a checkpoint of a process that was killed while it wrote.
            place.write(&format!("{run}/.mirage-checkpoint.bin-Xy12"), &good[..99]);
            place.succeed(&format!("report {run}"));
            let again = format!("evolve --resume --generations 70 --out {run}");
            let output = place.command(&again).output().unwrap();
            let warning = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && warning.lines().count() == 1, "{run}: {warning}");
            for word in [file.as_str(), why, "checkpoint.previous.bin", kept.as_str()] {
                assert!(warning.contains(word), "{run}: no {word:?} in {warning}");
            }
            assert_same(&place, &whole, &run);
            assert!(!place.path(&format!("{run}/.mirage-checkpoint.bin-Xy12")).exists());
        }
        // Put in place by hand.
        let run = format!("{encoding}-by-hand");
        place.copy(&first, &run);
        place.write(&format!("{run}/checkpoint.bin"), &previous);
        let again = format!("evolve --resume --generations 70 --out {run}");
        let output = place.command(&again).output().unwrap();
        let warning = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && warning.contains("old; going on"), "{warning}");
        assert_same(&place, &whole, &run);
    }
}

#[test]
fn what_is_done_stays_as_it_was_made() {
    let place = Workplace::new();
    place.succeed("evolve --generations 8 --children 20 --threads 1 --out run");
    let before = place.manifest("run");
    place.succeed("evolve --resume --threads 2 --out run");
    assert_eq!(place.manifest("run"), before);
}

/// Asks a run to stop when it has done something; what it said.
#[cfg(unix)]
fn stopped(mut child: Child, run: &Path) -> String {
    while !run.join("checkpoint.bin").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it runs on");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{errors}");
    assert!(output.stdout.is_empty() && errors.lines().count() == 1, "{errors}");
    errors
}

#[cfg(unix)]
#[test]
fn a_signal_stops_the_run_and_tells_how_to_go_on() {
    let place = Workplace::new();
    let plan = "evolve --children 30 --seed 2 --generations 100000";
    for run in ["run", "a run's"] {
        let mut command = place.command(plan);
        command.arg(format!("--out={run}")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = stopped(command.spawn().unwrap(), &place.path(run));
        let done = place.manifest(run)["generations_done"].as_u64().unwrap();
        assert!(said.starts_with(&format!("stopped: {done} of 100000 generations kept: ")));
        // The command that it tells, for a few generations more.
        let (_, command) = said.split_once("go on with `mirage").unwrap();
        let (command, report) = command.split_once('`').unwrap();
        assert!(report.contains("`mirage report "), "{said}");
        let more = done + 30;
        let script = format!("exec \"$MIRAGE\" {command} --generations {more}");
        let output = place.shell(&script).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        let whole = format!("whole {run}");
        let mut command = place.command("evolve --children 30 --seed 2");
        command.arg(format!("--generations={more}")).arg(format!("--out={whole}"));
        assert!(command.output().unwrap().status.success());
        assert_same(&place, &whole, run);
    }
    // `nohup` has signals ignored, and they are.
    let script = "trap '' TERM; exec \"$MIRAGE\" evolve --generations 40 --out ignoring";
    let child = place.shell(script).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
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
fn checkpoints_come_as_often_as_was_asked_for() {
    let place = Workplace::new();
    let done_before_the_end = |option: &str, run: &str| {
        place.succeed(&format!("evolve --generations 50 --children 10 {option} --out {run}"));
        // The checkpoint before the one at the end tells when the last was due.
        let bytes = place.read(&format!("{run}/checkpoint.previous.bin"));
        let identity = u32::from_le_bytes(bytes[10..14].try_into().unwrap()) as usize;
        u32::from_le_bytes(bytes[14 + identity..18 + identity].try_into().unwrap())
    };
    assert_eq!(done_before_the_end("", "default"), 40);
    assert_eq!(done_before_the_end("--checkpoint-generations 17", "seventeen"), 34);
    assert_eq!(done_before_the_end("--checkpoint-generations 33", "thirty-three"), 33);
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
    const KEPT: [&str; 4] = ["run.json", "checkpoint.bin", "history.csv", "lineage.csv"];
    let place = Workplace::new();
    place.succeed("evolve --generations 30 --children 20 --out run");
    fs::remove_file(place.path("run/checkpoint.previous.bin")).unwrap();
    let before = contents(&place.path("run"));
    for entry in fs::read_dir(place.path("run")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else if !KEPT.contains(&name) {
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
    for file in ["gallery.png", "champions.npz", "report.html"] {
        assert!(place.read(&format!("run/{file}")) == place.read(&format!("copy/{file}")));
    }
    // One that lost its checkpoint keeps the rest.
    let history = place.read("copy/history.csv");
    fs::remove_file(place.path("copy/checkpoint.bin")).unwrap();
    let _ = fs::remove_file(place.path("copy/checkpoint.previous.bin"));
    place.refuse("report copy", &["copy/checkpoint.bin", "missing"]);
    place.refuse("evolve --out copy --resume", &["copy/checkpoint.bin", "missing"]);
    assert!(place.read("copy/history.csv") == history);
    // One that was killed before its first checkpoint.
    let mut manifest = place.manifest("copy");
    manifest["generations_done"] = 0.into();
    place.write("copy/run.json", manifest.to_string());
    fs::remove_file(place.path("copy/history.csv")).unwrap();
    place.succeed("report copy");
}
