//! A tiny model in Hugging Face layout, made in code: it loads in milliseconds and always has something to say.
//!
//! Its layers are random, so that what it says depends on all of the prompt; its head allows lower-case letters only, so that every
//! completion goes on with a word and fits nearly everywhere. Half of the residual stream is a constant which carries the "letters
//! only" through INT4 quantisation (its groups of 32 are separate from the random half).

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::Random;

/// The three files of a model, as values that a test can spoil before they are written.
#[derive(Clone, Debug)]
pub struct TinyModel {
    pub config: Value,
    pub tokenizer: Value,
    pub weights: Container,
}

/// A model in a temporary directory.
pub struct ModelDir {
    dir: TempDir,
}

/// A safetensors file in its two parts: the JSON header and the bytes that it describes.
#[derive(Clone, Debug)]
pub struct Container {
    pub header: Value,
    pub data: Vec<u8>,
}

const SPECIALS: [&str; 7] =
    ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"];
const MERGES: [(&str, &str); 9] =
    [("r", "e"), ("t", "u"), ("re", "tu"), ("r", "n"), ("retu", "rn"), ("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("Ċ", "ĠĠĠĠ"), ("o", "n")];
const HIDDEN: usize = 64;
/// The first half of the residual stream: constant, never written to by a layer.
const CONSTANT: usize = HIDDEN / 2;
const LAYERS: usize = 2;
const HEADS: usize = 2;
const KV_HEADS: usize = 1;
const FF: usize = 96;

impl Default for TinyModel {
    fn default() -> TinyModel {
        TinyModel::new(1)
    }
}

impl TinyModel {
    /// Equal seeds give equal files.
    pub fn new(seed: u64) -> TinyModel {
        let tokenizer = tokenizer();
        let vocab = tokenizer["model"]["vocab"].as_object().map_or(0, Map::len);
        let config = json!({
            "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "intermediate_size": FF, "vocab_size": vocab,
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
        });
        let weights = weights(seed, &tokenizer);
        TinyModel { config, tokenizer, weights }
    }

    /// The model in a fresh directory.
    pub fn write(&self) -> ModelDir {
        let model = ModelDir { dir: TempDir::new().expect("a temporary directory") };
        model.put("config.json", self.config.to_string());
        model.put("tokenizer.json", self.tokenizer.to_string());
        model.put("model.safetensors", self.weights.to_bytes());
        model
    }
}

impl ModelDir {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory as an argument.
    pub fn arg(&self) -> &str {
        self.dir.path().to_str().expect("temporary directories have plain names")
    }

    /// Writes a file into the directory.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), bytes).expect("a writable temporary directory");
    }

    /// Removes a file from the directory.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join(name)).expect("a file that was there");
    }
}

impl Container {
    /// The file: length of the header, header, data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = self.header.to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend_from_slice(&self.data);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Container {
        let (length, rest) = bytes.split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
        let header = serde_json::from_slice(&rest[..length]).expect("a header that was just written");
        Container { header, data: rest[length..].to_vec() }
    }
}

/// Byte-level BPE: the special tokens, all 256 bytes, a few merges.
fn tokenizer() -> Value {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut vocab = Map::new();
    let mut add = |piece: String| {
        let id = vocab.len();
        vocab.insert(piece, id.into());
    };
    for name in SPECIALS {
        add(name.to_owned());
    }
    let mut stand_in = 0x100;
    for byte in 0..0x100 {
        let code = if printable(byte) {
            byte
        } else {
            stand_in += 1;
            stand_in - 1
        };
        add(char::from_u32(code).expect("a letter").to_string());
    }
    for (a, b) in MERGES {
        add(format!("{a}{b}"));
    }
    let added = SPECIALS.iter().enumerate().map(|(id, name)| {
        json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
    });
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added.collect::<Vec<_>>(), "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab,
            "merges": MERGES.map(|(a, b)| format!("{a} {b}")),
        },
    })
}

fn weights(seed: u64, tokenizer: &Value) -> Container {
    let vocab = tokenizer["model"]["vocab"].as_object().expect("just made");
    let mut spoken = vec![false; vocab.len()];
    for (piece, id) in vocab {
        let id = id.as_u64().expect("just made") as usize;
        spoken[id] = piece.chars().all(|c| c.is_ascii_lowercase());
    }
    let random = &mut Random::new(seed);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, shape: &[usize], values: Vec<f32>| {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        tensors.push((name.to_owned(), shape.to_vec(), values.into_iter().flat_map(f32::to_le_bytes).collect()));
    };
    // `[rows, columns]`, each value by its row, column and a random number in −1..1.
    let mut matrix = |rows: usize, columns: usize, value: &dyn Fn(usize, usize, f32) -> f32| {
        let at = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c)));
        at.map(|(r, c)| value(r, c, random.unit())).collect::<Vec<f32>>()
    };
    // A layer's output matrix leaves the constant half alone.
    let silent = |r: usize, x: f32| if r < CONSTANT { 0.0 } else { x };

    add("model.embed_tokens.weight", &[vocab.len(), HIDDEN], matrix(vocab.len(), HIDDEN, &|_, c, x| if c < CONSTANT { 0.5 } else { x }));
    let width = HIDDEN / HEADS;
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for (part, rows) in [("q_proj", HEADS * width), ("k_proj", KV_HEADS * width), ("v_proj", KV_HEADS * width)] {
            add(&name(&format!("self_attn.{part}")), &[rows, HIDDEN], matrix(rows, HIDDEN, &|_, _, x| 0.5 * x));
        }
        add(&name("self_attn.o_proj"), &[HIDDEN, HEADS * width], matrix(HIDDEN, HEADS * width, &|r, _, x| silent(r, 0.5 * x)));
        for part in ["mlp.gate_proj", "mlp.up_proj"] {
            add(&name(part), &[FF, HIDDEN], matrix(FF, HIDDEN, &|_, _, x| 0.3 * x));
        }
        add(&name("mlp.down_proj"), &[HIDDEN, FF], matrix(HIDDEN, FF, &|r, _, x| silent(r, 0.3 * x)));
        add(&name("input_layernorm"), &[HIDDEN], vec![1.0; HIDDEN]);
        add(&name("post_attention_layernorm"), &[HIDDEN], vec![1.0; HIDDEN]);
    }
    add("model.norm.weight", &[HIDDEN], vec![1.0; HIDDEN]);
    let head = |r: usize, c: usize, x: f32| match (spoken[r], c < CONSTANT) {
        (true, true) => 2.0,
        (false, true) => -2.0,
        (_, false) => x,
    };
    add("lm_head.weight", &[vocab.len(), HIDDEN], matrix(vocab.len(), HIDDEN, &head));

    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes that fit the shape")));
    Container::from_bytes(&safetensors::serialize(views, None).expect("tensors that can be written"))
}
