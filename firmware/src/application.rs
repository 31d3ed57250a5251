//! A device that answers a host.

use mirage_core::colour::Colour;
use mirage_core::evolve::{Encoding, Evolution, Preset, REVISION};
use mirage_core::link::{Fault, Info, Receiver, Reply, Request, Run};
use mirage_core::nn::{Kernel, Network};

use crate::device::{Device, DeviceError, Ticks};
use crate::link::{Board, Link, classify, on_the_line, read, refusal, send};
use crate::{Memory, Model};

/// What a board runs: it waits for requests, and between two children of a run looks
/// for more.
#[derive(Debug)]
pub struct Application<'m, L, B, K, const PIXELS: usize, const CLASSES: usize> {
    link: L,
    board: B,
    model: Model<'m>,
    device: Device<'m, K, PIXELS, CLASSES>,
    receiver: Receiver<&'m mut [u8]>,
    job: Option<Job>,
}

/// A run under way.
#[derive(Clone, Copy, Debug)]
struct Job {
    /// Number of the request that began it.
    number: u8,
    evolution: Evolution<Encoding>,
    generations: u32,
    scores: bool,
    /// Children done in the present generation.
    index: u32,
    takeovers: u32,
    ticks: Ticks,
}

impl<'m, L, B, K, const PIXELS: usize, const CLASSES: usize>
    Application<'m, L, B, K, PIXELS, CLASSES>
where
    L: Link,
    B: Board,
    K: Kernel,
{
    /// An application that has not heard of a host yet.
    ///
    /// # Errors
    /// If the model is none, or does not fit the memory.
    pub fn new<const ARENA: usize, const FRAME: usize>(
        link: L,
        board: B,
        model: Model<'m>,
        kernel: K,
        memory: &'m mut Memory<PIXELS, CLASSES, ARENA, FRAME>,
    ) -> Result<Self, DeviceError> {
        let network = Network::parse(model.blob).map_err(DeviceError::Model)?;
        let (device, frame) = Device::new(network, kernel, memory)?;
        Ok(Self { link, board, model, device, receiver: Receiver::new(frame), job: None })
    }

    /// Answers requests until the link ends.
    ///
    /// # Errors
    /// What the link reports.
    pub fn run(&mut self) -> Result<(), L::Error> {
        loop {
            while self.job.is_none() || self.link.read_ready()? {
                let Some(byte) = read(&mut self.link)? else { return Ok(()) };
                self.receive(byte)?;
            }
            self.child()?;
        }
    }

    /// Takes a byte, and answers if it ends a request.
    // Not inlined, like `child`: neither needs the other's stack.
    #[inline(never)]
    fn receive(&mut self, byte: u8) -> Result<(), L::Error> {
        let Self { link, board, model, device, receiver, job } = self;
        let frame = match receiver.feed(byte) {
            None => return Ok(()),
            Some(Err(error)) => return send(link, 0, &refusal(error)),
            Some(Ok(frame)) => frame,
        };
        let number = frame.number;
        let mut scores = [0.0; CLASSES];
        let reply = match frame.message() {
            Err(error) => refusal(error),
            Ok(Request::Info) => Reply::Info(info(board, model, device)),
            Ok(Request::Classify(image)) => classify(device, PIXELS, image, &mut scores),
            Ok(Request::Evolve(run)) => match Job::new(number, &run, device) {
                Err(fault) => Reply::Refused(fault),
                Ok(new) => {
                    end(link, device, job)?;
                    device.clear();
                    *job = Some(new);
                    return Ok(());
                }
            },
            Ok(Request::Elite(class)) => elite(device, class),
            Ok(Request::Digest) => {
                let (done, digest) = state(device);
                Reply::Digest { done, digest }
            }
            Ok(Request::Stop) => {
                end(link, device, job)?;
                let (done, digest) = state(device);
                Reply::Ended { done, digest }
            }
        };
        send(link, number, &reply)
    }

    /// The next child of the run under way.
    #[inline(never)]
    fn child(&mut self) -> Result<(), L::Error> {
        let Self { link, board, device, job, .. } = self;
        let Some(run) = job else { return Ok(()) };
        let Evolution { children, .. } = run.evolution;
        let id = u64::from(device.generations()) * u64::from(children) + u64::from(run.index);
        let mut sent = Ok(());
        let result = device.child(&run.evolution, run.index, &mut || board.ticks(), |takeover| {
            run.takeovers += 1;
            let (class, confidence) = (takeover.class as u32, takeover.confidence);
            if sent.is_ok() {
                sent = send(link, run.number, &Reply::Takeover { class, id, confidence });
            }
        });
        sent?;
        let Ok((mut scores, ticks)) = result else {
            let refused = Reply::Refused(Fault::Classifier);
            let number = run.number;
            *job = None;
            return send(link, number, &refused);
        };
        if run.scores {
            send(link, run.number, &Reply::Scores(on_the_line(&mut scores)))?;
        }
        run.ticks.vary += ticks.vary;
        run.ticks.render += ticks.render;
        run.ticks.classify += ticks.classify;
        run.index += 1;
        if run.index < children {
            return Ok(());
        }
        device.end_generation();
        run.index = 0;
        let (done, digest) = state(device);
        let Ticks { vary, render, classify } = core::mem::take(&mut run.ticks);
        let takeovers = core::mem::take(&mut run.takeovers);
        let reply = Reply::Generation { done, takeovers, digest, vary, render, classify };
        send(link, run.number, &reply)?;
        if done == run.generations {
            end(link, device, job)?;
        }
        Ok(())
    }
}

