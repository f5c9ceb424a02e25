//! Ghost text on a client's screen, and what an edit does to it: takes some of it over, moves it,
//! or makes it vanish.

use super::anchor::Edit;

/// One suggestion as it is shown: `stem` stands in the document already, `rest` is still ghost
/// text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ghost {
    /// Byte where the stem starts.
    start: usize,
    /// What the suggestion restates of the document, and what was taken over since.
    stem: String,
    rest: String,
    /// What stands right of the cursor, as far as it may matter.
    right: String,
}

/// What an edit does to ghost text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is elsewhere; the ghost text stays.
    Unrelated,
    /// The document now holds more of the suggestion: `text`, at byte `at`.
    Advanced { at: usize, text: String },
    /// The document no longer agrees with the suggestion.
    Diverged,
}

/// What editors close by themselves.
const PAIRS: [&str; 6] = ["()", "[]", "{}", "\"\"", "''", "``"];
/// As many characters as this at once come from a command, not from a key. Clients that send
/// several keystrokes in one change do so every 150 ms at most, in which nobody types four
/// characters.
const COMMAND_CHARS: usize = 4;

impl Ghost {
    /// `rest` is shown at byte `cursor`; `stem` is what the suggestion restates left of it.
    pub fn new(cursor: usize, stem: &str, rest: &str, right: &str) -> Ghost {
        Ghost {
            start: cursor.saturating_sub(stem.len()),
            stem: stem.to_owned(),
            rest: rest.to_owned(),
            right: right.to_owned(),
        }
    }

    /// Byte where the ghost text is shown.
    pub fn at(&self) -> usize {
        self.start + self.stem.len()
    }

    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// Follows an edit.
    pub fn step(&mut self, edit: Edit<'_>) -> Step {
        let at = self.at();
        if edit.is_empty() {
            return Step::Unrelated;
        }
        if edit.start >= self.start && edit.end == at {
            return self.rewrite(edit);
        }
        if edit.start > at {
            return self.insertion_further_right(edit);
        }
        if edit.end <= self.start && edit.end != at {
            self.start = edit.shift(self.start);
            return Step::Unrelated;
        }
        Step::Diverged
    }

    /// The edit ends at the cursor and starts in the stem.
    fn rewrite(&mut self, edit: Edit<'_>) -> Step {
        let kept = edit.start - self.start;
        let Some(stem) = self.stem.get(..kept) else { return Step::Diverged };
        let written = format!("{stem}{}", edit.text);
        // Longer than what stood there, and what stood there is still its beginning?
        if let Some(new) = written.strip_prefix(self.stem.as_str()).filter(|new| !new.is_empty()) {
            if self.rest.starts_with(new) {
                return self.advance(new.to_owned());
            }
            // An opening bracket whose closing one the editor added.
            if PAIRS.contains(&new) && self.rest.starts_with(&new[..1]) {
                self.right.insert_str(0, &new[1..]);
                return self.advance(new[..1].to_owned());
            }
        }
        if written == self.stem { Step::Unrelated } else { Step::Diverged }
    }

    /// Clients that compare two texts place an insertion as far right as they can: `ab` before `a…`
    /// reads as `ba` behind the `a`.
    fn insertion_further_right(&mut self, edit: Edit<'_>) -> Step {
        let Some(skipped) =
            self.right.get(..edit.start - self.at()).filter(|_| edit.start == edit.end)
        else {
            return Step::Unrelated;
        };
        let written = format!("{skipped}{}", edit.text);
        match written.strip_suffix(skipped) {
            Some(new) if !new.is_empty() && self.rest.starts_with(new) => {
                self.advance(new.to_owned())
            }
            _ => Step::Unrelated,
        }
    }

    fn advance(&mut self, text: String) -> Step {
        let at = self.at();
        self.stem.push_str(&text);
        self.rest.drain(..text.len());
        Step::Advanced { at, text }
    }
}

