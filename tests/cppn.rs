//! CPPNs: the picture against recursion in `f64`, and the distribution of every
//! structural mutation.

use mirage::simd::Simd;
use mirage_core::evolve::{CPPN, CPPN_RELEASED};
use mirage_core::genome::Genome;
use mirage_core::genome::cppn::{Activation, Connection, Cppn, CppnSettings, INPUTS};
use mirage_core::image::Shape;
use mirage_core::rng::Stream;
use reference::cppn::{self, brightness, centred};
use reference::statistics::{
    KS_LIMIT, binomial_deviation, chi_square, chi_square_limit, kolmogorov_smirnov,
};
use reference::variation::polynomial_cdf;
use std::collections::BTreeMap;

type Network = Cppn<64, 128>;

const SHAPE: Shape = Shape { height: 9, width: 12, channels: 1 };
const TRIALS: u32 = 100_000;

/// No operator at all.
const STILL: CppnSettings = CppnSettings {
    weight_rate: 0.0,
    activation_rate: 0.0,
    add_connection: 0.0,
    delete_connection: 0.0,
    add_node: 0.0,
    delete_node: 0.0,
    ..CPPN
};

fn plain<const N: usize, const C: usize>(genome: &Cppn<N, C>) -> cppn::Network {
    let activation = |a: &Activation| match a {
        Activation::Sine => cppn::Activation::Sine,
        Activation::Sigmoid => cppn::Activation::Sigmoid,
        Activation::Gaussian => cppn::Activation::Gaussian,
        Activation::Linear => cppn::Activation::Linear,
    };
    let connection =
        |c: &Connection| (usize::from(c.source), usize::from(c.target), f64::from(c.weight));
    cppn::Network {
        inputs: INPUTS,
        nodes: genome.nodes().iter().map(activation).collect(),
        connections: genome.connections().iter().map(connection).collect(),
    }
}

fn evolved(run: u64, generations: u32, shape: Shape) -> Network {
    let mut genome = Network::random(&CPPN, shape, &mut Stream::new(run, 0, 0));
    for generation in 1..=generations {
        let mate = genome.clone();
        genome.vary(&mate, &CPPN, generation, &mut Stream::new(run, generation, 0));
    }
    genome
}

fn mutants(genome: &Network, settings: &CppnSettings) -> impl Iterator<Item = Network> {
    (0..TRIALS).map(move |index| {
        let mut child = genome.clone();
        child.vary(genome, settings, 0, &mut Stream::new(77, 0, index));
        child
    })
}

fn picture(genome: &Network, settings: &CppnSettings, shape: Shape) -> Vec<u8> {
    let mut image = vec![0; shape.len()];
    let mut scratch = vec![0.0; Network::scratch_len(16)];
    genome.render(settings, shape, &mut scratch, &mut image);
    let mut wide = vec![0; shape.len()];
    Simd::detect().render(genome, settings, shape, &mut scratch, &mut wide);
    assert_eq!(wide, image, "{} draws other pixels", Simd::detect().name());
    image
}

/// A genome with four hidden nodes and a few connections, by hand.
fn example() -> Network {
    let edge = |source, target, weight| Connection { source, target, weight };
    let connections = [
        edge(0, 4, 0.52),
        edge(1, 5, 0.7),
        edge(5, 6, 0.4),
        edge(6, 4, 0.6),
        edge(3, 7, 0.2),
        edge(7, 8, 0.9),
        edge(2, 8, 0.45),
        edge(8, 4, 0.55),
    ];
    let nodes = [
        Activation::Linear,
        Activation::Sine,
        Activation::Gaussian,
        Activation::Sigmoid,
        Activation::Sine,
    ];
    Network::new(1, &nodes, &connections).expect("a valid genome")
}

#[test]
fn pictures_equal_recursion_in_f64() {
    let (mut sharp, mut pixels) = (0, 0);
    for run in 0..400 {
        let shape = Shape { channels: if run % 4 == 0 { 3 } else { 1 }, ..SHAPE };
        let genome = evolved(run, run as u32 % 25, shape);
        let is_centred = run % 3 > 0;
        let settings = if is_centred { CPPN } else { CPPN_RELEASED };
        let (network, image) = (plain(&genome), picture(&genome, &settings, shape));
        for (index, &byte) in image.iter().enumerate() {
            let (position, channel) = (index / shape.channels, index % shape.channels);
            let at = (position / shape.width, position % shape.width);
            let mut inputs = centred(at.0, at.1, shape.height, shape.width);
            if !is_centred {
                [inputs[0], inputs[1]] = [at.1 as f64, at.0 as f64];
            }
            let truth = network.value(INPUTS + channel, &inputs);
            let low = ((truth.value - truth.error) * 255.0).floor().max(-256.0) as i32;
            let high = ((truth.value + truth.error) * 255.0).floor().min(256.0) as i32;
            assert!(
                (low..=high).any(|floor| floor.unsigned_abs() == u32::from(byte)),
                "run {run}, pixel {at:?}: {byte}, expected {} ± {}",
                brightness(truth.value),
                truth.error * 255.0
            );
            // Black and white lie at the edge of two levels. Indices are large numbers,
            // whose pictures leave more room.
            if is_centred {
                sharp += usize::from(high - low <= 1);
                pixels += 1;
            }
        }
    }
    println!("{sharp} of {pixels} pixels are determined up to one level");
    assert!(sharp * 10 > pixels * 9, "{sharp} of {pixels}: the bounds are too wide to test much");
}

