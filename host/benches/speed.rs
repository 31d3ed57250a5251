//! How fast the parts of a run are: `cargo bench`.
//!
//! Criterion's "elements" are, by group: `render` pixels · nodes, `int8` and `peak`
//! multiply-adds, `generation` evaluations. `peak` is what one core can multiply and
//! add without memory: what `int8` is to be held against.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mirage::experiment::engine::{Engine, Setup};
use mirage::genome::{GreyCppn, HeapDirect};
use mirage::interrupt::Interrupt;
use mirage::model::{Crops, Model};
use mirage::simd::{ForwardMemory, Simd};
use mirage_core::colour::Colour;
use mirage_core::evolve::{CPPN, DIRECT, Evolution};
use mirage_core::genome::cppn::Math;
use mirage_core::genome::{Cppn, CppnSettings, Genome};
use mirage_core::image::Shape;
use mirage_core::limits::{COLOUR_CPPN_CONNECTIONS, COLOUR_CPPN_NODES};
use mirage_core::nn::Network;
use mirage_core::rng::Stream;

type Network16 = Cppn<16, 48>;

const SHAPE: Shape = Shape { height: 28, width: 28, channels: 1 };
const BATCH: usize = 8;
static LENET: &[u8] = include_bytes!("../models/lenet.q8");

/// The two ways to run everything.
fn levels() -> Vec<Simd> {
    let mut levels = vec![Simd::detect(), Simd::PORTABLE];
    levels.dedup();
    levels
}

/// A CPPN that grew until it had so many nodes.
fn grown<const N: usize, const C: usize>(nodes: usize, shape: Shape) -> Cppn<N, C> {
    let grow = CppnSettings { delete_node: 0.0, delete_connection: 0.0, ..CPPN };
    let mut genome = Cppn::random(&grow, shape, &mut Stream::new(1, 0, 0));
    for generation in 1.. {
        if genome.nodes().len() == nodes {
            break;
        }
        let mate = genome.clone();
        genome.vary(&mate, &grow, generation, &mut Stream::new(1, generation, 0));
    }
    genome
}

fn render(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("render");
    let genome: Network16 = grown(16, SHAPE);
    let mut image = vec![0; SHAPE.len()];
    let mut scratch = vec![0.0; Network16::scratch_len(392)];
    group.throughput(Throughput::Elements((SHAPE.len() * genome.nodes().len()) as u64));
    for simd in levels() {
        for (name, math) in [("polynomial", Math::Polynomial), ("micromath", Math::Micromath)] {
            let settings = CppnSettings { math, ..CPPN };
            group.bench_function(format!("16 nodes, {name}, {}", simd.name()), |bencher| {
                bencher.iter(|| simd.render(&genome, &settings, SHAPE, &mut scratch, &mut image));
            });
        }
    }
    group.finish();
}

/// What a child of an ImageNet run takes beside the network.
fn colour(criterion: &mut Criterion) {
    const PICTURE: Shape = Shape { height: 256, width: 256, channels: 3 };
    let mut group = criterion.benchmark_group("colour, 256 × 256");
    let mut image = vec![0; PICTURE.len()];
    let mut scratch = vec![0.0; 16 * 1024];
    let genome = grown::<COLOUR_CPPN_NODES, COLOUR_CPPN_CONNECTIONS>(20, PICTURE);
    for simd in levels() {
        group.bench_function(format!("CPPN of 20 nodes, {}", simd.name()), |bencher| {
            bencher.iter(|| simd.render(&genome, &CPPN, PICTURE, &mut scratch, &mut image));
        });
    }
    for (name, space) in [("HSV", Colour::Hsv), ("HLS", Colour::Hls)] {
        group.bench_function(format!("{name} to RGB, {}", Simd::detect().name()), |bencher| {
            bencher.iter(|| Simd::detect().to_rgb(space, black_box(&mut image)));
        });
    }
    let parent = HeapDirect::random(&DIRECT, PICTURE, &mut Stream::new(1, 0, 0));
    let mut rng = Stream::new(1, 0, 1);
    group.bench_function("direct offspring", |bencher| {
        bencher.iter(|| {
            let mut child = parent.clone();
            child.vary(&parent, &DIRECT, 0, &mut rng);
            child
        });
    });
    group.finish();
}

