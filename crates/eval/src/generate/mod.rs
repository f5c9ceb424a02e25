//! The stages `prompt`, `generate` and `post-process`: from an example to completions, by a model
//! of ours or by somebody's server.
//!
//! Owns: what is asked, in which ways, and what is noted of the answers. Does not own: prompts
//! (`lacuna-prompt`), the editor's rules (`lacuna-complete`), files (`run`). Start reading at
//! [`Generator`], then [`model`].

mod confidence;
mod cross;
pub mod endpoint;
mod evidence;
mod model;
mod packed;
mod rules;
pub mod sse;

use lacuna_engine::Cancel;
use serde::{Deserialize, Serialize};

pub use confidence::{confidence, confidence_header};
pub use cross::cross_file_excerpts;
pub use evidence::{evidence, lines_behind_suffix};
pub use model::{ModelGenerator, RawSettings, path};
pub use rules::answer;

use crate::Example;
use crate::example::stages::{Answer, Generation, Prompt};

/// How much of the surroundings a prompt may show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextMode {
    /// The text around the hole alone: no path, nothing from outside of the window.
    None,
    /// As in the editor with one file open: the path, and the file's imports and heads that lie
    /// outside of the window.
    #[default]
    File,
    /// `File`, and the example's other files.
    Cross,
}

/// The prompt as the next stage takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptRow {
    pub id: String,
    pub prompt: Prompt,
    /// Token ids; empty for an endpoint, which gets text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
}

/// What the generate stage leaves of an example.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GenerationRow {
    pub id: String,
    pub generation: Generation,
}

/// What the post-process stage leaves of an example.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerRow {
    pub id: String,
    pub answers: Vec<Answer>,
}

/// Times and cache use of one example's outputs: never the same twice, so kept in a file of their
/// own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimingRow {
    pub id: String,
    pub set: String,
    pub timings: Vec<Timing>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    pub mode: String,
    pub sample: usize,
    /// Examples that were completed together; more than one: the time is this one's share.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub batch: usize,
    /// Until the first token was there; `None` where nobody told, and in batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<f64>,
    pub total_ms: f64,
    /// Prompt tokens found in a cache, and computed.
    pub cached: usize,
    pub prefilled: usize,
    pub generated: usize,
}

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

/// The run was interrupted: what was begun is dropped and done again by the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// Something that completes examples. Shared by the workers.
pub trait Generator: Sync {
    /// The prompt stage.
    fn prompt(&self, example: &Example) -> PromptRow;

    /// How many examples are completed together; the same for every batch of a run but the last.
    fn batch(&self) -> usize {
        1
    }

    /// The generate stage, a result an example in order. What goes wrong with one example alone is
    /// noted in its generation.
    fn generate(
        &self,
        examples: &[(Example, PromptRow)],
        worker: usize,
        cancel: &Cancel,
    ) -> Result<Vec<(Generation, Vec<Timing>)>, Interrupted>;
}
