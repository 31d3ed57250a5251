//! `mirage models`: networks that are known by name.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;

use reference::data::external;

use crate::program::Workplace;

/// Where the program has its data in a [`Workplace`].
const DATA: &str = "no-data/mirage";

/// The address of a server that gives everyone the same answer.
fn server(status: &'static str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = BufReader::new(stream.try_clone().unwrap()).lines();
            request.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
            // A client that hangs up early is part of the tests.
            let _ = write!(stream, "{head}Connection: close\r\n\r\n");
            let _ = stream.write_all(&body);
        }
    });
    format!("http://{address}/any/name")
}

/// The folder with the networks that have no public address.
fn networks(test: &str) -> Option<PathBuf> {
    let network = external(test, "models/squeezenet-v1.0.onnx")?.canonicalize().unwrap();
    Some(network.parent()?.parent()?.to_owned())
}

/// The names of the files in a folder, if there is one.
fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn networks_are_listed() {
    let place = Workplace::new();
    let list = place.json("models list");
    let row = |name: &str| {
        let rows = list["models"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap().clone()
    };
    assert_eq!(row("caffenet")["bytes"], 243_863_798);
    assert_eq!(row("caffenet")["state"], "absent");
    assert_eq!(row("lenet")["state"], "built-in");
    place.write(&format!("{DATA}/models/squeezenet1.1-7.onnx"), "cut");
    let text = place.succeed("models list");
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("caffenet ").ends_with("243.86 MB  not here"), "{text}");
    assert!(line("squeezenet1.1 ").ends_with("damaged"), "{text}");
    assert!(line("lenet ").ends_with("built in"), "{text}");
}

