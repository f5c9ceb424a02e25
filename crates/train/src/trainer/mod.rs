//! The trainer of Llama-style decoders: token shards in, checkpoints out.
//!
//! Start with [`Trainer`] (`run.rs`). Below it: `shards.rs` and `batch.rs` (data), `shape.rs`
//! (sizes, layout of the parameters), `model.rs` and `ops/` (forward and backward),
//! `weights/` (what is trained), `optimizer.rs`, `schedule.rs`, `checkpoint.rs`. Does not own: how
//! shards are made, and the kernels of the products (`lacuna_kernels::gemm`). No autodiff: one
//! architecture, whose derivative is written out and checked against finite differences.

mod batch;
mod checkpoint;
mod config;
mod error;
mod losses;
mod model;
mod ops;
mod optimizer;
mod random;
mod run;
mod schedule;
mod shape;
mod shards;
mod snapshot;
#[cfg(test)]
mod tests;
mod weights;

pub use batch::Batch;
pub use checkpoint::{State, locate, read_shape, read_weights};
pub use config::RunConfig;
pub use error::TrainError;
pub use lacuna_kernels::gemm::{Row, UnknownRow};
pub use losses::Losses;
pub use model::Model;
pub use optimizer::{Optimizer, OptimizerConfig, Rule};
pub use run::{Outcome, Progress, StepReport, Trainer, ValidationReport};
pub use schedule::{DECAY_SHARE, FLOOR, Schedule, progress};
pub use shape::{Kind, Layout, Shape, Tensor};
pub use shards::{Rows, Shards, write_shards};
pub use snapshot::{adapters_of, snapshot, snapshot_adapters, write_model};
pub use weights::{Adapter, AdapterConfig, Full, Weights};
