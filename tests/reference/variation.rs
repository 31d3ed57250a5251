//! The distributions of the operators on real genes in [0, 1].

/// Distribution function of polynomial mutation's step δ in (−1, 1), whose density
/// is (η + 1)/2 · (1 − |δ|)^η (Deb and Goyal 1996).
#[must_use]
pub fn polynomial_cdf(delta: f64, eta: f64) -> f64 {
    let delta = delta.clamp(-1.0, 1.0);
    let tail = 0.5 * (1.0 - delta.abs()).powf(eta + 1.0);
    if delta < 0.0 { tail } else { 1.0 - tail }
}

/// Polynomial mutation's step for a uniform `u` in [0, 1).
#[must_use]
pub fn polynomial_step(u: f64, eta: f64) -> f64 {
    let power = 1.0 / (eta + 1.0);
    if u < 0.5 { (2.0 * u).powf(power) - 1.0 } else { 1.0 - (2.0 * (1.0 - u)).powf(power) }
}

/// Probability that the lower child of bounded simulated binary crossover
/// (Deb and Agrawal 1995, as in NSGA-II) of `low` < `high` is at most `x`.
///
/// The child is ½(low + high − β·gap); β has, for β ≤ 1, distribution function
/// β^(η+1)/α, beyond that (2 − β^−(η+1))/α, and ends where the child reaches 0.
#[must_use]
pub fn sbx_lower_cdf(x: f64, low: f64, high: f64, eta: f64) -> f64 {
    let gap = high - low;
    let furthest = 1.0 + 2.0 * low / gap;
    let alpha = 2.0 - furthest.powf(-(eta + 1.0));
    let beta = ((low + high - 2.0 * x) / gap).clamp(0.0, furthest);
    let below = if beta <= 1.0 {
        beta.powf(eta + 1.0) / alpha
    } else {
        (2.0 - beta.powf(-(eta + 1.0))) / alpha
    };
    1.0 - below
}

/// The same of either child, each with probability ½: the upper child of
/// (low, high) mirrors the lower child of (1 − high, 1 − low).
#[must_use]
pub fn sbx_cdf(x: f64, low: f64, high: f64, eta: f64) -> f64 {
    let lower = sbx_lower_cdf(x, low, high, eta);
    let upper = 1.0 - sbx_lower_cdf(1.0 - x, 1.0 - high, 1.0 - low, eta);
    0.5 * (lower + upper)
}
