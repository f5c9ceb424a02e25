//! Llama: CodeLlama, DeepSeek-Coder, Yi-Coder, SmolLM2 and others that only differ in numbers.

use super::{Family, Features};
use crate::hyper::{ConfigError, Hyper};

pub(crate) static LLAMA: Family = Family {
    name: "Llama",
    model_type: "llama",
    class: "LlamaForCausalLM",
    gguf: "llama",
    interleaves_in_gguf: true,
    flags: &[("attention_bias", false), ("mlp_bias", false)],
    features,
};

fn features(hyper: &Hyper) -> Result<Features, ConfigError> {
    let attention_bias = hyper.flag("attention_bias")?.unwrap_or(false);
    let mlp_bias = hyper.flag("mlp_bias")?.unwrap_or(false);
    Ok(Features { qkv_bias: attention_bias, output_bias: attention_bias, mlp_bias, qk_norm: false })
}
