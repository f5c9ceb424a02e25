//! The model: which tensors a config asks for, and how they come into memory.
//!
//! Two sources give the same structure: a checkpoint in Hugging Face layout (quantised here when INT4 is asked for) and our
//! packed file. q, k and v, and gate and up, are joined row-wise into one matrix each.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use half::f16;
use lacuna_kernels::{Int4Matrix, isa};

use crate::config::Config;
use crate::error::LoadError;
use crate::map;
use crate::packed;
use crate::rope::Rope;
use crate::tensors::{Checkpoint, Files};
use crate::weights::{Linear, Matrix};

/// How weights are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As in the checkpoint, widened to f32: the reference.
    F32,
    /// Linear layers and embedding in INT4 (group 32), norms and biases f32.
    Int4,
}

/// Facts about a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Weights, each counted once.
    pub parameters: u64,
    /// Bytes of weights in memory.
    pub bytes: usize,
    pub precision: Precision,
}

/// A model in memory: immutable, shared between threads.
pub struct Model {
    /// Tells a cache of this model from one of another.
    pub(crate) id: u64,
    pub(crate) config: Config,
    info: Info,
    pub(crate) embedding: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    /// `None`: tied to the embedding.
    pub(crate) head: Option<Matrix>,
    pub(crate) rope: Rope,
}

pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    /// q, k, v row-wise.
    pub(crate) qkv: Linear,
    pub(crate) output: Linear,
    pub(crate) mlp_norm: Vec<f32>,
    /// gate, up row-wise.
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

impl Model {
    /// Loads a directory in Hugging Face layout, a directory with one `*.lacuna.safetensors`, or such a file.
    ///
    /// Errors: see [`LoadError`]; also a `LACUNA_ISA` that names no usable kernel row.
    pub fn load(path: impl AsRef<Path>, precision: Precision) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        if !metadata.is_dir() {
            return Self::load_packed(path, precision);
        }
        if let Some(file) = packed::find(path)? {
            return Self::load_packed(&file, precision);
        }
        let config = read_config(path)?;
        let files = Files::of_directory(path)?;
        let source = Source { checkpoint: Checkpoint::open(&files)?, packed: false, precision };
        Self::build(config, source)
    }

    /// Loads a checkpoint from memory: the bytes of `config.json` and of one `.safetensors` file.
    pub fn from_checkpoint(config: &[u8], weights: &[u8], precision: Precision) -> Result<Self, LoadError> {
        let config = Config::from_json(config).map_err(|source| LoadError::Config { file: "config.json".to_owned(), source })?;
        let checkpoint = Checkpoint::of_bytes("model.safetensors", weights)?;
        Self::build(config, Source { checkpoint, packed: false, precision })
    }

    /// Loads a packed model from memory, for example one embedded in the binary.
    pub fn from_packed(bytes: &[u8]) -> Result<Self, LoadError> {
        Self::from_packed_as("embedded model", bytes, Precision::Int4)
    }

    fn load_packed(path: &Path, precision: Precision) -> Result<Self, LoadError> {
        Self::from_packed_as(&path.display().to_string(), &map::map(path)?, precision)
    }

    fn from_packed_as(file: &str, bytes: &[u8], precision: Precision) -> Result<Self, LoadError> {
        let config = packed::read_config(file, bytes)?;
        let source = Source { checkpoint: Checkpoint::of_bytes(file, bytes)?, packed: true, precision };
        Self::build(config, source)
    }

    fn build(config: Config, mut source: Source) -> Result<Self, LoadError> {
        isa::selected().map_err(Clone::clone)?;
        let layer_name = |l: usize, name: &str| format!("model.layers.{l}.{name}");
        // A config with too many layers fails here rather than after loading the rest.
        source.checkpoint.expect(&layer_name(config.layers - 1, "input_layernorm.weight"))?;
        let (d, q, kv, ff) = (config.hidden, config.q_width(), config.kv_width(), config.ff);
        let embedding = source.matrix(&[("model.embed_tokens".to_owned(), config.n_vocab)], d)?;
        let mut layers = Vec::new();
        for l in 0..config.layers {
            let part = |name: &str, n: usize| (layer_name(l, name), n);
            layers.push(Layer {
                attention_norm: source.vector(&layer_name(l, "input_layernorm.weight"), d)?,
                qkv: source.linear(
                    &[part("self_attn.q_proj", q), part("self_attn.k_proj", kv), part("self_attn.v_proj", kv)],
                    d,
                    config.qkv_bias,
                )?,
                output: source.linear(&[part("self_attn.o_proj", d)], q, config.output_bias)?,
                mlp_norm: source.vector(&layer_name(l, "post_attention_layernorm.weight"), d)?,
                gate_up: source.linear(&[part("mlp.gate_proj", ff), part("mlp.up_proj", ff)], d, config.mlp_bias)?,
                down: source.linear(&[part("mlp.down_proj", d)], ff, config.mlp_bias)?,
            });
        }
        let norm = source.vector("model.norm.weight", d)?;
        let head = if config.tied_embeddings { None } else { Some(source.matrix(&[("lm_head".to_owned(), config.n_vocab)], d)?) };
        let precision = source.precision;
        source.checkpoint.ignore_spare(&config);
        source.checkpoint.finish()?;
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let rope = Rope::new(&config);
        let info = Info { parameters: 0, bytes: 0, precision };
        let mut model = Model { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), config, info, embedding, layers, norm, head, rope };
        model.info = model.count(precision);
        Ok(model)
    }

    /// The shape of this model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Parameters, bytes, precision.
    pub fn info(&self) -> &Info {
        &self.info
    }

    fn count(&self, precision: Precision) -> Info {
        let c = &self.config;
        let (d, q, kv, ff) = (c.hidden as u64, c.q_width() as u64, c.kv_width() as u64, c.ff as u64);
        let biases = u64::from(c.qkv_bias) * (q + 2 * kv) + u64::from(c.output_bias) * d + u64::from(c.mlp_bias) * (2 * ff + d);
        let layer = d * (2 * q + 2 * kv) + 3 * d * ff + 2 * d + biases;
        let tables = if c.tied_embeddings { 1 } else { 2 };
        let parameters = tables * c.n_vocab as u64 * d + c.layers as u64 * layer + d;
        let vectors = |l: &Layer| size_of_val(&l.attention_norm[..]) + size_of_val(&l.mlp_norm[..]);
        let of_layer = |l: &Layer| l.qkv.bytes() + l.output.bytes() + l.gate_up.bytes() + l.down.bytes() + vectors(l);
        let bytes = self.embedding.bytes()
            + self.layers.iter().map(of_layer).sum::<usize>()
            + size_of_val(&self.norm[..])
            + self.head.as_ref().map_or(0, Matrix::bytes);
        Info { parameters, bytes, precision }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("config", &self.config).field("info", &self.info).finish_non_exhaustive()
    }
}

