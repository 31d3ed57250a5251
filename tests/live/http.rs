//! What the server answers, and that no client is in another's way, nor in the run's.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;

use mirage::live::{Phase, Server};
use mirage_core::image::Shape;
use serde_json::json;

use super::client::{answer, get, say, state};
use super::{change, picture, progress, serve};

const GREY: Shape = Shape { height: 28, width: 28, channels: 1 };
const COLOUR: Shape = Shape { height: 256, width: 256, channels: 3 };

#[test]
fn the_page_needs_nothing_else() {
    let (server, _feed) = serve(10, GREY);
    let page = get(server.address(), "/");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("cache-control"), Some("no-store"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    let text = String::from_utf8(page.body).unwrap();
    // A name in XML, which nobody loads.
    let text = text.replace("http://www.w3.org/2000/svg", "");
    assert!(text.contains("</html>") && !text.contains("http"), "loads from elsewhere");
}

#[test]
fn a_page_that_knows_a_version_gets_what_is_newer() {
    let (server, feed) = serve(1000, GREY);
    let empty = state(server.address(), 0);
    assert_eq!(empty["about"]["labels"].as_array().unwrap().len(), 1000);
    assert_eq!(empty["about"]["seed"], u64::MAX.to_string());
    assert_eq!(empty["elites"], json!([]));

    let pixels = picture(GREY, 1);
    feed.publish(progress(1), (0..1000).map(|class| change(class, 0.5, &pixels)));
    let all = state(server.address(), empty["version"].as_u64().unwrap());
    assert_eq!(all["elites"].as_array().unwrap().len(), 1000);

    feed.publish(progress(2), [change(7, 0.75, &pixels)]);
    let some = state(server.address(), all["version"].as_u64().unwrap());
    assert_eq!(some["elites"], json!([[7, 0.75, 1, some["version"]]]));
    assert_eq!((&some["progress"]["generation"], some.get("about")), (&json!(2), None));
    assert_eq!(some["curve"].as_array().unwrap().len(), 1);

    let none = state(server.address(), some["version"].as_u64().unwrap());
    assert_eq!((&none["elites"], &none["curve"]), (&json!([]), &json!([])));
    assert_eq!(none["version"], some["version"]);
}

#[test]
fn pictures_are_what_was_published() {
    for shape in [GREY, COLOUR] {
        let (server, feed) = serve(2, shape);
        let (first, second) = (picture(shape, 1), picture(shape, 2));
        feed.publish(progress(1), [change(1, 0.5, &first)]);
        let version = state(server.address(), 0)["elites"][0][3].as_u64().unwrap();
        let path = format!("/elite/1/{version}.png");
        let file = get(server.address(), &path);
        assert!(file.pixels() == first);
        assert!(file.field("cache-control").unwrap().contains("immutable"));
        let thumbnail = get(server.address(), &format!("/thumbnail/1/{version}.png"));
        assert!(thumbnail.pixels().len() <= 96 * 96 * shape.channels);

        // A version that is past: the latest, which is not to be kept under that name.
        feed.publish(progress(2), [change(1, 0.75, &second)]);
        let file = get(server.address(), &path);
        assert!(file.pixels() == second);
        assert_eq!(file.field("cache-control"), Some("no-store"));
    }
}

#[test]
fn all_other_paths_are_empty() {
    let (server, feed) = serve(2, GREY);
    feed.publish(progress(1), [change(0, 0.5, &picture(GREY, 1))]);
    for path in [
        "/nothing",
        "//",
        "/state",
        "/state/",
        "/state/-1",
        "/state/99999999999999999999",
        "/elite/0/1",
        "/elite/0/x.png",
        "/elite/1/1.png",
        "/elite/2/1.png",
        "/elite/0/1.png/",
        "/../Cargo.toml",
        "/elite/../../Cargo.toml",
        "/%2e%2e/Cargo.toml",
    ] {
        let answer = get(server.address(), path);
        assert_eq!(
            (answer.status, answer.field("cache-control")),
            (404, Some("no-store")),
            "{path}"
        );
    }
}

#[test]
fn one_can_only_look() {
    let (server, _feed) = serve(1, GREY);
    let host = format!("Host: {}", server.address());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let answer = say(server.address(), &[&format!("{method} / HTTP/1.1"), &host]);
        assert_eq!((answer.status, answer.field("allow")), (405, Some("get, head")), "{method}");
    }
    let head = say(server.address(), &["HEAD / HTTP/1.1", &host]);
    let length: usize = head.field("content-length").unwrap().parse().unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(length, get(server.address(), "/").body.len());
}

