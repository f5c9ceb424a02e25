//! A tokenizer for the user's text: `tokenizer.json` in, token ids out, and the bytes behind every
//! id.
//!
//! Special tokens are taken out of the file before it is handed to the `tokenizers` crate, so that
//! text which happens to spell `<|fim_suffix|>` is tokenised as the plain characters it is. Their
//! ids remain known by name through [`Tokenizer::special`].

use std::collections::HashMap;

use serde_json::Value;

use crate::incremental::{Memo, is_cuttable};

/// Larger files are refused: the largest published `tokenizer.json` is below 40 MB.
pub(crate) const MAX_FILE_BYTES: usize = 128 << 20;
/// Ids above this are refused: the byte table is indexed by id, and a lying id must not choose our
/// allocation.
const MAX_ID: u64 = 1 << 22;

/// Normalizers that can make a text longer by more are refused: no published one comes near, and a
/// chain of replacements would take all memory before a deadline is looked at.
const MAX_GROWTH: f64 = 64.0;
/// Every tokenizer is tried on this before it is used: some faults show only then.
const TRIAL: &str = "def f(x):\n\treturn x + 1  # \u{e9}\u{1f980}\n";

/// Why a `tokenizer.json` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error(
        "tokenizer is {bytes} bytes, more than the {MAX_FILE_BYTES} allowed: is this a tokenizer.json?"
    )]
    TooLarge { bytes: usize },
    #[error("tokenizer is not valid JSON ({0}): download tokenizer.json again")]
    Json(#[from] serde_json::Error),
    #[error("tokenizer is not a JSON object: is this a Hugging Face tokenizer.json?")]
    NotAnObject,
    #[error("tokenizer has an absurd token id {id} for {token:?}: download tokenizer.json again")]
    AbsurdId { token: String, id: u64 },
    #[error(
        "tokenizer has no usable `added_tokens` entry at index {index}: download tokenizer.json again"
    )]
    BadAddedToken { index: usize },
    #[error(
        "tokenizer was refused by the tokenizers library ({0}): is it a Hugging Face tokenizer.json?"
    )]
    Refused(String),
    #[error(
        "tokenizer's normalizer makes text up to {times:.0} times as long, more than the {MAX_GROWTH} allowed: use another model"
    )]
    Grows { times: f64 },
}

/// How vocabulary pieces spell bytes.
#[derive(Clone, Copy, PartialEq)]
enum Spelling {
    /// GPT-2's printable stand-ins, one character a byte.
    ByteLevel,
    /// SentencePiece: `▁` is a space, `<0xAB>` is a byte.
    SentencePiece,
    Plain,
}

/// Text to token ids and back. Cheap to share; what it remembers changes no answer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Bytes of token `id` are `bytes[starts[id]..starts[id + 1]]`; empty for special and
    /// unassigned ids.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    specials: HashMap<String, u32>,
    bos: Option<u32>,
    /// `None`: this tokenizer's text cannot be tokenised in pieces.
    memo: Option<Memo>,
}

impl Tokenizer {
    /// Reads a Hugging Face `tokenizer.json`.
    pub fn from_json(file: &[u8]) -> Result<Tokenizer, TokenizerError> {
        if file.len() > MAX_FILE_BYTES {
            return Err(TokenizerError::TooLarge { bytes: file.len() });
        }
        let mut json: Value = serde_json::from_slice(file)?;
        if !json.is_object() {
            return Err(TokenizerError::NotAnObject);
        }
        let specials = take_added_tokens(&mut json)?;
        let spelling = spelling(&json);
        let bos = bos_name(&json).and_then(|name| specials.get(&name).copied());
        // The post-processor adds BOS/EOS by itself; here they enter prompts as ids only.
        json["post_processor"] = Value::Null;
        json["truncation"] = Value::Null;
        json["padding"] = Value::Null;
        let rules = serde_json::json!({
            "normalizer": json["normalizer"], "pre_tokenizer": json["pre_tokenizer"],
            "model": {"type": json["model"]["type"], "dropout": json["model"]["dropout"], "merges": json["model"]["merges"].is_array().then_some([0; 0])},
        });
        let times = growth(&json["normalizer"]);
        if times > MAX_GROWTH {
            return Err(TokenizerError::Grows { times });
        }
        let inner: tokenizers::Tokenizer =
            guarded(|| serde_json::from_value(json).map_err(|e| e.to_string()))
                .map_err(TokenizerError::Refused)?;
        let tried = guarded(|| {
            drop(inner.encode_fast(TRIAL, false));
            Ok(())
        });
        tried.map_err(TokenizerError::Refused)?;
        let vocab = inner.get_vocab(true);
        for (token, &id) in &vocab {
            if u64::from(id) > MAX_ID {
                return Err(TokenizerError::AbsurdId { token: token.clone(), id: u64::from(id) });
            }
        }
        let highest = vocab.values().chain(specials.values()).copied().max();
        let n_vocab = highest.map_or(0, |id| id as usize + 1);
        let mut pieces: Vec<&str> = vec![""; n_vocab];
        for (token, &id) in &vocab {
            // A vocabulary often lists the special tokens too: their spelling is not text.
            if !specials.contains_key(token) {
                pieces[id as usize] = token;
            }
        }
        let mut bytes = Vec::new();
        let mut starts = vec![0u32];
        for piece in pieces {
            spell(piece, spelling, &mut bytes);
            starts.push(bytes.len() as u32);
        }
        let pieces = starts.windows(2).map(|w| &bytes[w[0] as usize..w[1] as usize]);
        let memo = is_cuttable(&rules, pieces).then(Memo::default);
        Ok(Tokenizer { inner, bytes, starts, specials, bos, memo })
    }

