//! Where a completion ends: [`first_syntactic_end`].
//!
//! Works on text alone, by lines, their indentation and their brackets (strings and comments lexed
//! roughly), because a completion under way is broken code. One line: up to the line break. A
//! block: the lines deeper than the line that opened it, and the line that closes its bracket;
//! never what closes a bracket that was open before that.
//!
//! Words used here: a *logical line* is a line with the lines it continues, back to where its
//! brackets opened. The *base* is the logical line whose end, or whose block's end, is looked for;
//! its indentation is what lines are compared to. Indentation is in columns, tabs going to
//! multiples of 8.

use crate::balance::{Bracket, BracketStack};
use crate::cursor::width;
use crate::scope::item_of_line;
use crate::{Language, LexKind, Lexer};

/// Only so much text before the cursor is looked at.
const MAX_PREFIX: usize = 32 << 10;

/// Only so much of a completion is looked at; more is cut.
const MAX_COMPLETION: usize = 64 << 10;

/// How much of a completion to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntacticEnd {
    /// Bytes of the completion to keep. Trailing blank lines are never kept.
    pub len: usize,
    /// The end has been seen: no longer completion that starts with this one would keep more. False
    /// while a completion that is still being generated may go on.
    pub reached: bool,
}

/// Bytes of `completion` to keep, given the text before the cursor (its last [`MAX_PREFIX`] bytes
/// count).
///
/// `multi_line` false: the rest of the line. After an opened block the completion may start with
/// the line break; then the block's first line is kept. `multi_line` true: the statement or block
/// that the cursor is in the head of, or, on a blank line, the body of the block that was just
/// opened, or else one statement.
pub fn first_syntactic_end(
    language: Language,
    prefix_tail: &str,
    completion: &str,
    multi_line: bool,
) -> usize {
    syntactic_end(language, prefix_tail, completion, multi_line).len
}

/// As [`first_syntactic_end`], also telling whether generating more could change it.
pub fn syntactic_end(
    language: Language,
    prefix_tail: &str,
    completion: &str,
    multi_line: bool,
) -> SyntacticEnd {
    let prefix = tail(language, prefix_tail);
    let bounded = &completion[..completion.floor_char_boundary(MAX_COMPLETION)];
    let mut end = if multi_line {
        block_end(language, prefix, bounded)
    } else {
        line_end(language, prefix, bounded)
    };
    end.reached |= bounded.len() < completion.len();
    end
}

/// Bytes of `completion` that its first `n` lines take, those before its first text not counted:
/// all of it where it has no more, else to the last of them after which nothing that the completion
/// opened is open. Where there is none, it is the first line.
pub fn first_lines(language: Language, prefix_tail: &str, completion: &str, n: usize) -> usize {
    let blank = completion.len() - completion.trim_start().len();
    let begun = completion[..blank].rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let text = completion.trim_end();
    let mut ends = text.match_indices('\n').map(|(at, _)| at).filter(|at| *at >= begun);
    let Some(most) = ends.nth(n.max(1) - 1) else { return completion.len() };
    let prefix = tail(language, prefix_tail);
    let joined = format!("{prefix}{}", &completion[..=most]);
    let text = Text::new(language, &joined);
    let closed = |i: &usize| {
        let (line, next) = (&text.lines[*i], &text.lines[i + 1]);
        let all_closed =
            next.inside.is_none() && next.open.last().is_none_or(|open| *open < prefix.len());
        !text.is_blank(*i) && line.end > prefix.len() && all_closed && !text.opens_block(*i)
    };
    let first = text.line_at(prefix.len());
    let last = (first..text.lines.len() - 1).rev().find(closed);
    let first_line = || completion[blank..].find(['\n', '\r']).map_or(most, |at| blank + at);
    let end = last.map_or_else(first_line, |i| text.lines[i].end - prefix.len());
    completion[..end].trim_end().len()
}

