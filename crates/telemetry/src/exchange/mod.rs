//! Rows between installations: exports that other tools read, and what a team merges again.
//!
//! Owns: the file formats (JSON Lines, CSV, Parquet: the same columns under the same names) and the
//! body of an OTLP request. Does not own: sending it. Every format has all columns of
//! `docs/telemetry.md`; nothing in them is text of the user.

mod otlp;
mod parquet;
mod read;
mod write;

use std::path::PathBuf;

use thiserror::Error;

pub use otlp::otlp_logs;
pub use read::{Merged, read_file};
pub use write::{Format, RowWriter};

/// Why rows could not be written or read.
#[derive(Debug, Error)]
pub enum ExchangeError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {what}: give an export of lacuna (.parquet, .jsonl or .csv)", path.display())]
    NotAnExport { path: PathBuf, what: String },
    #[error("{}, line {line}: {what}", path.display())]
    Line { path: PathBuf, line: usize, what: String },
    #[error("writing the export: {0}")]
    Write(String),
}

/// The metadata key under which Parquet exports carry the definitions of their experiments.
const EXPERIMENTS_KEY: &str = "lacuna.experiments";
/// The column before all others.
const INSTALLATION: &str = "installation";
