//! The packed file, `*.lacuna.safetensors`: a model of ours in one safetensors container.
//!
//! `__metadata__` holds `format` and `config` (the text of config.json). A matrix `NAME` is stored as `NAME.q4` (U8 `[n,⌈k/2⌉]`, low
//! nibble = even column) and `NAME.scale` (F16 `[n,⌈k/32⌉]`); vectors keep their name, as F32. Tensor order, and with it
//! every byte of the file, follows from the model alone.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::f16;
use lacuna_kernels::Int4Matrix;
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

use crate::config::{Config, TensorSpec};
use crate::error::LoadError;
use crate::model;
use crate::tensors::{Checkpoint, Files};

/// Value of `format` in the metadata.
pub const PACKED_FORMAT: &str = "lacuna-int4-v1";
/// How the names of packed files end.
pub const PACKED_SUFFIX: &str = ".lacuna.safetensors";

/// Bytes of the length that a container begins with.
const LENGTH: usize = 8;

/// Name of the nibbles of module `name`.
pub(crate) fn q4_name(name: &str) -> String {
    format!("{name}.weight.q4")
}

/// Name of the scales of module `name`.
pub(crate) fn scale_name(name: &str) -> String {
    format!("{name}.weight.scale")
}

/// The one packed file of a directory that holds no `model.safetensors`.
pub(crate) fn find(dir: &Path) -> Result<Option<PathBuf>, LoadError> {
    if dir.join("model.safetensors").is_file() || dir.join("model.safetensors.index.json").is_file() {
        return Ok(None);
    }
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
pub(crate) fn read_config(file: &str, bytes: &[u8]) -> Result<Config, LoadError> {
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
        return Err(LoadError::PackedFormat { file: file.to_owned(), expected: PACKED_FORMAT, got });
    }
    let config = map.get("config").ok_or_else(not_packed)?;
    Config::from_json(config.as_bytes()).map_err(|source| LoadError::Config { file: file.to_owned(), source })
}

/// Quantises the model in `model_dir` (Hugging Face layout) into the packed file `out`; an existing one is replaced at the end.
///
/// Errors: whatever loading the directory gives, and writing.
pub fn pack(model_dir: impl AsRef<Path>, out: impl AsRef<Path>) -> Result<(), LoadError> {
    pack_for(model_dir, out, &Card::default())
}

/// What a packed file says of a model beside its shape. `None`: what is there stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Card<'a> {
    /// LSP ids of the languages that it was trained for.
    pub languages: Option<&'a [String]>,
    /// See [`Config::confidence`].
    pub confidence: Option<&'a Value>,
}

impl Card<'_> {
    /// The text of a config with what the card says.
    fn on(&self, config_text: String) -> String {
        let Ok(Value::Object(mut config)) = serde_json::from_str(&config_text) else { return config_text };
        if let Some(languages) = self.languages {
            config.insert("code_languages".to_owned(), json!(languages));
        }
        if let Some(confidence) = self.confidence {
            config.insert("confidence".to_owned(), confidence.clone());
        }
        Value::Object(config).to_string()
    }
}

/// Writes a packed file anew with what the card says; its tensors stay as they are. `out` may be the file itself.
///
/// Errors: a file that is not a packed one, a config that the card makes unreadable, reading and writing.
pub fn describe(packed: impl AsRef<Path>, out: impl AsRef<Path>, card: &Card<'_>) -> Result<(), LoadError> {
    let (packed, out) = (packed.as_ref(), out.as_ref());
    let file = packed.display().to_string();
    let bytes = std::fs::read(packed).map_err(|source| LoadError::Read { path: packed.to_owned(), source })?;
    read_config(&file, &bytes)?;
    let container = |source| LoadError::Container { file: file.clone(), source };
    let (header_len, metadata) = SafeTensors::read_metadata(&bytes).map_err(container)?;
    let text = metadata.metadata().as_ref().and_then(|map| map.get("config")).cloned().unwrap_or_default();
    let text = card.on(text);
    Config::from_json(text.as_bytes()).map_err(|source| LoadError::Config { file: file.clone(), source })?;
    // The container has been read: its header is an object.
    let mut map: Map<String, Value> = serde_json::from_slice(&bytes[LENGTH..LENGTH + header_len]).unwrap_or_default();
    map.insert("__metadata__".to_owned(), metadata_of(&text));
    write_whole(out, |to| {
        to.write_all(&as_header(map)).and_then(|()| to.write_all(&bytes[LENGTH + header_len..])).map_err(|source| unwritten(out, source))
    })
}

