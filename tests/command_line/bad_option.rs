//! Options that make no sense.

use crate::program::Workplace;

#[test]
fn values_out_of_range_are_refused() {
    let place = Workplace::new();
    for (line, words) in [
        ("evolve --generations 0", ["--generations", "1..="]),
        ("evolve --generations 4294967296", ["--generations", "4294967295"]),
        ("evolve --seed x", ["'x'", "--seed"]),
        ("evolve --seed -1", ["-1", "mirage evolve --help"]),
        ("evolve --seed 18446744073709551616", ["--seed", "mirage evolve --help"]),
        ("evolve --threads 0", ["--threads", "1..=1024"]),
        ("evolve --threads 1025", ["--threads", "1..=1024"]),
        ("evolve --children 0", ["--children", "1..="]),
        ("evolve --children 1000001", ["--children", "1000000"]),
        ("evolve --preset mnist", ["--preset \"mnist\"", "mnist-cppn"]),
        ("evolve --encoding cpn", ["--encoding", "cppn, direct"]),
        ("evolve --encoding cppn --preset mnist-cppn", ["--encoding", "--preset"]),
        ("evolve --encoding direct --math micromath", ["--math", "leave it out"]),
        ("evolve --encoding direct --coordinates pixels", ["--coordinates", "leave it out"]),
        ("evolve --nonsense", ["--nonsense", "mirage evolve --help"]),
        ("evolve --out=", ["--out", "mirage evolve --help"]),
        ("nonsense", ["nonsense", "mirage --help"]),
        ("classify", ["<IMAGE>", "mirage classify --help"]),
        ("report", ["<RUN>", "mirage report --help"]),
        ("data pull imagenet", ["mnist", "mirage data pull --help"]),
        ("train --out o --epochs 0", ["--epochs", "mirage train --help"]),
        ("train --out o --threads 1025", ["--threads", "1..=1024"]),
        ("quantize m --out o --threads 0", ["--threads", "1..=1024"]),
        ("train --out o --learning-rate nan", ["--learning-rate", "try 0.01"]),
        ("quantize m.onnx", ["--out", "mirage quantize --help"]),
        ("completions dosh", ["dosh", "bash"]),
    ] {
        place.refuse(line, &words);
    }
}

#[test]
fn help_and_version_are_results() {
    let place = Workplace::new();
    for line in ["--help", "--version", "evolve --help", "data pull --help", "help evolve"] {
        assert!(!place.succeed(line).is_empty());
    }
    let nothing = place.command("").output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("Usage: mirage"));
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_are_refused_or_taken_as_paths() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let place = Workplace::new();
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    let mut command = place.command("evolve --model");
    place.refuse_command(command.arg(bytes), "--model", &["UTF-8"]);
    let mut command = place.command("evolve --generations 1 --children 3 --out");
    assert!(command.arg(bytes).output().unwrap().status.success());
    let mut command = place.command("report");
    assert!(command.arg(bytes).output().unwrap().status.success());
    let mut command = place.command("classify");
    place.refuse_command(command.arg("a\n\u{1b}b"), "classify", &["a\\n\\u{1b}b"]);
}
