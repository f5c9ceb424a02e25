//! `run.json`: everything that must be the same for a run to come out the same.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RunError;
use crate::generate::ContextMode;

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub code: Code,
    pub model: ModelId,
    pub sets: Vec<SetFile>,
    pub config: Config,
}

/// Which program ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Code {
    pub version: String,
    /// Of the binary: two builds of one version may differ.
    pub binary_sha256: String,
    /// Kernel row: other instruction sets round differently.
    pub isa: String,
}

/// Which model answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelId {
    /// `embedded`, a path, or an endpoint's address.
    pub name: String,
    /// Of weights and tokenizer, or empty: nobody knows what runs behind an endpoint.
    pub sha256: String,
}

/// A file of examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetFile {
    pub file: String,
    pub sha256: String,
}

/// How it is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Ways of completing, baselines included.
    pub modes: Vec<String>,
    pub limit: Option<u64>,
    pub seed: u64,
    pub samples: usize,
    pub temperature: f32,
    pub context: ContextMode,
    pub order: String,
    pub heal: bool,
    pub prompt_tokens: usize,
    pub max_tokens: usize,
    pub line_tokens: usize,
    pub block_tokens: usize,
    pub min_confidence: f32,
    pub kv_dtype: String,
    /// Whether tests are run for pass@k, and with which Python.
    pub execution: Option<String>,
}

impl Manifest {
    pub(super) fn read(path: &Path) -> Result<Manifest, RunError> {
        let text = std::fs::read(path).map_err(|source| RunError::Io { path: path.to_owned(), source })?;
        serde_json::from_slice(&text).map_err(|source| RunError::Manifest { path: path.to_owned(), source })
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), RunError> {
        let io = |source| RunError::Io { path: path.to_owned(), source };
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| io(e.into()))?;
        text.push(b'\n');
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, text).map_err(io)?;
        std::fs::rename(&unfinished, path).map_err(io)
    }

    /// The first thing in which the two differ, by its name; `None` if they are the same run.
    pub fn difference(&self, other: &Manifest) -> Option<String> {
        let (a, b) = (serde_json::to_value(self).ok()?, serde_json::to_value(other).ok()?);
        for (area, value) in a.as_object()? {
            match (value.as_object(), b[area].as_object()) {
                (Some(fields), Some(others)) => {
                    if let Some(name) = fields.keys().find(|name| fields.get(*name) != others.get(*name)) {
                        return Some(format!("{area}.{name}"));
                    }
                }
                _ if *value != b[area] => return Some(area.clone()),
                _ => {}
            }
        }
        None
    }
}

/// SHA-256 of some bytes in hexadecimal.
pub fn sha256_of_parts(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file in hexadecimal, read in pieces.
pub fn sha256_of_file(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect());
        }
        hash.update(&buffer[..n]);
    }
}
