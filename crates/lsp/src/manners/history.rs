//! Whether the user has just taken something back.
//!
//! LSP does not say what made a change. An undo is known by what it leads to: a text that was there
//! before. A deletion is known by inserting nothing.

use std::collections::VecDeque;

use lacuna_telemetry::track::Edit as Trimmed;
use lacuna_text::Rope;

use super::fingerprint::Fingerprint;
use crate::view::Edit;

/// Versions of a document that are remembered: as many as an editor may take back at once.
const KEPT: usize = 256;
/// Longer texts are not completed, and not remembered.
const MAX_BYTES: usize = 16 << 20;
/// Characters that one key may write or take back: itself and what closes it.
pub const OF_ONE_KEY: usize = 2;

/// One document's.
#[derive(Default)]
pub struct History {
    /// Hashes of the texts that were there, the present one last.
    versions: VecDeque<u64>,
    fingerprint: Fingerprint,
    is_quiet: bool,
}

impl History {
    pub fn new(text: &Rope) -> History {
        let mut history = History::default();
        history.remember(&[], text);
        history
    }

    /// Nothing is to be offered unasked: the last change took something back.
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// A change has led to `text`. `is_of_offer`: it put in what was offered, or took back a key of
    /// that: what is on screen goes on.
    pub fn changed(&mut self, edits: &[Edit], text: &Rope, is_of_offer: bool) {
        let trimmed: Vec<Trimmed<'_>> = edits
            .iter()
            .map(|edit| Trimmed::trimmed(edit.start, &edit.removed, &edit.text))
            .filter(|edit| !edit.is_empty())
            .collect();
        let before = self.versions.back().copied();
        let is_known = self.remember(edits, text);
        if trimmed.is_empty() || before.is_some() && before == self.versions.back().copied() {
            return;
        }
        let inserts = trimmed.iter().any(|edit| !edit.text.is_empty());
        self.is_quiet = !is_of_offer && (!inserts || is_known && !is_typed(edits));
    }

    /// Whether the text was there before.
    fn remember(&mut self, edits: &[Edit], text: &Rope) -> bool {
        if text.len_bytes() > MAX_BYTES {
            self.versions.clear();
            self.fingerprint.forget();
            return false;
        }
        let hash = self.fingerprint.follow(edits, text);
        if self.versions.back() == Some(&hash) {
            return true;
        }
        let is_known = self.versions.contains(&hash);
        if self.versions.len() == KEPT {
            self.versions.pop_front();
        }
        self.versions.push_back(hash);
        is_known
    }
}

/// Whether one key may have made this change: who types a character again that was deleted comes to
/// an earlier text, too.
fn is_typed(edits: &[Edit]) -> bool {
    // The second half of a wide character takes the place of the first.
    matches!(edits, [edit] if edit.removed.chars().all(|c| c == '\u{fffd}') && edit.text.trim().chars().count() <= OF_ONE_KEY)
}

#[cfg(test)]
mod tests {
    use lacuna_context::Language;
    use lacuna_text::{Encoding, Position, Range};

    use super::*;
    use crate::view::View;
    use crate::wire::Change;

    /// A document of one line with its history.
    struct Buffer {
        view: View,
        history: History,
    }

    impl Buffer {
        fn new(text: &str) -> Buffer {
            let view = View::new(Language::Python, 0, &text.into());
            Buffer { history: History::new(view.document.rope()), view }
        }

        /// Replaces these characters of the line; whether it is quiet then.
        fn edit(&mut self, from: u32, to: u32, text: &str) -> bool {
            self.edits(&[(Some((from, to)), text)])
        }

        fn edits(&mut self, edits: &[(Option<(u32, u32)>, &str)]) -> bool {
            let range =
                |(from, to): (u32, u32)| Range::new(Position::new(0, from), Position::new(0, to));
            let changes: Vec<Change> =
                edits.iter().map(|(at, text)| Change::new(at.map(range), text)).collect();
            self.change(&changes)
        }

        fn change(&mut self, changes: &[Change]) -> bool {
            let edits = self.view.apply(changes, Encoding::Utf8);
            self.history.changed(&edits, self.view.document.rope(), false);
            self.history.is_quiet()
        }
    }

