//! What only the processor itself can tell, in lines of text on the serial port:
//!
//! * whether the processor's kernel gives the integers of the portable one, also for
//!   numbers of rows and patches that no model here has;
//! * how many ticks it takes to draw a CPPN of sixteen nodes.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use embedded_io::Write;
use mirage_core::evolve::CPPN;
use mirage_core::genome::{Cppn, CppnSettings, Genome};
use mirage_core::image::Shape;
use mirage_core::nn::{Kernel, Portable, row_stride};
use mirage_core::rng::Stream;
use mirage_firmware::Board;
use mirage_firmware::board::mps2::{self, Uart};
use mirage_firmware::board::serial::Serial;
use mirage_firmware::kernel::KERNEL;
use panic_halt as _;

/// Prints to the serial port.
struct Text(Serial<Uart>);

impl core::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| core::fmt::Error)
    }
}

type Network16 = Cppn<16, 48>;

const SHAPE: Shape = Shape { height: 28, width: 28, channels: 1 };

/// A CPPN that has grown to sixteen nodes.
fn full_genome() -> Network16 {
    let grow = CppnSettings { delete_node: 0.0, delete_connection: 0.0, ..CPPN };
    let mut genome = Network16::random(&grow, SHAPE, &mut Stream::new(1, 0, 0));
    for generation in 1.. {
        if genome.nodes().len() == 16 {
            break;
        }
        let mate = genome.clone();
        genome.vary(&mate, &grow, generation, &mut Stream::new(1, generation, 0));
    }
    genome
}

/// Ticks that drawing takes, a line of pixels at a time.
fn draw(board: &impl Board) -> u32 {
    let genome = full_genome();
    let (mut scratch, mut image) = ([0.0; 20 * 28], [0; SHAPE.len()]);
    let begun = board.ticks();
    genome.render(&CPPN, SHAPE, &mut scratch, &mut image);
    core::hint::black_box(&image);
    board.ticks().wrapping_sub(begun)
}

/// Multiplies random numbers by both kernels: how many products there were, or the first
/// size that they differ in (rows, patches, depth).
fn compare() -> Result<u32, (usize, usize, usize)> {
    let mut products = 0;
    let mut rng = Stream::new(2, 0, 0);
    let (mut weights, mut patches) = ([0u8; 5 * 128], [0i16; 5 * 128]);
    for depth in 1..=112 {
        let stride = row_stride(depth);
        for rows in 1..=5 {
            for count in 1..=5 {
                let (weights, patches) =
                    (&mut weights[..rows * stride], &mut patches[..count * stride]);
                for (k, weight) in weights.iter_mut().enumerate() {
                    // Beyond the depth weights are zero, and patches anything.
                    *weight = if k % stride < depth { rng.below(256) as u8 } else { 0 };
                }
                patches.fill_with(|| rng.below(511) as i16 - 255);
                let (mut expected, mut found) = ([1; 25], [2; 25]);
                Portable.multiply(weights, patches, depth, &mut expected[..rows * count]);
                KERNEL.multiply(weights, patches, depth, &mut found[..rows * count]);
                if expected[..rows * count] != found[..rows * count] {
                    return Err((rows, count, depth));
                }
                products += (rows * count * depth) as u32;
            }
        }
    }
    Ok(products)
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let (board, uart) = mps2::start();
    let mut text = Text(uart);
    // Writing to the serial port does not fail.
    let _ = match compare() {
        Ok(products) => writeln!(text, "kernels agree on {products} products"),
        Err((r, p, d)) => writeln!(text, "kernels differ: {r} rows, {p} patches, depth {d}"),
    };
    let _ = writeln!(text, "16 nodes drawn in {} ticks", draw(&board));
    loop {
        core::hint::spin_loop();
    }
}
