//! A plain host: sends requests to an emulated board and waits for replies.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mirage::device::emulator::{self, Emulator, Machine};
use mirage::device::port::Address;
use mirage::model::Model;
use mirage_core::link::{self, Receiver, Reply, Request};

/// Longest silence of a board that is at work; no child takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A board in an emulator, and the line to it.
pub(super) struct Line {
    /// For bytes that are no request.
    pub(super) stream: UnixStream,
    receiver: Receiver<Vec<u8>>,
    bytes: std::vec::IntoIter<u8>,
    /// Ends with the line.
    _emulator: Emulator,
}

/// The firmware of a board with a built-in model, built once at a time: all models' have
/// the same path.
static BUILDING: Mutex<()> = Mutex::new(());

/// Builds the firmware with a built-in model, hands its file to `look`, and starts it.
///
/// # Panics
/// If it cannot be built or started.
pub(super) fn start<T>(
    machine: &'static Machine,
    model: &str,
    look: impl FnOnce(PathBuf) -> T,
) -> (Line, T) {
    let model = Model::load(model).unwrap();
    let guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let firmware = emulator::build(machine, Some(&model)).unwrap_or_else(|e| panic!("{e}"));
    let emulator = Emulator::start(machine, &firmware).unwrap_or_else(|e| panic!("{e}"));
    let Address::Unix(socket) = emulator.address() else { panic!("not a socket") };
    let mut line = Line {
        stream: UnixStream::connect(socket).unwrap(),
        receiver: Receiver::new(vec![0; 1 << 16]),
        bytes: Vec::new().into_iter(),
        _emulator: emulator,
    };
    line.introduce();
    let found = look(firmware);
    drop(guard);
    (line, found)
}

impl Line {
    /// Waits until the board is up and has answered everything.
    fn introduce(&mut self) {
        for _ in 0..50 {
            self.send(1, Request::Info);
            let end = Instant::now() + Duration::from_millis(200);
            while Instant::now() < end {
                if self.next(Duration::from_millis(50), |number, _| number == 1) == Some(true) {
                    self.send(2, Request::Digest);
                    return self.wait(|number, _| (number == 2).then_some(()));
                }
            }
        }
        panic!("the board does not answer");
    }

    pub(super) fn send(&mut self, number: u8, request: Request<'_>) {
        link::send(number, &request, &mut |bytes| self.stream.write_all(bytes)).unwrap();
    }

    /// Hands replies to `look` until it finds what it looks for.
    ///
    /// # Panics
    /// If the board is silent for too long.
    pub(super) fn wait<T>(&mut self, mut look: impl FnMut(u8, Reply<'_>) -> Option<T>) -> T {
        loop {
            let found = self.next(PATIENCE, &mut look).expect("the board is silent");
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// What `look` makes of the next reply; `None` if nothing comes for so long.
    fn next<T>(&mut self, silence: Duration, look: impl FnOnce(u8, Reply<'_>) -> T) -> Option<T> {
        self.stream.set_read_timeout(Some(silence)).unwrap();
        loop {
            for byte in &mut self.bytes {
                if let Some(frame) = self.receiver.feed(byte) {
                    let frame = frame.expect("nothing damages this line");
                    return Some(look(frame.number, frame.message().unwrap()));
                }
            }
            let mut block = vec![0; 4096];
            match self.stream.read(&mut block) {
                Ok(0) => panic!("the emulator ended"),
                Ok(count) => block.truncate(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
            self.bytes = block.into_iter();
        }
    }
}
