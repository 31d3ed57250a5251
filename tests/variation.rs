//! The distributions of the operators on real genes, with fixed seeds. Every test
//! also shows that it would notice another exponent.

use mirage_core::evolve::{DIRECT, DIRECT_RELEASED};
use mirage_core::genome::variation::{polynomial, sbx};
use mirage_core::genome::{Direct, DirectSettings, Genome};
use mirage_core::rng::Stream;
use reference::statistics::{
    KS_LIMIT, binomial_deviation, chi_square, chi_square_limit, kolmogorov_smirnov,
};
use reference::variation::{polynomial_cdf, polynomial_step, sbx_cdf};

const SAMPLES: usize = 100_000;

#[test]
fn polynomial_steps_have_debs_distribution() {
    for (seed, eta) in [(1, 15.0f32), (2, 1.0), (3, 20.0)] {
        let mut rng = Stream::new(seed, 0, 0);
        let steps: Vec<f64> = (0..SAMPLES)
            .map(|_| f64::from(polynomial(0.5, eta, &mut rng)) - 0.5)
            // What leaves [0, 1] piles up at its ends; the distribution is that inside.
            .filter(|step| step.abs() < 0.5)
            .collect();
        let eta = f64::from(eta);
        let (low, high) = (polynomial_cdf(-0.5, eta), polynomial_cdf(0.5, eta));
        let cdf = |eta: f64| move |d: f64| (polynomial_cdf(d, eta) - low) / (high - low);
        let found = kolmogorov_smirnov(&steps, cdf(eta));
        assert!(found < KS_LIMIT, "η {eta}: {found}");
        let wrong = kolmogorov_smirnov(&steps, cdf(eta * 1.07 + 0.07));
        assert!(wrong > KS_LIMIT, "η {eta}: the test does not tell exponents apart, {wrong}");
        let outside = (SAMPLES - steps.len()) as u64;
        if low > 1.0e-3 {
            assert!(binomial_deviation(outside, SAMPLES as u64, 2.0 * low) < 4.0, "{outside}");
        }
    }
}

#[test]
fn polynomial_steps_follow_the_uniform_draw() {
    for gene in [0.0f32, 0.03, 0.5, 0.97, 1.0] {
        let (mut core, mut uniform) = (Stream::new(5, 0, 0), Stream::new(5, 0, 0));
        for _ in 0..20_000 {
            let step = polynomial_step(f64::from(uniform.unit()), 15.0);
            let expected = (f64::from(gene) + step).clamp(0.0, 1.0);
            assert!((f64::from(polynomial(gene, 15.0, &mut core)) - expected).abs() < 1.0e-6);
        }
    }
}

#[test]
fn crossover_has_deb_and_agrawals_distribution() {
    let pairs = [(0.2f32, 0.7f32), (0.05, 0.1), (0.9, 0.85), (0.0, 1.0), (0.99, 0.3), (0.0, 0.4)];
    for (seed, (a, b)) in pairs.into_iter().enumerate() {
        let mut rng = Stream::new(seed as u64, 1, 0);
        let children: Vec<f64> =
            (0..SAMPLES).map(|_| f64::from(sbx(a, b, 10.0, &mut rng))).collect();
        let (low, high) = (f64::from(a.min(b)), f64::from(a.max(b)));
        let found = kolmogorov_smirnov(&children, |x| sbx_cdf(x, low, high, 10.0));
        assert!(found < KS_LIMIT, "{a}, {b}: {found}");
        let wrong = kolmogorov_smirnov(&children, |x| sbx_cdf(x, low, high, 11.5));
        assert!(wrong > KS_LIMIT, "{a}, {b}: the test does not tell exponents apart, {wrong}");
    }
}