/// Whether `text`, which an edit took over from ghost text, came from a command (accept, accept a
/// word) rather than from keys. `left` is what remained of the ghost text.
pub fn by_command(text: &str, left: &str) -> bool {
    let chars = text.chars().count();
    // Indentation comes with the Enter key, a closing bracket with the opening one.
    if text.trim().is_empty() || PAIRS.contains(&text) {
        return false;
    }
    let ends_a_word = !left.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    chars >= COMMAND_CHARS || chars >= 2 && (left.is_empty() || ends_a_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ghost() -> Ghost {
        Ghost::new(10, "se", "lf.grades)", ")\n")
    }

    fn advanced(at: usize, text: &str) -> Step {
        Step::Advanced { at, text: text.to_owned() }
    }

    #[test]
    fn typing_and_accepting_advance() {
        let mut g = ghost();
        assert_eq!(g.step(Edit::new(10..10, "l")), advanced(10, "l"));
        assert_eq!((g.at(), g.rest()), (11, "f.grades)"));
        assert_eq!(g.step(Edit::new(11..11, "f.grades)")), advanced(11, "f.grades)"));
        assert_eq!(g.rest(), "");
        // The whole range replaced, and only its last byte.
        assert_eq!(ghost().step(Edit::new(8..10, "self.grades)")), advanced(10, "lf.grades)"));
        assert_eq!(ghost().step(Edit::new(9..10, "elf")), advanced(10, "lf"));
    }

    #[test]
    fn other_text_and_deletions_diverge() {
        for edit in [
            Edit::new(10..10, "x"),
            Edit::new(9..10, ""),
            Edit::new(8..10, "SELF"),
            Edit::new(10..11, ""),
            Edit::new(9..12, "elf"),
        ] {
            assert_eq!(ghost().step(edit), Step::Diverged, "{edit:?}");
        }
    }

    #[test]
    fn edits_elsewhere_move_it() {
        let mut g = ghost();
        assert_eq!(g.step(Edit::new(0..0, "import x\n")), Step::Unrelated);
        assert_eq!((g.at(), g.step(Edit::new(19..19, "lf"))), (19, advanced(19, "lf")));
        assert_eq!(g.step(Edit::new(40..50, "z")), Step::Unrelated);
        assert_eq!(g.step(Edit::new(21..21, "")), Step::Unrelated);
    }

    #[test]
    fn an_insertion_that_a_comparison_moved_is_understood() {
        // "f(" + ghost "a)" before ")": the new text is "f(a))"; found as "a)" at 2. Ghost ")a"
        // before ")": "f()a)" is found as "a)" at 3.
        let mut g = Ghost::new(2, "", ")a", ")\n");
        assert_eq!(g.step(Edit::new(3..3, "a)")), advanced(2, ")a"));
        let mut partial = Ghost::new(2, "", ")ab", ")\n");
        assert_eq!(partial.step(Edit::new(3..3, "a)")), advanced(2, ")a"));
        assert_eq!(partial.rest(), "b");
        assert_eq!(Ghost::new(2, "", ")a", ")\n").step(Edit::new(3..3, "x)")), Step::Unrelated);
    }

    #[test]
    fn a_bracket_that_the_editor_closes_is_typed_through() {
        let mut g = Ghost::new(4, "", "(x)", "\n");
        assert_eq!(g.step(Edit::new(4..4, "()")), advanced(4, "("));
        assert_eq!(g.rest(), "x)");
        assert_eq!(g.step(Edit::new(5..5, "x")), advanced(5, "x"));
    }

    #[test]
    fn keys_and_commands_are_told_apart() {
        for (text, left, command) in [
            ("s", "elf", false),
            ("s", "", false),
            ("se", "lf", false),
            ("el", "", true),
            ("if", " x", true),
            ("self", "_x", true),
            ("()", "", false),
            ("\n        ", "x", false),
            ("\n    return", "", true),
            ("éé", "", true),
        ] {
            assert_eq!(by_command(text, left), command, "{text:?} {left:?}");
        }
    }
}
