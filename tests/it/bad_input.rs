//! Hostile and broken input: an error of one line that names the thing, exit code 2, no panic, no
//! allocation of a lying size.
//!
//! Every run has 2 GB of address space: an allocation of the size that a file claims would end it
//! with an abort.

use std::os::unix::fs::FileExt;

use lacuna_tests::{Home, ModelDir, Output, TinyModel, binary};
use serde_json::{Value, json};

/// Address space of a run, in kilobytes.
const MEMORY: u64 = 2 << 20;
/// Processor seconds: no refusal takes more.
const CPU_SECONDS: u64 = 20;

fn complete(home: &Home, file: &str, at: &str, model: &str) -> Output {
    // Building it, where that is still to be done, is not part of the refusal.
    binary();
    home.lacuna_cpu_within(
        MEMORY,
        CPU_SECONDS,
        ["complete", "--no-deadline", file, "--at", at, "--model", model],
    )
}

/// Completes a good file with `model`, which is expected to be refused with these names in the
/// message.
#[track_caller]
fn refused(model: &ModelDir, names: &[&str]) {
    let home = Home::new();
    home.write("good.py", "x = 1\n");
    complete(&home, "good.py", "1:6", model.arg()).expect_failure(names);
    // The language server says the same before it reads a message.
    home.lacuna_within(MEMORY, ["lsp", "--model", model.arg()]).expect_failure(names);
}

#[test]
fn files_that_cannot_be_completed() {
    let home = Home::new();
    let model = TinyModel::default().write();
    home.write("binary.py", b"\x7fELF\x00\x01\x02");
    home.write("latin1.py", b"# caf\xe9\n");
    home.write("cut.py", b"x = '\xf0\x9f\xa6");
    home.write("folder.py/x", "");
    let huge = std::fs::File::create(home.work().join("huge.py")).unwrap();
    huge.write_at(b"x", 50 << 20).unwrap();
    let status = std::process::Command::new("mkfifo").arg(home.work().join("pipe.py")).status();
    assert!(status.is_ok_and(|s| s.success()), "mkfifo");
    for (file, names) in [
        ("missing.py", &["missing.py", "cannot be read", "check the path"][..]),
        ("folder.py/x/y.py", &["folder.py/x/y.py", "cannot be read"]),
        ("folder.py", &["folder.py", "directory", "give a file"]),
        ("binary.py", &["binary.py", "binary"]),
        ("latin1.py", &["latin1.py", "UTF-8", "byte 5"]),
        ("cut.py", &["cut.py", "UTF-8", "byte 5"]),
        ("huge.py", &["huge.py", "50 MB", "16 MB"]),
        ("pipe.py", &["pipe.py", "regular file"]),
        ("/dev/zero", &["/dev/zero", "regular file"]),
    ] {
        complete(&home, file, "1:1", model.arg()).expect_failure(names);
    }
}

#[test]
fn positions_outside_the_file() {
    let home = Home::new();
    let model = TinyModel::default().write();
    home.write("a.py", "x = 1\ny = 2");
    home.write("empty.py", "");
    for (file, at) in [
        ("a.py", "3:1"),
        ("a.py", "1:7"),
        ("a.py", "2:7"),
        ("a.py", "4294967295:4294967295"),
        ("empty.py", "1:2"),
        ("empty.py", "2:1"),
    ] {
        complete(&home, file, at, model.arg())
            .expect_failure(&[file, "--at", at, "outside", "line"]);
    }
    for at in ["", "1", "1:", ":1", "0:1", "1:0", "a:b", "1:1:1", "99999999999:1", "1,1"] {
        complete(&home, "a.py", at, model.arg()).expect_failure(&["--at"]);
    }
    for at in ["1:1", "1:6", "2:6"] {
        assert!(
            matches!(complete(&home, "a.py", at, model.arg()).code, Some(0 | 1)),
            "{at} is inside"
        );
    }
}

