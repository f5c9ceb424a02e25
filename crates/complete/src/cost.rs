//! What prefill and generation cost on this machine with this model, learned from what they took.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Weight of what was known before, against one new observation.
const KEEP: f64 = 0.97;
/// A prediction needs about so many observations.
const ENOUGH: f64 = 3.0;

/// A cost model: a prefill of n tokens takes `a + b·n`, a generated token its mean. Old
/// observations fade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Costs {
    /// Faded sums over prefills: 1, n, ms, n², n·ms.
    prefill: [f64; 5],
    /// Faded sums over generations: 1, ms a token.
    token: [f64; 2],
    /// Faded sums over passes that read hypotheses: tokens, ms.
    read: [f64; 2],
}

impl Costs {
    /// A prefill of `tokens` took so long.
    pub fn note_prefill(&mut self, tokens: usize, time: Duration) {
        let (n, ms) = (tokens as f64, time.as_secs_f64() * 1e3);
        if tokens > 0 {
            let seen = [1.0, n, ms, n * n, n * ms];
            self.prefill.iter_mut().zip(seen).for_each(|(sum, x)| *sum = *sum * KEEP + x);
        }
    }

    /// Generating `tokens` took so long.
    pub fn note_tokens(&mut self, tokens: usize, time: Duration) {
        if tokens > 0 {
            let seen = [1.0, time.as_secs_f64() * 1e3 / tokens as f64];
            self.token.iter_mut().zip(seen).for_each(|(sum, x)| *sum = *sum * KEEP + x);
        }
    }

    /// Reading `tokens` of hypotheses, what was cold before them included, took so long.
    pub fn note_read(&mut self, tokens: usize, time: Duration) {
        if tokens > 0 {
            let seen = [tokens as f64, time.as_secs_f64() * 1e3];
            self.read.iter_mut().zip(seen).for_each(|(sum, x)| *sum = *sum * KEEP + x);
        }
    }

    /// What reading `tokens` of hypotheses will take: no less than a prefill of so many, and no
    /// less than it took so far.
    pub fn read(&self, tokens: usize) -> Option<Duration> {
        let prefill = self.prefill(tokens)?;
        let [n, ms] = self.read;
        let seen = if n > 0.0 { ms / n * tokens as f64 } else { 0.0 };
        Some(prefill.max(Duration::from_secs_f64((seen / 1e3).clamp(0.0, 1e6))))
    }

    /// What a prefill of `tokens` will take; `None` as long as too little is known.
    pub fn prefill(&self, tokens: usize) -> Option<Duration> {
        let (a, b) = self.line()?;
        Some(Duration::from_secs_f64(((a + b * tokens as f64) / 1e3).clamp(0.0, 1e6)))
    }

    /// What generating `tokens` will take.
    pub fn tokens(&self, tokens: usize) -> Option<Duration> {
        let [weight, ms] = self.token;
        (weight >= ENOUGH && self.is_sound())
            .then(|| Duration::from_secs_f64((ms / weight * tokens as f64 / 1e3).clamp(0.0, 1e6)))
    }

    /// Milliseconds: the constant part and those a token, neither negative.
    fn line(&self) -> Option<(f64, f64)> {
        let [w, n, ms, nn, nms] = self.prefill;
        if w < ENOUGH || !self.is_sound() {
            return None;
        }
        let spread = nn - n * n / w;
        // Prefills of about one size tell a rate, not a line.
        let b = if spread > 1e-3 * nn { (nms - n * ms / w) / spread } else { -1.0 };
        let a = (ms - b * n) / w;
        match (a >= 0.0, b >= 0.0) {
            (true, true) => Some((a, b)),
            (false, true) => Some((0.0, nms / nn)),
            (_, false) => Some((0.0, ms / n)),
        }
    }

    /// Whether the numbers can be what was observed: a file may say anything.
    pub fn is_sound(&self) -> bool {
        self.prefill
            .iter()
            .chain(&self.token)
            .chain(&self.read)
            .all(|x| x.is_finite() && (0.0..1e15).contains(x))
            && (self.prefill[0] < 1.0 || self.prefill[1] > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(f64) -> Duration = |ms| Duration::from_secs_f64(ms / 1e3);

    #[test]
    fn a_line_is_learned_and_relearned() {
        let mut costs = Costs::default();
        assert_eq!((costs.prefill(100), costs.tokens(1)), (None, None));
        for n in [10, 200, 40, 500, 3] {
            costs.note_prefill(n, MS(2.0 + 0.3 * n as f64));
            costs.note_tokens(10, MS(80.0));
        }
        let close = |got: Option<Duration>, ms: f64| {
            (got.unwrap().as_secs_f64() * 1e3 - ms).abs() < 0.05 * ms
        };
        assert!(close(costs.prefill(1000), 302.0) && close(costs.tokens(4), 32.0));
        assert!(close(costs.read(1000), 302.0), "as a prefill, as long as nothing else is known");
        costs.note_read(100, MS(100.0));
        assert!(close(costs.read(1000), 1000.0));
        for n in (0..400).map(|i| 1 + i * 37 % 900) {
            costs.note_prefill(n, MS(1.0 * n as f64));
        }
        assert!(close(costs.prefill(1000), 1000.0), "a slower machine is noticed");
    }

    #[test]
    fn odd_observations_never_predict_negative_or_infinite_times() {
        let mut costs = Costs::default();
        for (n, ms) in [(1, 900.0), (1000, 1.0), (0, 5.0), (500, 0.0), (7, 1e9)] {
            costs.note_prefill(n, MS(ms));
            for tokens in [0, 1, 1 << 20] {
                if let Some(time) = costs.prefill(tokens) {
                    assert!(time >= Duration::ZERO && time <= Duration::from_secs(1_000_000));
                }
            }
        }
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            let damaged =
                Costs { prefill: [5.0, bad, 5.0, 5.0, 5.0], token: [5.0, 5.0], read: [5.0, 5.0] };
            assert_eq!(
                (damaged.is_sound(), damaged.prefill(3), damaged.tokens(1), damaged.read(1)),
                (false, None, None, None)
            );
        }
    }
}
