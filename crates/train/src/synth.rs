//! The tokenizer of a synthetic model: a real vocabulary of code in the place of a published one.
//!
//! Pieces and merges are those of our own tokenizer; the markers stand at the ids of the published
//! family, text is cut the way that family cuts it, and the ids that are left over get pieces that
//! no text reaches. The weights are the engine's business.

use lacuna_prompt::vocabulary::{CUT_DEEPSEEK_CODER, CUT_LLAMA3, CUT_QWEN2};
use serde_json::{Map, Value, json};

/// Why there is no tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    #[error("the base tokenizer has no {0}: give a byte-level BPE tokenizer.json")]
    Base(&'static str),
    #[error("a vocabulary of {n_vocab} ids is too small: the markers alone need {needed}")]
    TooSmall { n_vocab: usize, needed: usize },
}

/// Whose markers, ids and way of cutting text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Our own markers at ids 0 to 15; text is cut as for Qwen.
    Lacuna,
    Qwen,
    DeepSeekCoder,
    /// The published tokenizer is SentencePiece; this one is byte-level BPE with its markers at
    /// their ids.
    CodeLlama,
}

impl Style {
    /// The style of a shape of `lacuna_model::synth` by its name.
    pub fn of_shape(name: &str) -> Style {
        [
            ("qwen", Style::Qwen),
            ("deepseek-coder", Style::DeepSeekCoder),
            ("codellama", Style::CodeLlama),
        ]
        .into_iter()
        .find_map(|(prefix, style)| name.starts_with(prefix).then_some(style))
        .unwrap_or(Style::Lacuna)
    }
}

/// The two files of a tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Files {
    /// `tokenizer.json`
    pub tokenizer: String,
    /// `tokenizer_config.json`
    pub config: String,
}

/// From `<|endoftext|>` at 151643 on.
const QWEN: [&str; 22] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];
/// From 32013 on.
const DEEPSEEK: [&str; 9] = [
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜fim▁hole｜>",
    "<｜fim▁begin｜>",
    "<｜fim▁end｜>",
    "<pad>",
    "<|User|>",
    "<|Assistant|>",
    "<|EOT|>",
];

