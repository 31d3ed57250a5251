//! `mirage device --emulate`: from the sources to "host and board agree", as a user
//! without a board has it.
//!
//! Needs QEMU and Rust's targets for the boards; `MIRAGE_REQUIRE=qemu` turns a skip into a
//! failure.

#[allow(dead_code, reason = "the tests of the command line use the rest")]
#[path = "../command_line/program.rs"]
mod program;

use std::sync::Mutex;

use mirage::device::emulator::Machine;
use program::Workplace;
use reference::skip::skip;

const RUN: &str = "--children 10 --generations 4 --seed 3";

/// Whether the board can be emulated here; says so if not.
fn can_run(name: &str, test: &str) -> bool {
    let check = Machine::named(name).unwrap().check();
    if let Err(why) = &check {
        skip(test, "qemu", &why.to_string());
    }
    check.is_ok()
}

static BUILD: Mutex<()> = Mutex::new(());

/// Runs a command on an emulated board, from the repository, with the words that are paths
/// in the workplace behind `@`; its standard output. Cargo speaks on standard error.
fn emulate(place: &Workplace, line: &str) -> String {
    // The model is part of the firmware's file, which is one for all.
    let _alone = BUILD.lock().unwrap();
    let line = line.replace('@', &format!("{}/", place.path("").display()));
    let mut command = place.command(&line);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    assert!(errors.contains("cargo build") && errors.contains("--features"), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_emulated_board_agrees_with_this_machine() {
    if !can_run("m4f", "device evolve --emulate m4f") {
        return;
    }
    for (model, encoding) in [("lenet", "cppn"), ("lenet-small", "direct")] {
        let place = Workplace::new();
        let options = format!("--model {model} --encoding {encoding} {RUN}");
        place.succeed(&format!("evolve {options} --out host"));
        let digest = place.digest("host");
        let line = format!("device evolve --emulate m4f {options} --out @run");
        let text = emulate(&place, &line);
        assert!(text.ends_with(&format!("host and board agree: digest {digest}\n")), "{text}");
        for file in ["history.csv", "lineage.csv", "champions.npz", "gallery.png"] {
            let (host, board) = (format!("host/{file}"), format!("run/{file}"));
            assert!(place.read(&host) == place.read(&board), "{model}: {file}");
        }
        place.succeed("report run");
        for run in ["host", "run"] {
            place.succeed(&format!("evolve --resume --generations 6 --out {run}"));
        }
        assert_eq!(place.digest("host"), place.digest("run"));
    }
}

#[test]
fn an_emulated_board_says_what_it_is_and_sees() {
    if !can_run("m4f", "device info --emulate m4f") {
        return;
    }
    let place = Workplace::new();
    place.succeed(&format!("evolve {RUN} --out host"));
    let info = emulate(&place, "device info --emulate m4f --json");
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["model"], "lenet");
    assert!(info["hertz"].as_u64().unwrap() > 0 && info["stack"].as_u64().unwrap() > 0, "{info}");
    let seen = emulate(&place, "device classify --emulate m4f @host/champions/3.png --json");
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    let here = place.json("classify host/champions/3.png");
    assert_eq!(seen["results"][0]["top"], here["results"][0]["top"]);
}
