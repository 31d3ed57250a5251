//! An application answers its host, whatever arrives.

use std::convert::Infallible;

use mirage_core::image::Classifier;
use mirage_core::link::{self, Fault, Info, Receiver, Reply, Request, Run};
use mirage_core::math::softmax;
use mirage_core::nn::{Network, Portable, Scratch};
use mirage_firmware::{Application, Board, Memory, Model, serve};

const MODEL: Model<'_> =
    Model { name: "lenet", sha256: [0x5a; 32], blob: include_bytes!("../../host/models/lenet.q8") };

/// Memory that is enough for it.
type LenetMemory = Memory<784, 10, 3364, { link::frame_len(784) }>;

/// A line with a script: what arrives, and when.
struct Line {
    /// Bytes, and after how many looks at the line they arrive.
    script: Vec<(usize, Vec<u8>)>,
    looks: usize,
    waiting: std::collections::VecDeque<u8>,
    sent: Vec<u8>,
}

impl Line {
    fn new(mut script: Vec<(usize, Vec<u8>)>) -> Self {
        script.reverse();
        Self { script, looks: 0, waiting: [].into(), sent: Vec::new() }
    }

    fn deliver(&mut self) {
        if let Some((_, bytes)) = self.script.pop() {
            self.waiting.extend(bytes);
        }
    }
}

impl embedded_io::ErrorType for &mut Line {
    type Error = Infallible;
}

impl embedded_io::ReadReady for &mut Line {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        if !self.waiting.is_empty() {
            return Ok(true);
        }
        // Once for every child.
        self.looks += 1;
        while self.script.last().is_some_and(|(when, _)| *when <= self.looks) {
            self.deliver();
        }
        Ok(!self.waiting.is_empty())
    }
}

impl embedded_io::Read for &mut Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        while self.waiting.is_empty() && !self.script.is_empty() {
            self.deliver();
        }
        Ok(self.waiting.pop_front().map_or(0, |byte| {
            buffer[0] = byte;
            1
        }))
    }
}

impl embedded_io::Write for &mut Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // A byte at a time now and then, as serial lines do.
        let count = if self.sent.len().is_multiple_of(3) { 1 } else { bytes.len() };
        self.sent.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Bench;

impl Board for Bench {
    const NAME: &'static str = "bench";

    fn hertz(&self) -> u32 {
        1000
    }

    fn ticks(&self) -> u32 {
        0
    }

    fn stack(&self) -> u32 {
        123
    }
}

fn bytes(number: u8, request: Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut write = |block: &[u8]| {
        bytes.extend_from_slice(block);
        Ok::<_, ()>(())
    };
    link::send(number, &request, &mut write).unwrap();
    bytes
}

