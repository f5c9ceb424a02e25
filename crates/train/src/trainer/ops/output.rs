//! Behind attention: the projection of the heads' output into the residual stream.

use lacuna_kernels::gemm::{Row, Summands, SummandsPart};

use super::{Block, Linear, PART};
use crate::trainer::shape::{Layer, Shape};

/// The operation in one layer.
pub(crate) struct Output {
    linear: Linear,
    /// The heads' output as the gradient of the weights wants it.
    packed: Summands,
}

/// What the way back of one layer writes; the layers share it.
pub(crate) struct Gradient {
    packed: Summands,
}

/// A part on its way forward: `x` the residual stream `[part,d]`, `o` the heads' output.
pub(crate) struct Forward<'a> {
    linear: &'a Linear,
    x: &'a [f32],
    o: &'a [f32],
    packed: SummandsPart<'a>,
}

/// A part on its way back: `d_o` the gradient of the heads' output.
pub(crate) struct Backward<'a> {
    linear: &'a Linear,
    d_o: &'a mut [f32],
    packed: SummandsPart<'a>,
}

impl Output {
    pub(crate) fn new(shape: &Shape, layer: &Layer, row: Row) -> Output {
        let linear = Linear::new(row, &layer.o, shape.heads * shape.head_dim);
        let [packed, _] = linear.summands(row);
        Output { linear, packed }
    }

    pub(crate) fn gradient(&self, row: Row) -> Gradient {
        let [_, packed] = self.linear.summands(row);
        Gradient { packed }
    }

    /// Takes over the parameters.
    pub(crate) fn set(&mut self, p: &[f32], backward: bool) {
        self.linear.set(p, backward);
    }

    pub(crate) fn forward<'a>(
        &'a mut self,
        x: &'a [f32],
        o: &'a [f32],
    ) -> impl ExactSizeIterator<Item = Forward<'a>> + Send {
        let linear = &self.linear;
        let inputs = x.chunks(PART * linear.outputs).zip(o.chunks(PART * linear.inputs));
        inputs
            .zip(self.packed.parts(x.len() / linear.outputs))
            .map(move |((x, o), packed)| Forward { linear, x, o, packed })
    }

    pub(crate) fn backward<'a>(
        &'a self,
        gradient: &'a mut Gradient,
        d_o: &'a mut [f32],
    ) -> impl ExactSizeIterator<Item = Backward<'a>> + Send {
        let linear = &self.linear;
        let packed = gradient.packed.parts(d_o.len() / linear.inputs).into_iter();
        packed.zip(d_o.chunks_mut(PART * linear.inputs)).map(move |(packed, d_o)| Backward {
            linear,
            d_o,
            packed,
        })
    }

    /// Adds the gradient of the weights, after all parts have been back.
    pub(crate) fn add_gradient(&self, gradient: &Gradient, g: &mut [f32]) {
        self.linear.add_gradient(&gradient.packed, &self.packed, g);
    }
}

impl Forward<'_> {
    /// `y` `[part,d]`: the residual stream behind attention.
    pub(crate) fn run(&mut self, block: Block, y: &mut [f32]) {
        let residual = block.of(self.linear.outputs);
        let (o, y) = (&self.o[block.of(self.linear.inputs)], &mut y[residual.clone()]);
        self.packed.put(block.first, o);
        y.copy_from_slice(&self.x[residual]);
        self.linear.add_forward(o, y);
    }
}

impl Backward<'_> {
    /// From the gradient `dy` `[part,d]` of the output that of the heads' output. The residual
    /// stream's own is `dy` itself.
    pub(crate) fn run(&mut self, block: Block, dy: &[f32]) {
        let dy = &dy[block.of(self.linear.outputs)];
        self.packed.put(block.first, dy);
        self.linear.backward(dy, &mut self.d_o[block.of(self.linear.inputs)]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, assert_parameters, dot, numbers, tiny};
    use super::super::{blocks, each};
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
            each(output.forward(&x, o).zip(y.chunks_mut(PART * d)), |(mut part, y)| {
                blocks(y.len() / d).for_each(|block| part.run(block, y));
            });
            (output, y)
        };
        let (output, _) = forward(&p, &o);
        let (mut d_o, mut g) = (vec![0.0; n * out], vec![0.0; p.len()]);
        let mut gradient = output.gradient(Row::F32);
        each(
            output.backward(&mut gradient, &mut d_o).zip(dy.chunks(PART * d)),
            |(mut part, dy)| {
                blocks(dy.len() / d).for_each(|block| part.run(block, dy));
            },
        );
        output.add_gradient(&gradient, &mut g);
        assert_gradient("the heads' output", &o, &d_o, |o| dot(&forward(&p, o).1, &dy));
        assert_parameters(&[("output", &layer.o)], &p, &g, |p| dot(&forward(p, &o).1, &dy));
    }
}
