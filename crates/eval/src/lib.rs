//! `fim-eval`: fill-in-the-middle, measured by the same code path that completes in the editor.
//!
//! Owns: examples, metrics, baselines, reports. Does not own: prompts, models, stop rules (it calls the completer for those).
//! So far: single-line infilling (SantaCoder-FIM's format). Start reading at [`run`].

mod baseline;
pub mod build;
pub mod example;
pub mod format;
mod metric;
mod run;
pub mod table;

pub use baseline::{close_bracket, copy_similar_line};
pub use example::Example;
pub use metric::{edit_similarity, first_line, is_bracket_only, line_exact_match};
pub use run::{Score, Scored, Summary, run, summarise};
