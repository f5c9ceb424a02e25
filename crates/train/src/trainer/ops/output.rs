//! Behind attention: the projection of the heads' output into the residual stream.

use lacuna_kernels::gemm::{Row, Summands, SummandsPart};

use super::{Block, Linear};
use crate::trainer::shape::{Layer, Shape};

/// The operation in one layer.
pub(crate) struct Output {
    linear: Linear,
    /// The heads' output as the gradient of the weights wants it.
    o: Summands,
}

/// A part of its tokens.
pub(crate) struct Part<'a> {
    linear: &'a Linear,
    o: SummandsPart<'a>,
}

impl Output {
    pub(crate) fn new(shape: &Shape, layer: &Layer, row: Row) -> Output {
        let linear = Linear::new(row, &layer.o, shape.heads * shape.head_dim);
        let [o, _] = linear.summands(row);
        Output { linear, o }
    }

    /// The gradients of a layer's outputs, for that of the weights.
    pub(crate) fn gradient(&self, row: Row) -> Summands {
        let [_, dy] = self.linear.summands(row);
        dy
    }

    pub(crate) fn set(&mut self, p: &[f32], backward: bool) {
        self.linear.set(p, backward);
    }

    /// The parts of `n` tokens.
    pub(crate) fn parts(&mut self, n: usize) -> impl ExactSizeIterator<Item = Part<'_>> + Send {
        let linear = &self.linear;
        self.o.parts(n).into_iter().map(move |o| Part { linear, o })
    }

    /// Adds to the gradient of all parameters, after all parts have been back.
    pub(crate) fn add_gradient(&self, dy: &Summands, g: &mut [f32]) {
        self.linear.add_gradient(dy, &self.o, g);
    }
}

impl Part<'_> {
    /// `y`: the residual stream behind attention; `x` what it was before, `o` the heads' output;
    /// all of the part.
    pub(crate) fn forward(&mut self, block: Block, x: &[f32], o: &[f32], y: &mut [f32]) {
        let stream = block.of(self.linear.outputs);
        let (o, y) = (&o[block.of(self.linear.inputs)], &mut y[stream.clone()]);
        self.o.put(block.first, o);
        y.copy_from_slice(&x[stream]);
        self.linear.add_forward(o, y);
    }

    /// From the gradient `dy` of the output that of the heads' output, `d_o`; all of the part. The
    /// residual stream's own is `dy` itself.
    pub(crate) fn backward(
        &self,
        block: Block,
        gradient: &mut SummandsPart<'_>,
        dy: &[f32],
        d_o: &mut [f32],
    ) {
        let dy = &dy[block.of(self.linear.outputs)];
        gradient.put(block.first, dy);
        self.linear.backward(dy, &mut d_o[block.of(self.linear.inputs)]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, assert_parameters, dot, numbers, tiny};
    use super::super::{PART, blocks, each};
    use super::*;

    #[test]
    fn the_way_back_is_the_derivative() {
        let (shape, layout, p) = tiny();
        let (layer, d, out, n) = (&layout.layers[0], shape.d, 24, PART + 70);
        let (x, o) = (numbers(n * d, 1.0, 1), numbers(n * out, 1.0, 2));
        let dy = numbers(n * d, 1.0, 3);
        let forward = |p: &[f32], o: &[f32]| {
            let (mut output, mut y) = (Output::new(&shape, layer, Row::F32), vec![0.0; n * d]);
            output.set(p, true);
            let stream = x.chunks(PART * d).zip(o.chunks(PART * out)).zip(y.chunks_mut(PART * d));
            each(output.parts(n).zip(stream), |(mut part, ((x, o), y))| {
                blocks(y.len() / d).for_each(|block| part.forward(block, x, o, y));
            });
            (output, y)
        };
        let (mut output, _) = forward(&p, &o);
        let (mut d_o, mut g) = (vec![0.0; n * out], vec![0.0; p.len()]);
        let mut gradient = output.gradient(Row::F32);
        let stream = dy.chunks(PART * d).zip(d_o.chunks_mut(PART * out));
        let parts = output.parts(n).zip(gradient.parts(n));
        each(parts.zip(stream), |((part, mut gradient), (dy, d_o))| {
            blocks(dy.len() / d).for_each(|block| part.backward(block, &mut gradient, dy, d_o));
        });
        output.add_gradient(&gradient, &mut g);
        assert_gradient("the heads' output", &o, &d_o, |o| dot(&forward(&p, o).1, &dy));
        assert_parameters(&[("output", &layer.o)], &p, &g, |p| dot(&forward(p, &o).1, &dy));
    }
}
