//! Damaged and lying files: each gives an error that names the thing; none panics or allocates by
//! what it claims.

use lacuna_engine::{Model, Precision};
use lacuna_model::{LoadError, PACKED_SUFFIX, pack, read_spec};
use serde_json::{Value, json};

use crate::fixtures::{self, Copy};

fn with_header(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + len]).expect("JSON");
    edit(&mut header);
    let mut json = header.to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    [&(json.len() as u64).to_le_bytes()[..], &json, &bytes[8 + len..]].concat()
}

const NORM: &str = "model.norm.weight";

fn check_header(edit: impl FnOnce(&mut Value), is_expected: impl FnOnce(&LoadError) -> bool) {
    let copy = Copy::of("qwen2-bias");
    copy.write("model.safetensors", &with_header(&copy.read("model.safetensors"), edit));
    let error = copy.load().map(|_| ()).expect_err("damaged");
    assert!(is_expected(&error), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("model.safetensors") && !text.contains('\n') && text.len() < 600,
        "{text}"
    );
}

#[test]
fn lying_headers() {
    let container = |e: &LoadError| matches!(e, LoadError::Container { .. });
    check_header(|h| h[NORM]["data_offsets"] = json!([0, 64]), container);
    check_header(|h| h[NORM]["data_offsets"] = json!([u64::MAX - 64, u64::MAX]), container);
    check_header(|h| h[NORM]["data_offsets"] = json!([64, 0]), container);
    check_header(|h| h[NORM]["data_offsets"] = json!([-1, 5]), container);
    check_header(|h| h[NORM]["shape"] = json!([1u64 << 40, 1u64 << 40]), container);
    check_header(|h| h[NORM]["shape"] = json!([1u64 << 33]), container);
    check_header(|h| h[NORM]["dtype"] = json!("F32"), container);
    check_header(|h| h[NORM]["dtype"] = json!("float"), container);
    check_header(|h| h[NORM] = json!(7), container);
    check_header(|h| *h = json!([]), container);
    check_header(
        |h| h[NORM]["dtype"] = json!("I16"),
        |e| matches!(e, LoadError::Dtype { name, .. } if name == NORM),
    );
    check_header(
        |h| h[NORM]["shape"] = json!([4, 8]),
        |e| matches!(e, LoadError::Shape { name, .. } if name == NORM),
    );
    let rename = |h: &mut Value| {
        let spec = h[NORM].take();
        h.as_object_mut().expect("object").remove(NORM);
        h["model.other.weight"] = spec;
    };
    check_header(rename, |e| matches!(e, LoadError::MissingTensor { name, .. } if name == NORM));
}

#[test]
fn two_tensors_over_the_same_bytes() {
    check_header(
        |h| {
            let same = h["model.layers.0.input_layernorm.weight"].clone();
            h["model.layers.1.input_layernorm.weight"] = same;
        },
        |e| matches!(e, LoadError::Container { .. }),
    );
}

#[test]
fn truncated_at_every_kind_of_place() {
    let copy = Copy::of("qwen2-bias");
    let bytes = copy.read("model.safetensors");
    for len in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        copy.write("model.safetensors", &bytes[..len]);
        assert!(matches!(copy.load(), Err(LoadError::Container { .. })), "{len} bytes");
    }
    copy.write("model.safetensors", &[&bytes[..], b"more"].concat());
    assert!(matches!(copy.load(), Err(LoadError::Container { .. })), "bytes after the end");
    for lie in [u64::MAX, 1 << 40, bytes.len() as u64] {
        copy.write("model.safetensors", &[&lie.to_le_bytes()[..], &bytes[8..]].concat());
        assert!(matches!(copy.load(), Err(LoadError::Container { .. })), "header length {lie}");
    }
}

#[test]
fn packed_files_truncated_or_flipped_never_panic() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join(format!("m{PACKED_SUFFIX}"));
    pack(fixtures::directory("qwen2-bias"), &file).expect("packs");
    let bytes = std::fs::read(&file).expect("written");
    for len in (0..bytes.len()).step_by(97) {
        assert!(Model::from_packed(&bytes[..len]).is_err(), "{len} bytes");
    }
    // Any single byte of the header: an error or a model, never a panic.
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut errors = 0;
    for at in 0..header {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 7);
        errors += usize::from(Model::from_packed(&flipped).is_err());
    }
    assert!(errors > header / 2, "most single flips are noticed: {errors} of {header}");
}

#[test]
fn values_that_are_not_numbers() {
    let copy = Copy::of("llama-tied-gqa");
    let mut bytes = copy.read("model.safetensors");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    copy.write("model.safetensors", &bytes);
    assert!(matches!(copy.load(), Err(LoadError::NotFinite { .. })));
}

#[test]
fn a_tensor_that_does_not_belong() {
    let copy = Copy::of("qwen2-bias");
    // The file has biases that a Llama without attention_bias does not.
    copy.edit_config(|c| c["model_type"] = json!("llama"));
    assert!(
        matches!(copy.load(), Err(LoadError::UnexpectedTensor { name, .. }) if name.ends_with(".bias"))
    );
}

