//! Boards to talk to: the firmware's application in a thread behind a Unix socket, and
//! impostors.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use mirage_core::link::{Info, Message, Receiver, Reply, Request, send};
use mirage_core::nn::Portable;
use mirage_firmware::{Application, Board, model, serve};

use crate::program::Workplace;

/// What happens to bytes on their way: to those that a board reads at once, or to a
/// frame that it sends.
pub(crate) type Way = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// A line that changes nothing.
pub(crate) fn clear() -> Way {
    Box::new(|_| {})
}

/// A board's end of the line: a socket that one host after the other connects to. What is
/// sent while there is none is lost, as on a serial line.
struct Line {
    listener: UnixListener,
    host: Option<UnixStream>,
    arrived: VecDeque<u8>,
    frame: Vec<u8>,
    from_host: Way,
    to_host: Way,
    is_over: Arc<AtomicBool>,
}

impl Line {
    fn poll(&mut self) {
        if self.host.is_none()
            && let Ok((host, _)) = self.listener.accept()
        {
            host.set_nonblocking(false).unwrap();
            host.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            self.host = Some(host);
        }
        let Some(host) = &mut self.host else { return };
        host.set_nonblocking(true).unwrap();
        let mut bytes = vec![0; 4096];
        match host.read(&mut bytes) {
            Ok(0) => self.host = None,
            Ok(count) => {
                bytes.truncate(count);
                (self.from_host)(&mut bytes);
                self.arrived.extend(bytes);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.host = None,
        }
    }
}

impl embedded_io::ErrorType for Line {
    type Error = Infallible;
}

impl embedded_io::ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        self.poll();
        // The end can be read too.
        Ok(!self.arrived.is_empty() || self.is_over.load(Ordering::Relaxed))
    }
}

impl embedded_io::Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        loop {
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(0);
            }
            if let Some(byte) = self.arrived.pop_front() {
                buffer[0] = byte;
                return Ok(1);
            }
            self.poll();
            sleep(Duration::from_micros(100));
        }
    }
}

impl embedded_io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.frame.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        let mut frame = std::mem::take(&mut self.frame);
        (self.to_host)(&mut frame);
        if let Some(host) = &mut self.host {
            host.set_nonblocking(false).unwrap();
            if host.write_all(&frame).is_err() {
                self.host = None;
            }
        }
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

