//! One prompt from one cursor, within an exact token budget, with a start that stays put while the user types.

use std::ops::Range;

use crate::healing::{Healing, roll_back};
use crate::{Order, Sentinels, Tokenizer, header, layout};

/// What the prompt is made from. All text is plain: nothing in it is parsed for markers.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Path as the model shall see it (relative, `/` between its parts); `None` leaves the header out.
    pub path: Option<&'a str>,
    /// Text placed before the prefix window, where the file's own beginning would stand (imports and definitions that lie
    /// outside the window), most stable first.
    pub excerpts: &'a [&'a str],
    /// Text left of the cursor, from the start of the file.
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
    /// Excerpts and the text before the cursor.
    Prefix,
    Suffix,
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
/// Windows move in steps of this share of their budget, so that the prompt's start is equal for many keystrokes in a row.
const STEP_SHARE: usize = 4;
/// No vocabulary that we load averages more bytes a token on code: a window of this many bytes always fills its budget.
const MAX_BYTES_PER_TOKEN: usize = 8;
/// Tokens that the path may take: a long path is shown by its end.
const MAX_PATH_BYTES: usize = 120;

/// Builds the prompt. The result never exceeds `options.budget` tokens as long as that is at least 16.
pub fn build(tokenizer: &Tokenizer, sentinels: &Sentinels, input: &Input<'_>, options: &Options) -> Prompt {
    let mut head = match input.path {
        Some(path) => header(tokenizer, sentinels, last_bytes(path, MAX_PATH_BYTES)),
        None => Vec::new(),
    };
    // Markers: PRE, SUF, MID and perhaps BOS.
    let budget = options.budget.saturating_sub(4);
    head.truncate(budget / 4);
    let budget = budget - head.len();

    let suffix_budget = budget * SUFFIX_SHARE.0 / SUFFIX_SHARE.1;
    let (suffix, suffix_cut) = window_after(tokenizer, input.suffix, suffix_budget);
    let mut excerpts: Vec<u32> = Vec::new();
    for excerpt in input.excerpts {
        let ids = tokenizer.encode(excerpt);
        // Whole excerpts only, and never at the cost of most of the code before the cursor.
        if excerpts.len() + ids.len() <= (budget - suffix.len()) / 4 {
            excerpts.extend(ids);
        }
    }
    let (mut prefix, prefix_cut) = window_before(tokenizer, input.prefix, budget - suffix.len() - excerpts.len());
    let healing = if options.heal { roll_back(tokenizer, &mut prefix) } else { Healing::default() };

    excerpts.append(&mut prefix);
    let prefix = excerpts;
    let ids = layout(sentinels, options.order, &head, &prefix, &suffix);
    let start = usize::from(sentinels.bos.is_some());
    let mut at = start + head.len() + 1;
    let mut sections = vec![Section { kind: SectionKind::Header, tokens: start..start + head.len() }];
    let parts = match options.order {
        Order::Psm => [(SectionKind::Prefix, prefix.len()), (SectionKind::Suffix, suffix.len())],
        Order::Spm => [(SectionKind::Suffix, suffix.len()), (SectionKind::Prefix, prefix.len())],
    };
    for (kind, len) in parts {
        sections.push(Section { kind, tokens: at..at + len });
        at += len + 1;
    }
    Prompt { ids, sections, healing, prefix_cut, suffix_cut }
}

/// Tokens of the text just before the cursor, at most `budget` of them, and how many bytes were left out at the front.
///
/// The window starts at a line start that depends on the text's length only in steps, so that typing does not move it.
fn window_before(tokenizer: &Tokenizer, text: &str, budget: usize) -> (Vec<u32>, usize) {
    if budget == 0 {
        return (Vec::new(), text.len());
    }
    let mut start = step_start(text, budget * MAX_BYTES_PER_TOKEN);
    loop {
        let ids = tokenizer.encode(&text[start..]);
        if ids.len() <= budget {
            return (ids, start);
        }
        // Too many tokens: move the start on by whole steps, then to a line start.
        let step = (budget / STEP_SHARE).max(1);
        let drop = (ids.len() - budget).div_ceil(step) * step;
        let bytes: usize = ids[..drop.min(ids.len())].iter().map(|&id| tokenizer.token_bytes(id).len()).sum();
        let aimed = text.ceil_char_boundary(start + bytes.max(1));
        let next = next_line_start(text, aimed);
        if next >= text.len() {
            // One line longer than the whole budget: keep its last tokens.
            let keep = ids.len().saturating_sub(drop);
            let tail = ids[ids.len() - keep..].to_vec();
            let kept: usize = tail.iter().map(|&id| tokenizer.token_bytes(id).len()).sum();
            return (tail, text.len().saturating_sub(kept));
        }
        start = next;
    }
}

/// Tokens of the text just after the cursor, at most `budget`, cut after a whole line where possible.
fn window_after(tokenizer: &Tokenizer, text: &str, budget: usize) -> (Vec<u32>, usize) {
    let end = text.floor_char_boundary((budget * MAX_BYTES_PER_TOKEN).min(text.len()));
    let mut ids = tokenizer.encode(&text[..end]);
    if ids.len() <= budget && end == text.len() {
        return (ids, 0);
    }
    ids.truncate(budget);
    let last_newline = ids.iter().rposition(|&id| tokenizer.token_bytes(id).contains(&b'\n'));
    if let Some(at) = last_newline
        && at > 0
    {
        ids.truncate(at);
    }
    let kept: usize = ids.iter().map(|&id| tokenizer.token_bytes(id).len()).sum();
    (ids, text.len().saturating_sub(kept))
}

/// First byte of a window of at most about `window` bytes at the end of `text`, on a line start, moving in steps.
fn step_start(text: &str, window: usize) -> usize {
    if text.len() <= window {
        return 0;
    }
    let step = (window / STEP_SHARE).max(1);
    let cut = (text.len() - window).div_ceil(step) * step;
    let at = text.floor_char_boundary(cut.min(text.len()));
    let line = next_line_start(text, at);
    if line < text.len() { line } else { at }
}

/// `at` itself when a line starts there, else the start of the next line, else the end of the text.
fn next_line_start(text: &str, at: usize) -> usize {
    if at == 0 || text.as_bytes()[at - 1] == b'\n' {
        return at;
    }
    text[at..].find('\n').map_or(text.len(), |n| at + n + 1)
}

fn last_bytes(path: &str, max: usize) -> &str {
    &path[path.ceil_char_boundary(path.len().saturating_sub(max))..]
}
