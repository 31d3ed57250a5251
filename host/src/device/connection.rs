//! Requests and replies, over a line that may lose or change some.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mirage_core::image::Shape;
use mirage_core::limits::{MAX_ACTIVATION, MAX_CLASSES, MAX_SIDE};
use mirage_core::link::{Fault, FrameError, Info, Receiver, Reply, Request, Run, send};
use serde::Serialize;

use super::error::{DeviceError, Trouble};
use super::port::{Address, Pipe};

/// Memory for the longest reply: scores of all classes there may be, or a genome.
const LONGEST: usize = 1 << 16;

/// How long a new board's first answer is waited for, request by request.
const FIRST: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(1500),
    Duration::from_millis(2000),
];

/// The same for a board that is known to answer. One that evolves answers between two
/// children, which may take a slow board seconds.
const PATIENCE: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
    Duration::from_millis(4000),
    Duration::from_millis(8000),
];

/// The same for a classifier whose speed is not known yet.
const FIRST_IMAGE: Duration = Duration::from_secs(4);

/// Longest wait for one answer, however slow the classifier was before.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What a board is and carries; the keys of `mirage device info --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoardInfo {
    /// Name of the board.
    pub board: String,
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the model's bytes, hexadecimal.
    pub model_sha256: String,
    /// Revision of the algorithm; `None` if the board only classifies.
    pub revision: Option<u32>,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Ticks per second of the board's clock.
    pub hertz: u32,
    /// Deepest that the board's stack has been, in bytes; `None` if it does not know.
    pub stack: Option<u32>,
}

impl BoardInfo {
    /// Checks that the numbers are ones that a network can have.
    fn of(info: &Info<'_>) -> Result<Self, Trouble> {
        let absurd = |what: String| Err(Trouble::Absurd(what));
        let (shape, classes) = (info.shape(), info.classes as usize);
        let sides = [shape.height, shape.width, shape.channels];
        if !sides.iter().all(|side| (1..=MAX_SIDE).contains(side)) || shape.len() > MAX_ACTIVATION {
            return absurd(format!("images of {}×{}×{}", sides[0], sides[1], sides[2]));
        }
        if !(2..=MAX_CLASSES).contains(&classes) {
            return absurd(format!("{classes} classes"));
        }
        // It is shown on terminals.
        let visible = |text: &str| text.replace(char::is_control, "\u{fffd}");
        Ok(Self {
            board: visible(info.board),
            model: visible(info.model),
            model_sha256: info.model_sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            revision: info.revision,
            input: sides,
            classes,
            hertz: info.hertz,
            stack: Some(info.stack).filter(|&bytes| bytes > 0),
        })
    }

    /// Shape of the input.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let [height, width, channels] = self.input;
        Shape { height, width, channels }
    }
}

/// What a board tells of its run without being asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// A child took a cell.
    Takeover(Claim),
    /// A generation is done.
    Generation { done: u32, digest: u64, ticks: Ticks },
    /// The run is over.
    Ended { done: u32, digest: u64 },
    /// The run cannot be.
    Refused(Fault),
}

/// That a child took a cell, as a board says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) class: usize,
    pub(super) id: u64,
    pub(super) confidence: f32,
}

/// Ticks of the board's clock, by what they were spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ticks {
    pub(super) vary: u64,
    pub(super) render: u64,
    pub(super) classify: u64,
}

impl Event {
    fn of(reply: &Reply<'_>) -> Option<Self> {
        match *reply {
            Reply::Takeover { class, id, confidence } => {
                Some(Self::Takeover(Claim { class: class as usize, id, confidence }))
            }
            Reply::Generation { done, digest, vary, render, classify, .. } => {
                let ticks = Ticks { vary, render, classify };
                Some(Self::Generation { done, digest, ticks })
            }
            Reply::Ended { done, digest } => Some(Self::Ended { done, digest }),
            Reply::Refused(fault) => Some(Self::Refused(fault)),
            _ => None,
        }
    }
}

/// An elite as a board describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    pub(super) id: u64,
    pub(super) parents: [Option<u64>; 2],
    pub(super) confidence: f32,
    /// Canonical bytes.
    pub(super) genome: Vec<u8>,
}

/// A board that answers.
pub struct Connection {
    port: String,
    line: Line,
    info: BoardInfo,
    /// The longest that an image took, once there was one. A request that is sent again
    /// too early is work that the next one waits for.
    slowest: Option<Duration>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens a port and has the board behind it for itself: a run that an earlier session
    /// left is ended.
    ///
    /// # Errors
    /// If the port cannot be had, or no board of this version answers.
    pub fn open(address: &Address, baud: u32) -> Result<Self, DeviceError> {
        let port = address.to_string();
        let mut line = Line::new(address.open(baud)?);
        let info = line.introduce().and_then(|info| {
            if info.revision.is_some() {
                line.stop()?;
            }
            Ok(info)
        });
        match info {
            Ok(info) => Ok(Self { port, line, info, slowest: None }),
            Err(trouble) => Err(DeviceError { port, trouble }),
        }
    }

