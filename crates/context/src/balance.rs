//! Which brackets of a text have no partner, strings and comments aside.
//!
//! A completion that closes a bracket which the text after the cursor closes too breaks the code;
//! [`cut_repeated_closers`] says where to cut it.

use crate::{Language, LexKind, Lexer};

/// One bracket: its byte (`(`, `[`, `{`, `)`, `]` or `}`) and its byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bracket {
    pub byte: u8,
    pub offset: usize,
}

impl Bracket {
    /// The closing bracket for an opening one and for a closing one itself.
    pub fn closer(self) -> u8 {
        match self.byte {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            byte => byte,
        }
    }
}

/// What [`balance`] found, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brackets {
    pub unmatched_openers: Vec<Bracket>,
    pub unmatched_closers: Vec<Bracket>,
    /// The text ends inside a string (of any kind that the language has).
    pub ends_in_string: bool,
    /// The text ends inside a comment; a line comment without its line break counts.
    pub ends_in_comment: bool,
}

/// Open brackets, innermost last. A closer matches the innermost opener of its kind; openers of
/// other kinds that are skipped over stay unmatched.
#[derive(Clone, Default)]
pub(crate) struct BracketStack {
    open: Vec<Bracket>,
    skipped: Vec<Bracket>,
    /// How many of each kind are open: a closer without an opener is told without a search.
    counts: [usize; 3],
}

impl BracketStack {
    pub(crate) fn open(&mut self, bracket: Bracket) {
        self.counts[kind(bracket)] += 1;
        self.open.push(bracket);
    }

    /// The opener that `bracket` closes.
    pub(crate) fn close(&mut self, bracket: Bracket) -> Option<Bracket> {
        if self.counts[kind(bracket)] == 0 {
            return None;
        }
        while let Some(top) = self.open.pop() {
            self.counts[kind(top)] -= 1;
            if kind(top) == kind(bracket) {
                return Some(top);
            }
            self.skipped.push(top);
        }
        None
    }

    pub(crate) fn innermost(&self) -> Option<Bracket> {
        self.open.last().copied()
    }

    /// Offsets of the `max` innermost open brackets, outermost first.
    pub(crate) fn offsets(&self, max: usize) -> Vec<usize> {
        self.open[self.open.len().saturating_sub(max)..].iter().map(|b| b.offset).collect()
    }
}

fn kind(bracket: Bracket) -> usize {
    match bracket.byte {
        b'(' | b')' => 0,
        b'[' | b']' => 1,
        _ => 2,
    }
}

/// Unmatched brackets of `text`, read from its start as code.
pub fn balance(language: Language, text: &str) -> Brackets {
    let mut stack = BracketStack::default();
    let mut found = Brackets::default();
    let mut lexer = Lexer::new(language, text);
    let mut last = None;
    for lexeme in lexer.by_ref() {
        // The `${` of a template string is an opener of kind `{`.
        let bracket =
            Bracket { byte: text.as_bytes()[lexeme.range.end - 1], offset: lexeme.range.start };
        match lexeme.kind {
            LexKind::Open => stack.open(bracket),
            LexKind::Close if stack.close(bracket).is_none() => {
                found.unmatched_closers.push(bracket)
            }
            _ => {}
        }
        last = Some(lexeme);
    }
    let open_end = last.filter(|l| !l.closed && l.range.end == text.len()).map(|l| l.kind);
    found.ends_in_string = open_end == Some(LexKind::String) || lexer.in_template();
    found.ends_in_comment = open_end == Some(LexKind::Comment);
    found.unmatched_openers = stack.open;
    found.unmatched_openers.append(&mut stack.skipped);
    found.unmatched_openers.sort_by_key(|b| b.offset);
    found
}

/// Bytes of `completion` to keep so that it closes no bracket which `suffix` closes too.
///
/// Counts, for each kind of bracket, what `prefix` leaves open and `suffix` closes, and cuts
/// `completion` before the first of its closers that are too many; blanks before the cut go too.
/// `prefix` and `suffix` may be windows: closers that are too many without any completion are
/// nobody's fault.
pub fn cut_repeated_closers(
    language: Language,
    prefix: &str,
    completion: &str,
    suffix: &str,
) -> usize {
    let inserted = format!("{prefix}{completion}");
    let before = balance(language, prefix).unmatched_openers;
    let after = balance(language, &inserted).unmatched_openers;
    let count =
        |brackets: &[Bracket], closer| brackets.iter().filter(|b| b.closer() == closer).count();
    let closers = balance(language, suffix).unmatched_closers;
    let mut cut = completion.len();
    for closer in [b')', b']', b'}'] {
        let wanted = count(&closers, closer);
        let missing = |openers: &[Bracket]| wanted.saturating_sub(count(openers, closer));
        let too_many = missing(&after).saturating_sub(missing(&before));
        if too_many == 0 {
            continue;
        }
        // Closers of the completion that reach back into the prefix, in order.
        let reaching: Vec<usize> = reaching_back(language, &inserted, prefix.len(), closer);
        let keep = reaching.len().saturating_sub(too_many);
        if let Some(offset) = reaching.get(keep) {
            cut = cut.min(offset - prefix.len());
        }
    }
    if cut == completion.len() {
        return cut;
    }
    completion[..cut].trim_end().len()
}

/// Offsets of the brackets `closer` at or after `from` whose opener is before `from` or nowhere.
fn reaching_back(language: Language, text: &str, from: usize, closer: u8) -> Vec<usize> {
    let mut stack = BracketStack::default();
    let mut found = Vec::new();
    for lexeme in Lexer::new(language, text) {
        let bracket =
            Bracket { byte: text.as_bytes()[lexeme.range.end - 1], offset: lexeme.range.start };
        match lexeme.kind {
            LexKind::Open => stack.open(bracket),
            LexKind::Close => {
                let opener = stack.close(bracket);
                let reaches = opener.is_none_or(|o| o.offset < from);
                if bracket.offset >= from && bracket.byte == closer && reaches {
                    found.push(bracket.offset);
                }
            }
            _ => {}
        }
    }
    found
}
