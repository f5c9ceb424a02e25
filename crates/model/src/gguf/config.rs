//! What a GGUF file says of a model, as the `config.json` of a directory in Hugging Face layout:
//! families are read in one place.

use serde_json::{Map, Value, json};

use super::read::{GgufError, Header};
use crate::family::FAMILIES;

/// Keys below the architecture's name, and what `config.json` calls them.
const NUMBERS: [(&str, &str); 12] = [
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("attention.head_count", "num_attention_heads"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("context_length", "max_position_embeddings"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("rope.freq_base", "rope_theta"),
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
];
/// So many of them must be there.
const NEEDED: usize = 4;

/// The model as `config.json` would have it.
///
/// Errors: an unknown architecture, a key that is missing or of another kind. Whether the numbers
/// make sense is [`crate::read_spec`]'s.
pub(crate) fn config(header: &Header) -> Result<Value, GgufError> {
    match header.text("general.type")? {
        None | Some("model") => {}
        Some(other) => return Err(GgufError::NotAModel(other.chars().take(40).collect())),
    }
    let missing = |key: &str| GgufError::Missing { key: key.to_owned() };
    let architecture =
        header.text("general.architecture")?.ok_or_else(|| missing("general.architecture"))?;
    let family = FAMILIES.iter().find(|family| family.gguf == architecture).ok_or_else(|| {
        let known = FAMILIES.map(|family| format!("{:?}", family.gguf)).join(", ");
        GgufError::Architecture { got: architecture.chars().take(40).collect(), known }
    })?;
    let own = |key: &str| format!("{architecture}.{key}");
    let has = |tensor: &str| header.tensors.contains_key(tensor);

    let mut config = Map::new();
    config.insert("model_type".to_owned(), json!(family.model_type));
    for (i, (key, name)) in NUMBERS.iter().enumerate() {
        let key = own(key);
        match header.number(&key)? {
            Some(value) => drop(config.insert((*name).to_owned(), as_json(value))),
            None if i < NEEDED => return Err(missing(&key)),
            None => {}
        }
    }
    // Files of before 2024 do not say it, and some say the number without padding.
    let embedding = header.tensors.get("token_embd.weight");
    let rows =
        embedding.map(|tensor| tensor.shape[0]).ok_or_else(|| missing("token_embd.weight"))?;
    config.insert("vocab_size".to_owned(), json!(rows));
    config.insert("tie_word_embeddings".to_owned(), json!(!has("output.weight")));
    let has_bias = |part: &str| has(&format!("blk.0.{part}.bias"));
    let attention = ["attn_q", "attn_k", "attn_v", "attn_output"].into_iter().any(has_bias);
    let mlp = ["ffn_gate", "ffn_up", "ffn_down"].into_iter().any(has_bias);
    config.insert("attention_bias".to_owned(), json!(attention));
    config.insert("mlp_bias".to_owned(), json!(mlp));
    if let Some(scaling) = rope_scaling(header, architecture)? {
        config.insert("rope_scaling".to_owned(), scaling);
    }
    Ok(Value::Object(config))
}

/// Whole numbers as such: sizes are read as whole numbers.
fn as_json(value: f64) -> Value {
    if value.fract() == 0.0 && (0.0..9e15).contains(&value) {
        json!(value as u64)
    } else {
        json!(value)
    }
}

/// `rope_scaling`; `None`: there is none.
fn rope_scaling(header: &Header, architecture: &str) -> Result<Option<Value>, GgufError> {
    let own = |key: &str| format!("{architecture}.rope.{key}");
    if let Some(factors) = header.tensors.get("rope_freqs.weight") {
        let mut values = vec![0.0; factors.shape.iter().product()];
        factors.encoding.decode(factors.data, &mut values);
        let theta = header.number(&own("freq_base"))?.unwrap_or(10_000.0);
        return llama3(&values, theta).map(Some).ok_or(GgufError::RopeFrequencies);
    }
    // The key of files of before the autumn of 2023.
    let old = header.number(&own("scale_linear"))?.filter(|factor| *factor != 1.0);
    let kind = header.text(&own("scaling.type"))?;
    let Some(kind) = kind.filter(|kind| *kind != "none").or(old.map(|_| "linear")) else {
        return Ok(None);
    };
    let mut scaling = Map::from_iter([("rope_type".to_owned(), json!(kind))]);
    for (key, name) in [
        ("scaling.factor", "factor"),
        ("scaling.original_context_length", "original_max_position_embeddings"),
        ("scaling.attn_factor", "attention_factor"),
        ("scaling.yarn_beta_fast", "beta_fast"),
        ("scaling.yarn_beta_slow", "beta_slow"),
    ] {
        if let Some(value) = header.number(&own(key))? {
            scaling.insert(name.to_owned(), as_json(value));
        }
    }
    if let Some(factor) = old {
        scaling.insert("factor".to_owned(), json!(factor));
    }
    Ok(Some(Value::Object(scaling)))
}

/// Where Llama 3's ramp lies, from the lowest frequency that is partly kept to the lowest that is
/// kept: turns within the original context.
const LOW_HIGH: (f64, f64) = (1.0, 4.0);

/// Llama 3's scaling, read off what each frequency is divided by; `None`: it is another one.
fn llama3(factors: &[f32], theta: f64) -> Option<Value> {
    let factor = f64::from(*factors.last()?);
    if !(1.0..=1e6).contains(&factor) {
        return None;
    }
    let frequency = |i: usize| theta.powf(-2.0 * i as f64 / (2 * factors.len()) as f64);
    let divided_by = |frequency: f64, (low, high, original): (f64, f64, f64)| {
        let wavelength = std::f64::consts::TAU / frequency;
        let kept = ((original / wavelength - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / ((1.0 - kept) / factor + kept)
    };
    let agrees = |ramp: &(f64, f64, f64)| {
        factors.iter().enumerate().all(|(i, got)| {
            let want = divided_by(frequency(i), *ramp);
            (f64::from(*got) - want).abs() <= 1e-3 * want
        })
    };
    let per = |i: usize| frequency(i) / std::f64::consts::TAU;
    let (low, high, original) = ramps(factors, factor, per).into_iter().find(agrees)?;
    Some(json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low,
        "high_freq_factor": high, "original_max_position_embeddings": original.round() as u64}))
}

/// Ramps (low, high, original context) that may be meant, the usual ones first; `per`: turns a
/// position.
///
/// On the ramp a frequency is kept by a share that is linear in it: one on it says what context is
/// meant by a ramp of the usual ends, two of them say all (`high - low` is free then).
fn ramps(factors: &[f32], factor: f64, per: impl Fn(usize) -> f64) -> Vec<(f64, f64, f64)> {
    let kept = |i: usize| (1.0 / f64::from(factors[i]) - 1.0 / factor) / (1.0 - 1.0 / factor);
    let on_ramp = |i: &usize| (0.01..0.99).contains(&kept(*i));
    let (low, high) = LOW_HIGH;
    let usual = |original: f64| (low, high, original);
    let mut all = vec![usual(8192.0)];
    if let Some(last_kept) = (0..factors.len()).rev().find(|i| kept(*i) >= 0.99) {
        all.push(usual(high / per(last_kept)));
    }
    let first = (0..factors.len()).find(on_ramp);
    let last = (0..factors.len()).rev().find(on_ramp);
    if let (Some(first), Some(last)) = (first, last) {
        all.push(usual((kept(first) * (high - low) + low) / per(first)));
        if first != last {
            let slope = (kept(first) - kept(last)) / (per(first) - per(last));
            let low = (high - low) * (slope * per(first) - kept(first));
            all.push((low, low + 3.0, 3.0 * slope));
        }
    }
    all.retain(|(low, _, original)| *low >= 1e-3 && (1.0..1e7).contains(original));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rope::{RopeScaling, RopeSpec};

    #[test]
    fn llama3_is_read_off_the_frequencies() {
        for (low, high, original, factor, theta, head_dim) in [
            (1.0, 4.0, 8192, 8.0, 500_000.0, 128),
            (1.0, 4.0, 8192, 32.0, 500_000.0, 64),
            (1.0, 4.0, 8192, 8.0, 10_000.0, 16),
            (1.0, 4.0, 64, 8.0, 500_000.0, 16),
            (2.0, 5.0, 4096, 16.0, 500_000.0, 128),
        ] {
            let scaling = RopeScaling::Llama3 { factor, low, high, original_positions: original };
            let spec = |scaling| RopeSpec { theta, scaling };
            let plain = spec(RopeScaling::None).inverse_frequencies(head_dim);
            let scaled = spec(scaling).inverse_frequencies(head_dim);
            let factors: Vec<f32> = plain.iter().zip(&scaled).map(|(a, b)| a / b).collect();
            let read = llama3(&factors, f64::from(theta)).expect("it is Llama 3's");
            let number = |key: &str| read[key].as_f64().expect("a number");
            assert!((number("factor") - f64::from(factor)).abs() < 1e-3, "{read}");
            let original = original as f64;
            let got = number("original_max_position_embeddings");
            assert!((got - original).abs() <= 0.01 * original, "{read}");
            assert!((number("low_freq_factor") - f64::from(low)).abs() < 0.02, "{read}");
            assert!((number("high_freq_factor") - f64::from(high)).abs() < 0.02, "{read}");
        }
        assert_eq!(llama3(&[3.0, 1.0, 2.0, 8.0], 10_000.0), None, "no ramp");
        assert_eq!(llama3(&[f32::NAN, 1.0], 10_000.0), None);
    }
}
