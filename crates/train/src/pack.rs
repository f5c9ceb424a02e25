//! Packs training documents (token ids) into rows of fixed length and writes the shards that the
//! trainer reads.
//!
//! A row holds whole documents back to back, each ending with the end token; the rest of the row is
//! the pad token (see [`Markers`]). Files are zstd streams of little-endian u16, exactly `rows ×
//! seq_len` of them; `shards.json` lists them with their hashes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use atomic_write_file::AtomicWriteFile;
use lacuna_prompt::{SentinelError, Sentinels, Tokenizer, TokenizerError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::excerpts::siblings;
use crate::fim::{self, FimConfig};
use crate::markers::{MarkerError, Markers};
use crate::mine::rng::Rng;
use crate::mine::{Document, Language, Split};
use crate::once::{Example, Making, Windows, examples_once};

/// `shards.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub seq_len: usize,
    pub n_vocab: usize,
    /// Rows of training files in all.
    pub n_rows: usize,
    pub files: Vec<Shard>,
    pub validation: Vec<Shard>,
    pub tokenizer_sha256: String,
    #[serde(default)]
    pub markers: Markers,
}

/// One file of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub name: String,
    pub rows: usize,
    /// Of the compressed file, lower-case hexadecimal.
    pub sha256: String,
}

/// Why documents could not be packed or written.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("document {index} has {len} tokens, a row holds {seq_len}: make smaller windows")]
    TooLong { index: usize, len: usize, seq_len: usize },
    #[error(
        "document {index} does not end with the end token or holds it earlier: it was not made by the fim module"
    )]
    BadEnd { index: usize },
    #[error(
        "no {split} documents: put packages below {split}/ECOSYSTEM/ of the sources and mine again (report.json says what was left out and why)"
    )]
    NoDocuments { split: &'static str },
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Sentinels(#[from] SentinelError),
    #[error(transparent)]
    Markers(#[from] MarkerError),
    #[error("interrupted")]
    Cancelled,
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

/// How many rows, and of what.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    pub seq_len: usize,
    /// Tokens of training documents wanted; each file is visited as often as that takes.
    pub train_tokens: u64,
    pub validation_tokens: u64,
    pub rows_per_file: usize,
    pub seed: u64,
    pub fim: FimConfig,
    /// Share of the training tokens that is made with `functions` instead of `fim`.
    pub functions_share: f64,
    pub functions: FimConfig,
    pub visits: Visits,
}

/// How often a part of a file is seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Visits {
    /// As often as the tokens wanted take, in other windows each time.
    AsNeeded,
    /// Once: windows do not overlap, and each language gives its share of the tokens as far as its
    /// text goes.
    Once(Vec<(Language, f64)>),
}

impl Default for ShardConfig {
    fn default() -> ShardConfig {
        ShardConfig {
            seq_len: 1024,
            train_tokens: 80_000_000,
            validation_tokens: 1_500_000,
            rows_per_file: 8192,
            seed: 1,
            fim: FimConfig::default(),
            functions_share: 0.6,
            functions: FimConfig::functions(),
            visits: Visits::AsNeeded,
        }
    }
}

/// What [`build`] made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    pub train: SplitSummary,
    pub validation: SplitSummary,
}

/// Figures of one split. `scales`: visits of a byte of a language with weight 1, for each recipe of
/// windows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SplitSummary {
    pub sources: usize,
    pub documents: usize,
    pub tokens: u64,
    pub rows: usize,
    pub scales: Vec<f64>,
    /// Share of the rows that is padding.
    pub padding: f64,
    /// What each language gave, where windows are seen once.
    pub languages: BTreeMap<Language, Given>,
    pub kinds: Kinds,
}

/// Tokens of a language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Given {
    pub wanted: u64,
    pub tokens: u64,
    pub documents: usize,
}

/// How many documents are of a kind, where windows are seen once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    pub documents: usize,
    pub with_hole: usize,
    pub suffix_first: usize,
    pub with_excerpts: usize,
    /// Tokens of windows that are one function.
    pub tokens_of_functions: u64,
}

