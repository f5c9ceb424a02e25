//! The sizes of a model, the place of each tensor in the flat parameter vector, and `config.json`.
//!
//! All parameters lie in one `Vec<f32>`; gradients and moments have the same layout. Projections that read the same input
//! (q, k, v; gate, up) lie next to each other, so that one product computes them together.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::TrainError;
use super::random::Random;

/// Sizes of a Llama-style decoder with tied embeddings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Width of the residual stream.
    pub d: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ff: usize,
    /// Vocabulary size.
    pub vocab: usize,
    /// Base of the rotary angles.
    pub rope_theta: f32,
    /// Added under the root of the norms.
    pub eps: f32,
    /// Longest sequence that `config.json` declares.
    pub max_positions: usize,
}

impl Default for Shape {
    /// The embedded model: 11.3 M parameters.
    fn default() -> Shape {
        Shape {
            d: 256,
            layers: 8,
            heads: 4,
            kv_heads: 2,
            head_dim: 64,
            ff: 896,
            vocab: 16_384,
            rope_theta: 10_000.0,
            eps: 1e-6,
            max_positions: 2048,
        }
    }
}

impl Shape {
    /// Refuses sizes that make no model or one beyond what this trainer is for (2³¹ parameters).
    pub fn check(&self) -> Result<(), TrainError> {
        let sizes = [self.d, self.layers, self.heads, self.kv_heads, self.head_dim, self.ff, self.vocab];
        let sound = sizes.iter().all(|&n| n > 0 && n <= 1 << 20)
            && self.layers <= 512
            && self.heads.is_multiple_of(self.kv_heads)
            && self.head_dim.is_multiple_of(2)
            && self.max_positions > 0
            && self.max_positions <= 1 << 20
            && self.rope_theta.is_finite()
            && self.rope_theta > 1.0
            && self.eps > 0.0
            && self.eps < 1.0;
        if !sound || self.n_parameters_wide() > 1 << 31 {
            return Err(TrainError::Config(format!("model sizes cannot be trained: {self:?}")));
        }
        Ok(())
    }

    fn n_parameters_wide(&self) -> u128 {
        let (d, ff) = (self.d as u128, self.ff as u128);
        let qkv = (self.heads + 2 * self.kv_heads) as u128 * self.head_dim as u128;
        let layer = qkv * d + d * (self.heads * self.head_dim) as u128 + 3 * ff * d + 2 * d;
        self.vocab as u128 * d + self.layers as u128 * layer + d
    }

    /// Number of trained parameters.
    pub fn n_parameters(&self) -> usize {
        self.n_parameters_wide() as usize
    }

    /// Columns of the joined q, k, v projection.
    pub(crate) fn qkv(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// `config.json` as Hugging Face's `LlamaForCausalLM` reads it.
    pub fn to_config_json(&self) -> serde_json::Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.d,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.ff,
            "vocab_size": self.vocab,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": f64::from(self.eps).mul_add(1e12, 0.5).floor() / 1e12,
            "max_position_embeddings": self.max_positions,
            "hidden_act": "silu",
            "tie_word_embeddings": true,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "torch_dtype": "float32",
        })
    }

    /// Reads `config.json`; `path` only names the file in errors.
    pub fn from_config_json(value: &serde_json::Value, path: &Path) -> Result<Shape, TrainError> {
        let number = |key: &str| {
            let n = value.get(key).and_then(serde_json::Value::as_u64).and_then(|n| usize::try_from(n).ok());
            n.ok_or_else(|| TrainError::malformed(path, format!("`{key}` is missing or no whole number")))
        };
        let real = |key: &str| {
            let x = value.get(key).and_then(serde_json::Value::as_f64);
            x.map(|x| x as f32).ok_or_else(|| TrainError::malformed(path, format!("`{key}` is missing or no number")))
        };
        if value.get("tie_word_embeddings").and_then(serde_json::Value::as_bool) != Some(true) {
            return Err(TrainError::malformed(path, "only models with `tie_word_embeddings: true` can be trained here"));
        }
        if value.get("model_type").and_then(serde_json::Value::as_str) != Some("llama") {
            return Err(TrainError::malformed(path, "only `model_type: llama` can be trained here"));
        }
        let (d, heads) = (number("hidden_size")?, number("num_attention_heads")?);
        let shape = Shape {
            d,
            heads,
            layers: number("num_hidden_layers")?,
            kv_heads: number("num_key_value_heads")?,
            head_dim: if value.get("head_dim").is_some() { number("head_dim")? } else { d / heads.max(1) },
            ff: number("intermediate_size")?,
            vocab: number("vocab_size")?,
            rope_theta: real("rope_theta")?,
            eps: real("rms_norm_eps")?,
            max_positions: number("max_position_embeddings")?,
        };
        shape.check()?;
        Ok(shape)
    }
}

