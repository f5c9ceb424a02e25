//! Models of random weights in the shapes of published ones: for measuring speed and for comparing
//! engines on equal weights.
//!
//! Owns the table of shapes ([`SHAPES`]) and the weight files. A directory that `transformers`
//! loads also needs a tokenizer, which is text and therefore not made here. Start at [`write`].
//!
//! The same shape and seed give the same bytes on every machine: the generator (SplitMix64) and the
//! sum that approximates a normal distribution are integer arithmetic, and what follows is a few
//! exactly rounded f32 operations.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use half::bf16;
use serde_json::{Map, Value, json};

use crate::family::llama::LLAMA;
use crate::family::qwen2::QWEN2;
use crate::family::{Family, read_spec};
use crate::role::TensorSpec;
use crate::spec::ModelSpec;

/// A shape by name; the numbers are those of the published `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub name: &'static str,
    pub family: &'static Family,
    pub hidden: usize,
    /// Inner width of the feed-forward part.
    pub ff: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Rows of the embedding, padding included.
    pub n_vocab: usize,
    pub max_positions: usize,
    pub rms_eps: f64,
    pub rope_theta: f64,
    /// Positions are divided by this (`rope_scaling` of type `linear`).
    pub rope_linear: Option<f64>,
    pub tied_embeddings: bool,
    pub bos: u32,
    pub eos: u32,
}

const QWEN: Shape = Shape {
    name: "",
    family: &QWEN2,
    hidden: 0,
    ff: 0,
    layers: 0,
    heads: 0,
    kv_heads: 2,
    n_vocab: 151_936,
    max_positions: 32_768,
    rms_eps: 1e-6,
    rope_theta: 1e6,
    rope_linear: None,
    tied_embeddings: true,
    bos: 151_643,
    eos: 151_643,
};

const DEEPSEEK: Shape = Shape {
    name: "",
    family: &LLAMA,
    hidden: 0,
    ff: 0,
    layers: 0,
    heads: 0,
    kv_heads: 0,
    n_vocab: 32_256,
    max_positions: 16_384,
    rms_eps: 1e-6,
    rope_theta: 1e5,
    rope_linear: Some(4.0),
    tied_embeddings: false,
    bos: 32_013,
    eos: 32_014,
};

const TINY: Shape = Shape {
    name: "tiny",
    family: &LLAMA,
    hidden: 128,
    ff: 320,
    layers: 3,
    heads: 4,
    kv_heads: 2,
    n_vocab: 1024,
    max_positions: 2048,
    rms_eps: 1e-5,
    rope_theta: 1e4,
    rope_linear: None,
    tied_embeddings: false,
    bos: 0,
    eos: 0,
};

/// The shapes that [`write`] knows by name.
pub const SHAPES: [Shape; 11] = [
    TINY,
    Shape {
        name: "tiny-qwen2",
        family: &QWEN2,
        rms_eps: 1e-6,
        rope_theta: 1e6,
        tied_embeddings: true,
        ..TINY
    },
    // The model inside the binary; datasets/embedded/snapshot/config.json.
    Shape {
        name: "embedded",
        hidden: 256,
        ff: 896,
        layers: 8,
        heads: 4,
        kv_heads: 2,
        n_vocab: 16_384,
        rms_eps: 1e-6,
        tied_embeddings: true,
        ..TINY
    },
    Shape { name: "qwen2.5-coder-0.5b", hidden: 896, ff: 4864, layers: 24, heads: 14, ..QWEN },
    Shape { name: "qwen2.5-coder-1.5b", hidden: 1536, ff: 8960, layers: 28, heads: 12, ..QWEN },
    Shape { name: "qwen2.5-coder-3b", hidden: 2048, ff: 11_008, layers: 36, heads: 16, ..QWEN },
    Shape {
        name: "qwen2.5-coder-7b",
        hidden: 3584,
        ff: 18_944,
        layers: 28,
        heads: 28,
        kv_heads: 4,
        n_vocab: 152_064,
        tied_embeddings: false,
        ..QWEN
    },
    Shape {
        name: "qwen2.5-coder-14b",
        hidden: 5120,
        ff: 13_824,
        layers: 48,
        heads: 40,
        kv_heads: 8,
        n_vocab: 152_064,
        tied_embeddings: false,
        ..QWEN
    },
    Shape {
        name: "deepseek-coder-1.3b",
        hidden: 2048,
        ff: 5504,
        layers: 24,
        heads: 16,
        kv_heads: 16,
        ..DEEPSEEK
    },
    Shape {
        name: "deepseek-coder-6.7b",
        hidden: 4096,
        ff: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        ..DEEPSEEK
    },
    Shape {
        name: "codellama-7b",
        hidden: 4096,
        ff: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        n_vocab: 32_016,
        max_positions: 16_384,
        rope_theta: 1e6,
        bos: 1,
        eos: 2,
        ..TINY
    },
];

