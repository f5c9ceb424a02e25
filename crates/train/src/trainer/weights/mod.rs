//! What a run trains, apart from what the model computes with: all parameters, or adapters over
//! frozen ones.

mod adapter;
mod full;

use lacuna_kernels::gemm::Row;

pub use adapter::{Adapter, AdapterConfig};
pub use full::Full;

use super::optimizer::{Optimizer, OptimizerConfig};
use super::shape::Tensor;

/// The parameters of a run.
pub trait Weights: Send + Sync {
    /// What the model computes with: a flat vector in the order of [`super::Layout`].
    fn operand(&self) -> &[f32];

    /// The frozen parameters under adapters; none where the operand itself is trained.
    fn base(&self) -> Option<&[f32]>;

    /// The trained tensors; their ranges are places in [`Weights::values`].
    fn tensors(&self) -> &[Tensor];

    /// The vector that the trained tensors lie in.
    fn values(&self) -> &[f32];

    /// Takes values of a checkpoint.
    ///
    /// Panics: if there are not as many.
    fn set_values(&mut self, values: Vec<f32>);

    /// One step of the optimizer, given the gradient of the operand; returns the norm of the
    /// trained tensors' gradient before clipping. If that is not finite, nothing is changed.
    fn step(
        &mut self,
        gradient: &[f32],
        optimizer: &mut Optimizer,
        config: &OptimizerConfig,
        factor: f64,
        row: Row,
    ) -> f64;
}

/// The parts of a flat vector that tensors in ascending order take.
///
/// Panics: if a range lies outside the vector or before the one ahead of it.
pub(crate) fn split<'a, 't>(
    tensors: impl IntoIterator<Item = &'t Tensor>,
    flat: &'a mut [f32],
) -> Vec<&'a mut [f32]> {
    let (mut rest, mut at) = (flat, 0);
    let mut parts = Vec::new();
    for tensor in tensors {
        let (_, from) = std::mem::take(&mut rest).split_at_mut(tensor.range.start - at);
        let (part, behind) = from.split_at_mut(tensor.range.len());
        parts.push(part);
        (rest, at) = (behind, tensor.range.end);
    }
    parts
}