/// What opens a block at the end of a text.
pub(crate) struct Opened {
    /// Columns before the logical line that opens it.
    pub(crate) indent: usize,
    /// `(`, `[`, `{`, `:`, or `>` for an arrow.
    pub(crate) by: u8,
}

/// The block that the end of `before` opens: the last line of code ends with an open bracket, with
/// the `:` of a Python block or of a `case`, or with an arrow. Comments, blank lines and, in
/// Python, a docstring after it do not matter.
pub(crate) fn opened_block(language: Language, before: &str) -> Option<Opened> {
    let text = Text::new(language, tail(language, before));
    let last = (0..text.lines.len()).rev().find(|i| text.is_code(*i))?;
    let indent = text.lines[text.logical_start(last)].indent;
    text.opens_block(last).then(|| Opened { indent, by: text.last_code_byte(last) })
}

/// The end of a text from which lexing may start: the last [`MAX_PREFIX`] bytes, less what comes
/// before the first line that looks like the head of an item. Any other place may be inside a
/// string of several lines, and then everything after it would be taken for its contrary.
pub(crate) fn tail(language: Language, prefix: &str) -> &str {
    if prefix.len() <= MAX_PREFIX {
        return prefix;
    }
    let window = &prefix[prefix.floor_char_boundary(prefix.len() - MAX_PREFIX)..];
    let Some(first) = window.find('\n') else { return window };
    let mut at = first + 1;
    let window_line = at;
    for line in window[at..].split_inclusive('\n') {
        let trimmed = line.trim();
        let comment = trimmed.starts_with(['*', '/', '#', '>']);
        if !comment && trimmed.ends_with(['{', ':']) && item_of_line(language, trimmed).is_some() {
            return &window[at..];
        }
        at += line.len();
    }
    &window[window_line..]
}

fn line_end(language: Language, prefix: &str, completion: &str) -> SyntacticEnd {
    let Some(first) = completion.find(['\n', '\r']) else {
        return SyntacticEnd { len: completion.len(), reached: false };
    };
    if !completion[..first].trim().is_empty() {
        return SyntacticEnd { len: completion[..first].trim_end().len(), reached: true };
    }
    let current = prefix.rsplit(['\n', '\r']).next().unwrap_or("");
    if current.trim().is_empty() || opened_block(language, prefix).is_none() {
        return SyntacticEnd { len: 0, reached: true };
    }
    let rest = completion.trim_start();
    if rest.is_empty() {
        return SyntacticEnd { len: 0, reached: false };
    }
    let start = completion.len() - rest.len();
    match rest.find(['\n', '\r']) {
        Some(i) => SyntacticEnd { len: start + rest[..i].trim_end().len(), reached: true },
        None => SyntacticEnd { len: completion.len(), reached: false },
    }
}

fn block_end(language: Language, prefix: &str, completion: &str) -> SyntacticEnd {
    if completion.trim().is_empty() {
        return SyntacticEnd { len: 0, reached: false };
    }
    let joined = format!("{prefix}{completion}");
    let text = Text::new(language, &joined);
    let cursor = prefix.len();
    let current = text.line_at(cursor);
    let mut base = Base::find(&text, current, cursor);

    let mut end = None;
    let mut kept_code = current;
    for i in current..text.lines.len() {
        let line = &text.lines[i];
        // What the completion has of this line.
        let start = line.start.max(cursor);
        // A completion may start with the second half of a line break: then the line has ended
        // already.
        let content = &joined[start..line.end.max(start)];
        let cursors_own = i == current && !text.is_blank(i);
        if content.trim().is_empty() && !cursors_own {
            continue;
        }
        if i > base.first_line && !base.keeps(&text, i, kept_code) {
            // The first word may decide (`case`, `else`): it must be whole.
            let whole = line.end < joined.len() || text.words_of(i).nth(1).is_some();
            return SyntacticEnd { len: end.unwrap_or(0), reached: whole };
        }
        let stop = line
            .brackets
            .iter()
            .find(|b| b.close && b.opener.is_none_or(|o| o < base.from) && b.offset >= cursor);
        if let Some(bracket) = stop {
            if i > current {
                let len = joined[..bracket.offset].trim_end().len().max(cursor) - cursor;
                return SyntacticEnd { len: end.unwrap_or(0).max(len), reached: true };
            }
            // On the cursor's own line it closes what the cursor is in; nothing further down can
            // belong to it.
            let rest_of_line = start + content.trim_end().len() - cursor;
            if line.end < joined.len() {
                return SyntacticEnd { len: rest_of_line, reached: true };
            }
        }
        end = Some(start + content.trim_end().len() - cursor);
        if text.is_code(i) {
            kept_code = i;
            base.opened |= text.opens_body(i) && (language.is_indented() || i == base.first_line);
        }
    }
    let last = text.lines.last().map_or(0, |l| l.start.max(cursor));
    if joined[last..].trim().is_empty() {
        SyntacticEnd { len: end.unwrap_or(0), reached: false }
    } else {
        SyntacticEnd { len: completion.len(), reached: false }
    }
}

