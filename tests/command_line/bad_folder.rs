//! Run folders that cannot be used, and runs that are not what they say.

use std::process::Stdio;

use crate::program::{Workplace, contents, flip, seal};

const RUN: &str = "evolve --generations 3 --children 20 --seed 4 --out run";
const RESUME: &str = "evolve --out run --resume";

/// A workplace with a finished run in the folder `run`.
fn with_run() -> Workplace {
    let place = Workplace::new();
    place.succeed(RUN);
    place
}

#[test]
fn folders_that_are_taken_or_none_are_refused() {
    let place = with_run();
    place.write("file", "precious");
    place.write("full/thesis.tex", "precious");
    place.refuse(RUN, &["--out run", "--resume"]);
    place.refuse("evolve --out full", &["--out full", "no run", "choose another"]);
    place.refuse("evolve --out full --resume", &["--out full", "no run", "choose another"]);
    for option in ["", " --resume"] {
        place.refuse(&format!("evolve --out file{option}"), &["--out file", "choose another"]);
        place.refuse(&format!("evolve --out file/run{option}"), &["file/run", "permissions"]);
        if cfg!(target_os = "linux") {
            let line = format!("evolve --out /proc/mirage{option}");
            place.refuse(&line, &["/proc/mirage", "permissions"]);
        }
    }
    for (name, word) in [("full", "no run"), ("nowhere", "no run"), ("file", "file/run.json")] {
        place.refuse(&format!("report {name}"), &[name, word]);
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    let place = Workplace::new();
    std::fs::create_dir(place.path("locked")).unwrap();
    set_permissions(place.path("locked"), Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(place.path("locked/probe"), "").is_ok() {
        println!("skipped: a read-only folder: this user may write everywhere");
        return;
    }
    place.refuse("evolve --out locked", &["locked", "permissions"]);
    place.refuse("evolve --out locked/run", &["locked/run", "permissions"]);
}

/// Runs with a limit on the size of files, which acts like a full disk and needs no
/// rights.
#[cfg(unix)]
#[test]
fn a_full_disk_stops_the_run_and_later_it_goes_on() {
    let long = "evolve --generations 60 --children 20 --seed 4";
    let whole = Workplace::new();
    whole.succeed(&format!("{long} --out run"));
    let mut stopped = 0;
    // In blocks of 512 or 1024 bytes, as the shell likes.
    for blocks in [0, 1, 3, 6, 12, 24] {
        let place = Workplace::new();
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$MIRAGE\" {long} --out run");
        let output = place.shell(&script).output().unwrap();
        if !output.status.success() {
            crate::program::assert_refused(&output, &script, &["cannot write", "free space"]);
            for path in contents(&place.path("run")).into_keys() {
                assert!(!path.to_string_lossy().contains("/.mirage-"), "{}", path.display());
            }
            stopped += 1;
        }
        // Where there was no room for the run's first file, a new one begins, and says so.
        let again = place.command(&format!("{long} --out run --resume")).output().unwrap();
        assert!(again.status.success(), "{blocks} blocks: {again:?}");
        assert_eq!(place.digest("run"), whole.digest("run"), "{blocks} blocks");
        for table in ["run/history.csv", "run/lineage.csv"] {
            assert!(place.read(table) == whole.read(table), "{table}, {blocks} blocks");
        }
    }
    assert!(stopped >= 4, "{stopped}");
}

#[test]
fn damaged_checkpoints_are_refused() {
    // Three generations: there is no previous one.
    let place = with_run();
    let good = place.read("run/checkpoint.bin");
    let sealed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        seal(&mut bytes);
        bytes
    };
    let mut shorter = good[..good.len() - 1].to_vec();
    seal(&mut shorter);
    for (bytes, word) in [
        (Vec::new(), "not a mirage checkpoint"),
        (b"MIRAGECP".to_vec(), "checksum"),
        (b"MIRAGECP\x02".to_vec(), "checksum"),
        (good[..good.len() / 2].to_vec(), "checksum"),
        (good[..good.len() - 1].to_vec(), "checksum"),
        ([good.as_slice(), &[0]].concat(), "checksum"),
        (flip(good.clone()), "checksum"),
        (sealed(0, b'm'), "not a mirage checkpoint"),
        (sealed(8, 1), "version 1"),
        // The length of the identity: the rest is then no identity, or none is there.
        (sealed(10, 3), "another run"),
        (sealed(13, 255), "end too early"),
        (shorter, "end too early"),
        (vec![0; 1 << 20], "at most"),
    ] {
        place.write("run/checkpoint.bin", bytes);
        place.refuse(RESUME, &["run/checkpoint.bin", word, "--out"]);
        place.refuse("report run", &["run/checkpoint.bin", word]);
        // A previous one that is no better does not help.
        place.write("run/checkpoint.previous.bin", flip(good.clone()));
        place.refuse(RESUME, &["run/checkpoint.bin", word, "--out"]);
        std::fs::remove_file(place.path("run/checkpoint.previous.bin")).unwrap();
    }
    std::fs::remove_file(place.path("run/checkpoint.bin")).unwrap();
    place.write("run/checkpoint.previous.bin", flip(good));
    place.refuse(RESUME, &["run/checkpoint.previous.bin", "checksum", "--out"]);
    place.write("run/checkpoint.bin/file", "");
    place.refuse(RESUME, &["run/checkpoint.bin", "restore"]);
}