#[test]
fn models_that_are_not_there() {
    let home = Home::new();
    home.write("a.py", "x = 1\n");
    home.write("empty-dir/x", "");
    home.write("model.gguf", "GGUF");
    home.write("no-weights/tokenizer.json", TinyModel::default().tokenizer.to_string());
    home.write("alone/model.lacuna.safetensors", "");
    for (model, names) in [
        ("nowhere", &["nowhere", "does not exist", "give a directory"][..]),
        ("empty-dir", &["empty-dir", "tokenizer.json"]),
        ("model.gguf", &["model.gguf", "GGUF", "give a directory"]),
        ("no-weights", &["no-weights", "config.json"]),
        ("alone/model.lacuna.safetensors", &["alone", "tokenizer.json"]),
        ("a.py", &["a.py", "tokenizer.json"]),
    ] {
        complete(&home, "a.py", "1:6", model).expect_failure(names);
    }
}

/// The tiny model with one thing changed in the header of its weights.
fn with_header(change: impl FnOnce(&mut Value)) -> ModelDir {
    let mut model = TinyModel::default();
    change(&mut model.weights.header);
    model.write()
}

const Q: &str = "model.layers.0.self_attn.q_proj.weight";
const K: &str = "model.layers.0.self_attn.k_proj.weight";

#[test]
fn weights_whose_header_lies() {
    let offsets = |header: &Value, name: &str| header[name]["data_offsets"].clone();
    for (what, model) in [
        ("offsets past the end", with_header(|h| h[Q]["data_offsets"] = json!([0, 1u64 << 60]))),
        (
            "offsets that overflow",
            with_header(|h| h[Q]["data_offsets"] = json!([u64::MAX - 1, u64::MAX])),
        ),
        ("offsets backwards", with_header(|h| h[Q]["data_offsets"] = json!([4096, 0]))),
        (
            "two tensors in one place",
            with_header(|h| h[Q]["data_offsets"] = offsets(h, "lm_head.weight")),
        ),
        (
            "overlap",
            with_header(|h| {
                h[K]["data_offsets"] =
                    json!([offsets(h, K)[0].as_u64().unwrap() - 64, offsets(h, K)[1]])
            }),
        ),
        ("a size that overflows", with_header(|h| h[Q]["shape"] = json!([1u64 << 40, 1u64 << 40]))),
        ("a size beyond the file", with_header(|h| h[Q]["shape"] = json!([1u64 << 30, 64]))),
        ("an unknown type", with_header(|h| h[Q]["dtype"] = json!("F7"))),
        ("not an object", with_header(|h| *h = json!([1, 2]))),
        ("an entry that is none", with_header(|h| h[Q] = json!(null))),
    ] {
        eprintln!("{what}");
        refused(&model, &["model.safetensors"]);
    }
}

#[test]
fn weights_that_are_cut_or_garbage() {
    let model = TinyModel::default();
    let whole = model.weights.to_bytes();
    let with_length = |length: u64| [&length.to_le_bytes()[..], &whole[8..]].concat();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("a few bytes", whole[..5].to_vec()),
        ("cut in the header", whole[..100].to_vec()),
        ("cut in the data", whole[..whole.len() / 2].to_vec()),
        ("one byte short", whole[..whole.len() - 1].to_vec()),
        ("one byte more", [&whole[..], b"x"].concat()),
        ("the longest header", with_length(u64::MAX)),
        ("a header of a terabyte", with_length(1 << 40)),
        ("a header as long as the file", with_length(whole.len() as u64)),
        ("no header", with_length(0)),
        ("text", b"version https://git-lfs.example/spec/v1\noid sha256:0\n".to_vec()),
        ("a deep header", [&100_000u64.to_le_bytes()[..], &b"[".repeat(100_000)].concat()),
    ] {
        eprintln!("{what}");
        let dir = model.write();
        dir.put("model.safetensors", bytes);
        refused(&dir, &["model.safetensors"]);
    }
}