#[test]
fn indexes_that_lead_elsewhere() {
    const INDEX: &str = "model.safetensors.index.json";
    let check = |weight_map: Value, is_expected: fn(&LoadError) -> bool| {
        let copy = Copy::of("llama-untied-sharded");
        copy.write(INDEX, json!({ "weight_map": weight_map }).to_string().as_bytes());
        let error = copy.load().map(|_| ()).expect_err("damaged");
        assert!(is_expected(&error), "{error:?}");
    };
    check(json!({ "a": "../../model.safetensors" }), |e| matches!(e, LoadError::ShardName { .. }));
    check(json!({ "a": "/dev/zero" }), |e| matches!(e, LoadError::ShardName { .. }));
    check(json!({ "a": ".." }), |e| matches!(e, LoadError::ShardName { .. }));
    check(json!({ "a": 5 }), |e| matches!(e, LoadError::ShardName { .. }));
    check(json!({ "a": "nowhere.safetensors" }), |e| matches!(e, LoadError::Read { .. }));
    check(json!({ "a": "model-00001-of-00003.safetensors" }), |e| {
        matches!(e, LoadError::MissingTensor { .. })
    });
    check(json!({}), |e| matches!(e, LoadError::MissingTensor { .. }));
    check(json!(3), |e| matches!(e, LoadError::MissingTensor { .. }));
    let copy = Copy::of("llama-untied-sharded");
    copy.write(INDEX, b"{");
    assert!(matches!(copy.load(), Err(LoadError::Json { .. })));
}

#[test]
fn a_shard_twice() {
    let copy = Copy::of("llama-untied-sharded");
    copy.write("again.safetensors", &copy.read("model-00001-of-00003.safetensors"));
    let mut index: Value =
        serde_json::from_slice(&copy.read("model.safetensors.index.json")).expect("JSON");
    index["weight_map"]["again"] = json!("again.safetensors");
    copy.write("model.safetensors.index.json", index.to_string().as_bytes());
    assert!(matches!(copy.load(), Err(LoadError::DuplicateTensor { .. })));
}

#[test]
fn places_that_hold_no_model() {
    let dir = tempfile::tempdir().expect("temporary directory");
    assert!(matches!(Model::load(dir.path(), Precision::F32), Err(LoadError::NotAModel { .. })));
    assert!(matches!(
        Model::load(dir.path().join("nowhere"), Precision::F32),
        Err(LoadError::Read { .. })
    ));
    let file = dir.path().join("empty.lacuna.safetensors");
    std::fs::write(&file, b"").expect("written");
    assert!(matches!(Model::load(&file, Precision::F32), Err(LoadError::Container { .. })));
    let copy = Copy::of("qwen2-bias");
    std::fs::remove_file(copy.path().join("model.safetensors")).expect("removed");
    assert!(matches!(copy.load(), Err(LoadError::NotAModel { .. })));
}

#[test]
fn absurd_configs() {
    let copy = Copy::of("qwen2-bias");
    let original: Value = serde_json::from_slice(&copy.read("config.json")).expect("JSON");
    let check = |key: &str, value: Value, named: &str| {
        let mut config = original.clone();
        config[key] = value.clone();
        let error = read_spec(config.to_string().as_bytes()).expect_err("absurd");
        assert!(error.to_string().contains(named), "{key} = {value}: {error}");
    };
    let sizes = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    ];
    for key in sizes {
        for value in [
            json!(0),
            json!(-3),
            json!(1.5),
            json!("12"),
            json!(1u64 << 32),
            json!(u64::MAX),
            json!([1]),
            json!(1e300),
        ] {
            check(key, value, key);
        }
    }
    for key in &sizes[..5] {
        check(key, Value::Null, key);
    }
    check("num_attention_heads", json!(5), "num_attention_heads");
    check("num_key_value_heads", json!(3), "num_key_value_heads");
    check("head_dim", json!(7), "head_dim");
    check("rms_norm_eps", json!(-1.0), "rms_norm_eps");
    check("model_type", json!("mamba"), "mamba");
    check("model_type", Value::Null, "model_type");
    check("hidden_act", json!("gelu"), "gelu");
    check("use_sliding_window", json!(true), "sliding");
    check("quantization_config", json!({ "bits": 4 }), "quantised");
    check("rope_parameters", json!({ "rope_type": "longrope", "rope_theta": 1e4 }), "longrope");
    check("rope_parameters", json!({ "rope_type": "linear", "rope_theta": 1e4 }), "factor");
    check("rope_parameters", json!({ "rope_theta": -1 }), "rope_theta");
    check("rope_scaling", json!("yes"), "rope_scaling");
    check("tie_word_embeddings", json!("yes"), "tie_word_embeddings");
    for text in ["", "{", "[]", "7", "\u{feff}{}", "{\"model_type\": \"llama\"}"] {
        assert!(read_spec(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn a_config_that_asks_for_more_than_the_file_holds_allocates_nothing_for_it() {
    let checks: [fn(&mut Value); 3] = [
        |c| c["vocab_size"] = json!(1 << 24),
        |c| c["num_hidden_layers"] = json!(1000),
        |c| c["intermediate_size"] = json!(1 << 20),
    ];
    for edit in checks {
        let copy = Copy::of("qwen2-bias");
        copy.edit_config(edit);
        assert!(matches!(
            copy.load(),
            Err(LoadError::Shape { .. } | LoadError::MissingTensor { .. })
        ));
        let out = copy.path().join(format!("m{PACKED_SUFFIX}"));
        assert!(matches!(
            pack(copy.path(), out),
            Err(LoadError::Shape { .. } | LoadError::MissingTensor { .. })
        ));
    }
}
