//! All parameters are trained, but for those of frozen lower layers.

use lacuna_kernels::gemm::Row;
use lacuna_model::Role;

use super::Weights;
use crate::trainer::optimizer::{Optimizer, OptimizerConfig};
use crate::trainer::shape::{Layout, Tensor};

/// The parameters themselves.
pub struct Full {
    parameters: Vec<f32>,
    tensors: Vec<Tensor>,
}

impl Full {
    /// Trains `parameters`, of which the embedding and the lowest `frozen_layers` stay as they are
    /// (nothing, if that is 0).
    ///
    /// Panics: if the parameters do not fit the layout.
    pub fn new(layout: &Layout, parameters: Vec<f32>, frozen_layers: usize) -> Full {
        assert_eq!(parameters.len(), layout.n_parameters(), "parameters do not fit the model");
        let trained = |t: &&Tensor| {
            frozen_layers == 0
                || t.layer.is_none_or(|l| l >= frozen_layers) && t.role != Role::Embedding
        };
        Full { parameters, tensors: layout.tensors.iter().filter(trained).cloned().collect() }
    }
}

impl Weights for Full {
    fn operand(&self) -> &[f32] {
        &self.parameters
    }

    fn base(&self) -> Option<&[f32]> {
        None
    }

    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn values(&self) -> &[f32] {
        &self.parameters
    }

    fn set_values(&mut self, values: Vec<f32>) {
        assert_eq!(values.len(), self.parameters.len(), "values do not fit the model");
        self.parameters = values;
    }

    fn step(
        &mut self,
        gradient: &[f32],
        optimizer: &mut Optimizer,
        config: &OptimizerConfig,
        factor: f64,
        row: Row,
    ) -> f64 {
        optimizer.step(&self.tensors, &mut self.parameters, gradient, config, factor, row)
    }
}
