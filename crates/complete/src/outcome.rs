//! What a request ends in. An empty answer always carries its reason.

use serde::Serialize;

use crate::Signs;

/// One suggestion: the text to insert at the cursor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    pub text: String,
    /// Sum of the natural-log probabilities of the tokens that made the text; of a line that was
    /// searched for also that of its end, less what the file asks for and the line does not give,
    /// and what the text right of the cursor says against it: the order of alternatives.
    pub logprob: f32,
    /// Geometric mean of the probabilities of its tokens.
    #[serde(skip)]
    pub mean: f32,
    /// The probability that its first line is right, where the model comes with a
    /// [`crate::Calibration`] and the line was searched for.
    pub probability: Option<f32>,
}

impl Item {
    /// What is compared with [`crate::Settings::least`].
    pub fn confidence(&self) -> f32 {
        self.probability.unwrap_or(self.mean)
    }
}

/// Why nothing is suggested. The codes are stable: editors and logs show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A newer request, the client or the deadline's owner cancelled this one.
    Cancelled,
    /// The deadline passed before anything worth showing was generated.
    Deadline,
    /// The model ended the completion at once: it thinks that nothing is missing.
    Empty,
    /// The file says nothing yet; the model was not asked.
    BlankFile,
    /// The cursor stands below code that has come to its end; the model was not asked.
    FinishedFile,
    /// What the model wrote already stands right of the cursor, below or directly above it.
    RepeatsSuffix,
    /// The model said the same over and over.
    Repetition,
    /// The file would parse worse with the completion than without.
    ParsesWorse,
    /// Nobody asked, and it is less likely to be right than `show.min_confidence` wants.
    LowConfidence,
    /// The user turned it down at this place before ([`crate::Caller::refused`]).
    DismissedBefore,
    /// The file is larger than `context.max_file_bytes`.
    FileTooLarge,
    /// The engine would not take the prompt; the log says why.
    PromptRefused,
    /// Other requests hold the memory of `kv.budget_mb`, or it is smaller than one prompt.
    OverBudget,
}

impl Reason {
    /// The stable code, in kebab case.
    pub fn code(self) -> &'static str {
        match self {
            Reason::Cancelled => "cancelled",
            Reason::Deadline => "deadline",
            Reason::Empty => "empty",
            Reason::BlankFile => "blank-file",
            Reason::FinishedFile => "finished-file",
            Reason::RepeatsSuffix => "repeats-suffix",
            Reason::Repetition => "repetition",
            Reason::ParsesWorse => "parses-worse",
            Reason::LowConfidence => "low-confidence",
            Reason::DismissedBefore => "dismissed-before",
            Reason::FileTooLarge => "file-too-large",
            Reason::PromptRefused => "prompt-refused",
            Reason::OverBudget => "over-budget",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// At least one item, best first.
    Suggest(Vec<Item>),
    Silence(Reason),
}

/// Token accounting of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Tokens {
    pub prompt: usize,
    /// Prompt tokens whose KV was still warm; together with the next four they are the prompt.
    pub cached: usize,
    /// Taken over from a prefill that was cancelled.
    pub resumed: usize,
    /// Moved from another place, not computed (approximate modes only); and moved, but computed
    /// again.
    pub shifted: usize,
    pub repaired: usize,
    /// Computed.
    pub prefilled: usize,
    pub generated: usize,
    /// Drafted and accepted tokens of speculative decoding.
    pub drafted: usize,
    pub accepted: usize,
}

/// Wall-clock time of the stages of one request, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Milliseconds {
    pub context: f64,
    pub prompt: f64,
    pub prefill: f64,
    pub decode: f64,
    /// Asking the text right of the cursor about lines.
    pub suffix: f64,
    pub total: f64,
}

/// A rule that looked at an item, and what it did to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filter {
    pub name: &'static str,
    pub before: String,
    /// `None`: the item was dropped.
    pub after: Option<String>,
}

/// For `--explain`: what the model saw and what became of its answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// The prompt as text, section by section, with the markers by name.
    pub prompt: Vec<(String, String)>,
    pub excerpts: Vec<(String, f32)>,
    /// What the model wrote, before the rules; `None` if it was not asked.
    #[serde(skip)]
    pub generated: Option<Generated>,
    /// What is known of the first item's line; `None` where it was not searched for.
    #[serde(skip)]
    pub signs: Option<Signs>,
    pub filters: Vec<Filter>,
    /// Lines that a search found and the rules let pass, in the order in which they are shown.
    pub lines: Vec<Considered>,
}

/// A line that might be shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Considered {
    pub text: String,
    /// See [`Item::logprob`].
    pub score: f32,
    /// Natural-log probabilities of the tokens right of the cursor behind this line; none where
    /// they were not asked.
    pub suffix: Vec<f32>,
}

/// A text as the model wrote it at the cursor, cut where the line or block ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    pub text: String,
    /// Mean probability a token (geometric).
    pub confidence: f32,
}

/// The whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub outcome: Outcome,
    /// Answered from the ghost text in memory, without the model.
    pub from_memory: bool,
    /// How likely the first item's first line is right, shown or not ([`Item::probability`]).
    pub probability: Option<f32>,
    pub tokens: Tokens,
    pub ms: Milliseconds,
    /// Filled when the request asked for it.
    pub explanation: Option<Explanation>,
}
