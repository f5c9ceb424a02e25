//! Packs training documents (token ids) into rows of fixed length and writes the shards that the trainer reads.
//!
//! A row holds whole documents back to back, each ending with the end token; the rest of the row is the pad token (see [`Markers`]). Files are zstd streams
//! of little-endian u16, exactly `rows × seq_len` of them; `shards.json` lists them with their hashes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lacuna_prompt::{SentinelError, Sentinels, Tokenizer, TokenizerError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fim::{self, FimConfig};
use crate::markers::{MarkerError, Markers};
use crate::mine::rng::Rng;
use crate::mine::{Document, Split};

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
    #[error("document {index} does not end with the end token or holds it earlier: it was not made by the fim module")]
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
        }
    }
}

/// What [`build`] made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    pub train: SplitSummary,
    pub validation: SplitSummary,
}

/// Figures of one split. `scales`: visits of a byte of a language with weight 1, for each recipe of windows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SplitSummary {
    pub sources: usize,
    pub documents: usize,
    pub tokens: u64,
    pub rows: usize,
    pub scales: Vec<f64>,
    /// Share of the rows that is padding.
    pub padding: f64,
}

/// Makes FIM documents of both splits, packs them and writes the whole folder: shards, `tokenizer.json`, then `shards.json`.
///
/// `progress` gets files done and files in all. Errors: a tokenizer without sentinels, an empty split, writing, or `stop`.
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
    std::fs::create_dir_all(folder).map_err(|source| PackError::Io { path: folder.to_owned(), source })?;
    let mut index = Index {
        seq_len: config.seq_len,
        n_vocab: tokenizer.n_vocab(),
        n_rows: 0,
        files: Vec::new(),
        validation: Vec::new(),
        tokenizer_sha256: hex(&Sha256::digest(tokenizer_json)),
        markers,
    };
    let mut summary = Summary::default();
    for split in [Split::Train, Split::Validation] {
        let of_split: Vec<&Document> = documents.iter().filter(|d| d.split == split).collect();
        let recipes = match split {
            Split::Train => vec![
                (&config.fim, config.train_tokens as f64 * (1.0 - config.functions_share)),
                (&config.functions, config.train_tokens as f64 * config.functions_share),
            ],
            Split::Validation => vec![(&config.fim, config.validation_tokens as f64)],
        };
        let done = AtomicUsize::new(0);
        let mut examples: Vec<Vec<u16>> = Vec::new();
        let mut scales = Vec::new();
        for (number, (fim, wanted)) in recipes.iter().enumerate() {
            let seed = config.seed.wrapping_add((number as u64) << 32);
            let make = |d: &Document, scale: f64| fim::examples(d, &tokenizer, &sentinels, markers.end, fim, scale, seed);
            let one_visit = tokens_of_one_visit(&of_split, &make);
            let scale = if one_visit > 0.0 { wanted / one_visit } else { 0.0 };
            scales.push(scale);
            examples.par_extend(of_split.par_iter().flat_map_iter(|d| {
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, of_split.len() * recipes.len());
                if stop.load(Ordering::Relaxed) { Vec::new() } else { make(d, scale) }
            }));
        }
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
            scales,
            padding: 1.0 - tokens as f64 / (packed.len() * config.seq_len) as f64,
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

/// Tokens that one visit of every file would give, from a spread of up to 800 files.
fn tokens_of_one_visit(documents: &[&Document], make: &(dyn Fn(&Document, f64) -> Vec<Vec<u16>> + Sync)) -> f64 {
    let step = (documents.len() / 800).max(1);
    let pilot: Vec<&&Document> = documents.iter().step_by(step).collect();
    let bytes: usize = pilot.iter().map(|d| d.text.len()).sum();
    let tokens: usize = pilot.par_iter().map(|d| make(d, 1.0).iter().map(Vec::len).sum::<usize>()).sum();
    let all: usize = documents.iter().map(|d| d.text.len()).sum();
    tokens as f64 * all as f64 / bytes.max(1) as f64
}

/// Best-fit decreasing: every document goes to the fullest row that still has room. Rows come back shuffled by `seed`,
/// and so does the order of documents within a row. Each row is exactly `seq_len` long.
pub fn rows(documents: &[Vec<u16>], seq_len: usize, markers: Markers, seed: u64) -> Result<Vec<Vec<u16>>, PackError> {
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

/// Writes `<stem>-000.tok.zst`, … with at most `rows_per_file` rows each; returns what `shards.json` says about them.
pub fn write(folder: &Path, stem: &str, rows: &[Vec<u16>], rows_per_file: usize) -> Result<Vec<Shard>, PackError> {
    let mut shards = Vec::new();
    for (number, chunk) in rows.chunks(rows_per_file.max(1)).enumerate() {
        let name = format!("{stem}-{number:03}.tok.zst");
        let path = folder.join(&name);
        let io = |source| PackError::Io { path: path.clone(), source };
        let raw: Vec<u8> = chunk.iter().flatten().flat_map(|t| t.to_le_bytes()).collect();
        let compressed = zstd::encode_all(raw.as_slice(), 9).map_err(io)?;
        let mut file = BufWriter::new(File::create(&path).map_err(io)?);
        file.write_all(&compressed).and_then(|()| file.flush()).map_err(io)?;
        shards.push(Shard { name, rows: chunk.len(), sha256: hex(&Sha256::digest(&compressed)) });
    }
    Ok(shards)
}

/// Writes `shards.json` through a temporary file, last of all: a folder that has one is complete.
pub fn write_index(folder: &Path, index: &Index) -> Result<(), PackError> {
    let path = folder.join("shards.json");
    let temporary = folder.join("shards.json.partial");
    let io = |source| PackError::Io { path: path.clone(), source };
    let text = serde_json::to_string_pretty(index).map_err(|e| io(e.into()))?;
    std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path)).map_err(io)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
