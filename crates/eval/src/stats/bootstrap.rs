//! Confidence intervals of means over clustered values, in one pass and constant memory.
//!
//! The Poisson bootstrap: in each of [`Weights::REPLICATES`] resamples a cluster counts as often as
//! a Poisson(1) number says, the number drawn from (seed, cluster, replicate) alone. So all values
//! of a cluster stand or fall together wherever they come in the stream, and no list of clusters is
//! kept. As clusters grow many this is the ordinary bootstrap that draws clusters with replacement.
//! Source: Chamandy et al. 2012, "Estimating Uncertainty for Massive Data Streams"; clustering:
//! Davison and Hinkley 1997, section 3.8.

use super::random::{Random, hash_text};

/// How often each resample counts one cluster.
#[derive(Clone, Debug)]
pub struct Weights(Vec<f64>);

impl Weights {
    /// Resamples. The ends of a 95 % interval are the 25th values from either side.
    pub const REPLICATES: usize = 1000;

    pub fn of(seed: u64, cluster: &str) -> Weights {
        let mut random = Random::new(seed ^ hash_text(cluster));
        Weights((0..Self::REPLICATES).map(|_| poisson(random.uniform())).collect())
    }
}

/// The Poisson(1) number at the quantile `u`.
fn poisson(u: f64) -> f64 {
    let mut probability = (-1.0f64).exp();
    let mut below = probability;
    let mut n = 0.0;
    // The tail beyond 20 has less weight than the generator has resolution.
    while u >= below && n < 20.0 {
        n += 1.0;
        probability /= n;
        below += probability;
    }
    n
}

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// Values that went in.
    pub n: u64,
}

/// A running mean that knows its resamples.
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    n: u64,
    sum: f64,
    of: f64,
    /// Weighted sums and weights, one a replicate.
    sums: Vec<f64>,
    weights: Vec<f64>,
}

impl Bootstrap {
    /// Adds a value of the cluster that the weights belong to.
    pub fn add(&mut self, value: f64, weights: &Weights) {
        self.add_ratio(value, 1.0, weights);
    }

    /// Adds `value` to the numerator and `of` to the denominator of a ratio, such as nats and
    /// tokens.
    pub fn add_ratio(&mut self, value: f64, of: f64, weights: &Weights) {
        if self.sums.is_empty() {
            self.sums = vec![0.0; Weights::REPLICATES];
            self.weights = vec![0.0; Weights::REPLICATES];
        }
        self.n += 1;
        self.sum += value;
        self.of += of;
        for (sum, w) in self.sums.iter_mut().zip(&weights.0) {
            *sum += w * value;
        }
        for (total, w) in self.weights.iter_mut().zip(&weights.0) {
            *total += w * of;
        }
    }

    /// The mean and its percentile interval; `None` of nothing.
    pub fn estimate(&self) -> Option<Estimate> {
        if self.n == 0 {
            return None;
        }
        let mean = self.sum / self.of;
        // A resample may happen to leave every cluster out; it says nothing.
        let mut means: Vec<f64> = self
            .sums
            .iter()
            .zip(&self.weights)
            .filter(|(_, w)| **w > 0.0)
            .map(|(s, w)| s / w)
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        let tail = means.len() / 40;
        let low = means.get(tail).copied().unwrap_or(mean);
        let high = means.get(means.len().saturating_sub(1 + tail)).copied().unwrap_or(mean);
        Some(Estimate { mean, low, high, n: self.n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_numbers_have_mean_and_variance_one() {
        let mut random = Random::new(3);
        let draws: Vec<f64> = (0..200_000).map(|_| poisson(random.uniform())).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 1.0).abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert_eq!((poisson(0.0), poisson(0.3), poisson(0.5)), (0.0, 0.0, 1.0));
    }

    #[test]
    fn independent_values_have_the_interval_of_the_normal_law() {
        // 2,000 values, 30 % ones: the standard error is sqrt(0.21 / 2000) = 0.01025.
        let mut bootstrap = Bootstrap::default();
        for i in 0..2000 {
            bootstrap.add(f64::from(u8::from(i % 10 < 3)), &Weights::of(1, &format!("c{i}")));
        }
        let e = bootstrap.estimate().expect("values");
        assert_eq!((e.mean, e.n), (0.3, 2000));
        let half = 1.96 * (0.21f64 / 2000.0).sqrt();
        assert!(
            (e.low - (0.3 - half)).abs() < 0.15 * half
                && (e.high - (0.3 + half)).abs() < 0.15 * half,
            "{e:?}"
        );
    }

    #[test]
    fn clusters_widen_the_interval() {
        // The same values in 20 clusters of equal values: as uncertain as 20 values.
        let (mut single, mut clustered) = (Bootstrap::default(), Bootstrap::default());
        for i in 0..2000 {
            let value = f64::from(u8::from(i / 100 % 2 == 0));
            single.add(value, &Weights::of(1, &format!("c{i}")));
            clustered.add(value, &Weights::of(1, &format!("c{}", i / 100)));
        }
        let width = |b: &Bootstrap| b.estimate().map(|e| e.high - e.low).expect("values");
        assert!(
            width(&clustered) > 7.0 * width(&single),
            "{} {}",
            width(&clustered),
            width(&single)
        );
    }

    #[test]
    fn order_does_not_matter_and_nothing_is_no_estimate() {
        let values = [("a", 1.0), ("b", 0.0), ("a", 0.5), ("c", 0.25)];
        let run = |order: &[usize]| {
            let mut b = Bootstrap::default();
            for &i in order {
                b.add(values[i].1, &Weights::of(9, values[i].0));
            }
            b.estimate()
        };
        assert_eq!(run(&[0, 1, 2, 3]), run(&[3, 2, 1, 0]));
        assert_eq!(run(&[]), None);
    }
}
