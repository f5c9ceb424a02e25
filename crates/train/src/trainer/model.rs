//! The decoder as a chain of operations (`ops/`), forward and backward.
//!
//! [`Model`] owns the operations with what they keep; parameters and gradients are the caller's
//! flat vectors (see `shape.rs`). The order of every sum is fixed, whatever the number of threads,
//! so that a run repeats to the bit.

use lacuna_kernels::gemm::{Row, Summands};

use super::batch::Batch;
use super::error::TrainError;
use super::losses::Losses;
use super::ops::attention::Attention;
use super::ops::head::{Head, Wanted};
use super::ops::mlp::{self, Mlp};
use super::ops::output::Output;
use super::ops::qkv::{self, Qkv};
use super::ops::rope::Rope;
use super::ops::{PART, blocks, each, embedding};
use super::shape::{Layer, Layout, Shape};

/// The operations of a layer.
struct LayerOps {
    qkv: Qkv,
    attention: Attention,
    output: Output,
    mlp: Mlp,
}

impl LayerOps {
    fn new(shape: &Shape, layer: &Layer, row: Row) -> LayerOps {
        LayerOps {
            qkv: Qkv::new(shape, layer, row),
            attention: Attention::new(shape, row),
            output: Output::new(shape, layer, row),
            mlp: Mlp::new(shape, layer, row),
        }
    }

    fn set(&mut self, p: &[f32], backward: bool) {
        self.qkv.set(p, backward);
        self.output.set(p, backward);
        self.mlp.set(p, backward);
    }

    fn resize(&mut self, n: usize) {
        self.qkv.resize(n);
        self.attention.resize(n);
        self.mlp.resize(n);
    }
}

/// What the way back through a layer writes, one after the other.
struct Gradients {
    qkv: qkv::Gradient,
    output: Summands,
    mlp: mlp::Gradient,
    /// Of the residual stream behind a layer, and between its halves.
    dx: Vec<f32>,
    dmid: Vec<f32>,
    /// Of the heads' output.
    d_o: Vec<f32>,
}

impl Gradients {
    fn new(layer: &LayerOps, row: Row) -> Gradients {
        Gradients {
            qkv: layer.qkv.gradient(row),
            output: layer.output.gradient(row),
            mlp: layer.mlp.gradient(row),
            dx: Vec::new(),
            dmid: Vec::new(),
            d_o: Vec::new(),
        }
    }

    fn resize(&mut self, n: usize, shape: &Shape) {
        self.dx.resize(n * shape.d, 0.0);
        self.dmid.resize(n * shape.d, 0.0);
        self.d_o.resize(n * shape.heads * shape.head_dim, 0.0);
        self.qkv.dy.resize(n * shape.qkv(), 0.0);
    }
}

/// The decoder with its activations.
pub struct Model {
    shape: Shape,
    layout: Layout,
    row: Row,
    max_document: usize,
    /// The embedding and the layers below have no gradient.
    frozen_layers: usize,
    /// The tokens whose rows of the embedding have one; all, if none are named.
    tokens: Option<Vec<u32>>,
    rope: Rope,
    layers: Vec<LayerOps>,
    head: Head,
    gradients: Gradients,
}

impl Model {
    /// A model for documents of up to `max_document` tokens; activations grow with the batches it
    /// is given.
    pub fn new(shape: &Shape, row: Row, max_document: usize) -> Result<Model, TrainError> {
        shape.check()?;
        if !row.is_available() {
            return Err(TrainError::Config(format!(
                "this CPU cannot compute with `{row}`: leave --compute out or use f32"
            )));
        }
        let layout = Layout::new(shape);
        let layers: Vec<_> =
            layout.layers.iter().map(|layer| LayerOps::new(shape, layer, row)).collect();
        Ok(Model {
            shape: shape.clone(),
            row,
            max_document,
            frozen_layers: 0,
            tokens: None,
            rope: Rope::new(shape, max_document),
            head: Head::new(shape, &layout, row),
            gradients: Gradients::new(&layers[0], row),
            layers,
            layout,
        })
    }

    /// Leaves out gradients that nobody asks for: of the embedding and the lowest layers, and of
    /// the embedding's rows but for some `tokens`. What is left out keeps the value that it has in
    /// the caller's vector.
    pub fn set_frozen(&mut self, frozen_layers: usize, tokens: Option<Vec<u32>>) {
        (self.frozen_layers, self.tokens) =
            (frozen_layers, if frozen_layers > 0 { Some(Vec::new()) } else { tokens });
    }

    /// Where each tensor lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The instruction row of the products.
    pub fn row(&self) -> Row {
        self.row
    }

    /// Losses of a batch, no gradient.
    ///
    /// Panics: if `p` is not [`Layout::n_parameters`] long.
    pub fn losses(&mut self, p: &[f32], batch: &Batch) -> Result<Losses, TrainError> {
        self.pass(p, batch, None)
    }

    /// Losses of a batch; adds the gradient of `Σ weight · loss / total_weight` to `g`. A step of
    /// several batches passes the weight of them all, so that the gradients add up to that of the
    /// whole.
    ///
    /// Panics: if `p` or `g` is not [`Layout::n_parameters`] long.
    pub fn losses_and_gradient(
        &mut self,
        p: &[f32],
        batch: &Batch,
        total_weight: f64,
        g: &mut [f32],
    ) -> Result<Losses, TrainError> {
        self.pass(p, batch, Some((total_weight, g)))
    }

