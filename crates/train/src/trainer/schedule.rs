//! The learning rate over a run whose length is given in steps, in time, or both (whichever ends
//! first).

use serde::{Deserialize, Serialize};

/// The shape of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine from the full rate to the floor.
    Cosine,
    /// Warm-up, stable, decay: the full rate, then over the last quarter a straight line to the
    /// floor. A run can be prolonged from any checkpoint of its stable part.
    Wsd,
}

/// Share of a run over which [`Schedule::Wsd`] decays.
pub const DECAY_SHARE: f64 = 0.25;
/// What remains of the rate at the end.
pub const FLOOR: f64 = 0.02;

/// How far a run has come, from 0 to 1: by steps or by time, the larger share.
pub fn progress(step: u64, steps: Option<u64>, seconds: f64, minutes: Option<f64>) -> f64 {
    let by_steps = steps.map_or(0.0, |n| step as f64 / n.max(1) as f64);
    let by_time = minutes.map_or(0.0, |m| seconds / (m * 60.0).max(f64::MIN_POSITIVE));
    by_steps.max(by_time).clamp(0.0, 1.0)
}

impl Schedule {
    /// Factor on the learning rate of step `step` (from 0) at a share of the run.
    pub fn factor(self, step: u64, warmup_steps: u64, progress: f64) -> f64 {
        let warm = ((step + 1) as f64 / warmup_steps.max(1) as f64).min(1.0);
        let shape = match self {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Wsd => ((1.0 - progress) / DECAY_SHARE).min(1.0),
        };
        warm * (FLOOR + (1.0 - FLOOR) * shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn values_at_the_corners() {
        for schedule in [Schedule::Cosine, Schedule::Wsd] {
            close(schedule.factor(0, 10, 0.0), 0.1);
            close(schedule.factor(9, 10, 0.0), 1.0);
            close(schedule.factor(500, 10, 1.0), FLOOR);
            close(schedule.factor(0, 0, 0.0), 1.0);
        }
        close(Schedule::Cosine.factor(50, 10, 0.5), FLOOR + (1.0 - FLOOR) / 2.0);
        close(Schedule::Wsd.factor(50, 10, 0.75), 1.0);
        close(Schedule::Wsd.factor(50, 10, 0.875), FLOOR + (1.0 - FLOOR) / 2.0);
    }

    #[test]
    fn the_nearer_end_counts() {
        close(progress(50, Some(100), 0.0, None), 0.5);
        close(progress(50, Some(100), 45.0, Some(1.0)), 0.75);
        close(progress(50, None, 90.0, Some(1.0)), 1.0);
        close(progress(0, None, 0.0, Some(0.0)), 0.0);
    }
}
