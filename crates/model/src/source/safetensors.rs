//! Named tensors of a model on disk or in memory, checked before anything is allocated for them.
//!
//! [`Checkpoint`] is one or several safetensors containers. Every access names the shape it
//! expects; sizes are compared with the bytes that are really there, so that a lying header costs
//! an error and no memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use super::map::{self, Bytes};
use super::{WeightSource, named};
use crate::error::LoadError;
use crate::role::{Role, TensorSpec};
use crate::spec::{Head, ModelSpec};

/// Shards of one model that are accepted.
const MAX_SHARDS: usize = 1024;

/// The containers of a directory in Hugging Face layout: `model.safetensors`, or the shards of its
/// index.
pub(crate) fn containers(dir: &Path) -> Result<Vec<(String, Bytes)>, LoadError> {
    let single = dir.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![named(&single)?]);
    }
    let index = dir.join("model.safetensors.index.json");
    if !index.is_file() {
        return Err(LoadError::NotAModel { path: dir.to_owned() });
    }
    let file = index.display().to_string();
    let names = shard_names(&file, &map::map(&index)?)?;
    names.iter().map(|name| named(&dir.join(name))).collect()
}

/// The distinct shard names of an index, each a plain file name.
fn shard_names(file: &str, bytes: &[u8]) -> Result<BTreeSet<String>, LoadError> {
    let json: Value = serde_json::from_slice(bytes)
        .map_err(|source| LoadError::Json { file: file.to_owned(), source })?;
    let missing =
        || LoadError::MissingTensor { file: file.to_owned(), name: "weight_map".to_owned() };
    let weight_map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .filter(|m| !m.is_empty())
        .ok_or_else(missing)?;
    let mut names = BTreeSet::new();
    for value in weight_map.values() {
        let name = value.as_str().unwrap_or_default();
        let plain = !name.is_empty()
            && Path::new(name).file_name().is_some_and(|f| f == name)
            && !name.contains(['/', '\\']);
        if !plain {
            return Err(LoadError::ShardName {
                file: file.to_owned(),
                name: value.to_string().chars().take(80).collect(),
            });
        }
        names.insert(name.to_owned());
    }
    if names.len() > MAX_SHARDS {
        return Err(LoadError::TooManyShards {
            file: file.to_owned(),
            n: names.len(),
            limit: MAX_SHARDS,
        });
    }
    Ok(names)
}

/// Parsed containers; remembers which tensors were taken.
pub struct Checkpoint<'a> {
    /// Name for messages about the whole.
    file: String,
    tensors: BTreeMap<String, (&'a str, TensorView<'a>)>,
}

impl<'a> Checkpoint<'a> {
    /// Parses all containers. Errors: an invalid one, or a tensor that two of them hold.
    pub(crate) fn open(containers: &'a [(String, Bytes)]) -> Result<Self, LoadError> {
        let mut all = BTreeMap::new();
        for (file, bytes) in containers {
            add(&mut all, file, bytes)?;
        }
        let file = containers.first().map(|(f, _)| f.clone()).unwrap_or_default();
        Ok(Checkpoint { file, tensors: all })
    }

    /// Parses one container in memory.
    pub fn of_bytes(file: &'a str, bytes: &'a [u8]) -> Result<Self, LoadError> {
        let mut all = BTreeMap::new();
        add(&mut all, file, bytes)?;
        Ok(Checkpoint { file: file.to_owned(), tensors: all })
    }

    /// Errors: there is no such tensor (any more).
    pub(super) fn expect_name(&self, name: &str) -> Result<(), LoadError> {
        let missing =
            || LoadError::MissingTensor { file: self.file.clone(), name: name.to_owned() };
        self.tensors.contains_key(name).then_some(()).ok_or_else(missing)
    }

    /// Takes a tensor of a given shape. Errors: it is missing or has another shape.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Taken<'a>, LoadError> {
        let missing =
            || LoadError::MissingTensor { file: self.file.clone(), name: name.to_owned() };
        let (file, view) = self.tensors.remove(name).ok_or_else(missing)?;
        if view.shape() != shape {
            let (expected, got) = (shape.to_vec(), view.shape().to_vec());
            return Err(LoadError::Shape {
                file: file.to_owned(),
                name: name.to_owned(),
                expected,
                got,
            });
        }
        Ok(Taken { file, name: name.to_owned(), view })
    }

    /// Drops tensors that some checkpoints carry and no computation needs.
    fn ignore_spare(&mut self, spec: &ModelSpec) {
        let head = format!("{}.weight", Role::Head.module(None));
        let spare = |name: &str| {
            name.ends_with(".rotary_emb.inv_freq") || spec.head == Head::Tied && name == head
        };
        self.tensors.retain(|name, _| !spare(name));
    }
}