#[test]
fn checkpoints_of_other_runs_are_refused() {
    let place = with_run();
    for other in [
        "--seed 5",
        "--seed 4 --children 21",
        "--seed 4 --preset mnist-cppn-released",
        "--seed 4 --math micromath",
        "--seed 4 --encoding direct",
        "--seed 4 --model lenet-float",
    ] {
        let place_of_other = Workplace::new();
        let children = if other.contains("--children") { "" } else { "--children 20" };
        place_of_other.succeed(&format!("evolve --generations 3 {children} {other} --out run"));
        place.write("run/checkpoint.bin", place_of_other.read("run/checkpoint.bin"));
        place.refuse(RESUME, &["run/checkpoint.bin", "another run", "--out"]);
        place.refuse("report run", &["run/checkpoint.bin", "another run"]);
    }
}

#[test]
fn options_that_contradict_the_run_are_refused() {
    let place = with_run();
    for (option, words) in [
        ("--seed 5", ["--seed", "seed 4"]),
        ("--preset mnist-direct", ["--preset", "preset mnist-cppn"]),
        ("--encoding direct", ["--encoding", "preset mnist-cppn"]),
        ("--children 21", ["--children", "--children 20"]),
        ("--coordinates pixels", ["--coordinates", "run was made"]),
        ("--math micromath", ["--math", "run was made"]),
        ("--generations 2", ["--generations 2", "has done 3"]),
        ("--model lenet-float", ["run", "--model"]),
        ("--model missing.q8", ["--model", "missing.q8"]),
    ] {
        place.refuse(&format!("{RESUME} {option}"), &words);
    }
    place.refuse("report run --model lenet-float", &["run", "--model"]);
    place.succeed(&format!(
        "{RESUME} --seed 4 --encoding cppn --children 20 --model lenet --math polynomial \
         --coordinates centred --generations 3"
    ));
}

