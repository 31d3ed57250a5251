//! A moment of a run as JSON, whole or as what is newer than a page knows.

use serde::Serialize;

use super::feed::{Feed, Phase, Shown, Spread};
use crate::experiment::summary::Progress;

#[derive(Serialize)]
struct Message<'a> {
    /// Tells runs apart that are served at one address after another.
    run: u64,
    /// What the page should name as the version it knows.
    version: u64,
    phase: Phase,
    progress: Option<Numbers>,
    /// Generation, and the confidence that a tenth, a half and nine tenths of the
    /// classes do not exceed.
    curve: Vec<(u32, Spread)>,
    /// Class, confidence, the generation that made it, version.
    elites: Vec<(usize, f32, u32, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<About<'a>>,
}

#[derive(Serialize)]
struct Numbers {
    generation: u32,
    generations: u32,
    evaluations: u64,
    rate: f64,
    /// Seconds.
    left: Option<f64>,
    spread: Spread,
    sure: usize,
    certain: usize,
}

/// Sent with everything: it does not change.
#[derive(Serialize)]
struct About<'a> {
    preset: &'a str,
    model: &'a str,
    /// In digits: a script's numbers end at 2⁵³.
    seed: String,
    height: usize,
    width: usize,
    channels: usize,
    folder: String,
    /// Of mirage.
    version: &'static str,
    labels: &'a [String],
}

/// What is newer than version `since`; everything if that is none of this run's.
pub(super) fn json(feed: &Feed, since: u64) -> serde_json::Result<Vec<u8>> {
    let state = feed.state();
    let run = feed.run();
    let about = (since < feed.first()).then(|| About {
        preset: &run.preset,
        model: &run.model,
        seed: run.seed.to_string(),
        height: run.shape.height,
        width: run.shape.width,
        channels: run.shape.channels,
        folder: run.folder.display().to_string(),
        version: env!("CARGO_PKG_VERSION"),
        labels: &run.labels,
    });
    let numbers = |progress: Progress| Numbers {
        generation: progress.generation,
        generations: progress.generations,
        evaluations: progress.evaluations,
        rate: progress.rate,
        left: progress.seconds_left,
        spread: state.spread,
        sure: progress.sure,
        certain: progress.certain,
    };
    let is_new = |shown: &&Shown| shown.version > since;
    let points = state.curve.iter().filter(|point| point.version > since);
    serde_json::to_vec(&Message {
        run: feed.first(),
        version: state.version,
        phase: state.phase,
        progress: state.progress.map(numbers),
        curve: points.map(|point| (point.generation, point.spread)).collect(),
        elites: state
            .elites
            .iter()
            .flatten()
            .filter(is_new)
            .map(|Shown { version, elite }| {
                (elite.class, elite.confidence, elite.generation, *version)
            })
            .collect(),
        about,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::feed::tests::{change, feed, progress};
    use super::*;

    fn since(feed: &Feed, version: u64) -> Value {
        serde_json::from_slice(&json(feed, version).unwrap()).unwrap()
    }

    #[test]
    fn the_first_message_is_whole_and_the_next_has_only_what_is_new() {
        let feed = feed(3);
        let first = feed.first();
        let empty = since(&feed, 0);
        assert_eq!(empty["about"]["labels"], json!(["label 0", "label 1", "label 2"]));
        assert_eq!((&empty["progress"], &empty["phase"]), (&Value::Null, &json!("working")));

        feed.publish(progress(1), [change(0, 0.5), change(2, 0.25)]);
        let one = since(&feed, empty["version"].as_u64().unwrap());
        assert_eq!(one["elites"], json!([[0, 0.5, 1, first + 1], [2, 0.25, 1, first + 1]]));
        assert_eq!(one.get("about"), None);

        feed.publish(Progress { sure: 1, ..progress(2) }, [change(2, 0.99)]);
        feed.set_phase(Phase::Done);
        let two = since(&feed, one["version"].as_u64().unwrap());
        assert_eq!(two["elites"], json!([[2, 0.99, 1, first + 2]]));
        assert_eq!(two["curve"].as_array().unwrap().len(), 1);
        assert_eq!((&two["progress"]["sure"], &two["phase"]), (&json!(1), &json!("done")));
        // 98 generations of ten children, twenty a second.
        assert_eq!(two["progress"]["left"], 49.0);

        let all = since(&feed, first - 1);
        assert_eq!(all["elites"].as_array().unwrap().len(), 2);
        assert!(all["about"].is_object());
    }

    #[test]
    fn before_a_sessions_first_generation_nobody_knows_how_long() {
        let feed = feed(3);
        feed.publish(Progress { seconds_left: None, ..progress(1) }, []);
        assert_eq!(since(&feed, 0)["progress"]["left"], Value::Null);
    }
}
