//! A projection: `y = x · wᵀ`.

use std::ops::Range;

use lacuna_kernels::gemm::{MatMut, MatRef, Packed, Row, Side, Summands, add_summed, gemm_packed};

/// A matrix `w` `[outputs, inputs]` of the parameters, packed as the right operand of the products
/// of both directions. Tokens are rows of `x` and `y`.
pub(crate) struct Linear {
    place: Range<usize>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    forward: Packed,
    backward: Packed,
}

impl Linear {
    /// The matrix at `place` of the parameters.
    pub(crate) fn new(row: Row, place: &Range<usize>, inputs: usize) -> Linear {
        Linear {
            place: place.clone(),
            inputs,
            outputs: place.len() / inputs,
            forward: Packed::new(row),
            backward: Packed::new(row),
        }
    }

    /// Takes over the parameters; for the way back only if there is one.
    pub(crate) fn set(&mut self, p: &[f32], backward: bool) {
        let w = MatRef::row_major(&p[self.place.clone()], self.outputs, self.inputs);
        self.forward.set(w.transposed());
        if backward {
            self.backward.set(w);
        }
    }

    /// Room for the inputs, and for the gradients of the outputs, as [`Linear::add_gradient`] wants
    /// them.
    pub(super) fn summands(&self, row: Row) -> [Summands; 2] {
        [Summands::new(row, Side::Right, self.inputs), Summands::new(row, Side::Left, self.outputs)]
    }

    /// `y = x · wᵀ`.
    pub(super) fn forward(&self, x: &[f32], y: &mut [f32]) {
        product(x, self.inputs, &self.forward, y, self.outputs, false);
    }

    /// `y += x · wᵀ`.
    pub(super) fn add_forward(&self, x: &[f32], y: &mut [f32]) {
        product(x, self.inputs, &self.forward, y, self.outputs, true);
    }

    /// `dx = dy · w`.
    pub(super) fn backward(&self, dy: &[f32], dx: &mut [f32]) {
        product(dy, self.outputs, &self.backward, dx, self.inputs, false);
    }

    /// `dw += dyᵀ · x` over all tokens, in the gradient of all parameters.
    pub(super) fn add_gradient(&self, dy: &Summands, x: &Summands, g: &mut [f32]) {
        add_summed(dy, x, MatMut::row_major(self.part_of(g), self.outputs, self.inputs));
    }

    /// The matrix's part of the gradient of all parameters.
    pub(super) fn part_of<'g>(&self, g: &'g mut [f32]) -> &'g mut [f32] {
        &mut g[self.place.clone()]
    }
}

fn product(x: &[f32], k: usize, w: &Packed, y: &mut [f32], n: usize, accumulate: bool) {
    let tokens = x.len() / k;
    let (x, y) = (MatRef::row_major(x, tokens, k), MatMut::row_major(y, tokens, n));
    gemm_packed(x, w, y, accumulate);
}
