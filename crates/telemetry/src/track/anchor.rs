//! A stretch of a document that is followed through every edit by its two ends.
//!
//! The text in between is kept along, so nothing is ever searched for: the same words elsewhere in
//! the file mean nothing.

use std::ops::Range;

/// A replacement of bytes `start..end` of a document by `text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit<'a> {
    pub start: usize,
    pub end: usize,
    pub text: &'a str,
}

impl<'a> Edit<'a> {
    pub fn new(bytes: Range<usize>, text: &'a str) -> Edit<'a> {
        Edit { start: bytes.start, end: bytes.end.max(bytes.start), text }
    }

    /// The part of an edit that changes something: what `removed` and `text` have in common at
    /// their beginnings, then at their ends, is left out. A client that sends its whole document or
    /// a whole line again is thereby understood.
    pub fn trimmed(start: usize, removed: &str, text: &'a str) -> Edit<'a> {
        let head = common_head(removed, text);
        let (removed, text) = (&removed[head..], &text[head..]);
        let tail = common_tail(removed, text);
        Edit {
            start: start + head,
            end: start + head + removed.len() - tail,
            text: &text[..text.len() - tail],
        }
    }

    /// Nothing is removed and nothing comes in.
    pub fn is_empty(&self) -> bool {
        self.start == self.end && self.text.is_empty()
    }

    /// Where byte `at`, which lies at or behind the edit's end, is after it.
    pub fn shift(&self, at: usize) -> usize {
        at - (self.end - self.start) + self.text.len()
    }
}

/// Bytes that are compared at once: clients that send their whole document again make these
/// comparisons long.
const PIECE: usize = 256;

/// Bytes that both begin with, in whole characters.
fn common_head(a: &str, b: &str) -> usize {
    let (x, y) = (a.as_bytes(), b.as_bytes());
    let pieces =
        x.chunks_exact(PIECE).zip(y.chunks_exact(PIECE)).take_while(|(x, y)| x == y).count()
            * PIECE;
    let same = pieces + x[pieces..].iter().zip(&y[pieces..]).take_while(|(x, y)| x == y).count();
    (0..=same).rev().find(|n| a.is_char_boundary(*n) && b.is_char_boundary(*n)).unwrap_or(0)
}

/// Bytes that both end with, in whole characters.
fn common_tail(a: &str, b: &str) -> usize {
    let (x, y) = (a.as_bytes(), b.as_bytes());
    let pieces =
        x.rchunks_exact(PIECE).zip(y.rchunks_exact(PIECE)).take_while(|(x, y)| x == y).count()
            * PIECE;
    let (x, y) = (&x[..x.len() - pieces], &y[..y.len() - pieces]);
    let same = pieces + x.iter().rev().zip(y.iter().rev()).take_while(|(x, y)| x == y).count();
    (0..=same)
        .rev()
        .find(|n| a.is_char_boundary(a.len() - n) && b.is_char_boundary(b.len() - n))
        .unwrap_or(0)
}

/// Inserted text and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchored {
    start: usize,
    current: String,
}

impl Anchored {
    /// `text`, which now stands at byte `start`.
    pub fn new(start: usize, text: &str) -> Anchored {
        Anchored { start, current: text.to_owned() }
    }

    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.current.len()
    }

    /// What stands between the ends.
    pub fn text(&self) -> &str {
        &self.current
    }

    /// Takes text in that was inserted right behind the end.
    pub fn extend(&mut self, text: &str) {
        self.current.push_str(text);
    }

    /// Follows an edit. What is inserted at either end lies outside; what replaces text across an
    /// end lies outside too.
    pub fn apply(&mut self, edit: Edit<'_>) {
        let Range { start, end } = self.range();
        if edit.end <= start {
            self.start = edit.shift(start);
        } else if edit.start < end {
            let cut = edit.start.max(start) - start..edit.end.min(end) - start;
            if !self.current.is_char_boundary(cut.start) || !self.current.is_char_boundary(cut.end)
            {
                // A client whose edits do not fit its own document: what is cut cannot be told.
                self.current.clear();
                self.start = edit.start + edit.text.len();
                return;
            }
            let inside = edit.start > start && edit.end < end;
            self.current.replace_range(cut, if inside { edit.text } else { "" });
            if !inside && edit.start <= start {
                self.start = edit.start + edit.text.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(edit: Edit<'_>) -> (String, Range<usize>) {
        let mut anchored = Anchored::new(10, "abcdef");
        anchored.apply(edit);
        (anchored.text().to_owned(), anchored.range())
    }

    #[test]
    fn edits_around_and_at_the_ends_leave_the_text() {
        assert_eq!(after(Edit::new(0..0, "xyz")), ("abcdef".into(), 13..19));
        assert_eq!(after(Edit::new(2..8, "")), ("abcdef".into(), 4..10));
        assert_eq!(after(Edit::new(10..10, "xy")), ("abcdef".into(), 12..18));
        assert_eq!(after(Edit::new(16..16, "xy")), ("abcdef".into(), 10..16));
        assert_eq!(after(Edit::new(16..20, "")), ("abcdef".into(), 10..16));
    }

    #[test]
    fn edits_inside_change_it() {
        assert_eq!(after(Edit::new(12..12, "xy")), ("abxycdef".into(), 10..18));
        assert_eq!(after(Edit::new(12..14, "x")), ("abxef".into(), 10..15));
        assert_eq!(after(Edit::new(11..15, "")), ("af".into(), 10..12));
    }

    #[test]
    fn edits_across_an_end_only_cut() {
        assert_eq!(after(Edit::new(8..12, "xyz")), ("cdef".into(), 11..15));
        assert_eq!(after(Edit::new(10..12, "xyz")), ("cdef".into(), 13..17));
        assert_eq!(after(Edit::new(14..18, "xyz")), ("abcd".into(), 10..14));
        assert_eq!(after(Edit::new(14..16, "xyz")), ("abcd".into(), 10..14));
        assert_eq!(after(Edit::new(8..20, "xyz")), ("".into(), 11..11));
        assert_eq!(after(Edit::new(10..16, "")), ("".into(), 10..10));
    }

    #[test]
    fn trimming_keeps_whole_characters() {
        assert_eq!(Edit::trimmed(5, "word", "wordless"), Edit::new(9..9, "less"));
        assert_eq!(Edit::trimmed(5, "abc", "axc"), Edit::new(6..7, "x"));
        assert_eq!(Edit::trimmed(5, "same", "same"), Edit::new(9..9, ""));
        // é and è share their first byte, ɩ and é their last.
        assert_eq!(Edit::trimmed(0, "é", "è"), Edit::new(0..2, "è"));
        assert_eq!(Edit::trimmed(0, "aé", "a\u{269}"), Edit::new(1..3, "\u{269}"));
        assert_eq!(Edit::trimmed(0, "aa", "aaa"), Edit::new(2..2, "a"));
        // Whatever the lengths, at the borders of the pieces too.
        for (head, tail) in [0, 1, 255, 256, 257, 511, 512, 1000]
            .into_iter()
            .flat_map(|h| [0, 1, 255, 256, 257, 600].map(|t| (h, t)))
        {
            let (head, tail) = ("h".repeat(head), "t".repeat(tail));
            let (old, new) = (format!("{head}old{tail}"), format!("{head}NEW!{tail}"));
            assert_eq!(
                Edit::trimmed(7, &old, &new),
                Edit::new(7 + head.len()..7 + head.len() + 3, "NEW!")
            );
        }
    }
}