/// What lines are measured against.
struct Base {
    indent: usize,
    /// Brackets opened from this offset on may be closed.
    from: usize,
    /// Lines after this one are asked whether they still belong.
    first_line: usize,
    /// A whole statement is looked for, which starts in the completion: its further clauses belong
    /// to it.
    statement: bool,
    /// A block without brackets is open: of Python, or of a `case`.
    opened: bool,
}

impl Base {
    fn find(text: &Text, current: usize, cursor: usize) -> Base {
        let before = &text.text[text.lines[current].start..cursor];
        if !before.trim().is_empty() || text.lines[current].inside.is_some() {
            let head = text.logical_start(current);
            return Base {
                indent: text.lines[head].indent,
                from: text.lines[head].start,
                first_line: current,
                statement: false,
                opened: false,
            };
        }
        // On a blank line: the body of a block if one was just opened and what comes is deeper,
        // else a statement.
        let first = (current..text.lines.len()).find(|i| !text.is_blank(*i)).unwrap_or(current);
        let indent = text.lines[first].indent;
        if let Some(opener) = (0..current).rev().find(|i| text.is_code(*i))
            && text.opens_block(opener)
        {
            let head = text.logical_start(opener);
            if indent > text.lines[head].indent {
                return Base {
                    indent: text.lines[head].indent,
                    from: text.lines[head].start,
                    first_line: first,
                    statement: false,
                    opened: text.opens_body(opener),
                };
            }
        }
        Base {
            indent,
            from: text.lines[first].start,
            first_line: first,
            statement: true,
            opened: false,
        }
    }

    /// Whether line `i` (not blank) still belongs; `previous` is the last line of code that does.
    fn keeps(&self, text: &Text, i: usize, previous: usize) -> bool {
        let line = &text.lines[i];
        if line.inside.is_some() {
            return true;
        }
        let depth = line.depth_from(self.from);
        let continued = text.lines[previous].ends_with_backslash;
        if continued || text.continues(i) {
            return true;
        }
        // What a statement without an open block or bracket is followed by is the next statement.
        let ended = depth == 0 && !self.opened && !text.is_open_ended(previous);
        if line.indent > self.indent {
            return !ended;
        }
        if let Some(first) = line.brackets.first().filter(|b| b.close && text.is_first(i, b.offset))
        {
            return first.opener.is_some_and(|o| o >= self.from);
        }
        let label = text.is_label(i) && (line.indent == self.indent || text.language.is_c());
        // Nobody indents what is in a namespace.
        let flat = text.language == Language::Cpp
            && matches!(text.first_word(text.line_at(self.from)), "namespace" | "extern");
        if depth > 0 && (label || (flat && line.indent == self.indent)) {
            return true;
        }
        if self.statement
            && depth == 0
            && line.indent == self.indent
            && is_clause(text.first_word(i))
        {
            return true;
        }
        if depth > 0 && text.language.is_c() && text.first_byte(i) == b'#' {
            return true;
        }
        // A brace on a line of its own, under the head it belongs to.
        let own_brace = text.first_byte(i) == b'{'
            && text.content(i).trim() == "{"
            && line.indent == self.indent;
        own_brace
            && text.language.has_braces()
            && !matches!(text.last_code_byte(previous), b';' | b'}' | b'{')
    }
}

