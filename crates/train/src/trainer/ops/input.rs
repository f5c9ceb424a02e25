//! What both halves of a layer begin with: the norm of the residual stream, and its projection.

use std::ops::Range;

use lacuna_kernels::gemm::{Row, Summands, SummandsPart};

use super::{Block, Linear, Norm, PART, with_scratch};

/// The operation in one half of a layer.
pub(crate) struct Input {
    norm: Norm,
    linear: Linear,
    /// The residual stream `[n,d]`.
    pub(crate) x: Vec<f32>,
    inverse: Vec<f32>,
    z: Summands,
}

/// A part of its tokens.
pub(crate) struct Part<'a> {
    norm: &'a Norm,
    linear: &'a Linear,
    pub(crate) x: &'a mut [f32],
    inverse: &'a mut [f32],
    z: SummandsPart<'a>,
}

/// The gradients of the weights of one layer.
pub(crate) struct Gradient {
    dy: Summands,
    /// The norm's, of each part.
    dnorm: Vec<f32>,
}

/// What a part adds to them.
pub(crate) struct GradientPart<'a> {
    dy: SummandsPart<'a>,
    dnorm: &'a mut [f32],
}

impl Input {
    /// The norm and the matrix at these places of the parameters.
    pub(super) fn new(norm: &Range<usize>, eps: f32, linear: &Range<usize>, row: Row) -> Input {
        let linear = Linear::new(row, linear, norm.len());
        let ([z, _], norm) = (linear.summands(row), Norm::new(norm, eps));
        Input { norm, linear, x: Vec::new(), inverse: Vec::new(), z }
    }

    pub(super) fn gradient(&self, row: Row) -> Gradient {
        let [_, dy] = self.linear.summands(row);
        Gradient { dy, dnorm: Vec::new() }
    }

    /// Elements of an output.
    pub(super) fn outputs(&self) -> usize {
        self.linear.outputs
    }

    pub(super) fn set(&mut self, p: &[f32], backward: bool) {
        self.norm.set(p);
        self.linear.set(p, backward);
    }

    pub(super) fn resize(&mut self, n: usize) {
        self.x.resize(n * self.linear.inputs, 0.0);
        self.inverse.resize(n, 0.0);
    }

    pub(super) fn parts(&mut self) -> impl ExactSizeIterator<Item = Part<'_>> + Send {
        let (norm, linear, n) = (&self.norm, &self.linear, self.inverse.len());
        let kept = self.x.chunks_mut(PART * linear.inputs).zip(self.inverse.chunks_mut(PART));
        kept.zip(self.z.parts(n)).map(move |((x, inverse), z)| Part { norm, linear, x, inverse, z })
    }

    /// Adds to the gradient of all parameters, after all parts have been back.
    pub(super) fn add_gradient(&self, gradient: &Gradient, g: &mut [f32]) {
        self.norm.add_gradient(&gradient.dnorm, g);
        self.linear.add_gradient(&gradient.dy, &self.z, g);
    }
}

impl Gradient {
    /// The parts of `n` tokens of `d` elements.
    pub(super) fn parts(
        &mut self,
        n: usize,
        d: usize,
    ) -> impl ExactSizeIterator<Item = GradientPart<'_>> + Send {
        self.dnorm.clear();
        self.dnorm.resize(n.div_ceil(PART) * d, 0.0);
        let parts = self.dy.parts(n).into_iter().zip(self.dnorm.chunks_mut(d));
        parts.map(|(dy, dnorm)| GradientPart { dy, dnorm })
    }
}

impl Part<'_> {
    /// Tokens of the part.
    pub(crate) fn tokens(&self) -> usize {
        self.inverse.len()
    }

    /// The outputs `y` of a block.
    pub(super) fn forward(&mut self, block: Block, y: &mut [f32]) {
        let x = &self.x[block.of(self.linear.inputs)];
        with_scratch([x.len()], |[z]| {
            self.norm.forward(x, z, &mut self.inverse[block.of(1)]);
            self.z.put(block.first, z);
            self.linear.forward(z, y);
        });
    }

    /// From the gradient `dy` of a block's outputs adds that of its inputs to `dx`.
    pub(super) fn backward(
        &self,
        block: Block,
        gradient: &mut GradientPart<'_>,
        dy: &[f32],
        dx: &mut [f32],
    ) {
        gradient.dy.put(block.first, dy);
        with_scratch([dx.len()], |[dz]| {
            self.linear.backward(dy, dz);
            let (x, inverse) = (&self.x[block.of(self.linear.inputs)], &self.inverse[block.of(1)]);
            self.norm.backward(dz, x, inverse, dx, gradient.dnorm);
        });
    }
}
