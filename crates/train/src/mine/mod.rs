//! From folders of downloaded packages to the documents that the model is trained on.
//!
//! Steps, each in its own file: [`walk`] lists the files, [`filter`] drops what is not hand-written
//! source, [`dedupe`] drops copies and near copies, [`decontaminate`] drops what overlaps an
//! evaluation set, [`balance`] caps packages and languages. [`document`] is the format that comes
//! out. Start reading at [`run`]. Tokens and FIM are not made here.

pub mod balance;
pub mod decontaminate;
pub mod dedupe;
pub mod document;
pub mod filter;
pub mod rng;
pub mod walk;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use document::{Document, Language, Split};

/// What [`run`] reads and how strict it is.
#[derive(Debug, Clone)]
pub struct MineConfig {
    /// Folder laid out as `<split>/<ecosystem>/<package>/…` by the fetch script.
    pub sources: PathBuf,
    /// Folders with `*.jsonl` or `*.jsonl.gz` evaluation sets whose text must not enter the corpus.
    pub decontaminate: Vec<PathBuf>,
    /// A path component of one of these names (lower case) drops the file.
    pub forbidden: Vec<String>,
    pub seed: u64,
    pub limits: filter::Limits,
    pub balance: balance::BalanceConfig,
}

/// `plan.json` in the sources folder, written by the fetch script: what the list of sources says
/// about mining.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Names that evaluation sets are built from; added to [`MineConfig::forbidden`].
    #[serde(default)]
    pub forbidden: Vec<String>,
    /// Packages that are visited more often; added to [`balance::BalanceConfig::emphasis`].
    #[serde(default)]
    pub emphasis: BTreeMap<String, u32>,
}

impl Plan {
    /// The plan of a sources folder; an empty one where there is no file.
    ///
    /// Errors: an unreadable or malformed file.
    pub fn read(sources: &Path) -> Result<Plan, MineError> {
        let path = sources.join("plan.json");
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| MineError::BadPlan { path, source })
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Plan::default()),
            Err(source) => Err(MineError::Io { path, source }),
        }
    }
}

/// Where a mining run is. `done` and `total` count files or documents of the named step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub step: &'static str,
    pub done: usize,
    pub total: usize,
}

/// Why mining stopped.
#[derive(Debug, thiserror::Error)]
pub enum MineError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "{path}: no packages below `train`: sources lie in train/ECOSYSTEM/PACKAGE/… and validation/ECOSYSTEM/PACKAGE/…; for your own code, \
         put repositories into {path}/train/own/ and another one into {path}/validation/own/ (links to folders are not followed: copy them)",
        path = path.display()
    )]
    NoSources { path: PathBuf },
    #[error("{path}: line {line} is not a document: {source}")]
    BadDocument { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("{path}: not a plan ({source}); run the fetch script again")]
    BadPlan { path: PathBuf, source: serde_json::Error },
    #[error("interrupted")]
    Cancelled,
}

impl MineError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> MineError {
        let path = path.into();
        move |source| MineError::Io { path, source }
    }
}

/// What became of the files: counts by language and by reason.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub files_seen: usize,
    /// Files dropped, by reason.
    pub dropped: BTreeMap<String, usize>,
    /// Kept, by split and language.
    pub kept: BTreeMap<String, Count>,
    /// Kept bytes of the largest training packages.
    pub largest_packages: Vec<(String, u64)>,
    pub packages: usize,
}

/// Documents and bytes.
#[derive(Debug, Default, Serialize, Clone, Copy)]
pub struct Count {
    pub documents: usize,
    pub bytes: u64,
}