    /// Token ids of plain text. Never yields a special token and adds none.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // The library fails only on malformed models, which cannot encode anything at all: no
        // tokens is the honest answer.
        guarded(|| {
            self.inner
                .encode_fast(text, false)
                .map(|e| e.get_ids().to_vec())
                .map_err(|e| e.to_string())
        })
        .unwrap_or_default()
    }

    /// As [`Tokenizer::encode`], which it equals; what was tokenised lately is remembered, so that
    /// an edited text costs its edited parts.
    pub fn encode_incremental(&self, text: &str) -> Vec<u32> {
        let Some(memo) = &self.memo else { return self.encode(text) };
        let mut ids = Vec::with_capacity(text.len() / 3);
        memo.encode(text, |piece| self.encode(piece), &mut ids);
        ids
    }

    /// Whether [`Tokenizer::encode_incremental`] remembers anything: not for vocabularies that span
    /// words.
    pub fn is_incremental(&self) -> bool {
        self.memo.is_some()
    }

    /// The bytes of one token; empty for special and unknown ids.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match (self.starts.get(id), self.starts.get(id + 1)) {
            (Some(&from), Some(&to)) => &self.bytes[from as usize..to as usize],
            _ => &[],
        }
    }

    /// The bytes of a run of tokens; special tokens contribute nothing. Not necessarily UTF-8: a
    /// token may be half a character.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|&id| self.token_bytes(id)).copied().collect()
    }

    /// Id of a special token by its exact text.
    pub fn special(&self, text: &str) -> Option<u32> {
        self.specials.get(text).copied()
    }

    /// Text of a special token, for `--explain`.
    pub fn special_name(&self, id: u32) -> Option<&str> {
        self.specials.iter().find(|&(_, &v)| v == id).map(|(k, _)| k.as_str())
    }

    /// The beginning-of-sequence token, when the file's post-processor puts one before every text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// One more than the highest id.
    pub fn n_vocab(&self) -> usize {
        self.starts.len() - 1
    }
}

/// Removes `added_tokens` from the file and returns them by name.
/// The library panics on some files that it should refuse: that is an error as any other.
fn guarded<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let told = |panic: Box<dyn std::any::Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&str>()
            .map_or_else(|_| "it panicked".to_owned(), |text| (*text).to_owned()),
    };
    // Nothing of ours is changed by the call.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(told(panic)))
}

/// How many times as long a normalizer can make a text, replacements being as dense as can be.
fn growth(normalizer: &Value) -> f64 {
    match normalizer["type"].as_str() {
        Some("Sequence") => {
            normalizer["normalizers"].as_array().into_iter().flatten().map(growth).product()
        }
        Some("Replace") => {
            let content = normalizer["content"].as_str().map_or(0, str::len);
            let pattern =
                normalizer["pattern"]["String"].as_str().map_or(1, |pattern| pattern.len().max(1));
            (content as f64 / pattern as f64).max(1.0)
        }
        Some("Prepend") => 1.0 + normalizer["prepend"].as_str().map_or(0, str::len) as f64,
        _ => 1.0,
    }
}

fn take_added_tokens(json: &mut Value) -> Result<HashMap<String, u32>, TokenizerError> {
    let mut specials = HashMap::new();
    let Some(Value::Array(added)) = json.get_mut("added_tokens").map(Value::take) else {
        json["added_tokens"] = Value::Array(Vec::new());
        return Ok(specials);
    };
    json["added_tokens"] = Value::Array(Vec::new());
    for (index, entry) in added.iter().enumerate() {
        let (Some(token), Some(id)) = (entry["content"].as_str(), entry["id"].as_u64()) else {
            return Err(TokenizerError::BadAddedToken { index });
        };
        if id > MAX_ID {
            return Err(TokenizerError::AbsurdId { token: token.to_owned(), id });
        }
        specials.insert(token.to_owned(), id as u32);
    }
    Ok(specials)
}

