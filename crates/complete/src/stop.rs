//! Where a text that is being written ends.
//!
//! Owns: the rules. A rule is asked while tokens arrive, so that none is decoded that would be cut
//! afterwards, and once more for what is kept. Does not own: the loop over tokens (`decode`), the
//! search for a line (`search`). Start at [`StopRule`].

use lacuna_context::{Language, SyntacticEnd, first_lines, syntactic_end};
use lacuna_engine::Sampling;

/// A text on its way.
pub struct Written<'a> {
    /// What stands behind the cursor so far: nothing while a word that was taken back is restated.
    pub bytes: &'a [u8],
    /// Those of the last token.
    pub token: &'a [u8],
}

impl Written<'_> {
    /// In whole characters.
    pub fn text(&self) -> &str {
        valid_utf8(self.bytes)
    }
}

/// Where a text ends, beside the model's own stops and the limits of its [`Sampling`].
pub trait StopRule {
    /// Whether it ends with the last token. Asked after each.
    fn is_over(&mut self, written: &Written<'_>) -> bool;

    /// How much of the whole text is kept, and whether it may stand there: else, where the clock
    /// has ended it, the word at its end is taken off.
    fn end(&self, text: &str) -> SyntacticEnd;
}

/// How far a completion may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// To the end of the line.
    Line,
    /// To the end of the block that was opened at the cursor, `lines` lines at most.
    Block { lines: usize },
}

/// Where and in what language the completion grows.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub language: Language,
    pub prefix: &'a str,
    pub extent: Extent,
}

impl Place<'_> {
    /// Where a text that grows here ends.
    pub fn end(&self, text: &str) -> SyntacticEnd {
        let Extent::Block { lines } = self.extent else {
            return syntactic_end(self.language, self.prefix, text, false);
        };
        let end = syntactic_end(self.language, self.prefix, text, true);
        let len = first_lines(self.language, self.prefix, &text[..end.len], lines);
        SyntacticEnd { len, reached: end.reached || len < end.len }
    }
}

/// To the end of the line or block.
pub(crate) struct AtEnd<'a> {
    place: &'a Place<'a>,
    is_behind_break: bool,
}

impl<'a> AtEnd<'a> {
    pub fn of(place: &'a Place<'a>) -> AtEnd<'a> {
        AtEnd { place, is_behind_break: false }
    }
}

impl StopRule for AtEnd<'_> {
    /// It need not look at every token: a line ends in a token with a newline, a dedent shows in
    /// the one after it.
    fn is_over(&mut self, written: &Written<'_>) -> bool {
        let breaks = written.token.contains(&b'\n');
        let looks = std::mem::replace(&mut self.is_behind_break, breaks) || breaks;
        looks && !written.bytes.is_empty() && self.end(written.text()).reached
    }

    fn end(&self, text: &str) -> SyntacticEnd {
        self.place.end(text)
    }
}

/// Exactly so many tokens, whatever they are, and all of them are kept: equal work, for benchmarks.
pub struct Exactly {
    left: usize,
}

/// Tokens that restate a word which was taken back, at most.
const HEALED: usize = 16;

impl Exactly {
    /// `n` tokens, at least one, beside those that restate a word.
    pub fn new(n: usize) -> Exactly {
        Exactly { left: n }
    }

    /// Greedy, with room for these tokens, and no token ends it.
    pub fn sampling(&self) -> Sampling {
        Sampling { max_tokens: self.left + HEALED, ..Sampling::default() }
    }
}

impl StopRule for Exactly {
    fn is_over(&mut self, written: &Written<'_>) -> bool {
        let counts = !written.bytes.is_empty() || written.token.is_empty();
        self.left = self.left.saturating_sub(usize::from(counts));
        self.left == 0
    }

    fn end(&self, text: &str) -> SyntacticEnd {
        SyntacticEnd { len: text.len(), reached: true }
    }
}

/// A text that was stopped by the clock, cut where it can stand: after its last whole line if it
/// has several, else after a word.
pub(crate) fn whole_words(text: &str) -> &str {
    if let Some(at) = text.trim_end_matches('\n').rfind('\n')
        && !text[..at].trim().is_empty()
    {
        return &text[..at];
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    // The word at the end may go on; what stands before it does not.
    text.trim_end_matches(is_word)
}

/// The longest valid beginning.
pub(crate) fn valid_utf8(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // `valid_up_to` is by definition a valid length.
        Err(e) => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the tokens a rule lets through, and what is kept of them behind `healed` bytes.
    fn run(mut rule: impl StopRule, healed: usize, tokens: &[&str]) -> (usize, String) {
        let mut bytes: Vec<u8> = Vec::new();
        let mut n = 0;
        for token in tokens {
            bytes.extend_from_slice(token.as_bytes());
            n += 1;
            let written =
                Written { bytes: bytes.get(healed..).unwrap_or(&[]), token: token.as_bytes() };
            if rule.is_over(&written) {
                break;
            }
        }
        let text = valid_utf8(bytes.get(healed..).unwrap_or(&[]));
        (n, text[..rule.end(text).len].to_owned())
    }

    #[test]
    fn a_line_ends_at_its_break_and_a_block_behind_its_last_line() {
        let place = |prefix, extent| Place { language: Language::Python, prefix, extent };
        let line = place("x = ", Extent::Line);
        assert_eq!(run(AtEnd::of(&line), 0, &["1", " +", " 2\n", "y"]), (3, "1 + 2".to_owned()));
        assert_eq!(run(AtEnd::of(&line), 2, &["ab", "c", "d"]), (3, "cd".to_owned()));
        let block = place("def f():\n    ", Extent::Block { lines: 9 });
        let tokens = ["a = 1\n", "    b", " = 2\n", "def g():\n", "    "];
        assert_eq!(run(AtEnd::of(&block), 0, &tokens).1.trim_end(), "a = 1\n    b = 2");
        assert_eq!(run(AtEnd::of(&block), 0, &tokens).0, 4, "no token behind the dedent");
        let one = place("def f():\n    ", Extent::Block { lines: 1 });
        assert_eq!(run(AtEnd::of(&one), 0, &tokens).1.trim_end(), "a = 1");
    }

    #[test]
    fn exactly_so_many_tokens_are_counted_behind_the_restated_word() {
        assert_eq!(run(Exactly::new(2), 0, &["a", "\n", "b"]), (2, "a\n".to_owned()));
        assert_eq!(
            run(Exactly::new(2), 3, &["re", "t", "urn", " x", "y"]),
            (4, "urn x".to_owned())
        );
        assert_eq!(run(Exactly::new(1), 3, &["re", "turn"]), (2, "urn".to_owned()));
        // A marker has no bytes, and is a token all the same.
        assert_eq!(run(Exactly::new(2), 1, &["x", "", "", "y"]), (3, String::new()));
        assert_eq!(Exactly::new(6).sampling().max_tokens, 22);
    }

    #[test]
    fn the_clock_cuts_between_words_and_lines() {
        for (text, kept) in [
            ("return valu", "return "),
            ("f(a, b)", "f(a, b)"),
            ("if x:\n    y = 1\n    z", "if x:\n    y = 1"),
            ("name", ""),
            ("\n    na", "\n    "),
            ("", ""),
        ] {
            assert_eq!(whole_words(text), kept, "{text:?}");
        }
    }
}
