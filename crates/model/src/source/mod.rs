//! Where weights come from: named tensors, each checked before anything is allocated for it.

pub(crate) mod gguf;
pub(crate) mod map;
pub(crate) mod packed;
pub(crate) mod safetensors;

use std::path::{Path, PathBuf};

use half::f16;

use crate::error::LoadError;
use crate::family::read_spec;
use crate::gguf::Value;
use crate::gguf::read::begins_gguf;
use crate::role::TensorSpec;
use crate::spec::ModelSpec;
pub use gguf::GgufWeights;
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
    /// Hugging Face layout, with its checked config and the text of that.
    Directory(ModelSpec, String),
    /// One packed file.
    Packed,
    /// A GGUF file, or all of its parts.
    Gguf,
}

/// Opens a directory in Hugging Face layout, a directory with one packed or GGUF file and no other
/// weights, or such a file.
///
/// Errors: see [`LoadError`].
pub fn open(path: &Path) -> Result<ModelFiles, LoadError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let single = if metadata.is_dir() { single_file(path)? } else { Some(path.to_owned()) };
    let Some(file) = single else {
        let (file, text) = read_config_text(path)?;
        let spec =
            read_spec(text.as_bytes()).map_err(|source| LoadError::Config { file, source })?;
        let containers = safetensors::containers(path)?;
        return Ok(ModelFiles { kind: Kind::Directory(spec, text), containers });
    };
    // Ollama's files have no ending: what they are stands in their first bytes.
    let containers = vec![named(&file)?];
    if !begins_gguf(&containers[0].1) {
        return Ok(ModelFiles { kind: Kind::Packed, containers });
    }
    Ok(ModelFiles { kind: Kind::Gguf, containers: gguf::containers(&file)? })
}

/// Whether `path` is a GGUF file, or a directory of one and no other weights. What cannot be read
/// is none.
pub fn is_gguf(path: &Path) -> bool {
    use std::io::Read;
    let file = if path.is_dir() { single_file(path).ok().flatten() } else { Some(path.to_owned()) };
    let mut start = [0; 4];
    let opened = file.filter(|file| file.is_file()).and_then(|file| std::fs::File::open(file).ok());
    opened.is_some_and(|mut file| file.read_exact(&mut start).is_ok() && begins_gguf(&start))
}

/// The one file with everything in it that a directory without other weights holds.
fn single_file(dir: &Path) -> Result<Option<PathBuf>, LoadError> {
    if dir.join("model.safetensors").is_file() || dir.join("model.safetensors.index.json").is_file()
    {
        return Ok(None);
    }
    Ok(packed::find(dir)?.or(gguf::find(dir)?))
}

impl ModelFiles {
    /// What the model is, and its weights.
    ///
    /// Errors: see [`LoadError`].
    pub fn source(&self) -> Result<(ModelSpec, Box<dyn WeightSource + '_>), LoadError> {
        if let Kind::Directory(spec, _) = &self.kind {
            return Ok((spec.clone(), Box::new(Checkpoint::open(&self.containers)?)));
        }
        if let Kind::Gguf = self.kind {
            let (spec, weights) = GgufWeights::open(&self.containers)?;
            return Ok((spec, Box::new(weights)));
        }
        let (file, bytes) = &self.containers[0];
        let (spec, packed) = Packed::of_bytes(file, bytes)?;
        Ok((spec, Box::new(packed)))
    }

    /// The text of `config.json`, or what that would be for a GGUF file; `None` for our packed
    /// file, which holds its own.
    ///
    /// Errors: a damaged file.
    pub(crate) fn config_text(&self) -> Result<Option<String>, LoadError> {
        match &self.kind {
            Kind::Directory(_, text) => Ok(Some(text.clone())),
            Kind::Gguf => gguf::config_text(&self.containers).map(Some),
            Kind::Packed => Ok(None),
        }
    }

    /// What a GGUF file says of its tokenizer: entries `tokenizer.ggml.KEY` by KEY; `None` for
    /// other models. The file need not hold weights.
    ///
    /// Errors: a damaged file.
    pub fn tokenizer(&self) -> Result<Option<Vec<(String, Value)>>, LoadError> {
        match self.kind {
            Kind::Gguf => gguf::tokenizer(&self.containers).map(Some),
            _ => Ok(None),
        }
    }
}

fn named(path: &Path) -> Result<(String, Bytes), LoadError> {
    Ok((path.display().to_string(), map::map(path)?))
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