/// As [`pack`]; the file says what the card does.
pub fn pack_for(model_dir: impl AsRef<Path>, out: impl AsRef<Path>, card: &Card<'_>) -> Result<(), LoadError> {
    let (model_dir, out) = (model_dir.as_ref(), out.as_ref());
    let (file, config_text) = model::read_config_text(model_dir)?;
    let config_text = card.on(config_text);
    let config = Config::from_json(config_text.as_bytes()).map_err(|source| LoadError::Config { file, source })?;
    let files = Files::of_directory(model_dir)?;
    let mut checkpoint = Checkpoint::open(&files)?;
    checkpoint.ignore_spare(&config);
    let specs = config.tensors();
    for spec in &specs {
        checkpoint.expect(&spec.name)?;
    }

    write_whole(out, |to| {
        to.write_all(&header(&config_text, &specs)).map_err(|source| unwritten(out, source))?;
        for spec in &specs {
            to.write_all(&data(&mut checkpoint, spec)?).map_err(|source| unwritten(out, source))?;
        }
        checkpoint.finish()
    })
}

fn unwritten(path: &Path, source: std::io::Error) -> LoadError {
    LoadError::Write { path: path.to_owned(), source }
}

/// Writes a file that replaces what is there once it is whole.
fn write_whole(out: &Path, content: impl FnOnce(&mut BufWriter<File>) -> Result<(), LoadError>) -> Result<(), LoadError> {
    let temporary = temporary_beside(out);
    let write = |source| unwritten(out, source);
    let result = (|| {
        let mut to = BufWriter::new(File::create(&temporary).map_err(write)?);
        content(&mut to)?;
        to.into_inner().map_err(|e| write(e.into_error()))?.sync_all().map_err(write)?;
        std::fs::rename(&temporary, out).map_err(write)
    })();
    if result.is_err() {
        // Nothing of the user's is in it; a failure to remove it changes nothing for the caller.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// A name in the folder of `out` for what becomes `out` once it is complete.
pub(crate) fn temporary_beside(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    out.with_file_name(name)
}

/// Length, JSON header and padding. The tensors' data follows in the order of `specs`.
fn header(config_text: &str, specs: &[TensorSpec]) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("__metadata__".to_owned(), metadata_of(config_text));
    let mut at = 0;
    let mut add = |name: String, dtype: &str, shape: &[usize], element: usize| {
        let end = at + shape.iter().product::<usize>() * element;
        map.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] }));
        at = end;
    };
    for spec in specs {
        match spec.columns {
            None => add(spec.name.clone(), "F32", &[spec.rows], 4),
            Some(k) => {
                add(format!("{}.q4", spec.name), "U8", &[spec.rows, k.div_ceil(2)], 1);
                add(format!("{}.scale", spec.name), "F16", &[spec.rows, k.div_ceil(32)], 2);
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

fn data(checkpoint: &mut Checkpoint, spec: &TensorSpec) -> Result<Vec<u8>, LoadError> {
    let mut values = Vec::new();
    checkpoint.take(&spec.name, &spec.shape())?.append_f32(&mut values)?;
    let Some(k) = spec.columns else { return Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect()) };
    let int4 = |source| LoadError::Int4 { file: checkpoint.file().to_owned(), name: spec.name.clone(), source };
    let (mut bytes, scales) = Int4Matrix::quantize(spec.rows, k, &values).map_err(int4)?.to_file_parts();
    bytes.extend(scales.into_iter().flat_map(f16::to_le_bytes));
    Ok(bytes)
}