#[test]
fn weights_that_do_not_fit_the_config() {
    let transposed = with_header(|h| {
        let shape = h["lm_head.weight"]["shape"].clone();
        h["lm_head.weight"]["shape"] = json!([shape[1], shape[0]]);
    });
    refused(&transposed, &["model.safetensors", "lm_head.weight", "shape"]);
    let integers = with_header(|h| h[Q]["dtype"] = json!("I32"));
    refused(&integers, &["model.safetensors", Q, "I32"]);
    let missing = with_header(|h| {
        let entry = h.as_object_mut().unwrap().remove(Q).unwrap();
        h["model.layers.0.self_attn.other.weight"] = entry;
    });
    refused(&missing, &["model.safetensors", Q, "missing"]);
    let spare = with_header(|h| {
        let at = h["lm_head.weight"]["data_offsets"][1].clone();
        h["model.layers.0.spare.weight"] =
            json!({"dtype": "F32", "shape": [0], "data_offsets": [at, at]});
    });
    let home = Home::new();
    home.write("good.py", "x = 1\n");
    let output = complete(&home, "good.py", "1:6", spare.arg());
    assert_eq!(output.code, Some(2), "{output:?}");

    let mut model = TinyModel::default();
    let at = model.weights.header[Q]["data_offsets"][0].as_u64().unwrap() as usize;
    model.weights.data[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(&model.write(), &["model.safetensors", Q, "NaN"]);
}

#[test]
fn an_index_of_shards_that_lies() {
    let model = TinyModel::default().write();
    model.remove("model.safetensors");
    for (index, names) in [
        ("", &["index.json"][..]),
        ("[]", &["index.json", "weight_map"]),
        ("{\"weight_map\": {}}", &["index.json", "weight_map"]),
        ("{\"weight_map\": {\"a\": 1}}", &["index.json"]),
        ("{\"weight_map\": {\"a\": \"../../etc/passwd\"}}", &["index.json", "passwd"]),
        ("{\"weight_map\": {\"a\": \"/etc/passwd\"}}", &["index.json", "passwd"]),
        ("{\"weight_map\": {\"a\": \"gone.safetensors\"}}", &["gone.safetensors"]),
    ] {
        model.put("model.safetensors.index.json", index);
        refused(&model, names);
    }
}

#[test]
fn configs_with_missing_or_absurd_numbers() {
    let needed = [
        "model_type",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
    ];
    for key in needed {
        let mut model = TinyModel::default();
        model.config.as_object_mut().unwrap().remove(key);
        refused(&model.write(), &["config.json", key, "missing"]);
    }
    for (key, value) in [
        ("num_hidden_layers", json!(1_000_000_000)),
        ("num_hidden_layers", json!(1000)),
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(-1)),
        ("num_hidden_layers", json!(1.5)),
        ("num_hidden_layers", json!("2")),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(7)),
        ("num_key_value_heads", json!(0)),
        ("num_key_value_heads", json!(3)),
        ("hidden_size", json!(1u64 << 40)),
        ("hidden_size", json!(1u64 << 18)),
        ("hidden_size", json!(0)),
        ("hidden_size", json!([64])),
        ("head_dim", json!(33)),
        ("head_dim", json!(4096)),
        ("intermediate_size", json!(u64::MAX)),
        ("intermediate_size", json!(1 << 20)),
        ("vocab_size", json!(1u64 << 60)),
        ("vocab_size", json!(1 << 24)),
        ("vocab_size", json!(1)),
        ("max_position_embeddings", json!(1u64 << 50)),
        ("max_position_embeddings", json!(0)),
        ("rms_norm_eps", json!(-1.0)),
        ("rope_theta", json!(0)),
        ("rope_theta", json!(1e300)),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ("model_type", json!("gpt2")),
        ("model_type", json!(7)),
        ("hidden_act", json!("gelu")),
        ("tie_word_embeddings", json!("yes")),
        ("quantization_config", json!({"bits": 4})),
    ] {
        eprintln!("{key} = {value}");
        let mut model = TinyModel::default();
        model.config[key] = value;
        // A size that is merely wrong is noticed at the weights, an impossible one in the config.
        refused(&model.write(), &["model"]);
    }
    for (key, value) in [
        ("num_hidden_layers", json!(1_000_000_000)),
        ("num_attention_heads", json!(0)),
        ("hidden_size", json!(1u64 << 40)),
    ] {
        let mut model = TinyModel::default();
        model.config[key] = value.clone();
        refused(&model.write(), &["config.json", key, &value.to_string()[..1]]);
    }
}

