//! What the stages of a run leave in an example: the prompt, what was generated, what became of it,
//! the scores.
//!
//! In a run's folder each stage has a file of its own, with one row an example: the id and what the
//! stage added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the model was asked (in raw mode; the editor's completer builds its own prompt with the
/// same function).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Tokens of the prompt; 0 where an endpoint counts them.
    pub tokens: usize,
    /// SHA-256 in hexadecimal of the token ids as little-endian u32, or of the request that an
    /// endpoint gets.
    pub sha256: String,
}

/// Everything that was said about one hole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    pub outputs: Vec<Output>,
    /// What the model thinks of the true middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<Gold>,
    /// Why there is nothing from the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One completion by one way of completing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// `editor`, `raw`, `endpoint`, or a baseline's name.
    pub mode: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sample: usize,
    /// As it was generated; the rules of the editor's mode come in the next stage.
    pub text: String,
    /// Editor only: the mean probability of a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    /// Editor only: the probability that the first line is right, where the model says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f32>,
    /// Editor only: why nothing was generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// Why the model ended: `stop`, `length`, or what an endpoint said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub finish: String,
    /// Tokens generated, where they are known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens: usize,
}

/// What would be inserted: an output after the rules of its mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub mode: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sample: usize,
    /// Empty for a silence.
    pub text: String,
    /// Editor only: why nothing is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// Editor only: it is shown to who asks, but not unasked (`show.min_confidence`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub withheld: bool,
    /// Editor only: the rules that changed the text or refused it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// Log-likelihood of the true middle after the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gold {
    /// Sum over the tokens, natural logarithm.
    pub log_likelihood: f64,
    pub tokens: usize,
    /// Characters that the tokens stand for (a middle that does not fit the context is scored in
    /// part).
    pub chars: usize,
}

/// Values of one mode by the metric's name, means over its samples.
pub type Scores = BTreeMap<String, f64>;

fn is_false(is: &bool) -> bool {
    !is
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}
