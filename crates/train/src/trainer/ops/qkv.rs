//! Before attention: the joined projection to queries, keys and values, and their rotation.

use lacuna_kernels::gemm::Row;

use super::input::{self, Input};
use super::rope::{Rope, RopePart};
use super::{Block, PART};
use crate::trainer::shape::{Layer, Shape};

/// The operation in one layer.
pub(crate) struct Qkv {
    input: Input,
    /// Columns of the queries and keys.
    rotated: usize,
    /// Rotated queries and keys, and values, of all heads.
    pub(crate) y: Vec<f32>,
}

/// What the way back of one layer writes; the layers share it.
pub(crate) struct Gradient {
    input: input::Gradient,
    /// Of the output; attention leaves it rotated.
    pub(crate) dy: Vec<f32>,
}

/// A part on its way forward.
pub(crate) struct Forward<'a> {
    input: input::Forward<'a>,
    rope: RopePart<'a>,
    rotated: usize,
    y: &'a mut [f32],
}

/// A part on its way back.
pub(crate) struct Backward<'a> {
    input: input::Backward<'a>,
    rope: RopePart<'a>,
    rotated: usize,
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

    /// Takes over the parameters.
    pub(crate) fn set(&mut self, p: &[f32], backward: bool) {
        self.input.set(p, backward);
    }

    /// Room for `n` tokens.
    pub(crate) fn resize(&mut self, n: usize) {
        self.input.resize(n);
        self.y.resize(n * self.input.outputs(), 0.0);
    }

    /// The residual stream `[n,d]`.
    pub(crate) fn x(&self) -> &[f32] {
        &self.input.x
    }

    pub(crate) fn forward<'a>(
        &'a mut self,
        rope: &'a Rope,
    ) -> impl ExactSizeIterator<Item = Forward<'a>> + Send {
        let (rotated, wide) = (self.rotated, self.input.outputs());
        let parts = self.input.forward().zip(rope.parts()).zip(self.y.chunks_mut(PART * wide));
        parts.map(move |((input, rope), y)| Forward { input, rope, rotated, y })
    }

    pub(crate) fn backward<'a>(
        &'a self,
        gradient: &'a mut Gradient,
        rope: &'a Rope,
    ) -> impl ExactSizeIterator<Item = Backward<'a>> + Send {
        let (rotated, wide) = (self.rotated, self.input.outputs());
        let parts = self.input.backward(&mut gradient.input).zip(rope.parts());
        parts.zip(gradient.dy.chunks_mut(PART * wide)).map(move |((input, rope), dy)| Backward {
            input,
            rope,
            rotated,
            dy,
        })
    }

    /// Adds the gradients of the weights, after all parts have been back.
    pub(crate) fn add_gradient(&self, gradient: &Gradient, g: &mut [f32]) {
        self.input.add_gradient(&gradient.input, g);
    }
}

impl Forward<'_> {
    /// Tokens of the part.
    pub(crate) fn tokens(&self) -> usize {
        self.input.tokens()
    }

    /// The part's residual stream, to be filled before [`Forward::run`].
    pub(crate) fn x(&mut self) -> &mut [f32] {
        self.input.x
    }

    pub(crate) fn run(&mut self, block: Block) {
        let wide = self.y.len() / self.tokens();
        let y = &mut self.y[block.of(wide)];
        self.input.run(block, y);
        self.rope.forward(block, y, wide, self.rotated);
    }
}

impl Backward<'_> {
    /// Tokens of the part.
    pub(crate) fn tokens(&self) -> usize {
        self.input.tokens()
    }

    /// Adds the gradient of a block's inputs to `dx`.
    pub(crate) fn run(&mut self, block: Block, dx: &mut [f32]) {
        let wide = self.dy.len() / self.tokens();
        let dy = &mut self.dy[block.of(wide)];
        self.rope.backward(block, dy, wide, self.rotated);
        self.input.run(block, dy, dx);
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
            each(qkv.forward(&rope).zip(x.chunks(PART * d)), |(mut part, x)| {
                part.x().copy_from_slice(x);
                blocks(part.tokens()).for_each(|block| part.run(block));
            });
            qkv
        };
        let qkv = forward(&p, &x);
        let (mut dx, mut g) = (vec![0.0; n * d], vec![0.0; p.len()]);
        let mut gradient = qkv.gradient(Row::F32);
        gradient.dy.extend_from_slice(&dy);
        each(qkv.backward(&mut gradient, &rope).zip(dx.chunks_mut(PART * d)), |(mut part, dx)| {
            blocks(part.tokens()).for_each(|block| part.run(block, &mut dx[block.of(d)]));
        });
        qkv.add_gradient(&gradient, &mut g);
        assert_gradient("the input", &x, &dx, |x| dot(&forward(&p, x).y, &dy));
        let places = [("norm", &layer.norm1), ("queries, keys and values", &layer.qkv)];
        assert_parameters(&places, &p, &g, |p| dot(&forward(p, &x).y, &dy));
    }
}
