//! `lacuna model synth` and `lacuna model convert`: what they write, read back by a parser of our
//! own, and by llama.cpp itself.
//!
//! The comparison with llama.cpp runs where `LACUNA_LLAMA_CPP` names a folder that
//! `tests/peers/llama_cpp.sh` has built, for example `target/peers/llama.cpp-native`; it needs
//! python3.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use lacuna_tests::{Container, HANG, Home, Random, TinyModel, binary, run, workspace};
use serde_json::{Map, Value, json};

fn synth(home: &Home, shape: &str, dir: &str) -> PathBuf {
    let output = home.lacuna(["model", "synth", "--like", shape, "-o", dir]).expect_code(0);
    assert!(output.stdout.is_empty() && output.stderr.contains("wrote"), "{output:?}");
    home.work().join(dir)
}

fn convert(home: &Home, dir: &str, file: &str, more: &[&str]) -> Vec<u8> {
    let args = ["model", "convert", dir, "--to", "gguf", "-o", file];
    let output = home.lacuna(args.iter().chain(more)).expect_code(0);
    assert!(output.stdout.is_empty() && output.stderr.contains("wrote"), "{output:?}");
    std::fs::read(home.work().join(file)).expect("the file")
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect()
}

fn bytes(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn a_synthetic_model_is_the_same_each_time_and_runs() {
    let home = Home::new();
    let sample = workspace().join("datasets/samples/in_progress.py");
    for (shape, family) in [("tiny", "Llama"), ("tiny-qwen2", "Qwen2")] {
        let first = synth(&home, shape, &format!("{shape}-1"));
        let files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(names(&first), files.map(str::to_owned).into());
        let again = synth(&home, shape, &format!("deep/er/{shape}-2"));
        for name in files {
            assert_eq!(bytes(&first, name), bytes(&again, name), "{shape} {name}");
        }
        home.lacuna(["model", "synth", "--like", shape, "-o", "other", "--seed", "2"])
            .expect_code(0);
        let other = home.work().join("other");
        assert_ne!(bytes(&first, "model.safetensors"), bytes(&other, "model.safetensors"));
        assert_eq!(bytes(&first, "tokenizer.json"), bytes(&other, "tokenizer.json"));
        std::fs::remove_dir_all(other).expect("ours");

        let dir = first.to_str().expect("plain");
        home.lacuna(["model", "verify", dir]).expect_code(0);
        let info = home.lacuna(["model", "info", dir]).expect_code(0).stdout;
        assert!(info.contains(family) && info.contains("prefix 1, suffix 3, middle 2"), "{info}");
        let output = home.lacuna([
            "complete",
            "--no-deadline",
            sample.to_str().expect("plain"),
            "--at",
            "46:22",
            "--model",
            dir,
            "--json",
        ]);
        assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
        let json: Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert!(json["tokens"]["generated"].as_u64() > Some(0), "{json}");
    }
    let own = synth(&home, "embedded", "own");
    assert_eq!(
        bytes(&own, "tokenizer.json"),
        std::fs::read(workspace().join("datasets/embedded/tokenizer.json")).expect("committed")
    );
}

#[test]
fn synth_overwrites_nothing() {
    let home = Home::new();
    home.write("full/precious", "x");
    home.write("file", "x");
    let synth =
        |shape: &str, out: &str| home.lacuna(["model", "synth", "--like", shape, "-o", out]);
    synth("tiny", "full").expect_failure(&["-o full", "not empty", "new directory"]);
    synth("tiny", "file").expect_failure(&["-o file", "is a file", "new directory"]);
    synth("tiny", "file/below").expect_failure(&["-o file/below"]);
    synth("starcoder2-3b", "new").expect_failure(&[
        "starcoder2-3b",
        "Llama, Qwen2, Qwen3",
        "qwen2.5-coder-0.5b",
        "codellama-7b",
    ]);
    assert_eq!(names(&home.work()), ["file", "full"].map(str::to_owned).into());
    assert_eq!(names(&home.work().join("full")), ["precious".to_owned()].into());
    // An empty one is as good as a new one.
    std::fs::create_dir(home.work().join("empty")).expect("created");
    synth("tiny", "empty").expect_code(0);
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing() {
    let home = Home::new();
    std::fs::create_dir(home.work().join("small")).expect("created");
    let script = "mount -t tmpfs -o size=1m none small && \"$0\" \"$@\"; code=$?; ls -A small >&2; exit $code";
    let mut command = home.command("unshare");
    command.args(["-rm", "sh", "-c", script]).arg(binary());
    let output = run(command.args(["model", "synth", "--like", "tiny", "-o", "small/m"]));
    if !output.stderr.contains("lacuna: ") {
        eprintln!("skipped: no mounts here ({})", output.stderr.trim());
        return;
    }
    // One line and no listing.
    output.expect_failure(&["model.safetensors", "No space left", "bytes in all", "free"]);
}

#[test]
fn an_interrupted_synth_leaves_nothing() {
    let home = Home::new();
    let out = home.work().join("m");
    let mut command = home.command(binary());
    command.args(["model", "synth", "--like", "qwen2.5-coder-1.5b", "-o", "m"]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let stage = out.join(format!(".{}.tmp", child.id())).join("model.safetensors");
    let start = Instant::now();
    while !std::fs::metadata(&stage).is_ok_and(|m| m.len() > 0) {
        assert!(start.elapsed() < HANG, "{} does not appear", stage.display());
        std::thread::yield_now();
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.is_ok_and(|s| s.success()), "kill");
    let ended = child.wait_with_output().expect("ended");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.code() == Some(2) && stderr.contains("interrupted"),
        "{:?} {stderr}",
        ended.status
    );
    assert!(!out.exists());
}

/// A GGUF file, read by its specification and nothing of ours.
struct Gguf {
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

struct Tensor {
    /// Rows, then columns.
    shape: Vec<usize>,
    /// Number of `ggml_type`.
    kind: u32,
    values: Vec<f32>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four"))
    }

    fn u64(&mut self) -> usize {
        u64::from_le_bytes(self.take(8).try_into().expect("eight")) as usize
    }

    fn string(&mut self) -> String {
        let n = self.u64();
        String::from_utf8(self.take(n).to_vec()).expect("UTF-8")
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            4 => self.u32().into(),
            5 => (self.u32() as i32).into(),
            6 => f32::from_bits(self.u32()).into(),
            7 => (self.take(1)[0] != 0).into(),
            8 => self.string().into(),
            9 => {
                let (kind, n) = (self.u32(), self.u64());
                (0..n).map(|_| self.value(kind)).collect()
            }
            other => panic!("no such type of metadata: {other}"),
        }
    }
}

impl Gguf {
    fn parse(file: &[u8]) -> Gguf {
        let mut reader = Reader(file);
        assert_eq!((reader.take(4), reader.u32()), (&b"GGUF"[..], 3));
        let (n_tensors, n_values) = (reader.u64(), reader.u64());
        let mut metadata = BTreeMap::new();
        for _ in 0..n_values {
            let (key, kind) = (reader.string(), reader.u32());
            let value = reader.value(kind);
            assert_eq!(metadata.insert(key.clone(), value), None, "{key} twice");
        }
        let mut infos = Vec::new();
        for _ in 0..n_tensors {
            let name = reader.string();
            let n = reader.u32();
            let mut shape: Vec<usize> = (0..n).map(|_| reader.u64()).collect();
            shape.reverse();
            infos.push((name, shape, reader.u32(), reader.u64()));
        }
        let start = (file.len() - reader.0.len()).next_multiple_of(32);
        let mut end = start;
        let mut tensors = BTreeMap::new();
        for (name, shape, kind, offset) in infos {
            assert_eq!(
                start + offset,
                end.next_multiple_of(32),
                "{name} follows the one before, aligned"
            );
            let n: usize = shape.iter().product();
            let (size, values) = decode(kind, &file[start + offset..], n);
            end = start + offset + size;
            assert!(tensors.insert(name, Tensor { shape, kind, values }).is_none());
        }
        assert_eq!(
            file.len(),
            end.next_multiple_of(32),
            "nothing after the last tensor but padding"
        );
        Gguf { metadata, tensors }
    }
}

/// Size in bytes and the values of `n` numbers of a `ggml_type`.
fn decode(kind: u32, data: &[u8], n: usize) -> (usize, Vec<f32>) {
    let half = |b: &[u8]| f16(u16::from_le_bytes([b[0], b[1]]));
    let blocks = |size: usize| data[..n / 32 * size].chunks(size);
    match kind {
        0 => (
            4 * n,
            data[..4 * n]
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().expect("four")))
                .collect(),
        ),
        1 => (2 * n, data[..2 * n].chunks(2).map(half).collect()),
        2 => {
            let block = |b: &[u8]| -> Vec<f32> {
                (0..32)
                    .map(|i| {
                        f32::from(if i < 16 { b[2 + i] & 15 } else { b[2 + i - 16] >> 4 }) - 8.0
                    })
                    .map(|v| v * half(b))
                    .collect()
            };
            (n / 32 * 18, blocks(18).flat_map(block).collect())
        }
        8 => {
            let block = |b: &[u8]| -> Vec<f32> {
                b[2..].iter().map(|v| f32::from(*v as i8) * half(b)).collect()
            };
            (n / 32 * 34, blocks(34).flat_map(block).collect())
        }
        other => panic!("no such type of tensor: {other}"),
    }
}