/// A shape of [`SHAPES`] by its name.
pub fn shape(name: &str) -> Option<&'static Shape> {
    SHAPES.iter().find(|s| s.name == name)
}

/// Why the files were not written.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    #[error("cannot write {path} ({source}): the weights take {bytes} bytes in all; free that much or write elsewhere", path = path.display())]
    Write { path: PathBuf, bytes: u64, source: std::io::Error },
    #[error("interrupted; nothing was kept")]
    Interrupted,
}

/// Bytes of weights in one file at most.
const SHARD_BYTES: u64 = 4_000_000_000;
/// Values generated at once.
const CHUNK: usize = 1 << 16;

impl Shape {
    /// The `config.json` of this shape, as `transformers` writes it.
    pub fn config_json(&self) -> Value {
        let mut json = json!({
            "architectures": [self.family.class],
            "attention_dropout": 0.0,
            "bos_token_id": self.bos,
            "eos_token_id": self.eos,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.ff,
            "max_position_embeddings": self.max_positions,
            "model_type": self.family.model_type,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": self.rms_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied_embeddings,
            "torch_dtype": "bfloat16",
            "use_cache": true,
            "vocab_size": self.n_vocab,
        });
        for (flag, usual) in self.family.flags {
            json[*flag] = (*usual).into();
        }
        if let Some(factor) = self.rope_linear {
            json["rope_scaling"] =
                json!({ "factor": factor, "rope_type": "linear", "type": "linear" });
        }
        json
    }

    /// [`Shape::config_json`], read.
    pub fn spec(&self) -> ModelSpec {
        // The table is checked by a test: every shape is valid.
        read_spec(self.config_json().to_string().as_bytes()).expect("a valid shape")
    }

    /// Bytes of the weights in bf16.
    pub fn weight_bytes(&self) -> u64 {
        self.spec().tensors().iter().map(bytes_of).sum()
    }
}

