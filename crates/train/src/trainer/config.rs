//! The settings of a run.

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::optimizer::OptimizerConfig;
use super::schedule::Schedule;
use super::shape::Shape;
use super::weights::AdapterConfig;

/// Everything that decides a run besides the data and the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunConfig {
    /// Sizes of the model.
    pub shape: Shape,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// Shape of the learning rate.
    pub schedule: Schedule,
    /// Steps until the full rate.
    pub warmup_steps: u64,
    /// End of the run in steps.
    pub steps: Option<u64>,
    /// End of the run in minutes, all sessions together.
    pub minutes: Option<f64>,
    /// Rows in a step.
    pub rows_per_step: usize,
    /// Rows computed at a time; decides the memory (about 160 KiB a token at the embedded model's
    /// shape).
    pub rows_per_pass: usize,
    /// Weight of the loss on middles.
    pub middle_weight: f32,
    /// Compute with what INT4 holds of the matrices, as the packed model will, and give the
    /// gradient to the full weights (straight-through estimation).
    pub int4: bool,
    /// Adapters over frozen parameters; all parameters are trained if there are none.
    pub adapter: Option<AdapterConfig>,
    /// The embedding and this many layers, counted from below, stay as they are and are not passed
    /// on the way back; 0 freezes nothing.
    pub frozen_layers: usize,
    /// Seed of weights and row order.
    pub seed: u64,
    /// Deviation of the fresh weights.
    pub initial_std: f32,
    /// Steps between validations; none if 0.
    pub validate_every: u64,
    /// Rows that a validation reads at most.
    pub validation_rows: usize,
    /// Steps between checkpoints; by time alone if 0.
    pub checkpoint_every: u64,
    /// Minutes between checkpoints; by steps alone if 0.
    pub checkpoint_minutes: f64,
    /// Checkpoints that stay.
    pub keep: usize,
}

impl Default for RunConfig {
    fn default() -> RunConfig {
        RunConfig {
            shape: Shape::default(),
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::Wsd,
            warmup_steps: 100,
            steps: None,
            minutes: None,
            rows_per_step: 8,
            rows_per_pass: 8,
            middle_weight: 2.0,
            int4: false,
            adapter: None,
            frozen_layers: 0,
            seed: 1,
            initial_std: 0.02,
            validate_every: 250,
            validation_rows: 64,
            checkpoint_every: 0,
            checkpoint_minutes: 10.0,
            keep: 2,
        }
    }
}

impl RunConfig {
    /// Refuses settings that cannot work.
    pub fn check(&self) -> Result<(), TrainError> {
        self.shape.check()?;
        if let Some(adapter) = &self.adapter {
            adapter.check(self.shape.vocab)?;
        }
        if self.frozen_layers >= self.shape.layers {
            let (frozen, layers) = (self.frozen_layers, self.shape.layers);
            return Err(TrainError::Config(format!(
                "{frozen} of {layers} layers frozen: one at least must be trained"
            )));
        }
        let o = &self.optimizer;
        let rates =
            [o.rate, o.embedding_rate, o.norm_rate.unwrap_or(o.embedding_rate), o.eps, o.clip];
        let shares = [o.beta1, o.beta2, o.momentum];
        let sound = rates.iter().all(|r| r.is_finite() && *r > 0.0)
            && shares.iter().all(|s| (0.0..1.0).contains(s))
            && (0.0..1.0).contains(&o.decay)
            && self.middle_weight.is_finite()
            && self.middle_weight > 0.0
            && self.initial_std.is_finite()
            && (0.0..10.0).contains(&self.initial_std)
            && self.minutes.is_none_or(|m| m.is_finite() && m >= 0.0);
        if !sound {
            return Err(TrainError::Config(format!(
                "a rate, share or weight is out of range: {self:?}"
            )));
        }
        if !(1..=1 << 16).contains(&self.rows_per_step)
            || !(1..=1 << 10).contains(&self.rows_per_pass)
        {
            return Err(TrainError::Config(
                "rows per step: 1 to 65536, per pass: 1 to 1024".into(),
            ));
        }
        if self.steps.is_none() && self.minutes.is_none() {
            return Err(TrainError::Config(
                "a run needs an end: give --steps, --minutes or both".into(),
            ));
        }
        Ok(())
    }
}