/// One bracket of a line, with the offset of the bracket it closes.
struct LineBracket {
    offset: usize,
    close: bool,
    opener: Option<usize>,
}

struct Line {
    start: usize,
    /// Before the line break.
    end: usize,
    indent: usize,
    /// The line starts inside the string or comment that started on this line.
    inside: Option<usize>,
    /// Innermost bracket that is open where the line starts, and the offsets of all of them,
    /// outermost first.
    open: Vec<usize>,
    innermost: Option<Bracket>,
    brackets: Vec<LineBracket>,
    /// First and last code on the line: byte ranges of lexemes that are neither blank nor comment.
    first: Option<(LexKind, usize)>,
    last: Option<(LexKind, usize, usize)>,
    ends_with_backslash: bool,
}

impl Line {
    fn depth_from(&self, offset: usize) -> usize {
        self.open.iter().rev().take_while(|o| **o >= offset).count()
    }
}

/// A text by lines.
struct Text<'a> {
    language: Language,
    text: &'a str,
    lines: Vec<Line>,
}

/// Open brackets remembered for each line; deeper nesting counts as this deep.
const MAX_DEPTH: usize = 64;

impl<'a> Text<'a> {
    fn new(language: Language, text: &'a str) -> Text<'a> {
        let mut lines = vec![Line::at(0, None, &BracketStack::default())];
        let mut stack = BracketStack::default();
        for lexeme in Lexer::new(language, text) {
            let current = lines.len() - 1;
            let bytes = &text.as_bytes()[lexeme.range.clone()];
            let line = &mut lines[current];
            match lexeme.kind {
                LexKind::Newline => {
                    line.end = lexeme.range.start;
                    lines.push(Line::at(lexeme.range.end, None, &stack));
                    continue;
                }
                LexKind::Open | LexKind::Close => {
                    let bracket =
                        Bracket { byte: bytes[bytes.len() - 1], offset: lexeme.range.start };
                    let close = lexeme.kind == LexKind::Close;
                    let opener = if close { stack.close(bracket).map(|o| o.offset) } else { None };
                    if !close {
                        stack.open(bracket);
                    }
                    line.brackets.push(LineBracket { offset: bracket.offset, close, opener });
                }
                _ => {}
            }
            if !matches!(lexeme.kind, LexKind::Blank | LexKind::Comment) {
                line.first.get_or_insert((lexeme.kind, lexeme.range.start));
                line.last = Some((lexeme.kind, lexeme.range.start, lexeme.range.end));
                line.ends_with_backslash = bytes == b"\\";
            }
            if matches!(lexeme.kind, LexKind::String | LexKind::Comment) {
                // Lines that start inside it; the last of them goes on after it.
                let starts = line_starts(bytes).map(|i| lexeme.range.start + i);
                for start in starts {
                    if let Some(line) = lines.last_mut() {
                        line.end =
                            start - if text.as_bytes()[..start].ends_with(b"\r\n") { 2 } else { 1 };
                    }
                    let mut line = Line::at(start, Some(current), &stack);
                    if lexeme.kind == LexKind::String {
                        line.last = Some((lexeme.kind, start, lexeme.range.end));
                    }
                    lines.push(line);
                }
            }
        }
        let mut text = Text { language, text, lines };
        if let Some(line) = text.lines.last_mut() {
            line.end = text.text.len();
        }
        for i in 0..text.lines.len() {
            text.lines[i].indent = width(text.content(i));
        }
        text
    }

    fn content(&self, i: usize) -> &'a str {
        &self.text[self.lines[i].start..self.lines[i].end]
    }

    fn is_blank(&self, i: usize) -> bool {
        self.content(i).trim().is_empty()
    }

