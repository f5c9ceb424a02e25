//! The weights of a GGUF file, or of one that is split into parts.
//!
//! Rows come in the order of Hugging Face files: where llama.cpp's converter interleaved those of
//! queries and keys, that is undone. Q4_0 is our INT4 but for the order of nibbles and is handed
//! out as it is; what else is quantised is decoded, and quantised again by whom it concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use half::f16;
use rayon::prelude::*;

use super::map::Bytes;
use super::{Int4Parts, WeightSource, named};
use crate::error::LoadError;
use crate::family::read_spec;
use crate::gguf::config::config;
use crate::gguf::read::{GgufError, Header, Tensor};
use crate::gguf::{Encoding, Value};
use crate::role::{Role, TensorSpec};
use crate::spec::ModelSpec;

/// Parts of one model that are accepted.
const MAX_PARTS: usize = 1024;
/// Values of a group of ours, and of a block of Q4_0.
const GROUP: usize = 32;

/// The files of the model that `path` is one file of, mapped, the first one first.
///
/// Errors: a part that is missing.
pub(super) fn containers(path: &Path) -> Result<Vec<(String, Bytes)>, LoadError> {
    let parts = match Part::of(path) {
        None => return Ok(vec![named(path)?]),
        Some(part) => part,
    };
    (1..=parts.count)
        .map(|no| {
            let place = parts.path(no);
            if place.is_file() {
                return named(&place);
            }
            let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let source = GgufError::MissingPart { no: parts.no, count: parts.count, name };
            Err(LoadError::Gguf { file: path.display().to_string(), source })
        })
        .collect()
}

/// `NAME-00002-of-00003.gguf`.
struct Part {
    /// Everything before `-00002`.
    stem: PathBuf,
    no: usize,
    count: usize,
}

impl Part {
    fn of(path: &Path) -> Option<Part> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, no) = rest.rsplit_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<usize>().ok()).flatten()
        };
        let (no, count) = (number(no)?, number(count)?);
        let known = (1..=MAX_PARTS).contains(&count) && (1..=count).contains(&no);
        known.then(|| Part { stem: path.with_file_name(stem), no, count })
    }

    fn path(&self, no: usize) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(format!("-{no:05}-of-{:05}.gguf", self.count));
        path.into()
    }
}

/// The one GGUF model of a directory: a file, or the first of its parts. `None`: there are none, or
/// several.
pub(super) fn find(dir: &Path) -> Result<Option<PathBuf>, LoadError> {
    let read = |source| LoadError::Read { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        let later = Part::of(&path).is_some_and(|part| part.no > 1);
        // A projector of images lies beside the model that it is for.
        let aside = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("mmproj"));
        if named && !later && !aside && path.is_file() {
            found.push(path);
        }
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// Hands out the tensors of GGUF files.
pub struct GgufWeights<'a> {
    /// Name for messages about the whole.
    file: &'a str,
    tensors: BTreeMap<&'a str, (&'a str, Tensor<'a>)>,
    /// By their names in the file. Matrices that are joined may be asked for twice: as INT4, and,
    /// where one of them is not, as values.
    taken: BTreeSet<String>,
    /// Head width, where rows of queries and keys lie interleaved.
    interleaved: Option<usize>,
}

/// The text of the `config.json` that such a model would have.
///
/// Errors: a file that is damaged or holds another kind of model.
pub(crate) fn config_text(containers: &[(String, Bytes)]) -> Result<String, LoadError> {
    let (file, bytes) = &containers[0];
    let gguf = |source| LoadError::Gguf { file: file.clone(), source };
    let mut header = Header::read(bytes).map_err(gguf)?;
    // The list of tensors says what the model has; the metadata stand in the first part.
    for (file, bytes) in &containers[1..] {
        let other =
            Header::read(bytes).map_err(|source| LoadError::Gguf { file: file.clone(), source })?;
        header.tensors.extend(other.tensors);
    }
    config(&header).map(|config| config.to_string()).map_err(gguf)
}

/// Entries `tokenizer.ggml.KEY` of the metadata, by KEY.
pub(crate) fn tokenizer(containers: &[(String, Bytes)]) -> Result<Vec<(String, Value)>, LoadError> {
    let (file, bytes) = &containers[0];
    Header::read(bytes)
        .and_then(|header| header.below("tokenizer.ggml."))
        .map_err(|source| LoadError::Gguf { file: file.clone(), source })
}

