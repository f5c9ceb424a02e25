//! Families of models, a file each: how a `config.json` becomes a [`ModelSpec`], and what is said
//! of it elsewhere.
//!
//! A new family: a file with its [`Family`], and its line in [`FAMILIES`]. What it computes that
//! others do not is data in the spec.

pub(crate) mod llama;
pub(crate) mod qwen2;
mod qwen3;

use serde_json::Value;

use crate::hyper::{ConfigError, Hyper, MOST, multiple};
use crate::spec::{AttentionSpec, BlockSpec, Head, MlpSpec, ModelSpec};

/// What sets a family apart.
pub struct Family {
    /// For people.
    pub name: &'static str,
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Class of `transformers`.
    pub class: &'static str,
    /// `general.architecture` in GGUF files.
    pub gguf: &'static str,
    /// llama.cpp rotates neighbours of a head, not halves: rows of queries and keys change places
    /// in GGUF files.
    pub interleaves_in_gguf: bool,
    /// Flags that its `config.json` has, and their usual values.
    pub flags: &'static [(&'static str, bool)],
    /// Reads what the family does its own way.
    features: fn(&Hyper) -> Result<Features, ConfigError>,
}

/// What families do differently.
struct Features {
    qkv_bias: bool,
    output_bias: bool,
    mlp_bias: bool,
    qk_norm: bool,
}

/// All that are known.
pub static FAMILIES: [&Family; 3] = [&llama::LLAMA, &qwen2::QWEN2, &qwen3::QWEN3];

/// The family of a `model_type`.
pub fn family(model_type: &str) -> Option<&'static Family> {
    FAMILIES.into_iter().find(|family| family.model_type == model_type)
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Reads and checks a `config.json`.
///
/// Errors: an unsupported family or feature, a missing key, a number that is zero, huge or does not
/// divide.
pub fn read_spec(config_json: &[u8]) -> Result<ModelSpec, ConfigError> {
    let value: Value =
        serde_json::from_slice(config_json).map_err(|e| ConfigError::NotAnObject(e.to_string()))?;
    let hyper = Hyper::of(&value)?;
    let model_type = hyper.text("model_type")?.ok_or(ConfigError::Missing("model_type"))?;
    let family = family(model_type)
        .ok_or_else(|| ConfigError::Family { got: model_type.to_owned(), known: known() })?;
    hyper.check_features()?;
    let Features { qkv_bias, output_bias, mlp_bias, qk_norm } = (family.features)(&hyper)?;
    let hidden = hyper.size("hidden_size", 1 << 18)?;
    let heads = hyper.size("num_attention_heads", 1 << 12)?;
    let kv_heads = hyper.optional_size("num_key_value_heads", 1 << 12)?.unwrap_or(heads);
    multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads)?;
    let head_dim = match hyper.optional_size("head_dim", 1 << 12)? {
        Some(head_dim) => head_dim,
        None => {
            multiple("hidden_size", hidden, "num_attention_heads", heads)?;
            hidden / heads
        }
    };
    multiple("head_dim", head_dim, "2 (RoPE rotates pairs)", 2)?;
    let rope = hyper.rope()?;
    let n_vocab = hyper.size("vocab_size", MOST)?;
    let layers = hyper.size("num_hidden_layers", 1 << 10)?;
    let mlp = MlpSpec { width: hyper.size("intermediate_size", 1 << 20)?, bias: mlp_bias };
    let attention = AttentionSpec { heads, kv_heads, head_dim, qkv_bias, output_bias, qk_norm };
    Ok(ModelSpec {
        family,
        n_vocab,
        hidden,
        blocks: vec![BlockSpec { attention, mlp }; layers],
        head: if hyper.flag("tie_word_embeddings")?.unwrap_or(false) {
            Head::Tied
        } else {
            Head::Own
        },
        rope,
        max_positions: hyper.optional_size("max_position_embeddings", MOST)?.unwrap_or(2048),
        norm_eps: hyper.number("rms_norm_eps", 1e-12, 1.0)?.unwrap_or(1e-6),
        code_languages: hyper.names("code_languages")?,
        suffix_weight: hyper.number("suffix_weight", 0.0, 10.0)?.unwrap_or(0.0),
        confidence: hyper.object("confidence")?,
    })
}

fn known() -> String {
    FAMILIES.map(|family| format!("{:?}", family.model_type)).join(", ")
}
