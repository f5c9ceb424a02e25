//! Snapshots: a checkpoint's weights alone, as f16, small enough to be kept in a repository.
//!
//! A run goes on from one with `--init-from` (fresh optimizer); Hugging Face tools read it as a model.

use std::fs;
use std::path::Path;

use half::f16;
use safetensors::tensor::{Dtype, TensorView};

use super::checkpoint::{locate, read_shape, read_weights};
use super::error::TrainError;
use super::shape::Layout;

/// Writes `config.json`, `tokenizer.json` and `model.safetensors` (f16, rounded to nearest) of a checkpoint into the folder `out`, which is made if it
/// does not exist. Each file is written beside its place and renamed.
pub fn snapshot(checkpoint: &Path, out: &Path) -> Result<(), TrainError> {
    let dir = locate(checkpoint)?;
    let shape = read_shape(&dir)?;
    let parameters = read_weights(&dir, &shape)?;
    let path = out.join("model.safetensors");
    let bytes: Vec<u8> = parameters.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let mut views = Vec::new();
    for t in &Layout::new(&shape).tensors {
        let dims = if t.rows == 1 { vec![t.cols] } else { vec![t.rows, t.cols] };
        let view = TensorView::new(Dtype::F16, dims, &bytes[2 * t.range.start..2 * t.range.end])
            .map_err(|e| TrainError::malformed(&path, e.to_string()))?;
        views.push((t.name.clone(), view));
    }
    let file = safetensors::serialize(views, None).map_err(|e| TrainError::malformed(&path, e.to_string()))?;
    let config = serde_json::to_vec_pretty(&shape.to_config_json()).map_err(|e| TrainError::Config(e.to_string()))?;
    let tokenizer = dir.join("tokenizer.json");
    let tokenizer = fs::read(&tokenizer).map_err(TrainError::io("read", &tokenizer))?;
    fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
    for (name, bytes) in [("config.json", config), ("tokenizer.json", tokenizer), ("model.safetensors", file)] {
        let (unfinished, path) = (out.join(format!("{name}.unfinished")), out.join(name));
        fs::write(&unfinished, bytes).map_err(TrainError::io("write", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(TrainError::io("rename", &unfinished))?;
    }
    Ok(())
}