    /// What the board said of itself when the port was opened.
    #[must_use]
    pub fn info(&self) -> &BoardInfo {
        &self.info
    }

    /// The port, as it was named.
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Has the board classify one image.
    ///
    /// # Errors
    /// If it does not answer, or not with one confidence per element of `scores`.
    pub fn classify(&mut self, image: &[u8], scores: &mut [f32]) -> Result<(), DeviceError> {
        let least = self.slowest.map_or(FIRST_IMAGE, |slowest| 2 * slowest).min(LONGEST_WAIT);
        let patience = PATIENCE.map(|patience| patience.max(least));
        let (mut tries, begun) = (0, Instant::now());
        let answer =
            self.line.request(
                &Request::Classify(image),
                patience,
                &mut tries,
                |reply| match reply {
                    Reply::Scores(bytes) => Some(bytes.to_vec()),
                    _ => None,
                },
            );
        let bytes = self.at_port(answer)?;
        self.slowest = self.slowest.max(Some(begun.elapsed() / tries.max(1)));
        let (found, rest) = bytes.as_chunks::<4>();
        if found.len() != scores.len() || !rest.is_empty() {
            let what = format!("{} bytes of scores for {} classes", bytes.len(), scores.len());
            return Err(self.error(Trouble::Absurd(what)));
        }
        for (score, bytes) in scores.iter_mut().zip(found) {
            *score = f32::from_le_bytes(*bytes);
            if !(score.is_nan() || is_confidence(*score)) {
                return Err(self.error(Trouble::Absurd(format!("a confidence of {score}"))));
            }
        }
        Ok(())
    }

    /// Generations that the board's archive is of, and its digest.
    pub(super) fn digest(&mut self) -> Result<(u32, u64), DeviceError> {
        let answer = self.line.ask(&Request::Digest, |reply| match *reply {
            Reply::Digest { done, digest } => Some((done, digest)),
            _ => None,
        });
        self.at_port(answer)
    }

    /// The elite of a class; `None` if its cell is empty.
    pub(super) fn elite(&mut self, class: usize) -> Result<Option<Description>, DeviceError> {
        let wanted = class as u32;
        let answer = self.line.ask(&Request::Elite(wanted), |reply| match *reply {
            Reply::Elite { class, id, parents, confidence, genome } if class == wanted => {
                Some(Description { id, parents, confidence, genome: genome.to_vec() })
            }
            _ => None,
        });
        match answer {
            Err(Trouble::Fault(Fault::Class)) => Ok(None),
            answer => self.at_port(answer).map(Some),
        }
    }

    /// Has the board begin a run, of which [`event`](Self::event) then tells.
    pub(super) fn begin(&mut self, run: Run<'_>) -> Result<(), DeviceError> {
        let number = self.line.next_number();
        self.line.run = Some(number);
        self.line.events.clear();
        let sent = self.line.send(number, &Request::Evolve(run));
        self.at_port(sent)
    }

    /// What the board tells next of its run; `None` if nothing came in time.
    pub(super) fn event(&mut self, patience: Duration) -> Result<Option<Event>, DeviceError> {
        if self.line.events.is_empty() {
            let run = self.line.run;
            let heard = self.line.wait(Instant::now() + patience, |number, reply| {
                (Some(number) == run && Event::of(reply).is_some()).then_some(())
            });
            self.at_port(heard)?;
        }
        Ok(self.line.events.pop_front())
    }

    /// Whether there is something that [`event`](Self::event) has yet to say.
    pub(super) fn has_news(&self) -> bool {
        !self.line.events.is_empty()
    }

    /// Whether the board has told of the end of a later generation than `done`, which
    /// [`event`](Self::event) has yet to say.
    pub(super) fn is_past(&self, done: u32) -> bool {
        let is_later = |event: &Event| match *event {
            Event::Generation { done: later, .. } | Event::Ended { done: later, .. } => {
                later > done
            }
            Event::Refused(_) => true,
            Event::Takeover(_) => false,
        };
        self.line.events.iter().any(is_later)
    }

    /// Ends the board's run; generations done, and the digest.
    pub(super) fn stop(&mut self) -> Result<(u32, u64), DeviceError> {
        let answer = self.line.stop();
        self.at_port(answer)
    }

    /// The trouble, with the port's name.
    pub(super) fn error(&self, trouble: Trouble) -> DeviceError {
        DeviceError { port: self.port.clone(), trouble }
    }

    fn at_port<T>(&self, answer: Result<T, Trouble>) -> Result<T, DeviceError> {
        answer.map_err(|trouble| self.error(trouble))
    }
}

/// Whether a number is a confidence that may be told.
pub(super) fn is_confidence(value: f32) -> bool {
    (0.0..=1.0).contains(&value)
}

/// Frames on a pipe, by their numbers.
struct Line {
    pipe: Box<dyn Pipe>,
    receiver: Receiver<Vec<u8>>,
    /// Bytes that came and were not yet looked at.
    inbox: VecDeque<u8>,
    /// Number of the last request; 0 is never one.
    number: u8,
    /// Number of the run that is followed, and what was told of it.
    run: Option<u8>,
    events: VecDeque<Event>,
    heard: Heard,
}