    fn pass(
        &mut self,
        p: &[f32],
        batch: &Batch,
        gradient: Option<(f64, &mut [f32])>,
    ) -> Result<Losses, TrainError> {
        assert_eq!(p.len(), self.layout.n_parameters(), "parameters do not fit the model");
        batch.check(self.shape.vocab, self.max_document)?;
        if batch.is_empty() {
            return Ok(Losses::default());
        }
        self.set(p, batch, gradient.is_some());
        self.forward(p, batch);
        match gradient {
            None => self.head.losses(p, batch, None),
            Some((total_weight, g)) => {
                assert_eq!(g.len(), p.len(), "gradient does not fit the model");
                let wanted = Wanted { total_weight, words: self.tokens.as_deref(), g };
                self.head.losses(p, batch, Some(wanted));
                self.backward(batch, g);
            }
        }
        Ok(Losses::of(batch, &self.head.losses))
    }

    /// Takes over parameters, and makes room for a batch.
    fn set(&mut self, p: &[f32], batch: &Batch, backward: bool) {
        let (n, frozen) = (batch.len(), self.frozen_layers);
        each(self.layers.iter_mut().enumerate(), |(l, layer)| {
            layer.set(p, backward && l >= frozen);
            layer.resize(n);
        });
        self.head.set(p);
        self.head.resize(n);
        self.rope.set(&batch.documents);
        if backward {
            self.gradients.resize(n, &self.shape);
        }
    }

    fn forward(&mut self, p: &[f32], batch: &Batch) {
        let (n, d, rope) = (batch.len(), self.shape.d, &self.rope);
        let out = self.shape.heads * self.shape.head_dim;
        let embedding = &p[self.layout.embedding.clone()];
        let first = self.layers[0].qkv.parts(rope).zip(batch.inputs.chunks(PART));
        each(first, |(mut qkv, ids)| {
            embedding::forward(embedding, ids, d, qkv.input.x);
            blocks(ids.len()).for_each(|block| qkv.forward(block));
        });
        for l in 0..self.layers.len() {
            let (done, next) = self.layers.split_at_mut(l + 1);
            let LayerOps { qkv, attention, output, mlp } = &mut done[l];
            attention.forward(&batch.documents, &qkv.y);
            let stream = qkv.input.x.chunks(PART * d).zip(attention.o.chunks(PART * out));
            let parts = stream.zip(output.parts(n).zip(mlp.parts()));
            if let Some(next) = next.first_mut() {
                let parts = parts.zip(next.qkv.parts(rope));
                each(parts, |(((x, o), (mut output, mut mlp)), mut qkv)| {
                    for block in blocks(mlp.input.tokens()) {
                        output.forward(block, x, o, mlp.input.x);
                        mlp.forward(block, qkv.input.x);
                        qkv.forward(block);
                    }
                });
            } else {
                let parts = parts.zip(self.head.parts());
                each(parts, |(((x, o), (mut output, mut mlp)), mut head)| {
                    for block in blocks(mlp.input.tokens()) {
                        output.forward(block, x, o, mlp.input.x);
                        mlp.forward(block, head.x);
                        head.forward(block);
                    }
                });
            }
        }
    }

    fn backward(&mut self, batch: &Batch, g: &mut [f32]) {
        let (n, d) = (batch.len(), self.shape.d);
        let out = self.shape.heads * self.shape.head_dim;
        let Gradients { qkv: of_qkv, output: of_output, mlp: of_mlp, dx, dmid, d_o } =
            &mut self.gradients;
        self.head.backward(dx, g);
        for layer in self.layers[self.frozen_layers..].iter_mut().rev() {
            let LayerOps { qkv, attention, output, mlp } = layer;
            let mlps = mlp.parts().zip(of_mlp.parts(n, d));
            let outputs = output.parts(n).zip(of_output.parts(n)).zip(d_o.chunks_mut(PART * out));
            let stream = dx.chunks(PART * d).zip(dmid.chunks_mut(PART * d));
            each(mlps.zip(outputs).zip(stream), |((mlp, output), (dx, dmid))| {
                let ((mlp, mut of_mlp), ((output, mut of_output), d_o)) = (mlp, output);
                for block in blocks(mlp.input.tokens()) {
                    mlp.backward(block, &mut of_mlp, dx, dmid);
                    output.backward(block, &mut of_output, dmid, d_o);
                }
            });
            mlp.add_gradient(of_mlp, g);
            output.add_gradient(of_output, g);
            attention.backward(&batch.documents, &qkv.y, d_o, &mut of_qkv.dy);
            let parts = qkv.parts(&self.rope).zip(of_qkv.parts(n, d));
            let stream = dmid.chunks(PART * d).zip(dx.chunks_mut(PART * d));
            each(parts.zip(stream), |((qkv, mut of_qkv), (dmid, dx))| {
                dx.copy_from_slice(dmid);
                for block in blocks(qkv.input.tokens()) {
                    qkv.backward(block, &mut of_qkv, &mut dx[block.of(d)]);
                }
            });
            qkv.add_gradient(of_qkv, g);
        }
        let (ids, embedding) = (&batch.inputs, &mut g[self.layout.embedding.clone()]);
        embedding::backward(dx, ids, d, self.tokens.as_deref(), embedding);
    }
}
