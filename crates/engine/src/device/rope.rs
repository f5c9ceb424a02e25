//! Rotary position embedding: the rotation of given positions.

use lacuna_model::ModelSpec;

/// The frequencies of a model.
#[derive(Debug)]
pub(crate) struct Rope {
    /// `[head_dim/2]`, scaling applied.
    inverse_frequencies: Vec<f32>,
}

impl Rope {
    pub(crate) fn new(spec: &ModelSpec) -> Self {
        Rope { inverse_frequencies: spec.rope.inverse_frequencies(spec.attention().head_dim) }
    }

    /// Writes cos and sin of each position to `cos` and `sin`, `[positions, head_dim/2]` each.
    pub(crate) fn fill(&self, positions: &[usize], cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        cos.clear();
        sin.clear();
        for position in positions {
            for frequency in &self.inverse_frequencies {
                let (s, c) = (*position as f32 * frequency).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
    }

    /// Writes cos and sin that rotate a key by `distance` positions, `[head_dim/2]` each; in f64,
    /// as the distance may be large.
    pub(crate) fn fill_distance(&self, distance: i64, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        let angles = self
            .inverse_frequencies
            .iter()
            .map(|frequency| (distance as f64 * f64::from(*frequency)).sin_cos());
        (*sin, *cos) = angles.map(|(s, c)| (s as f32, c as f32)).unzip();
    }

    /// Elements a position, `head_dim/2`.
    pub(crate) fn width(&self) -> usize {
        self.inverse_frequencies.len()
    }
}