/// `config.json` of a directory, at most 1 MB of it.
pub(crate) fn read_config(dir: &Path) -> Result<Config, LoadError> {
    let (file, text) = read_config_text(dir)?;
    Config::from_json(text.as_bytes()).map_err(|source| LoadError::Config { file, source })
}

/// Name and text of `config.json`.
pub(crate) fn read_config_text(dir: &Path) -> Result<(String, String), LoadError> {
    use std::io::Read;
    let path = dir.join("config.json");
    if !path.is_file() {
        return Err(LoadError::NotAModel { path: dir.to_owned() });
    }
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|f| f.take(1 << 20).read_to_string(&mut text))
        .map_err(|source| LoadError::Read { path: path.clone(), source })?;
    Ok((path.display().to_string(), text))
}

/// Where weights come from and how they shall be held.
struct Source<'a> {
    checkpoint: Checkpoint<'a>,
    /// Linear weights are stored as `NAME.weight.q4` and `NAME.weight.scale`.
    packed: bool,
    precision: Precision,
}

impl Source<'_> {
    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let taken = self.checkpoint.take(name, &[len])?;
        let mut out = Vec::with_capacity(len);
        taken.append_f32(&mut out)?;
        Ok(out)
    }

    /// Matrices of equal `k` joined row-wise; `parts` are names (without `.weight`) and rows.
    fn matrix(&mut self, parts: &[(String, usize)], k: usize) -> Result<Matrix, LoadError> {
        let n = parts.iter().map(|(_, n)| n).sum();
        let file = self.checkpoint.file().to_owned();
        let int4 = |source| LoadError::Int4 { file, name: parts[0].0.clone(), source };
        if !self.packed {
            let mut data = Vec::new();
            for (name, n) in parts {
                self.checkpoint.take(&format!("{name}.weight"), &[*n, k])?.append_f32(&mut data)?;
            }
            return match self.precision {
                Precision::F32 => Ok(Matrix::F32 { n, k, data }),
                Precision::Int4 => Int4Matrix::quantize(n, k, &data).map(Matrix::Int4).map_err(int4),
            };
        }
        let (mut nibbles, mut scales) = (Vec::new(), Vec::<f16>::new());
        for (name, n) in parts {
            nibbles.extend_from_slice(self.checkpoint.take(&packed::q4_name(name), &[*n, k.div_ceil(2)])?.bytes()?);
            self.checkpoint.take(&packed::scale_name(name), &[*n, k.div_ceil(32)])?.append_f16(&mut scales)?;
        }
        let matrix = Int4Matrix::from_file_parts(n, k, &nibbles, &scales).map_err(int4)?;
        match self.precision {
            Precision::Int4 => Ok(Matrix::Int4(matrix)),
            Precision::F32 => {
                let mut data = vec![0f32; n * k];
                for (i, row) in data.chunks_exact_mut(k).enumerate() {
                    matrix.dequantize_row(i, row);
                }
                Ok(Matrix::F32 { n, k, data })
            }
        }
    }

    fn linear(&mut self, parts: &[(String, usize)], k: usize, with_bias: bool) -> Result<Linear, LoadError> {
        let matrix = self.matrix(parts, k)?;
        let mut bias = None;
        if with_bias {
            let mut all = Vec::new();
            for (name, n) in parts {
                self.checkpoint.take(&format!("{name}.bias"), &[*n])?.append_f32(&mut all)?;
            }
            bias = Some(all);
        }
        Ok(Linear { matrix, bias })
    }
}
