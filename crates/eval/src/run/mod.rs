//! A run: its folder, its stages, and how it is taken up again.
//!
//! A folder holds `run.json` (what was run: [`Manifest`]) and one JSON-lines file a stage, one row
//! an example, in the order of the sets:
//!
//! | file | stage | a row |
//! |---|---|---|
//! | `examples.jsonl` | select | the whole example |
//! | `prompts.jsonl` | prompt | id, hash and ids of the prompt |
//! | `generations.jsonl`, `latency.jsonl` | generate | id, all outputs as generated; times apart, since they are never the same twice |
//! | `answers.jsonl` | post-process | id, what would be inserted: the editor's rules have trimmed or refused |
//! | `scores.jsonl` | score | id, buckets, metrics of each mode |
//!
//! Each stage reads the files before it and nothing else, so it can be run again from there. A file
//! that was cut off is taken up after its last whole row. Memory holds a chunk of examples, never a
//! set. Start reading at [`Run::open`].

mod generate;
mod journal;
mod manifest;
mod parallel;
mod score;
mod select;
mod stages;

use std::fs;
use std::path::{Path, PathBuf};

pub use manifest::{Code, Config, Manifest, ModelId, SetFile, sha256_of_file, sha256_of_parts};
pub use score::{GoldRow, ModeScores, ScoreRow};
pub use select::{Selection, select};
pub use stages::{Execution, Progress, Stage};

use crate::example::{ReadError, WriteError};
use crate::sandbox::SandboxError;

/// Names of a run's files.
pub const MANIFEST: &str = "run.json";
pub const EXAMPLES: &str = "examples.jsonl";
pub const PROMPTS: &str = "prompts.jsonl";
pub const GENERATIONS: &str = "generations.jsonl";
pub const LATENCY: &str = "latency.jsonl";
pub const ANSWERS: &str = "answers.jsonl";
pub const SCORES: &str = "scores.jsonl";
/// Rows of the sets that could not be used, one a line.
pub const SKIPPED: &str = "skipped.txt";

/// Why a run ended early. What it has written stays and is taken up by the next run into the
/// folder.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a run's {MANIFEST}: {source}; give another --out", path = path.display())]
    Manifest { path: PathBuf, source: serde_json::Error },
    #[error("{folder} holds another run ({differs} differs): give another --out, or --fresh to begin it anew", folder = folder.display())]
    OtherRun { folder: PathBuf, differs: String },
    #[error("{folder} is not empty and holds no run: give another --out", folder = folder.display())]
    NotARun { folder: PathBuf },
    #[error("{a} and {b} do not go together at row {row}: run again with --from {stage}", a = a.display(), b = b.display())]
    OutOfStep { a: PathBuf, b: PathBuf, row: u64, stage: &'static str },
    #[error("the sets have no usable rows ({skipped} skipped{first})")]
    Empty { skipped: u64, first: String },
    #[error(
        "{n} examples in a row failed, the last with: {error}; what is done is kept, run again to go on"
    )]
    Failing { n: usize, error: String },
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("interrupted; what is done is kept, run again with the same --out to go on")]
    Interrupted,
}

/// A folder with a run in it.
#[derive(Clone, Debug)]
pub struct Run {
    pub folder: PathBuf,
    pub manifest: Manifest,
}

impl Run {
    /// Takes up the run in `folder`, or begins it there. What `from` and the stages after it have
    /// made is forgotten: they are done again.
    ///
    /// A run may be done again from post-processing on by another program and with another
    /// configuration of those stages; `run.json` then says so ([`Manifest::judge`]).
    ///
    /// Errors: the folder holds something else, or a run of other things than `manifest` says.
    /// Nothing is changed then.
    pub fn open(
        folder: &Path,
        manifest: Manifest,
        fresh: bool,
        from: Option<Stage>,
    ) -> Result<Run, RunError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        let path = folder.join(MANIFEST);
        if path.exists() {
            let there = Manifest::read(&path)?;
            let stage = from.filter(|stage| *stage >= Stage::PostProcess);
            let differs = match stage {
                Some(stage) => there.difference(&manifest.clone().generating_as(&there, stage)),
                None => there.difference(&manifest),
            };
            match differs {
                Some(differs) if !fresh => {
                    return Err(RunError::OtherRun { folder: folder.to_owned(), differs });
                }
                Some(_) => {}
                None => {
                    let manifest = if stage.is_some() { manifest.judging(there) } else { manifest };
                    let run = Run { folder: folder.to_owned(), manifest };
                    if let Some(from) = from {
                        run.forget_from(from)?;
                        run.manifest.write(&path)?;
                    }
                    return Ok(run);
                }
            }
        } else if fs::read_dir(folder).map_err(io(folder))?.next().is_some() {
            return Err(RunError::NotARun { folder: folder.to_owned() });
        }
        let run = Run { folder: folder.to_owned(), manifest };
        run.forget_from(Stage::Select)?;
        run.manifest.write(&path)?;
        Ok(run)
    }

    /// The run that lies in `folder`.
    ///
    /// Errors: there is none.
    pub fn load(folder: &Path) -> Result<Run, RunError> {
        let manifest = Manifest::read(&folder.join(MANIFEST))?;
        Ok(Run { folder: folder.to_owned(), manifest })
    }

    /// Removes what `stage` and the stages after it have written.
    pub fn forget_from(&self, stage: Stage) -> Result<(), RunError> {
        let files: &[(Stage, &str)] = &[
            (Stage::Select, EXAMPLES),
            (Stage::Select, SKIPPED),
            (Stage::Prompt, PROMPTS),
            (Stage::Generate, GENERATIONS),
            (Stage::Generate, LATENCY),
            (Stage::PostProcess, ANSWERS),
            (Stage::Score, SCORES),
        ];
        for (of, name) in files {
            let path = self.file(name);
            if *of >= stage && path.exists() {
                fs::remove_file(&path).map_err(|source| RunError::Io { path, source })?;
            }
        }
        Ok(())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
