//! [`Document`]: one open text, its version, and edits in place.

use std::borrow::Cow;

use ropey::Rope;

use crate::position::{self, Encoding, Position, PositionError, Range};
use crate::utf16::{HALF_BYTES, Half, Utf16Text};

/// A place as incremental parsers count it: `row` = line feeds before it (a lone `\r` does not
/// count, unlike in [`Position`]), `column` = bytes since the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Point {
    pub row: usize,
    pub column: usize,
}

/// What an edit did: bytes `start_byte..old_end_byte` of the old text became
/// `start_byte..new_end_byte` of the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditInfo {
    pub start_byte: usize,
    pub old_end_byte: usize,
    pub new_end_byte: usize,
    pub start_point: Point,
    pub old_end_point: Point,
    pub new_end_point: Point,
}

/// The text of one open file.
///
/// Cloning is cheap (the rope shares its nodes), so that a request can keep the text it was asked
/// about.
#[derive(Clone, Debug)]
pub struct Document {
    rope: Rope,
    version: i32,
    /// Whether a `\r` without `\n` may be in the text. Only then do rows and lines differ, and rows
    /// have to be counted. Never reset by edits: files with lone `\r` are rare and counting is
    /// merely slower.
    lone_cr: bool,
    /// Halves of surrogate pairs that stand alone, by place; in the rope each is a U+FFFD.
    halves: Vec<Half>,
}

impl Document {
    pub fn new(text: &str, version: i32) -> Document {
        Document {
            rope: Rope::from_str(text),
            version,
            lone_cr: has_lone_cr(text.bytes()),
            halves: Vec::new(),
        }
    }

    /// As [`Document::new`], of a text in which halves of surrogate pairs may stand alone.
    pub fn from_utf16(text: &Utf16Text, version: i32) -> Document {
        Document { halves: text.halves().to_vec(), ..Document::new(text.as_str(), version) }
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
        (i < self.n_lines())
            .then(|| self.slice(self.rope.line_to_byte(i)..position::line_end(&self.rope, i)))
    }