impl WeightSource for Checkpoint<'_> {
    fn file(&self) -> &str {
        &self.file
    }

    fn expect(&self, tensor: &TensorSpec) -> Result<(), LoadError> {
        self.expect_name(&tensor.name)
    }

    fn append_values(&mut self, tensor: &TensorSpec, out: &mut Vec<f32>) -> Result<(), LoadError> {
        self.take(&tensor.name, &tensor.shape())?.append_f32(out)
    }

    fn finish(&mut self, spec: &ModelSpec) -> Result<(), LoadError> {
        self.ignore_spare(spec);
        match std::mem::take(&mut self.tensors).into_iter().next() {
            None => Ok(()),
            Some((name, (file, _))) => {
                Err(LoadError::UnexpectedTensor { file: file.to_owned(), name })
            }
        }
    }
}

fn add<'a>(
    all: &mut BTreeMap<String, (&'a str, TensorView<'a>)>,
    file: &'a str,
    bytes: &'a [u8],
) -> Result<(), LoadError> {
    let container = SafeTensors::deserialize(bytes)
        .map_err(|source| LoadError::Container { file: file.to_owned(), source })?;
    for (name, view) in container.tensors() {
        if all.insert(name.clone(), (file, view)).is_some() {
            return Err(LoadError::DuplicateTensor { file: file.to_owned(), name });
        }
    }
    Ok(())
}

/// A tensor of the right shape; its bytes match shape and type (the container's parser checked).
pub(crate) struct Taken<'a> {
    file: &'a str,
    name: String,
    view: TensorView<'a>,
}

impl<'a> Taken<'a> {
    fn dtype_error(&self, expected: &'static str) -> LoadError {
        let got = format!("{:?}", self.view.dtype());
        LoadError::Dtype { file: self.file.to_owned(), name: self.name.clone(), expected, got }
    }

    /// Appends the values as f32. Errors: not a float type, or a value that is not finite.
    pub(crate) fn append_f32(&self, out: &mut Vec<f32>) -> Result<(), LoadError> {
        self.append_f32_range(0..self.view.shape().iter().product(), out)
    }

    /// Appends some of the values as f32, counted in the order of the file. Errors: as
    /// [`Taken::append_f32`]. Panics: the range is outside of the tensor.
    pub(crate) fn append_f32_range(
        &self,
        range: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), LoadError> {
        let start = out.len();
        let data = self.view.data();
        match self.view.dtype() {
            Dtype::F32 => out.extend(
                data.as_chunks::<4>().0[range.clone()].iter().map(|b| f32::from_le_bytes(*b)),
            ),
            Dtype::F16 => out.extend(
                data.as_chunks::<2>().0[range.clone()]
                    .iter()
                    .map(|b| f16::from_le_bytes(*b).to_f32()),
            ),
            Dtype::BF16 => out.extend(
                data.as_chunks::<2>().0[range.clone()]
                    .iter()
                    .map(|b| bf16::from_le_bytes(*b).to_f32()),
            ),
            _ => return Err(self.dtype_error("F32, F16 or BF16")),
        }
        match out[start..].iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(index) => Err(LoadError::NotFinite {
                file: self.file.to_owned(),
                name: self.name.clone(),
                index: range.start + index,
            }),
        }
    }

    /// The bytes of a U8 tensor.
    pub(crate) fn bytes(&self) -> Result<&'a [u8], LoadError> {
        if self.view.dtype() == Dtype::U8 {
            Ok(self.view.data())
        } else {
            Err(self.dtype_error("U8"))
        }
    }

    /// Appends the values of an F16 tensor.
    pub(crate) fn append_f16(&self, out: &mut Vec<f16>) -> Result<(), LoadError> {
        if self.view.dtype() != Dtype::F16 {
            return Err(self.dtype_error("F16"));
        }
        out.extend(self.view.data().as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)));
        Ok(())
    }
}