/// The replies to what arrives, with their numbers, for the caller to look at.
fn replies(script: Vec<(usize, Vec<u8>)>, mut look: impl FnMut(u8, Reply<'_>)) {
    let mut line = Line::new(script);
    let mut memory = Box::new(LenetMemory::new());
    let mut application = Application::new(&mut line, Bench, MODEL, Portable, &mut memory).unwrap();
    application.run().unwrap();
    each(&line.sent, &mut look);
}

fn each(sent: &[u8], look: &mut impl FnMut(u8, Reply<'_>)) {
    let mut receiver = Receiver::new(vec![0; 4096]);
    for &byte in sent {
        if let Some(frame) = receiver.feed(byte) {
            let frame = frame.unwrap();
            look(frame.number, frame.message().unwrap());
        }
    }
}

const RUN: Run<'_> =
    Run { preset: "mnist-cppn", seed: 2, children: 30, generations: 8, scores: false };

/// From `tests/data/golden.csv`.
const DIGEST: u64 = 0x27eb_98fb_c23d_3867;

/// How a run ended, if it did: generations and digest.
type End = Option<(u32, u64)>;

/// How a run ended, and what else was answered: numbers and names of the replies.
fn ended(script: Vec<(usize, Vec<u8>)>) -> (End, Vec<(u8, String)>) {
    let mut end = None;
    let mut others = Vec::new();
    replies(script, |number, reply| match reply {
        Reply::Ended { done, digest } if number == 1 => end = Some((done, digest)),
        Reply::Takeover { .. } | Reply::Generation { .. } => assert_eq!(number, 1),
        other => others.push((number, format!("{other:?}"))),
    });
    (end, others)
}

#[test]
fn a_run_ends_as_on_a_workstation() {
    let (mut takeovers, mut counted, mut generations) = (0, 0, 0);
    replies(vec![(0, bytes(1, Request::Evolve(RUN)))], |_, reply| match reply {
        Reply::Takeover { class, confidence, .. } => {
            assert!(class < 10 && (0.0..=1.0).contains(&confidence));
            takeovers += 1;
        }
        Reply::Generation { done, takeovers, .. } => {
            generations += 1;
            assert_eq!(done, generations);
            counted += takeovers;
        }
        Reply::Ended { done, digest } => assert_eq!((done, digest), (8, DIGEST)),
        other => panic!("{other:?}"),
    });
    assert!(takeovers >= 10);
    assert_eq!((generations, counted), (8, takeovers));
}

#[test]
fn noise_and_requests_in_the_middle_do_not_change_a_run() {
    let mut damaged = bytes(9, Request::Stop);
    damaged[3] ^= 0x40;
    let too_long = bytes(9, Request::Classify(&[1; 2000]));
    let noise = (0..3000u32).map(|i| ((i * i) >> 3) as u8).collect();
    let (end, others) = ended(vec![
        (0, bytes(1, Request::Evolve(RUN))),
        (10, noise),
        (40, damaged),
        (41, bytes(2, Request::Digest)),
        (50, too_long),
        (60, bytes(3, Request::Classify(&[0; 784]))),
        (70, bytes(4, Request::Evolve(Run { preset: "no such", ..RUN }))),
        (71, bytes(5, Request::Evolve(Run { children: 0, ..RUN }))),
        (72, bytes(6, Request::Elite(10))),
        (90, bytes(7, Request::Elite(3))),
    ]);
    assert_eq!(end, Some((8, DIGEST)));
    let answered: Vec<_> = others.iter().filter(|(number, _)| *number > 0).collect();
    let names: Vec<_> = answered.iter().map(|(n, reply)| (*n, &reply[..6])).collect();
    assert_eq!(names[0], (2, "Digest"));
    assert_eq!(names[1], (3, "Scores"));
    assert_eq!(answered[2].1, "Refused(Preset)");
    assert_eq!(answered[3].1, "Refused(Empty)");
    assert_eq!(answered[4].1, "Refused(Class)");
    assert_eq!(names[5], (7, "Elite "));
    let refused = |fault: &str| others.iter().any(|(n, reply)| *n == 0 && reply.contains(fault));
    assert!(refused("Checksum") && refused("TooLong"));
}

#[test]
fn what_is_asked_during_a_generation_is_answered_as_of_the_last() {
    let (mut digests, mut asked) = (Vec::new(), None);
    let script = vec![(0, bytes(1, Request::Evolve(RUN))), (75, bytes(2, Request::Digest))];
    replies(script, |_, reply| match reply {
        Reply::Generation { digest, .. } => digests.push(digest),
        Reply::Digest { done, digest } => asked = Some((digests.len(), done, digest)),
        _ => {}
    });
    assert_eq!(asked, Some((2, 2, digests[1])));
}

#[test]
fn stop_ends_a_run_at_its_last_whole_generation() {
    let mut digests = Vec::new();
    let mut ends = Vec::new();
    let script = vec![(0, bytes(1, Request::Evolve(RUN))), (100, bytes(2, Request::Stop))];
    replies(script, |number, reply| match reply {
        Reply::Generation { digest, .. } => digests.push(digest),
        Reply::Ended { done, digest } => ends.push((number, done, digest)),
        _ => {}
    });
    assert_eq!(ends, [(1, 3, digests[2]), (2, 3, digests[2])]);
}

#[test]
fn a_new_run_ends_the_one_before() {
    let other = Run { seed: 1, ..RUN };
    let mut ends = Vec::new();
    let script = vec![(0, bytes(1, Request::Evolve(other))), (50, bytes(2, Request::Evolve(RUN)))];
    replies(script, |number, reply| {
        if let Reply::Ended { done, digest } = reply {
            ends.push((number, done, digest));
        }
    });
    assert_eq!((ends[0].0, ends[0].1), (1, 1));
    assert_eq!(ends[1], (2, 8, DIGEST));
}

#[test]
fn without_a_run_stop_and_digest_are_answered_too() {
    let script = vec![(0, [bytes(1, Request::Stop), bytes(2, Request::Digest)].concat())];
    let mut seen = Vec::new();
    replies(script, |number, reply| seen.push((number, format!("{reply:?}"))));
    assert_eq!(seen.len(), 2);
    assert!(seen[0].1.starts_with("Ended { done: 0"), "{seen:?}");
    assert!(seen[1].1.starts_with("Digest { done: 0"), "{seen:?}");
}

/// The confidences of an image by the network itself.
fn confidences(image: &[u8]) -> [f32; 10] {
    let network = Network::parse(MODEL.blob).unwrap();
    let needed = network.requirements(1);
    let mut scratch = Scratch {
        front: &mut vec![0; needed.front],
        back: &mut vec![0; needed.back],
        patches: &mut vec![0; needed.patches],
        sums: &mut vec![0; needed.sums],
    };
    let mut scores = [0.0; 10];
    network.forward(&Portable, image, &mut scratch, &mut scores).unwrap();
    softmax(&mut scores);
    scores
}

#[test]
fn an_image_gets_the_networks_confidences() {
    let image: Vec<u8> = (0..784).map(|i| (i * 7 % 256) as u8).collect();
    let expected: Vec<u8> = confidences(&image).iter().flat_map(|s| s.to_le_bytes()).collect();
    let script = vec![(0, bytes(1, Request::Classify(&image)))];
    replies(script, |_, reply| assert_eq!(reply, Reply::Scores(&expected)));
    for length in [0, 783, 785] {
        let script = vec![(0, bytes(1, Request::Classify(&vec![1; length])))];
        replies(script, |_, reply| assert_eq!(reply, Reply::Refused(Fault::Length), "{length}"));
    }
}

#[test]
fn a_board_tells_what_it_is() {
    replies(vec![(0, bytes(8, Request::Info))], |number, reply| {
        let Reply::Info(info) = reply else { panic!("{reply:?}") };
        assert_eq!((number, info.board, info.model), (8, "bench", "lenet"));
        assert_eq!((info.input, info.classes, info.stack), ([28, 28, 1], 10, 123));
        assert_eq!(info.model_sha256, MODEL.sha256);
        assert_eq!(info.revision, Some(mirage_core::evolve::REVISION));
    });
}

/// A classifier of somebody's own, that is sure of one class by the first pixel.
struct FirstPixel;

impl Classifier for FirstPixel {
    type Error = ();

    fn classes(&self) -> usize {
        2
    }

    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), ()> {
        match images.first() {
            Some(13) => Err(()),
            Some(&pixel) => {
                scores.copy_from_slice(&[f32::from(pixel) / 255.0, -f32::NAN]);
                Ok(())
            }
            None => Err(()),
        }
    }
}

#[test]
fn a_classifier_of_ones_own_answers_what_it_can() {
    let info = Info {
        board: "own",
        model: "first-pixel",
        model_sha256: [0; 32],
        revision: None,
        input: [1, 2, 1],
        classes: 2,
        hertz: 1,
        stack: 0,
    };
    let script = vec![(
        0,
        [
            bytes(1, Request::Info),
            bytes(2, Request::Classify(&[255, 0])),
            bytes(3, Request::Classify(&[255])),
            bytes(4, Request::Classify(&[13, 0])),
            bytes(5, Request::Evolve(RUN)),
            vec![0, 1, 2, 3, 0],
        ]
        .concat(),
    )];
    let mut line = Line::new(script);
    let (mut frame, mut scores) = ([0; link::frame_len(2)], [0.0; 2]);
    serve(&mut &mut line, &info, &mut frame, &mut scores, &mut FirstPixel).unwrap();
    let mut answers = Vec::new();
    each(&line.sent, &mut |number, reply| match number {
        1 => assert_eq!(reply, Reply::Info(info)),
        2 => assert_eq!(reply, Reply::Scores(&[0, 0, 0x80, 0x3f, 0, 0, 0xc0, 0x7f])),
        _ => answers.push((number, format!("{reply:?}"))),
    });
    let expected = [
        (3, "Refused(Length)"),
        (4, "Refused(Classifier)"),
        (5, "Refused(Unsupported)"),
        (0, "Refused(Checksum)"),
    ];
    assert_eq!(answers, expected.map(|(number, text)| (number, text.to_owned())));
}
