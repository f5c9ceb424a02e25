//! What a batch's losses sum up to.

use super::batch::Batch;

/// Sums of losses (in nats) over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Σ weight · loss.
    pub weighted: f64,
    /// Σ weight.
    pub weight: f64,
    /// Σ loss.
    pub sum: f64,
    /// Number of positions.
    pub tokens: u64,
    /// Σ loss over the targets of middles.
    pub middle: f64,
    /// Number of targets of middles.
    pub middle_tokens: u64,
}

impl Losses {
    /// The sums of a batch whose positions have these losses.
    pub(crate) fn of(batch: &Batch, losses: &[f32]) -> Losses {
        let mut sums = Losses { tokens: batch.len() as u64, ..Losses::default() };
        for ((&loss, &weight), &middle) in losses.iter().zip(&batch.weights).zip(&batch.middle) {
            let loss = f64::from(loss);
            sums.weighted += loss * f64::from(weight);
            sums.weight += f64::from(weight);
            sums.sum += loss;
            if middle {
                sums.middle += loss;
                sums.middle_tokens += 1;
            }
        }
        sums
    }

    /// Adds the sums of another batch.
    pub fn add(&mut self, other: &Losses) {
        self.weighted += other.weighted;
        self.weight += other.weight;
        self.sum += other.sum;
        self.tokens += other.tokens;
        self.middle += other.middle;
        self.middle_tokens += other.middle_tokens;
    }

    /// The objective: weighted mean loss.
    pub fn objective(&self) -> f64 {
        self.weighted / self.weight.max(f64::MIN_POSITIVE)
    }

    /// Mean loss of all positions.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }

    /// Mean loss of the middles.
    pub fn middle_mean(&self) -> f64 {
        self.middle / self.middle_tokens.max(1) as f64
    }
}
