//! Cluster bootstrap: intervals for anything that can be computed from units drawn with
//! replacement.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A percentile interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Percentile interval of confidence `1 - alpha` of `statistic`, which gets how often each unit of
/// the two arms was drawn.
///
/// Whole units are drawn with replacement, separately in arms of `n.0` and `n.1` units, `rounds`
/// times. Rounds whose statistic is not finite are left out; `None` if fewer than half remain. The
/// same seed gives the same interval.
pub fn cluster_bootstrap(
    n: (usize, usize),
    rounds: usize,
    alpha: f64,
    seed: u64,
    statistic: impl FnMut(&[u32], &[u32]) -> f64,
) -> Option<Interval> {
    let values = resample(n, rounds, seed, statistic)?;
    Some(Interval {
        low: quantile(&values, alpha / 2.0),
        high: quantile(&values, 1.0 - alpha / 2.0),
    })
}

/// Studentised interval (bootstrap-t) around `estimate` with standard error `error`: `statistic`
/// gives a round's estimate and error.
///
/// Closer to its promise than percentiles where units are few and of very different sizes (Efron
/// and Tibshirani 1993, chapter 12).
pub fn studentised_bootstrap(
    n: (usize, usize),
    rounds: usize,
    alpha: f64,
    seed: u64,
    (estimate, error): (f64, f64),
    mut statistic: impl FnMut(&[u32], &[u32]) -> (f64, f64),
) -> Option<Interval> {
    let t = |a: &[u32], b: &[u32]| {
        let (value, error) = statistic(a, b);
        (value - estimate) / error
    };
    let values = resample(n, rounds, seed, t)?;
    let at = |p: f64| estimate - quantile(&values, p) * error;
    Some(Interval { low: at(1.0 - alpha / 2.0), high: at(alpha / 2.0) })
}

/// The finite values of `statistic` over the rounds, in ascending order.
fn resample(
    n: (usize, usize),
    rounds: usize,
    seed: u64,
    mut statistic: impl FnMut(&[u32], &[u32]) -> f64,
) -> Option<Vec<f64>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut a, mut b) = (vec![0u32; n.0], vec![0u32; n.1]);
    let mut values = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        draw(&mut random, &mut a);
        draw(&mut random, &mut b);
        let value = statistic(&a, &b);
        if value.is_finite() {
            values.push(value);
        }
    }
    if values.len() < 2 || values.len() < rounds / 2 {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some(values)
}

fn draw(random: &mut ChaCha8Rng, counts: &mut [u32]) {
    counts.fill(0);
    for _ in 0..counts.len() {
        let at = random.random_range(0..counts.len());
        counts[at] += 1;
    }
}

/// Linear interpolation between order statistics (type 7, NumPy's default). `sorted` is not empty.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.5, 1.0].map(|p| quantile(&sorted, p)), [1.0, 3.0, 8.0]);
    }

    #[test]
    fn draws_are_whole_arms_and_repeat_with_the_seed() {
        let run = |seed| {
            cluster_bootstrap((5, 3), 200, 0.05, seed, |a, b| {
                assert_eq!((a.iter().sum::<u32>(), b.iter().sum::<u32>()), (5, 3));
                f64::from(a[0]) - f64::from(b[0])
            })
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_eq!(cluster_bootstrap((2, 2), 10, 0.05, 0, |_, _| f64::NAN), None);
    }
}
