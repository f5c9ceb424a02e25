//! Positions in the units a client chose, and their translation to and from byte offsets of a rope.
//!
//! A position inside a character (a surrogate pair, a UTF-8 sequence) rounds down to the
//! character's start, and one between `\r` and `\n` to the end of the line. Nothing here panics on
//! any position.

use ropey::Rope;
use thiserror::Error;

/// The unit in which [`Position::character`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Bytes of UTF-8.
    Utf8,
    /// 16-bit units of UTF-16: what a client means that says nothing.
    Utf16,
    /// Unicode scalar values.
    Utf32,
}

impl Encoding {
    /// The name LSP uses: `utf-8`, `utf-16`, `utf-32`.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16 => "utf-16",
            Encoding::Utf32 => "utf-32",
        }
    }

    /// The inverse of [`Encoding::name`]; `None` for anything else.
    pub fn from_name(name: &str) -> Option<Encoding> {
        [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32].into_iter().find(|e| e.name() == name)
    }
}

/// A place between two characters: 0-based line, 0-based units of an [`Encoding`] from the start of
/// that line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: u32,
    pub character: u32,
}

impl Position {
    pub fn new(line: u32, character: u32) -> Position {
        Position { line, character }
    }
}

/// Half open: `end` is not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Range {
    pub start: Position,
    pub end: Position,
}

impl Range {
    pub fn new(start: Position, end: Position) -> Range {
        Range { start, end }
    }
}

/// A position that is not in the text. Lines and characters are printed 0-based, as the client sent
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PositionError {
    #[error("line {line} is past the end: the document has {n_lines} lines (0 to {})", .n_lines - 1)]
    Line { line: u32, n_lines: usize },
    #[error("character {character} is past the end of line {line}, which is {length} {} units long", .encoding.name())]
    Character { line: u32, character: u32, length: usize, encoding: Encoding },
}

/// Byte offset of `position`; the second value is the length of the line in `encoding` if the
/// character was past it (the offset is then the line's end).
pub(crate) fn offset(
    rope: &Rope,
    position: Position,
    encoding: Encoding,
) -> Result<(usize, Option<usize>), PositionError> {
    let line = position.line as usize;
    if line >= rope.len_lines() {
        return Err(PositionError::Line { line: position.line, n_lines: rope.len_lines() });
    }
    let start = rope.line_to_byte(line);
    let end = line_end(rope, line);
    let wanted = position.character as usize;
    let length = units_between(rope, start, end, encoding);
    if wanted >= length {
        return Ok((end, (wanted > length).then_some(length)));
    }
    let char_index = match encoding {
        Encoding::Utf8 => rope.byte_to_char(start + wanted),
        Encoding::Utf16 => {
            let base = rope.char_to_utf16_cu(rope.byte_to_char(start));
            rope.utf16_cu_to_char(base + wanted)
        }
        Encoding::Utf32 => rope.byte_to_char(start) + wanted,
    };
    Ok((rope.char_to_byte(char_index), None))
}

/// Position of `byte`, clamped to the text and rounded down to a character's start.
pub(crate) fn position(rope: &Rope, byte: usize, encoding: Encoding) -> Position {
    let byte = floor_char(rope, byte);
    let line = rope.byte_to_line(byte);
    let start = rope.line_to_byte(line);
    let byte = byte.min(line_end(rope, line));
    Position {
        line: saturate(line),
        character: saturate(units_between(rope, start, byte, encoding)),
    }
}

/// The largest character boundary that is not past `byte` nor past the end.
pub(crate) fn floor_char(rope: &Rope, byte: usize) -> usize {
    rope.char_to_byte(rope.byte_to_char(byte.min(rope.len_bytes())))
}

/// Byte offset where the content of `line` ends, before its line break.
pub(crate) fn line_end(rope: &Rope, line: usize) -> usize {
    let start = rope.line_to_byte(line);
    if line + 1 >= rope.len_lines() {
        return rope.len_bytes();
    }
    let next = rope.line_to_byte(line + 1);
    let crlf = next >= start + 2 && rope.byte(next - 1) == b'\n' && rope.byte(next - 2) == b'\r';
    next - if crlf { 2 } else { 1 }
}

fn units_between(rope: &Rope, start: usize, end: usize, encoding: Encoding) -> usize {
    match encoding {
        Encoding::Utf8 => end - start,
        Encoding::Utf32 => rope.byte_to_char(end) - rope.byte_to_char(start),
        Encoding::Utf16 => {
            rope.char_to_utf16_cu(rope.byte_to_char(end))
                - rope.char_to_utf16_cu(rope.byte_to_char(start))
        }
    }
}

fn saturate(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
