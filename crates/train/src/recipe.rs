//! What a corpus and its training documents are made of, as a committed file that `lacuna finetune
//! mine --recipe` reads.
//!
//! A recipe shows every window once: files are cut into windows that do not overlap, so tokens are
//! wanted by language and a language that has too little text comes out short, which
//! [`crate::pack::Summary`] tells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::fim::FimConfig;
use crate::mine::Language;
use crate::mine::balance::BalanceConfig;
use crate::pack::{ShardConfig, Visits};

/// A recipe file (TOML).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Training tokens wanted.
    pub tokens: u64,
    pub validation_tokens: u64,
    /// Of windows, holes and rows.
    pub seed: u64,
    /// Bytes of training files that are kept at most, shared like the tokens.
    pub corpus_bytes: u64,
    /// No package gives more than this share of `corpus_bytes`.
    pub package_share: f64,
    pub documents: Documents,
    /// Share of the tokens by language; they add up to 1.
    pub languages: BTreeMap<String, f64>,
}

/// How a window becomes a training document. Shares are of all documents.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// With a hole; the others are plain text from left to right.
    pub hole: f64,
    /// Of those with a hole: suffix first, the order that is served.
    pub suffix_first: f64,
    /// With parts of other files, or of what stands above the window, in the form in which prompts
    /// show them.
    pub excerpts: f64,
    /// Of the tokens: windows that are one self-contained function. The others are any part of a
    /// real file.
    pub functions: f64,
    /// Of the holes: one line or the rest of one.
    pub lines: f64,
    /// Tokens of a document at most, which is a row.
    pub row: usize,
}

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Malformed { path: PathBuf, source: toml::de::Error },
    #[error("{path}: {what}")]
    Unsound { path: PathBuf, what: String },
}

impl Recipe {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Recipe, RecipeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecipeError::Io { path: path.to_owned(), source })?;
        let recipe: Recipe = toml::from_str(&text)
            .map_err(|source| RecipeError::Malformed { path: path.to_owned(), source })?;
        recipe.check().map_err(|what| RecipeError::Unsound { path: path.to_owned(), what })?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), String> {
        let d = &self.documents;
        let shares = [
            ("package_share", self.package_share),
            ("documents.hole", d.hole),
            ("documents.suffix_first", d.suffix_first),
            ("documents.excerpts", d.excerpts),
            ("documents.functions", d.functions),
            ("documents.lines", d.lines),
        ];
        if let Some((name, share)) =
            shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share))
        {
            return Err(format!("{name} is {share}: use 0 to 1"));
        }
        if d.excerpts > d.hole {
            return Err(format!(
                "documents.excerpts is {}, but only {} of the documents have a hole",
                d.excerpts, d.hole
            ));
        }
        if !(256..=65_536).contains(&d.row) {
            return Err(format!("documents.row is {}: use 256 to 65536", d.row));
        }
        let known = || Language::ALL.map(Language::name).join(", ");
        if let Some(name) = self.languages.keys().find(|name| language(name).is_none()) {
            return Err(format!("languages.{name} is no language: use {}", known()));
        }
        let sum: f64 = self.languages.values().sum();
        if self.languages.values().any(|share| !(0.0..=1.0).contains(share))
            || (sum - 1.0).abs() > 1e-6
        {
            return Err(format!("the shares of the languages add up to {sum}, not to 1"));
        }
        Ok(())
    }

    /// The shares, in the order of [`Language::ALL`].
    pub fn shares(&self) -> Vec<(Language, f64)> {
        Language::ALL
            .into_iter()
            .filter_map(|l| Some((l, *self.languages.get(l.name())?)))
            .collect()
    }

    /// What mining keeps.
    pub fn balance(&self) -> BalanceConfig {
        BalanceConfig {
            total_bytes: self.corpus_bytes,
            shares: self.shares(),
            package_share: self.package_share,
            ..BalanceConfig::default()
        }
    }

    /// What rows are made of.
    pub fn shards(&self) -> ShardConfig {
        let d = &self.documents;
        let limit = d.row as f64;
        let common = |fim: FimConfig| FimConfig {
            plain: 1.0 - d.hole,
            spm: d.suffix_first,
            excerpts: d.excerpts,
            limit_tokens: d.row,
            visits: Vec::new(),
            ..fim.with_lines(d.lines)
        };
        let files = FimConfig { function: 0.0, max_tokens: limit - 24.0, ..FimConfig::default() };
        ShardConfig {
            seq_len: d.row,
            train_tokens: self.tokens,
            validation_tokens: self.validation_tokens,
            seed: self.seed,
            fim: common(files),
            functions_share: d.functions,
            functions: common(FimConfig::functions()),
            visits: Visits::Once(self.shares()),
            ..ShardConfig::default()
        }
    }
}

fn language(name: &str) -> Option<Language> {
    Language::ALL.into_iter().find(|l| l.name() == name)
}
