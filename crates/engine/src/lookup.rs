//! Drafts by look-up: what followed the longest earlier occurrence of the last tokens (prompt
//! look-up decoding).
//!
//! Searched are the prompt with what was generated after it, and a bounded store of other texts,
//! newest first. The search is a scan for the last token with a comparison backwards: over the few
//! thousand tokens of a prompt it costs microseconds, needs no index to keep, and allocates
//! nothing.

use std::collections::VecDeque;

use crate::draft::{Confidence, DraftSource};

/// Tokens that a match is compared over at most.
const MAX_MATCH: usize = 16;
/// Tokens of remembered texts at most.
const MAX_REMEMBERED: usize = 8192;

/// Looks drafts up in the prompt, the generated text and remembered texts.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The prompt and what came after it.
    text: Vec<u32>,
    /// The newest first.
    remembered: VecDeque<Vec<u32>>,
    n_remembered: usize,
}

impl Lookup {
    pub fn new() -> Lookup {
        Lookup::default()
    }
}

impl DraftSource for Lookup {
    fn begin(&mut self, prompt: &[u32]) {
        self.text.clear();
        self.text.extend_from_slice(prompt);
    }

    fn push(&mut self, id: u32) {
        self.text.push(id);
    }

    fn propose(&self, limit: usize, draft: &mut Vec<u32>) -> Confidence {
        let texts =
            std::iter::once(self.text.as_slice()).chain(self.remembered.iter().map(Vec::as_slice));
        let mut best: (usize, &[u32]) = (0, &[]);
        for text in texts {
            let found = longest_match(text, &self.text);
            if found.0 > best.0 {
                best = found;
            }
            if best.0 == MAX_MATCH {
                break;
            }
        }
        let (length, following) = best;
        draft.extend_from_slice(&following[..limit.min(following.len())]);
        Confidence(match length {
            0..=1 => 0,
            2 => 1,
            3 => 2,
            4..=5 => 3,
            6..=9 => 4,
            _ => 5,
        })
    }

    fn remember(&mut self, ids: &[u32]) {
        let ids = &ids[ids.len().saturating_sub(MAX_REMEMBERED)..];
        if ids.len() < 2 || self.remembered.iter().any(|known| known == ids) {
            return;
        }
        self.remembered.push_front(ids.to_vec());
        self.n_remembered += ids.len();
        while self.n_remembered > MAX_REMEMBERED {
            self.n_remembered -= self.remembered.pop_back().map_or(0, |oldest| oldest.len());
        }
    }
}

/// The longest run of tokens in `text` that `end` ends with (at most [`MAX_MATCH`], the latest of
/// equals) and that something follows: its length and what follows.
fn longest_match<'a>(text: &'a [u32], end: &[u32]) -> (usize, &'a [u32]) {
    let Some(last) = end.last() else { return (0, &[]) };
    let mut best = (0, 0);
    // The last token of a text is followed by nothing.
    for at in (0..text.len().saturating_sub(1)).rev().filter(|at| text[*at] == *last) {
        let length = text[..=at]
            .iter()
            .rev()
            .zip(end.iter().rev())
            .take(MAX_MATCH)
            .take_while(|(a, b)| a == b)
            .count();
        if length > best.0 {
            best = (length, at + 1);
            if length == MAX_MATCH {
                break;
            }
        }
    }
    if best.0 == 0 { (0, &[]) } else { (best.0, &text[best.1..]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    fn proposed(lookup: &Lookup, limit: usize) -> (String, u8) {
        let mut draft = Vec::new();
        let confidence = lookup.propose(limit, &mut draft);
        (draft.iter().map(|id| char::from(*id as u8)).collect(), confidence.0)
    }

    #[test]
    fn the_longest_match_wins_then_the_latest() {
        let mut lookup = Lookup::new();
        lookup.begin(&ids("foo(bar); fox(baz); foo("));
        assert_eq!(proposed(&lookup, 5), ("bar);".to_owned(), 3));
        lookup.begin(&ids("x=1; x=2; x="));
        assert_eq!(proposed(&lookup, 2), ("2;".to_owned(), 3));
        for byte in "2; x".bytes() {
            lookup.push(u32::from(byte));
        }
        assert_eq!(proposed(&lookup, 9).0, "=2; x");
    }

    #[test]
    fn remembered_texts_are_searched_newest_first_and_bounded() {
        let mut lookup = Lookup::new();
        lookup.begin(&ids("let total"));
        assert_eq!(proposed(&lookup, 4), ("et t".to_owned(), 0));
        lookup.remember(&ids("let total = old"));
        lookup.remember(&ids("let total = new"));
        assert_eq!(proposed(&lookup, 6), (" = new".to_owned(), 4));
        for i in 0..3000u32 {
            lookup.remember(&[1000 + i, 5000 + i, 9000 + i, i]);
        }
        assert!(lookup.n_remembered <= MAX_REMEMBERED);
        assert_eq!(lookup.n_remembered, lookup.remembered.iter().map(Vec::len).sum::<usize>());
        assert_eq!(proposed(&lookup, 4).0, "et t", "the oldest are gone");
        lookup.remember(&vec![3; 3 * MAX_REMEMBERED]);
        assert_eq!(lookup.n_remembered, MAX_REMEMBERED);
    }

    #[test]
    fn nothing_is_proposed_from_nothing() {
        let mut lookup = Lookup::new();
        assert_eq!(proposed(&lookup, 4), (String::new(), 0));
        lookup.begin(&ids("abc"));
        assert_eq!(proposed(&lookup, 4), (String::new(), 0));
        lookup.begin(&ids("aaaa"));
        assert_eq!(proposed(&lookup, 0).0, "");
        lookup.remember(&ids("z"));
        assert!(lookup.remembered.is_empty());
    }
}
