//! Where weights come from: named tensors, each checked before anything is allocated for it.

pub(crate) mod map;
pub(crate) mod packed;
pub(crate) mod safetensors;

use std::path::Path;

use half::f16;

use crate::error::LoadError;
use crate::family::read_spec;
use crate::role::TensorSpec;
use crate::spec::ModelSpec;
use map::Bytes;
pub use packed::Packed;
pub use safetensors::Checkpoint;

/// Hands out the tensors of a model, each once.
pub trait WeightSource {
    /// The file or folder, for messages.
    fn file(&self) -> &str;

    /// Errors: there is no such tensor (any more).
    fn expect(&self, tensor: &TensorSpec) -> Result<(), LoadError>;

    /// Appends the values of a tensor, row by row.
    ///
    /// Errors: it is missing, has another shape or type, or a value is not finite.
    fn append_values(&mut self, tensor: &TensorSpec, out: &mut Vec<f32>) -> Result<(), LoadError>;

    /// Appends a matrix as the INT4 that the source holds, group 32; `false`, and nothing is taken,
    /// where it holds other numbers.
    ///
    /// Errors: it is missing, or has another shape or type.
    fn append_int4(
        &mut self,
        _matrix: &TensorSpec,
        _out: &mut Int4Parts,
    ) -> Result<bool, LoadError> {
        Ok(false)
    }

    /// Everything that a model needs was taken. Errors: something is left that does not belong to
    /// `spec`.
    fn finish(&mut self, spec: &ModelSpec) -> Result<(), LoadError>;
}

/// Rows of INT4 as files hold them.
#[derive(Debug, Default)]
pub struct Int4Parts {
    /// `[n, ⌈k/2⌉]`, low nibble = even column.
    pub nibbles: Vec<u8>,
    /// `[n, ⌈k/32⌉]`.
    pub scales: Vec<f16>,
}

/// The files of a model, mapped. Nothing refers to them once a model is loaded.
pub struct ModelFiles {
    kind: Kind,
    /// Names for messages, and bytes.
    containers: Vec<(String, Bytes)>,
}

enum Kind {
    /// Hugging Face layout, with its checked config.
    Directory(ModelSpec),
    /// One packed file.
    Packed,
}

/// Opens a directory in Hugging Face layout, a directory with one packed file and no other weights,
/// or a packed file.
///
/// Errors: see [`LoadError`].
pub fn open(path: &Path) -> Result<ModelFiles, LoadError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let packed = if metadata.is_dir() { packed::find(path)? } else { Some(path.to_owned()) };
    match packed {
        Some(file) => Ok(ModelFiles { kind: Kind::Packed, containers: vec![named(&file)?] }),
        None => Ok(ModelFiles {
            kind: Kind::Directory(read_config(path)?),
            containers: safetensors::containers(path)?,
        }),
    }
}

impl ModelFiles {
    /// What the model is, and its weights.
    ///
    /// Errors: see [`LoadError`].
    pub fn source(&self) -> Result<(ModelSpec, Box<dyn WeightSource + '_>), LoadError> {
        if let Kind::Directory(spec) = &self.kind {
            return Ok((spec.clone(), Box::new(Checkpoint::open(&self.containers)?)));
        }
        let (file, bytes) = &self.containers[0];
        let (spec, packed) = Packed::of_bytes(file, bytes)?;
        Ok((spec, Box::new(packed)))
    }
}

fn named(path: &Path) -> Result<(String, Bytes), LoadError> {
    Ok((path.display().to_string(), map::map(path)?))
}

/// `config.json` of a directory.
fn read_config(dir: &Path) -> Result<ModelSpec, LoadError> {
    let (file, text) = read_config_text(dir)?;
    read_spec(text.as_bytes()).map_err(|source| LoadError::Config { file, source })
}

/// Name and text of `config.json`, at most 1 MB of it.
pub(crate) fn read_config_text(dir: &Path) -> Result<(String, String), LoadError> {
    use std::io::Read;
    let path = dir.join("config.json");
    if !path.is_file() {
        return Err(LoadError::NotAModel { path: dir.to_owned() });
    }
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(1 << 20).read_to_string(&mut text))
        .map_err(|source| LoadError::Read { path: path.clone(), source })?;
    Ok((path.display().to_string(), text))
}
