//! The CPU: weights in f32 or INT4, keys and values in blocks of the kernels' stores.

mod load;
mod moved;
mod weights;

use std::ops::Range;

use lacuna_kernels::Epilogue;
use lacuna_kernels::kv::{KvMemory, KvStore};
use lacuna_kernels::ops::{self, Attention};
use lacuna_model::AttentionSpec;

use crate::batch::{Batch, Part};
use crate::device::rope::Rope;
use crate::device::{Device, DeviceError, KeysValues, KvDtype, States};
pub(super) use load::Reader;
use weights::{Input, Norm, ProductBuffers};
pub(super) use weights::{Linear, Matrix};

/// A model in host memory.
pub(crate) struct Cpu {
    attention: AttentionSpec,
    hidden: usize,
    /// Added under the root of every RMSNorm.
    eps: f32,
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// `None`: tied to the embedding.
    head: Option<Matrix>,
    rope: Rope,
}

struct Layer {
    attention_norm: Vec<f32>,
    /// q, k, v row-wise.
    qkv: Linear,
    /// Norms of each head of the queries and of the keys, `[head_dim]` each.
    head_norms: Option<[Vec<f32>; 2]>,
    output: Linear,
    mlp_norm: Vec<f32>,
    /// gate, up row-wise.
    gate_up: Linear,
    down: Linear,
}

/// A store a layer.
#[derive(Clone, Default)]
pub(crate) struct Stores(pub(crate) Vec<KvStore>);

/// `[rows, width]`
#[derive(Default)]
pub(crate) struct Rows {
    width: usize,
    values: Vec<f32>,
}

#[derive(Default)]
pub(crate) struct Buffers {
    product: ProductBuffers,
    /// Queries, keys and values, `[m, q_width + 2·kv_width]`.
    qkv: Vec<f32>,
    /// `[m, q_width]`
    attended: Vec<f32>,
    /// Of the positions of the pass, `[m, head_dim/2]` each.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Device for Cpu {
    type Kv = Stores;
    type States = Rows;
    type Buffers = Buffers;

    fn bytes(&self) -> usize {
        let vectors = |all: &[Vec<f32>]| all.iter().map(|v| size_of_val(&v[..])).sum::<usize>();
        let of_layer = |layer: &Layer| {
            let norms = size_of_val(&layer.attention_norm[..]) + size_of_val(&layer.mlp_norm[..]);
            let matrices = [&layer.qkv, &layer.output, &layer.gate_up, &layer.down];
            norms
                + layer.head_norms.as_ref().map_or(0, |norms| vectors(norms))
                + matrices.map(Linear::bytes).iter().sum::<usize>()
        };
        self.embedding.bytes()
            + self.layers.iter().map(of_layer).sum::<usize>()
            + size_of_val(&self.norm[..])
            + self.head.as_ref().map_or(0, Matrix::bytes)
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn new_kv(&self, dtype: KvDtype, memory: &KvMemory) -> Stores {
        let AttentionSpec { kv_heads, head_dim, .. } = self.attention;
        Stores(vec![KvStore::counted(dtype, kv_heads, head_dim, memory); self.layers.len()])
    }

    fn embed(&self, ids: &[u32], x: &mut Rows) -> Result<(), DeviceError> {
        x.width = self.hidden;
        x.values.resize(ids.len() * self.hidden, 0.0);
        for (id, x) in ids.iter().zip(x.values.chunks_exact_mut(self.hidden)) {
            self.embedding.row(*id as usize, x);
        }
        Ok(())
    }

    fn place(&self, positions: &[usize], buffers: &mut Buffers) -> Result<(), DeviceError> {
        self.rope.fill(positions, &mut buffers.cos, &mut buffers.sin);
        Ok(())
    }

    fn attention_half(
        &self,
        layer: usize,
        batch: &Batch,
        kv: &mut [&mut Stores],
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), DeviceError> {
        self.attention_over(layer, batch, kv, x, buffers);
        Ok(())
    }

    fn feed_forward_half(
        &self,
        layer: usize,
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), DeviceError> {
        let layer = &self.layers[layer];
        let norm = self.norm(&layer.mlp_norm);
        let product = &mut buffers.product;
        weights::feed_forward(&layer.gate_up, &layer.down, norm, &mut x.values, product);
        Ok(())
    }

    fn head(
        &self,
        x: &Rows,
        rows: Range<usize>,
        logits: &mut [f32],
        buffers: &mut Buffers,
    ) -> Result<(), DeviceError> {
        let x = &x.values[rows.start * self.hidden..rows.end * self.hidden];
        let matrix = self.head.as_ref().unwrap_or(&self.embedding);
        let input = Input::Normed(x, self.norm(&self.norm));
        matrix.apply(input, Epilogue::default(), logits, &mut buffers.product);
        Ok(())
    }
}

impl AsMut<Stores> for Stores {
    fn as_mut(&mut self) -> &mut Stores {
        self
    }
}

impl Cpu {
    /// [`Device::attention_half`] over whatever has the stores in it.
    pub(super) fn attention_over<K: AsMut<Stores>>(
        &self,
        layer: usize,
        batch: &Batch,
        kv: &mut [&mut K],
        x: &mut Rows,
        buffers: &mut Buffers,
    ) {
        self.project(layer, x, buffers);
        let (width, q_width) = (self.width(), self.attention.q_width());
        buffers.attended.resize(batch.len() * q_width, 0.0);
        for Part { sequence, rows } in &batch.parts {
            let store = &mut kv[*sequence].as_mut().0[layer];
            let positions = &batch.positions[rows.clone()];
            let qkv = &buffers.qkv[rows.start * width..rows.end * width];
            let attended = &mut buffers.attended[rows.start * q_width..rows.end * q_width];
            self.put(store, positions, qkv);
            self.attend(store, positions, qkv, attended);
        }
        let output = &self.layers[layer].output;
        output.add_to(Input::Plain(&buffers.attended), &mut x.values, &mut buffers.product);
    }

