//! The naive model: a `String`, positions found by walking over it. Slow and plain on purpose.

use lacuna_text::{Encoding, Point, Position};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// Byte ranges of the lines' contents, line breaks `\n`, `\r\n`, `\r` left out.
pub fn lines(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let (mut found, mut start, mut i) = (Vec::new(), 0, 0);
    while i < bytes.len() {
        let len = match bytes[i] {
            b'\r' if bytes.get(i + 1) == Some(&b'\n') => 2,
            b'\n' | b'\r' => 1,
            _ => 0,
        };
        if len > 0 {
            found.push((start, i));
            start = i + len;
        }
        i += len.max(1);
    }
    found.push((start, bytes.len()));
    found
}

pub fn units(text: &str, encoding: Encoding) -> usize {
    match encoding {
        Encoding::Utf8 => text.len(),
        Encoding::Utf16 => text.encode_utf16().count(),
        Encoding::Utf32 => text.chars().count(),
    }
}

/// Clamped to the line's end, rounded down to a character; `None` past the last line.
pub fn offset(text: &str, position: Position, encoding: Encoding) -> Option<usize> {
    let (start, end) = *lines(text).get(position.line as usize)?;
    let mut at = start;
    for c in text[start..end].chars() {
        let next = at + c.len_utf8();
        if units(&text[start..next], encoding) > position.character as usize {
            return Some(at);
        }
        at = next;
    }
    Some(end)
}

pub fn position(text: &str, byte: usize, encoding: Encoding) -> Position {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    let lines = lines(text);
    let line = lines.iter().rposition(|(start, _)| *start <= byte).unwrap();
    let (start, end) = lines[line];
    Position::new(line as u32, units(&text[start..byte.min(end)], encoding) as u32)
}

pub fn point(text: &str, byte: usize) -> Point {
    let before = &text[..byte];
    Point {
        row: before.matches('\n').count(),
        column: byte - before.rfind('\n').map_or(0, |i| i + 1),
    }
}

/// A generator with a fixed seed: tests repeat exactly.
pub struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(SplitMix64::seed_from_u64(seed))
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0.next_u64() as usize % n.max(1)
    }

    pub fn text(&mut self, max_pieces: usize) -> String {
        const PIECES: [&str; 22] = [
            "a",
            "word ",
            "\t",
            "  ",
            "\n",
            "\r\n",
            "\r",
            "é",
            "e\u{301}",
            "😀",
            "👩‍👩‍👧",
            "\u{2028}",
            "\u{b}",
            "\u{c}",
            "\u{85}",
            "ß",
            "漢字",
            "}",
            "(",
            "\u{feff}",
            "\u{0}",
            "x = 1\n",
        ];
        (0..self.below(max_pieces + 1)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }
}

pub const ENCODINGS: [Encoding; 3] = [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32];
