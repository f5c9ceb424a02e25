//! Covariate adjustment (CUPED: Deng, Xu, Kohavi, Walker 2013) for ratio metrics.
//!
//! What a unit did before the experiment cannot depend on its arm. The part of the outcome that it
//! explains is taken away, which leaves the expectation as it is and the variance smaller by the
//! squared correlation.

use super::ratio::Unit;

/// The units of all arms with their numerators adjusted, and the share of variance that went.
///
/// A ratio's linearisation at unit i is `yᵢ - R·xᵢ` (R the pooled ratio). It is regressed, over all
/// arms together, on the covariate `bᵢ - B·wᵢ`, the linearisation of the ratio before (`b` and `w`
/// its sums, B the pooled one); the fitted part is subtracted. Units without a past keep their
/// value: their covariate is its mean, 0. Returns `None` where there is nothing to adjust with
/// (fewer than three units have a past, or it does not vary).
pub fn adjust(arms: &[&[Unit]]) -> Option<(Vec<Vec<Unit>>, f64)> {
    let all = || arms.iter().flat_map(|arm| arm.iter());
    let (y, x) = all().fold((0.0, 0.0), |(y, x), u| (y + u.numerator, x + u.denominator));
    let past = || all().filter_map(|u| u.before);
    let (b, w) = past().fold((0.0, 0.0), |(b, w), p| (b + p.0, w + p.1));
    if past().count() < 3 || x.is_nan() || x <= 0.0 || w.is_nan() || w <= 0.0 {
        return None;
    }
    let (now, before) = (y / x, b / w);
    let covariate = |u: &Unit| u.before.map_or(0.0, |(b, w)| b - before * w);
    let outcome = |u: &Unit| u.numerator - now * u.denominator;
    let (mut cov, mut var, mut total) = (0.0, 0.0, 0.0);
    for unit in all() {
        cov += covariate(unit) * outcome(unit);
        var += covariate(unit).powi(2);
        total += outcome(unit).powi(2);
    }
    if var.is_nan() || var <= 0.0 || total.is_nan() || total <= 0.0 {
        return None;
    }
    let theta = cov / var;
    let adjusted = |u: &Unit| Unit { numerator: u.numerator - theta * covariate(u), ..*u };
    let adjusted = arms.iter().map(|arm| arm.iter().map(adjusted).collect()).collect();
    Some((adjusted, (cov * theta / total).clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ratio;

    fn unit(numerator: f64, before: Option<(f64, f64)>) -> Unit {
        Unit { numerator, denominator: 1.0, before }
    }

    #[test]
    fn what_the_past_explains_goes() {
        // The outcome is the past plus 1 in one arm: adjusted, nothing but the arms' difference is
        // left in the outcome's spread.
        let past = [1.0, 2.0, 5.0, 8.0];
        let a: Vec<Unit> = past.iter().map(|p| unit(*p, Some((*p, 1.0)))).collect();
        let b: Vec<Unit> = past.iter().map(|p| unit(p + 1.0, Some((*p, 1.0)))).collect();
        let (adjusted, share) = adjust(&[&a, &b]).unwrap();
        let (ra, rb) = (ratio(&adjusted[0]).unwrap(), ratio(&adjusted[1]).unwrap());
        assert!((rb.value - ra.value - 1.0).abs() < 1e-12);
        assert!(ra.error < 1e-9 && share > 0.9, "{ra:?} {share}");
    }

    #[test]
    fn nothing_to_adjust_with() {
        assert_eq!(adjust(&[&[unit(1.0, None), unit(2.0, None)], &[unit(3.0, None)]]), None);
        let same: Vec<Unit> = (0..5).map(|i| unit(f64::from(i), Some((2.0, 1.0)))).collect();
        assert_eq!(adjust(&[&same]), None);
        assert_eq!(adjust(&[]), None);
    }
}
