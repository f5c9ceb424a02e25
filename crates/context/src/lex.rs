//! A rough lexer for every language: strings, comments, brackets, words, line breaks.
//!
//! Knows just enough not to take a bracket in a string for a bracket. It never fails: what it does
//! not understand is [`LexKind::Other`]. Used where a tree is not to be had or not to be trusted:
//! the text left of a cursor, and completions, which are broken code by nature. Where it guesses (a
//! `/` in JavaScript, a text that starts inside a string) a wrong guess ends at the next line
//! break, except inside multi-line strings and comments.

use std::ops::Range;

use crate::Language;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexKind {
    /// One of `( [ {`, also the `${` of a template string.
    Open,
    /// One of `) ] }`.
    Close,
    /// `\n`, `\r\n` or `\r`.
    Newline,
    /// Spaces and tabs.
    Blank,
    Comment,
    /// Quotes included; also character literals and regular expressions.
    String,
    /// An identifier, a keyword or a number.
    Word,
    /// Any other single character.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lexeme {
    pub kind: LexKind,
    pub range: Range<usize>,
    /// False for a string or comment that was still open where it had to end: at a line break or at
    /// the text's end.
    pub closed: bool,
}

/// Iterates over the lexemes of a text; their ranges cover it without gaps.
pub struct Lexer<'a> {
    language: Language,
    text: &'a str,
    at: usize,
    /// For each template string whose `${` is open: how many `{` are open inside it.
    templates: Vec<usize>,
    /// The text goes on inside a template string.
    in_template: bool,
    /// What came last, blanks and comments aside: decides whether `/` divides or starts a regular
    /// expression.
    after_operand: bool,
    /// Bytes that may still be read in vain on this line, looking for ends of regular expressions:
    /// a long line of slashes must not be read once for each of them.
    regex_budget: usize,
}

const REGEX_BUDGET: usize = 32 << 10;

