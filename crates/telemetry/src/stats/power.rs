//! Power: what effect can be seen with the units there are, and how many units an effect needs.

use statrs::distribution::ContinuousCDF;

use super::normal;

/// Probability that a two-sided test at `alpha` finds a difference of `effect` that is estimated
/// with standard error `error`.
pub fn power(effect: f64, error: f64, alpha: f64) -> f64 {
    let (z, shift) = (normal().inverse_cdf(1.0 - alpha / 2.0), effect.abs() / error);
    normal().cdf(shift - z) + normal().cdf(-shift - z)
}

/// The difference that is found with probability `power`: `(z₁₋α/₂ + z_power) · error`.
pub fn detectable_effect(error: f64, alpha: f64, power: f64) -> f64 {
    (normal().inverse_cdf(1.0 - alpha / 2.0) + normal().inverse_cdf(power)) * error
}

/// Units in all that a difference of `effect` needs, if `n_units` give standard error `error`
/// (which falls with the root of their number). `None`: no number does.
pub fn units_needed(
    n_units: usize,
    error: f64,
    effect: f64,
    alpha: f64,
    power: f64,
) -> Option<u64> {
    let times = (detectable_effect(error, alpha, power) / effect).powi(2);
    (times.is_finite() && effect != 0.0).then(|| (n_units as f64 * times).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_agree() {
        let effect = detectable_effect(0.02, 0.05, 0.8);
        assert!((effect - 0.02 * (1.959_963_985 + 0.841_621_234)).abs() < 1e-9);
        assert!((power(effect, 0.02, 0.05) - 0.8).abs() < 1e-4);
        assert!((power(0.0, 0.02, 0.05) - 0.05).abs() < 1e-9);
        assert_eq!(units_needed(100, 0.02, effect, 0.05, 0.8), Some(100));
        assert_eq!(units_needed(100, 0.02, effect / 2.0, 0.05, 0.8), Some(400));
        assert_eq!(units_needed(100, 0.02, 0.0, 0.05, 0.8), None);
        assert_eq!(units_needed(100, f64::INFINITY, 0.1, 0.05, 0.8), None);
    }
}
