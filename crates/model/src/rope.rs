//! Rotary position embedding: the frequencies of a model.

/// How positions beyond the trained context are scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    None,
    /// All frequencies divided by `factor`.
    Linear {
        factor: f32,
    },
    /// Llama 3: low frequencies divided, high ones kept, a smooth ramp between.
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        original_positions: usize,
    },
}

/// Rotation of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeSpec {
    /// Base of the frequencies.
    pub theta: f32,
    pub scaling: RopeScaling,
}

impl RopeSpec {
    /// Inverse frequencies `[head_dim/2]`, scaling applied.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let base = |i: usize| 1.0 / self.theta.powf(2.0 * i as f32 / head_dim as f32);
        (0..head_dim / 2).map(base).map(|frequency| scale(frequency, self.scaling)).collect()
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