/// Mines `config.sources`; the documents come back in a fixed order (split, package, path).
///
/// Errors: an unreadable folder or evaluation file, no sources, or `stop` was set. Unreadable
/// single files are counted as dropped.
pub fn run(
    config: &MineConfig,
    progress: &(dyn Fn(Progress) + Sync),
    stop: &AtomicBool,
) -> Result<(Vec<Document>, Report), MineError> {
    let mut report = Report::default();
    let plan = Plan::read(&config.sources)?;
    let forbidden: HashSet<String> = config
        .forbidden
        .iter()
        .chain(&plan.forbidden)
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let languages: Vec<Language> =
        config.balance.shares.iter().filter(|(_, share)| *share > 0.0).map(|(l, _)| *l).collect();
    let listing = walk::list(&config.sources, &languages, &forbidden)?;
    for (reason, count) in &listing.dropped {
        *report.dropped.entry(reason.clone()).or_default() += count;
    }
    report.files_seen = listing.files.len() + listing.dropped.values().sum::<usize>();

    let done = AtomicUsize::new(0);
    let total = listing.files.len();
    let read: Vec<Result<Document, &'static str>> = listing
        .files
        .par_iter()
        .map(|file| {
            if stop.load(Ordering::Relaxed) {
                return Err("interrupted");
            }
            let n = done.fetch_add(1, Ordering::Relaxed) + 1;
            if n.is_multiple_of(1000) || n == total {
                progress(Progress { step: "filter", done: n, total });
            }
            filter::load(file, &config.limits)
        })
        .collect();
    check(stop)?;
    let mut documents = Vec::with_capacity(read.len());
    for outcome in read {
        match outcome {
            Ok(document) => documents.push(document),
            Err(reason) => *report.dropped.entry(reason.to_owned()).or_default() += 1,
        }
    }

    // Validation first: of two copies the first is kept, so a training copy of validation text is
    // the one that goes.
    documents.sort_by(|a, b| (a.split, &a.package, &a.path).cmp(&(b.split, &b.package, &b.path)));
    progress(Progress { step: "dedupe", done: 0, total: documents.len() });
    let verdicts = dedupe::verdicts(&documents);
    documents = keep(documents, &verdicts, &mut report);
    check(stop)?;

    progress(Progress { step: "decontaminate", done: 0, total: documents.len() });
    if !config.decontaminate.is_empty() {
        let evaluation = decontaminate::Shingles::read(&config.decontaminate)?;
        let verdicts = decontaminate::verdicts(&documents, &evaluation);
        documents = keep(documents, &verdicts, &mut report);
    }
    check(stop)?;

    let verdicts = balance::verdicts(&documents, &config.balance, config.seed);
    documents = keep(documents, &verdicts, &mut report);
    for document in &mut documents {
        document.weight = config
            .balance
            .emphasis
            .get(&document.package)
            .or(plan.emphasis.get(&document.package))
            .copied()
            .unwrap_or(1);
    }

    let mut by_package: BTreeMap<&str, u64> = BTreeMap::new();
    for d in &documents {
        let count =
            report.kept.entry(format!("{}/{}", d.split.name(), d.language.name())).or_default();
        count.documents += 1;
        count.bytes += d.text.len() as u64;
        *by_package.entry(&d.package).or_default() += d.text.len() as u64;
    }
    report.packages = by_package.len();
    let mut largest: Vec<_> = by_package.into_iter().map(|(p, b)| (p.to_owned(), b)).collect();
    largest.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), name.clone()));
    largest.truncate(40);
    report.largest_packages = largest;
    Ok((documents, report))
}

fn check(stop: &AtomicBool) -> Result<(), MineError> {
    if stop.load(Ordering::Relaxed) { Err(MineError::Cancelled) } else { Ok(()) }
}

/// Keeps the documents without a verdict and counts the verdicts of the rest.
fn keep(
    documents: Vec<Document>,
    verdicts: &[Option<&'static str>],
    report: &mut Report,
) -> Vec<Document> {
    let mut kept = Vec::with_capacity(documents.len());
    for (document, verdict) in documents.into_iter().zip(verdicts) {
        match verdict {
            None => kept.push(document),
            Some(reason) => *report.dropped.entry((*reason).to_owned()).or_default() += 1,
        }
    }
    kept
}
