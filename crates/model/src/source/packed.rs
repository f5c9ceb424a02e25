//! The packed file, `*.lacuna.safetensors`: a model of ours in one safetensors container.
//!
//! `__metadata__` holds `format` and `config` (the text of config.json). A matrix `NAME` is stored
//! as `NAME.q4` (U8 `[n,⌈k/2⌉]`, low nibble = even column) and `NAME.scale` (F16 `[n,⌈k/32⌉]`);
//! vectors keep their name, as F32. Tensor order, and with it every byte of the file, follows from
//! the model alone.

use std::io::Write;
use std::path::{Path, PathBuf};

use half::f16;
use lacuna_kernels::Int4Matrix;
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

use super::safetensors::Checkpoint;
use super::{Int4Parts, WeightSource, open};
use crate::error::LoadError;
use crate::family::read_spec;
use crate::role::TensorSpec;
use crate::spec::ModelSpec;
use crate::whole::{unwritten, write_whole};

/// Value of `format` in the metadata.
pub const PACKED_FORMAT: &str = "lacuna-int4-v1";
/// How the names of packed files end.
pub const PACKED_SUFFIX: &str = ".lacuna.safetensors";

/// Bytes of the length that a container begins with.
const LENGTH: usize = 8;

/// A packed model.
pub struct Packed<'a>(Checkpoint<'a>);

impl<'a> Packed<'a> {
    /// What is packed in `bytes`; `file` is their name in messages.
    ///
    /// Errors: see [`LoadError`].
    pub fn of_bytes(file: &'a str, bytes: &'a [u8]) -> Result<(ModelSpec, Packed<'a>), LoadError> {
        Ok((read_config(file, bytes)?, Packed(Checkpoint::of_bytes(file, bytes)?)))
    }
}

impl WeightSource for Packed<'_> {
    fn file(&self) -> &str {
        self.0.file()
    }

    fn expect(&self, tensor: &TensorSpec) -> Result<(), LoadError> {
        match tensor.columns {
            None => self.0.expect(tensor),
            Some(_) => self.0.expect_name(&q4_name(&tensor.name)),
        }
    }

    fn append_values(&mut self, tensor: &TensorSpec, out: &mut Vec<f32>) -> Result<(), LoadError> {
        let (n, Some(k)) = (tensor.rows, tensor.columns) else {
            return self.0.append_values(tensor, out);
        };
        let mut parts = Int4Parts::default();
        self.append_int4(tensor, &mut parts)?;
        let int4 = |source| LoadError::Int4 {
            file: self.0.file().to_owned(),
            name: tensor.name.clone(),
            source,
        };
        let matrix =
            Int4Matrix::from_file_parts(n, k, &parts.nibbles, &parts.scales).map_err(int4)?;
        let start = out.len();
        out.resize(start + n * k, 0.0);
        for (i, row) in out[start..].chunks_exact_mut(k).enumerate() {
            matrix.dequantize_row(i, row);
        }
        Ok(())
    }

    fn append_int4(&mut self, matrix: &TensorSpec, out: &mut Int4Parts) -> Result<bool, LoadError> {
        let (n, Some(k)) = (matrix.rows, matrix.columns) else { return Ok(false) };
        out.nibbles
            .extend_from_slice(self.0.take(&q4_name(&matrix.name), &[n, k.div_ceil(2)])?.bytes()?);
        self.0
            .take(&scale_name(&matrix.name), &[n, k.div_ceil(32)])?
            .append_f16(&mut out.scales)?;
        Ok(true)
    }

    fn finish(&mut self, spec: &ModelSpec) -> Result<(), LoadError> {
        self.0.finish(spec)
    }
}

/// Name of the nibbles of matrix `name`.
fn q4_name(name: &str) -> String {
    format!("{name}.q4")
}

/// Name of the scales of matrix `name`.
fn scale_name(name: &str) -> String {
    format!("{name}.scale")
}

/// The one packed file of a directory; `None`: there are none, or several.
pub(super) fn find(dir: &Path) -> Result<Option<PathBuf>, LoadError> {
    let read = |source| LoadError::Read { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.to_string_lossy().ends_with(PACKED_SUFFIX) && path.is_file() {
            found.push(path);
        }
    }
    match found.len() {
        1 => Ok(found.pop()),
        _ => Ok(None),
    }
}

/// The config in a packed file's metadata.
fn read_config(file: &str, bytes: &[u8]) -> Result<ModelSpec, LoadError> {
    let container = |source| LoadError::Container { file: file.to_owned(), source };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(container)?;
    let not_packed = || LoadError::NotPacked { file: file.to_owned(), expected: PACKED_FORMAT };
    let map = metadata.metadata().as_ref().ok_or_else(not_packed)?;
    let format = map.get("format").ok_or_else(not_packed)?;
    if !format.starts_with("lacuna-") {
        return Err(not_packed());
    }
    if format != PACKED_FORMAT {
        let got = format.chars().take(80).collect();
        return Err(LoadError::PackedFormat {
            file: file.to_owned(),
            expected: PACKED_FORMAT,
            got,
        });
    }
    let config = map.get("config").ok_or_else(not_packed)?;
    read_spec(config.as_bytes())
        .map_err(|source| LoadError::Config { file: file.to_owned(), source })
}

/// Quantises a model (a directory in Hugging Face layout, a GGUF file) into the packed file `out`;
/// an existing one is replaced at the end. INT4 that a file holds in our groups stays as it is.
///
/// Errors: whatever loading the model gives, and writing.
pub fn pack(model: impl AsRef<Path>, out: impl AsRef<Path>) -> Result<(), LoadError> {
    pack_for(model, out, &Card::default())
}