#[test]
fn genomes_stay_acyclic_and_simple() {
    for run in 0..100 {
        let network = plain(&evolved(run, 40, SHAPE));
        for (index, &(source, target, weight)) in network.connections.iter().enumerate() {
            assert!((0.0..=1.0).contains(&weight));
            assert!(target >= INPUTS && !network.leads(target, source), "a cycle in run {run}");
            let same = |c: &(usize, usize, f64)| (c.0, c.1) == (source, target);
            assert_eq!(network.connections.iter().position(same), Some(index), "twice");
        }
    }
}

#[test]
fn operators_come_as_often_as_set() {
    let genome = example();
    let expected = [
        (CppnSettings { add_connection: CPPN.add_connection, ..STILL }, 0.5),
        (CppnSettings { delete_connection: CPPN.delete_connection, ..STILL }, 0.3),
        (CppnSettings { add_node: CPPN.add_node, ..STILL }, 0.5),
        (CppnSettings { delete_node: CPPN.delete_node, ..STILL }, 0.2),
    ];
    for (settings, p) in expected {
        let hits = mutants(&genome, &settings).filter(|child| *child != genome).count() as u64;
        assert!(binomial_deviation(hits, u64::from(TRIALS), p) < 4.0, "{settings:?}: {hits}");
        assert!(binomial_deviation(hits, u64::from(TRIALS), p + 0.02) > 4.0);
    }
    assert!(mutants(&genome, &STILL).all(|child| child == genome));
}

#[test]
fn new_connections_are_uniform_among_those_possible() {
    let genome = example();
    let network = plain(&genome);
    let ends = INPUTS + network.nodes.len();
    let mut counts = BTreeMap::new();
    for source in (0..INPUTS).chain(INPUTS + 1..ends) {
        for target in INPUTS..ends {
            let exists = network.connections.iter().any(|c| (c.0, c.1) == (source, target));
            if !exists && !network.leads(target, source) {
                counts.insert((source, target), 0u64);
            }
        }
    }
    let mut weights = Vec::new();
    for child in mutants(&genome, &CppnSettings { add_connection: 1.0, ..STILL }) {
        assert_eq!(child.connections()[..8], *genome.connections());
        let new = child.connections()[8];
        let count = counts.get_mut(&(usize::from(new.source), usize::from(new.target)));
        *count.expect("a connection that was free and closes no cycle") += 1;
        weights.push(f64::from(new.weight));
    }
    let observed: Vec<u64> = counts.values().copied().collect();
    let even = vec![f64::from(TRIALS) / observed.len() as f64; observed.len()];
    let limit = chi_square_limit(observed.len() as f64 - 1.0);
    assert!(chi_square(&observed, &even) < limit, "{counts:?}");
    // Sources first and then one of their targets would not be uniform among pairs.
    let sources = counts.keys().map(|pair| pair.0).collect::<std::collections::BTreeSet<_>>();
    let of = |source| counts.keys().filter(|pair| pair.0 == source).count() as f64;
    let by_source: Vec<f64> =
        counts.keys().map(|pair| f64::from(TRIALS) / sources.len() as f64 / of(pair.0)).collect();
    assert!(chi_square(&observed, &by_source) > limit, "the test sees no difference");
    assert!(kolmogorov_smirnov(&weights, |x| x) < KS_LIMIT);
    assert!(kolmogorov_smirnov(&weights, |x| x * x.sqrt()) > KS_LIMIT);
}