/// Makes FIM documents of both splits, packs them and writes the whole folder: shards,
/// `tokenizer.json`, then `shards.json`.
///
/// `progress` gets files done and files in all. Errors: a tokenizer without sentinels, an empty
/// split, writing, or `stop`.
pub fn build(
    documents: &[Document],
    tokenizer_json: &[u8],
    config: &ShardConfig,
    folder: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
    stop: &AtomicBool,
) -> Result<Summary, PackError> {
    let tokenizer = Tokenizer::from_json(tokenizer_json)?;
    let sentinels = Sentinels::resolve(&tokenizer)?;
    let markers = Markers::of(&tokenizer, &sentinels)?;
    std::fs::create_dir_all(folder)
        .map_err(|source| PackError::Io { path: folder.to_owned(), source })?;
    let mut index = Index {
        seq_len: config.seq_len,
        n_vocab: tokenizer.n_vocab(),
        n_rows: 0,
        files: Vec::new(),
        validation: Vec::new(),
        tokenizer_sha256: hex::encode(Sha256::digest(tokenizer_json)),
        markers,
    };
    let mut summary = Summary::default();
    for split in [Split::Train, Split::Validation] {
        let of_split: Vec<&Document> = documents.iter().filter(|d| d.split == split).collect();
        let of = Of {
            documents: &of_split,
            tokenizer: &tokenizer,
            sentinels: &sentinels,
            end: markers.end,
            config,
            progress,
            stop,
        };
        let made = match &config.visits {
            Visits::AsNeeded => as_needed(&of, split),
            Visits::Once(shares) => {
                // Siblings are found by the order of packages.
                let mut sorted = of_split.clone();
                sorted.sort_by(|a, b| (&a.package, &a.path).cmp(&(&b.package, &b.path)));
                once(&Of { documents: &sorted, ..of }, split, shares)
            }
        };
        let examples = made.examples;
        if stop.load(Ordering::Relaxed) {
            return Err(PackError::Cancelled);
        }
        if examples.is_empty() {
            return Err(PackError::NoDocuments { split: split.name() });
        }
        let packed = rows(&examples, config.seq_len, markers, config.seed)?;
        let tokens: u64 = examples.iter().map(|e| e.len() as u64).sum();
        let figures = SplitSummary {
            sources: of_split.len(),
            documents: examples.len(),
            tokens,
            rows: packed.len(),
            scales: made.scales,
            padding: 1.0 - tokens as f64 / (packed.len() * config.seq_len) as f64,
            languages: made.languages,
            kinds: made.kinds,
        };
        let stem = if split == Split::Train { "train" } else { "validation" };
        let shards = write(folder, stem, &packed, config.rows_per_file)?;
        if split == Split::Train {
            index.n_rows = packed.len();
            index.files = shards;
            summary.train = figures;
        } else {
            index.validation = shards;
            summary.validation = figures;
        }
    }
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, tokenizer_json).map_err(|source| PackError::Io { path, source })?;
    write_index(folder, &index)?;
    Ok(summary)
}

/// The documents of one split, and what examples are made with.
struct Of<'a> {
    documents: &'a [&'a Document],
    tokenizer: &'a Tokenizer,
    sentinels: &'a Sentinels,
    end: u16,
    config: &'a ShardConfig,
    progress: &'a (dyn Fn(usize, usize) + Sync),
    stop: &'a AtomicBool,
}

#[derive(Default)]
struct Made {
    examples: Vec<Vec<u16>>,
    scales: Vec<f64>,
    languages: BTreeMap<Language, Given>,
    kinds: Kinds,
}

/// Every file as often as the tokens wanted take.
fn as_needed(of: &Of<'_>, split: Split) -> Made {
    let Of { documents, tokenizer, sentinels, config, .. } = of;
    let recipes = match split {
        Split::Train => vec![
            (&config.fim, config.train_tokens as f64 * (1.0 - config.functions_share)),
            (&config.functions, config.train_tokens as f64 * config.functions_share),
        ],
        Split::Validation => vec![(&config.fim, config.validation_tokens as f64)],
    };
    let done = AtomicUsize::new(0);
    let mut made = Made::default();
    for (number, (fim, wanted)) in recipes.iter().enumerate() {
        let seed = config.seed.wrapping_add((number as u64) << 32);
        let make = |d: &Document, scale: f64| {
            fim::examples(d, tokenizer, sentinels, of.end, fim, scale, seed)
        };
        let one_visit = tokens_of_one_visit(documents, &make);
        let scale = if one_visit > 0.0 { wanted / one_visit } else { 0.0 };
        made.scales.push(scale);
        made.examples.par_extend(documents.par_iter().flat_map_iter(|d| {
            (of.progress)(
                done.fetch_add(1, Ordering::Relaxed) + 1,
                documents.len() * recipes.len(),
            );
            if of.stop.load(Ordering::Relaxed) { Vec::new() } else { make(d, scale) }
        }));
    }
    made
}

