//! Which part of a file a prompt shows, chosen so that it stays the same while the file is edited.
//!
//! A window's far end is an anchor that depends on the text around the anchor and on nothing else:
//! of all places where the window might begin (line starts, at a distance that fits the budget),
//! the one whose preceding text has the smallest key. Typing at the cursor, inserting a line far
//! above and undoing all leave it where it is; it moves only when it falls out of the budget or a
//! better place comes in. Where it lies does not depend on how the text came about, so that equal
//! buffers have equal prompts.

use crate::Tokenizer;
use crate::incremental::is_between_words;

/// No vocabulary that we load averages more bytes a token on code: a window of this many bytes
/// always fills its budget.
const MAX_BYTES_PER_TOKEN: usize = 8;
/// The window before the cursor holds at least this share of its budget (as long as there is text).
const LEAST_SHARE: (usize, usize) = (5, 8);
/// Bytes before a place that make its key.
const KEY_BYTES: usize = 64;
/// The part of the prefix that a prompt may show behind the middle marker (see [`seam`]), in bytes;
/// at least half of it in a long text. More keeps more of the prompt when something changes above
/// the cursor, less when the suffix does.
const SEAM_BYTES: usize = 1200;

/// Where the window before the cursor begins: at most `budget` tokens before the end of `text`,
/// less a few for what cutting adds.
///
/// With `ahead` > 0: where it will begin once about so many more tokens are typed.
pub(crate) fn before(tokenizer: &Tokenizer, text: &str, budget: usize, ahead: usize) -> usize {
    // A text tokenises to a few more tokens when it is cut somewhere.
    let most = (budget - (budget / 8).min(8)).saturating_sub(ahead);
    if most == 0 {
        return text.len();
    }
    let reach = text.ceil_char_boundary(text.len().saturating_sub(budget * MAX_BYTES_PER_TOKEN));
    let ids = tokenizer.encode_incremental(&text[reach..]);
    if reach == 0 && ids.len() <= most {
        return 0;
    }
    let least = (budget * LEAST_SHARE.0 / LEAST_SHARE.1).saturating_sub(ahead).clamp(1, most);
    let bytes_of_last = |n: usize| {
        ids[ids.len().saturating_sub(n)..]
            .iter()
            .map(|&id| tokenizer.token_bytes(id).len())
            .sum::<usize>()
    };
    let far = text.ceil_char_boundary(text.len().saturating_sub(bytes_of_last(most)).max(reach));
    let near = text.floor_char_boundary(text.len().saturating_sub(bytes_of_last(least))).max(far);
    anchor(text, far, near)
}

/// Where the prefix is cut in two for the layout with a seam: what is left of it stands before the
/// suffix, what is right of it behind the middle marker, so that typing only appends. A line start
/// some way before the cursor, in a short text behind the first line; 0 in a text of one line.
pub(crate) fn seam(text: &str) -> usize {
    if text.len() <= SEAM_BYTES {
        return text.find('\n').map_or(0, |at| at + 1);
    }
    let far = text.ceil_char_boundary(text.len() - SEAM_BYTES);
    anchor(text, far, far + SEAM_BYTES / 2)
}

/// The best place for a cut in `far..=near`: a line start, else a blank between words, else any
/// character.
fn anchor(text: &str, far: usize, near: usize) -> usize {
    let bytes = text.as_bytes();
    let line_start = |at: &usize| *at > 0 && bytes[at - 1] == b'\n';
    let best = |is_place: &dyn Fn(&usize) -> bool| {
        (far..=near).filter(is_place).min_by_key(|at| key(text, *at))
    };
    best(&line_start)
        .or_else(|| best(&|at| is_between_words(bytes, *at)))
        .or_else(|| best(&|at| text.is_char_boundary(*at)))
        .unwrap_or(near)
}

/// Smaller is better. A line behind a blank one comes first: that is where a block begins.
fn key(text: &str, at: usize) -> (bool, u64) {
    let before = &text.as_bytes()[at.saturating_sub(KEY_BYTES)..at];
    let is_blank = |b: &&u8| matches!(b, b' ' | b'\t' | b'\r');
    let mut back = before.iter().rev().skip(1).skip_while(|b| is_blank(b));
    let opens_a_block = back.next() == Some(&b'\n');
    // FNV-1a, then a mixing step: its high bits depend little on the last bytes.
    let hash = before
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let mixed = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (!opens_a_block, mixed ^ mixed >> 29)
}

/// Tokens of the text just after the cursor, at most `budget`, cut after a whole line where
/// possible; and the bytes left out.
pub(crate) fn after(tokenizer: &Tokenizer, text: &str, budget: usize) -> (Vec<u32>, usize) {
    let end = text.floor_char_boundary((budget * MAX_BYTES_PER_TOKEN).min(text.len()));
    let mut ids = tokenizer.encode_incremental(&text[..end]);
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