    fn norm<'a>(&self, weight: &'a [f32]) -> Norm<'a> {
        Norm { weight, eps: self.eps }
    }

    /// Queries, keys and values of one token.
    fn width(&self) -> usize {
        self.attention.q_width() + 2 * self.attention.kv_width()
    }

    /// Queries, keys and values of `norm(x)` into `qkv`, queries and keys rotated.
    fn project(&self, layer: usize, x: &Rows, buffers: &mut Buffers) {
        let layer = &self.layers[layer];
        let (q_width, kv_width) = (self.attention.q_width(), self.attention.kv_width());
        let Buffers { product, qkv, attended, cos, sin } = buffers;
        qkv.resize(x.rows() * self.width(), 0.0);
        layer.qkv.apply(Input::Normed(&x.values, self.norm(&layer.attention_norm)), qkv, product);
        if let Some(norms) = &layer.head_norms {
            for row in qkv.chunks_exact_mut(self.width()) {
                let (queries, rest) = row.split_at_mut(q_width);
                norm_heads(queries, self.norm(&norms[0]), attended);
                norm_heads(&mut rest[..kv_width], self.norm(&norms[1]), attended);
            }
        }
        ops::rope_rows(qkv, self.width(), q_width + kv_width, cos, sin, self.rope.width());
    }

    /// The keys and values of `qkv`, at these positions, into the store.
    fn put(&self, store: &mut KvStore, positions: &[usize], qkv: &[f32]) {
        let (q_width, kv_width, width) =
            (self.attention.q_width(), self.attention.kv_width(), self.width());
        let (k, v) = (&qkv[q_width..], &qkv[q_width + kv_width..]);
        store.grow(positions[positions.len() - 1] + 1);
        if let Some(first) = side_by_side(positions) {
            return store.put_many(first, positions.len(), k, v, width);
        }
        for (i, position) in positions.iter().enumerate() {
            store.put(*position, &k[i * width..][..kv_width], &v[i * width..][..kv_width]);
        }
    }

    /// Attention of the queries of `qkv`, at these positions, over the store.
    fn attend(&self, store: &KvStore, positions: &[usize], qkv: &[f32], out: &mut [f32]) {
        let past = side_by_side(positions);
        let shape = Attention {
            heads: self.attention.heads,
            past: past.unwrap_or(0),
            q_stride: self.width(),
        };
        match past {
            Some(_) => ops::attention(&shape, qkv, store, out),
            None => ops::attention_at(&shape, positions, qkv, store, out),
        }
    }
}

/// The first position, where they follow each other without a gap.
fn side_by_side(positions: &[usize]) -> Option<usize> {
    let (first, last) = (*positions.first()?, *positions.last()?);
    (last - first + 1 == positions.len()).then_some(first)
}

/// RMSNorm of each head of a token in place.
fn norm_heads(heads: &mut [f32], norm: Norm, scratch: &mut Vec<f32>) {
    scratch.clear();
    scratch.extend_from_slice(heads);
    ops::rms_norm(scratch, norm.weight, norm.eps, heads);
}

impl KeysValues for Stores {
    type Memory = KvMemory;

    fn counted(memory: &KvMemory) -> usize {
        memory.bytes()
    }

    fn layers(&self) -> usize {
        self.0.len()
    }

    fn dtype(&self) -> KvDtype {
        self.0[0].dtype()
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(KvStore::bytes).sum()
    }

    fn block(&self) -> (usize, usize) {
        let (bytes, positions) = self.0[0].block_size();
        (positions, bytes * self.0.len())
    }

    fn rewrite(&mut self, from: usize) {
        self.0.iter_mut().for_each(|store| store.rewrite(from));
    }

    fn shrink(&mut self, tokens: usize) {
        self.0.iter_mut().for_each(|store| store.shrink(tokens));
    }
}

impl States for Rows {
    fn bytes(&self) -> usize {
        size_of_val(&self.values[..])
    }

    fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows * self.width);
    }

    fn push(&mut self, other: &Rows, row: usize) -> Result<(), DeviceError> {
        self.width = other.width;
        self.values.extend_from_slice(&other.values[row * self.width..][..self.width]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lacuna_kernels::isa;

    use super::*;
    use crate::device::conformance::Bounds;

    #[test]
    fn the_cpu_conforms() {
        // On AMX more than 16 tokens are computed with coarser scales than fewer.
        let is_coarse = isa::active().isa().name().starts_with("amx");
        let bounds = Bounds {
            f32: 1e-4,
            int4: 0.05,
            f16: 2e-3,
            int8: 0.03,
            cut: if is_coarse { 0.1 } else { 1e-5 },
        };
        crate::device::conformance::check(&bounds, Cpu::load);
    }
}