impl Job {
    fn new<K: Kernel, const PIXELS: usize, const CLASSES: usize>(
        number: u8,
        run: &Run<'_>,
        device: &Device<'_, K, PIXELS, CLASSES>,
    ) -> Result<Self, Fault> {
        // Those that draw colour are a host's.
        let preset = Preset::named(run.preset).filter(|preset| preset.colour == Colour::Grey);
        let preset = preset.ok_or(Fault::Preset)?;
        if run.children == 0 || run.generations == 0 {
            return Err(Fault::Empty);
        }
        let evolution = Evolution {
            seed: run.seed,
            children: run.children,
            shape: device.shape(),
            settings: preset.encoding,
        };
        Ok(Self {
            number,
            evolution,
            generations: run.generations,
            scores: run.scores,
            index: 0,
            takeovers: 0,
            ticks: Ticks::default(),
        })
    }
}

/// Ends the run under way, if there is one, and tells its host.
fn end<L: Link, K: Kernel, const PIXELS: usize, const CLASSES: usize>(
    link: &mut L,
    device: &Device<'_, K, PIXELS, CLASSES>,
    job: &mut Option<Job>,
) -> Result<(), L::Error> {
    match job.take() {
        None => Ok(()),
        Some(Job { number, .. }) => {
            let (done, digest) = state(device);
            send(link, number, &Reply::Ended { done, digest })
        }
    }
}

/// Generations that the archive is of, and its digest.
fn state<K: Kernel, const PIXELS: usize, const CLASSES: usize>(
    device: &Device<'_, K, PIXELS, CLASSES>,
) -> (u32, u64) {
    (device.generations(), device.archive().digest().value())
}

/// What the board is and carries.
fn info<'m, B: Board, K: Kernel, const PIXELS: usize, const CLASSES: usize>(
    board: &B,
    model: &Model<'m>,
    device: &Device<'_, K, PIXELS, CLASSES>,
) -> Info<'m> {
    let shape = device.shape();
    Info {
        board: B::NAME,
        model: model.name,
        model_sha256: model.sha256,
        revision: Some(REVISION),
        input: [shape.height, shape.width, shape.channels].map(|side| side as u32),
        classes: CLASSES as u32,
        hertz: board.hertz(),
        stack: board.stack(),
    }
}

/// The elite of a class.
fn elite<'d, K: Kernel, const PIXELS: usize, const CLASSES: usize>(
    device: &'d mut Device<'_, K, PIXELS, CLASSES>,
    class: u32,
) -> Reply<'d> {
    let elites = device.archive().cells();
    let Some(Some(elite)) = elites.get(class as usize) else {
        return Reply::Refused(Fault::Class);
    };
    let (origin, confidence) = (elite.origin, elite.confidence);
    match device.genome(class as usize) {
        Some(genome) => {
            let (id, parents) = (origin.id, origin.parents);
            Reply::Elite { class, id, parents, confidence, genome }
        }
        None => Reply::Refused(Fault::Class),
    }
}
