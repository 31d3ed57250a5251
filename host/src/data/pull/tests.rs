//! Pulls over real HTTP from a small server on this machine.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;

/// How the server treats a request.
#[derive(Clone, Copy, PartialEq)]
enum Manners {
    /// Ranges are honoured.
    Good,
    /// The first answer breaks off after half of the file.
    DropsOnce,
    /// Every answer breaks off after three more bytes.
    DropsAlways,
    /// Ranges are ignored: always the whole file.
    NoRanges,
    /// 404.
    Missing,
    /// 503.
    Busy,
    /// Another file of the right length.
    Wrong,
    /// A body without end, of unknown length.
    Endless,
    /// Another beginning, broken off there; the rest is right, and so is the next whole file.
    Changes,
    /// The first answer falls silent after half of the file.
    SilentOnce,
    /// No answer.
    Silent,
    /// A few bytes at a time, never long after one another.
    Slow,
    /// The first request is sent elsewhere.
    Redirects,
}

/// A server that holds one file; `requests` collects the range of each request, or "".
struct Server {
    base: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(manners: Manners, content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up early is part of the tests.
                let _ = answer(stream.unwrap(), manners, &content, &seen);
            }
        });
        Self { base, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    manners: Manners,
    content: &[u8],
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut range = String::new();
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: ") {
            range = value.to_owned();
        }
    }
    let first = {
        let mut seen = seen.lock().unwrap();
        seen.push(range.clone());
        seen.len() == 1
    };
    let start = match range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')) {
        Some(start) if manners != Manners::NoRanges => start.parse().unwrap(),
        _ => 0,
    };
    let total = content.len();
    let mut body = content.get(start..).unwrap_or_default().to_vec();
    let length = body.len();
    let mut head = match start {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ if start >= total => {
            format!("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\n")
        }
        _ => {
            let range = format!("bytes {start}-{}/{total}", total - 1);
            format!("HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\n")
        }
    };
    match manners {
        Manners::DropsOnce if first => body.truncate(total / 2),
        Manners::DropsAlways => body.truncate(3),
        Manners::Missing => head = "HTTP/1.1 404 Not Found\r\n".to_owned(),
        Manners::Busy => head = "HTTP/1.1 503 Service Unavailable\r\n".to_owned(),
        Manners::Wrong => body.fill(7),
        Manners::Changes if first => {
            body.truncate(total / 2);
            body.fill(7);
        }
        Manners::SilentOnce if first => {
            write!(stream, "{head}Content-Length: {length}\r\n\r\n")?;
            stream.write_all(&body[..total / 2])?;
            return until_hung_up(stream);
        }
        Manners::Silent => return until_hung_up(stream),
        Manners::Slow => {
            write!(stream, "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
            for bytes in body.chunks(total.div_ceil(10)) {
                thread::sleep(LIMITS.wait / 5);
                stream.write_all(bytes)?;
            }
            return Ok(());
        }
        Manners::Redirects if first => {
            return stream.write_all(
                b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
        Manners::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[7; 4096])?;
            }
        }
        _ => {}
    }
    stream.write_all(head.as_bytes())?;
    write!(stream, "Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&body)
}

/// Waits for the client to give up.
fn until_hung_up(mut stream: TcpStream) -> io::Result<()> {
    stream.read(&mut [0]).map(|_| ())
}

/// Short enough for tests, long enough for a busy machine.
const LIMITS: Limits =
    Limits { wait: Duration::from_millis(500), pause: Duration::from_millis(10) };

const PLAIN: &[u8] = b"eight by eight is sixty-four; the rest is noise 0123456789";
const FILE: DataFile<'static> = DataFile {
    name: "digits.gz",
    size: PLAIN.len() as u64,
    md5: "1a27d683983a300d3d0538d66cbd0ebf",
};