/// Where things stand in a vocabulary.
struct Layout {
    markers: Vec<(usize, &'static str)>,
    /// The first id of an ordinary piece.
    first: usize,
    /// One more than the last id that has a piece.
    end: usize,
    /// Put before every text.
    bos: Option<&'static str>,
    eos: &'static str,
}

fn layout(style: Style, n_vocab: usize) -> Layout {
    let from = |first: usize, names: &[&'static str]| {
        names.iter().enumerate().map(|(i, name)| (first + i, *name)).collect()
    };
    match style {
        Style::Lacuna => {
            let markers: Vec<_> = from(0, &crate::tokenizer::SPECIALS);
            Layout { first: markers.len(), markers, end: n_vocab, bos: None, eos: "<|endoftext|>" }
        }
        // The rows after the last marker stand for nothing in the published model too.
        Style::Qwen => Layout {
            markers: from(151_643, &QWEN),
            first: 0,
            end: 151_643 + QWEN.len(),
            bos: None,
            eos: "<|endoftext|>",
        },
        Style::DeepSeekCoder => Layout {
            markers: from(32_013, &DEEPSEEK),
            first: 0,
            end: 32_013 + DEEPSEEK.len(),
            bos: Some("<｜begin▁of▁sentence｜>"),
            eos: "<｜end▁of▁sentence｜>",
        },
        Style::CodeLlama => Layout {
            markers: vec![
                (0, "<unk>"),
                (1, "<s>"),
                (2, "</s>"),
                (32_007, "▁<PRE>"),
                (32_008, "▁<SUF>"),
                (32_009, "▁<MID>"),
                (32_010, "▁<EOT>"),
            ],
            first: 3,
            end: 32_016,
            bos: Some("<s>"),
            eos: "</s>",
        },
    }
}

/// Makes the tokenizer of a model with `n_vocab` ids from our own `tokenizer.json`.
///
/// As many of `base`'s pieces as fit come in the order of their ids, with the merges that make
/// them.
///
/// Errors: `base` is no byte-level BPE tokenizer; `n_vocab` has no room for the markers and the 256
/// bytes.
pub fn tokenizer(base: &[u8], style: Style, n_vocab: usize) -> Result<Files, SynthError> {
    let base: Value = serde_json::from_slice(base).map_err(|_| SynthError::Base("JSON object"))?;
    let layout = layout(style, n_vocab);
    let needed = layout.end.max(layout.markers.len() + 0x100);
    if n_vocab < needed {
        return Err(SynthError::TooSmall { n_vocab, needed });
    }
    let mut vocab = Map::new();
    for (id, name) in &layout.markers {
        vocab.insert((*name).to_owned(), (*id).into());
    }
    let free = |id: &usize| !layout.markers.iter().any(|(marker, _)| marker == id);
    let mut ids = (layout.first..layout.end).filter(free);
    for piece in ordinary(&base)? {
        let Some(id) = ids.next() else { break };
        vocab.insert(piece.to_owned(), id.into());
    }
    for id in ids {
        vocab.insert(format!("[unused{id}]"), id.into());
    }
    let merges: Vec<&Value> = base["model"]["merges"]
        .as_array()
        .ok_or(SynthError::Base("merges"))?
        .iter()
        .filter(|merge| {
            let (a, b) =
                (merge[0].as_str().unwrap_or_default(), merge[1].as_str().unwrap_or_default());
            [a, b, &format!("{a}{b}")].iter().all(|piece| vocab.contains_key(*piece))
        })
        .collect();
    let added: Vec<Value> = layout
        .markers
        .iter()
        .map(|(id, name)| {
            // In the published file these two may occur in text.
            let special = !matches!(*name, "<tool_call>" | "</tool_call>");
            json!({
                "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": special,
            })
        })
        .collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": cut(style, &byte_level) },
        "post_processor": layout.bos.map(|bos| before_every_text(bos, &vocab[bos])),
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": layout.bos,
        "eos_token": layout.eos,
        "pad_token": layout.eos,
        "clean_up_tokenization_spaces": false,
    });
    Ok(Files { tokenizer: tokenizer.to_string(), config: format!("{config:#}\n") })
}

/// The pieces of `base` that are no markers, by rising id.
fn ordinary(base: &Value) -> Result<Vec<&str>, SynthError> {
    let markers: Vec<&str> = base["added_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|t| t["content"].as_str())
        .collect();
    let vocab = base["model"]["vocab"].as_object().ok_or(SynthError::Base("vocabulary"))?;
    let mut pieces: Vec<(u64, &str)> = vocab
        .iter()
        .filter(|(p, _)| !markers.contains(&p.as_str()))
        .map(|(p, id)| (id.as_u64().unwrap_or(0), p.as_str()))
        .collect();
    pieces.sort_unstable();
    Ok(pieces.into_iter().map(|(_, piece)| piece).collect())
}

/// The steps that cut text before merging.
fn cut(style: Style, byte_level: &Value) -> Vec<Value> {
    let patterns = match style {
        Style::Lacuna | Style::Qwen => CUT_QWEN2,
        Style::DeepSeekCoder => CUT_DEEPSEEK_CODER,
        Style::CodeLlama => CUT_LLAMA3,
    };
    let split = |p: &&str| json!({ "type": "Split", "pattern": { "Regex": p }, "behavior": "Isolated", "invert": false });
    let mut steps: Vec<Value> = patterns.iter().map(split).collect();
    if style == Style::DeepSeekCoder {
        steps.push(json!({ "type": "Digits", "individual_digits": true }));
    }
    steps.push(byte_level.clone());
    steps
}

fn before_every_text(bos: &str, id: &Value) -> Value {
    let marker = json!({ "SpecialToken": { "id": bos, "type_id": 0 } });
    let text = |name: &str, type_id: u8| json!({ "Sequence": { "id": name, "type_id": type_id } });
    json!({
        "type": "TemplateProcessing",
        "single": [marker, text("A", 0)],
        "pair": [marker, text("A", 0), text("B", 1)],
        "special_tokens": { bos: { "id": bos, "ids": [id], "tokens": [bos] } },
    })
}