/// So many more windows are made than are wanted, because how many tokens they hold is estimated;
/// what is too much is left out again.
const SPARE: f64 = 1.08;
/// Of few windows still more: four deviations of the sum of their lengths, which are drawn.
const FEW: f64 = 90.0;
/// Files of a language that the estimate is made from.
const PILOT_FILES: usize = 200;

/// Every window once, the tokens shared by language; functions first, real files give the rest.
fn once(of: &Of<'_>, split: Split, shares: &[(Language, f64)]) -> Made {
    let config = of.config;
    let (total, functions_share) = match split {
        Split::Train => (config.train_tokens, config.functions_share),
        Split::Validation => (config.validation_tokens, 0.0),
    };
    let done = AtomicUsize::new(0);
    let mut made = Made::default();
    for &(language, share) in shares {
        let places: Vec<usize> =
            (0..of.documents.len()).filter(|&i| of.documents[i].language == language).collect();
        let wanted = (total as f64 * share) as u64;
        let mut given = Given { wanted, ..Given::default() };
        for (windows, fim) in
            [(Windows::Functions, &config.functions), (Windows::Tiles, &config.fim)]
        {
            let goal = match windows {
                Windows::Functions => (wanted as f64 * functions_share) as u64,
                Windows::Tiles => wanted.saturating_sub(given.tokens),
            };
            if goal == 0 {
                continue;
            }
            let seed = config.seed.wrapping_add(u64::from(split == Split::Validation) << 40);
            let make = |at: usize, keep: f64| {
                let making = Making {
                    tokenizer: of.tokenizer,
                    sentinels: of.sentinels,
                    end: of.end,
                    config: fim,
                    seed,
                };
                let siblings = siblings(of.documents, at, &mut Rng::for_stream(seed, at as u64));
                examples_once(of.documents[at], &siblings, making, windows, keep)
            };
            let pilot: Vec<usize> =
                places.iter().copied().step_by((places.len() / PILOT_FILES).max(1)).collect();
            let tokens = |at: &usize| make(*at, 1.0).iter().map(|e| e.ids.len()).sum::<usize>();
            let found: usize = pilot.par_iter().map(tokens).sum();
            let available = found as f64 * bytes(of, &places) / bytes(of, &pilot).max(1.0);
            let enough = SPARE * goal as f64 + FEW * (goal as f64).sqrt();
            let keep = if available > 0.0 { (enough / available).min(1.0) } else { 0.0 };
            let mut examples: Vec<Example> = places
                .par_iter()
                .flat_map_iter(|&at| {
                    (of.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, 2 * of.documents.len());
                    if of.stop.load(Ordering::Relaxed) { Vec::new() } else { make(at, keep) }
                })
                .collect();
            Rng::for_stream(seed, language as u64).shuffle(&mut examples);
            let mut tokens = 0;
            for example in examples {
                if tokens >= goal {
                    break;
                }
                tokens += example.ids.len() as u64;
                given.documents += 1;
                made.kinds.count(&example, windows);
                made.examples.push(example.ids);
            }
            given.tokens += tokens;
        }
        made.languages.insert(language, given);
    }
    made
}

fn bytes(of: &Of<'_>, places: &[usize]) -> f64 {
    places.iter().map(|&i| of.documents[i].text.len() as f64).sum()
}

impl Kinds {
    fn count(&mut self, example: &Example, windows: Windows) {
        self.documents += 1;
        self.with_hole += usize::from(example.has_hole);
        self.suffix_first += usize::from(example.is_suffix_first);
        self.with_excerpts += usize::from(example.has_excerpts);
        self.tokens_of_functions +=
            if windows == Windows::Functions { example.ids.len() as u64 } else { 0 };
    }
}

