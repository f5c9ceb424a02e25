//! Why a model could not be loaded.

use std::path::PathBuf;

use lacuna_kernels::Int4Error;
use lacuna_kernels::cuda::GpuError;
use lacuna_kernels::isa::IsaError;

use crate::gguf::GgufError;
use crate::hyper::ConfigError;

/// Why a model could not be loaded or packed. Every variant names the file or tensor.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} holds no model: expected config.json with model.safetensors or model.safetensors.index.json, or one *.lacuna.safetensors or *.gguf file",
        path = path.display()
    )]
    NotAModel { path: PathBuf },
    #[error("{file}: not the JSON that is expected there ({source}): download it again")]
    Json { file: String, source: serde_json::Error },
    #[error("{file}: {source}")]
    Config { file: String, source: ConfigError },
    #[error("{file} {source}")]
    Gguf { file: String, source: GgufError },
    #[error("{file}: its metadata, read as a config.json: {source}")]
    GgufConfig { file: String, source: ConfigError },
    #[error("{file}: not a valid safetensors file ({source}); it may be truncated: fetch it again")]
    Container { file: String, source: safetensors::SafeTensorError },
    #[error(
        "{file}: a safetensors file, but not a packed model (no {expected:?} in its metadata); load its directory instead"
    )]
    NotPacked { file: String, expected: &'static str },
    #[error(
        "{file}: format {got:?} is not supported by this version (expected {expected:?}); pack the model again"
    )]
    PackedFormat { file: String, expected: &'static str, got: String },
    #[error(
        "{file}: shard name {name:?} is not a plain file name in the model's directory: download the index again"
    )]
    ShardName { file: String, name: String },
    #[error(
        "{file}: {n} shards are more than the {limit} that are accepted: download the index again"
    )]
    TooManyShards { file: String, n: usize, limit: usize },
    #[error("{file}: tensor {name:?} is missing: download the model again, all of its files")]
    MissingTensor { file: String, name: String },
    #[error(
        "{file}: tensor {name:?} does not belong to this kind of model: check model_type in config.json"
    )]
    UnexpectedTensor { file: String, name: String },
    #[error("{file}: tensor {name:?} appears in more than one shard: download the model again")]
    DuplicateTensor { file: String, name: String },
    #[error(
        "{file}: tensor {name:?} has shape {got:?}, the config asks for {expected:?}: config.json and weights belong to different models"
    )]
    Shape { file: String, name: String, expected: Vec<usize>, got: Vec<usize> },
    #[error("{file}: tensor {name:?} has type {got}, expected {expected}: convert the weights")]
    Dtype { file: String, name: String, expected: &'static str, got: String },
    #[error(
        "{file}: tensor {name:?} holds a NaN or an infinity at element {index}: the file is damaged, download it again"
    )]
    NotFinite { file: String, name: String, index: usize },
    #[error("{file}: tensor {name:?}: {source}")]
    Int4 { file: String, name: String, source: Int4Error },
    #[error(transparent)]
    Isa(#[from] IsaError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error("{what} is not computed on a GPU by this version: set model.device = \"cpu\"")]
    NotOnGpu { what: String },
}
