//! Sample-ratio mismatch: did the arms get the units that their weights promise?

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// A p-value below this means that something sorts units into arms other than the assignment:
/// results are not to be trusted.
pub const SRM_ALARM: f64 = 0.001;

/// Pearson's chi-squared test of counts against weights. 1 where there is nothing to test.
pub fn sample_ratio(counts: &[u64], weights: &[f64]) -> f64 {
    let (n, total) = (counts.iter().sum::<u64>() as f64, weights.iter().sum::<f64>());
    if counts.len() != weights.len()
        || counts.len() < 2
        || n == 0.0
        || total.is_nan()
        || total <= 0.0
    {
        return 1.0;
    }
    let term = |(count, weight): (&u64, &f64)| {
        let expected = n * weight / total;
        (*count as f64 - expected).powi(2) / expected
    };
    let statistic: f64 = counts.iter().zip(weights).map(term).sum();
    ChiSquared::new(counts.len() as f64 - 1.0).map_or(1.0, |chi| chi.sf(statistic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(sample_ratio(&[50, 50], &[1.0, 1.0]), 1.0);
        // chi² = 4 with one degree of freedom.
        assert!((sample_ratio(&[60, 40], &[1.0, 1.0]) - 0.045_500_263_9).abs() < 1e-9);
        assert!(sample_ratio(&[821_588, 815_482], &[1.0, 1.0]) < SRM_ALARM);
        assert_eq!(sample_ratio(&[0, 0], &[1.0, 1.0]), 1.0);
        assert_eq!(sample_ratio(&[5], &[1.0]), 1.0);
    }
}
