//! HTTP spoken by hand, so that tests can also speak it badly.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the fields, in lower case.
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The pixels of a PNG file.
    pub(crate) fn pixels(&self) -> Vec<u8> {
        assert_eq!(self.field("content-type"), Some("image/png"));
        let mut reader = png::Decoder::new(io::Cursor::new(&self.body)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    }
}

/// The answer to a request of these lines, after which the connection ends.
pub(crate) fn say(address: SocketAddr, lines: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).unwrap();
    answer(&mut stream)
}

/// What comes until the connection ends.
pub(crate) fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    say(address, &[&format!("GET {path} HTTP/1.1"), &format!("Host: {address}")])
}

/// What is newer than a version.
pub(crate) fn state(address: SocketAddr, since: u64) -> Value {
    let answer = get(address, &format!("/state/{since}"));
    assert_eq!((answer.status, answer.field("cache-control")), (200, Some("no-store")));
    answer.json()
}
