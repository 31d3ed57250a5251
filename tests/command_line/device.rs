//! Boards behind a port: what they say, what they evolve, and what goes wrong there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mirage_core::archive::{Archive, Cell};
use mirage_core::genome::Direct;
use mirage_core::link::{Fault, Info, Reply, Request};
use mirage_firmware::{Model, model};
use serial2::SerialPort;

use crate::board::{INFO, Plugged, bytes, clear, frame_of_version, losing, losing_read, noise};
use crate::program::{Workplace, assert_refused, seal};
use crate::resume::assert_same;

const RUN: &str = "--children 20 --generations 6 --seed 5";

/// The digest of [`RUN`] on this machine, in the folder `host`.
fn on_host(place: &Workplace, options: &str) -> String {
    place.succeed(&format!("evolve {RUN} {options} --out host"));
    place.digest("host")
}

#[test]
fn a_board_says_what_it_is() {
    let place = Workplace::new();
    let _board = Plugged::lenet(&place);
    let text = place.succeed("device info --port unix:board");
    for word in ["bench", "lenet", "28 × 28 × 1", "10 classes", "1000 ticks", "123 bytes"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let info = place.json("device info --port unix:board");
    let keys: Vec<&String> = info.as_object().unwrap().keys().collect();
    let expected =
        ["board", "classes", "hertz", "input", "model", "model_sha256", "revision", "stack"];
    assert_eq!(keys, expected);
    assert_eq!(info["board"], "bench");
    assert_eq!(info["revision"], mirage_core::evolve::REVISION);
    assert_eq!(info["stack"], 123);
    assert_eq!(place.succeed("device info --port unix:board --model lenet"), text);
    place.refuse("device info --port unix:board --model lenet-small", &["--model", "lenet-small"]);
}

#[test]
fn a_board_classifies_as_this_machine_does() {
    let place = Workplace::new();
    on_host(&place, "");
    let _board = Plugged::lenet(&place);
    let images: Vec<String> = (0..10).map(|class| format!("host/champions/{class}.png")).collect();
    let images = images.join(" ");
    let here = place.succeed(&format!("classify {images}"));
    assert_eq!(place.succeed(&format!("device classify --port unix:board {images}")), here);
    let here = place.json(&format!("classify {images}"));
    assert_eq!(place.json(&format!("device classify --port unix:board {images}")), here);
    place.write("no.png", "");
    place.refuse("device classify --port unix:board no.png", &["no.png"]);
}

#[test]
fn a_run_on_a_board_is_a_run_on_this_machine() {
    for options in ["", "--encoding direct", "--preset mnist-direct-released"] {
        let place = Workplace::new();
        let digest = on_host(&place, options);
        let _board = Plugged::lenet(&place);
        let line = format!("device evolve --port unix:board {RUN} {options}");
        let text = place.succeed(&format!("{line} --out run"));
        assert_eq!(text.lines().last(), Some(&*format!("host and board agree: digest {digest}")));
        assert_same(&place, "host", "run");
        assert_eq!(place.manifest("run")["machine"]["board"], "bench");
        place.succeed("report run");
        for run in ["host", "run"] {
            place.succeed(&format!("evolve --resume --generations 9 --out {run}"));
        }
        assert_same(&place, "host", "run");
    }
}

#[test]
fn a_comparison_has_its_keys_and_a_folder_of_its_own() {
    let place = Workplace::new();
    let digest = on_host(&place, "");
    let _board = Plugged::lenet(&place);
    let run = place.json(&format!("device evolve --port unix:board {RUN}"));
    let folder = "runs/bench-lenet-mnist-cppn-seed5";
    assert_eq!(run["folder"], folder);
    assert_eq!(run["digest"], digest);
    assert_eq!(run["host_digest"], digest);
    assert_eq!(run["agree"], true);
    assert_eq!(run["first_difference"], serde_json::Value::Null);
    assert_eq!(run["board"], "bench");
    assert_eq!(run["evaluations"], 120);
    for key in ["vary_seconds", "render_seconds", "classify_seconds"] {
        assert_eq!(run[key], 0.0, "{key}: a clock that stands still");
    }
    let words = [folder, "mirage evolve --resume"];
    place.refuse(&format!("device evolve --port unix:board {RUN}"), &words);
}

/// A board that carries another network than it says.
#[test]
fn a_difference_is_the_answer_no() {
    let place = Workplace::new();
    on_host(&place, "");
    let mut blob = include_bytes!("../../host/models/lenet.q8").to_vec();
    // A bit of the last layer's weights, which lie at the end.
    let at = blob.len() - 1000;
    blob[at] ^= 0x40;
    seal(&mut blob);
    let wrong = Model { blob: blob.leak(), ..model::MODEL };
    let _board = Plugged::carrying(&place, wrong, clear(), clear());
    let line = format!("device evolve --port unix:board {RUN} --out run");
    let output = place.command(&line).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(1), &b""[..]), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("host and board differ after generation "), "{last}");
    assert!(last.contains(&place.digest("run")) && last.contains(&place.digest("host")), "{last}");
    // What the board did is a run all the same.
    assert_eq!(place.manifest("run")["status"], "done");
    place.succeed("report run");
    place.succeed("evolve --resume --generations 7 --out run");
}

