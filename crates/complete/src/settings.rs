//! What can be set from outside.

use std::sync::Arc;
use std::time::Duration;

use lacuna_engine::{KvDtype, Reuse};
use lacuna_prompt::Order;

use crate::{Calibration, Costs, Eagerness, Item, Suffix};

/// Lines of a suggestion, unless more or fewer are asked for: most people ask for less than a model
/// would write.
pub const AUTO_LINES: usize = 6;

/// What speaks for a line beside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Names that the file uses and does not bind, blocks that the next line is inside of.
    pub scope: bool,
    /// The n-grams of the open file ([`crate::Nearby`]).
    pub ngrams: bool,
    /// The next likely line, where the rules refuse the best one.
    pub others: bool,
    /// How likely what stands right of the cursor is behind the line ([`Suffix`]). Off unless the
    /// model says that it helps: with the embedded one it does not.
    pub suffix: bool,
}

impl Default for Evidence {
    fn default() -> Evidence {
        Evidence { scope: true, ngrams: true, others: true, suffix: false }
    }
}

/// The defaults are those of the embedded model.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub order: Order,
    /// Take back the last word before the cursor (see `lacuna_prompt::Healing`).
    pub heal: bool,
    /// Put the last lines before the cursor behind the middle marker (see
    /// `lacuna_prompt::Options::seam`).
    pub seam: bool,
    /// Upper limit of the prompt in tokens.
    pub prompt_tokens: usize,
    /// Upper limit of one single-line completion, in tokens.
    pub line_tokens: usize,
    /// Lines of a suggestion at most: 1 never breaks a line. More than one are suggested only where
    /// a block without a body is opened.
    pub lines: usize,
    /// Upper limit of one block, in tokens.
    pub block_tokens: usize,
    /// Generation stops here and the best so far is returned; zero means no deadline.
    pub deadline: Duration,
    /// Least probability of what is shown unasked ([`crate::Item::confidence`]); `None`: as the
    /// calibration says, and everything without one.
    pub min_confidence: Option<f32>,
    /// How likely a line is right; `None`: the model does not come with it.
    pub calibration: Option<Arc<Calibration>>,
    /// Larger files are not completed.
    pub max_file_bytes: usize,
    /// Keys and values of all documents together.
    pub kv_budget_bytes: usize,
    /// How keys and values are held; `None`: as the engine chooses for the model.
    pub kv_dtype: Option<KvDtype>,
    /// What a prompt may take over from text that has moved.
    pub reuse: Reuse,
    /// Whether callers shall look for parts of other open files ([`crate::Request::excerpts`],
    /// `other_files_bytes` of them).
    pub other_files: bool,
    /// Guess tokens from the file and verify several at once; the result is the same.
    pub drafts: bool,
    /// Prepare what is likely to be asked next while nobody waits. Off: nothing runs but requests.
    pub background: bool,
    /// Hypotheses that are followed while a line, or the first of a block, is completed; the
    /// likeliest line that the rules let pass is shown. 1: the likeliest token each time, with
    /// drafts.
    pub beam: usize,
    /// What the search for a line is told beside the model's probabilities.
    pub evidence: Evidence,
    /// How much the text right of the cursor says.
    pub suffix: Suffix,
    /// Temperature of the alternatives after the first, which is always the likeliest.
    pub temperature: f32,
    pub seed: u64,
    /// What is known about this machine and model from before.
    pub costs: Costs,
}

impl Settings {
    /// The least [`Item::confidence`] with which an item is shown unasked.
    pub fn least(&self, item: &Item, eagerness: Eagerness) -> f32 {
        if let Some(normal) = self.min_confidence {
            return eagerness.least(normal);
        }
        let calibration = self.calibration.as_ref().filter(|_| item.probability.is_some());
        calibration.map_or(0.0, |calibration| calibration.levels().of(eagerness))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            order: Order::Spm,
            heal: true,
            seam: false,
            prompt_tokens: 1024,
            line_tokens: 48,
            lines: AUTO_LINES,
            block_tokens: 160,
            deadline: Duration::ZERO,
            min_confidence: None,
            calibration: None,
            max_file_bytes: 4 << 20,
            kv_budget_bytes: 256 << 20,
            kv_dtype: None,
            reuse: Reuse::Exact,
            other_files: false,
            drafts: true,
            background: false,
            beam: 1,
            evidence: Evidence::default(),
            suffix: Suffix::default(),
            temperature: 0.8,
            seed: 0,
            costs: Costs::default(),
        }
    }
}