/// The same content, to be fetched as it is.
fn network(urls: &[&str]) -> Wanted<'static> {
    Wanted {
        folder: "models",
        name: "small.onnx",
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        size: PLAIN.len() as u64,
        check: Check::Plain {
            sha256: "6c0f41156587e4b8671035c6206844a82ce2398a480eaef51ddbfd15aff0809c",
        },
        command: "mirage models pull small".to_owned(),
    }
}

fn compressed() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(PLAIN).unwrap();
    encoder.finish().unwrap()
}

/// Pulls from the servers into `to`; returns how the file came.
fn pull_from(servers: &[&Server], to: &Path) -> Result<Origin, PullError> {
    let mirrors: Vec<&str> = servers.iter().map(|server| server.base.as_str()).collect();
    let set = DataSet { name: "small", mirrors: &mirrors, files: &[FILE] };
    let file = set.wanted(&FILE);
    let placed = place_within(&file, to, None, LIMITS)?;
    assert_eq!(placed.path, to.join("small/digits.gz"));
    inspect(&file, &placed.path).unwrap();
    let others: Vec<_> = fs::read_dir(to.join("small")).unwrap().collect();
    assert_eq!(others.len(), 1, "parts are left: {others:?}");
    Ok(placed.origin)
}

#[test]
fn downloads_once_and_then_keeps() {
    let server = Server::start(Manners::Good, compressed());
    let to = tempfile::tempdir().unwrap();
    assert_eq!(pull_from(&[&server], to.path()).unwrap(), Origin::Downloaded);
    assert_eq!(pull_from(&[&server], to.path()).unwrap(), Origin::Kept);
    assert_eq!(server.requests(), [""]);
}

#[test]
fn a_broken_transfer_continues_where_it_stopped() {
    let content = compressed();
    let half = format!("bytes={}-", content.len() / 2);
    let server = Server::start(Manners::DropsOnce, content);
    let to = tempfile::tempdir().unwrap();
    pull_from(&[&server], to.path()).unwrap();
    assert_eq!(server.requests(), ["", &half]);
}

#[test]
fn a_part_left_by_an_earlier_pull_is_continued() {
    let content = compressed();
    for held in [1, 10, content.len()] {
        let server = Server::start(Manners::Good, content.clone());
        let to = tempfile::tempdir().unwrap();
        fs::create_dir(to.path().join("small")).unwrap();
        fs::write(to.path().join("small/digits.gz.1.part"), &content[..held]).unwrap();
        pull_from(&[&server], to.path()).unwrap();
        assert_eq!(server.requests(), [format!("bytes={held}-")]);
    }
}

#[test]
fn a_useless_part_is_fetched_again() {
    let content = compressed();
    // Another beginning, and a part that is longer than the file.
    for held in [10, content.len() + 9] {
        let server = Server::start(Manners::Good, content.clone());
        let to = tempfile::tempdir().unwrap();
        fs::create_dir(to.path().join("small")).unwrap();
        fs::write(to.path().join("small/digits.gz.1.part"), vec![7; held]).unwrap();
        pull_from(&[&server], to.path()).unwrap();
        assert_eq!(server.requests(), [&format!("bytes={held}-"), ""]);
    }
}

#[test]
fn a_server_without_ranges_sends_everything() {
    let content = compressed();
    let server = Server::start(Manners::NoRanges, content.clone());
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("small")).unwrap();
    fs::write(to.path().join("small/digits.gz.1.part"), &content[..20]).unwrap();
    pull_from(&[&server], to.path()).unwrap();
    assert_eq!(server.requests(), ["bytes=20-"]);
}

#[test]
fn the_second_mirror_steps_in() {
    for manners in [Manners::Missing, Manners::Wrong, Manners::DropsAlways, Manners::Endless] {
        let first = Server::start(manners, compressed());
        let second = Server::start(Manners::Good, compressed());
        let to = tempfile::tempdir().unwrap();
        assert_eq!(pull_from(&[&first, &second], to.path()).unwrap(), Origin::Downloaded);
        assert_eq!(second.requests(), [""]);
    }
}

