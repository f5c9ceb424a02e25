//! Trains the byte-level BPE tokenizer of the embedded model.
//!
//! Tokens never cross a line break, except that a line break and the indentation after it are one
//! piece; words carry one character before them (`.append`, `_name`, ` return`), numbers break into
//! at most three digits. Every text round-trips: all 256 bytes are in the alphabet. The result is a
//! Hugging Face `tokenizer.json`; using it is the business of `lacuna_prompt`.

use std::sync::atomic::{AtomicBool, Ordering};

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split as SplitPieces, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, TokenizerBuilder};

use crate::mine::rng::Rng;
use crate::mine::{Document, Language, Split};

/// Special tokens in the order of their ids; the last nine are spare.
pub const SPECIALS: [&str; 16] = [
    "<|endoftext|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|reserved_0|>",
    "<|reserved_1|>",
    "<|reserved_2|>",
    "<|reserved_3|>",
    "<|reserved_4|>",
    "<|reserved_5|>",
    "<|reserved_6|>",
    "<|reserved_7|>",
    "<|reserved_8|>",
];

/// How text is cut before merging. What no branch matches (other white space) is a piece of its
/// own.
const PIECES: &str = concat!(
    r"\r?\n[ \t]*",               // a line break and the indentation of the next line
    r"| ?_+\p{L}+",               // _private, __init
    r"|[^\r\n\p{L}\p{N}]?\p{L}+", // a word with the one character before it
    r"| ?\p{N}{1,3}",             // numbers in threes
    r"| ?[^\s\p{L}\p{N}]+",       // punctuation
    r"|[ \t]+",                   // white space within a line
);

/// What the vocabulary is trained on.
#[derive(Debug, Clone)]
pub struct TokenizerConfig {
    /// Ids in all, specials included.
    pub n_vocab: usize,
    /// Bytes of training text that are looked at.
    pub sample_bytes: usize,
    /// Share of each language in the sample.
    pub shares: Vec<(Language, f64)>,
    /// Longest token in bytes.
    pub max_token: usize,
    pub seed: u64,
}

impl Default for TokenizerConfig {
    fn default() -> TokenizerConfig {
        TokenizerConfig {
            n_vocab: 16_384,
            sample_bytes: 80_000_000,
            shares: vec![
                (Language::Python, 0.50),
                (Language::JavaScript, 0.15),
                (Language::TypeScript, 0.10),
                (Language::Rust, 0.10),
                (Language::Java, 0.10),
                (Language::Go, 0.02),
                (Language::C, 0.02),
                (Language::Cpp, 0.01),
            ],
            max_token: 32,
            seed: 1,
        }
    }
}

/// Why no tokenizer came out.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerTrainError {
    #[error("no training documents: mine sources first")]
    NoDocuments,
    #[error(
        "the sources yield a tokenizer of {got} ids only, {wanted} are needed: add sources (some 20 MB of code are enough), or use a finished one, --tokenizer datasets/embedded/tokenizer.json"
    )]
    TooSmall { got: usize, wanted: usize },
    #[error("the tokenizers library refused: {0}")]
    Refused(String),
    #[error("interrupted")]
    Cancelled,
}

/// Trains on the training documents and returns the bytes of a `tokenizer.json`.
///
/// `stop` is looked at while the sample is fed; the merge loop after it takes seconds and is not
/// interrupted.
pub fn train(
    documents: &[Document],
    config: &TokenizerConfig,
    stop: &AtomicBool,
) -> Result<Vec<u8>, TokenizerTrainError> {
    let sample = sample(documents, config);
    if sample.is_empty() {
        return Err(TokenizerTrainError::NoDocuments);
    }
    let refused = |e: tokenizers::Error| TokenizerTrainError::Refused(e.to_string());
    let split = SplitPieces::new(
        SplitPattern::Regex(PIECES.to_owned()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(refused)?;
    let bytes = ByteLevel::new(false, false, false);
    let pieces: Vec<PreTokenizerWrapper> = vec![split.into(), bytes.into()];
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        tokenizers::NormalizerWrapper,
        PreTokenizerWrapper,
        tokenizers::PostProcessorWrapper,
        tokenizers::DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_pre_tokenizer(Some(Sequence::new(pieces).into()))
    .with_decoder(Some(bytes.into()))
    .build()
    .map_err(refused)?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(config.n_vocab)
        .show_progress(false)
        .min_frequency(2)
        .max_token_length(Some(config.max_token))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(SPECIALS.iter().map(|s| AddedToken::from(*s, true)).collect())
        .build();
    tokenizer
        .train(&mut trainer, sample.into_iter().take_while(|_| !stop.load(Ordering::Relaxed)))
        .map_err(refused)?;
    if stop.load(Ordering::Relaxed) {
        return Err(TokenizerTrainError::Cancelled);
    }
    let got = tokenizer.get_vocab_size(true);
    if got != config.n_vocab {
        return Err(TokenizerTrainError::TooSmall { got, wanted: config.n_vocab });
    }
    tokenizer.to_string(false).map(String::into_bytes).map_err(refused)
}

/// Training texts drawn by seed until each language has its share.
fn sample<'d>(documents: &'d [Document], config: &TokenizerConfig) -> Vec<&'d str> {
    let mut texts = Vec::new();
    for &(language, share) in &config.shares {
        let mut of_language: Vec<&str> = documents
            .iter()
            .filter(|d| d.split == Split::Train && d.language == language)
            .map(|d| d.text.as_str())
            .collect();
        Rng::for_stream(config.seed, language as u64).shuffle(&mut of_language);
        let target = (config.sample_bytes as f64 * share) as usize;
        let mut bytes = 0;
        for text in of_language {
            if bytes >= target {
                break;
            }
            bytes += text.len();
            texts.push(text);
        }
    }
    texts
}
