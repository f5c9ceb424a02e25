//! Checkpoints: a directory that Hugging Face tools read as a model, with what is needed to go on
//! exactly.
//!
//! `step-000120/` holds `config.json`, `model.safetensors` (f32), `tokenizer.json`,
//! `optimizer.safetensors` and `state.json`; of a run with adapters `base.safetensors` and PEFT's
//! two adapter files instead of the model ([`read_weights`] merges). It is written under a
//! temporary name and renamed; then the file `latest` is replaced. A crash at any point leaves the
//! last complete checkpoint in place.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::config::RunConfig;
use super::error::TrainError;
use super::optimizer::{Optimizer, compact};
use super::run::weights;
use super::shape::{Layout, Shape, Tensor};
use super::shards::{read_bounded, write_whole};
use super::weights::Weights;

/// What a run knows besides weights and moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps taken.
    pub step: u64,
    /// Position in the row order.
    pub row: u64,
    /// Positions trained on, all together.
    pub tokens: u64,
    /// Seconds spent, all sessions of the run together.
    pub seconds: f64,
    /// Running mean of the training loss (nats a token), none before the first step.
    pub loss_average: Option<f64>,
    /// Data of this run before the present shards, oldest first.
    #[serde(default)]
    pub earlier_shards: Vec<EarlierShards>,
}

/// Data that a run was on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlierShards {
    /// Fingerprint of the shards.
    pub shards: String,
    /// The last step that took them.
    pub until_step: u64,
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    #[serde(flatten)]
    state: State,
    shards: String,
    config: RunConfig,
}

/// A checkpoint in memory.
pub(crate) struct Checkpoint {
    pub state: State,
    /// Fingerprint of the shards.
    pub shards: String,
    pub config: RunConfig,
    /// The parameters; under adapters, the frozen ones.
    pub base: Vec<f32>,
    /// The trained values of adapters.
    pub adapter: Option<Vec<f32>>,
    pub optimizer: Optimizer,
    pub tokenizer: Vec<u8>,
}

/// What [`save`] writes.
pub(crate) struct Saved<'a> {
    pub state: &'a State,
    pub shards: &'a str,
    pub config: &'a RunConfig,
    pub layout: &'a Layout,
    pub weights: &'a dyn Weights,
    pub optimizer: &'a Optimizer,
    pub tokenizer: &'a [u8],
}

const LATEST: &str = "latest";
const TEMPORARY: &str = ".unfinished";
const MODEL: &str = "model.safetensors";
/// Frozen parameters under adapters: not named as a model, which they are not without [`ADAPTER`].
const BASE: &str = "base.safetensors";
pub(crate) const ADAPTER: &str = "adapter_model.safetensors";

/// Writes a checkpoint under `dir` and removes older ones beyond the newest `keep`. Returns its
/// path.
pub(crate) fn save(dir: &Path, saved: &Saved<'_>, keep: usize) -> Result<PathBuf, TrainError> {
    let name = format!("step-{:06}", saved.state.step);
    let (temporary, path) = (dir.join(TEMPORARY), dir.join(&name));
    remove(&temporary)?;
    fs::create_dir_all(&temporary).map_err(TrainError::io("create", &temporary))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = temporary.join(name);
        fs::write(&path, bytes).map_err(TrainError::io("write", &path))
    };
    let config = serde_json::to_vec_pretty(&saved.config.shape.to_config_json())
        .map_err(|e| TrainError::Config(e.to_string()))?;
    write("config.json", &config)?;
    write("tokenizer.json", saved.tokenizer)?;
    let (weights, whole) = (saved.weights, &saved.layout.tensors);
    match (&saved.config.adapter, weights.base()) {
        (Some(adapter), Some(base)) => {
            write_tensors(&temporary.join(BASE), whole, &[("", base)])?;
            write_tensors(&temporary.join(ADAPTER), weights.tensors(), &[("", weights.values())])?;
            let config = serde_json::to_vec_pretty(&adapter.to_json())
                .map_err(|e| TrainError::Config(e.to_string()))?;
            write("adapter_config.json", &config)?;
        }
        _ => write_tensors(&temporary.join(MODEL), whole, &[("", weights.operand())])?,
    }
    let Optimizer { m, v, t } = saved.optimizer;
    debug_assert_eq!(*t, saved.state.step);
    write_tensors(
        &temporary.join("optimizer.safetensors"),
        &compact(weights.tensors()),
        &[("m.", m), ("v.", v)],
    )?;
    let state = StateFile {
        state: saved.state.clone(),
        shards: saved.shards.to_owned(),
        config: saved.config.clone(),
    };
    write(
        "state.json",
        &serde_json::to_vec_pretty(&state).map_err(|e| TrainError::Config(e.to_string()))?,
    )?;

    remove(&path)?;
    fs::rename(&temporary, &path).map_err(TrainError::io("rename", &temporary))?;
    write_whole(&dir.join(LATEST), format!("{name}\n").as_bytes())?;
    prune(dir, saved.state.step, keep)?;
    Ok(path)
}

