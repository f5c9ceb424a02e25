//! A GPU: weights, keys and values, and the rows of a pass in its memory; launches in `lacuna_kernels::cuda`.
//!
//! What is behind [`Gpu`] is a driver or the simulator, and nothing here knows which. Sizes are
//! filled up to multiples of 64 with what computes as nothing, so that every shape takes the same
//! kernels. No result depends on the batch.

mod kv;
mod load;
mod moved;
mod rows;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use lacuna_kernels::cuda::launch::{
    self, HeadNorms, Heads, Inputs, Output, Places, Queries, Splits,
};
use lacuna_kernels::cuda::store::Layout;
use lacuna_kernels::cuda::weights::{Weights, padded};
use lacuna_kernels::cuda::{Gpu, GpuError, Room, View};
use lacuna_model::AttentionSpec;

use crate::batch::Batch;
use crate::device::{Device, KvDtype, rope::Rope};
pub(crate) use kv::{BlockMemory, Blocks};
pub(crate) use rows::Rows;
use rows::Uploaded;

/// A model in the memory of a GPU.
pub(crate) struct Cuda {
    gpu: Arc<dyn Gpu>,
    attention: AttentionSpec,
    hidden: usize,
    /// Added under the root of every RMSNorm.
    eps: f32,
    embedding: Weights,
    layers: Vec<Layer>,
    norm: Room,
    /// `None`: tied to the embedding.
    head: Option<Weights>,
    rope: Rope,
}

struct Layer {
    attention_norm: Room,
    /// q, k, v row-wise.
    qkv: Linear,
    /// Norms of each head of the queries and of the keys, `[head_dim]` each.
    head_norms: Option<[Room; 2]>,
    output: Linear,
    mlp_norm: Room,
    /// gate, then up, each filled up.
    gate_up: Linear,
    down: Linear,
}

/// A matrix and its bias.
struct Linear {
    matrix: Weights,
    bias: Option<Room>,
}

#[derive(Default)]
pub(crate) struct Buffers {
    /// What a product of a half takes, one after the other.
    normed: Inputs,
    between: Inputs,
    /// Gate and up of more tokens than one launch takes.
    gate_up: Option<Room>,
    /// Queries, keys and values, `[m, q_width + 2·kv_width]`.
    qkv: Option<Room>,
    queries: Queries,
    splits: Splits,
    logits: Option<Room>,
    /// Of the rows of the pass.
    positions: Uploaded<u32>,
    /// Pairs, `[m, head_dim/2]`.
    cos_sin: Option<Room>,
    tables: Uploaded<u64>,
    row_tables: Uploaded<u32>,
}

impl Device for Cuda {
    type Kv = Blocks;
    type States = Rows;
    type Buffers = Buffers;

    fn bytes(&self) -> usize {
        let linear =
            |linear: &Linear| linear.matrix.bytes() + linear.bias.as_ref().map_or(0, Room::bytes);
        let of_layer = |layer: &Layer| {
            let norms = layer.attention_norm.bytes() + layer.mlp_norm.bytes();
            let matrices = [&layer.qkv, &layer.output, &layer.gate_up, &layer.down];
            norms
                + layer.head_norms.iter().flatten().map(Room::bytes).sum::<usize>()
                + matrices.map(linear).iter().sum::<usize>()
        };
        self.embedding.bytes()
            + self.layers.iter().map(of_layer).sum::<usize>()
            + self.norm.bytes()
            + self.head.as_ref().map_or(0, Weights::bytes)
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn new_kv(&self, dtype: KvDtype, memory: &BlockMemory) -> Blocks {
        let AttentionSpec { kv_heads, head_dim: d, .. } = self.attention;
        Blocks::new(&self.gpu, Layout { dtype, kv_heads, d }, self.layers.len(), memory)
    }

    fn embed(&self, ids: &[u32], x: &mut Rows) -> Result<(), GpuError> {
        x.resize(&self.gpu, ids.len(), padded(self.hidden))?;
        let ids_there = Room::of(&self.gpu, ids)?;
        launch::embed(&*self.gpu, &self.embedding, ids_there.view(), ids.len(), x.view())
    }

    fn place(&self, positions: &[usize], buffers: &mut Buffers) -> Result<(), GpuError> {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        self.rope.fill(positions, &mut cos, &mut sin);
        let pairs: Vec<f32> = cos.iter().zip(&sin).flat_map(|(cos, sin)| [*cos, *sin]).collect();
        launch::grow(&self.gpu, &mut buffers.cos_sin, size_of_val(&pairs[..]))?;
        view(&buffers.cos_sin).write(&*self.gpu, &pairs)
    }

    fn attention_half(
        &self,
        layer: usize,
        batch: &Batch,
        kv: &mut [&mut Blocks],
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), GpuError> {
        self.project(layer, x, buffers)?;
        let (places, heads) = self.places(layer, batch, kv, buffers)?;
        self.append(layer, &heads, &places, buffers)?;
        self.attend(layer, &heads, &places, x, buffers)
    }

    fn feed_forward_half(
        &self,
        layer: usize,
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), GpuError> {
        let (gpu, layer, m) = (&self.gpu, &self.layers[layer], x.len());
        let Buffers { normed, between, gate_up, .. } = buffers;
        let is_int8 = is_int8(&layer.gate_up.matrix);
        normed.resize(gpu, m, padded(self.hidden), is_int8)?;
        let weight = layer.mlp_norm.view();
        launch::rms_norm(&**gpu, x.view(), weight, self.hidden, self.eps, normed)?;
        between.resize(gpu, m, layer.down.matrix.shape().k, is_int8)?;
        let bias = layer.gate_up.bias();
        launch::swiglu(gpu, &layer.gate_up.matrix, normed, bias, between, gate_up)?;
        self.add(&layer.down, between, x)
    }

    fn head(
        &self,
        x: &Rows,
        rows: Range<usize>,
        logits: &mut [f32],
        buffers: &mut Buffers,
    ) -> Result<(), GpuError> {
        let gpu = &self.gpu;
        let matrix = self.head.as_ref().unwrap_or(&self.embedding);
        let (m, k, n) = (rows.len(), padded(self.hidden), matrix.shape().n);
        let Buffers { normed, logits: room, .. } = buffers;
        normed.resize(gpu, m, k, is_int8(matrix))?;
        let x = x.view().skip(rows.start * k * size_of::<f32>());
        launch::rms_norm(&**gpu, x, self.norm.view(), self.hidden, self.eps, normed)?;
        launch::grow(gpu, room, m * n * size_of::<f32>())?;
        let out = Output { bias: View::NONE, residual: View::NONE, y: view(room), stride: n };
        launch::matmul(&**gpu, matrix, normed, out)?;
        view(room).read(&**gpu, logits)
    }
}

impl Cuda {
    /// Of the GPU.
    pub(crate) fn name(&self) -> String {
        self.gpu.name()
    }

