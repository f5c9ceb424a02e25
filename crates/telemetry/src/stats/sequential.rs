//! Always-valid inference: p-values and intervals that may be looked at as often as one likes.
//!
//! The mixture sequential probability ratio test with a normal mixture (Johari, Koomen, Pekelis,
//! Walsh: Always Valid Inference, 2022): against "no difference" stands a difference drawn from
//! N(0, τ²). With an estimate `d` of variance `v`,
//!
//! `Λ = sqrt(v / (v + τ²)) · exp(τ² d² / (2 v (v + τ²)))`,
//!
//! and under no difference Λ exceeds 1/α at any time with probability α at most. 1/Λ, and its
//! smallest value so far, is the p-value. τ must not be chosen from the outcome; it only decides at
//! which size of effect the test is quickest.

use super::ratio::Difference;

/// Looks at fewer units in an arm say nothing yet: the variance is not known well enough to be put
/// in for the true one.
pub const MIN_UNITS: usize = 30;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sequential {
    /// 1/Λ, at most 1.
    pub p: f64,
    /// The differences that a look at level `alpha` does not exclude.
    pub low: f64,
    pub high: f64,
}

/// One look. `tau`: the mixture's standard deviation, an effect of the size that is expected (in
/// the metric's unit, above 0).
pub fn always_valid(difference: &Difference, tau: f64, alpha: f64) -> Sequential {
    let (d, v, t) = (difference.value, difference.error.powi(2), tau.powi(2));
    if !v.is_finite() || t.is_nan() || t <= 0.0 {
        return Sequential { p: 1.0, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    if v == 0.0 {
        return Sequential { p: f64::from(u8::from(d == 0.0)), low: d, high: d };
    }
    // In logarithms: Λ overflows early.
    let log_lambda = 0.5 * (v / (v + t)).ln() + t * d * d / (2.0 * v * (v + t));
    let reach = (2.0 * v * (v + t) / t * (0.5 * ((v + t) / v).ln() - alpha.ln())).sqrt();
    Sequential { p: (-log_lambda).exp().min(1.0), low: d - reach, high: d + reach }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(value: f64, error: f64) -> Sequential {
        always_valid(&Difference { value, error, df: 100.0, p: 0.0 }, 0.5, 0.05)
    }

    #[test]
    fn p_and_interval_agree() {
        // At the interval's end, the p-value of that difference from the estimate is alpha.
        let s = look(1.0, 0.3);
        let at_the_end = look(1.0 - s.low, 0.3);
        assert!((at_the_end.p - 0.05).abs() < 1e-12, "{at_the_end:?}");
        assert!(s.low < 1.0 && s.high > 1.0 && (s.high - 1.0 - (1.0 - s.low)).abs() < 1e-12);
    }

    #[test]
    fn extremes() {
        assert_eq!(look(0.0, 1.0).p, 1.0);
        assert_eq!(look(1e9, 1e-9).p, 0.0);
        assert_eq!(look(1.0, f64::INFINITY).p, 1.0);
        assert_eq!((look(0.0, 0.0).p, look(1.0, 0.0).p), (1.0, 0.0));
        let nothing =
            always_valid(&Difference { value: 1.0, error: 1.0, df: 9.0, p: 0.0 }, 0.0, 0.05);
        assert_eq!(nothing.p, 1.0);
    }
}