/// Writes `config.json` and bf16 weights (one safetensors file, or shards of at most 4 GB with
/// their index) into `dir`, which exists. The caller owns the directory: on an error, what was
/// written so far lies there.
///
/// Matrices are normal with a standard deviation of 1/√columns (0.033 at width 896, 0.016 at 4096),
/// so that activations keep their size from layer to layer and attention is neither flat nor
/// one-hot; norms are 1 ± 0.1, biases 0 ± 0.1. `progress` gets the bytes written so far and in all;
/// it can stop the work. Returns the bytes of the weights.
///
/// Errors: writing, and [`SynthError::Interrupted`].
pub fn write(
    shape: &Shape,
    seed: u64,
    dir: &Path,
    progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<u64, SynthError> {
    write_sharded(shape, seed, dir, SHARD_BYTES, progress)
}

fn write_sharded(
    shape: &Shape,
    seed: u64,
    dir: &Path,
    shard_bytes: u64,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<u64, SynthError> {
    let tensors = shape.spec().tensors();
    let total = tensors.iter().map(bytes_of).sum();
    let shards = shards(&tensors, shard_bytes);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SynthError::Write { path, bytes: total, source }
    };
    let put = |name: &str, json: &Value| {
        let path = dir.join(name);
        let text = format!("{json:#}\n");
        std::fs::write(&path, text).map_err(failed(&path))
    };
    let mut done = 0;
    let mut weight_map = Map::new();
    for (i, range) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
        };
        let path = dir.join(&name);
        let mut to = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(failed(&path))?);
        to.write_all(&header(&tensors[range.clone()])).map_err(failed(&path))?;
        for index in range.clone() {
            weight_map.insert(tensors[index].name.clone(), name.clone().into());
            let mut normal = Normal::new(seed, index as u64);
            let (mean, deviation) = distribution(&tensors[index]);
            let mut left = tensors[index].elements();
            let mut bytes = Vec::with_capacity(2 * CHUNK);
            while left > 0 {
                let n = left.min(CHUNK);
                bytes.clear();
                bytes.extend(
                    (0..n).flat_map(|_| {
                        bf16::from_f32(mean + deviation * normal.draw()).to_le_bytes()
                    }),
                );
                to.write_all(&bytes).map_err(failed(&path))?;
                left -= n;
                done += bytes.len() as u64;
                if progress(done, total).is_break() {
                    return Err(SynthError::Interrupted);
                }
            }
        }
        to.into_inner()
            .map_err(|e| e.into_error())
            .and_then(|file| file.sync_all())
            .map_err(failed(&path))?;
    }
    if shards.len() > 1 {
        put(
            "model.safetensors.index.json",
            &json!({ "metadata": { "total_size": total }, "weight_map": weight_map }),
        )?;
    }
    put("config.json", &shape.config_json())?;
    Ok(total)
}

fn bytes_of(tensor: &TensorSpec) -> u64 {
    2 * tensor.elements() as u64
}

/// Consecutive tensors in files of at most `limit` bytes each (more, where one tensor alone is
/// larger).
fn shards(tensors: &[TensorSpec], limit: u64) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, tensor) in tensors.iter().enumerate() {
        if i > start && bytes + bytes_of(tensor) > limit {
            all.push(start..i);
            (start, bytes) = (i, 0);
        }
        bytes += bytes_of(tensor);
    }
    all.push(start..tensors.len());
    all
}

/// Length, JSON header and padding; the tensors' data follows in the order of `tensors`.
fn header(tensors: &[TensorSpec]) -> Vec<u8> {
    let mut map = Map::new();
    // `transformers` refuses a file that does not say that its tensors are laid out as PyTorch's.
    map.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut at = 0;
    for tensor in tensors {
        let end = at + bytes_of(tensor);
        map.insert(
            tensor.name.clone(),
            json!({ "dtype": "BF16", "shape": tensor.shape(), "data_offsets": [at, end] }),
        );
        at = end;
    }
    let mut json = Value::Object(map).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    header
}

/// Mean and standard deviation of a tensor.
fn distribution(tensor: &TensorSpec) -> (f32, f32) {
    match tensor.columns {
        Some(k) => (0.0, 1.0 / (k as f32).sqrt()),
        None if tensor.is_bias => (0.0, 0.1),
        None => (1.0, 0.1),
    }
}

/// Standard normal numbers, to within ±6: the sum of twelve uniform 16-bit numbers, centred, has a
/// deviation of 1.
struct Normal(u64);