    /// Queries, keys and values of one token.
    fn width(&self) -> usize {
        self.attention.q_width() + 2 * self.attention.kv_width()
    }

    /// Queries, keys and values of `norm(x)`.
    fn project(&self, layer: usize, x: &Rows, buffers: &mut Buffers) -> Result<(), GpuError> {
        let (gpu, layer, m) = (&self.gpu, &self.layers[layer], x.len());
        let Buffers { normed, qkv, .. } = buffers;
        normed.resize(gpu, m, padded(self.hidden), is_int8(&layer.qkv.matrix))?;
        let weight = layer.attention_norm.view();
        launch::rms_norm(&**gpu, x.view(), weight, self.hidden, self.eps, normed)?;
        launch::grow(gpu, qkv, m * self.width() * size_of::<f32>())?;
        let (bias, y) = (layer.qkv.bias(), view(qkv));
        let out = Output { bias, residual: View::NONE, y, stride: self.width() };
        launch::matmul(&**gpu, &layer.qkv.matrix, normed, out)
    }

    /// Makes the sequences ready to be written where the rows sit, and tells the GPU where that is.
    fn places(
        &self,
        layer: usize,
        batch: &Batch,
        kv: &mut [&mut Blocks],
        buffers: &mut Buffers,
    ) -> Result<(Places, Heads), GpuError> {
        let (mut tables, mut row_tables) = (Vec::new(), Vec::new());
        for part in &batch.parts {
            let blocks = &mut *kv[part.sequence];
            blocks.prepare(layer, &batch.positions[part.rows.clone()])?;
            row_tables.resize(part.rows.end, tables.len() as u32);
            tables.extend(blocks.addresses());
        }
        let positions: Vec<u32> = batch.positions.iter().map(|at| *at as u32).collect();
        let places = Places {
            m: batch.len(),
            last: batch.positions.iter().copied().max().unwrap_or(0),
            positions: buffers.positions.set(&self.gpu, &positions)?,
            tables: buffers.tables.set(&self.gpu, &tables)?,
            row_tables: buffers.row_tables.set(&self.gpu, &row_tables)?,
        };
        let (layout, qkv) = (kv[batch.parts[0].sequence].layout(), view(&buffers.qkv));
        let heads = Heads { layout, heads: self.attention.heads, layer, qkv, stride: self.width() };
        Ok((places, heads))
    }

    /// Rotated queries, and keys and values where the rows sit.
    fn append(
        &self,
        layer: usize,
        heads: &Heads,
        places: &Places,
        buffers: &mut Buffers,
    ) -> Result<(), GpuError> {
        let Buffers { queries, cos_sin, .. } = buffers;
        queries.resize(&self.gpu, heads, places.m)?;
        let [query, key] = match &self.layers[layer].head_norms {
            Some(norms) => [norms[0].view(), norms[1].view()],
            None => [View::NONE; 2],
        };
        let norms = HeadNorms { query, key, eps: self.eps };
        launch::rope_append(&*self.gpu, heads, places, view(cos_sin), norms, queries)
    }

    /// `x += output(attention)` of the queries.
    fn attend(
        &self,
        layer: usize,
        heads: &Heads,
        places: &Places,
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), GpuError> {
        let output = &self.layers[layer].output;
        let Buffers { between, queries, splits, .. } = buffers;
        between.resize(&self.gpu, places.m, output.matrix.shape().k, is_int8(&output.matrix))?;
        launch::attention(&self.gpu, heads, places, queries, between, splits)?;
        self.add(output, between, x)
    }

    /// `x += linear · inputs`
    fn add(&self, linear: &Linear, inputs: &Inputs, x: &mut Rows) -> Result<(), GpuError> {
        let (y, stride) = (x.view(), padded(self.hidden));
        let out = Output { bias: linear.bias(), residual: y, y, stride };
        launch::matmul(&*self.gpu, &linear.matrix, inputs, out)
    }
}

impl Linear {
    fn bias(&self) -> View {
        self.bias.as_ref().map_or(View::NONE, Room::view)
    }
}

/// Whether a product takes its inputs in INT8.
fn is_int8(matrix: &Weights) -> bool {
    matches!(matrix, Weights::Int4(_))
}

fn view(room: &Option<Room>) -> View {
    room.as_ref().map_or(View::NONE, Room::view)
}