/// A board at work; dropping it unplugs it.
pub(crate) struct Plugged {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Plugged {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Plugged {
    /// Has `work` done at the place's socket `board`.
    fn new(
        place: &Workplace,
        from_host: Way,
        to_host: Way,
        work: impl FnOnce(Line) + Send + 'static,
    ) -> Self {
        let listener = UnixListener::bind(place.path("board")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let line = Line {
            listener,
            host: None,
            arrived: VecDeque::new(),
            frame: Vec::new(),
            from_host,
            to_host,
            is_over: Arc::clone(&is_over),
        };
        Self { is_over, thread: Some(spawn(move || work(line))) }
    }

    /// A board with the firmware and the int8 LeNet.
    pub(crate) fn lenet(place: &Workplace) -> Self {
        Self::carrying(place, model::MODEL, clear(), clear())
    }

    /// A board with the firmware and a model of LeNet's size.
    pub(crate) fn carrying(
        place: &Workplace,
        model: mirage_firmware::Model<'static>,
        from_host: Way,
        to_host: Way,
    ) -> Self {
        Self::new(place, from_host, to_host, move |line| {
            let mut memory = Box::new(model::Memory::new());
            Application::new(line, Bench, model, Portable, &mut memory).unwrap().run().unwrap();
        })
    }

    /// A board that only classifies: by how light the upper half is, and the lower.
    pub(crate) fn halves(place: &Workplace, from_host: Way, to_host: Way) -> Self {
        Self::new(place, from_host, to_host, |mut line| {
            let (mut frame, mut scores) = ([0; 1000], [0.0; 2]);
            let info = Info { classes: 2, revision: None, model: "halves", ..INFO };
            serve(&mut line, &info, &mut frame, &mut scores, &mut Halves).unwrap();
        })
    }

    /// Something that answers requests as it likes.
    pub(crate) fn answering(
        place: &Workplace,
        mut answer: impl FnMut(Request<'_>) -> Reply<'static> + Send + 'static,
    ) -> Self {
        Self::new(place, clear(), clear(), move |mut line| {
            let mut receiver = Receiver::new(vec![0; 4096]);
            let mut byte = [0];
            while embedded_io::Read::read(&mut line, &mut byte).unwrap() > 0 {
                if let Some(Ok(frame)) = receiver.feed(byte[0]) {
                    let reply = answer(frame.message().unwrap());
                    embedded_io::Write::write(&mut line, &bytes(frame.number, reply)).unwrap();
                    embedded_io::Write::flush(&mut line).unwrap();
                }
            }
        })
    }

    /// Something that answers bytes with bytes.
    pub(crate) fn babbling(
        place: &Workplace,
        mut answer: impl FnMut(u8) -> Vec<u8> + Send + 'static,
    ) -> Self {
        Self::new(place, clear(), clear(), move |mut line| {
            let mut byte = [0];
            while embedded_io::Read::read(&mut line, &mut byte).unwrap() > 0 {
                embedded_io::Write::write(&mut line, &answer(byte[0])).unwrap();
                embedded_io::Write::flush(&mut line).unwrap();
            }
        })
    }
}

/// What a board may say of itself.
pub(crate) const INFO: Info<'static> = Info {
    board: "bench",
    model: "strange",
    model_sha256: [0xa5; 32],
    revision: Some(mirage_core::evolve::REVISION),
    input: [28, 28, 1],
    classes: 10,
    hertz: 1000,
    stack: 0,
};

struct Halves;

impl mirage_core::image::Classifier for Halves {
    type Error = ();

    fn classes(&self) -> usize {
        2
    }

    fn classify(&mut self, image: &[u8], scores: &mut [f32]) -> Result<(), ()> {
        for (half, score) in image.chunks(392).zip(scores) {
            *score = half.iter().map(|&pixel| f32::from(pixel)).sum::<f32>() / (392.0 * 255.0);
        }
        Ok(())
    }
}

/// A message as a frame.
pub(crate) fn bytes(number: u8, message: impl Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut write = |block: &[u8]| {
        bytes.extend_from_slice(block);
        Ok::<_, ()>(())
    };
    send(number, &message, &mut write).unwrap();
    bytes
}

/// A frame of another version of the link.
pub(crate) fn frame_of_version(version: u8) -> Vec<u8> {
    // Some message without a zero in its checksum: COBS then adds a byte, and that is all.
    let content = (1..=255).map(|filler| [version, 1, filler]).find_map(|content| {
        let whole = [content.as_slice(), &crc32fast::hash(&content).to_le_bytes()].concat();
        (!whole.contains(&0)).then_some(whole)
    });
    let content = content.unwrap();
    [&[0, content.len() as u8 + 1], content.as_slice(), &[0]].concat()
}

/// Loses what is read at the `lost`th time, counted from 1.
pub(crate) fn losing_read(lost: usize) -> Way {
    let mut count = 0;
    Box::new(move |bytes| {
        count += 1;
        if count == lost {
            bytes.clear();
        }
    })
}

/// Turns a bit of every `period`th byte.
pub(crate) fn noise(period: usize) -> Way {
    let mut count = 0;
    Box::new(move |bytes| {
        for byte in bytes {
            count += 1;
            if count % period == 0 {
                *byte ^= 0x10;
            }
        }
    })
}

/// Loses the frames that `is_lost` says are.
pub(crate) fn losing(mut is_lost: impl FnMut(&Reply<'_>) -> bool + Send + 'static) -> Way {
    let mut receiver = Receiver::new(vec![0; 4096]);
    Box::new(move |frame| {
        let mut lost = false;
        for &byte in frame.iter() {
            if let Some(Ok(frame)) = receiver.feed(byte) {
                lost |= is_lost(&frame.message().unwrap());
            }
        }
        if lost {
            frame.clear();
        }
    })
}
