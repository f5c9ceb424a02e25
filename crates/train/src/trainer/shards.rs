//! Reading token shards: a directory of `shards.json`, `tokenizer.json` and zstd files of u16
//! tokens.
//!
//! Everything is checked once, at load (sizes, hashes, ids), and held in memory: two bytes a token.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::error::TrainError;
use super::random::Random;
use crate::markers::Markers;

/// Most tokens that are loaded: 2 GiB of memory.
const MAX_TOKENS: usize = 1 << 30;

#[derive(Debug, Deserialize)]
struct Manifest {
    seq_len: usize,
    n_vocab: usize,
    n_rows: usize,
    files: Vec<Entry>,
    #[serde(default)]
    validation: Vec<Entry>,
    tokenizer_sha256: Option<String>,
    #[serde(default)]
    markers: Markers,
}

#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
    rows: usize,
    sha256: String,
}

/// Rows of equal length.
#[derive(Clone, Debug)]
pub struct Rows {
    tokens: Vec<u16>,
    seq_len: usize,
}

impl Rows {
    /// Rows from memory.
    ///
    /// Panics: if `tokens` is no whole number of rows.
    pub fn new(tokens: Vec<u16>, seq_len: usize) -> Rows {
        assert!(
            seq_len > 0 && tokens.len().is_multiple_of(seq_len),
            "{} tokens are no rows of {seq_len}",
            tokens.len()
        );
        Rows { tokens, seq_len }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.seq_len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens of one row.
    ///
    /// Panics: if there is no such row.
    pub fn row(&self, i: usize) -> &[u16] {
        &self.tokens[i * self.seq_len..][..self.seq_len]
    }
}

/// A loaded data set.
#[derive(Clone, Debug)]
pub struct Shards {
    /// Tokens in a row.
    pub seq_len: usize,
    /// Vocabulary size; every id is below it.
    pub n_vocab: usize,
    /// The ids between documents.
    pub markers: Markers,
    /// Rows to train on.
    pub train: Rows,
    /// Rows of other packages, for validation.
    pub validation: Rows,
    /// The tokenizer's file, copied into every checkpoint.
    pub tokenizer: Vec<u8>,
    /// SHA-256 over the manifest: tells whether a checkpoint continues on the same data.
    pub fingerprint: String,
}

impl Shards {
    /// Loads a directory.
    pub fn load(dir: &Path) -> Result<Shards, TrainError> {
        let path = dir.join("shards.json");
        let bytes = read_bounded(&path, 1 << 24)?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| TrainError::malformed(&path, format!("no shard manifest: {e}")))?;
        let Manifest { seq_len, n_vocab, n_rows, .. } = manifest;
        if !(2..=1 << 16).contains(&seq_len) || !(8..=1 << 16).contains(&n_vocab) {
            return Err(TrainError::malformed(
                &path,
                format!("seq_len {seq_len} or n_vocab {n_vocab} is out of range"),
            ));
        }
        let listed =
            |entries: &[Entry]| entries.iter().try_fold(0usize, |sum, e| sum.checked_add(e.rows));
        let (train, validation) = (listed(&manifest.files), listed(&manifest.validation));
        let total = train.zip(validation).and_then(|(t, v)| t.checked_add(v)?.checked_mul(seq_len));
        if total.is_none_or(|n| n > MAX_TOKENS) {
            return Err(TrainError::malformed(
                &path,
                format!("more than {MAX_TOKENS} tokens: use fewer shards"),
            ));
        }
        if train != Some(n_rows) || n_rows == 0 {
            let what =
                format!("n_rows is {n_rows}, but the files list {} rows", train.unwrap_or(0));
            return Err(TrainError::malformed(&path, what));
        }
        let tokenizer_path = dir.join("tokenizer.json");
        let tokenizer = read_bounded(&tokenizer_path, 1 << 28)?;
        if manifest
            .tokenizer_sha256
            .is_some_and(|want| !want.eq_ignore_ascii_case(&sha256(&tokenizer)))
        {
            return Err(TrainError::malformed(
                &tokenizer_path,
                "is not the tokenizer that the shards were made with",
            ));
        }
        Ok(Shards {
            seq_len,
            n_vocab,
            markers: manifest.markers,
            train: read_rows(dir, &manifest.files, seq_len, n_vocab)?,
            validation: read_rows(dir, &manifest.validation, seq_len, n_vocab)?,
            tokenizer,
            fingerprint: sha256(&bytes),
        })
    }
}