#[test]
fn a_context_that_is_too_short_or_too_long() {
    let mut model = TinyModel::default();
    model.config["max_position_embeddings"] = json!(16);
    let home = Home::new();
    home.write("good.py", "x = foo\n");
    complete(&home, "good.py", "1:8", model.write().arg())
        .expect_failure(&["context of 16 tokens", "block_tokens"]);
    // The longest context that is accepted costs nothing until it is used.
    model.config["max_position_embeddings"] = json!(1 << 24);
    home.configure("[context]\nprompt_tokens = 32768\n");
    complete(&home, "good.py", "1:8", model.write().arg()).expect_code(0);
}

#[test]
fn configs_that_are_no_json() {
    let model = TinyModel::default().write();
    for text in ["", "{", "[]", "null", "\u{feff}{}", "{\"model_type\": \"llama\""] {
        model.put("config.json", text);
        refused(&model, &["config.json"]);
    }
    model.put("config.json", "[".repeat(200_000));
    refused(&model, &["config.json"]);
    model.put("config.json", b"\xff\xfe");
    refused(&model, &["config.json"]);
    model.remove("config.json");
    refused(&model, &["config.json"]);
}

#[test]
fn tokenizers_without_sentinels_or_sense() {
    let mut model = TinyModel::default();
    model.tokenizer["added_tokens"] = json!([]);
    refused(&model.write(), &["tokenizer.json", "fill-in-the-middle", "use a base code model"]);

    let mut model = TinyModel::default();
    let id = model.tokenizer["added_tokens"][1]["id"].clone();
    model.tokenizer["added_tokens"][2]["id"] = id;
    refused(&model.write(), &["tokenizer.json", "<|fim_prefix|>", "<|fim_middle|>", "same id"]);

    let mut model = TinyModel::default();
    model.tokenizer["model"]["vocab"]["more than the weights have"] = json!(5000);
    refused(&model.write(), &["tokenizer.json", "5001", "different models"]);

    for absurd in [json!(u32::MAX), json!(1u64 << 40)] {
        let mut model = TinyModel::default();
        model.tokenizer["added_tokens"][0]["id"] = absurd;
        refused(&model.write(), &["tokenizer.json", "absurd", "again"]);
    }
    let mut model = TinyModel::default();
    model.tokenizer["model"]["vocab"]["x0"] = json!(u32::MAX);
    refused(&model.write(), &["tokenizer.json"]);
    let mut model = TinyModel::default();
    model.tokenizer["model"]["merges"] = json!(["no such", "pieces here"]);
    refused(&model.write(), &["tokenizer.json"]);
}

#[test]
fn tokenizers_that_are_cut_or_garbage() {
    let model = TinyModel::default().write();
    let whole = TinyModel::default().tokenizer.to_string();
    let deep = "[".repeat(200_000);
    for text in ["", "{}", "[]", "null", "7", &whole[..whole.len() / 2], &whole[1..], &deep] {
        model.put("tokenizer.json", text);
        refused(&model, &["tokenizer.json"]);
    }
    model.put("tokenizer.json", b"\x00\xff\xfe");
    refused(&model, &["tokenizer.json"]);
    std::fs::File::create(model.path().join("tokenizer.json")).unwrap().set_len(200 << 20).unwrap();
    refused(&model, &["tokenizer.json", "larger than", "again"]);
    model.remove("tokenizer.json");
    refused(&model, &["tokenizer.json"]);
}