/// What ever came.
#[derive(Debug, Default)]
struct Heard {
    bytes: bool,
    replies: bool,
    other_version: Option<u8>,
}

impl Line {
    fn new(pipe: Box<dyn Pipe>) -> Self {
        Self {
            pipe,
            receiver: Receiver::new(vec![0; LONGEST]),
            inbox: VecDeque::new(),
            number: 0,
            run: None,
            events: VecDeque::new(),
            heard: Heard::default(),
        }
    }

    /// Asks an unknown board what it is.
    fn introduce(&mut self) -> Result<BoardInfo, Trouble> {
        let answer = self.request(&Request::Info, FIRST, &mut 0, |reply| match reply {
            Reply::Info(info) => Some(BoardInfo::of(info)),
            _ => None,
        });
        match answer {
            Ok(info) => info,
            Err(trouble @ (Trouble::Unanswered | Trouble::Noise)) => Err(match self.heard {
                Heard { other_version: Some(version), .. } => Trouble::Version(Some(version)),
                Heard { replies: true, .. } => trouble,
                Heard { bytes: true, .. } => Trouble::NotMirage,
                Heard { .. } => Trouble::Silent,
            }),
            Err(trouble) => Err(trouble),
        }
    }

    fn stop(&mut self) -> Result<(u32, u64), Trouble> {
        self.ask(&Request::Stop, |reply| match *reply {
            Reply::Ended { done, digest } => Some((done, digest)),
            _ => None,
        })
    }

    fn next_number(&mut self) -> u8 {
        loop {
            self.number = self.number.wrapping_add(1);
            if self.number != 0 && Some(self.number) != self.run {
                return self.number;
            }
        }
    }

    fn send(&mut self, number: u8, request: &Request<'_>) -> Result<(), Trouble> {
        let mut bytes = Vec::new();
        let mut write = |block: &[u8]| {
            bytes.extend_from_slice(block);
            Ok(())
        };
        send(number, request, &mut write)
            .and_then(|()| self.pipe.write_all(&bytes))
            .and_then(|()| self.pipe.flush())
            .map_err(Trouble::Gone)
    }

    /// [`request`](Self::request) to a board that is known to answer.
    fn ask<T>(
        &mut self,
        request: &Request<'_>,
        accept: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<T, Trouble> {
        self.request(request, PATIENCE, &mut 0, accept)
    }

    /// Sends a request, again if need be, until `accept` takes a reply to it; counts the
    /// `tries`. All of them have one number: a late reply to the first is as good as one to
    /// the last.
    fn request<T>(
        &mut self,
        request: &Request<'_>,
        patience: impl IntoIterator<Item = Duration>,
        tries: &mut u32,
        mut accept: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<T, Trouble> {
        let number = self.next_number();
        let mut trouble = Trouble::Unanswered;
        for patience in patience {
            *tries += 1;
            self.send(number, request)?;
            let answer = self.wait(Instant::now() + patience, |from, reply| match *reply {
                Reply::Refused(fault) if from == number || from == 0 => Some(Err((from, fault))),
                _ if from == number => accept(reply).map(Ok),
                _ => None,
            })?;
            match answer {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err((_, Fault::Version))) => return Err(Trouble::Version(None)),
                Some(Err((_, fault @ Fault::TooLong))) => trouble = Trouble::Fault(fault),
                // The frame was damaged, as far as the board can tell.
                Some(Err((0, _) | (_, Fault::Checksum))) => trouble = Trouble::Noise,
                Some(Err((_, fault))) => return Err(Trouble::Fault(fault)),
                None => {}
            }
        }
        Err(trouble)
    }

    /// Passes replies with their numbers to `take` until it returns something, or time is
    /// up. What is told of the run is put aside.
    fn wait<T>(
        &mut self,
        until: Instant,
        mut take: impl FnMut(u8, &Reply<'_>) -> Option<T>,
    ) -> Result<Option<T>, Trouble> {
        loop {
            while let Some(byte) = self.inbox.pop_front() {
                let frame = match self.receiver.feed(byte) {
                    Some(Ok(frame)) => frame,
                    Some(Err(FrameError::Version(version))) => {
                        self.heard.other_version = Some(version);
                        continue;
                    }
                    Some(Err(_)) | None => continue,
                };
                let Ok(reply) = frame.message() else { continue };
                self.heard.replies = true;
                if Some(frame.number) == self.run {
                    self.events.extend(Event::of(&reply));
                }
                if let Some(taken) = take(frame.number, &reply) {
                    return Ok(Some(taken));
                }
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// Reads what is there, or waits a little for it.
    fn read(&mut self) -> Result<(), Trouble> {
        let mut bytes = [0; 4096];
        match self.pipe.read(&mut bytes) {
            Ok(0) => Err(Trouble::Gone(io::Error::from(ErrorKind::UnexpectedEof))),
            Ok(count) => {
                self.heard.bytes = true;
                self.inbox.extend(&bytes[..count]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
                _ => Err(Trouble::Gone(error)),
            },
        }
    }
}
