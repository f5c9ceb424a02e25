//! A tiny model in Hugging Face layout, made in code: it loads in milliseconds and always has
//! something to say.
//!
//! Its layers are random, so that what it says depends on all of the prompt; its head allows
//! lower-case letters only, so that every completion goes on with a word and fits nearly
//! everywhere. Half of the residual stream is a constant which carries the "letters only" through
//! INT4 quantisation (its groups of 32 are separate from the random half).
//!
//! [`TinyModel::saying`] makes one that always says the same text, whatever stands before it: its
//! layers add nothing, and its head knows for every token only the one that follows.

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

const SPECIALS: [&str; 7] = [
    "<|endoftext|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];
const MERGES: [(&str, &str); 9] = [
    ("r", "e"),
    ("t", "u"),
    ("re", "tu"),
    ("r", "n"),
    ("retu", "rn"),
    ("Ġ", "Ġ"),
    ("ĠĠ", "ĠĠ"),
    ("Ċ", "ĠĠĠĠ"),
    ("o", "n"),
];
const HIDDEN: usize = 64;
/// The first half of the residual stream: constant, never written to by a layer.
const CONSTANT: usize = HIDDEN / 2;
const LAYERS: usize = 2;
const HEADS: usize = 2;
const KV_HEADS: usize = 1;
const FF: usize = 96;
/// Pieces of a script: each has a dimension of the residual stream to itself, as all other tokens
/// have one together.
const MAX_PIECES: usize = HIDDEN - 1;

impl Default for TinyModel {
    fn default() -> TinyModel {
        TinyModel::new(1)
    }
}

impl TinyModel {
    /// Equal seeds give equal files.
    pub fn new(seed: u64) -> TinyModel {
        let tokenizer = tokenizer(&[]);
        let weights = weights(seed, &tokenizer);
        TinyModel { config: config(&tokenizer), tokenizer, weights }
    }

    /// A model that says `text` and a line break and ends, line by line. It says it again behind
    /// whatever a healed word makes it restate.
    pub fn saying(text: &str) -> TinyModel {
        let pieces = pieces(text);
        let tokenizer = tokenizer(&pieces);
        let weights = script(&pieces, &tokenizer);
        TinyModel { config: config(&tokenizer), tokenizer, weights }
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
        let header =
            serde_json::from_slice(&rest[..length]).expect("a header that was just written");
        Container { header, data: rest[length..].to_vec() }
    }
}

fn config(tokenizer: &Value) -> Value {
    let vocab = tokenizer["model"]["vocab"].as_object().map_or(0, Map::len);
    json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "intermediate_size": FF, "vocab_size": vocab,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
    })
}

/// The letter that stands for each byte in a byte-level vocabulary.
fn letters() -> Vec<char> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut stand_ins = 0x100..;
    let letter = |byte| {
        char::from_u32(if printable(byte) { byte } else { stand_ins.next().expect("endless") })
            .expect("a letter")
    };
    (0..0x100).map(letter).collect()
}

/// The lines of a text as pieces of a vocabulary that no text is encoded with; none is there twice.
fn pieces(text: &str) -> Vec<String> {
    let letters = letters();
    let text = format!("{}\n", text.trim_end_matches('\n'));
    let spelled =
        |line: &str| line.bytes().map(|byte| letters[usize::from(byte)]).collect::<String>();
    let mut pieces: Vec<String> = text.split_inclusive('\n').map(spelled).collect();
    let is_distinct = pieces
        .iter()
        .enumerate()
        .all(|(i, piece)| piece.chars().count() > 1 && !pieces[..i].contains(piece));
    if !is_distinct || pieces.len() > MAX_PIECES {
        pieces = vec![pieces.concat()];
    }
    // One byte is a piece already, and so are the merges.
    let is_known = |piece: &str| {
        piece.chars().count() < 2 || MERGES.iter().any(|(a, b)| piece == format!("{a}{b}"))
    };
    pieces.into_iter().filter(|piece| !is_known(piece)).collect()
}