impl Normal {
    /// Streams of one seed do not overlap: their states start at scattered places of a period of
    /// 2⁶⁴.
    fn new(seed: u64, stream: u64) -> Normal {
        Normal(mix(mix(seed).wrapping_add(stream)))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn draw(&mut self) -> f32 {
        const LOW_HALVES: u64 = 0x0000_ffff_0000_ffff;
        let mut sum = 0;
        for _ in 0..3 {
            let bits = self.bits();
            // Two sums of 32 bits side by side.
            sum += (bits & LOW_HALVES) + ((bits >> 16) & LOW_HALVES);
        }
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        // The mean is 12 · 65535/2; both numbers are exact in f32.
        (sum as i32 - 6 * 65_535) as f32 * (1.0 / 65_536.0)
    }
}

/// The output function of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> &'static Shape {
        shape("tiny").expect("in the table")
    }

    #[test]
    fn the_published_shapes_have_the_published_number_of_parameters() {
        // From the model cards and file sizes; tied embeddings counted once.
        for (name, parameters) in [
            ("qwen2.5-coder-0.5b", 494_032_768u64),
            ("qwen2.5-coder-1.5b", 1_543_714_304),
            ("qwen2.5-coder-3b", 3_085_938_688),
            ("qwen2.5-coder-7b", 7_615_616_512),
            ("qwen2.5-coder-14b", 14_770_033_664),
            ("deepseek-coder-1.3b", 1_346_471_936),
            ("deepseek-coder-6.7b", 6_740_512_768),
            ("codellama-7b", 6_738_546_688),
        ] {
            assert_eq!(shape(name).expect(name).weight_bytes(), 2 * parameters, "{name}");
        }
        for shape in &SHAPES {
            assert_eq!(shape.spec().n_vocab, shape.n_vocab, "{}", shape.name);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
        let write = |seed| {
            let dir = tempfile::tempdir().expect("temporary directory");
            super::write(tiny(), seed, dir.path(), |_, _| ControlFlow::Continue(()))
                .expect("written");
            std::fs::read(dir.path().join("model.safetensors")).expect("readable")
        };
        let bytes = write(7);
        assert_eq!(bytes, write(7));
        assert_ne!(bytes, write(8));
        // Pinned: another machine or a later version must give the same weights.
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        assert_eq!((bytes.len() - header) as u64, tiny().weight_bytes());
        let sum = bytes[header..].iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
        });
        assert_eq!(sum, 16_137_889_862_805_480_735, "FNV-1a of the weights");
    }

    /// The values of all tensors, in the order of the spec.
    fn values(dir: &tempfile::TempDir) -> Vec<f32> {
        let files = crate::open(dir.path()).expect("a model");
        let (spec, mut source) = files.source().expect("readable");
        let mut all = Vec::new();
        for tensor in spec.tensors() {
            source.append_values(&tensor, &mut all).expect("a tensor of the shape");
        }
        source.finish(&spec).expect("nothing else");
        all
    }

    #[test]
    fn shards_hold_the_same_model() {
        let (whole, parts) = (
            tempfile::tempdir().expect("temporary directory"),
            tempfile::tempdir().expect("temporary directory"),
        );
        write(tiny(), 1, whole.path(), |_, _| ControlFlow::Continue(())).expect("written");
        write_sharded(tiny(), 1, parts.path(), 400_000, |_, _| ControlFlow::Continue(()))
            .expect("written");
        let files = std::fs::read_dir(parts.path()).expect("readable").count();
        assert!(files > 4, "several shards, an index and a config: {files}");
        assert_eq!(values(&whole), values(&parts));
    }

    #[test]
    fn numbers_are_normal() {
        let mut normal = Normal::new(3, 0);
        let n = 1_000_000;
        let values: Vec<f64> = (0..n).map(|_| f64::from(normal.draw())).collect();
        let moment = |p: i32| values.iter().map(|v| v.powi(p)).sum::<f64>() / f64::from(n);
        assert!(
            moment(1).abs() < 0.005 && (moment(2) - 1.0).abs() < 0.01,
            "{} {}",
            moment(1),
            moment(2)
        );
        // The sum of twelve has a kurtosis of 3 − 0.1.
        assert!(
            moment(3).abs() < 0.02 && (moment(4) - 2.9).abs() < 0.05,
            "{} {}",
            moment(3),
            moment(4)
        );
    }

    #[test]
    fn an_interruption_ends_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let result = write(tiny(), 1, dir.path(), |_, _| ControlFlow::Break(()));
        assert!(matches!(result, Err(SynthError::Interrupted)));
        assert!(!dir.path().join("config.json").exists());
    }
}
