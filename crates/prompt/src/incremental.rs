//! Tokens of a text that is changed a little at a time: pieces of it are remembered, so that only
//! what is around an edit is tokenised again.
//!
//! A text is cut between two words (`return| value`), at most once a line, and a piece's tokens do
//! not depend on what is around it: every way of cutting text that [`is_cuttable`] accepts begins a
//! new word at a blank between letters, none looks behind it, and no vocabulary entry reaches
//! across. Other tokenizers are not cut at all. That pieces and whole agree is held by a property
//! test.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::vocabulary::{CUT_DEEPSEEK_CODER, CUT_LLAMA3, CUT_QWEN2};

/// How our own tokenizer cuts text (`lacuna_train::tokenizer`).
const CUT_OURS: &str =
    r"\r?\n[ \t]*| ?_+\p{L}+|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|[ \t]+";
/// Tokens of one generation of remembered pieces; two are kept.
const GENERATION_TOKENS: usize = 1 << 16;

/// Remembered pieces: what was asked for lately, in two generations, so that memory is bounded and
/// nothing is ever cleared at once.
#[derive(Default)]
pub(crate) struct Memo {
    pieces: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Box<[u32]>>,
    old: HashMap<Box<str>, Box<[u32]>>,
    young_tokens: usize,
}

impl Memo {
    /// Appends the tokens of `text`, piece by piece; `encode` is asked for the pieces that are not
    /// remembered.
    pub fn encode(&self, text: &str, encode: impl Fn(&str) -> Vec<u32>, out: &mut Vec<u32>) {
        let mut all = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces(text) {
            if let Some(ids) = all.young.get(piece) {
                out.extend_from_slice(ids);
                continue;
            }
            let (piece, ids) = match all.old.remove_entry(piece) {
                Some(known) => known,
                None => (piece.into(), encode(piece).into()),
            };
            out.extend_from_slice(&ids);
            all.young_tokens += ids.len() + 1;
            all.young.insert(piece, ids);
            if all.young_tokens > GENERATION_TOKENS {
                all.old = std::mem::take(&mut all.young);
                all.young_tokens = 0;
            }
        }
    }
}

/// `text` cut before the first blank of each line that stands between two letters.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let (mut start, mut at, mut cut_in_line) = (0, 0, false);
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let here = at;
            at += 1;
            match bytes[here] {
                b'\n' => cut_in_line = false,
                b' ' if !cut_in_line && here > start && is_between_words(bytes, here) => {
                    cut_in_line = true;
                    let piece = &text[start..here];
                    start = here;
                    return Some(piece);
                }
                _ => {}
            }
        }
        let rest = &text[start..];
        start = bytes.len();
        (!rest.is_empty()).then_some(rest)
    })
}

/// Whether the byte at `at` is a blank with an ASCII letter on either side.
pub(crate) fn is_between_words(bytes: &[u8], at: usize) -> bool {
    let letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
    bytes.get(at) == Some(&b' ') && at > 0 && letter(at - 1) && letter(at + 1)
}

/// Whether tokens never reach over a blank between two letters, and never depend on what is on its
/// other side.
pub(crate) fn is_cuttable<'a>(tokenizer: &Value, pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let model = &tokenizer["model"];
    let bpe = model["type"] == "BPE" || (model["type"].is_null() && model["merges"].is_array());
    // Composition (NFC) never reaches over a blank that a letter follows.
    let normalizer = &tokenizer["normalizer"];
    let plain = normalizer.is_null() || normalizer["type"] == "NFC";
    let pre = &tokenizer["pre_tokenizer"];
    let steps: Vec<&Value> = match pre["pretokenizers"].as_array() {
        Some(list) => list.iter().collect(),
        None => vec![pre],
    };
    let known = |pattern: &str| {
        pattern == CUT_OURS
            || [CUT_QWEN2, CUT_LLAMA3, CUT_DEEPSEEK_CODER].iter().any(|cut| cut.contains(&pattern))
    };
    let harmless = |step: &&Value| match step["type"].as_str() {
        Some("Split") => {
            step["behavior"] == "Isolated" && step["pattern"]["Regex"].as_str().is_some_and(known)
        }
        Some("ByteLevel") => step["add_prefix_space"] != true,
        Some("Digits") => true,
        _ => false,
    };
    let across = |piece: &[u8]| {
        (0..piece.len())
            .any(|at| at > 0 && piece[at] == b' ' && piece[at - 1].is_ascii_alphabetic())
    };
    bpe && plain
        && model["dropout"].is_null()
        && steps.iter().all(harmless)
        && !pieces.into_iter().any(across)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_and_begin_between_words() {
        for (text, expected) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("return a b\n  c d", &["return", " a b\n  c", " d"]),
            ("x = 1\n\n}", &["x = 1\n\n}"]),
            (" a b", &[" a", " b"]),
            ("é a b 🦀 c", &["é a", " b 🦀 c"]),
        ] {
            assert_eq!(pieces(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_answers_stay_right() {
        let memo = Memo::default();
        let encode = |piece: &str| piece.bytes().map(u32::from).collect::<Vec<_>>();
        for i in 0..60_000 {
            let text = format!("word{i} another word");
            let mut out = Vec::new();
            memo.encode(&text, encode, &mut out);
            assert_eq!(out, encode(&text));
        }
        let all = memo.pieces.lock().unwrap();
        let held: usize = all.young.values().chain(all.old.values()).map(|ids| ids.len()).sum();
        assert!(held <= 2 * GENERATION_TOKENS + 64, "{held}");
    }
}