/// Byte-level BPE: the special tokens, all 256 bytes, a few merges, and `pieces` that nothing is
/// merged to.
fn tokenizer(pieces: &[String]) -> Value {
    let mut vocab = Map::new();
    let mut add = |piece: String| {
        let id = vocab.len();
        vocab.insert(piece, id.into());
    };
    for name in SPECIALS {
        add(name.to_owned());
    }
    for letter in letters() {
        add(letter.to_string());
    }
    for (a, b) in MERGES {
        add(format!("{a}{b}"));
    }
    for piece in pieces {
        add(piece.clone());
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
    // A layer's output matrix leaves the constant half alone.
    let silent = |r: usize, x: f32| if r < CONSTANT { 0.0 } else { x };
    let value = |name: &str, r: usize, c: usize, x: f32| match (
        name,
        spoken[r.min(vocab.len() - 1)],
        c < CONSTANT,
    ) {
        ("model.embed_tokens", _, true) => 0.5,
        ("model.embed_tokens", ..) => x,
        ("lm_head", true, true) => 2.0,
        ("lm_head", false, true) => -2.0,
        ("lm_head", ..) => x,
        ("self_attn.q_proj" | "self_attn.k_proj" | "self_attn.v_proj", ..) => 0.5 * x,
        ("self_attn.o_proj", ..) => silent(r, 0.5 * x),
        ("mlp.down_proj", ..) => silent(r, 0.3 * x),
        _ => 0.3 * x,
    };
    container(vocab.len(), &mut |name, rows, columns| {
        let at = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c)));
        at.map(|(r, c)| value(name, r, c, random.unit())).collect()
    })
}

/// The weights that say `pieces` one after the other and then the end. Dimension 0 of the residual
/// stream tells that none was said, dimension `i` that piece `i` was said last.
fn script(pieces: &[String], tokenizer: &Value) -> Container {
    let vocab = tokenizer["model"]["vocab"].as_object().expect("just made");
    let id = |piece: &str| vocab[piece].as_u64().expect("just made") as usize;
    let said: Vec<usize> = pieces.iter().map(|piece| id(piece)).collect();
    container(vocab.len(), &mut |name, rows, columns| {
        let mut matrix = vec![0.0; rows * columns];
        match name {
            "model.embed_tokens" => {
                for token in 0..rows {
                    let at = said.iter().position(|piece| *piece == token).map_or(0, |i| i + 1);
                    matrix[token * columns + at] = 1.0;
                }
            }
            "lm_head" => {
                for (at, token) in said.iter().copied().chain([id(SPECIALS[0])]).enumerate() {
                    matrix[token * columns + at] = 2.0;
                }
            }
            _ => {}
        }
        matrix
    })
}

/// A model whose matrices, `[rows, columns]`, are made by their name (a layer's without the layer),
/// in the order in which they are used.
fn container(vocab: usize, matrix: &mut dyn FnMut(&str, usize, usize) -> Vec<f32>) -> Container {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, shape: &[usize], values: Vec<f32>| {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        tensors.push((
            format!("{name}.weight"),
            shape.to_vec(),
            values.into_iter().flat_map(f32::to_le_bytes).collect(),
        ));
    };
    let width = HIDDEN / HEADS;
    let parts = [
        ("self_attn.q_proj", HEADS * width, HIDDEN),
        ("self_attn.k_proj", KV_HEADS * width, HIDDEN),
        ("self_attn.v_proj", KV_HEADS * width, HIDDEN),
        ("self_attn.o_proj", HIDDEN, HEADS * width),
        ("mlp.gate_proj", FF, HIDDEN),
        ("mlp.up_proj", FF, HIDDEN),
        ("mlp.down_proj", HIDDEN, FF),
    ];
    add(
        "model.embed_tokens".to_owned(),
        &[vocab, HIDDEN],
        matrix("model.embed_tokens", vocab, HIDDEN),
    );
    for layer in 0..LAYERS {
        for (part, rows, columns) in parts {
            add(
                format!("model.layers.{layer}.{part}"),
                &[rows, columns],
                matrix(part, rows, columns),
            );
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(format!("model.layers.{layer}.{norm}"), &[HIDDEN], vec![1.0; HIDDEN]);
        }
    }
    add("model.norm".to_owned(), &[HIDDEN], vec![1.0; HIDDEN]);
    add("lm_head".to_owned(), &[vocab, HIDDEN], matrix("lm_head", vocab, HIDDEN));

    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name.as_str(),
            TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes that fit the shape"),
        )
    });
    Container::from_bytes(
        &safetensors::serialize(views, None).expect("tensors that can be written"),
    )
}