/// Bytes of 50 · 4096 mutated mid-grey pixels, counted by their distance.
fn mutate(settings: &DirectSettings, start: u8, generation: u32) -> (u64, [u64; 256]) {
    let mut counts = [0; 256];
    let mut changed = 0;
    for index in 0..50 {
        let mut child = Direct::new([start; 4096]);
        let mate = child.clone();
        child.vary(&mate, settings, generation, &mut Stream::new(9, generation, index));
        for &pixel in child.pixels() {
            counts[usize::from(pixel)] += 1;
            changed += u64::from(pixel != start);
        }
    }
    (changed, counts)
}

#[test]
fn direct_pixels_mutate_by_the_rounded_polynomial() {
    let total = 50.0 * 4096.0;
    for start in [128u8, 10, 250] {
        // Probability of each byte: the step's over the interval that rounds to it.
        let expected = |eta: f64, rate: f64| -> Vec<f64> {
            let at = |edge: f64| polynomial_cdf((edge - f64::from(start)) / 255.0, eta);
            (0..256)
                .map(|byte| {
                    let low = if byte == 0 { 0.0 } else { at(f64::from(byte) - 0.5) };
                    let high = if byte == 255 { 1.0 } else { at(f64::from(byte) + 0.5) };
                    let kept = if byte == i32::from(start) { 1.0 - rate } else { 0.0 };
                    total * (kept + rate * (high - low))
                })
                .collect()
        };
        let (_, counts) = mutate(&DIRECT, start, 0);
        let fit = |expected: Vec<f64>| {
            // Rare bytes are pooled into one bin.
            let (mut o, mut e, mut rare) = (vec![0], vec![0.0], 0.0);
            for (&count, expectation) in counts.iter().zip(expected) {
                if expectation < 20.0 {
                    o[0] += count;
                    rare += expectation;
                } else {
                    o.push(count);
                    e.push(expectation);
                }
            }
            e[0] = rare.max(1.0e-9);
            if rare < 5.0 {
                o.remove(0);
                e.remove(0);
            }
            chi_square(&o, &e) - chi_square_limit(o.len() as f64 - 1.0)
        };
        assert!(fit(expected(15.0, 0.1)) < 0.0, "start {start}");
        assert!(fit(expected(17.0, 0.1)) > 0.0, "start {start}: blind to the exponent");
        assert!(fit(expected(15.0, 0.11)) > 0.0, "start {start}: blind to the rate");
    }
}

#[test]
fn the_rate_halves_every_thousand_generations() {
    let total = 50 * 4096;
    // A mutation whose step rounds to nothing changes no byte.
    let unseen = polynomial_cdf(0.5 / 255.0, 15.0) - polynomial_cdf(-0.5 / 255.0, 15.0);
    for (generation, rate) in [(0, 0.1), (999, 0.1), (1000, 0.05), (1999, 0.05), (3000, 0.0125)] {
        let (changed, _) = mutate(&DIRECT, 128, generation);
        let deviation = binomial_deviation(changed, total, rate * (1.0 - unseen));
        assert!(deviation < 4.0, "generation {generation}: {deviation}");
    }
    let unhalved = DirectSettings { crossover_rate: 0.0, ..DIRECT_RELEASED };
    let (changed, _) = mutate(&unhalved, 128, 5000);
    assert!(binomial_deviation(changed, total, 0.1 * (1.0 - unseen)) < 4.0);
}

#[test]
fn crossover_mixes_half_of_the_released_offspring() {
    let settings = DirectSettings { mutation_rate: 0.0, ..DIRECT_RELEASED };
    let (parent, mate) = (Direct::new([60u8; 64]), Direct::new([200u8; 64]));
    let mut mixed = 0;
    for index in 0..4000 {
        let mut child = parent.clone();
        let is_mixed = child.vary(&mate, &settings, 0, &mut Stream::new(4, 0, index));
        assert_eq!(is_mixed, child != parent);
        mixed += u64::from(is_mixed);
    }
    assert!(binomial_deviation(mixed, 4000, 0.5) < 4.0, "{mixed}");
}
