//! What the last answer of a document was and what it cost, as a status bar shows it.

use lacuna_complete::{Outcome, Reply};
use serde::Serialize;

use crate::reasons::{Advice, Quiet, advice, quiet_advice};

/// Tokens of the last answer, as a status bar shows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct ReportedTokens {
    prompt: usize,
    /// Already in the KV cache.
    cached: usize,
    /// Computed for this answer.
    new: usize,
    generated: usize,
}

/// The last answer of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Last {
    uri: String,
    outcome: &'static str,
    reason: Option<&'static str>,
    meaning: Option<&'static str>,
    remedy: Option<&'static str>,
    /// How likely the first line of the suggestion is right, shown or not; null where the model
    /// does not say.
    probability: Option<f64>,
    /// Milliseconds from the request to the answer.
    ms: f64,
    /// Answered from the ghost text in memory, without the model.
    from_memory: bool,
    tokens: ReportedTokens,
}

impl Last {
    /// A document that was left alone.
    pub fn quiet(uri: &str, quiet: Quiet) -> Last {
        Last::new(uri, "silence", Some(quiet_advice(quiet)))
    }

    /// What a request ended in.
    pub fn of_reply(uri: &str, reply: &Reply) -> Last {
        let mut last = match &reply.outcome {
            Outcome::Silence(reason) => Last::new(uri, "silence", Some(advice(*reason))),
            Outcome::Suggest(_) => Last::new(uri, "suggest", None),
        };
        let tokens = &reply.tokens;
        last.from_memory = reply.from_memory && last.reason.is_none();
        last.probability = reply.probability.map(|p| (f64::from(p) * 1e3).round() / 1e3);
        last.ms = (reply.ms.total * 1e3).round() / 1e3;
        last.tokens = ReportedTokens {
            prompt: tokens.prompt,
            cached: tokens.cached + tokens.resumed + tokens.shifted,
            new: tokens.prefilled + tokens.repaired,
            generated: tokens.generated,
        };
        last
    }

    fn new(uri: &str, outcome: &'static str, advice: Option<&Advice>) -> Last {
        Last {
            uri: uri.to_owned(),
            outcome,
            reason: advice.map(|advice| advice.code),
            meaning: advice.map(|advice| advice.meaning),
            remedy: advice.map(|advice| advice.remedy),
            probability: None,
            ms: 0.0,
            from_memory: false,
            tokens: ReportedTokens::default(),
        }
    }

    /// Its reason's code; `None`: something was suggested.
    pub fn reason(&self) -> Option<&'static str> {
        self.reason
    }
}