fn f16(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (bits >> 15, i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        e => (1.0 + fraction / 1024.0) * 2f32.powi(e - 15),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

/// The tensors of a safetensors file in bf16.
fn bf16_tensors(file: &[u8]) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let read = safetensors::SafeTensors::deserialize(file).expect("safetensors");
    let widen = |b: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
    let tensors = read.tensors().into_iter();
    tensors
        .map(|(name, view)| {
            (name, (view.shape().to_vec(), view.data().chunks(2).map(widen).collect()))
        })
        .collect()
}

/// Rows of each head of 32 with both halves interleaved.
fn interleaved(values: &[f32], columns: usize) -> Vec<f32> {
    const HEAD: usize = 32;
    let rows = values.len() / columns;
    let source = |row: usize| row / HEAD * HEAD + row % 2 * (HEAD / 2) + row % HEAD / 2;
    (0..rows).flat_map(|row| &values[source(row) * columns..][..columns]).copied().collect()
}

/// Parts of a layer: in Hugging Face files, in GGUF, and whether it is rotated.
const PARTS: [(&str, &str, bool); 9] = [
    ("self_attn.q_proj", "attn_q", true),
    ("self_attn.k_proj", "attn_k", true),
    ("self_attn.v_proj", "attn_v", false),
    ("self_attn.o_proj", "attn_output", false),
    ("mlp.gate_proj", "ffn_gate", false),
    ("mlp.up_proj", "ffn_up", false),
    ("mlp.down_proj", "ffn_down", false),
    ("input_layernorm", "attn_norm", false),
    ("post_attention_layernorm", "ffn_norm", false),
];

#[test]
fn a_converted_file_holds_the_same_weights() {
    let home = Home::new();
    for (shape, llama) in [("tiny", true), ("tiny-qwen2", false)] {
        let source = bf16_tensors(&bytes(&synth(&home, shape, shape), "model.safetensors"));
        // (type, head) as given, ggml_type of matrices and of the head.
        for (kind, head, matrices, heads) in [
            ("f16", None, 1, 1),
            ("q8_0", None, 8, 8),
            ("q4_0", None, 2, 8),
            ("q4_0", Some("q4_0"), 2, 2),
            ("q4_0", Some("f16"), 2, 1),
            ("f16", Some("q8_0"), 1, 8),
        ] {
            let head: Vec<&str> = head.into_iter().flat_map(|head| ["--head", head]).collect();
            let file = Gguf::parse(&convert(
                &home,
                shape,
                "m.gguf",
                &[&["--type", kind], &head[..]].concat(),
            ));
            let mut seen = 0;
            for (name, (dimensions, values)) in &source {
                let (ours, rotated) = gguf_name(name);
                let tensor = file.tensors.get(&ours).unwrap_or_else(|| panic!("no {ours}"));
                seen += 1;
                assert_eq!(&tensor.shape, dimensions, "{ours}");
                let matrix = dimensions.len() == 2;
                let in_layer = name.starts_with("model.layers");
                let expected = if !matrix {
                    0
                } else if in_layer {
                    matrices
                } else {
                    heads
                };
                assert_eq!(tensor.kind, expected, "{ours} in {kind}");
                let columns = if matrix { dimensions[1] } else { 1 };
                let values =
                    if rotated && llama { interleaved(values, columns) } else { values.clone() };
                for (block, (got, want)) in
                    tensor.values.chunks(32).zip(values.chunks(32)).enumerate()
                {
                    let largest = want.iter().fold(0f32, |a, v| a.max(v.abs()));
                    let step = match expected {
                        // A bf16 value below 2⁻¹⁴ may lose digits.
                        0 | 1 => 2f32.powi(-25),
                        2 => largest / 8.0 * 1.001,
                        _ => largest / 127.0 * 0.55,
                    };
                    for (got, want) in got.iter().zip(want) {
                        assert!(
                            (got - want).abs() <= step,
                            "{ours} block {block}: {got} for {want}"
                        );
                    }
                }
            }
            assert_eq!(seen, file.tensors.len(), "every tensor has a source");
        }
    }
}

/// GGUF's name of a tensor, and whether its rows are rotated.
fn gguf_name(name: &str) -> (String, bool) {
    let Some(rest) = name.strip_prefix("model.layers.") else {
        let whole = match name {
            "model.embed_tokens.weight" => "token_embd.weight",
            "model.norm.weight" => "output_norm.weight",
            "lm_head.weight" => "output.weight",
            other => panic!("{other}"),
        };
        return (whole.to_owned(), false);
    };
    let (layer, rest) = rest.split_once('.').expect("a layer");
    let (module, kind) = rest.rsplit_once('.').expect("a kind");
    let (_, part, rotated) =
        PARTS.iter().find(|(from, _, _)| *from == module).unwrap_or_else(|| panic!("{module}"));
    (format!("blk.{layer}.{part}.{kind}"), *rotated)
}

#[test]
fn a_converted_file_says_what_llama_cpp_asks_for() {
    let home = Home::new();
    for (shape, family, epsilon, base) in
        [("tiny", "llama", 1e-5, 1e4), ("tiny-qwen2", "qwen2", 1e-6, 1e6)]
    {
        let dir = synth(&home, shape, shape);
        let file = Gguf::parse(&convert(&home, shape, "m.gguf", &["--type", "q4_0"]));
        let value = |key: &str| file.metadata.get(key).unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(value("general.architecture"), family);
        assert_eq!(value("general.file_type"), 2);
        assert_eq!(value("general.name"), shape);
        let own = |key: &str| value(&format!("{family}.{key}"));
        for (key, expected) in [
            ("vocab_size", 1024),
            ("context_length", 2048),
            ("embedding_length", 128),
            ("block_count", 3),
            ("feed_forward_length", 320),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("rope.dimension_count", 32),
        ] {
            assert_eq!(own(key), expected, "{key}");
        }
        assert_eq!(
            own("attention.layer_norm_rms_epsilon").as_f64(),
            Some(f64::from(epsilon as f32))
        );
        assert_eq!(own("rope.freq_base").as_f64(), Some(base));
        for (key, expected) in [
            ("model", json!("gpt2")),
            ("pre", json!("qwen2")),
            ("add_bos_token", json!(false)),
            ("eos_token_id", json!(0)),
            ("fim_pre_token_id", json!(1)),
            ("fim_mid_token_id", json!(2)),
            ("fim_suf_token_id", json!(3)),
            ("fim_pad_token_id", json!(4)),
            ("fim_rep_token_id", json!(5)),
            ("fim_sep_token_id", json!(6)),
        ] {
            assert_eq!(*value(&format!("tokenizer.ggml.{key}")), expected, "{key}");
        }
        let tokenizer: Value =
            serde_json::from_slice(&bytes(&dir, "tokenizer.json")).expect("JSON");
        let tokens = value("tokenizer.ggml.tokens").as_array().expect("a list");
        let kinds = value("tokenizer.ggml.token_type").as_array().expect("a list");
        assert_eq!((tokens.len(), kinds.len()), (1024, 1024));
        for (piece, id) in tokenizer["model"]["vocab"].as_object().expect("a vocabulary") {
            let id = id.as_u64().expect("an id") as usize;
            assert_eq!(tokens[id], *piece);
            assert_eq!(kinds[id], if id < 16 { 3 } else { 1 }, "{piece}");
        }
        let merges = tokenizer["model"]["merges"].as_array().expect("merges").iter();
        let merges: Value = merges
            .map(|m| format!("{} {}", m[0].as_str().expect("text"), m[1].as_str().expect("text")))
            .collect();
        assert_eq!(*value("tokenizer.ggml.merges"), merges);
    }
}

/// A model of one layer whose widths are no multiples of 32, but for the inner one of the
/// feed-forward part. `largest`: of its weights.
fn odd_model(home: &Home, largest: f32) {
    let tiny = TinyModel::default();
    let n_vocab = tiny.config["vocab_size"].as_u64().expect("a size") as usize;
    let (hidden, ff, kv) = (48, 96, 24);
    let mut config = tiny.config.clone();
    for (key, value) in
        [("hidden_size", hidden), ("intermediate_size", ff), ("num_hidden_layers", 1)]
    {
        config[key] = value.into();
    }
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), vec![n_vocab, hidden]),
        ("lm_head.weight".to_owned(), vec![n_vocab, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
        (layer("self_attn.q_proj"), vec![hidden, hidden]),
        (layer("self_attn.k_proj"), vec![kv, hidden]),
        (layer("self_attn.v_proj"), vec![kv, hidden]),
        (layer("self_attn.o_proj"), vec![hidden, hidden]),
        (layer("mlp.gate_proj"), vec![ff, hidden]),
        (layer("mlp.up_proj"), vec![ff, hidden]),
        (layer("mlp.down_proj"), vec![hidden, ff]),
        (layer("input_layernorm"), vec![hidden]),
        (layer("post_attention_layernorm"), vec![hidden]),
    ];
    let (mut header, mut data, mut random) = (Map::new(), Vec::new(), Random::new(5));
    for (name, shape) in tensors {
        let start = data.len();
        let n = shape.iter().product::<usize>();
        data.extend((0..n).flat_map(|_| (largest * random.unit()).to_le_bytes()));
        header.insert(
            name,
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    home.write("odd/config.json", config.to_string());
    home.write("odd/tokenizer.json", tiny.tokenizer.to_string());
    home.write("odd/model.safetensors", Container { header: header.into(), data }.to_bytes());
}

#[test]
fn a_model_that_loads_and_cannot_complete_is_no_model() {
    let home = Home::new();
    for largest in [1e30, 3e38] {
        odd_model(&home, largest);
        let output = home.lacuna(["model", "verify", "odd"]).expect_code(1);
        assert!(
            output.stdout.contains("odd") && output.stdout.contains("out of range"),
            "{output:?}"
        );
    }
    home.lacuna(["model", "verify", "embedded"]).expect_code(0);
}

#[test]
fn rows_that_fill_no_blocks_stay_f16() {
    let home = Home::new();
    odd_model(&home, 1.0);
    home.lacuna(["model", "verify", "odd"]).expect_code(0);
    let output = home
        .lacuna(["model", "convert", "odd", "--to", "gguf", "--type", "q4_0", "-o", "odd.gguf"])
        .expect_code(0);
    assert!(
        output.stderr.contains("8 tensors stay f16") && output.stderr.contains("multiple of 32"),
        "{output:?}"
    );
    let file = Gguf::parse(&bytes(&home.work(), "odd.gguf"));
    let matrices = file.tensors.iter().filter(|(_, t)| t.shape.len() == 2);
    for (name, tensor) in matrices {
        assert_eq!(tensor.kind, if name == "blk.0.ffn_down.weight" { 2 } else { 1 }, "{name}");
    }
}

#[test]
fn what_cannot_be_converted_is_named_and_nothing_is_lost() {
    let home = Home::new();
    let fail = |dir: &str, out: &str, names: &[&str]| {
        home.lacuna(["model", "convert", dir, "--to", "gguf", "-o", out]).expect_failure(names);
    };
    let good = synth(&home, "tiny", "good");
    let variant = |name: &str, edit: &dyn Fn(&Path)| {
        let dir = home.work().join(name);
        std::fs::create_dir(&dir).expect("created");
        for file in names(&good) {
            std::fs::copy(good.join(&file), dir.join(&file)).expect("copied");
        }
        edit(&dir);
    };
    let edit_json = |dir: &Path, file: &str, edit: &dyn Fn(&mut Value)| {
        let mut json: Value = serde_json::from_slice(&bytes(dir, file)).expect("JSON");
        edit(&mut json);
        std::fs::write(dir.join(file), json.to_string()).expect("written");
    };
    home.write("precious.gguf", "precious");
    home.write("empty/readme", "");
    variant("family", &|dir| {
        edit_json(dir, "config.json", &|c| c["model_type"] = json!("starcoder2"))
    });
    variant("untokenized", &|dir| std::fs::remove_file(dir.join("tokenizer.json")).expect("there"));
    variant("sentencepiece", &|dir| {
        edit_json(dir, "tokenizer.json", &|t| t["model"]["byte_fallback"] = json!(true))
    });
    variant("foreign", &|dir| {
        edit_json(dir, "tokenizer.json", &|t| t["model"]["vocab"]["more"] = json!(1024))
    });
    variant("weightless", &|dir| {
        std::fs::remove_file(dir.join("model.safetensors")).expect("there")
    });
    variant("cut", &|dir| {
        let whole = bytes(dir, "model.safetensors");
        std::fs::write(dir.join("model.safetensors"), &whole[..whole.len() / 2]).expect("written");
    });
    variant("nan", &|dir| {
        let mut whole = bytes(dir, "model.safetensors");
        let end = whole.len();
        whole[end - 2..].copy_from_slice(&[0xc0, 0x7f]);
        std::fs::write(dir.join("model.safetensors"), whole).expect("written");
    });
    let before = names(&home.work());
    for (dir, expected) in [
        ("missing", &["missing", "does not exist", "Hugging Face"][..]),
        ("precious.gguf", &["precious.gguf", "not a directory"]),
        ("empty", &["empty", "config.json", "tokenizer.json"]),
        ("family", &["config.json", "starcoder2", "llama", "qwen2"]),
        ("untokenized", &["untokenized", "tokenizer.json"]),
        ("sentencepiece", &["tokenizer.json", "SentencePiece", "byte-level"]),
        ("foreign", &["tokenizer.json", "1024", "different models"]),
        ("weightless", &["weightless", "model.safetensors"]),
        ("cut", &["model.safetensors", "truncated"]),
        ("nan", &["lm_head.weight", "NaN"]),
    ] {
        fail(dir, "precious.gguf", expected);
    }
    fail("good", "empty", &["-o empty", "is a directory", "model.gguf"]);
    fail("good", "no/such/place.gguf", &["no/such/place.gguf", "cannot write"]);
    assert_eq!(names(&home.work()), before, "no temporary file is left");
    assert_eq!(bytes(&home.work(), "precious.gguf"), b"precious");
}

/// The build of llama.cpp to compare with.
fn llama_cpp() -> Option<PathBuf> {
    let build = std::env::var_os("LACUNA_LLAMA_CPP").map(PathBuf::from);
    if build.is_none() {
        eprintln!(
            "skipped: LACUNA_LLAMA_CPP names no build of llama.cpp (tests/peers/llama_cpp.sh makes one)"
        );
    }
    // cargo runs tests in the folder of their crate; a relative path is meant from the workspace.
    build.map(|path| workspace().join(path))
}

fn ask_llama_cpp(home: &Home, build: &Path, more: &[&str]) -> Value {
    let mut command = home.command("python3");
    command.arg(workspace().join("tests/peers/gguf_logprobs.py")).arg(build).args(more);
    let output = run(&mut command).expect_code(0);
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.stderr))
}