fn int8(criterion: &mut Criterion) {
    let network = Network::parse(LENET).expect("the built-in model");
    let mut memory = ForwardMemory::new(&network, BATCH);
    let images: Vec<u8> = (0..BATCH * SHAPE.len()).map(|i| (i * 37 % 251) as u8).collect();
    let mut logits = vec![0.0; BATCH * network.classes()];
    let mut group = criterion.benchmark_group("int8");
    for simd in levels() {
        group.throughput(Throughput::Elements(BATCH as u64 * network.multiply_adds()));
        group.bench_function(format!("LeNet, {BATCH} images, {}", simd.name()), |bencher| {
            bencher.iter(|| simd.forward(&network, &images, &mut memory.scratch(), &mut logits));
        });
        for (index, layer) in network.layers().enumerate() {
            let work = layer.op().multiply_adds(layer.input());
            if work == 0 {
                continue;
            }
            let input: Vec<i8> = (0..layer.input().len()).map(|i| (i * 31) as i8).collect();
            let mut output = vec![0; layer.output().len()];
            let mut memory = ForwardMemory::for_layer(&network, index);
            group.throughput(Throughput::Elements(work));
            group.bench_function(format!("layer {index}, 1 image, {}", simd.name()), |bencher| {
                bencher.iter(|| {
                    simd.run_layer(&network, index, &input, &mut memory.scratch(), &mut output)
                });
            });
        }
    }
    group.finish();
}

/// Registers' worth of multiply-adds without memory.
#[cfg(target_arch = "x86_64")]
fn peak(criterion: &mut Criterion) {
    use core::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_madd_epi16, _mm256_set1_epi16, _mm256_setzero_si256,
    };
    const CHAINS: usize = 10;
    const STEPS: usize = 1000;

    #[target_feature(enable = "avx2")]
    fn multiply_add() -> [__m256i; CHAINS] {
        let mut sums = [_mm256_setzero_si256(); CHAINS];
        let factors = black_box((_mm256_set1_epi16(3), _mm256_set1_epi16(5)));
        for _ in 0..STEPS {
            for sum in &mut sums {
                // Opaque to the compiler, which would otherwise multiply once.
                let mut factor = factors.0;
                // SAFETY: an empty instruction that claims to change a register.
                unsafe {
                    core::arch::asm!("/* {0} */", inout(ymm_reg) factor, options(nomem, nostack));
                }
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(factor, factors.1));
            }
        }
        sums
    }

    if Simd::detect() == Simd::PORTABLE {
        return;
    }
    let mut group = criterion.benchmark_group("peak");
    group.throughput(Throughput::Elements((CHAINS * STEPS * 16) as u64));
    group.bench_function("vpmaddwd and vpaddd in registers, avx2", |bencher| {
        // SAFETY: AVX2 was detected above.
        bencher.iter(|| unsafe { black_box(multiply_add()) });
    });
    group.finish();
}

#[cfg(not(target_arch = "x86_64"))]
fn peak(_: &mut Criterion) {}

fn generation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generation");
    group.sample_size(20);
    let model = Model::load("lenet").expect("the built-in model");
    let evolution = |settings| Evolution { seed: 1, children: 200, shape: SHAPE, settings };
    group.throughput(Throughput::Elements(200));
    let mut engine: Engine<'_, GreyCppn> =
        Engine::new(evolution(CPPN), &model, setup()).expect("an engine");
    grow(&mut engine);
    let mut number = 50;
    group.bench_function("mnist-cppn, 200 children, 1 thread", |bencher| {
        bencher.iter(|| {
            number += 1;
            engine.generation(number, |_, _| {}).expect("a generation")
        });
    });
    let evolution = Evolution { seed: 1, children: 200, shape: SHAPE, settings: DIRECT };
    let mut engine: Engine<'_, HeapDirect> =
        Engine::new(evolution, &model, setup()).expect("an engine");
    grow(&mut engine);
    let mut number = 50;
    group.bench_function("mnist-direct, 200 children, 1 thread", |bencher| {
        bencher.iter(|| {
            number += 1;
            engine.generation(number, |_, _| {}).expect("a generation")
        });
    });
    group.finish();
}

fn setup() -> Setup {
    let (colour, crops, simd) = (Colour::Grey, Crops::Center, Simd::detect());
    Setup { colour, crops, simd, threads: 1, interrupt: Interrupt::default() }
}

/// Fifty generations: past the first, which are not typical.
fn grow<G>(engine: &mut Engine<'_, G>)
where
    G: Genome + Send + Sync,
    G::Settings: Sync,
{
    for number in 0..50 {
        engine.generation(number, |_, _| {}).expect("a generation");
    }
}

criterion_group!(benches, render, colour, int8, peak, generation);
criterion_main!(benches);
