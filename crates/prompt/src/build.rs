//! One prompt from one cursor, within an exact token budget, with a start that stays put while the
//! user types.
//!
//! A prompt is a function of the text, the cursor and the options, and of nothing else: equal
//! buffers have equal prompts, however they came about. That its start does not move is the
//! business of [`crate::window`].

use std::ops::Range;

use crate::healing::{Healing, roll_back};
use crate::{Order, Sentinels, Tokenizer, excerpts, header, layout, window};

/// What the prompt is made from. All text is plain: nothing in it is parsed for markers.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Path as the model shall see it (relative, `/` between its parts); `None` leaves the header
    /// out.
    pub path: Option<&'a str>,
    /// Text placed before the prefix window, where the file's own beginning would stand (imports
    /// and definitions that lie outside the window, parts of other files), in the form of
    /// [`crate::excerpts`], most stable first.
    pub excerpts: &'a [&'a str],
    /// Text left of the cursor, from the start of the file (or from far enough before the cursor to
    /// fill the budget).
    pub prefix: &'a str,
    /// Text right of the cursor, to the end of the file.
    pub suffix: &'a str,
}

/// How the prompt is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub order: Order,
    /// Upper limit of the prompt in tokens, markers included.
    pub budget: usize,
    /// Take back the last word of the prefix (see [`Healing`]).
    pub heal: bool,
    /// Put the last lines of the prefix behind the middle marker: `PRE prefix SUF suffix MID
    /// last-lines`, as if the model had written them. Typing then only appends, in a layout that
    /// every infilling model knows (EFIM, arXiv 2505.21889; there the cut is where the last request
    /// was, here it depends on the text alone).
    pub seam: bool,
    /// Windows as they will be when about so many more tokens have been typed: what is warmed
    /// before it is needed. 0: as now.
    pub ahead: usize,
}

/// A part of the prompt, for `--explain` and for cache accounting.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    pub kind: SectionKind,
    /// Range of token ids in [`Prompt::ids`]; markers belong to no section.
    pub tokens: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    Header,
    /// Excerpts and the text before the cursor (before the seam, where there is one).
    Prefix,
    Suffix,
    /// The text between the seam and the cursor.
    Typed,
}

/// A prompt ready for the engine.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub ids: Vec<u32>,
    pub sections: Vec<Section>,
    pub healing: Healing,
    /// Bytes of the input's prefix that are left out on its far side.
    pub prefix_cut: usize,
    /// Bytes of the input's suffix that are left out on its far side.
    pub suffix_cut: usize,
}

/// Share of the text budget that the suffix may take; what it leaves goes to the prefix.
const SUFFIX_SHARE: (usize, usize) = (1, 4);
/// What suffix and excerpts leave to the prefix is rounded down to this many tokens, so that an
/// edit among them does not move the prefix window as well.
const ROUND: usize = 64;
/// Tokens that the path may take: a long path is shown by its end.
const MAX_PATH_BYTES: usize = 120;

/// Builds the prompt. The result never exceeds `options.budget` tokens as long as that is at least
/// 16.
pub fn build(
    tokenizer: &Tokenizer,
    sentinels: &Sentinels,
    input: &Input<'_>,
    options: &Options,
) -> Prompt {
    let mut head = match input.path {
        Some(path) => header(tokenizer, sentinels, last_bytes(path, MAX_PATH_BYTES)),
        None => Vec::new(),
    };
    // Markers: PRE, SUF, MID and perhaps BOS.
    let budget = options.budget.saturating_sub(4);
    head.truncate(budget / 4);
    let budget = budget - head.len();

    let suffix_budget = budget * SUFFIX_SHARE.0 / SUFFIX_SHARE.1;
    let (suffix, suffix_cut) = window::after(tokenizer, input.suffix, suffix_budget);
    let mut prefix = excerpts::fitting(tokenizer, input.excerpts, budget, suffix.len());
    let rounded = |n: usize| if budget >= 8 * ROUND { n.next_multiple_of(ROUND) } else { n };
    let left = budget.saturating_sub(rounded(suffix.len())).saturating_sub(rounded(prefix.len()));
    let start = window::before(tokenizer, input.prefix, left, options.ahead);
    let shown = &input.prefix[start..];
    let seam = if options.seam { window::seam(shown) } else { shown.len() };
    prefix.extend(tokenizer.encode_incremental(&shown[..seam]));
    let mut typed =
        if options.seam { tokenizer.encode_incremental(&shown[seam..]) } else { Vec::new() };
    // Cutting a text adds a few tokens; what the window left for them is enough, unless a tokenizer
    // is very odd.
    let over = (prefix.len() + typed.len() + suffix.len()).saturating_sub(budget);
    let over_prefix = over.min(prefix.len());
    prefix.drain(..over_prefix);
    typed.drain(..over - over_prefix);

    let last = if typed.is_empty() && seam == shown.len() { &mut prefix } else { &mut typed };
    let healing = if options.heal { roll_back(tokenizer, last) } else { Healing::default() };

    let mut ids = layout(sentinels, options.order, &head, &prefix, &suffix);
    let first = usize::from(sentinels.bos.is_some());
    let mut at = first + head.len() + 1;
    let mut sections =
        vec![Section { kind: SectionKind::Header, tokens: first..first + head.len() }];
    let parts = match options.order {
        Order::Psm => [(SectionKind::Prefix, prefix.len()), (SectionKind::Suffix, suffix.len())],
        Order::Spm => [(SectionKind::Suffix, suffix.len()), (SectionKind::Prefix, prefix.len())],
    };
    for (kind, len) in parts {
        sections.push(Section { kind, tokens: at..at + len });
        at += len + 1;
    }
    if options.seam {
        sections
            .push(Section { kind: SectionKind::Typed, tokens: ids.len()..ids.len() + typed.len() });
        ids.append(&mut typed);
    }
    Prompt { ids, sections, healing, prefix_cut: start, suffix_cut }
}

/// A text from left to right, as models are trained on whole files: BOS where the model wants one,
/// header, text; no markers. Built of pieces that are remembered: see
/// [`Tokenizer::encode_incremental`].
pub fn plain(
    tokenizer: &Tokenizer,
    sentinels: &Sentinels,
    path: Option<&str>,
    text: &str,
) -> Vec<u32> {
    let mut ids: Vec<u32> = sentinels.bos.into_iter().collect();
    if let Some(path) = path {
        ids.extend(header(tokenizer, sentinels, last_bytes(path, MAX_PATH_BYTES)));
    }
    ids.extend(tokenizer.encode_incremental(text));
    ids
}

fn last_bytes(path: &str, max: usize) -> &str {
    &path[path.ceil_char_boundary(path.len().saturating_sub(max))..]
}