#[test]
fn deletions_are_uniform() {
    let genome = example();
    let mut connections = [0u64; 8];
    for child in mutants(&genome, &CppnSettings { delete_connection: 1.0, ..STILL }) {
        let gone = |c: &&Connection| !child.connections().contains(c);
        let missing: Vec<_> = genome.connections().iter().filter(gone).collect();
        assert_eq!((missing.len(), child.connections().len()), (1, 7));
        let index = genome.connections().iter().position(|c| c == missing[0]);
        connections[index.expect("one of them")] += 1;
    }
    assert!(chi_square(&connections, &[f64::from(TRIALS) / 8.0; 8]) < chi_square_limit(7.0));

    // A genome without one hidden node draws what the whole draws without its
    // connections: tells which node went.
    let without: Vec<(Vec<u8>, usize)> = (5..9u16)
        .map(|node| {
            let rest: Vec<Connection> = genome
                .connections()
                .iter()
                .filter(|c| c.source != node && c.target != node)
                .copied()
                .collect();
            let cut = Network::new(1, genome.nodes(), &rest).expect("a valid genome");
            (picture(&cut, &CPPN, SHAPE), rest.len())
        })
        .collect();
    let mut nodes = BTreeMap::new();
    for child in mutants(&genome, &CppnSettings { delete_node: 1.0, ..STILL }) {
        assert_eq!(child.nodes().len(), 4);
        let drawn = (picture(&child, &CPPN, SHAPE), child.connections().len());
        assert!(without.contains(&drawn), "not the picture without one node: {child:?}");
        let mut kept: Vec<u8> =
            child.connections().iter().map(|c| (c.weight * 100.0) as u8).collect();
        kept.sort_unstable();
        *nodes.entry(kept).or_insert(0u64) += 1;
    }
    let counts: Vec<u64> = nodes.values().copied().collect();
    assert_eq!(counts.len(), 4);
    assert!(
        chi_square(&counts, &[f64::from(TRIALS) / 4.0; 4]) < chi_square_limit(3.0),
        "{counts:?}"
    );
}

#[test]
fn new_nodes_split_any_connection_and_keep_its_weight() {
    let genome = example();
    let (mut splits, mut activations) = ([0u64; 8], [0u64; 4]);
    for child in mutants(&genome, &CppnSettings { add_node: 1.0, ..STILL }) {
        let (network, old) = (plain(&child), plain(&genome));
        assert_eq!((network.nodes.len(), network.connections.len()), (6, 9));
        let middle = INPUTS + 5;
        let into = network.connections.iter().find(|c| c.1 == middle).expect("a first half");
        let out = network.connections.iter().find(|c| c.0 == middle).expect("a second half");
        let whole = (into.0, out.1, into.2);
        assert_eq!(into.2, out.2, "both halves keep the weight");
        splits[old.connections.iter().position(|&c| c == whole).expect("an old connection")] += 1;
        activations[child.nodes()[5] as usize] += 1;
    }
    let even = |bins: usize| vec![f64::from(TRIALS) / bins as f64; bins];
    assert!(chi_square(&splits, &even(8)) < chi_square_limit(7.0), "{splits:?}");
    assert!(chi_square(&activations, &even(4)) < chi_square_limit(3.0), "{activations:?}");
}

#[test]
fn weights_and_activations_mutate_at_their_rates() {
    let genome = example();
    let settings = CppnSettings { weight_rate: CPPN.weight_rate, ..STILL };
    // The weight 0.55 is 0.45 from the nearer bound, which a step passes with
    // probability ½ · 0.55¹⁶ = 3.5e-5, once in about 300 000 trials with their rate of a tenth.
    let steps: Vec<f64> = mutants(&genome, &settings)
        .map(|child| f64::from(child.connections()[7].weight) - f64::from(0.55f32))
        .filter(|&step| step != 0.0)
        .collect();
    assert!(binomial_deviation(steps.len() as u64, u64::from(TRIALS), 0.1) < 4.0);
    assert!(binomial_deviation(steps.len() as u64, u64::from(TRIALS), 0.11) > 4.0);
    assert!(kolmogorov_smirnov(&steps, |d| polynomial_cdf(d, 15.0)) < KS_LIMIT);
    assert!(kolmogorov_smirnov(&steps, |d| polynomial_cdf(d, 20.0)) > KS_LIMIT);

    let settings = CppnSettings { activation_rate: CPPN.activation_rate, ..STILL };
    let mut counts = [0u64; 4];
    for child in mutants(&genome, &settings) {
        counts[child.nodes()[1] as usize] += 1;
    }
    // Redrawn with p = 0.1, and the old one again in a quarter of those.
    let total = f64::from(TRIALS);
    let expected = [0.925 * total, 0.025 * total, 0.025 * total, 0.025 * total];
    assert!(chi_square(&counts, &expected) < chi_square_limit(3.0), "{counts:?}");
    let always_another = [0.9 * total, total / 30.0, total / 30.0, total / 30.0];
    assert!(chi_square(&counts, &always_another) > chi_square_limit(3.0));
}