/// What a tensor is, which decides how it is initialised and optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The tied token embedding.
    Embedding,
    /// A projection inside a layer.
    Matrix,
    /// A projection that writes to the residual stream.
    Residual,
    /// A norm's weight.
    Norm,
    /// A factor of an adapter.
    Adapter,
}

/// One named tensor of the flat vector.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Hugging Face name.
    pub name: String,
    /// Where its elements lie, row-major.
    pub range: Range<usize>,
    /// Output width (1 for a norm).
    pub rows: usize,
    /// Input width.
    pub cols: usize,
    /// What it is.
    pub kind: Kind,
}

/// The ranges of one layer's parameters; `qkv` and `gate_up` join neighbours.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub norm1: Range<usize>,
    pub qkv: Range<usize>,
    pub o: Range<usize>,
    pub norm2: Range<usize>,
    pub gate_up: Range<usize>,
    pub down: Range<usize>,
}

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Layout {
    /// All tensors in order; together they cover the vector without gaps.
    pub tensors: Vec<Tensor>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) embedding: Range<usize>,
    pub(crate) norm: Range<usize>,
}

impl Layout {
    /// The layout of a checked shape.
    pub fn new(shape: &Shape) -> Layout {
        let Shape { d, ff, .. } = *shape;
        let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let mut tensors = Vec::new();
        let mut end = 0;
        let mut place = |name: String, rows: usize, cols: usize, kind: Kind| {
            let range = end..end + rows * cols;
            end = range.end;
            tensors.push(Tensor { name, range: range.clone(), rows, cols, kind });
            range
        };
        let embedding = place("model.embed_tokens.weight".into(), shape.vocab, d, Kind::Embedding);
        let mut layers = Vec::with_capacity(shape.layers);
        for l in 0..shape.layers {
            let mut layer = |part: &str, rows, cols, kind| place(format!("model.layers.{l}.{part}.weight"), rows, cols, kind);
            let norm1 = layer("input_layernorm", 1, d, Kind::Norm);
            let first = layer("self_attn.q_proj", q, d, Kind::Matrix);
            layer("self_attn.k_proj", kv, d, Kind::Matrix);
            let qkv = first.start..layer("self_attn.v_proj", kv, d, Kind::Matrix).end;
            let o = layer("self_attn.o_proj", d, q, Kind::Residual);
            let norm2 = layer("post_attention_layernorm", 1, d, Kind::Norm);
            let gate = layer("mlp.gate_proj", ff, d, Kind::Matrix);
            let gate_up = gate.start..layer("mlp.up_proj", ff, d, Kind::Matrix).end;
            let down = layer("mlp.down_proj", d, ff, Kind::Residual);
            layers.push(Layer { norm1, qkv, o, norm2, gate_up, down });
        }
        let norm = place("model.norm.weight".into(), 1, d, Kind::Norm);
        Layout { tensors, layers, embedding, norm }
    }

    /// Whether a tensor of this layout is the embedding.
    pub(crate) fn is_embedding(&self, tensor: &Tensor) -> bool {
        tensor.range == self.embedding
    }

    /// The layer that a tensor of this layout belongs to; none for the embedding and the last norm.
    pub(crate) fn layer_of(&self, tensor: &Tensor) -> Option<usize> {
        self.layers.iter().position(|l| (l.norm1.start..l.down.end).contains(&tensor.range.start))
    }

    /// Length of the flat vector.
    pub fn n_parameters(&self) -> usize {
        self.norm.end
    }

    /// Fresh weights: normal with deviation `std`, projections to the residual stream smaller by `√(2 · layers)`, norms 1.
    pub fn initial(&self, std: f32, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        let mut p = vec![1.0; self.n_parameters()];
        for t in &self.tensors {
            let std = match t.kind {
                Kind::Norm | Kind::Adapter => continue,
                Kind::Residual => std / (2.0 * self.layers.len() as f32).sqrt(),
                Kind::Embedding | Kind::Matrix => std,
            };
            p[t.range.clone()].fill_with(|| random.normal() * std);
        }
        p
    }
}
