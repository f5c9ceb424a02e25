//! The feed-forward half of a layer: gate and up in one product, SwiGLU, and the projection down
//! into the residual stream.

use lacuna_kernels::gemm::{MatMut, Row, Side, Summands, SummandsPart, add_summed};
use lacuna_kernels::train_ops;

use super::input::{self, Input};
use super::{Block, Linear, PART, each, with_scratch};
use crate::trainer::shape::{Layer, Shape};

/// The operation in one layer.
pub(crate) struct Mlp {
    input: Input,
    down: Linear,
    /// `gate` and `up`, `[n,2f]`; what SwiGLU makes of them is computed again on the way back.
    gate_up: Vec<f32>,
}

/// A part of its tokens.
pub(crate) struct Part<'a> {
    pub(crate) input: input::Part<'a>,
    down: &'a Linear,
    gate_up: &'a mut [f32],
}

/// The gradients of the weights of one layer.
pub(crate) struct Gradient {
    input: input::Gradient,
    /// The inputs of `down` and the gradients of its outputs.
    hidden: Summands,
    dy: Summands,
    /// The gradient of `down`, transposed.
    transposed: Vec<f32>,
}

/// What a part adds to them.
pub(crate) struct GradientPart<'a> {
    input: input::GradientPart<'a>,
    hidden: SummandsPart<'a>,
    dy: SummandsPart<'a>,
}

impl Mlp {
    pub(crate) fn new(shape: &Shape, layer: &Layer, row: Row) -> Mlp {
        let input = Input::new(&layer.norm2, shape.eps, &layer.gate_up, row);
        Mlp { input, down: Linear::new(row, &layer.down, shape.ff), gate_up: Vec::new() }
    }

    pub(crate) fn gradient(&self, row: Row) -> Gradient {
        let (f, d) = (self.down.inputs, self.down.outputs);
        Gradient {
            input: self.input.gradient(row),
            hidden: Summands::new(row, Side::Left, f),
            dy: Summands::new(row, Side::Right, d),
            transposed: vec![0.0; f * d],
        }
    }

    pub(crate) fn set(&mut self, p: &[f32], backward: bool) {
        self.input.set(p, backward);
        self.down.set(p, backward);
    }

    pub(crate) fn resize(&mut self, n: usize) {
        self.input.resize(n);
        self.gate_up.resize(n * self.input.outputs(), 0.0);
    }

    pub(crate) fn parts(&mut self) -> impl ExactSizeIterator<Item = Part<'_>> + Send {
        let (down, wide) = (&self.down, self.input.outputs());
        let parts = self.input.parts().zip(self.gate_up.chunks_mut(PART * wide));
        parts.map(move |(input, gate_up)| Part { input, down, gate_up })
    }

    /// Adds to the gradient of all parameters, after all parts have been back.
    pub(crate) fn add_gradient(&self, gradient: &mut Gradient, g: &mut [f32]) {
        self.input.add_gradient(&gradient.input, g);
        // Threads share rows, of which this matrix has few.
        let (f, d, transposed) = (self.down.inputs, self.down.outputs, &mut gradient.transposed);
        transposed.fill(0.0);
        add_summed(&gradient.hidden, &gradient.dy, MatMut::row_major(transposed, f, d));
        each(self.down.part_of(g).chunks_mut(f).enumerate(), |(i, row)| {
            row.iter_mut().zip(transposed.chunks_exact(d)).for_each(|(to, from)| *to += from[i]);
        });
    }
}

impl Gradient {
    /// The parts of `n` tokens of `d` elements.
    pub(crate) fn parts(
        &mut self,
        n: usize,
        d: usize,
    ) -> impl ExactSizeIterator<Item = GradientPart<'_>> + Send {
        let parts = self.input.parts(n, d).zip(self.hidden.parts(n)).zip(self.dy.parts(n));
        parts.map(|((input, hidden), dy)| GradientPart { input, hidden, dy })
    }
}

