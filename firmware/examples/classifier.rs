//! Hardware in the loop: firmware that only classifies, with a classifier of its own,
//! while `mirage evolve --device PORT` evolves against it on the host.
//!
//! Replace `Own` by your inference, and `mps2` by your board's serial port: anything
//! that implements the `embedded-io` traits will do.

#![no_std]
#![no_main]

use mirage_core::image::Classifier;
use mirage_core::link::{Info, frame_len};
use mirage_core::math::{ln, softmax};
use mirage_core::nn::EnergyGuard;
use mirage_firmware::board::mps2;
use panic_halt as _;

/// Height, width and channels of the images.
const INPUT: [u32; 3] = [28, 28, 1];
const PIXELS: usize = 28 * 28;
const CLASSES: usize = 2;

/// Too little light to tell, as an energy; for a network, `mirage guard` finds one.
const GUARD: EnergyGuard = EnergyGuard { threshold: -8.0 };

/// Is there more light on the left or on the right?
struct Own;

impl Classifier for Own {
    type Error = ();

    fn classes(&self) -> usize {
        CLASSES
    }

    fn classify(&mut self, images: &[u8], scores: &mut [f32]) -> Result<(), ()> {
        let (mut left, mut right) = (1.0, 1.0);
        for line in images.as_chunks::<28>().0 {
            left += line[..14].iter().map(|&pixel| f32::from(pixel)).sum::<f32>();
            right += line[14..].iter().map(|&pixel| f32::from(pixel)).sum::<f32>();
        }
        if scores.len() != CLASSES {
            return Err(());
        }
        scores.copy_from_slice(&[left, right].map(|light: f32| ln(light.into()) as f32));
        // What is not accepted is of no class.
        match GUARD.accepts(scores) {
            true => softmax(scores),
            false => scores.fill(0.0),
        }
        Ok(())
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let info = Info {
        board: "mps2",
        model: "left-right",
        model_sha256: [0; 32], // that of your model's file, if it has one
        revision: None,        // it does not evolve
        input: INPUT,
        classes: CLASSES as u32,
        hertz: 1,
        stack: 0,
    };
    let (_, mut link) = mps2::start();
    let (mut frame, mut scores) = ([0; frame_len(PIXELS)], [0.0; CLASSES]);
    let _ = mirage_firmware::serve(&mut link, &info, &mut frame, &mut scores, &mut Own);
    panic!("a serial line does not end")
}
