//! [`cursor_facts`]: what the text around the cursor says about the completion that is wanted there.

use lacuna_text::Rope;

use crate::stop::opened_block;
use crate::{Language, LexKind, Lexer, SyntaxTree};

/// Facts about one place in a text. Byte offsets are of the whole text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CursorFacts {
    pub in_comment: bool,
    /// Inside the quotes, not merely next to them. Code in an f-string or a template string is not
    /// in the string.
    pub in_string: bool,
    /// Text of the line left of the cursor (at most [`MAX_LINE`] bytes of it).
    pub line_prefix: String,
    /// Text of the line right of the cursor, without the line break (at most [`MAX_LINE`] bytes of
    /// it).
    pub line_suffix: String,
    /// Where the identifier or number that ends at the cursor starts; the cursor itself if none
    /// does.
    pub word_start: usize,
    /// Spaces and tabs at the start of the line, up to the cursor.
    pub indent: String,
    /// The text left of the cursor on this line ends with what opens a block: `:` in Python, `{`
    /// elsewhere, a `case` label, an arrow. Not `(` and `[`: what follows them is mostly wanted on
    /// the same line.
    pub opens_block: bool,
    /// What the line of the cursor, or the last line of code above a blank one, opens has no body
    /// yet: the next line of code is not deeper.
    pub body_is_empty: bool,
    /// The cursor is on a blank line, and the last line of code before it (docstrings aside) opens
    /// a block that has no body yet.
    pub in_empty_block: bool,
    /// There is code right of the cursor on this line, other than closing brackets, quotes, `;` and
    /// `,`.
    pub mid_line: bool,
}

/// No more of a line than this is looked at.
pub const MAX_LINE: usize = 4096;

/// How far back the text is read to learn whether the cursor is in a string, a comment, or a new
/// block.
const MAX_LOOK_BACK: usize = 64 << 10;

/// Facts about the place `byte` (clamped to the text, rounded down to a character) of `rope`, whose
/// tree is `tree`.
pub fn cursor_facts(tree: &SyntaxTree, rope: &Rope, byte: usize) -> CursorFacts {
    let language = tree.language();
    let cursor = floor_char(rope, byte);
    let line = rope.byte_to_line(cursor);
    let line_start = rope.line_to_byte(line);
    let line_end =
        if line + 1 < rope.len_lines() { rope.line_to_byte(line + 1) } else { rope.len_bytes() };

    let line_prefix =
        text(rope, line_start.max(ceil_char(rope, cursor.saturating_sub(MAX_LINE))), cursor);
    let mut line_suffix = text(rope, cursor, line_end.min(cursor + MAX_LINE));
    line_suffix.truncate(line_suffix.trim_end_matches(['\n', '\r']).len());

    let word = line_prefix
        .chars()
        .rev()
        .take_while(|c| language.is_word_char(*c))
        .map(char::len_utf8)
        .sum::<usize>();
    let indent_len = line_prefix.len() - line_prefix.trim_start_matches([' ', '\t']).len();
    let mid_line = line_suffix.chars().any(|c| !c.is_whitespace() && !")]}>\"'`;,".contains(c));

    let look_back = window_start(rope, line_start, cursor);
    let before = text(rope, look_back, cursor);
    let (in_comment, in_string) = match lexed_state(language, &before) {
        // A window that starts inside a string misleads the lexer: ask the tree if there is one.
        _ if look_back > 0 && tree.is_present() => tree_state(tree, cursor),
        state => state,
    };
    let code = !in_comment && !in_string;
    let blank_prefix = line_prefix.trim().is_empty();
    let opened = opened_block(language, &before).filter(|_| code);
    let body_is_empty = opened
        .as_ref()
        .is_some_and(|o| next_code_width(rope, line + 1).is_none_or(|next| next <= o.indent));
    CursorFacts {
        in_comment,
        in_string,
        word_start: cursor - word,
        indent: line_prefix[..indent_len].to_string(),
        opens_block: !blank_prefix
            && opened.as_ref().is_some_and(|o| opens_statements(language, o.by)),
        body_is_empty,
        in_empty_block: blank_prefix && line_suffix.trim().is_empty() && body_is_empty,
        mid_line,
        line_prefix,
        line_suffix,
    }
}

