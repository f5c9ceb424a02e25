//! What the stages of a run leave in an example: the prompt, what was generated, what would have been shown, the scores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the model was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    pub tokens: usize,
    /// SHA-256 of the token ids as little-endian u32, in hexadecimal.
    pub sha256: String,
    /// `psm` or `spm`.
    pub order: String,
    /// `none`, `file` or `cross`.
    pub context: String,
}

/// What the model said, one entry a sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    pub samples: Vec<Sample>,
}

/// One generation, before anything is cut from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    pub text: String,
    pub tokens: usize,
    /// Why it ended.
    pub finish: String,
    /// Sum over the tokens, natural logarithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f64>,
}

/// What an editor would have shown for each sample: `None` is a silence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub texts: Vec<Option<String>>,
    /// Reason of the silence, if all samples ended in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
}

/// Values by the metric's name.
pub type Scores = BTreeMap<String, f64>;
