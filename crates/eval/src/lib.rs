//! `fim-eval`: fill-in-the-middle, measured by the same code path that completes in the editor.
//!
//! Owns: examples and their formats, metrics and their statistics, baselines, the sandbox for
//! generated code, runs and their files, comparison, reports. Does not own: prompts, models, stop
//! rules (it calls those who do). Start reading at [`run`].

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

pub use example::Example;
