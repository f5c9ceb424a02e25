//! RMSNorm: `z = x / rms(x) · w`.

use std::ops::Range;

use lacuna_kernels::train_ops;

use super::add;

/// A norm's weight `[d]`.
pub(crate) struct Norm {
    place: Range<usize>,
    eps: f32,
    weight: Vec<f32>,
}

impl Norm {
    /// The norm at `place` of the parameters.
    pub(crate) fn new(place: &Range<usize>, eps: f32) -> Norm {
        Norm { place: place.clone(), eps, weight: vec![0.0; place.len()] }
    }

    /// Takes over the parameters.
    pub(crate) fn set(&mut self, p: &[f32]) {
        self.weight.copy_from_slice(&p[self.place.clone()]);
    }

    /// Elements of a token.
    pub(super) fn width(&self) -> usize {
        self.weight.len()
    }

    /// `z` of some tokens, and `1 / rms` of each, which the way back wants.
    pub(super) fn forward(&self, x: &[f32], z: &mut [f32], inverse: &mut [f32]) {
        train_ops::rms_norm(x, &self.weight, self.eps, z, inverse);
    }

    /// Adds the gradient of `x` to `dx`, and that of the weight to `dweight`.
    pub(super) fn backward(
        &self,
        dz: &[f32],
        x: &[f32],
        inverse: &[f32],
        dx: &mut [f32],
        dweight: &mut [f32],
    ) {
        train_ops::rms_norm_backward(dz, x, &self.weight, inverse, dx, dweight);
    }

    /// Adds the weight's gradients of all parts, one after the other, to the gradient of all
    /// parameters.
    pub(super) fn add_gradient(&self, of_parts: &[f32], g: &mut [f32]) {
        let g = &mut g[self.place.clone()];
        of_parts.chunks_exact(self.width()).for_each(|part| add(g, part));
    }
}
