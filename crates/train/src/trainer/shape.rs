//! The sizes of a model, the place of each tensor in the flat parameter vector, and `config.json`.
//!
//! All parameters lie in one `Vec<f32>`; gradients and moments have the same layout. Projections
//! that read the same input (q, k, v; gate, up) lie next to each other, so that one product
//! computes them together.

use std::ops::Range;
use std::path::Path;

use lacuna_model::{ConfigError, Head, ModelSpec, Role, RopeScaling, read_spec};
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
        let refused =
            |why: String| TrainError::Config(format!("model sizes cannot be trained: {why}"));
        let n = self.read().map_err(|e| refused(e.to_string()))?.parameters();
        if n > 1 << 31 { Err(refused(format!("{n} parameters, more than 2³¹"))) } else { Ok(()) }
    }

    fn read(&self) -> Result<ModelSpec, ConfigError> {
        read_spec(self.to_config_json().to_string().as_bytes())
    }

    /// The model that a checked shape describes.
    ///
    /// Panics: the shape does not pass [`Shape::check`].
    pub fn spec(&self) -> ModelSpec {
        self.read().expect("a checked shape")
    }

    /// Number of trained parameters of a checked shape.
    pub fn n_parameters(&self) -> usize {
        self.spec().parameters() as usize
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
    pub fn from_config_json(config_json: &[u8], path: &Path) -> Result<Shape, TrainError> {
        let spec =
            read_spec(config_json).map_err(|e| TrainError::malformed(path, e.to_string()))?;
        let (attention, mlp) = (spec.attention(), spec.mlp());
        let refused = |what: &str| Err(TrainError::malformed(path, what));
        if spec.head != Head::Tied {
            return refused("only models with `tie_word_embeddings: true` can be trained here");
        }
        if spec.family.model_type != "llama" {
            return refused("only `model_type: llama` can be trained here");
        }
        if attention.qkv_bias || attention.output_bias || mlp.bias {
            return refused("models with biases cannot be trained here");
        }
        if spec.rope.scaling != RopeScaling::None {
            return refused("models with scaled positions (`rope_scaling`) cannot be trained here");
        }
        let shape = Shape {
            d: spec.hidden,
            layers: spec.layers(),
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            ff: mlp.width,
            vocab: spec.n_vocab,
            rope_theta: spec.rope.theta,
            eps: spec.norm_eps,
            max_positions: spec.max_positions,
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

impl Kind {
    fn of(role: Role) -> Kind {
        match role {
            Role::Embedding | Role::Head => Kind::Embedding,
            Role::Output | Role::Down => Kind::Residual,
            Role::AttentionNorm
            | Role::QueryNorm
            | Role::KeyNorm
            | Role::MlpNorm
            | Role::FinalNorm => Kind::Norm,
            Role::Query | Role::Key | Role::Value | Role::Gate | Role::Up => Kind::Matrix,
        }
    }
}

/// One named tensor of the flat vector.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Hugging Face name.
    pub name: String,
    /// What it does in the model.
    pub role: Role,
    /// The layer that has it; none for the embedding and the last norm.
    pub layer: Option<usize>,
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
    /// The layout of a checked shape: tensors in the order in which a pass reads them.
    pub fn new(shape: &Shape) -> Layout {
        let mut specs = shape.spec().tensors();
        specs.sort_by_key(|tensor| (tensor.role == Role::FinalNorm, tensor.layer, tensor.role));
        let mut tensors = Vec::with_capacity(specs.len());
        let mut end = 0;
        for spec in specs {
            // A norm is a row.
            let (rows, cols) = spec.columns.map_or((1, spec.rows), |columns| (spec.rows, columns));
            let range = end..end + rows * cols;
            end = range.end;
            let kind = Kind::of(spec.role);
            tensors.push(Tensor {
                name: spec.name,
                role: spec.role,
                layer: spec.layer,
                range,
                rows,
                cols,
                kind,
            });
        }
        let place = |layer, role| {
            let tensor = tensors.iter().find(|t| (t.layer, t.role) == (layer, role));
            tensor.map(|t| t.range.clone()).expect("a spec lists the weights of its roles")
        };
        let join = |layer, first, last| place(layer, first).start..place(layer, last).end;
        let layers = (0..shape.layers).map(Some).map(|l| Layer {
            norm1: place(l, Role::AttentionNorm),
            qkv: join(l, Role::Query, Role::Value),
            o: place(l, Role::Output),
            norm2: place(l, Role::MlpNorm),
            gate_up: join(l, Role::Gate, Role::Up),
            down: place(l, Role::Down),
        });
        let (layers, embedding, norm) =
            (layers.collect(), place(None, Role::Embedding), place(None, Role::FinalNorm));
        Layout { tensors, layers, embedding, norm }
    }

    /// Length of the flat vector.
    pub fn n_parameters(&self) -> usize {
        self.norm.end
    }

    /// Fresh weights: normal with deviation `std`, projections to the residual stream smaller by
    /// `√(2 · layers)`, norms 1.
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
