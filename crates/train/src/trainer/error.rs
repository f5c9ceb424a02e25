//! What can go wrong in training, with the facts in each variant.

use std::path::{Path, PathBuf};

/// An error of the trainer: names the file or setting, what was wrong with it and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried: `read`, `write` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file was read but is not what it should be.
    #[error("{path}: {what}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        what: String,
    },
    /// A setting that cannot work.
    #[error("{0}")]
    Config(String),
    /// The loss or the gradient is no longer a number.
    #[error(
        "training diverged at step {step}: {what} is not finite; resume from a checkpoint with a lower learning rate"
    )]
    Diverged {
        /// The step that broke.
        step: u64,
        /// Which figure.
        what: &'static str,
    },
}

impl TrainError {
    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> TrainError {
        TrainError::Malformed { path: path.to_owned(), what: what.into() }
    }

    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> TrainError {
        let path = path.to_owned();
        move |source| TrainError::Io { action, path, source }
    }
}