#[test]
fn networks_that_are_not_here_are_told_of() {
    let place = Workplace::new();
    let text = place.succeed("models info caffenet");
    for word in [
        "not here: ",
        "caffenet-12.onnx",
        "mirage models pull caffenet\n",
        "256 × 256 (height × width), colour",
        "224 × 224 (height × width)",
        "BGR, pixel - (104, 117, 123)",
        "1000",
        "ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let info = place.json("models info squeezenet-v1.0");
    assert_eq!(info["state"], "absent");
    assert_eq!(info["pull"], "mirage models pull squeezenet-v1.0 --from DIR");
}

#[test]
fn built_in_networks_and_files_are_told_of() {
    let place = Workplace::new();
    place.write("own.q8", crate::program::LENET);
    let built_in = place.json("models info lenet");
    let own = place.json("models info own.q8");
    assert_eq!((&built_in["state"], &own["state"]), (&"built-in".into(), &"here".into()));
    for key in ["bytes", "sha256", "kind", "picture", "channels", "classes"] {
        assert_eq!(built_in[key], own[key], "{key}");
    }
    assert_eq!(own["picture"], serde_json::json!([28, 28]));
    assert_eq!(place.succeed("models pull lenet"), "lenet  built in\n");
}

#[test]
fn networks_are_copied_with_their_labels() {
    let Some(from) = networks("networks_are_copied_with_their_labels") else { return };
    let place = Workplace::new();
    let line = format!("models pull squeezenet-v1.0 --from {}", from.display());
    for origin in ["copied", "kept"] {
        let pulled = &place.json(&line)["models"][0];
        for (i, path) in
            ["models/squeezenet-v1.0.onnx", "imagenet/synset_words.txt"].iter().enumerate()
        {
            let file = &pulled["files"][i];
            assert_eq!(file["origin"], origin);
            assert!(file["path"].as_str().unwrap().ends_with(path), "{file}");
            assert_eq!(
                std::fs::read(from.join(path)).unwrap(),
                place.read(&format!("{DATA}/{path}"))
            );
        }
        assert_eq!(pulled["missing"], serde_json::json!([]));
    }
    assert!(place.succeed("models list").contains("5.00 MB  here\n"));
    place.succeed("models pull squeezenet-v1.0");

    // The network from its folder alone: without labels, which is said.
    let place = Workplace::new();
    place.write(
        "flat/squeezenet-v1.0.onnx",
        std::fs::read(from.join("models/squeezenet-v1.0.onnx")).unwrap(),
    );
    let text = place.succeed("models pull squeezenet-v1.0 --from flat");
    assert!(text.contains("synset_words.txt  not to be had"), "{text}");
}

#[test]
fn networks_are_downloaded_from_an_address_given() {
    let Some(from) = networks("networks_are_downloaded_from_an_address_given") else { return };
    let network = std::fs::read(from.join("models/lenet-caffe.onnx")).unwrap();
    let place = Workplace::new();
    let url = server("200 OK", network.clone());
    let pulled = place.json(&format!("models pull lenet-caffe --url {url}"));
    assert_eq!(pulled["models"][0]["files"][0]["origin"], "downloaded");
    assert_eq!(place.read(&format!("{DATA}/models/lenet-caffe.onnx")), network);
    assert_eq!(names(&place.path(&format!("{DATA}/models"))), ["lenet-caffe.onnx"]);

    let text = place.succeed("models info lenet-caffe");
    for word in ["here: ", "pixel/256", "28 × 28 (height × width), grey", "no: classes are numbers"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn other_files_are_not_networks() {
    let place = Workplace::new();
    place.write("other/models/squeezenet-v1.0.onnx", "another network");
    place.write("empty/file", "");
    let missing = server("404 Not Found", Vec::new());
    let short = server("200 OK", b"another network".to_vec());
    let wrong = server("200 OK", vec![7; 5_002_997]);
    let long = server("200 OK", vec![7; 5_002_998]);
    let pull = "models pull squeezenet-v1.0";
    for (options, words) in [
        (String::new(), vec!["no public address", "mirage models pull squeezenet-v1.0 --from DIR"]),
        (format!("--url {missing}"), vec!["404", missing.as_str(), "--from DIR"]),
        (format!("--url {short}"), vec!["15 bytes instead of 5002997", "not the original"]),
        (format!("--url {wrong}"), vec!["SHA-256", "instead of 5b709109", "not the original"]),
        (format!("--url {long}"), vec!["5002998 bytes", "5002997"]),
        ("--url ftp://example.org/x".to_owned(), vec!["--url", "ftp://example.org/x", "https://"]),
        ("--url models/x.onnx".to_owned(), vec!["--url", "models/x.onnx", "https://"]),
        (
            "--from other".to_owned(),
            vec!["--from", "other/models/squeezenet-v1.0.onnx", "15 bytes"],
        ),
        (
            "--from empty".to_owned(),
            vec!["--from empty", "no squeezenet-v1.0.onnx", "name the folder"],
        ),
        ("--from nowhere".to_owned(), vec!["--from nowhere", "name the folder"]),
    ] {
        place.refuse(&format!("{pull} {options}"), &words);
        assert!(names(&place.path(&format!("{DATA}/models"))).is_empty(), "{options}");
    }
    // What is in its place stays there, and is not taken for the network.
    place.write(&format!("{DATA}/models/squeezenet-v1.0.onnx"), "damaged");
    place.refuse(&format!("{pull} --from other"), &["other/models/squeezenet-v1.0.onnx"]);
    place.refuse(&format!("{pull} --url {missing}"), &["404"]);
    place.refuse("models info squeezenet-v1.0", &["SHA-256", "mirage models pull squeezenet-v1.0"]);
}

#[test]
fn unknown_networks_are_refused_before_any_is_fetched() {
    let place = Workplace::new();
    place.write("other.onnx", "no network");
    let known = ["caffenet", "squeezenet-v1.0", "lenet-small"];
    place.refuse("models pull lenet-caffe no-net", &[&["\"no-net\""], &known[..]].concat());
    place.refuse("models info no-net", &[&["\"no-net\"", "no such file"], &known[..]].concat());
    place.refuse("models info other.onnx", &["other.onnx"]);
    place
        .refuse("models pull alexnet caffenet --url http://localhost/x", &["--url", "one network"]);
    place.refuse("models pull", &["NAME", "mirage models pull --help"]);
    place.refuse("models pull alexnet --url http://x/ --from x", &["--url", "--from"]);
    assert!(!place.path(DATA).exists());
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_named() {
    let Some(from) = networks("a_full_disk_is_named") else { return };
    let place = Workplace::new();
    let network = std::fs::read(from.join("models/squeezenet-v1.0.onnx")).unwrap();
    let url = server("200 OK", network);
    for source in [format!("--from {}", from.display()), format!("--url {url}")] {
        let script = format!(
            "trap '' XFSZ; ulimit -f 100; exec \"$MIRAGE\" models pull squeezenet-v1.0 {source}"
        );
        let words = ["squeezenet-v1.0.onnx", "check permissions and free space"];
        place.refuse_command(&mut place.shell(&script), &script, &words);
        // A download can be continued when there is room again, a copy need not.
        let left = names(&place.path(&format!("{DATA}/models")));
        assert_eq!(left.len(), usize::from(source.starts_with("--url")), "{left:?}");
    }
}