#[test]
fn ports_that_are_none_are_named() {
    let place = Workplace::new();
    place.write("file", "");
    let gone = place.path("gone");
    drop(UnixListener::bind(&gone).unwrap());
    for command in ["info", "classify x.png", "evolve --out run"] {
        for (port, word) in [
            ("/dev/ttyNONE7", "no such port"),
            ("file", "not a serial port"),
            (".", "not a serial port"),
            ("unix:nowhere", "no such port"),
            ("unix:gone", "nothing listens"),
            // The port of discard, which nobody serves.
            ("tcp:127.0.0.1:9", "nothing listens"),
            ("tcp:no-such-host.invalid:1", "cannot open"),
        ] {
            place.refuse(&format!("device {command} --port {port}"), &[port, word]);
        }
    }
    place.refuse("evolve --device unix:nowhere --out run", &["--device", "unix:nowhere"]);
    for (line, word) in [
        ("device info", "--port"),
        ("device info --port tcp:host", "tcp:HOST:PORT"),
        ("device info --port unix:board --emulate m4f", "--emulate"),
        ("device info --emulate m7", "m4f"),
        ("device info --port unix:board --firmware x", "--firmware"),
        ("device evolve --port unix:board --preset mnist", "mnist-cppn"),
        ("evolve --device unix:board --model lenet", "--model"),
    ] {
        place.refuse(line, &[word]);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn a_port_that_one_may_not_open_is_named() {
    let place = Workplace::new();
    place.write("port", "");
    fs::set_permissions(place.path("port"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(place.path("port")).is_ok() {
        println!("skipped: a port without permission: this user may open everything");
        return;
    }
    place.refuse("device info --port port", &["port", "no permission"]);
}

/// A serial line, whose other end is a board.
#[cfg(target_os = "linux")]
#[test]
fn a_serial_port_is_a_port_for_one_program() {
    let place = Workplace::new();
    let _board = Plugged::lenet(&place);
    let socket = UnixStream::connect(place.path("board")).unwrap();
    let (mut near, far) = SerialPort::pair().unwrap();
    near.set_read_timeout(Duration::from_millis(20)).unwrap();
    let path = fs::read_link(format!("/proc/self/fd/{}", far.as_raw_fd())).unwrap();
    let near = Arc::new(near);
    let (to_board, from_board) = (socket.try_clone().unwrap(), socket);
    let back = Arc::clone(&near);
    std::thread::spawn(move || copy(&*near, &to_board));
    std::thread::spawn(move || copy(&from_board, &*back));
    let line = format!("device info --port {}", path.display());
    let text = place.succeed(&line);
    assert!(text.contains("bench"), "{text}");
    let other = fs::File::open(&path).unwrap();
    other.try_lock().unwrap();
    place.refuse(&line, &[path.to_str().unwrap(), "another program"]);
}

/// Copies bytes until one end is gone.
fn copy<R, W>(mut from: &R, mut to: &W)
where
    for<'a> &'a R: Read,
    for<'a> &'a W: Write,
{
    let mut bytes = [0; 256];
    loop {
        match from.read(&mut bytes) {
            Ok(count @ 1..) if to.write_all(&bytes[..count]).is_ok() => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            _ => return,
        }
    }
}

#[test]
fn what_is_no_board_of_this_version_is_told_apart() {
    let mut state = 1_u32;
    let random = move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        vec![(state >> 24) as u8; 1 + (state >> 16) as usize % 9]
    };
    let of_version =
        |version| move |byte| if byte == 0 { frame_of_version(version) } else { vec![] };
    let refuses_version = |_| bytes(0, Reply::Refused(Fault::Version));
    let with = |info: Info<'static>| move |_: Request<'_>| Reply::Info(info);
    let boards: [(Babble, [&str; 2]); 6] = [
        (Box::new(|_| vec![]), ["no answer", "--baud"]),
        (Box::new(random), ["not a mirage board", "another"]),
        // A line that is short-circuited.
        (Box::new(|byte| vec![byte]), ["not a mirage board", "another"]),
        (Box::new(of_version(2)), ["version 2", "flash"]),
        (Box::new(of_version(7)), ["version 7", "flash"]),
        (Box::new(refuses_version), ["another version", "flash"]),
    ];
    std::thread::scope(|scope| {
        for (babble, words) in boards {
            scope.spawn(move || {
                let place = Workplace::new();
                let _board = Plugged::babbling(&place, babble);
                place.refuse("device evolve --port unix:board --out run", &words);
                assert!(!place.path("run").exists());
            });
        }
    });
    for (info, words) in [
        (Info { classes: 0, ..INFO }, ["0 classes", "cannot be"]),
        (Info { classes: u32::MAX, ..INFO }, ["4294967295 classes", "cannot be"]),
        (Info { input: [0, 28, 1], ..INFO }, ["0×28×1", "cannot be"]),
        (Info { input: [4096, 4096, 4096], ..INFO }, ["4096×4096×4096", "cannot be"]),
    ] {
        let place = Workplace::new();
        let _board = Plugged::answering(&place, with(info));
        place.refuse("device info --port unix:board", &words);
        place.refuse("evolve --device unix:board --out run", &words);
    }
}

type Babble = Box<dyn FnMut(u8) -> Vec<u8> + Send>;

/// A board that says what `info` says, and does nothing.
fn idle(place: &Workplace, info: Info<'static>) -> Plugged {
    Plugged::answering(place, move |request| match request {
        Request::Info => Reply::Info(info),
        Request::Stop => Reply::Ended { done: 0, digest: 0 },
        _ => Reply::Refused(Fault::Unsupported),
    })
}

#[test]
fn boards_that_would_not_compute_the_same_are_refused() {
    let place = Workplace::new();
    let line = format!("device evolve --port unix:board {RUN} --out run");
    let revision = Some(mirage_core::evolve::REVISION + 1);
    let board = idle(&place, Info { revision, model_sha256: model::MODEL.sha256, ..INFO });
    place.refuse(&line, &["revision", "flash"]);
    drop(board);
    fs::remove_file(place.path("board")).unwrap();
    let board = idle(&place, INFO);
    place.refuse(&line, &["strange", "a5a5a5a5a5a5", "--model FILE"]);
    place.refuse(&format!("{line} --model lenet"), &["--model", "lenet", "strange"]);
    place.write("other.q8", include_bytes!("../../host/models/lenet-small.q8"));
    place.refuse(&format!("{line} --model other.q8"), &["--model", "other.q8", "strange"]);
    drop(board);
    fs::remove_file(place.path("board")).unwrap();
    let _board = Plugged::halves(&place, clear(), clear());
    place.refuse(&line, &["only classifies", "evolve --device"]);
    assert!(!place.path("run").exists());
}

#[test]
fn a_model_of_ones_own_is_replayed() {
    let place = Workplace::new();
    let mut blob = include_bytes!("../../host/models/lenet.q8").to_vec();
    let at = blob.len() - 1000;
    blob[at] ^= 0x40;
    seal(&mut blob);
    place.write("own.q8", &blob);
    let sha256 = mirage::files::sha256(&blob);
    let sha256 = std::array::from_fn(|i| u8::from_str_radix(&sha256[2 * i..][..2], 16).unwrap());
    let own = Model { name: "own", sha256, blob: blob.leak() };
    let _board = Plugged::carrying(&place, own, clear(), clear());
    let text =
        place.succeed(&format!("device evolve --port unix:board --model own.q8 {RUN} --out run"));
    assert!(text.contains("host and board agree"), "{text}");
    assert_eq!(place.manifest("run")["model"]["name"], "own.q8");
}

/// The board unplugged after some frames, in the middle of one.
#[test]
fn an_unplugged_boards_run_goes_on_here() {
    let place = Workplace::new();
    let digest = on_host(&place, "");
    let evolve = "device evolve --port";
    let tries = [1, 2, 5, 20, 40, 55]
        .map(|frames| (evolve, frames))
        .into_iter()
        .chain([5, 70].map(|frames| ("evolve --device", frames)));
    for (run, (command, frames)) in tries.enumerate() {
        let (mut sent, unplugged) = (0, Arc::new(AtomicBool::new(false)));
        let signal = Arc::clone(&unplugged);
        let to_host = Box::new(move |frame: &mut Vec<u8>| {
            sent += 1;
            // Two answers come before the run.
            if sent == frames + 2 {
                frame.truncate(7);
                signal.store(true, Ordering::Relaxed);
            }
        });
        let board = Plugged::carrying(&place, model::MODEL, clear(), to_host);
        let line = format!("{command} unix:board {RUN} --out run{run}");
        let mut command = place.command(&line);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !unplugged.load(Ordering::Relaxed) {
            assert!(child.try_wait().unwrap().is_none(), "{frames} frames are all");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(board);
        fs::remove_file(place.path("board")).unwrap();
        let output = child.wait_with_output().unwrap();
        let go_on = format!("mirage evolve --resume --out run{run}");
        assert_refused(&output, &line, &["unix:board", "has gone", "of 6 generations", &go_on]);
        place.succeed(&format!("report run{run}"));
        place.succeed(&format!("evolve --resume --out run{run}"));
        assert_eq!(place.digest(&format!("run{run}")), digest, "{frames} frames");
        assert_same(&place, "host", &format!("run{run}"));
    }
}

#[test]
fn a_board_that_falls_silent_is_given_up() {
    let place = Workplace::new();
    let digest = on_host(&place, "");
    let mut sent = 0;
    let to_host = Box::new(move |frame: &mut Vec<u8>| {
        sent += 1;
        if sent > 40 {
            frame.clear();
        }
    });
    let _board = Plugged::carrying(&place, model::MODEL, clear(), to_host);
    let line = format!("device evolve --port unix:board {RUN} --out run");
    let output = place.command(&line).output().unwrap();
    assert_refused(&output, &line, &["does not answer any more", "mirage evolve --resume"]);
    place.succeed("evolve --resume --out run");
    assert_eq!(place.digest("run"), digest);
}

/// A board that begins, and then knows nothing of a run.
#[test]
fn a_board_that_was_reset_is_told_of() {
    let place = Workplace::new();
    let digest = on_host(&place, "");
    let empty = Archive::<Direct<[u8; 1]>, Vec<Cell<_>>>::new(vec![None; 10]);
    let empty = empty.digest().value();
    let _board = Plugged::answering(&place, move |request| match request {
        Request::Info => Reply::Info(Info { model_sha256: model::MODEL.sha256, ..INFO }),
        Request::Evolve(_) => Reply::Takeover { class: 0, id: 0, confidence: 0.5 },
        Request::Digest => Reply::Digest { done: 0, digest: empty },
        _ => Reply::Ended { done: 0, digest: empty },
    });
    let line = format!("device evolve --port unix:board {RUN} --out run");
    let output = place.command(&line).output().unwrap();
    assert_refused(&output, &line, &["was it reset?", "0 of 6", "mirage evolve --resume"]);
    place.succeed("evolve --resume --out run");
    assert_eq!(place.digest("run"), digest);
}

#[test]
fn a_line_that_damages_frames_delays_a_run_and_changes_nothing() {
    for (period, options) in [(997, ""), (211, ""), (1499, "--encoding direct")] {
        let place = Workplace::new();
        let digest = on_host(&place, options);
        let (there, back) = (noise(period / 5), noise(period));
        let _board = Plugged::carrying(&place, model::MODEL, there, back);
        let line = format!("device evolve --port unix:board {RUN} {options} --out run");
        let text = place.succeed(&line);
        assert!(text.ends_with(&format!("host and board agree: digest {digest}\n")), "{text}");
        assert_eq!(place.digest("run"), digest);
        place.succeed("report run");
        for run in ["host", "run"] {
            place.succeed(&format!("evolve --resume --generations 9 --out {run}"));
        }
        assert_eq!(place.digest("run"), place.digest("host"));
    }
}

/// Each kind of frame that a run consists of, lost where it matters most.
#[test]
fn every_lost_frame_is_made_up_for() {
    let is_end = |reply: &Reply<'_>, of: u32| match reply {
        Reply::Generation { done, .. } => *done == of,
        _ => false,
    };
    let ways: [(&str, Loses); 5] = [
        ("the end of a generation", Box::new(move |reply| is_end(reply, 3))),
        ("ends of generations", Box::new(move |reply| (1..=5).any(|of| is_end(reply, of)))),
        ("the end of the last", Box::new(move |reply| is_end(reply, 6))),
        ("the end of the run", Box::new(|reply| matches!(reply, Reply::Ended { done: 6, .. }))),
        (
            "both ends",
            Box::new(move |reply| {
                is_end(reply, 6) || matches!(reply, Reply::Ended { done: 6, .. })
            }),
        ),
    ];
    std::thread::scope(|scope| {
        for (what, is_lost) in ways {
            scope.spawn(move || {
                let place = Workplace::new();
                let digest = on_host(&place, "");
                let way = losing(is_lost);
                let _board = Plugged::carrying(&place, model::MODEL, clear(), way);
                let line = format!("device evolve --port unix:board {RUN} --out run");
                let text = place.succeed(&line);
                let agree = format!("host and board agree: digest {digest}\n");
                assert!(text.ends_with(&agree), "{what}: {text}");
                // Nobody who held a cell was lost.
                assert_same(&place, "host", "run");
            });
        }
    });
    // Every takeover in turn, and then all of them.
    for lost in (0..60).step_by(7).map(Some).chain([None]) {
        let place = Workplace::new();
        let digest = on_host(&place, "");
        let mut count = 0;
        let way = losing(move |reply| match reply {
            Reply::Takeover { .. } => {
                count += 1;
                lost.is_none_or(|lost| lost + 1 == count)
            }
            _ => false,
        });
        let _board = Plugged::carrying(&place, model::MODEL, clear(), way);
        let text = place.succeed(&format!("device evolve --port unix:board {RUN} --out run"));
        assert!(text.ends_with(&format!("agree: digest {digest}\n")), "{lost:?}: {text}");
        assert_eq!(heights(&place, "run"), heights(&place, "host"), "{lost:?}");
        place.succeed("report run");
    }
}

/// The confidence that each class rose to. When it did may be noticed late.
fn heights(place: &Workplace, run: &str) -> BTreeMap<String, String> {
    let history = String::from_utf8(place.read(&format!("{run}/history.csv"))).unwrap();
    let height = |row: &str| {
        let [_, _, class, confidence] = row.split(',').collect::<Vec<_>>().try_into().unwrap();
        (class.to_owned(), confidence.to_owned())
    };
    history.lines().skip(1).map(height).collect()
}

/// Info, stop, evolve, and one of the questions at the end.
#[test]
fn every_lost_request_is_sent_again() {
    let place = Workplace::new();
    let digest = on_host(&place, "");
    for lost in [1, 2, 3, 6] {
        let way = losing_read(lost);
        let board = Plugged::carrying(&place, model::MODEL, way, clear());
        let line = format!("device evolve --port unix:board {RUN} --out run{lost}");
        let text = place.succeed(&line);
        assert!(text.ends_with(&format!("agree: digest {digest}\n")), "{lost}: {text}");
        assert_same(&place, "host", &format!("run{lost}"));
        drop(board);
        fs::remove_file(place.path("board")).unwrap();
    }
}

type Loses = Box<dyn FnMut(&Reply<'_>) -> bool + Send>;

#[test]
fn a_board_that_still_runs_for_another_listens() {
    let place = Workplace::new();
    let digest = on_host(&place, "");
    let _board = Plugged::lenet(&place);
    let long = "device evolve --port unix:board --children 50 --generations 100000 --out long";
    let mut child = place.command(long).stdout(Stdio::null()).spawn().unwrap();
    while !place.path("long/checkpoint.bin").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(place.succeed("device info --port unix:board").contains("bench"));
    let text = place.succeed(&format!("device evolve --port unix:board {RUN} --out run"));
    assert!(text.ends_with(&format!("agree: digest {digest}\n")), "{text}");
    // And what that other had is a run that goes on.
    place.succeed("report long");
    place.succeed("evolve --resume --generations 100 --out long");
    place.succeed("evolve --children 50 --generations 100 --out whole");
    assert_same(&place, "whole", "long");
}

#[test]
fn a_board_in_the_loop_gives_the_bits_of_this_machine() {
    for options in ["", "--encoding direct", "--coordinates pixels"] {
        let place = Workplace::new();
        on_host(&place, options);
        {
            let _board = Plugged::lenet(&place);
            let run = place.json(&format!("evolve --device unix:board {RUN} {options}"));
            let folder = run["folder"].as_str().unwrap();
            assert!(folder.starts_with("runs/bench-lenet-mnist-"), "{folder}");
            assert_eq!(run["digest"], place.digest("host"));
            place.copy(folder, "run");
        }
        assert_same(&place, "host", "run");
        let manifest = place.manifest("run");
        assert_eq!(manifest["model"]["name"], "lenet");
        assert_eq!(manifest["model"]["kind"], "board");
        assert_eq!(manifest["machine"]["board"], "bench");
        assert_eq!(manifest["machine"]["threads"], 1);
        // The board has gone.
        place.succeed("report run");
        for run in ["host", "run"] {
            place.succeed(&format!("evolve --resume --generations 9 --out {run}"));
        }
        assert_same(&place, "host", "run");
    }
}

#[test]
fn a_classifier_of_ones_own_is_fooled_over_a_bad_line() {
    let place = Workplace::new();
    let board = Plugged::halves(&place, noise(4001), noise(499));
    let run = place.json(&format!("evolve --device unix:board {RUN} --out run"));
    assert_eq!(run["model"], "halves");
    assert_eq!(run["classes"], 2);
    assert!(run["median_confidence"].as_f64().unwrap() > 0.5, "{run}");
    place.succeed("evolve --device unix:board --resume --generations 8 --out run");
    place.refuse("report run", &["halves", "on a board", "--device"]);
    drop(board);
    let digest = place.digest("run");
    place.refuse("evolve --device unix:board --resume --generations 9 --out run", &["unix:board"]);
    assert_eq!(place.digest("run"), digest);
}

#[test]
fn scores_that_cannot_be_are_refused() {
    for scores in [&[0; 39][..], &[0; 44], &[0xff, 0xff, 0x7f, 0x7f].repeat(10)] {
        let scores: &'static [u8] = scores.to_vec().leak();
        let place = Workplace::new();
        let _board = Plugged::answering(&place, move |request| match request {
            Request::Classify(_) => Reply::Scores(scores),
            _ => Reply::Info(Info { revision: None, ..INFO }),
        });
        let line = format!("evolve --device unix:board {RUN} --out run");
        place.refuse(&line, &["unix:board", "cannot be"]);
    }
}

/// Programs that are missing or fail, by stand-ins of theirs.
#[test]
fn an_emulator_that_does_not_work_says_why() {
    let place = Workplace::new();
    place.write("board.elf", "");
    let script = |name: &str, text: &str| {
        place.write(&format!("bin/{name}"), format!("#!/bin/sh\n{text}\n"));
        let path = place.path(&format!("bin/{name}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    place.write("bin/none", "");
    let refuse = |line: &str, words: &[&str]| {
        let mut command = place.command(line);
        place.refuse_command(command.env("PATH", place.path("bin")), line, words);
    };
    refuse("device info --emulate m4f --firmware none.elf", &["--firmware", "none.elf"]);
    let with_firmware = "device evolve --emulate m4f --firmware board.elf --out run";
    let install = "apt-get install qemu-system-arm";
    refuse(with_firmware, &["--emulate m4f", install]);
    refuse("device info --emulate stm32", &["--emulate stm32", install]);
    refuse("device info --emulate riscv", &["riscv32", "apt-get install qemu-system-misc"]);
    script("qemu-system-arm", "echo first >&2; echo 'qemu: no such machine' >&2; exit 1");
    refuse(with_firmware, &["--emulate m4f", "qemu: no such machine"]);
    refuse("device info --emulate m0", &["cargo is not installed", "--firmware ELF"]);
    refuse("device info --emulate m0 --model lenet-float", &["lenet-float", "mirage quantize"]);
    script("cargo", "exit 0");
    script("rustc", "echo /nowhere");
    refuse("device info --emulate m0", &["rustup target add thumbv6m-none-eabi"]);
    script("rustc", "echo /");
    refuse("device info --emulate m0", &["--emulate", "go to the repository", "--firmware ELF"]);
    assert!(!place.path("run").exists());
}