    /// Index of the line that `offset` is on.
    fn line_at(&self, offset: usize) -> usize {
        self.lines.partition_point(|l| l.start <= offset).saturating_sub(1)
    }

    /// Whether there is code on the line: not only comments, and not only the docstring of a Python
    /// block.
    fn is_code(&self, i: usize) -> bool {
        let line = &self.lines[i];
        if self.language.is_indented() {
            let head = line.inside.unwrap_or(i);
            let starts = matches!(self.lines[head].first, Some((LexKind::String, _)));
            if starts
                && self.lines[head].open.is_empty()
                && line.last.is_some_and(|(kind, ..)| kind == LexKind::String)
            {
                return false;
            }
        }
        line.last.is_some()
    }

    /// First line of the logical line that line `i` belongs to.
    fn logical_start(&self, i: usize) -> usize {
        let mut head = i;
        // Each round goes up; broken code may make it go far, never forever.
        loop {
            let line = &self.lines[head];
            let closers =
                line.brackets.iter().filter_map(|b| b.opener).map(|o| self.line_at(o)).min();
            // Arguments belong to their call; but a block among them has an end of its own.
            let opens = matches!(line.last, Some((LexKind::Open, ..)));
            let expression =
                line.innermost.filter(|b| b.byte != b'{' && !opens).map(|b| self.line_at(b.offset));
            let continued = (head > 0 && self.is_continued(head - 1, head)).then(|| head - 1);
            let up = [closers, expression, continued, line.inside].into_iter().flatten().min();
            match up {
                Some(up) if up < head => head = up,
                _ => return head,
            }
        }
    }

    /// Line `i` is not whole without line `next`, the one after it.
    fn is_continued(&self, i: usize, next: usize) -> bool {
        let line = &self.lines[i];
        let Some((_, _, end)) = line.last else { return false };
        let code = &self.text[line.start..end.max(line.start)];
        // The initialisers of a constructor: `A::A()\n  : a(1),\n    b(2) {`.
        let initialisers = self.language == Language::Cpp
            && (self.content(next).trim_start().starts_with(": ")
                || (code.ends_with(',') && self.content(next).trim_end().ends_with('{')));
        line.ends_with_backslash
            || initialisers
            || (self.language.has_braces() && (code.ends_with("&&") || code.ends_with("||")))
    }