impl<'a> GgufWeights<'a> {
    /// What lies in the files of a model, the first part first.
    ///
    /// Errors: see [`LoadError`].
    pub(crate) fn open(
        containers: &'a [(String, Bytes)],
    ) -> Result<(ModelSpec, GgufWeights<'a>), LoadError> {
        let file = containers[0].0.as_str();
        let text = config_text(containers)?;
        let spec = read_spec(text.as_bytes())
            .map_err(|source| LoadError::GgufConfig { file: file.to_owned(), source })?;
        let mut tensors = BTreeMap::new();
        for (file, bytes) in containers {
            let gguf = |source| LoadError::Gguf { file: file.clone(), source };
            let header = Header::read(bytes).map_err(gguf)?;
            let count = header.size("split.count").map_err(gguf)?.unwrap_or(1);
            // A file of a part's name may be whole, and one part may be given alone by mistake.
            if count.max(1) != containers.len() as u64 {
                return Err(gguf(GgufError::Parts { got: count, expected: containers.len() }));
            }
            for (name, tensor) in header.tensors {
                if tensors.insert(name, (file.as_str(), tensor)).is_some() {
                    return Err(LoadError::DuplicateTensor {
                        file: file.clone(),
                        name: name.chars().take(60).collect(),
                    });
                }
            }
        }
        let interleaved = spec.family.interleaves_in_gguf.then_some(spec.attention().head_dim);
        Ok((spec, GgufWeights { file, tensors, taken: BTreeSet::new(), interleaved }))
    }

    /// Takes a tensor of the right shape.
    fn take(&mut self, tensor: &TensorSpec) -> Result<(&'a str, Tensor<'a>), LoadError> {
        let name = tensor.gguf_name();
        let Some((file, found)) = self.tensors.get(name.as_str()) else {
            return Err(LoadError::MissingTensor { file: self.file.to_owned(), name });
        };
        if found.shape != tensor.shape() {
            let (expected, got) = (tensor.shape(), found.shape.clone());
            return Err(LoadError::Shape { file: (*file).to_owned(), name, expected, got });
        }
        self.taken.insert(name);
        Ok((file, found.clone()))
    }

    /// Where row `row` of the model lies in the file.
    fn place(&self, tensor: &TensorSpec, row: usize) -> usize {
        match (self.interleaved, tensor.role) {
            // Neighbours there are half a head apart here.
            (Some(head), Role::Query | Role::Key) => {
                let (first, at) = (row / head * head, row % head);
                if at < head / 2 { first + 2 * at } else { first + 2 * (at - head / 2) + 1 }
            }
            _ => row,
        }
    }
}

impl WeightSource for GgufWeights<'_> {
    fn file(&self) -> &str {
        self.file
    }

    fn expect(&self, tensor: &TensorSpec) -> Result<(), LoadError> {
        let name = tensor.gguf_name();
        if self.tensors.contains_key(name.as_str()) {
            return Ok(());
        }
        Err(LoadError::MissingTensor { file: self.file.to_owned(), name })
    }

    fn append_values(&mut self, tensor: &TensorSpec, out: &mut Vec<f32>) -> Result<(), LoadError> {
        // Where one projection of attention has a bias, the others need not.
        if tensor.is_bias && self.expect(tensor).is_err() {
            out.resize(out.len() + tensor.rows, 0.0);
            return Ok(());
        }
        let (file, found) = self.take(tensor)?;
        let start = out.len();
        out.resize(start + tensor.elements(), 0.0);
        let new = &mut out[start..];
        match tensor.columns {
            None => {
                let mut values = vec![0.0; tensor.rows];
                found.encoding.decode(found.data, &mut values);
                for (row, v) in new.iter_mut().enumerate() {
                    *v = values[self.place(tensor, row)];
                }
            }
            Some(k) => {
                let bytes = found.encoding.bytes(k);
                new.par_chunks_mut(k).enumerate().for_each(|(row, values)| {
                    let at = self.place(tensor, row) * bytes;
                    found.encoding.decode(&found.data[at..at + bytes], values);
                });
            }
        }
        match new.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(index) => {
                Err(LoadError::NotFinite { file: file.to_owned(), name: tensor.gguf_name(), index })
            }
        }
    }

    fn append_int4(&mut self, matrix: &TensorSpec, out: &mut Int4Parts) -> Result<bool, LoadError> {
        let Some(k) = matrix.columns else { return Ok(false) };
        let (_, found) = self.take(matrix)?;
        if found.encoding != Encoding::Q4_0 {
            return Ok(false);
        }
        let bytes = Encoding::Q4_0.bytes(k);
        for row in 0..matrix.rows {
            let at = self.place(matrix, row) * bytes;
            for block in found.data[at..at + bytes].as_chunks::<18>().0 {
                out.scales.push(f16::from_le_bytes([block[0], block[1]]));
                let level = |i: usize| block[2 + i % 16] >> (i / 16 * 4) & 15;
                out.nibbles.extend((0..GROUP / 2).map(|i| level(2 * i) | level(2 * i + 1) << 4));
            }
        }
        Ok(true)
    }

    fn finish(&mut self, _spec: &ModelSpec) -> Result<(), LoadError> {
        // Frequencies were read with the metadata.
        let spare = |name: &str| name.starts_with("rope_f");
        let left =
            self.tensors.iter().find(|(name, _)| !self.taken.contains(**name) && !spare(name));
        match left {
            None => Ok(()),
            Some((name, (file, _))) => Err(LoadError::UnexpectedTensor {
                file: (*file).to_owned(),
                name: name.chars().take(60).collect(),
            }),
        }
    }
}
