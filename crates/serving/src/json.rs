//! JSON as editors really send it: with bytes that are not UTF-8, and with halves of surrogate
//! pairs.
//!
//! Strings of Rust can hold neither, and a message that is dropped for it leaves the server with a
//! text that nobody has any more. An invalid byte becomes U+001A, which is one unit long in every
//! encoding, as the byte is in the editor. A lone half is carried through the JSON parser as
//! [`ESCAPE`] and a character of the private use area; [`text`] turns it back.

use std::borrow::Cow;

use lacuna_text::Utf16Text;

/// A noncharacter, which texts do not contain; where one does, it is doubled.
const ESCAPE: char = '\u{10FFFF}';
/// The character that stands for the half U+D800, behind [`ESCAPE`].
const FIRST: u32 = 0xE000;
const HALVES: std::ops::RangeInclusive<u16> = 0xD800..=0xDFFF;

/// A message's body as JSON text that a strict parser reads.
pub fn readable(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) if !text.contains(ESCAPE) && !has_surrogate_escape(body) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(body)),
    }
}

/// A body as JSON text, for those who count no units: each lone half is a U+FFFD.
pub fn lossy(body: &[u8]) -> Cow<'_, str> {
    match readable(body) {
        Cow::Owned(escaped) => Cow::Owned(text(&escaped).as_str().to_owned()),
        borrowed => borrowed,
    }
}

/// The text that a string of a [`readable`] message means.
pub fn text(string: &str) -> Utf16Text {
    let mut parts = string.split(ESCAPE);
    let mut text = Utf16Text::from(parts.next().unwrap_or_default());
    while let Some(part) = parts.next() {
        let mut rest = part.chars();
        let half = rest
            .next()
            .and_then(|c| u32::from(c).checked_sub(FIRST))
            .and_then(|n| u16::try_from(n).ok()?.checked_add(*HALVES.start()));
        match half.filter(|unit| HALVES.contains(unit)) {
            Some(unit) => {
                text.push_unit(unit);
                text.push_str(rest.as_str());
            }
            // A doubled one: nothing lies between the two.
            None => {
                text.push_str("\u{10FFFF}");
                text.push_str(if part.is_empty() {
                    parts.next().unwrap_or_default()
                } else {
                    part
                });
            }
        }
    }
    text
}

/// Whether `\ud8…` to `\udf…` is there.
fn has_surrogate_escape(body: &[u8]) -> bool {
    body.windows(4)
        .any(|w| matches!(w, [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F']))
}

fn escaped(body: &[u8]) -> String {
    let mut out = String::with_capacity(body.len() + 64);
    let mut rest = body;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(text) => text,
            Err(e) => std::str::from_utf8(&rest[..e.valid_up_to()]).unwrap_or_default(),
        };
        escape_halves(valid, &mut out);
        rest = &rest[valid.len()..];
        match rest {
            // A surrogate as three bytes, as some runtimes write it.
            [0xED, b @ 0xA0..=0xBF, c @ 0x80..=0xBF, tail @ ..] => {
                push_half(0xD000 | u16::from(b & 0x3F) << 6 | u16::from(c & 0x3F), &mut out);
                rest = tail;
            }
            [_, tail @ ..] => {
                out.push_str("\\u001a");
                rest = tail;
            }
            [] => {}
        }
    }
    out
}

fn push_half(unit: u16, out: &mut String) {
    out.push(ESCAPE);
    out.extend(char::from_u32(FIRST + u32::from(unit - HALVES.start())));
}

/// Copies JSON text; lone halves among its `\u` escapes become [`ESCAPE`]d characters.
fn escape_halves(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', ESCAPE]) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let Some(after) = found.strip_prefix('\\') else {
            out.extend([ESCAPE; 2]);
            rest = &found[ESCAPE.len_utf8()..];
            continue;
        };
        let taken = match escaped_unit(found) {
            Some(unit) if HALVES.contains(&unit) => {
                match escaped_unit(&found[6..]).map(|low| char::decode_utf16([unit, low]).next()) {
                    Some(Some(Ok(ESCAPE))) => {
                        out.extend([ESCAPE; 2]);
                        12
                    }
                    Some(Some(Ok(whole))) => {
                        out.push(whole);
                        12
                    }
                    _ => {
                        push_half(unit, out);
                        6
                    }
                }
            }
            // The character behind the backslash belongs to it, whatever it is.
            _ => {
                let len = 1 + after.chars().next().map_or(0, char::len_utf8);
                out.push_str(&found[..len]);
                len
            }
        };
        rest = &found[taken..];
    }
    out.push_str(rest);
}

/// The unit of `\uXXXX` at the start of the text.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(body: &[u8]) -> Vec<u16> {
        let value: serde_json::Value = serde_json::from_str(&readable(body))
            .unwrap_or_else(|e| panic!("{}: {e}", readable(body)));
        text(value.as_str().unwrap()).units()
    }

    #[test]
    fn every_string_of_units_comes_through_however_it_is_written() {
        // A small generator with a fixed seed.
        let mut state = 0x5eed_0018_u64;
        let mut below = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % n
        };
        for _ in 0..20_000 {
            let drawn: Vec<u16> = (0..below(8))
                .map(|_| {
                    let draw = [
                        0xD83D, 0xDE00, 0xDBFF, 0xDFFF, 0xE000, 0xE7FF, 0x41, 0x5C, 0x22, 0xE9,
                        0x75, 0x64, 0xD800, 0x3042,
                    ];
                    draw[below(draw.len())]
                })
                .collect();
            let mut body = b"\"".to_vec();
            for c in char::decode_utf16(drawn.iter().copied()) {
                match c {
                    Ok(c) if below(2) == 0 && !matches!(c, '"' | '\\') => {
                        body.extend(c.to_string().bytes())
                    }
                    Ok(c) => c
                        .encode_utf16(&mut [0; 2])
                        .iter()
                        .for_each(|unit| body.extend(format!("\\u{unit:04x}").bytes())),
                    Err(half) => {
                        let unit = half.unpaired_surrogate();
                        if below(2) == 0 {
                            body.extend(format!("\\u{unit:04X}").bytes());
                        } else {
                            body.extend([
                                0xED,
                                0x80 | (unit >> 6 & 0x3F) as u8,
                                0x80 | (unit & 0x3F) as u8,
                            ]);
                        }
                    }
                }
            }
            body.push(b'"');
            // Two halves that stand side by side are the character, in whichever way each was
            // written.
            assert_eq!(units(&body), drawn, "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn invalid_bytes_are_one_unit_each() {
        for (body, expected) in [
            (&b"\"a\xE9b\""[..], "a\u{1a}b"),
            (b"\"\xFF\xFE\"", "\u{1a}\u{1a}"),
            (b"\"\xE2\x82\"", "\u{1a}\u{1a}"),
            (b"\"x\xF0\x9F\x98\"", "x\u{1a}\u{1a}\u{1a}"),
        ] {
            assert_eq!(units(body), expected.encode_utf16().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_readable_is_not_copied() {
        for body in [r#"{"a": "é \n \u0041 \\ud83d"}"#, "[1, 2]"] {
            assert!(serde_json::from_str::<serde_json::Value>(&readable(body.as_bytes())).is_ok());
        }
        assert!(matches!(readable(br#"{"a": "\u00e9 \ud7ff"}"#), Cow::Borrowed(_)));
        // A backslash that is escaped itself begins nothing.
        assert_eq!(units(br#""\\ud83d""#), r"\ud83d".encode_utf16().collect::<Vec<_>>());
    }
}
