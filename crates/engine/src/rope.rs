//! Rotary position embedding: the frequencies of a model and the rotation of given positions.

use crate::config::{Config, RopeScaling};

/// Inverse frequencies `[head_dim/2]`, scaling applied.
#[derive(Debug)]
pub(crate) struct Rope {
    inverse_frequencies: Vec<f32>,
}

impl Rope {
    pub(crate) fn new(config: &Config) -> Self {
        let d = config.head_dim;
        let base = |i: usize| 1.0 / config.rope_theta.powf(2.0 * i as f32 / d as f32);
        let inverse_frequencies = (0..d / 2).map(base).map(|f| scale(f, config.rope_scaling)).collect();
        Rope { inverse_frequencies }
    }

    /// Writes cos and sin of each position to `cos` and `sin`, `[positions, head_dim/2]` each.
    pub(crate) fn fill(&self, positions: impl Iterator<Item = usize>, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        cos.clear();
        sin.clear();
        for position in positions {
            for frequency in &self.inverse_frequencies {
                let (s, c) = (position as f32 * frequency).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
    }

    /// Writes cos and sin that rotate a key by `distance` positions, `[head_dim/2]` each; in f64, as the distance may be large.
    pub(crate) fn fill_distance(&self, distance: i64, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        let angles = self.inverse_frequencies.iter().map(|frequency| (distance as f64 * f64::from(*frequency)).sin_cos());
        (*sin, *cos) = angles.map(|(s, c)| (s as f32, c as f32)).unzip();
    }

    /// Inverse frequencies `[head_dim/2]`, scaling applied.
    pub(crate) fn inverse_frequencies(&self) -> &[f32] {
        &self.inverse_frequencies
    }

    /// Elements a position, `head_dim/2`.
    pub(crate) fn width(&self) -> usize {
        self.inverse_frequencies.len()
    }
}

fn scale(frequency: f32, scaling: RopeScaling) -> f32 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 { factor, low, high, original_positions } => {
            let original = original_positions as f32;
            let wavelength = std::f32::consts::TAU / frequency;
            if wavelength < original / high {
                frequency
            } else if wavelength > original / low {
                frequency / factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}
