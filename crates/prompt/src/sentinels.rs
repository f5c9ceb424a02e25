//! FIM sentinels resolved from the tokenizer, and the order in which the three parts of a file are
//! laid out.

use crate::Tokenizer;

/// Why a tokenizer cannot be used for fill-in-the-middle.
#[derive(Debug, thiserror::Error)]
pub enum SentinelError {
    #[error(
        "tokenizer has no fill-in-the-middle tokens (looked for {looked_for}): this model cannot infill, use a base code model trained for it"
    )]
    NotFim { looked_for: String },
    #[error(
        "tokenizer maps the markers {0:?} and {1:?} to the same id: download tokenizer.json again"
    )]
    SameId(&'static str, &'static str),
}

/// Order of the parts in the prompt. The model continues after the last marker in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Prefix, suffix, middle: what most published models were trained on.
    Psm,
    /// Suffix, prefix, middle: typing at the cursor only appends, so the suffix stays warm in the
    /// KV cache.
    Spm,
}

/// Ids of the markers of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentinels {
    pub prefix: u32,
    pub middle: u32,
    pub suffix: u32,
    pub pad: Option<u32>,
    pub repo: Option<u32>,
    /// Starts a file; the path and a newline follow.
    pub file: Option<u32>,
    pub bos: Option<u32>,
    /// Ids that end a completion: end of text and every marker.
    pub stops: Vec<u32>,
    /// The family whose spelling matched, for `doctor`.
    pub family: &'static str,
    /// The order that the family was trained on; a checkpoint may state its own.
    pub order: Order,
}

pub(crate) struct Family {
    name: &'static str,
    pub(crate) prefix: &'static str,
    pub(crate) middle: &'static str,
    pub(crate) suffix: &'static str,
    /// A further special token that tells families of equal markers apart.
    sign: Option<&'static str>,
    order: Order,
}

/// Spellings by family (from the model cards; PEERS-style lists of other servers agree). First
/// match wins.
pub(crate) const FAMILIES: [Family; 9] = [
    // Ours: trained on both orders; suffix first stays warm while typing.
    Family {
        name: "lacuna",
        prefix: "<|fim_prefix|>",
        middle: "<|fim_middle|>",
        suffix: "<|fim_suffix|>",
        sign: Some("<|reserved_0|>"),
        order: Order::Spm,
    },
    Family {
        name: "fim-pipe",
        prefix: "<|fim_prefix|>",
        middle: "<|fim_middle|>",
        suffix: "<|fim_suffix|>",
        sign: None,
        order: Order::Psm,
    },
    Family {
        name: "starcoder",
        prefix: "<fim_prefix>",
        middle: "<fim_middle>",
        suffix: "<fim_suffix>",
        sign: None,
        order: Order::Psm,
    },
    Family {
        name: "santacoder",
        prefix: "<fim-prefix>",
        middle: "<fim-middle>",
        suffix: "<fim-suffix>",
        sign: None,
        order: Order::Psm,
    },
    Family {
        name: "deepseek-coder",
        prefix: "<｜fim▁begin｜>",
        middle: "<｜fim▁end｜>",
        suffix: "<｜fim▁hole｜>",
        sign: None,
        order: Order::Psm,
    },
    Family {
        name: "seed-coder",
        prefix: "<[fim-prefix]>",
        middle: "<[fim-middle]>",
        suffix: "<[fim-suffix]>",
        sign: None,
        order: Order::Spm,
    },
    Family {
        name: "codellama",
        prefix: "▁<PRE>",
        middle: "▁<MID>",
        suffix: "▁<SUF>",
        sign: None,
        order: Order::Psm,
    },
    Family {
        name: "glm",
        prefix: "<|code_prefix|>",
        middle: "<|code_middle|>",
        suffix: "<|code_suffix|>",
        sign: None,
        order: Order::Psm,
    },
    Family {
        name: "falcon-coder",
        prefix: "<|prefix|>",
        middle: "<|middle|>",
        suffix: "<|suffix|>",
        sign: None,
        order: Order::Psm,
    },
];