fn remove(dir: &Path) -> Result<(), TrainError> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(TrainError::io("remove", dir))
    } else {
        Ok(())
    }
}

/// Removes the checkpoints before `step` except the newest `keep − 1`; later ones (of a run taken
/// up earlier) stay.
fn prune(dir: &Path, step: u64, keep: usize) -> Result<(), TrainError> {
    let mut older = Vec::new();
    for entry in fs::read_dir(dir).map_err(TrainError::io("list", dir))?.flatten() {
        let number =
            entry.file_name().to_str().and_then(|n| n.strip_prefix("step-")?.parse::<u64>().ok());
        if let Some(n) = number.filter(|&n| n < step) {
            older.push((n, entry.path()));
        }
    }
    older.sort();
    let drop = older.len().saturating_sub(keep.saturating_sub(1));
    older[..drop].iter().try_for_each(|(_, path)| remove(path))
}

/// The checkpoint that `dir` names: itself, or what its file `latest` points to.
pub fn locate(dir: &Path) -> Result<PathBuf, TrainError> {
    let latest = dir.join(LATEST);
    if !latest.is_file() {
        return Ok(dir.to_owned());
    }
    let bytes = read_bounded(&latest, 256)?;
    let name = String::from_utf8_lossy(&bytes).trim().to_owned();
    if name.strip_prefix("step-").and_then(|n| n.parse::<u64>().ok()).is_none() {
        return Err(TrainError::malformed(
            &latest,
            "does not name a checkpoint: name one with --resume yourself",
        ));
    }
    Ok(dir.join(name))
}

/// Reads a whole checkpoint.
pub(crate) fn load(dir: &Path) -> Result<Checkpoint, TrainError> {
    let dir = locate(dir)?;
    let shape = read_shape(&dir)?;
    let StateFile { state, shards, config } = read_state(&dir, &shape)?;
    let layout = Layout::new(&shape);
    let base = read_whole(&dir.join(if config.adapter.is_some() { BASE } else { MODEL }), &layout)?;
    let weights = weights(&layout, base.clone(), &config);
    let adapter = config.adapter.as_ref().map(|_| read_adapter(&dir, &*weights)).transpose()?;
    let moments = compact(weights.tensors());
    let path = dir.join("optimizer.safetensors");
    let mut optimizer = Optimizer::new(moments.last().map_or(0, |t| t.range.end));
    optimizer.t = state.step;
    let bytes = read_bounded(&path, tensor_limit(optimizer.m.len(), 2))?;
    read_tensors(&path, &bytes, &moments, "m.", &mut optimizer.m)?;
    read_tensors(&path, &bytes, &moments, "v.", &mut optimizer.v)?;
    let tokenizer = read_bounded(&dir.join("tokenizer.json"), 1 << 28)?;
    Ok(Checkpoint { state, shards, config, base, adapter, optimizer, tokenizer })
}

/// The `state.json` of a checkpoint whose model has this shape.
fn read_state(dir: &Path, shape: &Shape) -> Result<StateFile, TrainError> {
    let path = dir.join("state.json");
    let file: StateFile = serde_json::from_slice(&read_bounded(&path, 1 << 20)?)
        .map_err(|e| TrainError::malformed(&path, format!("no checkpoint state: {e}")))?;
    if *shape != file.config.shape {
        return Err(TrainError::malformed(
            &path,
            "its model sizes are not those of config.json beside it",
        ));
    }
    file.config.check()?;
    Ok(file)
}

/// The sizes in a model directory's `config.json`.
pub fn read_shape(dir: &Path) -> Result<Shape, TrainError> {
    let path = dir.join("config.json");
    Shape::from_config_json(&read_bounded(&path, 1 << 20)?, &path)
}

