//! What was offered where, and what of it the user turned down.
//!
//! A text that was turned down is not offered again at its place until the line changes. Places
//! move with edits elsewhere; a text that is being typed is what is left of it. Nothing of this
//! needs telemetry.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use lacuna_telemetry::track::Edit as Trimmed;
use lacuna_text::Document;

use super::history::OF_ONE_KEY;
use crate::view::Edit;

/// Offers in a document that are remembered, and refusals.
const KEPT: usize = 64;
/// Bytes of a line on either side of a place that must stay as they are.
const AROUND: usize = 4096;

/// A text at a place.
#[derive(Clone, Debug)]
struct Offer {
    id: String,
    /// Byte offset where the text would go.
    at: usize,
    /// What was offered.
    whole: String,
    /// Bytes of it that were typed since.
    typed: usize,
    /// Something of it was, at any time.
    is_begun: bool,
    /// Hash of the line, and the place's distance from its start.
    line: (u64, usize),
}

/// One document's.
#[derive(Default)]
pub struct Offers {
    /// The newest last.
    offered: VecDeque<Offer>,
    refused: VecDeque<Offer>,
    hasher: RandomState,
}

impl Offers {
    /// Remembers items as ids and texts.
    pub fn offered(
        &mut self,
        at: usize,
        document: &Document,
        items: impl Iterator<Item = (String, String)>,
    ) {
        let line = line_at(&self.hasher, document, at);
        for (id, whole) in items {
            keep(&mut self.offered, Offer { id, at, whole, typed: 0, is_begun: false, line });
        }
    }

    /// Takes the item with this id, what is left of it, for turned down.
    pub fn dismissed(&mut self, id: &str) {
        let Some(offer) = self.offered.iter().rev().find(|offer| offer.id == id).cloned() else {
            return;
        };
        let same = |other: &Offer| other.at == offer.at && other.rest() == offer.rest();
        if !self.refused.iter().any(same) {
            keep(&mut self.refused, offer);
        }
    }

    /// Texts that were turned down at a place.
    pub fn refused(&self, at: usize) -> Vec<String> {
        let here = self.refused.iter().filter(|offer| offer.at == at);
        here.map(|offer| offer.rest().to_owned()).collect()
    }

    /// Whether what was offered is being typed and goes on here: what is on screen is nothing new.
    pub fn is_typed_through(&self, at: usize) -> bool {
        self.offered
            .iter()
            .any(|offer| offer.at == at && offer.is_begun && !offer.rest().is_empty())
    }

    /// Moves places, and forgets those whose line has changed. Whether the change put in, whole or
    /// in part, what was offered, or took back a key of that.
    pub fn changed(&mut self, edits: &[Edit], document: &Document) -> bool {
        let edits: Vec<Trimmed<'_>> = edits
            .iter()
            .map(|edit| Trimmed::trimmed(edit.start, &edit.removed, &edit.text))
            .collect();
        let mut is_taken = false;
        let hasher = &self.hasher;
        self.offered.retain_mut(|offer| {
            let typed = offer.typed;
            if !edits.iter().all(|edit| offer.follow(edit)) {
                return false;
            }
            let line = line_at(hasher, document, offer.at);
            if offer.typed != typed {
                is_taken = true;
                offer.line = line;
            }
            offer.line == line
        });
        self.refused.retain_mut(|offer| {
            edits.iter().all(|edit| offer.follow(edit))
                && offer.typed == 0
                && line_at(hasher, document, offer.at) == offer.line
        });
        is_taken
    }
}

impl Offer {
    /// What of it has not been typed yet.
    fn rest(&self) -> &str {
        self.whole.get(self.typed..).unwrap_or_default()
    }

    /// Follows an edit; false where the place is gone.
    fn follow(&mut self, edit: &Trimmed<'_>) -> bool {
        if edit.start == edit.end && edit.start == self.at && self.rest().starts_with(edit.text) {
            self.typed += edit.text.len();
            self.at += edit.text.len();
            self.is_begun |= !edit.text.is_empty();
            return true;
        }
        // A key that is taken back. An acceptance that is taken back is more than that.
        let key = edit.end - edit.start;
        let taken_back =
            self.typed.checked_sub(key).and_then(|left| self.whole.get(left..self.typed));
        if edit.text.is_empty()
            && edit.end == self.at
            && taken_back.is_some_and(|text| text.chars().count() <= OF_ONE_KEY)
        {
            self.typed -= key;
            self.at = edit.start;
            return true;
        }
        if edit.end <= self.at {
            self.at = edit.shift(self.at);
            return true;
        }
        edit.start >= self.at
    }
}

fn keep(all: &mut VecDeque<Offer>, offer: Offer) {
    if all.len() == KEPT {
        all.pop_front();
    }
    all.push_back(offer);
}

