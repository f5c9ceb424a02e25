//! Qwen3: each head of queries and keys is normed before it is rotated; biases only where the
//! config asks for them.

use super::{Family, Features};
use crate::hyper::{ConfigError, Hyper};

pub(crate) static QWEN3: Family = Family {
    name: "Qwen3",
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    gguf: "qwen3",
    interleaves_in_gguf: false,
    flags: &[("attention_bias", false), ("use_sliding_window", false)],
    features,
};

fn features(hyper: &Hyper) -> Result<Features, ConfigError> {
    let attention_bias = hyper.flag("attention_bias")?.unwrap_or(false);
    Ok(Features {
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        mlp_bias: false,
        qk_norm: true,
    })
}
