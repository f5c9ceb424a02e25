//! What both halves of a layer begin with: the norm of the residual stream, and its projection.

use std::ops::Range;

use lacuna_kernels::gemm::{Row, Summands, SummandsPart};

use super::{Block, Linear, Norm, PART, with_scratch};

/// The operation in one half of a layer.
pub(crate) struct Input {
    weights: Weights,
    /// The residual stream `[n,d]`.
    pub(super) x: Vec<f32>,
    inverse: Vec<f32>,
    z: Summands,
}

struct Weights {
    norm: Norm,
    linear: Linear,
}

/// What the way back of one layer writes; the layers share it.
pub(super) struct Gradient {
    packed: Summands,
    /// The norm's, of each part.
    norm: Vec<f32>,
}

/// A part on its way forward.
pub(super) struct Forward<'a> {
    of: &'a Weights,
    pub(super) x: &'a mut [f32],
    inverse: &'a mut [f32],
    z: SummandsPart<'a>,
}

/// A part on its way back.
pub(super) struct Backward<'a> {
    of: &'a Weights,
    x: &'a [f32],
    inverse: &'a [f32],
    packed: SummandsPart<'a>,
    norm: &'a mut [f32],
}

impl Input {
    /// The norm and the matrix at these places of the parameters.
    pub(super) fn new(norm: &Range<usize>, eps: f32, linear: &Range<usize>, row: Row) -> Input {
        let linear = Linear::new(row, linear, norm.len());
        let ([z, _], norm) = (linear.summands(row), Norm::new(norm, eps));
        Input { weights: Weights { norm, linear }, x: Vec::new(), inverse: Vec::new(), z }
    }

    pub(super) fn gradient(&self, row: Row) -> Gradient {
        let [_, packed] = self.weights.linear.summands(row);
        Gradient { packed, norm: Vec::new() }
    }

    /// Elements of an output.
    pub(super) fn outputs(&self) -> usize {
        self.weights.linear.outputs
    }

    /// Takes over the parameters.
    pub(super) fn set(&mut self, p: &[f32], backward: bool) {
        self.weights.norm.set(p);
        self.weights.linear.set(p, backward);
    }

    /// Room for `n` tokens.
    pub(super) fn resize(&mut self, n: usize) {
        self.x.resize(n * self.weights.linear.inputs, 0.0);
        self.inverse.resize(n, 0.0);
    }

    pub(super) fn forward(&mut self) -> impl ExactSizeIterator<Item = Forward<'_>> + Send {
        let (of, n) = (&self.weights, self.inverse.len());
        let kept = self.x.chunks_mut(PART * of.linear.inputs).zip(self.inverse.chunks_mut(PART));
        kept.zip(self.z.parts(n)).map(move |((x, inverse), z)| Forward { of, x, inverse, z })
    }

    pub(super) fn backward<'a>(
        &'a self,
        gradient: &'a mut Gradient,
    ) -> impl ExactSizeIterator<Item = Backward<'a>> + Send {
        let (of, n) = (&self.weights, self.inverse.len());
        let d = of.linear.inputs;
        gradient.norm.clear();
        gradient.norm.resize(n.div_ceil(PART) * d, 0.0);
        let kept = self.x.chunks(PART * d).zip(self.inverse.chunks(PART));
        let made = gradient.packed.parts(n).into_iter().zip(gradient.norm.chunks_mut(d));
        kept.zip(made).map(move |((x, inverse), (packed, norm))| Backward {
            of,
            x,
            inverse,
            packed,
            norm,
        })
    }

    /// Adds the gradients of the weights, after all parts have been back.
    pub(super) fn add_gradient(&self, gradient: &Gradient, g: &mut [f32]) {
        self.weights.norm.add_gradient(&gradient.norm, g);
        self.weights.linear.add_gradient(&gradient.packed, &self.z, g);
    }
}

impl Forward<'_> {
    /// Tokens of the part.
    pub(super) fn tokens(&self) -> usize {
        self.inverse.len()
    }

    /// The outputs `y` of a block.
    pub(super) fn run(&mut self, block: Block, y: &mut [f32]) {
        let Weights { norm, linear } = self.of;
        let x = &self.x[block.of(linear.inputs)];
        with_scratch([x.len()], |[z]| {
            norm.forward(x, z, &mut self.inverse[block.of(1)]);
            self.z.put(block.first, z);
            linear.forward(z, y);
        });
    }
}

impl Backward<'_> {
    /// Tokens of the part.
    pub(super) fn tokens(&self) -> usize {
        self.inverse.len()
    }

    /// From the gradient `dy` of a block's outputs adds that of its inputs to `dx`.
    pub(super) fn run(&mut self, block: Block, dy: &[f32], dx: &mut [f32]) {
        let Weights { norm, linear } = self.of;
        self.packed.put(block.first, dy);
        with_scratch([dx.len()], |[dz]| {
            linear.backward(dy, dz);
            let (x, inverse) = (&self.x[block.of(linear.inputs)], &self.inverse[block.of(1)]);
            norm.backward(dz, x, inverse, dx, self.norm);
        });
    }
}
