//! Units as users are: of very different sizes, each with a rate of its own that its past predicts.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Binomial, Distribution, LogNormal};

use crate::stats::Unit;

/// Where units are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Population {
    /// Mean acceptance rate.
    pub rate: f64,
    /// Rows of a unit: lognormal with this median and spread (standard deviation of the logarithm).
    pub median_rows: f64,
    pub spread: f64,
    /// How alike the rows of one unit are: the beta distribution's intra-class correlation.
    pub correlation: f64,
}

impl Default for Population {
    fn default() -> Population {
        Population { rate: 0.3, median_rows: 40.0, spread: 0.8, correlation: 0.05 }
    }
}

impl Population {
    /// One unit whose rate is `1 + effect` times what it would be; with its past if `past`.
    pub fn draw(&self, random: &mut ChaCha8Rng, effect: f64, past: bool) -> Unit {
        let size = LogNormal::new(self.median_rows.ln(), self.spread).expect("a spread above 0");
        let scale = 1.0 / self.correlation - 1.0;
        let own = Beta::new(self.rate * scale, (1.0 - self.rate) * scale)
            .expect("a rate between 0 and 1")
            .sample(random);
        let period = |rate: f64, random: &mut ChaCha8Rng| {
            let rows = size.sample(random).round().clamp(1.0, 1e5) as u64;
            let accepted =
                Binomial::new(rows, rate.clamp(0.0, 1.0)).expect("a probability").sample(random);
            (accepted as f64, rows as f64)
        };
        let before = past.then(|| period(own, random));
        let (numerator, denominator) = period(own * (1.0 + effect), random);
        Unit { numerator, denominator, before }
    }

    pub fn draw_many(
        &self,
        random: &mut ChaCha8Rng,
        n: usize,
        effect: f64,
        past: bool,
    ) -> Vec<Unit> {
        (0..n).map(|_| self.draw(random, effect, past)).collect()
    }
}

/// A uniform number for decisions.
pub fn chance(random: &mut ChaCha8Rng, p: f64) -> bool {
    random.random::<f64>() < p
}
