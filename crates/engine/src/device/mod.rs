//! What computes: a [`Device`] holds the weights of a model and the keys and values of its
//! sequences, and computes half a layer at a time over the rows of a batch.
//!
//! Batches come as plain arrays. Weights, keys, values and the residual stream lie where the device
//! likes; logits come to host memory, and what follows from them is computed there. `cpu` and
//! `cuda` are the devices, `active` the one of a model; `conformance` runs any of them against plain scalar code. This module and those
//! below it are the only ones that name the kernels' computations.

mod active;
#[cfg(test)]
mod conformance;
mod cpu;
mod cuda;
mod rope;

use std::ops::Range;

use crate::batch::Batch;

pub use active::{DeviceChoice, ParseDeviceError, gpus};
#[cfg(test)]
pub(crate) use lacuna_kernels::cuda::Gpu;
/// What a device did not do.
pub use lacuna_kernels::cuda::GpuError as DeviceError;
pub use lacuna_kernels::kv::KvDtype;
pub(crate) use lacuna_kernels::ops::{log_sum_exp, top};

pub(crate) use active::{Active, Kv};
/// What counts their bytes.
pub(crate) type KvMemory = <Kv as KeysValues>::Memory;

/// How weights are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As in the checkpoint, widened to f32: the reference.
    F32,
    /// Linear layers and embedding in INT4 (group 32), norms and biases f32.
    Int4,
}

/// A model on a device.
///
/// Errors of all that computes: [`DeviceError`], never on the CPU. What was written to is then
/// undefined: keys and values of the rows, their states, and logits.
pub(crate) trait Device {
    type Kv: KeysValues;
    type States: States;
    /// What a pass needs beside its states; reused from pass to pass.
    type Buffers: Default;

    /// Bytes of weights.
    fn bytes(&self) -> usize;

    fn layers(&self) -> usize;

    /// Room for the keys and values of a sequence, none yet; it grows as they come.
    fn new_kv(&self, dtype: KvDtype, memory: &<Self::Kv as KeysValues>::Memory) -> Self::Kv;

    /// `x` becomes the embeddings of `ids`, a row each.
    fn embed(&self, ids: &[u32], x: &mut Self::States) -> Result<(), DeviceError>;

    /// From here on the rows of a pass sit at `positions`, until others are given.
    fn place(&self, positions: &[usize], buffers: &mut Self::Buffers) -> Result<(), DeviceError>;

    /// `x += output(attention(norm(x)))`, each part of the batch over its own sequence. `kv` is one
    /// for each sequence, and takes the keys and values of the rows.
    fn attention_half(
        &self,
        layer: usize,
        batch: &Batch,
        kv: &mut [&mut Self::Kv],
        x: &mut Self::States,
        buffers: &mut Self::Buffers,
    ) -> Result<(), DeviceError>;

    /// `x += down(silu(gate(norm(x))) · up(norm(x)))`
    fn feed_forward_half(
        &self,
        layer: usize,
        x: &mut Self::States,
        buffers: &mut Self::Buffers,
    ) -> Result<(), DeviceError>;

    /// Logits of some rows of `x` into `logits` `[rows, n_vocab]`.
    fn head(
        &self,
        x: &Self::States,
        rows: Range<usize>,
        logits: &mut [f32],
        buffers: &mut Self::Buffers,
    ) -> Result<(), DeviceError>;
}

/// What a device does for text that is moved (`blend`), beside [`Device`].
pub(crate) trait MovedText: Device {
    /// The layer at which moved tokens are compared: the keys and values of layer 0 depend on the
    /// token and its position only.
    const CHECK_LAYER: usize = 1;

    /// Copies the keys and values at `run` of `source` to the positions from `at` on of `target`,
    /// in all layers: keys rotated to their new places.
    fn move_run(
        &self,
        target: &mut Self::Kv,
        at: usize,
        source: &Self::Kv,
        run: Range<usize>,
    ) -> Result<(), DeviceError>;

    /// The attention half of [`MovedText::CHECK_LAYER`] where all rows give keys and values, but
    /// only some go on, and are all that is left of `batch` and `x`: those that were not moved
    /// (`moves` is 0 at their position) and the share `ratio` of the others whose values are
    /// farthest, in squares, from those that were moved.
    fn repair_half(
        &self,
        batch: &mut Batch,
        moves: &[u8],
        ratio: f32,
        kv: &mut Self::Kv,
        x: &mut Self::States,
        buffers: &mut Self::Buffers,
    ) -> Result<(), DeviceError>;
}

/// Keys and values of one sequence in all layers, from position 0 on. A clone shares memory;
/// whoever writes gets a copy of what is shared first.
pub(crate) trait KeysValues: Clone {
    /// Counts the bytes of all that were made with it, shared ones once.
    type Memory: Clone + Default;

    /// Bytes that `memory` counts now.
    fn counted(memory: &Self::Memory) -> usize;

    fn layers(&self) -> usize;

    fn dtype(&self) -> KvDtype;

    /// Bytes in memory; what is shared counts in full.
    fn bytes(&self) -> usize;

    /// Positions by which it grows, and the bytes that they take in all layers.
    fn block(&self) -> (usize, usize);

    /// Prepares writing from position `from` on when what stands there is not needed any more.
    fn rewrite(&mut self, from: usize);

    /// Gives back what the first `tokens` positions do not need.
    fn shrink(&mut self, tokens: usize);
}

/// Rows of the residual stream.
pub(crate) trait States: Default {
    fn bytes(&self) -> usize;

    fn rows(&self) -> usize;

    /// Drops all rows but the first `rows`.
    fn truncate(&mut self, rows: usize);

    /// Adds row `row` of `other`.
    fn push(&mut self, other: &Self, row: usize) -> Result<(), DeviceError>;
}

/// Rows to go on with, ascending: those that were not moved, and the share `ratio` of the others
/// that are farthest from what was moved.
fn farthest(
    positions: &[usize],
    moves: &[u8],
    ratio: f32,
    mut distance: impl FnMut(usize) -> f32,
) -> Vec<usize> {
    let (moved, mut chosen): (Vec<usize>, Vec<usize>) =
        (0..positions.len()).partition(|row| moves[positions[*row]] > 0);
    let mut by_distance: Vec<(f32, usize)> =
        moved.into_iter().map(|row| (distance(row), row)).collect();
    by_distance.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    // Rounded up, but for what rounding of the product adds.
    let n = (ratio * by_distance.len() as f32 - 1e-3).ceil() as usize;
    chosen.extend(by_distance.iter().take(n).map(|(_, row)| row));
    chosen.sort_unstable();
    chosen
}
