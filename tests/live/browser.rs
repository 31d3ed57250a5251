//! The page in headless Chromium. `MIRAGE_REQUIRE=browser` turns a skip into a failure.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use mirage::live::Phase;
use mirage_core::image::Shape;
use reference::skip::skip;

use super::{GENERATIONS, change, picture, progress, serve};

const SHAPE: Shape = Shape { height: 28, width: 28, channels: 1 };

/// The first of the names that Chromium goes by that there is.
fn chromium() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// The page's elements, after some seconds of the browser's own time; that time stands
/// still while an answer is under way.
fn look(browser: &str, address: SocketAddr) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run".split(' '))
        .args("--disable-background-networking --disable-component-update".split(' '))
        .args("--disable-sync --window-size=1280,1600 --virtual-time-budget=10000".split(' '))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", &format!("http://{address}/")])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    let page = String::from_utf8(output.stdout).unwrap();
    // The script has the elements' words too.
    page.split_once("<script>").unwrap().0.to_owned()
}

/// A way to `server` that tells each question for the state, before it is passed on.
fn overhear(server: SocketAddr, asked: Sender<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let asked = asked.clone();
            thread::spawn(move || -> io::Result<()> {
                let server = TcpStream::connect(server)?;
                let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (mut client, mut server) = (client, server);
                let mut bytes = [0; 4096];
                loop {
                    let len = client.read(&mut bytes)?;
                    if len == 0 {
                        return server.shutdown(Shutdown::Both);
                    }
                    if bytes[..len].starts_with(b"GET /state/") {
                        let _ = asked.send(());
                    }
                    server.write_all(&bytes[..len])?;
                }
            });
        }
    });
    address
}

/// The text of the element with that id.
fn text<'a>(page: &'a str, id: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("id=\"{id}\"")).unwrap();
    let (_, rest) = rest.split_once('>').unwrap();
    rest.split_once('<').unwrap().0
}

#[test]
fn the_page_follows_the_run() {
    let Some(browser) = chromium() else {
        return skip("live page in a browser", "browser", "there is no Chromium on the path");
    };
    let (server, feed) = serve(10, SHAPE);
    let (asked, questions) = channel();
    let address = overhear(server.address(), asked);
    let pixels = |generation| picture(SHAPE, generation);
    // A generation after each question: a page that asks once sees the first alone.
    thread::spawn(move || {
        for generation in 1..=GENERATIONS {
            let confidence = generation as f32 / 128.0;
            let changes = (0..9).map(|class| change(class, confidence, &pixels(generation)));
            feed.publish(progress(generation), changes);
            if questions.recv().is_err() {
                break;
            }
        }
    });
    let page = look(browser, address);
    let generation: u32 = text(&page, "generation").split(' ').next().unwrap().parse().unwrap();
    assert!(generation >= 4, "{page}");
    assert_eq!(text(&page, "title"), "mnist-cppn against lenet");
    assert_eq!(text(&page, "state"), "At work");
    // Nine classes have an elite, with the confidence of the generation that is shown.
    for class in 0..10 {
        assert!(page.contains(&format!("&lt;b&gt;label&lt;/b&gt; {class}</b>")), "{page}");
    }
    let confidence = text(&page, "median");
    assert_eq!(confidence, format!("{:.1}&nbsp;%", (f64::from(generation) / 0.128).floor() / 10.0));
    assert_eq!(page.matches(&format!(">{confidence}</small>")).count(), 9, "{page}");
    assert_eq!(page.matches(">no image yet</small>").count(), 1);
    assert_eq!(page.matches("src=\"/elite/").count(), 9, "{page}");
    assert!(page.contains("class=\"median\" d=\"M"), "{page}");
}

#[test]
fn the_page_says_how_the_run_ended() {
    let Some(browser) = chromium() else {
        return skip("live page at the end", "browser", "there is no Chromium on the path");
    };
    let (server, feed) = serve(1000, SHAPE);
    let changes = (0..1000).map(|class| change(class, 0.9999, &picture(SHAPE, 1)));
    feed.publish(progress(GENERATIONS), changes);
    feed.set_phase(Phase::Done);
    let page = look(browser, server.address());
    assert_eq!(text(&page, "state"), "Done. The report is runs/live/report.html.");
    assert_eq!(page.matches(">99.990&nbsp;%</small>").count(), 1000);
    // Of the pictures only those that can be seen.
    let pictures = page.matches("src=\"/thumbnail/").count();
    assert!((10..300).contains(&pictures), "{pictures}");
}
