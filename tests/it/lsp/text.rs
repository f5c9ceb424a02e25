//! Positions and edits as the protocol defines them, written plainly: what the server is compared
//! with.

use serde_json::Value;

/// Unit in which characters are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    Utf8,
    Utf16,
}

/// Byte offsets of the line starts; `\n`, `\r\n` and `\r` end a line.
fn line_starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let ends = (0..bytes.len())
        .filter(|&i| bytes[i] == b'\n' || bytes[i] == b'\r' && bytes.get(i + 1) != Some(&b'\n'));
    std::iter::once(0).chain(ends.map(|i| i + 1)).collect()
}

/// Line and character of a byte offset.
pub fn position(text: &str, byte: usize, unit: Unit) -> (usize, usize) {
    let starts = line_starts(text);
    let line = starts.iter().rposition(|&s| s <= byte).unwrap_or(0);
    let before = &text[starts[line]..byte];
    (line, if unit == Unit::Utf8 { before.len() } else { before.encode_utf16().count() })
}

/// Byte offset of a line and character that are in the text.
pub fn offset(text: &str, (line, character): (usize, usize), unit: Unit) -> usize {
    let start = line_starts(text)[line];
    let rest = text[start..].char_indices().map(|(i, _)| start + i).chain([text.len()]);
    rest.into_iter()
        .find(|&byte| position(text, byte, unit) == (line, character))
        .expect("a position of the text")
}

/// The text after an item was accepted.
pub fn accept(text: &str, item: &Value, unit: Unit) -> String {
    let place = |end: &str| {
        let p = &item["range"][end];
        offset(
            text,
            (p["line"].as_u64().unwrap() as usize, p["character"].as_u64().unwrap() as usize),
            unit,
        )
    };
    let (start, end) = (place("start"), place("end"));
    format!("{}{}{}", &text[..start], item["insertText"].as_str().unwrap(), &text[end..])
}
