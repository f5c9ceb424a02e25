//! Drops documents that overlap an evaluation set.
//!
//! Rule: a document goes if it shares a run of 13 words (letters, digits, `_`; lower-cased;
//! punctuation ignored) with any text of the evaluation files, unless that run is trivial (few
//! different words) or stands in ten or more documents of the corpus, as licence headers and `for i
//! in range(len(x))` loops do: those say nothing about where a document comes from.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::dedupe::{hash_bytes, mix};
use super::{Document, MineError};

const WORDS: usize = 13;
const MIN_DIFFERENT: usize = 7;
const COMMON: u32 = 10;
/// Longest line read of an evaluation file; a longer one is refused rather than held.
const MAX_LINE: u64 = 64 << 20;

/// Hashes of all 13-word runs of the evaluation files.
#[derive(Debug, Default)]
pub struct Shingles(HashSet<u64>);

impl Shingles {
    /// Reads every `*.jsonl` and `*.jsonl.gz` below the folders; each string value of each row
    /// counts, and prompt + middle + suffix joined.
    pub fn read(folders: &[PathBuf]) -> Result<Shingles, MineError> {
        let mut shingles = Shingles::default();
        for folder in folders {
            let mut files = Vec::new();
            collect(folder, 0, &mut files)?;
            files.sort();
            for file in files {
                shingles.read_file(&file)?;
            }
        }
        Ok(shingles)
    }

    /// The runs of one text.
    pub fn add(&mut self, text: &str) {
        self.0.extend(runs(text));
    }

    fn read_file(&mut self, path: &Path) -> Result<(), MineError> {
        let file = File::open(path).map_err(MineError::io(path))?;
        let gz = path.extension().is_some_and(|e| e == "gz");
        let reader: Box<dyn Read> =
            if gz { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut reader = BufReader::new(reader);
        for number in 1.. {
            let mut line = String::new();
            if (&mut reader).take(MAX_LINE).read_line(&mut line).map_err(MineError::io(path))? == 0
            {
                return Ok(());
            }
            let row: serde_json::Value = serde_json::from_str(&line).map_err(|source| {
                MineError::BadDocument { path: path.to_owned(), line: number, source }
            })?;
            self.add_value(&row);
            let field =
                |names: &[&str]| names.iter().find_map(|n| row.get(n)?.as_str()).unwrap_or("");
            let middle = field(&["canonical_solution", "middle", "groundtruth"]);
            if !middle.is_empty() {
                let (prefix, suffix) =
                    (field(&["prompt", "prefix"]), field(&["suffix", "right_context"]));
                self.add(&format!("{prefix}\n{middle}\n{suffix}"));
            }
        }
        Ok(())
    }

    fn add_value(&mut self, value: &serde_json::Value) {
        match value {
            serde_json::Value::String(text) => self.add(text),
            serde_json::Value::Array(items) => items.iter().for_each(|v| self.add_value(v)),
            serde_json::Value::Object(fields) => fields.values().for_each(|v| self.add_value(v)),
            _ => {}
        }
    }
}

/// A reason for every document that shares an uncommon run with the evaluation files.
pub fn verdicts(documents: &[Document], evaluation: &Shingles) -> Vec<Option<&'static str>> {
    let hits: Vec<HashSet<u64>> = documents
        .par_iter()
        .map(|d| runs(&d.text).into_iter().filter(|h| evaluation.0.contains(h)).collect())
        .collect();
    let mut frequency: HashMap<u64, u32> = HashMap::new();
    for hit in hits.iter().flatten() {
        *frequency.entry(*hit).or_default() += 1;
    }
    hits.iter()
        .map(|hit| {
            hit.iter().any(|h| frequency[h] < COMMON).then_some("overlaps an evaluation set")
        })
        .collect()
}

fn runs(text: &str) -> Vec<u64> {
    let lower = text.to_ascii_lowercase();
    let words: Vec<u64> = lower
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
        .map(|w| hash_bytes(w.as_bytes()))
        .collect();
    words
        .windows(WORDS)
        .filter(|window| {
            let mut sorted: [u64; WORDS] = [0; WORDS];
            sorted.copy_from_slice(window);
            sorted.sort_unstable();
            1 + sorted.windows(2).filter(|p| p[0] != p[1]).count() >= MIN_DIFFERENT
        })
        .map(|window| window.iter().fold(0u64, |h, w| mix(h.rotate_left(9) ^ w)))
        .collect()
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), MineError> {
    for entry in std::fs::read_dir(folder).map_err(MineError::io(folder))? {
        let path = entry.map_err(MineError::io(folder))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && depth < 8 {
            collect(&path, depth + 1, files)?;
        } else if name.ends_with(".jsonl") || name.ends_with(".jsonl.gz") {
            files.push(path);
        }
    }
    Ok(())
}
