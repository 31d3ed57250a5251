//! The live page over real connections on this machine, and in a browser.

mod browser;
mod client;
mod http;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mirage::experiment::summary::{Change, Progress};
use mirage::live::{Feed, Run, Server};
use mirage_core::image::Shape;

/// Generations of the run that is served.
const GENERATIONS: u32 = 100;

/// A server on a free port, and the feed of a run that has not begun.
fn serve(classes: usize, shape: Shape) -> (Server, Arc<Feed>) {
    let feed = Arc::new(Feed::new(Run {
        preset: "mnist-cppn".to_owned(),
        model: "lenet".to_owned(),
        seed: u64::MAX,
        labels: (0..classes).map(|class| format!("<b>label</b> {class}")).collect(),
        shape,
        folder: "runs/live".into(),
    }));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    (Server::start(address, Arc::clone(&feed)).unwrap(), feed)
}

fn progress(generation: u32) -> Progress {
    Progress {
        generation,
        generations: GENERATIONS,
        evaluations: u64::from(generation) * 10,
        rate: 10.0,
        median: 0.5,
        seconds_left: None,
        sure: 0,
        certain: 0,
        classes: 0,
    }
}

fn change(class: usize, confidence: f32, picture: &[u8]) -> Change {
    Change { class, confidence, generation: 1, picture: picture.into() }
}

/// A picture that is not another generation's.
fn picture(shape: Shape, generation: u32) -> Vec<u8> {
    (0..shape.len() as u32).map(|i| (i * 37 % 251 + generation) as u8).collect()
}
