//! Suggestions of a document that may come on screen again and would then be the same: the same
//! text in the same line, wherever edits have moved that line to.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

use super::anchor::Edit;

/// More are forgotten, oldest first.
pub const MAX_RECENT: usize = 64;

/// What makes a suggestion the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Of what the line would be up to the suggestion's end, whether some of the suggestion has
    /// been typed meanwhile or not.
    text: u64,
    /// Byte where the line starts.
    line_start: usize,
}

impl Spot {
    /// `item`, offered at byte `cursor` of a line that reads `line_prefix` up to there.
    pub fn new(cursor: usize, line_prefix: &str, item: &str) -> Spot {
        let mut hasher = DefaultHasher::new();
        hasher.write(line_prefix.as_bytes());
        hasher.write(item.as_bytes());
        Spot { text: hasher.finish(), line_start: cursor.saturating_sub(line_prefix.len()) }
    }

    /// Follows an edit; false if the line's start went with it.
    fn follow(&mut self, edit: Edit<'_>) -> bool {
        let at = self.line_start;
        // What is inserted at the very start of a line is that line's text, unless it brings a line
        // of its own.
        let before =
            edit.end < at || edit.end == at && (edit.start < at || edit.text.ends_with('\n'));
        if before {
            self.line_start = edit.shift(at);
        }
        before || edit.start >= at
    }
}

#[derive(Debug, Default)]
pub struct Recent(VecDeque<(Spot, u32)>);

impl Recent {
    /// The suggestion that was offered at this spot.
    pub fn at(&self, spot: Spot) -> Option<u32> {
        self.0.iter().rev().find(|(known, _)| *known == spot).map(|(_, seq)| *seq)
    }

    pub fn remember(&mut self, spot: Spot, seq: u32) {
        self.0.retain(|(known, of)| *known != spot && *of != seq);
        self.0.push_back((spot, seq));
        if self.0.len() > MAX_RECENT {
            self.0.pop_front();
        }
    }

    pub fn follow(&mut self, edit: Edit<'_>) {
        self.0.retain_mut(|(spot, _)| spot.follow(edit));
    }

    pub fn seqs(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.0.iter().map(|(_, seq)| *seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_followed_through_edits() {
        // "a\nx = f()": the line starts at byte 2.
        let spot = Spot::new(6, "x = ", "f()");
        let after = |edit: Edit<'_>| {
            let mut moved = spot;
            moved.follow(edit).then_some(moved.line_start)
        };
        for (edit, start) in [
            (Edit::new(0..0, "b"), Some(3)),
            (Edit::new(1..1, "\n"), Some(3)),
            (Edit::new(0..2, ""), Some(0)),
            // A line put before it, and a letter put at its start.
            (Edit::new(2..2, "# b\n"), Some(6)),
            (Edit::new(2..2, "y"), Some(2)),
            (Edit::new(2..9, ""), Some(2)),
            (Edit::new(8..9, "z"), Some(2)),
            // Its start went.
            (Edit::new(1..3, ""), None),
            (Edit::new(0..9, "all"), None),
        ] {
            assert_eq!(after(edit), start, "{edit:?}");
        }
    }

    #[test]
    fn text_and_line_make_it_the_same_not_how_much_was_typed() {
        let mut recent = Recent::default();
        recent.remember(Spot::new(6, "x = ", "f()"), 7);
        assert_eq!(recent.at(Spot::new(7, "x = f", "()")), Some(7));
        assert_eq!(recent.at(Spot::new(6, "x = ", "g()")), None);
        assert_eq!(recent.at(Spot::new(26, "x = ", "f()")), None);
        for seq in 8..8 + MAX_RECENT as u32 {
            recent.remember(Spot::new(6, "x = ", &seq.to_string()), seq);
        }
        assert_eq!(
            (recent.seqs().len(), recent.at(Spot::new(6, "x = ", "f()"))),
            (MAX_RECENT, None)
        );
    }
}