fn opens_statements(language: Language, by: u8) -> bool {
    match by {
        b'(' | b'[' => false,
        b'{' => !language.is_indented(),
        _ => true,
    }
}

/// Indentation of the next line that is not blank, from line `next` on.
fn next_code_width(rope: &Rope, next: usize) -> Option<usize> {
    let lines = rope.lines_at(next.min(rope.len_lines())).take(1000);
    let mut starts = lines.map(|l| l.chars().take(MAX_LINE).collect::<String>());
    starts.find(|l| !l.trim().is_empty()).map(|l| width(&l))
}

/// Columns of the blanks at the start of a line; a tab goes to the next multiple of 8.
pub(crate) fn width(line: &str) -> usize {
    line.bytes()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .fold(0, |w, b| if b == b'\t' { (w / 8 + 1) * 8 } else { w + 1 })
}

/// (in comment, in string) at the end of `before`, as the lexer has it.
pub(crate) fn lexed_state(language: Language, before: &str) -> (bool, bool) {
    let mut lexer = Lexer::new(language, before);
    let last =
        lexer.by_ref().last().filter(|l| !l.closed && l.range.end == before.len()).map(|l| l.kind);
    (last == Some(LexKind::Comment), last == Some(LexKind::String) || lexer.in_template())
}

/// The same as the tree has it: the innermost node around the cursor that is a comment, a string,
/// or code inside one.
fn tree_state(tree: &SyntaxTree, cursor: usize) -> (bool, bool) {
    let mut state = (false, false);
    tree.descend(cursor.saturating_sub(1), |node| {
        let kind = node.kind();
        let line_comment =
            kind.ends_with("comment") && node.start_position().row == node.end_position().row;
        let inside = node.start_byte() < cursor && (cursor < node.end_byte() || line_comment);
        if !inside {
            return;
        }
        if kind.ends_with("comment") {
            state = (true, false);
        } else if kind == "interpolation" || kind == "template_substitution" {
            state = (false, false);
        } else if matches!(
            kind,
            "string"
                | "string_literal"
                | "template_string"
                | "raw_string_literal"
                | "interpreted_string_literal"
        ) || matches!(
            kind,
            "char_literal" | "character_literal" | "rune_literal" | "regex"
        ) {
            state = (false, true);
        }
    });
    state
}

/// A line start at most about [`MAX_LOOK_BACK`] before the cursor.
pub(crate) fn window_start(rope: &Rope, line_start: usize, cursor: usize) -> usize {
    let wanted = cursor.saturating_sub(MAX_LOOK_BACK);
    if wanted == 0 {
        return 0;
    }
    if wanted >= line_start {
        return ceil_char(rope, wanted);
    }
    let line = rope.byte_to_line(wanted);
    rope.line_to_byte(line + 1)
}

/// Text between two bytes, each clamped to the rope and rounded down to a character: the one place
/// that cuts a rope.
pub(crate) fn text(rope: &Rope, start: usize, end: usize) -> String {
    let end = floor_char(rope, end);
    rope.byte_slice(floor_char(rope, start).min(end)..end).to_string()
}

pub(crate) fn floor_char(rope: &Rope, byte: usize) -> usize {
    rope.char_to_byte(rope.byte_to_char(byte.min(rope.len_bytes())))
}

pub(crate) fn ceil_char(rope: &Rope, byte: usize) -> usize {
    let byte = byte.min(rope.len_bytes());
    let floor = floor_char(rope, byte);
    if floor == byte { byte } else { rope.char_to_byte(rope.byte_to_char(byte) + 1) }
}
