//! Before attention: the joined projection to queries, keys and values, and their rotation.

use lacuna_kernels::gemm::Row;

use super::input::{self, Input};
use super::rope::{Rope, RopePart};
use super::{Block, PART};
use crate::trainer::shape::{Layer, Shape};

/// The operation in one layer.
pub(crate) struct Qkv {
    pub(crate) input: Input,
    /// Columns of the queries and keys.
    rotated: usize,
    /// Rotated queries and keys, and values, of all heads.
    pub(crate) y: Vec<f32>,
}

/// A part of its tokens.
pub(crate) struct Part<'a> {
    pub(crate) input: input::Part<'a>,
    rope: RopePart<'a>,
    rotated: usize,
    y: &'a mut [f32],
}

/// The gradients of one layer.
pub(crate) struct Gradient {
    input: input::Gradient,
    /// Of the output; attention leaves it rotated.
    pub(crate) dy: Vec<f32>,
}

/// A part of them.
pub(crate) struct GradientPart<'a> {
    input: input::GradientPart<'a>,
    dy: &'a mut [f32],
}

impl Qkv {
    pub(crate) fn new(shape: &Shape, layer: &Layer, row: Row) -> Qkv {
        let input = Input::new(&layer.norm1, shape.eps, &layer.qkv, row);
        let rotated = (shape.heads + shape.kv_heads) * shape.head_dim;
        Qkv { input, rotated, y: Vec::new() }
    }

    pub(crate) fn gradient(&self, row: Row) -> Gradient {
        Gradient { input: self.input.gradient(row), dy: Vec::new() }
    }

    pub(crate) fn set(&mut self, p: &[f32], backward: bool) {
        self.input.set(p, backward);
    }

    pub(crate) fn resize(&mut self, n: usize) {
        self.input.resize(n);
        self.y.resize(n * self.input.outputs(), 0.0);
    }

    pub(crate) fn parts<'a>(
        &'a mut self,
        rope: &'a Rope,
    ) -> impl ExactSizeIterator<Item = Part<'a>> + Send {
        let (rotated, wide) = (self.rotated, self.input.outputs());
        let parts = self.input.parts().zip(rope.parts()).zip(self.y.chunks_mut(PART * wide));
        parts.map(move |((input, rope), y)| Part { input, rope, rotated, y })
    }

    /// Adds to the gradient of all parameters, after all parts have been back.
    pub(crate) fn add_gradient(&self, gradient: &Gradient, g: &mut [f32]) {
        self.input.add_gradient(&gradient.input, g);
    }
}

impl Gradient {
    /// The parts of `n` tokens of `d` elements.
    pub(crate) fn parts(
        &mut self,
        n: usize,
        d: usize,
    ) -> impl ExactSizeIterator<Item = GradientPart<'_>> + Send {
        let wide = self.dy.len() / n;
        let parts = self.input.parts(n, d).zip(self.dy.chunks_mut(PART * wide));
        parts.map(|(input, dy)| GradientPart { input, dy })
    }
}

impl Part<'_> {
    pub(crate) fn forward(&mut self, block: Block) {
        let wide = self.y.len() / self.input.tokens();
        let y = &mut self.y[block.of(wide)];
        self.input.forward(block, y);
        self.rope.forward(block, y, wide, self.rotated);
    }

    /// Adds the gradient of a block's inputs to `dx`.
    pub(crate) fn backward(&self, block: Block, gradient: &mut GradientPart<'_>, dx: &mut [f32]) {
        let wide = self.y.len() / self.input.tokens();
        let dy = &mut gradient.dy[block.of(wide)];
        self.rope.backward(block, dy, wide, self.rotated);
        self.input.backward(block, &mut gradient.input, dy, dx);
    }
}
#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, assert_parameters, dot, numbers, tiny};
    use super::super::{blocks, each};
    use super::*;

    /// Norm, projection and rotation.
    #[test]
    fn the_way_back_is_the_derivative() {
        let (shape, layout, p) = tiny();
        let (layer, d, wide, n) = (&layout.layers[0], shape.d, shape.qkv(), PART + 70);
        let mut rope = Rope::new(&shape, 400);
        rope.set(&[400, 1, n - 401]);
        let (x, dy) = (numbers(n * d, 1.0, 1), numbers(n * wide, 1.0, 2));
        let forward = |p: &[f32], x: &[f32]| {
            let mut qkv = Qkv::new(&shape, layer, Row::F32);
            qkv.set(p, true);
            qkv.resize(n);
            each(qkv.parts(&rope).zip(x.chunks(PART * d)), |(mut part, x)| {
                part.input.x.copy_from_slice(x);
                blocks(part.input.tokens()).for_each(|block| part.forward(block));
            });
            qkv
        };
        let mut qkv = forward(&p, &x);
        let (mut dx, mut g) = (vec![0.0; n * d], vec![0.0; p.len()]);
        let mut gradient = qkv.gradient(Row::F32);
        gradient.dy.extend_from_slice(&dy);
        let parts = qkv.parts(&rope).zip(gradient.parts(n, d)).zip(dx.chunks_mut(PART * d));
        each(parts, |((part, mut gradient), dx)| {
            for block in blocks(part.input.tokens()) {
                part.backward(block, &mut gradient, &mut dx[block.of(d)]);
            }
        });
        qkv.add_gradient(&gradient, &mut g);
        assert_gradient("the input", &x, &dx, |x| dot(&forward(&p, x).y, &dy));
        let places = [("norm", &layer.norm1), ("queries, keys and values", &layer.qkv)];
        assert_parameters(&places, &p, &g, |p| dot(&forward(p, &x).y, &dy));
    }
}