fn read_rows(
    dir: &Path,
    entries: &[Entry],
    seq_len: usize,
    n_vocab: usize,
) -> Result<Rows, TrainError> {
    let mut tokens = Vec::new();
    for entry in entries {
        if Path::new(&entry.name).components().count() != 1 || entry.name.starts_with('.') {
            let what = format!("the shard name `{}` is not a plain file name", entry.name);
            return Err(TrainError::malformed(&dir.join("shards.json"), what));
        }
        let path = dir.join(&entry.name);
        let bytes = decompress(&path, entry, entry.rows * seq_len * 2)?;
        tokens.reserve_exact(bytes.len() / 2);
        tokens.extend(bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)));
    }
    if let Some(at) = tokens.iter().position(|&t| usize::from(t) >= n_vocab) {
        let (id, row) = (tokens[at], at / seq_len);
        let what = format!(
            "token id {id} in row {row} is outside the vocabulary of {n_vocab}: build the shards again"
        );
        return Err(TrainError::malformed(dir, what));
    }
    Ok(Rows::new(tokens, seq_len))
}

/// Exactly `size` bytes out of a zstd file whose hash is right; never more memory than that,
/// whatever the file says.
fn decompress(path: &Path, entry: &Entry, size: usize) -> Result<Vec<u8>, TrainError> {
    let compressed = read_bounded(path, size as u64 + (1 << 20))?;
    if !entry.sha256.eq_ignore_ascii_case(&sha256(&compressed)) {
        return Err(TrainError::malformed(
            path,
            "its SHA-256 is not the one in shards.json: copy or build it again",
        ));
    }
    let decoder =
        zstd::Decoder::new(compressed.as_slice()).map_err(TrainError::io("decompress", path))?;
    let mut bytes = Vec::new();
    decoder
        .take(size as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(TrainError::io("decompress", path))?;
    if bytes.len() != size {
        let what = format!(
            "holds {} bytes or more, but shards.json lists {} rows ({size} bytes)",
            bytes.len(),
            entry.rows
        );
        return Err(TrainError::malformed(path, what));
    }
    Ok(bytes)
}

/// A whole file, refused if it is larger than `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, TrainError> {
    let file = File::open(path).map_err(TrainError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(TrainError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(TrainError::malformed(
            path,
            format!("is larger than the {limit} bytes that it may have"),
        ));
    }
    Ok(bytes)
}

/// Replaces a file, or leaves it as it was.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    AtomicWriteFile::open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.commit()))
        .map_err(TrainError::io("write", path))
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Which row comes when: every epoch is a fresh permutation that the seed and the epoch's number
/// decide, so that a position in the order is one number.
#[derive(Clone, Debug)]
pub(crate) struct RowOrder {
    n_rows: usize,
    seed: u64,
    epoch: Option<(u64, Vec<u32>)>,
}

impl RowOrder {
    pub(crate) fn new(n_rows: usize, seed: u64) -> RowOrder {
        RowOrder { n_rows, seed, epoch: None }
    }

    /// The row at a position of the endless order.
    pub(crate) fn at(&mut self, position: u64) -> usize {
        let epoch = position / self.n_rows as u64;
        if self.epoch.as_ref().is_none_or(|(e, _)| *e != epoch) {
            let mut random = Random::new(self.seed ^ epoch.wrapping_mul(0xd134_2543_de82_ef95));
            self.epoch = Some((epoch, random.permutation(self.n_rows)));
        }
        let order = self.epoch.as_ref().map_or(&[][..], |(_, order)| order);
        order[(position % self.n_rows as u64) as usize] as usize
    }
}

/// A shard directory as it must be, written for tests and examples: rows of `train` and
/// `validation`.
pub fn write_shards(
    dir: &Path,
    train: &Rows,
    validation: &Rows,
    n_vocab: usize,
    tokenizer: &[u8],
) -> Result<(), TrainError> {
    let write = |name: &str, bytes: &[u8]| {
        let path: PathBuf = dir.join(name);
        std::fs::write(&path, bytes).map_err(TrainError::io("write", &path))
    };
    let entry = |name: &str, rows: &Rows| {
        let bytes: Vec<u8> = rows.tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
        let packed =
            zstd::encode_all(bytes.as_slice(), 3).map_err(TrainError::io("compress", dir))?;
        write(name, &packed)?;
        Ok::<_, TrainError>(
            serde_json::json!({"name": name, "rows": rows.len(), "sha256": sha256(&packed)}),
        )
    };
    let manifest = serde_json::json!({
        "seq_len": train.seq_len,
        "n_vocab": n_vocab,
        "n_rows": train.len(),
        "files": [entry("train-000.tok.zst", train)?],
        "validation": [entry("validation-000.tok.zst", validation)?],
        "tokenizer_sha256": sha256(tokenizer),
    });
    write("tokenizer.json", tokenizer)?;
    write("shards.json", manifest.to_string().as_bytes())
}
