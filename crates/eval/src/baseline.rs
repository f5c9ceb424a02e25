//! Baselines without a model: what must be beaten before a score means anything.

use lacuna_context::balance;

use crate::{Example, edit_similarity};

/// Copies the line of the file whose preceding line is most like the line before the hole (the nearest one wins a tie).
pub fn copy_similar_line(example: &Example) -> String {
    let anchor = example.prefix.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").trim().to_owned();
    let before: Vec<&str> = example.prefix.lines().filter(|l| !l.trim().is_empty()).collect();
    let after: Vec<&str> = example.suffix.lines().filter(|l| !l.trim().is_empty()).collect();
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
    match balance(example.syntax(), &example.prefix).unmatched_openers.last().map(|b| b.byte) {
        Some(b'(') => ")".to_owned(),
        Some(b'[') => "]".to_owned(),
        Some(b'{') => "}".to_owned(),
        _ => String::new(),
    }
}
