//! Building sets: holes in real projects, from gold patches, from recent commits, from syntax
//! trees.
//!
//! Start at [`swe_bench`], [`commits`] or [`ast`]: each gives its examples to a sink in a fixed
//! order and notes in a [`Report`] what it left out and why. Examples and ids are the same whenever
//! the same inputs are built again. Nothing is written to a repository.

mod ast;
mod commits;
mod context;
mod git;
mod holes;
mod instance;
mod license;
pub mod patch;
mod report;
mod resolve;
mod swe_bench;
mod tree;
mod vendored;

use std::path::PathBuf;

use lacuna_context::Language;

pub use ast::{AstOptions, ast};
pub use commits::{CommitOptions, commits, is_date, listed};
pub use context::ContextLimits;
pub use git::{Blob, GitError, read_object};
pub use report::{Report, Skipped};
pub use swe_bench::{Fetch, SweBenchOptions, swe_bench};

use crate::example::{Example, ReadError, WriteError};

/// A source file longer than this makes no example: it is data or generated.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// What is taken out of a file, and how much comes with it.
#[derive(Clone, Debug)]
pub struct HoleLimits {
    /// Shorter blocks are left out, in lines.
    pub min_lines: usize,
    /// Longer blocks are left out.
    pub max_lines: usize,
    /// Only these languages; empty: all that have a grammar.
    pub languages: Vec<Language>,
    pub context: ContextLimits,
}

impl Default for HoleLimits {
    fn default() -> Self {
        HoleLimits {
            min_lines: 2,
            max_lines: usize::MAX,
            languages: Vec::new(),
            context: ContextLimits::default(),
        }
    }
}

/// Why a set was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot read {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("interrupted")]
    Cancelled,
}

/// Where finished examples go.
pub type Sink<'a> = dyn FnMut(Example) -> Result<(), WriteError> + 'a;