/// Next-token log-probabilities after each of 48 tokens, over the whole vocabulary: ours in f32 on
/// the original weights against llama.cpp's on the converted ones.
#[test]
fn llama_cpp_computes_the_same_from_the_converted_file() {
    let Some(build) = llama_cpp() else { return };
    let home = Home::new();
    let seed = 17;
    let mut random = Random::new(seed);
    let ids: Vec<u32> = (0..48).map(|_| random.below(1024) as u32).collect();
    let listed = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    // A random model is the worst case for quantised weights: nothing in it is redundant.
    // (type, bound of the root mean square of the differences, bound of the largest one)
    let cases = [("f16", 4e-3, 2e-2), ("q8_0", 7e-2, 0.4), ("q4_0", 0.5, 2.5)];
    for shape in ["tiny", "tiny-qwen2"] {
        let dir = synth(&home, shape, shape);
        let model = lacuna_engine::Model::load(&dir, lacuna_engine::Precision::F32).expect("loads");
        let logits = lacuna_engine::forward_all(&model, &ids).expect("in range");
        let ours: Vec<Vec<f64>> = logits.chunks(1024).map(log_softmax).collect();
        for (kind, rms_bound, bound) in cases {
            convert(&home, shape, "m.gguf", &["--type", kind, "--head", kind]);
            let theirs = ask_llama_cpp(&home, &build, &["m.gguf", "--ids", &listed]);
            let theirs: Vec<Vec<f64>> =
                serde_json::from_value(theirs["logprobs"].clone()).expect("rows of numbers");
            assert_eq!(theirs.len(), ids.len());
            let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
            let differences: Vec<f64> = pairs.map(|(a, b)| (a - b).abs()).collect();
            assert_eq!(differences.len(), 48 * 1024);
            let rms =
                (differences.iter().map(|d| d * d).sum::<f64>() / differences.len() as f64).sqrt();
            let largest = differences.iter().copied().fold(0.0, f64::max);
            eprintln!(
                "{shape} {kind}: log-probabilities differ by {rms:.2e} (root mean square), at most {largest:.2e}; seed {seed}"
            );
            assert!(
                rms <= rms_bound && largest <= bound,
                "{shape} {kind}: {rms} > {rms_bound} or {largest} > {bound}"
            );
        }
    }
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = row.iter().map(|v| f64::from(v - largest).exp()).sum();
    row.iter().map(|v| f64::from(v - largest) - total.ln()).collect()
}

#[test]
fn llama_cpp_makes_the_same_tokens_of_a_text() {
    let Some(build) = llama_cpp() else { return };
    let home = Home::new();
    let dir = synth(&home, "tiny", "tiny");
    convert(&home, "tiny", "m.gguf", &[]);
    let tokenizer =
        lacuna_prompt::Tokenizer::from_json(&bytes(&dir, "tokenizer.json")).expect("loads");
    home.write(
        "hard.txt",
        "a  b\t\tc\r\n\r\n   d'll don't 12345 漢字 é🦀\u{a0}x __init__ <|fim_prefix|>   \n",
    );
    let samples = workspace().join("datasets/samples");
    let mut texts: Vec<PathBuf> = names(&samples).iter().map(|name| samples.join(name)).collect();
    texts.push(home.work().join("hard.txt"));
    for path in texts {
        let text = std::fs::read_to_string(&path).expect("text");
        let path = path.to_str().expect("plain");
        let theirs = ask_llama_cpp(&home, &build, &["m.gguf", "--text", path]);
        let ours = tokenizer.encode(&text);
        assert!(!ours.is_empty());
        assert_eq!(theirs["ids"], json!(ours), "{path}");
    }
}
