//! Positions to offsets and back, in all encodings.

use lacuna_text::{Document, Encoding, Position, PositionError};

use crate::model::{self, ENCODINGS, Random};

#[test]
fn lines_break_as_lsp_says_and_nowhere_else() {
    let document = Document::new("a\u{2028}b\nc\u{b}d\r\ne\u{85}f\rg\u{c}h\n", 1);
    let lines: Vec<_> =
        (0..document.n_lines()).map(|i| document.line(i).unwrap().into_owned()).collect();
    assert_eq!(lines, ["a\u{2028}b", "c\u{b}d", "e\u{85}f", "g\u{c}h", ""]);
    assert_eq!(document.line(5), None);
}

#[test]
fn an_emoji_counts_as_its_encoding_has_it() {
    let document = Document::new("x😀y", 1);
    for (encoding, after) in [(Encoding::Utf8, 5), (Encoding::Utf16, 3), (Encoding::Utf32, 2)] {
        assert_eq!(
            document.offset(Position::new(0, after), encoding),
            Ok(5),
            "{}",
            encoding.name()
        );
        assert_eq!(document.position(5, encoding), Position::new(0, after));
    }
    // Inside the surrogate pair, inside the UTF-8 sequence: down.
    assert_eq!(document.offset(Position::new(0, 2), Encoding::Utf16), Ok(1));
    for character in 2..5 {
        assert_eq!(document.offset(Position::new(0, character), Encoding::Utf8), Ok(1));
    }
    assert_eq!(document.position(3, Encoding::Utf16), Position::new(0, 1));
}

#[test]
fn between_cr_and_lf_is_the_end_of_the_line() {
    let document = Document::new("ab\r\nc", 1);
    assert_eq!(document.position(3, Encoding::Utf16), Position::new(0, 2));
    assert_eq!(document.offset_clamped(Position::new(0, 3), Encoding::Utf8), 2);
}

#[test]
fn errors_name_the_place_and_the_limit() {
    let document = Document::new("ab\nc", 1);
    let error = document.offset(Position::new(2, 0), Encoding::Utf16).unwrap_err();
    assert_eq!(error.to_string(), "line 2 is past the end: the document has 2 lines (0 to 1)");
    let error = document.offset(Position::new(0, 3), Encoding::Utf16).unwrap_err();
    assert_eq!(
        error.to_string(),
        "character 3 is past the end of line 0, which is 2 utf-16 units long"
    );
    assert_eq!(document.offset_clamped(Position::new(0, 3), Encoding::Utf16), 2);
    assert_eq!(document.offset_clamped(Position::new(1, u32::MAX), Encoding::Utf8), 4);
    assert_eq!(document.offset_clamped(Position::new(u32::MAX, u32::MAX), Encoding::Utf32), 4);
    assert!(matches!(
        document.offset(Position::new(u32::MAX, 0), Encoding::Utf32),
        Err(PositionError::Line { .. })
    ));
}

#[test]
fn an_empty_document_has_one_empty_line() {
    let document = Document::new("", 0);
    assert_eq!((document.n_lines(), document.len_bytes()), (1, 0));
    assert_eq!(document.offset(Position::default(), Encoding::Utf16), Ok(0));
    assert_eq!(document.position(99, Encoding::Utf16), Position::default());
}

#[test]
fn encodings_are_found_by_their_names() {
    for encoding in ENCODINGS {
        assert_eq!(Encoding::from_name(encoding.name()), Some(encoding));
    }
    assert_eq!(Encoding::from_name("utf-7"), None);
}

#[test]
fn every_position_agrees_with_the_model() {
    let mut random = Random::new(0x5eed_0001);
    for _ in 0..150 {
        let text = random.text(40);
        let document = Document::new(&text, 0);
        let lines = model::lines(&text);
        assert_eq!(document.n_lines(), lines.len(), "{text:?}");
        for encoding in ENCODINGS {
            for byte in 0..=text.len() + 1 {
                assert_eq!(
                    document.position(byte, encoding),
                    model::position(&text, byte, encoding),
                    "byte {byte} of {text:?}"
                );
            }
            for line in 0..=lines.len() as u32 {
                for character in 0..30 {
                    let position = Position::new(line, character);
                    let expected = model::offset(&text, position, encoding);
                    assert_eq!(
                        document.offset_clamped(position, encoding),
                        expected.unwrap_or(text.len()),
                        "{position:?} of {text:?}"
                    );
                }
            }
        }
    }
}
