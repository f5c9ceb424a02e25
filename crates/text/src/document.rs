//! [`Document`]: one open text, its version, and edits in place.

use std::borrow::Cow;

use ropey::Rope;
use thiserror::Error;

use crate::position::{self, Encoding, Position, PositionError, Range};

/// A place as incremental parsers count it: `row` = line feeds before it (a lone `\r` does not count, unlike in
/// [`Position`]), `column` = bytes since the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Point {
    pub row: usize,
    pub column: usize,
}

/// What an edit did: bytes `start_byte..old_end_byte` of the old text became `start_byte..new_end_byte` of the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditInfo {
    pub start_byte: usize,
    pub old_end_byte: usize,
    pub new_end_byte: usize,
    pub start_point: Point,
    pub old_end_point: Point,
    pub new_end_point: Point,
}

/// An edit that was refused; the document is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    #[error("the range ends ({}:{}) before it starts ({}:{})", .end.line, .end.character, .start.line, .start.character)]
    Reversed { start: Position, end: Position },
    #[error(transparent)]
    Position(#[from] PositionError),
}

/// The text of one open file.
///
/// Cloning is cheap (the rope shares its nodes), so that a request can keep the text it was asked about.
#[derive(Clone, Debug)]
pub struct Document {
    rope: Rope,
    version: i32,
    /// Whether a `\r` without `\n` may be in the text. Only then do rows and lines differ, and rows have to be
    /// counted. Never reset by edits: files with lone `\r` are rare and counting is merely slower.
    lone_cr: bool,
}

impl Document {
    pub fn new(text: &str, version: i32) -> Document {
        Document { rope: Rope::from_str(text), version, lone_cr: has_lone_cr(text.bytes()) }
    }

    /// The whole text; copies it.
    pub fn text(&self) -> String {
        self.rope.to_string()
    }

    pub fn rope(&self) -> &Rope {
        &self.rope
    }

    pub fn version(&self) -> i32 {
        self.version
    }

    pub fn set_version(&mut self, version: i32) {
        self.version = version;
    }

    pub fn len_bytes(&self) -> usize {
        self.rope.len_bytes()
    }

    /// At least 1; a text that ends with a line break has an empty last line.
    pub fn n_lines(&self) -> usize {
        self.rope.len_lines()
    }

    /// Content of line `i` (0-based) without its line break; `None` past the end.
    pub fn line(&self, i: usize) -> Option<Cow<'_, str>> {
        (i < self.n_lines()).then(|| self.slice(self.rope.line_to_byte(i)..position::line_end(&self.rope, i)))
    }

    /// Text of a byte range; both ends are clamped to the text and rounded down to character boundaries.
    pub fn slice(&self, bytes: std::ops::Range<usize>) -> Cow<'_, str> {
        let end = position::floor_char(&self.rope, bytes.end);
        let start = position::floor_char(&self.rope, bytes.start).min(end);
        self.rope.byte_slice(start..end).into()
    }

    /// Byte offset of a position. Errors: the line is past the last one, or the character past the line's end.
    pub fn offset(&self, position: Position, encoding: Encoding) -> Result<usize, PositionError> {
        match position::offset(&self.rope, position, encoding)? {
            (byte, None) => Ok(byte),
            (_, Some(length)) => Err(PositionError::Character { line: position.line, character: position.character, length, encoding }),
        }
    }

    /// As [`Document::offset`], but a character past the line's end means the line's end (what LSP prescribes).
    pub fn offset_clamped(&self, position: Position, encoding: Encoding) -> Result<usize, PositionError> {
        Ok(position::offset(&self.rope, position, encoding)?.0)
    }

    /// Position of a byte offset, which is clamped to the text and rounded down to a character's start.
    pub fn position(&self, byte: usize, encoding: Encoding) -> Position {
        position::position(&self.rope, byte, encoding)
    }

    /// Row and column of a byte offset as incremental parsers count them.
    pub fn point(&self, byte: usize) -> Point {
        let byte = position::floor_char(&self.rope, byte);
        if !self.lone_cr {
            let row = self.rope.byte_to_line(byte);
            return Point { row, column: byte - self.rope.line_to_byte(row) };
        }
        let (mut row, mut line_start, mut chunk_start) = (0, 0, 0);
        for chunk in self.rope.byte_slice(..byte).chunks() {
            for (i, _) in chunk.bytes().enumerate().filter(|(_, b)| *b == b'\n') {
                row += 1;
                line_start = chunk_start + i + 1;
            }
            chunk_start += chunk.len();
        }
        Point { row, column: byte - line_start }
    }

    /// Replaces `range` by `text`. Characters past a line's end mean its end. The version stays as it is.
    ///
    /// Errors: a line past the end, or an end before the start; the text is then unchanged.
    pub fn apply(&mut self, range: Range, encoding: Encoding, text: &str) -> Result<EditInfo, EditError> {
        if range.end < range.start {
            return Err(EditError::Reversed { start: range.start, end: range.end });
        }
        let start = self.offset_clamped(range.start, encoding)?;
        let end = self.offset_clamped(range.end, encoding)?;
        Ok(self.splice(start..end, text))
    }

    /// Replaces a byte range (clamped and rounded down as in [`Document::slice`]) by `text`.
    pub fn splice(&mut self, bytes: std::ops::Range<usize>, text: &str) -> EditInfo {
        let old_end_byte = position::floor_char(&self.rope, bytes.end);
        let start_byte = position::floor_char(&self.rope, bytes.start).min(old_end_byte);
        let new_end_byte = start_byte + text.len();
        let start_point = self.point(start_byte);
        let old_end_point = self.point(old_end_byte);

        let start_char = self.rope.byte_to_char(start_byte);
        self.rope.remove(start_char..self.rope.byte_to_char(old_end_byte));
        self.rope.insert(start_char, text);

        // A new lone `\r` can only be in the inserted text or be the byte before it; the byte after it counts only as
        // what follows them.
        let before = start_byte.saturating_sub(1);
        let follower = (new_end_byte < self.rope.len_bytes()).then(|| self.rope.byte(new_end_byte));
        let touched = self.rope.bytes_at(before).take(new_end_byte - before);
        self.lone_cr |= match follower {
            Some(b'\r') => has_lone_cr(touched.chain([0])),
            _ => has_lone_cr(touched.chain(follower)),
        };

        let new_end_point = self.point(new_end_byte);
        EditInfo { start_byte, old_end_byte, new_end_byte, start_point, old_end_point, new_end_point }
    }

    /// Replaces the whole text. There is no [`EditInfo`]: trees of the old text are to be thrown away.
    pub fn replace_all(&mut self, text: &str) {
        *self = Document::new(text, self.version);
    }
}

/// Also true for a `\r` at the very end.
fn has_lone_cr(bytes: impl Iterator<Item = u8>) -> bool {
    let mut previous = 0;
    for byte in bytes {
        if previous == b'\r' && byte != b'\n' {
            return true;
        }
        previous = byte;
    }
    previous == b'\r'
}
