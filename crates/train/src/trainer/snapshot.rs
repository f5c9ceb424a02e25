//! Snapshots: a checkpoint's weights alone, as f16, or its adapters alone, small enough to be kept
//! in a repository.
//!
//! A run goes on from one with `--init-from` (fresh optimizer), from adapters with `--adapters`
//! besides; Hugging Face tools read either.

use std::fs;
use std::path::Path;

use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::checkpoint::{ADAPTER, load, locate, read_adapter, read_shape, read_weights};
use super::error::TrainError;
use super::run::weights;
use super::shape::{Layout, Shape, Tensor};
use super::shards::{read_bounded, write_whole};
use super::weights::{AdapterConfig, Weights};

/// Writes `config.json`, `tokenizer.json` and `model.safetensors` (f16, rounded to nearest) of a
/// checkpoint into the folder `out`, which is made if it does not exist. Each file is written
/// beside its place and renamed.
pub fn snapshot(checkpoint: &Path, out: &Path) -> Result<(), TrainError> {
    let dir = locate(checkpoint)?;
    let shape = read_shape(&dir)?;
    let parameters = read_weights(&dir, &shape)?;
    let tokenizer = dir.join("tokenizer.json");
    let tokenizer = fs::read(&tokenizer).map_err(TrainError::io("read", &tokenizer))?;
    write_model(out, &shape, &parameters, &tokenizer)
}

/// What a folder of adapters says about itself.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    shape: Shape,
    adapter: AdapterConfig,
    frozen_layers: usize,
    /// Of the run when they were written.
    step: u64,
    tokens: u64,
    /// SHA-256 of the frozen parameters under them, as f32.
    base: String,
}

const TOLD: &str = "adapters.json";

/// Writes the adapters of a checkpoint (f16), PEFT's description of them and `adapters.json` into
/// the folder `out`.
///
/// Errors: a checkpoint without adapters; reading and writing.
pub fn snapshot_adapters(checkpoint: &Path, out: &Path) -> Result<(), TrainError> {
    let saved = load(checkpoint)?;
    let (Some(adapter), Some(values)) = (saved.config.adapter.clone(), &saved.adapter) else {
        return Err(TrainError::Config(format!(
            "{} has no adapters: leave --adapters out",
            checkpoint.display()
        )));
    };
    let base = fingerprint(&saved.base);
    let config = serde_json::to_vec_pretty(&adapter.to_json())
        .map_err(|e| TrainError::Config(e.to_string()))?;
    let weights = weights(&Layout::new(&saved.config.shape), saved.base, &saved.config);
    let file = f16_file(weights.tensors(), values, &out.join(ADAPTER))?;
    let (frozen_layers, step, tokens) =
        (saved.config.frozen_layers, saved.state.step, saved.state.tokens);
    let told = Told { shape: saved.config.shape, adapter, frozen_layers, step, tokens, base };
    let told = serde_json::to_vec_pretty(&told).map_err(|e| TrainError::Config(e.to_string()))?;
    put(out, &[(ADAPTER, &file), ("adapter_config.json", &config), (TOLD, &told)])
}

/// The adapters and frozen layers that a folder of [`snapshot_adapters`] was trained with.
pub fn adapters_of(dir: &Path) -> Result<(Option<AdapterConfig>, usize), TrainError> {
    let told = told(dir)?;
    Ok((Some(told.adapter), told.frozen_layers))
}

/// The trained values of such a folder, which must fit `weights` over the same base.
pub(crate) fn values_of(
    dir: &Path,
    shape: &Shape,
    weights: &dyn Weights,
) -> Result<Vec<f32>, TrainError> {
    let told = told(dir)?;
    let path = dir.join(TOLD);
    if told.shape != *shape {
        return Err(TrainError::malformed(
            &path,
            "its adapters are of a model of other sizes: import and trim the base as it was",
        ));
    }
    if weights.base().map(fingerprint).is_none_or(|found| found != told.base) {
        return Err(TrainError::malformed(
            &path,
            "its adapters were trained on other weights: import and trim the base as it was",
        ));
    }
    read_adapter(dir, weights)
}

fn told(dir: &Path) -> Result<Told, TrainError> {
    let path = dir.join(TOLD);
    serde_json::from_slice(&read_bounded(&path, 1 << 20)?)
        .map_err(|e| TrainError::malformed(&path, format!("tells no adapters: {e}")))
}

fn fingerprint(parameters: &[f32]) -> String {
    let mut hash = Sha256::new();
    parameters.iter().for_each(|x| hash.update(x.to_le_bytes()));
    hex::encode(hash.finalize())
}

/// Writes a model as [`snapshot`] does.
///
/// Panics: if the parameters do not fit the shape.
pub fn write_model(
    out: &Path,
    shape: &Shape,
    parameters: &[f32],
    tokenizer: &[u8],
) -> Result<(), TrainError> {
    let file = f16_file(&Layout::new(shape).tensors, parameters, &out.join("model.safetensors"))?;
    let config = serde_json::to_vec_pretty(&shape.to_config_json())
        .map_err(|e| TrainError::Config(e.to_string()))?;
    put(
        out,
        &[("config.json", &config), ("tokenizer.json", tokenizer), ("model.safetensors", &file)],
    )
}

fn f16_file(tensors: &[Tensor], values: &[f32], path: &Path) -> Result<Vec<u8>, TrainError> {
    let bytes: Vec<u8> = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let mut views = Vec::new();
    for t in tensors {
        let dims = if t.rows == 1 { vec![t.cols] } else { vec![t.rows, t.cols] };
        let view = TensorView::new(Dtype::F16, dims, &bytes[2 * t.range.start..2 * t.range.end])
            .map_err(|e| TrainError::malformed(path, e.to_string()))?;
        views.push((t.name.clone(), view));
    }
    safetensors::serialize(views, None).map_err(|e| TrainError::malformed(path, e.to_string()))
}

/// Each file as a whole.
fn put(out: &Path, files: &[(&str, &[u8])]) -> Result<(), TrainError> {
    fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
    for (name, bytes) in files {
        write_whole(&out.join(name), bytes)?;
    }
    Ok(())
}