/// The line of a place, as far as it matters whether it is still the same.
fn line_at(hasher: &RandomState, document: &Document, at: usize) -> (u64, usize) {
    let rope = document.rope();
    let at = at.min(rope.len_bytes());
    let line = rope.byte_to_line(at);
    let start = rope.line_to_byte(line);
    let end =
        if line + 1 < rope.len_lines() { rope.line_to_byte(line + 1) } else { rope.len_bytes() };
    let text = document.slice(start.max(at.saturating_sub(AROUND))..end.min(at + AROUND));
    (hasher.hash_one(text.trim_end_matches(['\n', '\r'])), at - start)
}

#[cfg(test)]
mod tests {
    use lacuna_context::Language;
    use lacuna_text::{Encoding, Position, Range};

    use super::*;
    use crate::view::View;
    use crate::wire::Change;

    struct Buffer {
        view: View,
        offers: Offers,
    }

    impl Buffer {
        fn new(text: &str) -> Buffer {
            let view = View::new(Language::Python, 0, &text.into());
            Buffer { view, offers: Offers::default() }
        }

        fn offer(&mut self, at: usize, items: &[(&str, &str)]) {
            let items = items.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned()));
            self.offers.offered(at, &self.view.document, items);
        }

        /// Replaces from line and character to line and character; whether that took what was
        /// offered.
        fn edit(&mut self, from: (u32, u32), to: (u32, u32), text: &str) -> bool {
            let range = Range::new(Position::new(from.0, from.1), Position::new(to.0, to.1));
            let edits = self.view.apply(&[Change::new(Some(range), text)], Encoding::Utf8);
            self.offers.changed(&edits, &self.view.document)
        }

        fn refused(&self, at: usize) -> Vec<String> {
            self.offers.refused(at)
        }
    }

    #[test]
    fn what_was_turned_down_is_remembered_at_its_place_until_the_line_changes() {
        for (from, to, text, place) in [
            // Lines above and below come, go and change: the place moves.
            ((0, 0), (0, 0), "import os\n", Some(20)),
            ((0, 0), (1, 0), "", Some(4)),
            ((0, 5), (0, 5), "0\n\n", Some(13)),
            ((2, 0), (2, 1), "zzz", Some(10)),
            ((1, 4), (1, 4), "", Some(10)),
            // The line itself changes.
            ((1, 4), (1, 4), "g", None),
            ((1, 0), (1, 1), "z", None),
            ((1, 4), (1, 4), "\n", None),
            ((1, 0), (1, 0), " ", None),
            ((0, 5), (1, 0), "", None),
            ((0, 0), (2, 5), "", None),
        ] {
            let mut buffer = Buffer::new("x = 1\ny = \nz = 2\n");
            buffer.offer(10, &[("7", "f(x)"), ("8", "g(x)")]);
            buffer.offers.dismissed("7");
            buffer.offers.dismissed("7");
            buffer.offers.dismissed("nobody's");
            assert_eq!(
                (buffer.refused(10), buffer.refused(9)),
                (vec!["f(x)".to_owned()], Vec::new())
            );
            assert!(!buffer.edit(from, to, text) || place.is_none());
            let found: Vec<usize> = (0..40).filter(|at| !buffer.refused(*at).is_empty()).collect();
            assert_eq!(found, place.into_iter().collect::<Vec<_>>(), "{from:?} {to:?} {text:?}");
        }
    }

    #[test]
    fn of_what_is_typed_the_rest_is_turned_down() {
        let mut buffer = Buffer::new("y = \n");
        buffer.offer(4, &[("1", "f(x)"), ("2", "f(y)")]);
        assert!(!buffer.offers.is_typed_through(4), "nothing has been typed yet");
        assert!(buffer.edit((0, 4), (0, 4), "f("));
        assert!(buffer.offers.is_typed_through(6) && !buffer.offers.is_typed_through(4));
        // Two keys back and forth again.
        assert!(
            buffer.edit((0, 5), (0, 6), "")
                && buffer.edit((0, 4), (0, 5), "")
                && buffer.offers.is_typed_through(4)
        );
        assert!(buffer.edit((0, 4), (0, 4), "f(") && buffer.offers.is_typed_through(6));
        buffer.offers.dismissed("2");
        assert_eq!(buffer.refused(6), ["y)"]);
        assert!(buffer.edit((0, 6), (0, 6), "x"));
        assert!(
            buffer.refused(6).is_empty() && buffer.refused(7).is_empty(),
            "the line has changed"
        );
        assert!(buffer.edit((0, 7), (0, 7), ")"));
        assert!(!buffer.offers.is_typed_through(8), "typed to its end");
        // What comes late is for a text that is gone.
        buffer.edit((0, 0), (0, 1), "z");
        buffer.offers.dismissed("1");
        assert!((0..20).all(|at| buffer.refused(at).is_empty()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut buffer = Buffer::new("y = \n");
        for i in 0..1000 {
            buffer.offer(i % 5, &[(&i.to_string(), &format!("f{i}"))]);
            buffer.offers.dismissed(&i.to_string());
        }
        assert_eq!((buffer.offers.offered.len(), buffer.offers.refused.len()), (KEPT, KEPT));
    }
}