#[test]
fn damaged_manifests_are_refused() {
    let place = with_run();
    let good = String::from_utf8(place.read("run/run.json")).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    for (text, word) in [
        (String::new(), "EOF"),
        (good[..good.len() / 2].to_owned(), "EOF"),
        (good.replace('{', "["), "expected"),
        (replaced("\"seed\": 4", "\"seed\": -4"), "-4"),
        (replaced("\"seed\": 4,", ""), "seed"),
        (replaced("\"mnist-cppn\"", "\"mnist-x\""), "mnist-x"),
        (replaced("\"children\": 20", "\"children\": 0"), "children"),
        (replaced("\"children\": 20", "\"children\": 4000000000"), "children"),
        (replaced("\"generations\": 3", "\"generations\": 0"), "generations"),
        (replaced("\"centred\"", "\"sideways\""), "coordinates"),
    ] {
        place.write("run/run.json", text);
        place.refuse(RESUME, &["run.json", word]);
        place.refuse("report run", &["run.json", word]);
    }
    // A seed that is another run's.
    place.write("run/run.json", replaced("\"seed\": 4", "\"seed\": 5"));
    place.refuse(RESUME, &["run/checkpoint.bin", "seed 4", "seed 5"]);
    // What is the model's to say is not believed.
    let mut manifest: serde_json::Value = serde_json::from_str(&good).unwrap();
    manifest["model"]["picture"] = serde_json::json!([99_999_999, 99_999_999, 3]);
    manifest["model"]["labels"] = serde_json::json!([]);
    place.write("run/run.json", manifest.to_string());
    place.succeed("report run");
}

#[test]
fn shortened_tables_are_refused() {
    for table in ["history", "lineage"] {
        let place = with_run();
        let file = format!("run/{table}.csv");
        let good = place.read(&file);
        // The end of lineage.csv comes after the checkpoint and is written anew.
        for length in [0, 1, good.len() / 3] {
            place.write(&file, &good[..length]);
            place.refuse(RESUME, &[&file, "checkpoint", "--out"]);
            if table == "history" {
                place.refuse("report run", &[&file, "checkpoint"]);
            }
        }
        std::fs::remove_file(place.path(&file)).unwrap();
        place.refuse(RESUME, &[&file]);
        place.write(&file, &good);
        place.succeed(RESUME);
        assert!(place.read(&file) == good);
    }
    let place = with_run();
    let history = String::from_utf8(place.read("run/history.csv")).unwrap();
    place.write("run/history.csv", history.replacen(",0.", ",x.", 1));
    place.refuse("report run", &["run/history.csv", "restore"]);
}

#[test]
fn one_of_many_that_start_together_has_the_folder() {
    for _ in 0..10 {
        let place = Workplace::new();
        let line = |seed: u64| format!("evolve --generations 3 --children 5 --json --seed {seed}");
        let start = |seed: u64| {
            let mut command = place.command(&format!("{} --out run", line(seed)));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let all: Vec<_> = (0..6).map(start).collect();
        let outputs = all.into_iter().map(|process| process.wait_with_output().unwrap());
        let (done, refused): (Vec<_>, Vec<_>) = outputs.partition(|o| o.status.success());
        for output in refused {
            crate::program::assert_refused(&output, "another", &["--out run", "choose another"]);
        }
        let [winner] = done.as_slice() else { panic!("{} have the folder", done.len()) };
        let winner: serde_json::Value = serde_json::from_slice(&winner.stdout).unwrap();
        assert_eq!(winner["digest"], place.digest("run").as_str());
        assert_eq!(winner["seed"], place.manifest("run")["seed"]);
    }
}

#[test]
fn one_process_at_a_time() {
    let place = Workplace::new();
    let mut first = place.command("evolve --generations 100000 --seed 4 --out run");
    let mut first = first.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while !place.path("run/checkpoint.bin").exists() {
        assert!(first.try_wait().unwrap().is_none(), "the first runs on");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // The first goes on writing: only the second's output is looked at.
    for (line, words) in [
        (RESUME, ["--out run", "another mirage is at work"]),
        ("evolve --seed 4 --out run", ["--out run", "--resume"]),
    ] {
        let output = place.command(line).output().unwrap();
        crate::program::assert_refused(&output, line, &words);
    }
    place.succeed("report run");
    first.kill().unwrap();
    first.wait().unwrap();
    let done = place.manifest("run")["generations_done"].as_u64().unwrap();
    place.succeed(&format!("{RESUME} --generations {}", done + 40));
}
