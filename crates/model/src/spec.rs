//! The shape of a model as data.

use crate::family::Family;
use crate::role::{Role, TensorSpec};
use crate::rope::RopeSpec;

/// The shape of a decoder. Made by [`crate::read_spec`], which checks every number: it is safe to
/// size buffers with.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    pub family: &'static Family,
    pub n_vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// From the embedding up, at least one. The families that are known have equal ones.
    pub blocks: Vec<BlockSpec>,
    pub head: Head,
    pub rope: RopeSpec,
    /// Longest context, in tokens.
    pub max_positions: usize,
    /// Added under the root of every RMSNorm.
    pub norm_eps: f32,
    /// `code_languages`: LSP ids of the languages that the model was trained for; `None`: it does
    /// not say.
    pub code_languages: Option<Vec<String>>,
    /// `suffix_weight`: how much what stands right of the cursor says of a line by this model,
    /// reading from left to right; 0 unless it says.
    pub suffix_weight: f32,
    /// `confidence`: how likely what it writes is right, as JSON; not read here. `None`: it does
    /// not say.
    pub confidence: Option<String>,
}

/// One layer: norm, attention, norm, feed-forward part, each half with its residual sum.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockSpec {
    pub attention: AttentionSpec,
    pub mlp: MlpSpec,
}

/// Attention of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSpec {
    pub heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: usize,
    /// Even.
    pub head_dim: usize,
    /// Biases on the projections of queries, keys and values.
    pub qkv_bias: bool,
    /// Bias on the projection back.
    pub output_bias: bool,
    /// RMSNorm of each head of queries and keys, before the rotation.
    pub qk_norm: bool,
}

/// Feed-forward part of a block: `down(silu(gate) · up)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlpSpec {
    /// Inner width.
    pub width: usize,
    /// Biases on its three projections.
    pub bias: bool,
}

/// The vocabulary projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The embedding.
    Tied,
    /// A matrix of its own.
    Own,
}

impl AttentionSpec {
    /// Width of the queries of one token.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of the keys (or values) of one token.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

impl ModelSpec {
    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// The attention that all blocks have.
    pub fn attention(&self) -> &AttentionSpec {
        &self.blocks[0].attention
    }

    /// The feed-forward part that all blocks have.
    pub fn mlp(&self) -> &MlpSpec {
        &self.blocks[0].mlp
    }

    /// Width of the queries of one token in one layer.
    pub fn q_width(&self) -> usize {
        self.attention().q_width()
    }

    /// Width of the keys (or values) of one token in one layer.
    pub fn kv_width(&self) -> usize {
        self.attention().kv_width()
    }

    /// Every tensor of a checkpoint of this shape, in the order of files: embedding, blocks, norm,
    /// head.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let d = self.hidden;
        let mut all = vec![TensorSpec::matrix(Role::Embedding, None, self.n_vocab, d)];
        for (layer, block) in self.blocks.iter().enumerate() {
            block.tensors(layer, d, &mut all);
        }
        all.push(TensorSpec::norm(Role::FinalNorm, None, d));
        if self.head == Head::Own {
            all.push(TensorSpec::matrix(Role::Head, None, self.n_vocab, d));
        }
        all
    }

    /// Number of weights, each counted once.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(|tensor| tensor.elements() as u64).sum()
    }
}

impl BlockSpec {
    fn tensors(&self, layer: usize, d: usize, all: &mut Vec<TensorSpec>) {
        let BlockSpec { attention, mlp } = self;
        let (q, kv, ff) = (attention.q_width(), attention.kv_width(), mlp.width);
        for (role, rows, columns, has_bias) in [
            (Role::Query, q, d, attention.qkv_bias),
            (Role::Key, kv, d, attention.qkv_bias),
            (Role::Value, kv, d, attention.qkv_bias),
            (Role::Output, d, q, attention.output_bias),
            (Role::Gate, ff, d, mlp.bias),
            (Role::Up, ff, d, mlp.bias),
            (Role::Down, d, ff, mlp.bias),
        ] {
            all.push(TensorSpec::matrix(role, Some(layer), rows, columns));
            if has_bias {
                all.push(TensorSpec::bias(role, Some(layer), rows));
            }
        }
        let heads = attention.qk_norm.then_some([
            (Role::QueryNorm, attention.head_dim),
            (Role::KeyNorm, attention.head_dim),
        ]);
        let norms =
            heads.into_iter().flatten().chain([(Role::AttentionNorm, d), (Role::MlpNorm, d)]);
        all.extend(norms.map(|(role, rows)| TensorSpec::norm(role, Some(layer), rows)));
    }
}