#[test]
fn a_damaged_file_stays_until_a_good_one_is_there() {
    let to = tempfile::tempdir().unwrap();
    let path = to.path().join("small/digits.gz");
    fs::create_dir(to.path().join("small")).unwrap();
    fs::write(&path, b"damaged").unwrap();
    let bad = Server::start(Manners::Wrong, compressed());
    pull_from(&[&bad], to.path()).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"damaged");
    let good = Server::start(Manners::Good, compressed());
    assert_eq!(pull_from(&[&good], to.path()).unwrap(), Origin::Downloaded);
}

#[test]
fn failures_name_the_mirrors_and_the_remedy() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        Server { base, requests: Arc::default() }
    };
    let missing = Server::start(Manners::Missing, compressed());
    let busy = Server::start(Manners::Busy, compressed());
    let to = tempfile::tempdir().unwrap();
    let message = pull_from(&[&gone, &missing, &busy], to.path()).unwrap_err().to_string();
    for word in ["digits.gz", "refused", "404", "503", "mirage data pull small --from DIR"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(!message.contains('\n'), "{message}");
    assert_eq!(busy.requests().len(), 4);
    assert_eq!(fs::read_dir(to.path().join("small")).unwrap().count(), 0, "empty parts are left");
}

#[test]
fn copies_from_a_folder() {
    let set = DataSet { name: "small", mirrors: &[], files: &[FILE] };
    for (name, bytes) in [
        ("digits.gz", compressed()),
        ("digits", PLAIN.to_vec()),
        ("small/digits.gz", compressed()),
        ("small/digits", PLAIN.to_vec()),
    ] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("small")).unwrap();
        fs::write(from.path().join(name), bytes).unwrap();
        let placed = pull(&set, to.path(), Some(from.path())).unwrap();
        assert_eq!(placed[0].origin, Origin::Copied);
        inspect(&set.wanted(&FILE), &placed[0].path).unwrap();
        assert_eq!(pull(&set, to.path(), Some(from.path())).unwrap()[0].origin, Origin::Kept);
    }
}

