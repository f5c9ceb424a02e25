//! `fim-eval`: fill-in-the-middle, measured by the same code path that completes in the editor.
//!
//! Owns: examples and their formats, metrics and their statistics, baselines, the sandbox for generated code, runs and their files,
//! comparison, reports. Does not own: prompts, models, stop rules (it calls those who do). Start reading at [`run`].

pub mod baseline;
pub mod build;
pub mod compare;
pub mod example;
pub mod format;
pub mod generate;
pub mod ledger;
pub mod metric;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod stats;
pub mod summary;
pub mod table;

use std::time::Duration;

pub use example::Example;

/// Time that one parse may take here: far beyond the editor's limit, which a busy machine exceeds now and then, so that a run's
/// results do not depend on it. What still hits it is a text that no editor would get parsed either.
const PARSE_LIMIT: Duration = Duration::from_secs(60);
