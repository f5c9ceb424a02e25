//! Latencies in logarithmic classes, so that quantiles of any number of them need little memory and
//! can be merged.

/// Classes are 2 % wide: a quantile is off by 1 % at most.
const GROWTH: f64 = 1.02;
/// Values from 1 µs to 100 s; outside, the outermost classes count.
const CLASSES: usize = 932;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Counts, up to the last class that has any.
    counts: Vec<u64>,
    n: u64,
}

fn class(us: i64) -> usize {
    if us <= 1 { 0 } else { (((us as f64).ln() / GROWTH.ln()) as usize).min(CLASSES - 1) }
}

impl Histogram {
    /// Counts a latency in microseconds.
    pub fn add(&mut self, us: i64) {
        let class = class(us);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += 1;
        self.n += 1;
    }

    pub fn merge(&mut self, other: &Histogram) {
        self.merge_times(other, 1);
    }

    /// As if everything in `other` had been added `times` times.
    pub fn merge_times(&mut self, other: &Histogram, times: u64) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b * times);
        self.n += other.n * times;
    }

    pub fn n(&self) -> u64 {
        self.n
    }

    /// Quantile `p` in milliseconds: the geometric middle of the class that holds it.
    pub fn quantile_ms(&self, p: f64) -> Option<f64> {
        let rank = (p * self.n as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let class = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(GROWTH.powf(class as f64 + 0.5) / 1000.0)
    }

    /// The classes that hold something, as (from, to, count), bounds in milliseconds.
    pub fn classes(&self) -> impl Iterator<Item = (f64, f64, u64)> + '_ {
        let bound = |class: usize| GROWTH.powi(class as i32) / 1000.0;
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(move |(i, n)| (bound(i), bound(i + 1), *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_per_cent() {
        let mut h = Histogram::default();
        (1..=10_000).for_each(|i| h.add(i * 100));
        for p in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let (got, exact) = (h.quantile_ms(p).unwrap(), p * 1000.0);
            assert!((got / exact - 1.0).abs() < 0.0102, "{p}: {got} {exact}");
        }
    }

    #[test]
    fn extremes_and_merging() {
        let mut h = Histogram::default();
        assert_eq!(h.quantile_ms(0.5), None);
        [i64::MIN, -1, 0, 1, i64::MAX].into_iter().for_each(|us| h.add(us));
        assert_eq!(h.n(), 5);
        let mut twice = Histogram::default();
        twice.merge_times(&h, 2);
        let mut again = h.clone();
        again.merge(&h);
        assert_eq!(twice, again);
        assert_eq!(h.classes().map(|c| c.2).sum::<u64>(), 5);
    }
}