    /// Text of a byte range; both ends are clamped to the text and rounded down to character
    /// boundaries.
    pub fn slice(&self, bytes: std::ops::Range<usize>) -> Cow<'_, str> {
        let end = position::floor_char(&self.rope, bytes.end);
        let start = position::floor_char(&self.rope, bytes.start).min(end);
        self.rope.byte_slice(start..end).into()
    }

    /// Byte offset of a position. Errors: the line is past the last one, or the character past the
    /// line's end.
    pub fn offset(&self, position: Position, encoding: Encoding) -> Result<usize, PositionError> {
        match position::offset(&self.rope, position, encoding)? {
            (byte, None) => Ok(byte),
            (_, Some(length)) => Err(PositionError::Character {
                line: position.line,
                character: position.character,
                length,
                encoding,
            }),
        }
    }

    /// As [`Document::offset`], but a character past the line's end means the line's end (what LSP
    /// prescribes) and a line past the last one the text's end (what editors' own libraries do).
    pub fn offset_clamped(&self, position: Position, encoding: Encoding) -> usize {
        position::offset(&self.rope, position, encoding)
            .map_or(self.rope.len_bytes(), |(byte, _)| byte)
    }

    /// Position of a byte offset, which is clamped to the text and rounded down to a character's
    /// start.
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

    /// Replaces `range` by `text`. The version stays as it is.
    ///
    /// Both ends are clamped as in [`Document::offset_clamped`], and a range that ends before it
    /// starts is turned round. An end between the two units of a UTF-16 pair splits it: its other
    /// half stays, as in the editor's buffer.
    pub fn apply(&mut self, range: Range, encoding: Encoding, text: &str) -> EditInfo {
        self.apply_utf16(range, encoding, &text.into())
    }

    /// As [`Document::apply`], of a text in which halves of surrogate pairs may stand alone.
    pub fn apply_utf16(&mut self, range: Range, encoding: Encoding, text: &Utf16Text) -> EditInfo {
        let (start, end) = if range.end < range.start {
            (range.end, range.start)
        } else {
            (range.start, range.end)
        };
        let (start_byte, head) = self.offset_and_split(start, encoding);
        let (mut end_byte, tail) = self.offset_and_split(end, encoding);
        if head.is_none() && tail.is_none() {
            return self.splice_utf16(start_byte..end_byte, text);
        }
        let mut kept = Utf16Text::default();
        if let Some([high, _]) = head {
            kept.push_unit(high);
        }
        kept.push(text);
        if let Some([_, low]) = tail {
            kept.push_unit(low);
            // The bytes of a pair: always four.
            end_byte += 4;
        }
        self.splice_utf16(start_byte..end_byte, &kept)
    }

    /// Byte offset of a position, clamped; and the pair that it lies in the middle of, which begins
    /// at that offset.
    fn offset_and_split(
        &self,
        position: Position,
        encoding: Encoding,
    ) -> (usize, Option<[u16; 2]>) {
        let byte = self.offset_clamped(position, encoding);
        if encoding != Encoding::Utf16 || byte >= self.rope.len_bytes() {
            return (byte, None);
        }
        let c = self.rope.char(self.rope.byte_to_char(byte));
        let found = self.position(byte, encoding);
        let mut pair = [0; 2];
        let is_inside = c.len_utf16() == 2
            && found.line == position.line
            && found.character < position.character;
        if is_inside {
            c.encode_utf16(&mut pair);
        }
        (byte, is_inside.then_some(pair))
    }

    /// Replaces a byte range (clamped and rounded down as in [`Document::slice`]) by `text`.
    pub fn splice(&mut self, bytes: std::ops::Range<usize>, text: &str) -> EditInfo {
        self.splice_utf16(bytes, &text.into())
    }

    fn splice_utf16(&mut self, bytes: std::ops::Range<usize>, text: &Utf16Text) -> EditInfo {
        let end = position::floor_char(&self.rope, bytes.end);
        let start = position::floor_char(&self.rope, bytes.start).min(end);
        if self.halves.is_empty() && text.halves().is_empty() {
            return self.replace(start..end, text.as_str());
        }
        // Lone halves beside the place may find their other half: they are taken out and put in
        // again with the text.
        let find = |at: Option<usize>| self.halves.iter().copied().find(|half| Some(half.at) == at);
        let before = find(start.checked_sub(HALF_BYTES)).filter(|half| half.is_high());
        let after = find(Some(end)).filter(|half| !half.is_high());
        let mut whole = Utf16Text::default();
        before.iter().for_each(|half| whole.push_unit(half.unit));
        whole.push(text);
        after.iter().for_each(|half| whole.push_unit(half.unit));
        let start = before.map_or(start, |half| half.at);
        let end = after.map_or(end, |half| half.at + HALF_BYTES);

        let info = self.replace(start..end, whole.as_str());
        let left = self.halves.iter().copied().filter(|half| half.at < start);
        let inserted = whole.halves().iter().map(|half| Half { at: start + half.at, ..*half });
        let right = self.halves.iter().filter(|half| half.at >= end);
        let right = right.map(|half| Half { at: half.at - end + info.new_end_byte, ..*half });
        self.halves = left.chain(inserted).chain(right).collect();
        info
    }

    /// Replaces bytes that begin and end at characters.
    fn replace(&mut self, bytes: std::ops::Range<usize>, text: &str) -> EditInfo {
        let (start_byte, old_end_byte) = (bytes.start, bytes.end);
        let new_end_byte = start_byte + text.len();
        let start_point = self.point(start_byte);
        let old_end_point = self.point(old_end_byte);

        let start_char = self.rope.byte_to_char(start_byte);
        self.rope.remove(start_char..self.rope.byte_to_char(old_end_byte));
        self.rope.insert(start_char, text);

        // A new lone `\r` can only be in the inserted text or be the byte before it; the byte after
        // it counts only as what follows them.
        let before = start_byte.saturating_sub(1);
        let follower = (new_end_byte < self.rope.len_bytes()).then(|| self.rope.byte(new_end_byte));
        let touched = self.rope.bytes_at(before).take(new_end_byte - before);
        self.lone_cr |= match follower {
            Some(b'\r') => has_lone_cr(touched.chain([0])),
            _ => has_lone_cr(touched.chain(follower)),
        };

        let new_end_point = self.point(new_end_byte);
        EditInfo {
            start_byte,
            old_end_byte,
            new_end_byte,
            start_point,
            old_end_point,
            new_end_point,
        }
    }

    /// Replaces the whole text. There is no [`EditInfo`]: trees of the old text are to be thrown
    /// away.
    pub fn replace_all(&mut self, text: &str) {
        *self = Document::new(text, self.version);
    }

    /// The text with its lone halves.
    pub fn utf16(&self) -> Utf16Text {
        let mut text = Utf16Text::default();
        let mut done = 0;
        for half in &self.halves {
            text.push_str(&self.slice(done..half.at));
            text.push_unit(half.unit);
            done = half.at + HALF_BYTES;
        }
        text.push_str(&self.slice(done..self.len_bytes()));
        text
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