#[test]
fn bad_copies_are_refused() {
    let set = DataSet { name: "small", mirrors: &[], files: &[FILE] };
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let message = pull(&set, to.path(), Some(from.path())).unwrap_err().to_string();
    assert!(message.contains("no digits.gz or digits there or in its folder small"), "{message}");
    let mut long = PLAIN.to_vec();
    long.push(0);
    let mut other = PLAIN.to_vec();
    other[0] ^= 1;
    let cut = compressed()[..30].to_vec();
    for (name, bytes, word) in [
        ("digits", PLAIN[1..].to_vec(), "bytes instead of"),
        ("digits", long, "more than"),
        ("digits", other, "MD5"),
        ("digits.gz", cut, "not the original file"),
        ("digits.gz", b"no gzip".to_vec(), "not the original file"),
    ] {
        fs::write(from.path().join(name), bytes).unwrap();
        let message = pull(&set, to.path(), Some(from.path())).unwrap_err().to_string();
        assert!(message.contains(word) && message.contains(name), "{message}");
        assert_eq!(fs::read_dir(to.path().join("small")).unwrap().count(), 0);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let to = tempfile::tempdir().unwrap();
    fs::write(to.path().join("small"), b"a file").unwrap();
    let set = DataSet { name: "small", mirrors: &[], files: &[FILE] };
    let message = pull(&set, to.path(), None).unwrap_err().to_string();
    assert!(message.starts_with("cannot use ") && message.contains("small"), "{message}");
}

/// Pulls a file that is not compressed from a server, and whatever is then in its folder.
fn pull_network(server: &Server, to: &Path) -> (Result<Origin, PullError>, Vec<Vec<u8>>) {
    let url = format!("{}some/where?download=true", server.base);
    let result = place_within(&network(&[&url]), to, None, LIMITS).map(|placed| {
        assert_eq!(placed.path, to.join("models/small.onnx"));
        placed.origin
    });
    let files = fs::read_dir(to.join("models")).unwrap();
    (result, files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect())
}

#[test]
fn plain_files_come_through_what_networks_do() {
    let half = format!("bytes={}-", PLAIN.len() / 2);
    for (manners, requests) in [
        (Manners::Good, vec![""]),
        (Manners::DropsOnce, vec!["", &half]),
        (Manners::SilentOnce, vec!["", &half]),
        (Manners::Slow, vec![""]),
        (Manners::Redirects, vec!["", ""]),
        (Manners::Changes, vec!["", &half, ""]),
    ] {
        let server = Server::start(manners, PLAIN.to_vec());
        let to = tempfile::tempdir().unwrap();
        let (result, files) = pull_network(&server, to.path());
        assert_eq!(result.unwrap(), Origin::Downloaded);
        assert_eq!(files, [PLAIN]);
        assert_eq!(server.requests(), requests);
        assert_eq!(pull_network(&server, to.path()).0.unwrap(), Origin::Kept);
    }
}

#[test]
fn a_plain_part_is_continued_or_fetched_again() {
    let half = PLAIN.len() / 2;
    let from_half = format!("bytes={half}-");
    for (part, manners, requests) in [
        (&PLAIN[..half], Manners::Good, vec![from_half.as_str()]),
        (&PLAIN[..half], Manners::NoRanges, vec![from_half.as_str()]),
        (&[7; 29][..half], Manners::Good, vec![from_half.as_str(), ""]),
    ] {
        let server = Server::start(manners, PLAIN.to_vec());
        let to = tempfile::tempdir().unwrap();
        fs::create_dir(to.path().join("models")).unwrap();
        fs::write(to.path().join("models/small.onnx.1.part"), part).unwrap();
        let (result, files) = pull_network(&server, to.path());
        assert_eq!(result.unwrap(), Origin::Downloaded);
        assert_eq!(files, [PLAIN]);
        assert_eq!(server.requests(), requests);
    }
}

#[test]
fn other_plain_files_are_refused_and_not_kept() {
    let longer = [PLAIN, b"!"].concat();
    for (manners, content, requests, words) in [
        (Manners::Wrong, PLAIN, 1, ["SHA-256 ", " instead of "]),
        (Manners::Good, &longer, 1, ["has 59 bytes", "58 are expected"]),
        (Manners::Good, &PLAIN[1..], 1, ["57 bytes", "instead of 58"]),
        (Manners::Endless, PLAIN, 1, ["or more", "58 are expected"]),
        (Manners::Missing, PLAIN, 1, ["404", "--from DIR"]),
        (Manners::Silent, PLAIN, 4, ["timeout", "--from DIR"]),
    ] {
        let server = Server::start(manners, content.to_vec());
        let to = tempfile::tempdir().unwrap();
        let (result, files) = pull_network(&server, to.path());
        let message = result.unwrap_err().to_string();
        for word in words.iter().chain(&["small.onnx", "mirage models pull small"]) {
            assert!(message.contains(word), "{word}: {message}");
        }
        assert!(!message.contains('\n'), "{message}");
        assert!(files.is_empty(), "{message}: {files:?}");
        assert_eq!(server.requests().len(), requests, "{message}");
    }
}

#[test]
fn a_file_without_an_address_is_copied() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = network(&[]);
    let message = place(&file, to.path(), None).unwrap_err().to_string();
    assert!(message.contains("small.onnx") && message.contains("--from DIR"), "{message}");
    fs::create_dir(from.path().join("models")).unwrap();
    fs::write(from.path().join("models/small.onnx"), PLAIN).unwrap();
    let placed = place(&file, to.path(), Some(from.path())).unwrap();
    assert_eq!(placed.origin, Origin::Copied);
    assert_eq!(fs::read(placed.path).unwrap(), PLAIN);
}
