//! The vocabulary of a byte-level BPE tokenizer laid open, for writing it into another file format.
//!
//! Owns: reading pieces, merges and the way of cutting text out of a `tokenizer.json`. Encoding
//! text is [`crate::Tokenizer`]'s.

use serde_json::Value;

use crate::tokenizer::{MAX_FILE_BYTES, TokenizerError};

/// Why a tokenizer cannot be laid open.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(
        "tokenizer is of type {got:?}; only byte-level BPE (type \"BPE\" with a ByteLevel pre-tokenizer) can be converted"
    )]
    NotByteLevel { got: String },
    #[error("tokenizer has no usable entry for {what}: download tokenizer.json again")]
    Malformed { what: String },
    #[error(
        "tokenizer has the id {id} ({piece:?}) but the weights have {n_ids} rows: they belong to different models"
    )]
    OutOfRange { id: u64, piece: String, n_ids: usize },
    #[error("tokenizer has both {a:?} and {b:?} at id {id}: download tokenizer.json again")]
    SameId { id: u64, a: String, b: String },
}

/// What an id is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Found by merging.
    Normal,
    /// A marker that no text may spell.
    Control,
    /// Found in text as a whole, before merging.
    Whole,
    /// A row of the weights that stands for nothing.
    Unused,
}

/// Pieces by id, merges by rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// One per id; in GPT-2's spelling of bytes, markers as they are.
    pub pieces: Vec<(String, PieceKind)>,
    /// `left right`, the first merged first.
    pub merges: Vec<String>,
    /// How text is cut before merging, by the name that llama.cpp has for it; `None`: by a rule
    /// that has no name there.
    pub cut: Option<&'static str>,
}

impl Vocabulary {
    /// Reads a Hugging Face `tokenizer.json`; ids without an entry, up to `n_ids` in all, are
    /// [`PieceKind::Unused`].
    ///
    /// Errors: not a tokenizer, not byte-level BPE, ids that are taken twice or are not below
    /// `n_ids`.
    pub fn from_json(file: &[u8], n_ids: usize) -> Result<Vocabulary, VocabularyError> {
        if file.len() > MAX_FILE_BYTES {
            return Err(TokenizerError::TooLarge { bytes: file.len() }.into());
        }
        let json: Value = serde_json::from_slice(file).map_err(TokenizerError::Json)?;
        if !json.is_object() {
            return Err(TokenizerError::NotAnObject.into());
        }
        let model = &json["model"];
        let parts = steps(&json["pre_tokenizer"]);
        // Files of before 2023 do not name the type of the model.
        let kind = model["type"].as_str().unwrap_or(if model["merges"].is_array() {
            "BPE"
        } else {
            "none"
        });
        let byte_level = parts.iter().any(|p| p["type"] == "ByteLevel");
        if kind != "BPE" || !byte_level || model["byte_fallback"] == true {
            let got =
                if kind == "BPE" { "BPE that is not byte-level (SentencePiece)" } else { kind };
            return Err(VocabularyError::NotByteLevel { got: got.to_owned() });
        }
        let malformed =
            |what: &str| VocabularyError::Malformed { what: what.chars().take(60).collect() };
        let mut pieces: Vec<Option<(String, PieceKind)>> = vec![None; n_ids];
        let mut put = |id: u64, piece: &str, kind: PieceKind| {
            let too_high = || VocabularyError::OutOfRange {
                id,
                piece: piece.chars().take(60).collect(),
                n_ids,
            };
            let place =
                usize::try_from(id).ok().and_then(|i| pieces.get_mut(i)).ok_or_else(too_high)?;
            match place {
                // An added token is often part of the vocabulary too; what it is says its own
                // entry.
                Some((there, _)) if there != piece => {
                    Err(VocabularyError::SameId { id, a: there.clone(), b: piece.to_owned() })
                }
                _ => {
                    *place = Some((piece.to_owned(), kind));
                    Ok(())
                }
            }
        };
        for (piece, id) in model["vocab"].as_object().ok_or_else(|| malformed("model.vocab"))? {
            put(id.as_u64().ok_or_else(|| malformed(piece))?, piece, PieceKind::Normal)?;
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let (Some(piece), Some(id)) = (added["content"].as_str(), added["id"].as_u64()) else {
                return Err(malformed("added_tokens"));
            };
            put(
                id,
                piece,
                if added["special"] == true { PieceKind::Control } else { PieceKind::Whole },
            )?;
        }
        let unused = |id: usize| (format!("[PAD{id}]"), PieceKind::Unused);
        let pieces = pieces
            .into_iter()
            .enumerate()
            .map(|(id, piece)| piece.unwrap_or_else(|| unused(id)))
            .collect();
        let merges = model["merges"].as_array().ok_or_else(|| malformed("model.merges"))?;
        let merges = merges
            .iter()
            .map(|m| merge(m).ok_or_else(|| malformed("model.merges")))
            .collect::<Result<_, _>>()?;
        Ok(Vocabulary { pieces, merges, cut: cut(&parts) })
    }

    /// The id of a piece by its exact spelling.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.pieces.iter().position(|(p, _)| p == piece).map(|id| id as u32)
    }
}

/// `"a b"`, or the pair `["a", "b"]` of newer files.
fn merge(json: &Value) -> Option<String> {
    match json {
        Value::String(text) => Some(text.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(a), Value::String(b)] => Some(format!("{a} {b}")),
            _ => None,
        },
        _ => None,
    }
}

/// The steps of a pre-tokenizer in their order.
fn steps(pre_tokenizer: &Value) -> Vec<&Value> {
    match pre_tokenizer["pretokenizers"].as_array() {
        Some(list) => list.iter().collect(),
        None => vec![pre_tokenizer],
    }
}

/// Qwen2's and Qwen2.5's way of cutting text.
pub const CUT_QWEN2: &[&str] = &[
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// Llama 3's: as Qwen2's, numbers in threes.
pub const CUT_LLAMA3: &[&str] = &[
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// DeepSeek-Coder's, applied one after the other; single digits after them.
pub const CUT_DEEPSEEK_CODER: &[&str] = &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"];

/// llama.cpp's name of a pre-tokenizer.
fn cut(steps: &[&Value]) -> Option<&'static str> {
    let patterns: Vec<&str> = steps.iter().filter_map(|s| s["pattern"]["Regex"].as_str()).collect();
    let digits = steps.iter().any(|s| s["type"] == "Digits" && s["individual_digits"] == true);
    let gpt2 = steps.iter().any(|s| s["type"] == "ByteLevel" && s["use_regex"] != false);
    match (patterns.as_slice(), digits, gpt2) {
        (CUT_QWEN2, false, false) => Some("qwen2"),
        (CUT_LLAMA3, false, false) => Some("llama-bpe"),
        (CUT_DEEPSEEK_CODER, true, false) => Some("deepseek-coder"),
        ([], true, true) => Some("starcoder"),
        ([], false, true) => Some("gpt-2"),
        _ => None,
    }
}