/// Tokens that one visit of every file would give, from a spread of up to 800 files.
fn tokens_of_one_visit(
    documents: &[&Document],
    make: &(dyn Fn(&Document, f64) -> Vec<Vec<u16>> + Sync),
) -> f64 {
    let step = (documents.len() / 800).max(1);
    let pilot: Vec<&&Document> = documents.iter().step_by(step).collect();
    let bytes: usize = pilot.iter().map(|d| d.text.len()).sum();
    let tokens: usize =
        pilot.par_iter().map(|d| make(d, 1.0).iter().map(Vec::len).sum::<usize>()).sum();
    let all: usize = documents.iter().map(|d| d.text.len()).sum();
    tokens as f64 * all as f64 / bytes.max(1) as f64
}

/// Best-fit decreasing: every document goes to the fullest row that still has room. Rows come back
/// shuffled by `seed`, and so does the order of documents within a row. Each row is exactly
/// `seq_len` long.
pub fn rows(
    documents: &[Vec<u16>],
    seq_len: usize,
    markers: Markers,
    seed: u64,
) -> Result<Vec<Vec<u16>>, PackError> {
    for (index, d) in documents.iter().enumerate() {
        if d.len() > seq_len {
            return Err(PackError::TooLong { index, len: d.len(), seq_len });
        }
        if d.iter().position(|&t| t == markers.end) != Some(d.len().wrapping_sub(1)) {
            return Err(PackError::BadEnd { index });
        }
    }
    let mut rng = Rng::for_stream(seed, 0x7061_636b);
    let mut order: Vec<u32> = (0..documents.len() as u32).collect();
    rng.shuffle(&mut order);
    order.sort_by_key(|&i| std::cmp::Reverse(documents[i as usize].len()));
    // `open[room]` are the rows with exactly that much room left.
    let mut open: Vec<Vec<u32>> = vec![Vec::new(); seq_len + 1];
    let mut members: Vec<Vec<u32>> = Vec::new();
    for i in order {
        let len = documents[i as usize].len();
        let room = (len..=seq_len).find(|&room| !open[room].is_empty());
        let (row, room) = match room.and_then(|room| open[room].pop().map(|row| (row, room))) {
            Some(found) => found,
            None => {
                members.push(Vec::new());
                (members.len() as u32 - 1, seq_len)
            }
        };
        members[row as usize].push(i);
        open[room - len].push(row);
    }
    rng.shuffle(&mut members);
    let mut rows = Vec::with_capacity(members.len());
    for mut ids in members {
        rng.shuffle(&mut ids);
        let mut row = Vec::with_capacity(seq_len);
        for i in ids {
            row.extend_from_slice(&documents[i as usize]);
        }
        row.resize(seq_len, markers.pad);
        rows.push(row);
    }
    Ok(rows)
}

/// Writes `<stem>-000.tok.zst`, … with at most `rows_per_file` rows each; returns what
/// `shards.json` says about them.
pub fn write(
    folder: &Path,
    stem: &str,
    rows: &[Vec<u16>],
    rows_per_file: usize,
) -> Result<Vec<Shard>, PackError> {
    let mut shards = Vec::new();
    for (number, chunk) in rows.chunks(rows_per_file.max(1)).enumerate() {
        let name = format!("{stem}-{number:03}.tok.zst");
        let path = folder.join(&name);
        let io = |source| PackError::Io { path: path.clone(), source };
        let raw: Vec<u8> = chunk.iter().flatten().flat_map(|t| t.to_le_bytes()).collect();
        let compressed = zstd::encode_all(raw.as_slice(), 9).map_err(io)?;
        let mut file = BufWriter::new(File::create(&path).map_err(io)?);
        file.write_all(&compressed).and_then(|()| file.flush()).map_err(io)?;
        shards.push(Shard {
            name,
            rows: chunk.len(),
            sha256: hex::encode(Sha256::digest(&compressed)),
        });
    }
    Ok(shards)
}

/// Writes `shards.json` as a whole, last of all: a folder that has one is complete.
pub fn write_index(folder: &Path, index: &Index) -> Result<(), PackError> {
    let path = folder.join("shards.json");
    let io = |source| PackError::Io { path: path.clone(), source };
    let text = serde_json::to_string_pretty(index).map_err(|e| io(e.into()))?;
    let mut file = AtomicWriteFile::open(&path).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.commit()).map_err(io)
}