    #[test]
    fn a_deletion_is_quiet_until_something_is_inserted() {
        let mut buffer = Buffer::new("x = 1\n");
        assert!(!buffer.edit(5, 5, "2"));
        assert!(buffer.edit(5, 6, ""), "a character");
        assert!(buffer.edit(0, 3, ""), "a word");
        assert!(
            buffer.edits(&[(Some((0, 1)), ""), (Some((0, 0)), "")]),
            "several at once, and one that does nothing"
        );
        assert!(buffer.edits(&[]) && buffer.edit(0, 0, ""), "nothing changes nothing");
        assert!(!buffer.edit(0, 0, "y"));
        assert!(!buffer.edit(0, 1, "zz"), "a replacement inserts");
        assert!(buffer.edit(0, 2, "z"), "but for what is the same before and behind");
    }

    #[test]
    fn an_undo_is_known_by_the_text_it_leads_to() {
        let mut buffer = Buffer::new("total = 1\n");
        assert!(!buffer.edit(0, 5, "amount"));
        assert!(buffer.edit(0, 6, "total"), "the name as it was");
        assert!(buffer.edit(0, 5, "amount"), "and done again");
        assert!(!buffer.edit(10, 10, "2"), "typing goes on");
        assert!(buffer.edit(10, 11, ""));
        assert!(buffer.edit(0, 6, "total"), "two steps back");
        // A whole deletion taken back.
        assert!(buffer.edit(0, 9, "") && buffer.edit(0, 0, "total = 1"));
    }

    #[test]
    fn clients_that_send_the_whole_text_again_are_understood() {
        let mut buffer = Buffer::new("x = \n");
        assert!(!buffer.edits(&[(None, "x = foo\n")]));
        assert!(!buffer.edits(&[(None, "x = foo\n")]), "nothing has changed");
        assert!(buffer.edits(&[(None, "x = fo\n")]), "a deletion");
        assert!(!buffer.edits(&[(None, "x = foot\n")]));
        assert!(!buffer.edits(&[(None, "y = foot\n")]));
        assert!(buffer.edits(&[(None, "x = foot\n")]), "taken back");
    }

    /// A typo: what is typed again leads to a text that was there before.
    #[test]
    fn a_key_that_is_pressed_again_is_typing() {
        let mut buffer = Buffer::new("f\n");
        for key in ["o", "(", "()", "\n    ", "é"] {
            assert!(!buffer.edit(1, 1, key), "{key:?}");
            let (rows, column) =
                (key.matches('\n').count() as u32, key.rsplit('\n').next().unwrap().len() as u32);
            let end =
                if rows == 0 { Position::new(0, 1 + column) } else { Position::new(rows, column) };
            let taken_back = [Change::new(Some(Range::new(Position::new(0, 1), end)), "")];
            assert!(buffer.change(&taken_back), "{key:?}");
            assert!(!buffer.edit(1, 1, key), "{key:?} again");
            buffer = Buffer::new("f\n");
        }
    }

    #[test]
    fn a_suggestion_that_is_accepted_again_is_no_undo() {
        let rope = |text: &str| Rope::from_str(text);
        let edit = |start: usize, removed: &str, text: &str| {
            [Edit {
                start,
                text: text.to_owned(),
                removed: removed.to_owned(),
                at_char: start,
                deleted_chars: removed.len(),
            }]
        };
        let mut history = History::new(&rope("x = \n"));
        history.changed(&edit(4, "", "compute()"), &rope("x = compute()\n"), true);
        history.changed(&edit(4, "compute()", ""), &rope("x = \n"), false);
        assert!(history.is_quiet());
        history.changed(&edit(4, "", "compute()"), &rope("x = compute()\n"), true);
        assert!(!history.is_quiet());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut buffer = Buffer::new("\n");
        (0..2 * KEPT as u32).for_each(|i| assert!(!buffer.edit(i, i, "a")));
        assert_eq!(buffer.history.versions.len(), KEPT);
        // Too far back to be known; what only removes is quiet all the same.
        assert!(buffer.edit(0, 2 * KEPT as u32, ""));
    }
}
