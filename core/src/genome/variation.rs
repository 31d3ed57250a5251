//! Operators on real-valued genes in [0, 1].

use crate::math::powf;
use crate::rng::Stream;

/// Polynomial mutation: `gene` plus a step in (−1, 1), clamped to [0, 1].
///
/// The step δ has density (η + 1)/2 · (1 − |δ|)^η: the larger `eta`, the smaller
/// the steps. Deb and Goyal 1996; the form without regard to the gene's bounds, as
/// in Sferes2, which the paper used.
#[must_use]
pub fn polynomial(gene: f32, eta: f32, rng: &mut Stream) -> f32 {
    let u = rng.unit();
    let power = 1.0 / (eta + 1.0);
    let step =
        if u < 0.5 { powf(2.0 * u, power) - 1.0 } else { 1.0 - powf(2.0 * (1.0 - u), power) };
    (gene + step).clamp(0.0, 1.0)
}

/// Simulated binary crossover: one of the two children of genes `a` and `b`, each
/// with probability ½.
///
/// The children lie symmetrically about the parents' mean, spread so that they stay
/// in [0, 1]: Deb and Agrawal 1995, the bounded form of NSGA-II. Equal genes stay as
/// they are.
#[must_use]
pub fn sbx(a: f32, b: f32, eta: f32, rng: &mut Stream) -> f32 {
    let u = rng.unit();
    let lower = rng.chance(0.5);
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    let gap = high - low;
    if gap < SBX_LEAST_GAP {
        return a;
    }
    // Distance to the bound on the child's side, relative to the gap.
    let room = if lower { low } else { 1.0 - high };
    let beta = 1.0 + 2.0 * room / gap;
    let alpha = 2.0 - powf(beta, -(eta + 1.0));
    let power = 1.0 / (eta + 1.0);
    let spread = if u * alpha <= 1.0 {
        powf(u * alpha, power)
    } else {
        powf(1.0 / (2.0 - u * alpha), power)
    };
    let middle = low + high;
    let child = if lower { middle - spread * gap } else { middle + spread * gap };
    (0.5 * child).clamp(0.0, 1.0)
}

/// Genes closer than this count as equal.
const SBX_LEAST_GAP: f32 = 1.0e-6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genes_stay_in_range() {
        let mut rng = Stream::new(1, 0, 0);
        for i in 0..10_000 {
            let (a, b) = (rng.unit(), rng.unit());
            assert!((0.0..=1.0).contains(&polynomial(a, 15.0, &mut rng)), "{i}");
            assert!((0.0..=1.0).contains(&sbx(a, b, 10.0, &mut rng)), "{i}: {a} {b}");
        }
    }

    #[test]
    fn equal_genes_are_kept() {
        let mut rng = Stream::new(1, 0, 0);
        for gene in [0.0, 0.25, 1.0] {
            assert_eq!(sbx(gene, gene, 10.0, &mut rng), gene);
        }
    }
}