    fn words_of(&self, i: usize) -> impl Iterator<Item = &'a str> {
        let language = self.language;
        self.content(i)
            .split_inclusive(move |c: char| !language.is_word_char(c))
            .filter(|w| !w.trim().is_empty())
    }

    fn first_word(&self, i: usize) -> &'a str {
        let content = self.content(i).trim_start();
        let len = content.find(|c: char| !self.language.is_word_char(c)).unwrap_or(content.len());
        &content[..len]
    }

    fn first_byte(&self, i: usize) -> u8 {
        self.content(i).trim_start().bytes().next().unwrap_or(0)
    }

    fn is_first(&self, i: usize, offset: usize) -> bool {
        self.lines[i].first.is_some_and(|(_, start)| start == offset)
    }

    fn last_code_byte(&self, i: usize) -> u8 {
        self.lines[i]
            .last
            .map_or(0, |(_, _, end)| self.text.as_bytes()[end.min(self.lines[i].end).max(1) - 1])
    }

    /// A `case`, `default` or access label, which stands as deep as the block it is in.
    fn is_label(&self, i: usize) -> bool {
        match self.first_word(i) {
            "case" | "default" => true,
            // Access labels, and what `goto` goes to.
            word if self.language.is_c() => {
                !word.is_empty() && self.content(i).trim().strip_prefix(word) == Some(":")
            }
            _ => false,
        }
    }

    /// The line goes on with the expression of the line before it: `.method()`, `?.x`, `&& y`.
    fn continues(&self, i: usize) -> bool {
        let content = self.content(i).trim_start();
        let named = |rest: &str| {
            rest.starts_with(|c: char| self.language.is_word_char(c) && !c.is_ascii_digit())
        };
        self.language.has_braces()
            && (content.strip_prefix('.').is_some_and(named)
                || content.strip_prefix("?.").is_some_and(named)
                || content.starts_with("&& ")
                || content.starts_with("|| ")
                || (content.starts_with("->") && self.language.is_c()))
    }

    fn opens_block(&self, i: usize) -> bool {
        let Some((kind, start, end)) = self.lines[i].last else { return false };
        let end = end.min(self.lines[i].end).max(start);
        match (kind, &self.text[start..end]) {
            (LexKind::Open, _) => true,
            (LexKind::Other, ":") if self.language.is_indented() => {
                let head = self.logical_start(i);
                let in_brackets = self.depth_at(i, start)
                    > self.lines[head].open.len().min(self.depth_at(i, start));
                !in_brackets && is_python_block(self.first_word(head))
            }
            // YAML, a list in prose: only deeper lines are kept, so a wrong guess costs nothing.
            (LexKind::Other, ":") => self.language == Language::Text || self.is_label(i),
            (LexKind::Other, ">") => {
                let arrow = if self.language == Language::Java { "->" } else { "=>" };
                self.language.has_braces() && self.text[..end].ends_with(arrow)
            }
            _ => self.language == Language::Text && opens_by_word(self.content(i)),
        }
    }

    /// Brackets open at `offset` on line `i`.
    fn depth_at(&self, i: usize, offset: usize) -> usize {
        let before = self.lines[i].brackets.iter().take_while(|b| b.offset < offset);
        before.fold(self.lines[i].open.len(), |depth, b| {
            if b.close { depth.saturating_sub(1) } else { depth + 1 }
        })
    }

    /// Line `i` opens a block that no bracket closes.
    fn opens_body(&self, i: usize) -> bool {
        self.last_code_byte(i) == b':' && self.opens_block(i)
    }

    /// Whether a statement may go on after line `i`, no bracket being open.
    fn is_open_ended(&self, i: usize) -> bool {
        match self.last_code_byte(i) {
            b':' => true,
            b';' | b'}' => false,
            _ => self.language.has_braces(),
        }
    }
}

impl Line {
    fn at(start: usize, inside: Option<usize>, stack: &BracketStack) -> Line {
        Line {
            start,
            end: start,
            indent: 0,
            inside,
            open: stack.offsets(MAX_DEPTH),
            innermost: stack.innermost(),
            brackets: Vec::new(),
            first: None,
            last: None,
            ends_with_backslash: false,
        }
    }
}

/// Offsets just after each line break in `bytes`.
fn line_starts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let breaks = move |i: &usize| {
        bytes[*i] == b'\n' || (bytes[*i] == b'\r' && bytes.get(i + 1) != Some(&b'\n'))
    };
    (0..bytes.len()).filter(breaks).map(|i| i + 1)
}

/// A clause that goes on with the statement before it, as deep as that one.
fn is_clause(word: &str) -> bool {
    matches!(word, "elif" | "else" | "except" | "catch" | "finally")
}

/// Whether a line of a language without a grammar ends in a word that opens a block there (shell,
/// Lua, Ruby, Elixir, Pascal), or begins with one that does, and holds nothing else that would end
/// it. Only deeper lines are kept, so a wrong guess costs nothing.
fn opens_by_word(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (first, last) =
        (words.next().unwrap_or(""), line.split_whitespace().next_back().unwrap_or(""));
    let opens =
        matches!(last, "do" | "then" | "else" | "begin" | "repeat" | "try" | "ensure" | "rescue");
    let names = matches!(first, "def" | "class" | "module" | "function" | "local");
    opens
        || names
            && (first != "local" || words.next() == Some("function"))
            && last != "end"
            && !line.contains(" = ")
}

fn is_python_block(word: &str) -> bool {
    matches!(
        word,
        "def"
            | "class"
            | "if"
            | "elif"
            | "else"
            | "for"
            | "while"
            | "try"
            | "except"
            | "finally"
            | "with"
            | "async"
            | "match"
            | "case"
    )
}