#[test]
fn packed_files_that_lie() {
    let home = Home::new();
    home.write("a.py", "x = 1\n");
    let source = TinyModel::default().write();
    let packed = home.work().join("packed/tiny.lacuna.safetensors");
    std::fs::create_dir(home.work().join("packed")).unwrap();
    home.lacuna(["model", "pack", source.arg(), "-o", packed.to_str().unwrap()]).expect_code(0);
    let model = "packed/tiny.lacuna.safetensors";
    assert!(
        matches!(complete(&home, "a.py", "1:6", model).code, Some(0 | 1)),
        "the packed model works"
    );

    let whole = std::fs::read(&packed).unwrap();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut", whole[..whole.len() - 100].to_vec()),
        ("cut in the header", whole[..64].to_vec()),
        ("a checkpoint that is not packed", TinyModel::default().weights.to_bytes()),
        ("another format", {
            let text = whole
                .iter()
                .map(|&b| b as char)
                .collect::<String>()
                .replace("lacuna-int4-v1", "lacuna-int4-v9");
            text.chars().map(|c| c as u8).collect()
        }),
    ] {
        eprintln!("{what}");
        std::fs::write(&packed, bytes).unwrap();
        complete(&home, "a.py", "1:6", model).expect_failure(&["tiny.lacuna.safetensors"]);
    }
}

#[test]
fn configuration_files_with_unknown_keys_or_values_out_of_range() {
    let model = TinyModel::default().write();
    for (text, names) in [
        ("[shwo]\nline_tokens = 1\n", &["shwo"][..]),
        ("[show]\nline_token = 1\n", &["line_token"]),
        ("[show]\nline_tokens = 0\n", &["show.line_tokens", "1 to 1024"]),
        ("[show]\nline_tokens = -1\n", &[]),
        ("[show]\nline_tokens = \"many\"\n", &[]),
        ("[show]\nblock_tokens = 100000\n", &["show.block_tokens", "1 to 4096"]),
        ("[show]\nmin_confidence = 1.5\n", &["show.min_confidence", "0 to 1"]),
        ("[show]\nmin_confidence = nan\n", &["show.min_confidence", "0 to 1"]),
        ("[context]\nprompt_tokens = 9999999\n", &["context.prompt_tokens", "32 to"]),
        ("[context]\nmax_file_bytes = 1\n", &["context.max_file_bytes"]),
        ("[kv]\nbudget_mb = 0\n", &["kv.budget_mb"]),
        ("[model]\norder = \"middle-out\"\n", &["middle-out"]),
        ("not toml at all", &[]),
        ("[show]\nline_tokens = 1\nline_tokens = 2\n", &[]),
    ] {
        for user_file in [false, true] {
            let home = Home::new();
            home.write("a.py", "x = 1\n");
            let name = if user_file {
                home.configure(text);
                "config.toml"
            } else {
                home.write("lacuna.toml", text);
                "lacuna.toml"
            };
            let names: Vec<&str> = names.iter().copied().chain([name]).collect();
            complete(&home, "a.py", "1:6", model.arg()).expect_failure(&names);
        }
    }
    let home = Home::new();
    home.write("a.py", "x = 1\n");
    home.write("lacuna.toml", b"\xff\xfe");
    complete(&home, "a.py", "1:6", model.arg()).expect_failure(&["lacuna.toml"]);
    std::fs::File::create(home.work().join("lacuna.toml")).unwrap().set_len(2 << 20).unwrap();
    complete(&home, "a.py", "1:6", model.arg()).expect_failure(&["lacuna.toml", "larger"]);
}

#[test]
fn misuse_of_the_command_line() {
    let home = Home::new();
    for args in [
        &["complete"][..],
        &["complete", "a.py"],
        &["complete", "a.py", "--at", "1:1", "-n", "0"],
        &["nonsense"],
        &[],
        &["lsp", "--tcp", "x"],
    ] {
        let output = home.lacuna(args).expect_code(2);
        assert!(
            output.stdout.is_empty()
                && !output.stderr.is_empty()
                && !output.stderr.contains("panicked"),
            "{output:?}"
        );
    }
    home.lacuna(["lsp", "--tcp", "127.0.0.1:0"]).expect_failure(&["--token-file"]);
    let token = home.write_secret("token", "0123456789abcdef");
    home.lacuna(["lsp", "--token-file", token.to_str().unwrap(), "--tcp", "0.0.0.0:0"])
        .expect_failure(&["--tcp", "0.0.0.0:0", "127.0.0.1"]);
}
