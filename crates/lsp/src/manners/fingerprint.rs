//! A hash of a text that follows its edits: a key costs what its line costs, not the whole text.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use lacuna_text::Rope;

use crate::view::Edit;

/// Two lines that change places, and a line that comes twice, must count: line `i` is weighed with
/// this to the power of `i`. Odd, so that no weight is zero modulo 2⁶⁴.
const WEIGHT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Of the text as it was last seen.
#[derive(Default)]
pub struct Fingerprint {
    hasher: RandomState,
    hash: u64,
    /// `None`: no text has been seen, or not the last change.
    n_lines: Option<usize>,
}

impl Fingerprint {
    /// The hash of `text`, to which `edits` have led.
    pub fn follow(&mut self, edits: &[Edit], text: &Rope) -> u64 {
        self.hash = match edits {
            [edit] if self.n_lines == Some(text.len_lines()) && is_within_a_line(edit) => {
                self.hash.wrapping_add(self.of_edit(edit, text))
            }
            _ => text
                .lines()
                .enumerate()
                .map(|(i, line)| self.of_line(i, &Cow::from(line)))
                .fold(0, u64::wrapping_add),
        };
        self.n_lines = Some(text.len_lines());
        self.hash
    }

    /// The text is not looked at for now.
    pub fn forget(&mut self) {
        self.n_lines = None;
    }

    /// What an edit within a line adds to the hash.
    fn of_edit(&self, edit: &Edit, text: &Rope) -> u64 {
        let i = text.byte_to_line(edit.start);
        let new = Cow::from(text.line(i));
        let at = edit.start - text.line_to_byte(i);
        let (before, after) = (&new[..at], &new[at + edit.text.len()..]);
        let old = [before, &edit.removed, after].concat();
        self.of_line(i, &new).wrapping_sub(self.of_line(i, &old))
    }

    fn of_line(&self, i: usize, line: &str) -> u64 {
        self.hasher.hash_one(line).wrapping_mul(WEIGHT.wrapping_pow(i as u32))
    }
}

/// Whether an edit that leaves the number of lines as it was leaves every other line as it was.
fn is_within_a_line(edit: &Edit) -> bool {
    !edit.text.contains(['\n', '\r']) && !edit.removed.contains(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use lacuna_context::Language;
    use lacuna_text::{Encoding, Position, Range};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::view::View;
    use crate::wire::Change;

    const PIECES: [&str; 8] = ["a", "b c", "", "é🦀", "\n", "\r", "\r\n", "\u{2028}"];

    fn drawn(rng: &mut ChaCha8Rng) -> String {
        (0..rng.random_range(0..4)).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect()
    }

    #[test]
    fn however_a_text_was_come_to_it_has_one_hash() {
        for seed in 0..2000 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let mut view = View::new(Language::Text, 0, &drawn(rng).as_str().into());
            let mut followed = Fingerprint::default();
            followed.follow(&[], view.document.rope());
            for _ in 0..12 {
                let start = Position::new(rng.random_range(0..4), rng.random_range(0..6));
                let end = match rng.random_range(0..4) {
                    0 => Position::new(start.line + 1, rng.random_range(0..6)),
                    _ => Position::new(start.line, start.character + rng.random_range(0..4)),
                };
                let change = [Change::new(Some(Range::new(start, end)), &drawn(rng))];
                let edits = view.apply(&change, Encoding::Utf16);
                let hash = followed.follow(&edits, view.document.rope());
                let mut whole =
                    Fingerprint { hasher: followed.hasher.clone(), ..Fingerprint::default() };
                let expected = whole.follow(&[], view.document.rope());
                assert_eq!(hash, expected, "seed {seed}, {edits:?}");
            }
        }
    }

    #[test]
    fn lines_that_change_places_change_the_hash() {
        let mut fingerprint = Fingerprint::default();
        let mut of = |text: &str| fingerprint.follow(&[], &Rope::from_str(text));
        let all = ["a\nb\n", "b\na\n", "a\na\nb\n", "a\nb", "ab\n", ""].map(&mut of);
        for (i, hash) in all.iter().enumerate() {
            assert!(!all[..i].contains(hash));
        }
    }
}
