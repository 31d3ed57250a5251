//! The accuracy that `mirage_core::math` states, against `f64`.

use mirage_core::math::{ActivationMath, Micromath, Polynomial, log_sum_exp, softmax, sqrt};
use reference::math::{self, ulps};
use reference::rng::stream;

/// Every `step`-th float between −`largest` and `largest`, of both signs.
fn floats(largest: f32, step: usize) -> impl Iterator<Item = f32> {
    (0..=largest.to_bits()).step_by(step).map(f32::from_bits).flat_map(|x| [x, -x])
}

/// The largest error over `inputs`, and where it is.
fn worst(inputs: impl Iterator<Item = f32>, error: impl Fn(f32) -> f64) -> (f64, f32) {
    inputs.fold((0.0, 0.0), |worst, x| {
        let error = error(x);
        if error > worst.0 { (error, x) } else { worst }
    })
}

/// Strides through the floats; a prime, so that all low bits occur.
const STEP: usize = 211;

#[test]
fn sine_is_within_two_ulps_up_to_50() {
    let error = |x: f32| ulps(Polynomial::sin(x), f64::from(x).sin());
    let found = worst(floats(50.0, STEP), error);
    println!("sine: {} ulp at {:e}", found.0, found.1);
    assert!(found.0 <= 2.0, "{found:?}");
    // Where the sine crosses zero, relative accuracy is hardest.
    let crossings = (-15..=15i32).flat_map(|n| {
        let bits = (f64::from(n) * std::f64::consts::PI) as f32;
        (-2000..=2000).map(move |i| f32::from_bits(bits.to_bits().wrapping_add_signed(i)))
    });
    let found = worst(crossings.filter(|x| x.abs() <= 50.0), error);
    println!("sine near its zeros: {} ulp at {:e}", found.0, found.1);
    assert!(found.0 <= 2.0, "{found:?}");
}

#[test]
fn sine_is_within_a_millionth_up_to_ten_thousand() {
    let found =
        worst(floats(1.0e4, STEP), |x| (f64::from(Polynomial::sin(x)) - f64::from(x).sin()).abs());
    assert!(found.0 <= 1.0e-6, "{found:?}");
    for x in floats(f32::INFINITY, 9973) {
        let y = Polynomial::sin(x);
        assert!((-1.0..=1.0).contains(&y), "sin {x} = {y}");
    }
}

#[test]
fn exp_is_as_close_as_it_states() {
    let inside = floats(88.3, STEP).filter(|&x| x >= -87.3);
    let found = worst(inside, |x| ulps(Polynomial::exp(x), f64::from(x).exp()));
    println!("exp: {} ulp at {:e}", found.0, found.1);
    assert!(found.0 <= 1.0, "{found:?}");
    assert_eq!(Polynomial::exp(1.0e30), Polynomial::exp(88.3));
    assert_eq!(Polynomial::exp(-1.0e30), Polynomial::exp(-87.3));
}

#[test]
fn square_roots_are_within_one_ulp() {
    // Squares of distances on an image of up to 4096 pixels a side.
    let inputs = (1.0e-8f32.to_bits()..=1.0e8f32.to_bits()).step_by(53).map(f32::from_bits);
    let found = worst(inputs, |x| ulps(sqrt(x), f64::from(x).sqrt()));
    println!("sqrt: {} ulp at {:e}", found.0, found.1);
    assert!(found.0 <= 1.0, "{found:?}");
    assert_eq!(sqrt(0.0), 0.0);
}

/// The activations as a CPPN uses them end in [−1, 1]; absolute errors count.
#[test]
fn activations_are_close() {
    let sigmoid = |x: f32| 2.0 / (1.0 + Polynomial::exp(-x)) - 1.0;
    let gaussian = |x: f32| Polynomial::exp(-(x * x));
    let absolute = |y: f32, truth: f64| (f64::from(y) - truth).abs();
    let found = worst(floats(50.0, STEP), |x| {
        let wide = f64::from(x);
        absolute(sigmoid(x), math::bipolar_sigmoid(wide))
            .max(absolute(gaussian(x), math::gaussian(wide)))
    });
    println!("activations: {:e} at {:e}", found.0, found.1);
    assert!(found.0 <= 3.0e-7, "{found:?}");
}

#[test]
fn micromath_is_good_to_about_a_thousandth() {
    let sine =
        worst(floats(50.0, STEP), |x| (f64::from(Micromath::sin(x)) - f64::from(x).sin()).abs());
    println!("micromath sine: {:e} at {:e}", sine.0, sine.1);
    assert!(sine.0 <= 3.0e-3, "{sine:?}");
    let exp = worst(floats(20.0, STEP), |x| {
        (f64::from(Micromath::exp(x)) / f64::from(x).exp() - 1.0).abs()
    });
    println!("micromath exp: {:e} relative at {:e}", exp.0, exp.1);
    assert!(exp.0 <= 3.0e-3, "{exp:?}");
}

#[test]
fn softmax_is_close() {
    let mut rng = stream(1, 0, 0);
    let mut unit = || f64::from(rng.draw()) / f64::from(u32::MAX) - 0.5;
    for _ in 0..20_000 {
        let logits: Vec<f32> = (0..10).map(|_| (unit() * 60.0) as f32).collect();
        let truth = math::softmax(&logits.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let mut found = logits.clone();
        softmax(&mut found);
        for (&found, truth) in found.iter().zip(truth) {
            // Half an ulp of a logit difference of up to 60 is 2e-6 of e to its power.
            assert!((f64::from(found) - truth).abs() <= 5.0e-6 * truth + 1.0e-38, "{logits:?}");
        }
    }
}

#[test]
fn the_logarithm_of_a_sum_is_close() {
    let mut rng = stream(2, 0, 0);
    let mut unit = || f64::from(rng.draw()) / f64::from(u32::MAX) - 0.5;
    for case in 0..20_000 {
        let (count, middle) = (1 + case % 40, unit() * 400.0);
        let values: Vec<f32> = (0..count).map(|_| (middle + unit() * 60.0) as f32).collect();
        let largest = values.iter().fold(f64::NEG_INFINITY, |a, &x| a.max(f64::from(x)));
        let sum: f64 = values.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
        let truth = largest + sum.ln();
        // Of a sum of a logarithm and a number of up to 230, each rounded.
        let error = (f64::from(log_sum_exp(&values)) - truth).abs();
        assert!(error <= 1.0e-6 + 1.2e-7 * truth.abs(), "{error:e}: {values:?}");
    }
}