impl Part<'_> {
    /// `y` `[part,d]`: the residual stream behind the layer.
    pub(crate) fn forward(&mut self, block: Block, y: &mut [f32]) {
        let (f, d, tokens) = (self.down.inputs, self.down.outputs, block.tokens());
        let y = &mut y[block.of(d)];
        with_scratch([tokens * 2 * f, tokens * f], |[gate_up, hidden]| {
            self.input.forward(block, gate_up);
            for (h, gu) in hidden.chunks_exact_mut(f).zip(gate_up.chunks_exact(2 * f)) {
                train_ops::swiglu(gu, h);
            }
            y.copy_from_slice(&self.input.x[block.of(d)]);
            self.down.add_forward(hidden, y);
            // Products go to a buffer in the cache, and from there to memory in one piece.
            self.gate_up[block.of(2 * f)].copy_from_slice(gate_up);
        });
    }

    /// From the gradient `dy` `[part,d]` of the outputs that of the inputs, `dx`.
    pub(crate) fn backward(
        &self,
        block: Block,
        gradient: &mut GradientPart<'_>,
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let (f, d, tokens) = (self.down.inputs, self.down.outputs, block.tokens());
        let (dy, dx) = (&dy[block.of(d)], &mut dx[block.of(d)]);
        gradient.dy.put(block.first, dy);
        dx.copy_from_slice(dy);
        with_scratch([tokens * 2 * f, tokens * f], |[dgate_up, hidden]| {
            self.down.backward(dy, hidden);
            let kept = self.gate_up[block.of(2 * f)].chunks_exact(2 * f);
            let rows = hidden.chunks_exact_mut(f).zip(kept);
            for ((dh, gu), dgu) in rows.zip(dgate_up.chunks_exact_mut(2 * f)) {
                train_ops::swiglu_backward(gu, dh, dgu);
            }
            gradient.hidden.put(block.first, hidden);
            self.input.backward(block, &mut gradient.input, dgate_up, dx);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks;
    use super::super::check::{assert_gradient, assert_parameters, dot, numbers, tiny};
    use super::*;

    #[test]
    fn the_way_back_is_the_derivative() {
        let (shape, layout, p) = tiny();
        let (layer, d, n) = (&layout.layers[0], shape.d, PART + 70);
        let (x, dy) = (numbers(n * d, 1.0, 1), numbers(n * d, 1.0, 2));
        let forward = |p: &[f32], x: &[f32]| {
            let (mut mlp, mut y) = (Mlp::new(&shape, layer, Row::F32), vec![0.0; n * d]);
            mlp.set(p, true);
            mlp.resize(n);
            let stream = x.chunks(PART * d).zip(y.chunks_mut(PART * d));
            each(mlp.parts().zip(stream), |(mut part, (x, y))| {
                part.input.x.copy_from_slice(x);
                blocks(part.input.tokens()).for_each(|block| part.forward(block, y));
            });
            (mlp, y)
        };
        let (mut mlp, _) = forward(&p, &x);
        let (mut dx, mut g) = (vec![0.0; n * d], vec![0.0; p.len()]);
        let mut gradient = mlp.gradient(Row::F32);
        let stream = dy.chunks(PART * d).zip(dx.chunks_mut(PART * d));
        let parts = mlp.parts().zip(gradient.parts(n, d));
        each(parts.zip(stream), |((part, mut gradient), (dy, dx))| {
            blocks(part.input.tokens())
                .for_each(|block| part.backward(block, &mut gradient, dy, dx));
        });
        mlp.add_gradient(&mut gradient, &mut g);
        assert_gradient("the input", &x, &dx, |x| dot(&forward(&p, x).1, &dy));
        let places =
            [("norm", &layer.norm2), ("gate and up", &layer.gate_up), ("down", &layer.down)];
        assert_parameters(&places, &p, &g, |p| dot(&forward(p, &x).1, &dy));
    }
}