/// The weights of a model directory (`model.safetensors`: f32, f16 or bf16), which must have the
/// given shape, or of a checkpoint with adapters, merged.
pub fn read_weights(dir: &Path, shape: &Shape) -> Result<Vec<f32>, TrainError> {
    let layout = Layout::new(shape);
    if !dir.join(BASE).is_file() {
        return read_whole(&dir.join(MODEL), &layout);
    }
    let StateFile { config, .. } = read_state(dir, shape)?;
    let mut weights = weights(&layout, read_whole(&dir.join(BASE), &layout)?, &config);
    let values = read_adapter(dir, &*weights)?;
    weights.set_values(values);
    Ok(weights.operand().to_vec())
}

fn read_whole(path: &Path, layout: &Layout) -> Result<Vec<f32>, TrainError> {
    let n = layout.n_parameters();
    let bytes = read_bounded(path, tensor_limit(n, 1))?;
    // The file accounts for the memory, not what config.json says: two bytes are the least that a
    // number takes.
    if bytes.len() / 2 < n {
        return Err(TrainError::malformed(
            path,
            format!("is too small for the {n} parameters of config.json"),
        ));
    }
    let mut p = vec![0.0; n];
    read_tensors(path, &bytes, &layout.tensors, "", &mut p)?;
    Ok(p)
}

pub(crate) fn read_adapter(dir: &Path, weights: &dyn Weights) -> Result<Vec<f32>, TrainError> {
    let path = dir.join(ADAPTER);
    let mut values = vec![0.0; weights.values().len()];
    read_tensors(
        &path,
        &read_bounded(&path, tensor_limit(values.len(), 1))?,
        weights.tensors(),
        "",
        &mut values,
    )?;
    Ok(values)
}

/// Most bytes that a file of `copies` of `n` numbers can sensibly have.
fn tensor_limit(n: usize, copies: u64) -> u64 {
    copies * n as u64 * 8 + (1 << 24)
}

fn write_tensors(
    path: &Path,
    tensors: &[Tensor],
    vectors: &[(&str, &[f32])],
) -> Result<(), TrainError> {
    let bytes: Vec<Vec<u8>> =
        vectors.iter().map(|(_, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let mut views = Vec::new();
    for ((prefix, _), bytes) in vectors.iter().zip(&bytes) {
        for t in tensors {
            let shape = if t.rows == 1 { vec![t.cols] } else { vec![t.rows, t.cols] };
            let view =
                TensorView::new(Dtype::F32, shape, &bytes[4 * t.range.start..4 * t.range.end])
                    .map_err(|e| TrainError::malformed(path, e.to_string()))?;
            views.push((format!("{prefix}{}", t.name), view));
        }
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| TrainError::malformed(path, e.to_string()))?;
    fs::write(path, bytes).map_err(TrainError::io("write", path))
}

fn read_tensors(
    path: &Path,
    bytes: &[u8],
    wanted: &[Tensor],
    prefix: &str,
    out: &mut [f32],
) -> Result<(), TrainError> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|e| TrainError::malformed(path, format!("no safetensors file: {e}")))?;
    for t in wanted {
        let name = format!("{prefix}{}", t.name);
        let view = tensors
            .tensor(&name)
            .map_err(|_| TrainError::malformed(path, format!("has no tensor `{name}`")))?;
        let fits = view.shape() == [t.rows, t.cols] || (t.rows == 1 && view.shape() == [t.cols]);
        if !fits {
            let what = format!(
                "`{name}` is {:?}, but the model needs {} × {}",
                view.shape(),
                t.rows,
                t.cols
            );
            return Err(TrainError::malformed(path, what));
        }
        let (out, data) = (&mut out[t.range.clone()], view.data());
        match view.dtype() {
            Dtype::F32 => out
                .iter_mut()
                .zip(data.as_chunks().0)
                .for_each(|(x, b)| *x = f32::from_le_bytes(*b)),
            Dtype::F16 => out
                .iter_mut()
                .zip(data.as_chunks().0)
                .for_each(|(x, b)| *x = f16::from_le_bytes(*b).to_f32()),
            Dtype::BF16 => out
                .iter_mut()
                .zip(data.as_chunks().0)
                .for_each(|(x, b)| *x = bf16::from_le_bytes(*b).to_f32()),
            other => {
                let what = format!("`{name}` has dtype {other:?}: f32, f16 and bf16 can be read");
                return Err(TrainError::malformed(path, what));
            }
        }
        if !out.iter().all(|x| x.is_finite()) {
            return Err(TrainError::malformed(
                path,
                format!("`{name}` holds a value that is not finite"),
            ));
        }
    }
    Ok(())
}