/// What a packed file says of a model beside its shape. `None`: what is there stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Card<'a> {
    /// LSP ids of the languages that it was trained for.
    pub languages: Option<&'a [String]>,
    /// See [`ModelSpec::confidence`].
    pub confidence: Option<&'a Value>,
    /// See [`ModelSpec::suffix_weight`].
    pub suffix_weight: Option<f32>,
}

impl Card<'_> {
    /// The text of a config with what the card says.
    fn on(&self, config_text: String) -> String {
        let Ok(Value::Object(mut config)) = serde_json::from_str(&config_text) else {
            return config_text;
        };
        if let Some(languages) = self.languages {
            config.insert("code_languages".to_owned(), json!(languages));
        }
        if let Some(confidence) = self.confidence {
            config.insert("confidence".to_owned(), confidence.clone());
        }
        if let Some(weight) = self.suffix_weight {
            config.insert("suffix_weight".to_owned(), json!(weight));
        }
        Value::Object(config).to_string()
    }
}

/// Writes a packed file anew with what the card says; its tensors stay as they are. `out` may be
/// the file itself.
///
/// Errors: a file that is not a packed one, a config that the card makes unreadable, reading and
/// writing.
pub fn describe(
    packed: impl AsRef<Path>,
    out: impl AsRef<Path>,
    card: &Card<'_>,
) -> Result<(), LoadError> {
    let (packed, out) = (packed.as_ref(), out.as_ref());
    let file = packed.display().to_string();
    let bytes = std::fs::read(packed)
        .map_err(|source| LoadError::Read { path: packed.to_owned(), source })?;
    read_config(&file, &bytes)?;
    let container = |source| LoadError::Container { file: file.clone(), source };
    let (header_len, metadata) = SafeTensors::read_metadata(&bytes).map_err(container)?;
    let text =
        metadata.metadata().as_ref().and_then(|map| map.get("config")).cloned().unwrap_or_default();
    let text = card.on(text);
    read_spec(text.as_bytes())
        .map_err(|source| LoadError::Config { file: file.clone(), source })?;
    // The container has been read: its header is an object.
    let mut map: Map<String, Value> =
        serde_json::from_slice(&bytes[LENGTH..LENGTH + header_len]).unwrap_or_default();
    map.insert("__metadata__".to_owned(), metadata_of(&text));
    write_whole(out, |to| {
        to.write_all(&as_header(map))
            .and_then(|()| to.write_all(&bytes[LENGTH + header_len..]))
            .map_err(|source| unwritten(out, source))
    })
}

/// As [`pack`]; the file says what the card does.
pub fn pack_for(
    model: impl AsRef<Path>,
    out: impl AsRef<Path>,
    card: &Card<'_>,
) -> Result<(), LoadError> {
    let (model, out) = (model.as_ref(), out.as_ref());
    let files = open(model)?;
    let not_a_model = || LoadError::NotAModel { path: model.to_owned() };
    let config_text = card.on(files.config_text()?.ok_or_else(not_a_model)?);
    let file = model.display().to_string();
    let spec =
        read_spec(config_text.as_bytes()).map_err(|source| LoadError::Config { file, source })?;
    let (_, mut source) = files.source()?;
    let tensors = spec.tensors();
    for tensor in &tensors {
        source.expect(tensor)?;
    }

    write_whole(out, |to| {
        to.write_all(&header(&config_text, &tensors)).map_err(|source| unwritten(out, source))?;
        for tensor in &tensors {
            to.write_all(&data(&mut *source, tensor)?).map_err(|source| unwritten(out, source))?;
        }
        source.finish(&spec)
    })
}

/// Length, JSON header and padding. The tensors' data follows in the order of `tensors`.
fn header(config_text: &str, tensors: &[TensorSpec]) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("__metadata__".to_owned(), metadata_of(config_text));
    let mut at = 0;
    let mut add = |name: String, dtype: &str, shape: &[usize], element: usize| {
        let end = at + shape.iter().product::<usize>() * element;
        map.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] }));
        at = end;
    };
    for tensor in tensors {
        match tensor.columns {
            None => add(tensor.name.clone(), "F32", &[tensor.rows], 4),
            Some(k) => {
                add(q4_name(&tensor.name), "U8", &[tensor.rows, k.div_ceil(2)], 1);
                add(scale_name(&tensor.name), "F16", &[tensor.rows, k.div_ceil(32)], 2);
            }
        }
    }
    as_header(map)
}

fn metadata_of(config_text: &str) -> Value {
    json!({ "format": PACKED_FORMAT, "config": config_text })
}

fn as_header(map: Map<String, Value>) -> Vec<u8> {
    let mut json = Value::Object(map).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    header
}

fn data(source: &mut dyn WeightSource, tensor: &TensorSpec) -> Result<Vec<u8>, LoadError> {
    let mut stored = Int4Parts::default();
    let is_stored = tensor.columns.is_some() && source.append_int4(tensor, &mut stored)?;
    let (mut bytes, scales) = if is_stored {
        (stored.nibbles, stored.scales)
    } else {
        let mut values = Vec::new();
        source.append_values(tensor, &mut values)?;
        let Some(k) = tensor.columns else {
            return Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        };
        let (file, name) = (source.file().to_owned(), tensor.name.clone());
        Int4Matrix::quantize(tensor.rows, k, &values)
            .map_err(|source| LoadError::Int4 { file, name, source })?
            .to_file_parts()
    };
    bytes.extend(scales.into_iter().flat_map(f16::to_le_bytes));
    Ok(bytes)
}