#[test]
fn only_names_of_this_machine_lead_here() {
    let (server, _feed) = serve(1, GREY);
    let status = |lines: &[&str]| say(server.address(), lines).status;
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080"] {
        assert_eq!(status(&["GET / HTTP/1.1", &format!("Host: {host}")]), 200, "{host}");
    }
    for host in
        ["example.org", "localhost.example.org", "10.0.0.1:8080", "", "127.0.0.1.example.org"]
    {
        for path in ["/", "/state/0"] {
            let lines = [&format!("GET {path} HTTP/1.1"), &format!("Host: {host}")];
            assert_eq!(status(&lines.map(String::as_str)), 421, "{host}");
        }
    }
    assert_eq!(status(&["GET / HTTP/1.0"]), 421);
    assert_eq!(status(&["GET http://example.org/ HTTP/1.1", "Host: localhost"]), 421);
    assert_eq!(status(&["GET / HTTP/1.1", "Host: localhost", "Host: example.org"]), 421);

    let (_, feed) = serve(1, GREY);
    let everywhere = Server::start(SocketAddr::from(([0, 0, 0, 0], 0)), feed).unwrap();
    let here = SocketAddr::from(([127, 0, 0, 1], everywhere.address().port()));
    assert_eq!(say(here, &["GET / HTTP/1.1", "Host: workstation"]).status, 200);
}

#[test]
fn idle_and_lazy_clients_are_in_nobodys_way() {
    let (server, feed) = serve(1, COLOUR);
    feed.publish(progress(1), [change(0, 0.5, &picture(COLOUR, 1))]);
    let connect = || TcpStream::connect(server.address()).unwrap();
    let idle: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    let lazy: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    for mut stream in &idle {
        stream.write_all(b"GET / HTT").unwrap();
    }
    for mut stream in &lazy {
        // More answers than the system's buffers hold, none of them read.
        stream
            .write_all(&b"GET /elite/0/0.png HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100))
            .unwrap();
    }
    for generation in 2..=50 {
        feed.publish(progress(generation), [change(0, 0.6, &picture(COLOUR, generation))]);
    }
    assert_eq!(state(server.address(), 0)["progress"]["generation"], 50);
    assert!(get(server.address(), "/elite/0/0.png").pixels() == picture(COLOUR, 50));
}

#[test]
fn a_hundred_watch_at_once() {
    let (server, feed) = serve(10, GREY);
    feed.publish(progress(1), [change(3, 0.5, &picture(GREY, 1))]);
    let address = server.address();
    let all_there = Arc::new(Barrier::new(101));
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let all_there = Arc::clone(&all_there);
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"GET /elite/3/0.png HTTP/1.1\r\nHost: localhost\r\n").unwrap();
                all_there.wait();
                stream.write_all(b"Connection: close\r\n\r\n").unwrap();
                answer(&mut stream).pixels()
            })
        })
        .collect();
    all_there.wait();
    feed.publish(progress(2), []);
    for client in clients {
        assert!(client.join().unwrap() == picture(GREY, 1));
    }
}

#[test]
fn clients_that_leave_are_forgotten() {
    let (server, feed) = serve(1, COLOUR);
    feed.publish(progress(1), [change(0, 0.5, &picture(COLOUR, 1))]);
    // More than there are seats.
    for i in 0..600 {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let request: &[u8] = b"GET /elite/0/0.png HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(&request[..request.len() - i % 3]).unwrap();
        if i % 2 == 0 {
            stream.shutdown(Shutdown::Both).unwrap();
        }
    }
    assert_eq!(get(server.address(), "/").status, 200);
}

#[test]
fn what_is_no_http_is_no_harm() {
    let (server, _feed) = serve(1, GREY);
    let host = format!("Host: {}", server.address());
    let long = format!("X: {}", "x".repeat(100_000));
    for lines in [&["\u{1}\u{2}\u{3}"][..], &["GET / HTTP/9.9"], &["GET / HTTP/1.1", &host, &long]]
    {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        // The server may hang up while this is being said.
        let _ = write!(stream, "{}\r\n\r\n", lines.join("\r\n"));
    }
    assert_eq!(get(server.address(), "/").status, 200);
}

#[test]
fn an_address_that_is_not_to_be_had_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_server, feed) = serve(1, GREY);
    let error = Server::start(taken.local_addr().unwrap(), Arc::clone(&feed)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&taken.local_addr().unwrap().to_string()), "{text}");
    assert!(text.contains("another program has this port"), "{text}");
    // Kept for examples (RFC 5737): no machine has it.
    let error = Server::start("192.0.2.1:8080".parse().unwrap(), feed).unwrap_err();
    assert!(error.to_string().contains("does not have that address"), "{error}");
}

#[test]
fn a_dropped_server_is_gone() {
    let (server, feed) = serve(1, GREY);
    let address = server.address();
    let mut open = TcpStream::connect(address).unwrap();
    open.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    drop(server);
    assert!(TcpStream::connect(address).is_err());
    let again = Server::start(address, feed).unwrap();
    assert_eq!(get(again.address(), "/").status, 200);
}

#[test]
fn open_pages_hear_how_it_ended() {
    let (server, feed) = serve(1, GREY);
    let address = server.address();
    let version = state(address, 0)["version"].as_u64().unwrap();
    feed.set_phase(Phase::Done);
    let page = thread::spawn(move || {
        // As late as a page may ask.
        thread::sleep(std::time::Duration::from_secs(1));
        state(address, version)["phase"].clone()
    });
    server.farewell();
    assert_eq!(page.join().unwrap(), "done");
}