impl<'a> Lexer<'a> {
    pub fn new(language: Language, text: &'a str) -> Lexer<'a> {
        Lexer {
            language,
            text,
            at: 0,
            templates: Vec::new(),
            in_template: false,
            after_operand: false,
            regex_budget: REGEX_BUDGET,
        }
    }

    /// After the last lexeme: the text ended inside a template string, just after a `}` of it.
    pub fn in_template(&self) -> bool {
        self.in_template
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn starts_with(&self, what: &str) -> bool {
        self.bytes()[self.at..].starts_with(what.as_bytes())
    }

    fn lexeme(&mut self, kind: LexKind, len: usize) -> Lexeme {
        self.finish(kind, self.at + len, true)
    }

    fn finish(&mut self, kind: LexKind, end: usize, closed: bool) -> Lexeme {
        let range = self.at..end;
        self.at = end;
        if kind == LexKind::Newline {
            self.regex_budget = REGEX_BUDGET;
        }
        if !matches!(kind, LexKind::Blank | LexKind::Newline | LexKind::Comment) {
            self.after_operand = match kind {
                LexKind::Word => !matches!(
                    &self.text[range.clone()],
                    "return"
                        | "typeof"
                        | "case"
                        | "in"
                        | "of"
                        | "delete"
                        | "void"
                        | "throw"
                        | "new"
                        | "else"
                        | "do"
                        | "await"
                        | "yield"
                ),
                LexKind::Close | LexKind::String => true,
                _ => false,
            };
        }
        Lexeme { kind, range, closed }
    }

    /// A comment or string from `self.at` up to and with the next `end` that starts at or after
    /// `from`.
    fn until(&mut self, kind: LexKind, from: usize, end: &str) -> Lexeme {
        match self.bytes().get(from..).and_then(|rest| find(rest, end.as_bytes())) {
            Some(i) => self.finish(kind, from + i + end.len(), true),
            None => self.finish(kind, self.text.len(), false),
        }
    }

    fn line_comment(&mut self) -> Lexeme {
        let rest = &self.bytes()[self.at..];
        let len = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
        // Open at the text's end: what is appended belongs to it.
        let at_end = self.at + len == self.text.len();
        self.finish(LexKind::Comment, self.at + len, !at_end)
    }

    /// `/* … */`, nested in Rust.
    fn block_comment(&mut self) -> Lexeme {
        if self.language != Language::Rust {
            return self.until(LexKind::Comment, self.at + 2, "*/");
        }
        let bytes = self.bytes();
        let (mut depth, mut i) = (1, self.at + 2);
        while i + 1 < bytes.len() {
            match &bytes[i..i + 2] {
                b"/*" => (depth, i) = (depth + 1, i + 2),
                b"*/" => (depth, i) = (depth - 1, i + 2),
                _ => i += 1,
            }
            if depth == 0 {
                return self.finish(LexKind::Comment, i, true);
            }
        }
        self.finish(LexKind::Comment, bytes.len(), false)
    }

    /// A quoted string with backslash escapes from `self.at`, whose content starts at `from`.
    fn quoted(&mut self, from: usize, end: &[u8], multi_line: bool) -> Lexeme {
        let bytes = self.bytes();
        let mut i = from;
        while i < bytes.len() {
            if bytes[i] == b'\\' {
                // An escaped line break goes on, `\r\n` as one.
                i += if bytes[i + 1..].starts_with(b"\r\n") { 3 } else { 2 };
            } else if bytes[i..].starts_with(end) {
                return self.finish(LexKind::String, i + end.len(), true);
            } else if !multi_line && matches!(bytes[i], b'\n' | b'\r') {
                return self.finish(LexKind::String, i, false);
            } else {
                i += 1;
            }
        }
        self.finish(LexKind::String, bytes.len(), false)
    }

    /// The rest of a template string, up to its end or to the next `${`.
    fn template(&mut self, from: usize) -> Lexeme {
        let bytes = self.bytes();
        let mut i = from;
        while i < bytes.len() {
            match bytes[i] {
                b'\\' => i += 2,
                b'`' => {
                    self.in_template = false;
                    return self.finish(LexKind::String, i + 1, true);
                }
                b'$' if bytes.get(i + 1) == Some(&b'{') => {
                    self.in_template = false;
                    if i > self.at {
                        self.templates.push(usize::MAX);
                        return self.finish(LexKind::String, i, true);
                    }
                    self.templates.push(0);
                    return self.lexeme(LexKind::Open, 2);
                }
                _ => i += 1,
            }
        }
        self.in_template = true;
        self.finish(LexKind::String, bytes.len(), false)
    }

    /// `r"…"`, `r#"…"#` and their byte and C variants; `None` if there is none here.
    fn rust_raw_string(&mut self) -> Option<Lexeme> {
        let rest = &self.bytes()[self.at..];
        let prefix = [&b"r"[..], b"br", b"cr"].into_iter().find(|p| rest.starts_with(p))?.len();
        let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
        if rest.get(prefix + hashes) != Some(&b'"') {
            return None;
        }
        let end = format!("\"{}", "#".repeat(hashes));
        Some(self.until(LexKind::String, self.at + prefix + hashes + 1, &end))
    }

    /// `R"delimiter(…)delimiter"`.
    fn cpp_raw_string(&mut self) -> Option<Lexeme> {
        let rest = self.text.get(self.at..)?.strip_prefix("R\"")?;
        let delimiter = &rest[..rest.bytes().take(17).position(|b| b == b'(')?];
        let end = format!("){delimiter}\"");
        Some(self.until(LexKind::String, self.at + 3 + delimiter.len(), &end))
    }

    /// A `'` in Rust: a character literal or a lifetime.
    fn rust_tick(&mut self) -> Lexeme {
        let rest = &self.text[self.at + 1..];
        let mut chars = rest.chars();
        match (chars.next(), chars.next()) {
            (Some('\\'), _) => self.quoted(self.at + 1, b"'", false),
            (Some(c), Some('\'')) if c != '\'' => self.lexeme(LexKind::String, 2 + c.len_utf8()),
            _ => self.lexeme(LexKind::Other, 1),
        }
    }

    /// `/pattern/flags`; `None` if the line ends before the pattern does.
    fn regex(&mut self) -> Option<Lexeme> {
        let bytes = self.bytes();
        let (mut i, mut in_class) = (self.at + 1, false);
        loop {
            match bytes.get(i).unwrap_or(&b'\n') {
                _ if i - self.at > self.regex_budget => {
                    self.regex_budget = 0;
                    return None;
                }
                b'\n' | b'\r' => {
                    self.regex_budget -= i - self.at;
                    return None;
                }
                b'\\' => i += 1,
                b'[' => in_class = true,
                b']' => in_class = false,
                b'/' if !in_class => break,
                _ => {}
            }
            i += 1;
        }
        i += 1 + bytes[i + 1..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        Some(self.finish(LexKind::String, i, true))
    }

    fn word(&mut self) -> Lexeme {
        let rest = &self.text[self.at..];
        let mut len = rest
            .char_indices()
            .find(|(_, c)| !self.language.is_word_char(*c))
            .map_or(rest.len(), |(i, _)| i);
        // C++ digit separators: the tick in 1'000 starts no character literal.
        if self.language == Language::Cpp && rest.as_bytes()[0].is_ascii_digit() {
            while rest.as_bytes().get(len) == Some(&b'\'')
                && rest.as_bytes().get(len + 1).is_some_and(u8::is_ascii_alphanumeric)
            {
                let more = &rest[len + 1..];
                len += 1 + more.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(more.len());
            }
        }
        self.lexeme(LexKind::Word, len)
    }

    fn bracket(&mut self, byte: u8) -> Lexeme {
        let kind = if matches!(byte, b'(' | b'[' | b'{') { LexKind::Open } else { LexKind::Close };
        if let Some(open) = self.templates.last_mut() {
            match (byte, *open) {
                (b'{', _) => *open += 1,
                (b'}', 0) => {
                    self.templates.pop();
                    self.in_template = true;
                }
                (b'}', _) => *open -= 1,
                _ => {}
            }
        }
        self.lexeme(kind, 1)
    }

    fn quote(&mut self, byte: u8) -> Option<Lexeme> {
        use Language::*;
        let triple = match byte {
            b'"' => "\"\"\"",
            _ => "'''",
        };
        let from = self.at + 1;
        match (self.language, byte) {
            (Text, _) => None,
            (Python, _) if self.starts_with(triple) => {
                Some(self.quoted(self.at + 3, triple.as_bytes(), true))
            }
            (Java, b'"') if self.starts_with(triple) => {
                Some(self.quoted(self.at + 3, triple.as_bytes(), true))
            }
            (Python, b'`') => None,
            (Rust, b'\'') => Some(self.rust_tick()),
            (Rust, b'"') => Some(self.quoted(from, b"\"", true)),
            (Go, b'`') => Some(self.until(LexKind::String, from, "`")),
            (JavaScript | TypeScript | Tsx, b'`') => Some(self.template(from)),
            (_, b'`') => None,
            _ => Some(self.quoted(from, &[byte], false)),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Lexeme;

    fn next(&mut self) -> Option<Lexeme> {
        let rest = &self.bytes()[self.at..];
        let byte = *rest.first()?;
        if self.in_template {
            return Some(self.template(self.at));
        }
        if self.templates.last() == Some(&usize::MAX) {
            // The string part before `${` has been given out; now the `${` itself.
            *self.templates.last_mut()? = 0;
            return Some(self.lexeme(LexKind::Open, 2));
        }
        let slashes = !matches!(self.language, Language::Python | Language::Text);
        let lexeme = match byte {
            b'\r' if rest.starts_with(b"\r\n") => self.lexeme(LexKind::Newline, 2),
            b'\n' | b'\r' => self.lexeme(LexKind::Newline, 1),
            b' ' | b'\t' => {
                let len =
                    rest.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(rest.len());
                self.lexeme(LexKind::Blank, len)
            }
            b'#' if self.language == Language::Python => self.line_comment(),
            b'/' if slashes && self.peek(1) == b'/' => self.line_comment(),
            b'/' if slashes && self.peek(1) == b'*' => self.block_comment(),
            b'/' if self.language.is_javascript() && !self.after_operand => match self.regex() {
                Some(lexeme) => lexeme,
                None => self.lexeme(LexKind::Other, 1),
            },
            b'(' | b'[' | b'{' | b')' | b']' | b'}' => self.bracket(byte),
            b'"' | b'\'' | b'`' => match self.quote(byte) {
                Some(lexeme) => lexeme,
                None => self.lexeme(LexKind::Other, 1),
            },
            b'r' | b'b' | b'c' if self.language == Language::Rust => match self.rust_raw_string() {
                Some(lexeme) => lexeme,
                None => self.word(),
            },
            b'R' if self.language == Language::Cpp => match self.cpp_raw_string() {
                Some(lexeme) => lexeme,
                None => self.word(),
            },
            _ => {
                let c = self.text[self.at..].chars().next()?;
                if self.language.is_word_char(c) {
                    self.word()
                } else {
                    self.lexeme(LexKind::Other, c.len_utf8())
                }
            }
        };
        Some(lexeme)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
