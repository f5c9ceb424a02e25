//! Qwen2: Qwen2.5-Coder. Queries, keys and values always have biases, nothing else has.

use super::{Family, Features};
use crate::hyper::{ConfigError, Hyper};

pub(crate) static QWEN2: Family = Family {
    name: "Qwen2",
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    gguf: "qwen2",
    interleaves_in_gguf: false,
    flags: &[("use_sliding_window", false)],
    features,
};

fn features(_: &Hyper) -> Result<Features, ConfigError> {
    Ok(Features { qkv_bias: true, output_bias: false, mlp_bias: false, qk_norm: false })
}