const PAD: [&str; 3] = ["<|fim_pad|>", "<fim_pad>", "<fim-pad>"];
const REPO: [&str; 3] = ["<|repo_name|>", "<repo_name>", "<reponame>"];
const FILE: [&str; 4] = ["<|file_sep|>", "<file_sep>", "<filename>", "<|file_separator|>"];
const STOPS: [&str; 10] = [
    "<|endoftext|>",
    "</s>",
    "<eos>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "<[end▁of▁sentence]>",
    "<|EOT|>",
    "▁<EOT>",
    "<|im_end|>",
    "<|im_start|>",
];

impl Sentinels {
    /// Finds the family whose three markers the tokenizer has as special tokens.
    pub fn resolve(tokenizer: &Tokenizer) -> Result<Sentinels, SentinelError> {
        let find = |names: &[&str]| names.iter().find_map(|name| tokenizer.special(name));
        for family in &FAMILIES {
            let ids =
                [family.prefix, family.middle, family.suffix].map(|name| tokenizer.special(name));
            let [Some(prefix), Some(middle), Some(suffix)] = ids else { continue };
            if family.sign.is_some_and(|sign| tokenizer.special(sign).is_none()) {
                continue;
            }
            for (a, b, x, y) in [
                (prefix, middle, family.prefix, family.middle),
                (prefix, suffix, family.prefix, family.suffix),
                (middle, suffix, family.middle, family.suffix),
            ] {
                if a == b {
                    return Err(SentinelError::SameId(x, y));
                }
            }
            let (pad, repo, file) = (find(&PAD), find(&REPO), find(&FILE));
            let mut stops: Vec<u32> =
                STOPS.iter().filter_map(|name| tokenizer.special(name)).collect();
            stops.extend([prefix, middle, suffix]);
            stops.extend([pad, repo, file].into_iter().flatten());
            stops.sort_unstable();
            stops.dedup();
            return Ok(Sentinels {
                prefix,
                middle,
                suffix,
                pad,
                repo,
                file,
                bos: tokenizer.bos(),
                stops,
                family: family.name,
                order: family.order,
            });
        }
        let mut looked_for: Vec<&str> = FAMILIES.iter().map(|f| f.prefix).collect();
        looked_for.dedup();
        Err(SentinelError::NotFim { looked_for: looked_for.join(" ") })
    }
}

impl Sentinels {
    /// The id that ends a text; none if the tokenizer has no such token.
    pub fn end(&self, tokenizer: &Tokenizer) -> Option<u32> {
        STOPS.iter().find_map(|name| tokenizer.special(name))
    }
}

/// The file header: where the file lies, as the model was trained to see it. Empty when the model
/// has no file marker.
pub fn header(tokenizer: &Tokenizer, sentinels: &Sentinels, path: &str) -> Vec<u32> {
    let Some(file) = sentinels.file else { return Vec::new() };
    let mut ids = vec![file];
    ids.extend(tokenizer.encode(&format!("{path}\n")));
    ids
}

/// Lays out one prompt. `Psm`: header PRE prefix SUF suffix MID. `Spm`: header SUF suffix PRE
/// prefix MID. BOS first where the model wants one. The model's answer begins after the last id.
pub fn layout(
    s: &Sentinels,
    order: Order,
    header: &[u32],
    prefix: &[u32],
    suffix: &[u32],
) -> Vec<u32> {
    let mut ids = Vec::with_capacity(header.len() + prefix.len() + suffix.len() + 4);
    ids.extend(s.bos);
    ids.extend_from_slice(header);
    let (first, second) = match order {
        Order::Psm => ((s.prefix, prefix), (s.suffix, suffix)),
        Order::Spm => ((s.suffix, suffix), (s.prefix, prefix)),
    };
    for (marker, part) in [first, second] {
        ids.push(marker);
        ids.extend_from_slice(part);
    }
    ids.push(s.middle);
    ids
}
