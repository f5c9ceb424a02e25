//! Baselines without a model: what must be beaten before a score means anything.
//!
//! All of them see the text around the hole and nothing else, and answer with at most one line.

mod ngram;

use lacuna_context::balance;

pub use ngram::continue_by_ngrams;

use crate::Example;
use crate::metric::edit_similarity;

/// Text on either side of the hole that the baselines look at, in bytes: files of megabytes are no
/// better examples.
pub(crate) const WINDOW: usize = 64 << 10;

/// Copies the line of the file whose preceding line is most like the line before the hole (the
/// nearest one wins a tie).
pub fn copy_similar_line(example: &Example) -> String {
    let (prefix, suffix) = windows(example);
    let anchor =
        prefix.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").trim().to_owned();
    let before: Vec<&str> = prefix.lines().filter(|l| !l.trim().is_empty()).collect();
    let after: Vec<&str> = suffix.lines().filter(|l| !l.trim().is_empty()).collect();
    let mut best = (-1.0, String::new());
    // Pairs across the hole are not pairs: the hole's own neighbours are left out.
    for lines in [&before[..], &after[..]] {
        for pair in lines.windows(2) {
            let score = edit_similarity(pair[0].trim(), &anchor);
            if score >= best.0 {
                best = (score, pair[1].trim().to_owned());
            }
        }
    }
    best.1
}

/// Closes the innermost bracket that is open before the hole.
pub fn close_bracket(example: &Example) -> String {
    match balance(example.syntax(), windows(example).0).unmatched_openers.last().map(|b| b.byte) {
        Some(b'(') => ")".to_owned(),
        Some(b'[') => "]".to_owned(),
        Some(b'{') => "}".to_owned(),
        _ => String::new(),
    }
}

/// The text just before and just after the hole.
fn windows(example: &Example) -> (&str, &str) {
    let (prefix, suffix) = (&example.prefix, &example.suffix);
    (
        &prefix[prefix.ceil_char_boundary(prefix.len().saturating_sub(WINDOW))..],
        &suffix[..suffix.floor_char_boundary(WINDOW)],
    )
}