fn mentions(json: &Value, kind: &str) -> bool {
    match json {
        Value::Object(map) => {
            map.get("type").and_then(Value::as_str) == Some(kind)
                || map.values().any(|v| mentions(v, kind))
        }
        Value::Array(items) => items.iter().any(|v| mentions(v, kind)),
        _ => false,
    }
}

fn spelling(json: &Value) -> Spelling {
    if mentions(&json["decoder"], "ByteLevel") || mentions(&json["pre_tokenizer"], "ByteLevel") {
        Spelling::ByteLevel
    } else if mentions(&json["decoder"], "ByteFallback")
        || mentions(&json["decoder"], "Metaspace")
        || mentions(&json["pre_tokenizer"], "Metaspace")
    {
        Spelling::SentencePiece
    } else {
        Spelling::Plain
    }
}

/// Name of the token that a `TemplateProcessing` post-processor puts first.
fn bos_name(json: &Value) -> Option<String> {
    let processor = &json["post_processor"];
    let candidates: Vec<&Value> = match processor["processors"].as_array() {
        Some(list) => list.iter().collect(),
        None => vec![processor],
    };
    candidates.iter().find_map(|p| p["single"][0]["SpecialToken"]["id"].as_str().map(str::to_owned))
}

fn spell(piece: &str, spelling: Spelling, out: &mut Vec<u8>) {
    match spelling {
        Spelling::Plain => out.extend_from_slice(piece.as_bytes()),
        Spelling::ByteLevel => {
            for c in piece.chars() {
                match byte_of_stand_in(c) {
                    Some(b) => out.push(b),
                    None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        Spelling::SentencePiece => {
            let byte = piece
                .strip_prefix("<0x")
                .and_then(|rest| rest.strip_suffix('>'))
                .filter(|hex| hex.len() == 2)
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            match byte {
                Some(b) => out.push(b),
                None => out.extend_from_slice(piece.replace('▁', " ").as_bytes()),
            }
        }
    }
}

/// GPT-2's `bytes_to_unicode`, backwards: printable Latin-1 stands for itself, the other 68 bytes
/// for U+0100…U+0143 in order.
fn byte_of_stand_in(c: char) -> Option<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = c as u32;
    if code < 0x100 {
        return printable(code).then_some(code as u8);
    }
    (0u32..0x100).filter(|&b| !printable(b)).nth((code - 0x100) as usize).map(|b| b as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A tiny byte-pair tokenizer with one part replaced.
    fn with(part: &str, value: Value) -> Result<Tokenizer, TokenizerError> {
        let mut file = json!({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
            "decoder": null, "model": {"type": "BPE", "unk_token": "u", "vocab": {"u": 0, "d": 1, "e": 2, "de": 3}, "merges": ["d e"]}});
        file[part] = value;
        Tokenizer::from_json(file.to_string().as_bytes())
    }

    #[test]
    fn what_makes_the_library_panic_is_refused() {
        assert_eq!(with("normalizer", Value::Null).unwrap().encode("de"), [3]);
        for (part, value) in [
            ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
            ("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        ] {
            assert!(
                matches!(with(part, value.clone()), Err(TokenizerError::Refused(_))),
                "{value}"
            );
        }
    }

    #[test]
    fn a_normalizer_that_multiplies_text_is_refused() {
        let replace = |content: &str| json!({"type": "Replace", "pattern": {"String": "e"}, "content": content});
        let chain = |n: usize, content: &str| json!({"type": "Sequence", "normalizers": vec![replace(content); n]});
        assert!(
            with("normalizer", replace("ee")).is_ok()
                && with("normalizer", chain(3, "eeee")).is_ok()
        );
        for value in [
            chain(30, "eeeeeeeeee"),
            chain(4, "eeee"),
            replace(&"e".repeat(100)),
            json!({"type": "Sequence", "normalizers": [chain(4, "ee"), chain(3, "ee")]}),
        ] {
            assert!(matches!(with("normalizer", value), Err(TokenizerError::Grows { .. })));
        }
    }

    #[test]
    fn stand_ins_cover_every_byte_once() {
        let mut seen = [false; 256];
        for code in 0..0x200u32 {
            if let Some(b) = char::from_u32(code).and_then(byte_of_stand_in) {
                assert!(!std::mem::replace(&mut seen[b as usize], true), "byte {b} twice");
            }
        }
        assert!(seen.iter().all(|&s| s));
        assert_eq!(byte_of_stand_in('Ġ'), Some(b' '));
        assert_eq!(byte_of_stand_in('Ċ'), Some(b'\n'));
    }
}
