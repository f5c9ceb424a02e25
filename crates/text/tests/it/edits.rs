//! Edits: what is clamped, what is turned round, what stays. Random ones: `mirror`.

use lacuna_text::{Document, Encoding, Position, Range};

fn range(a: (u32, u32), b: (u32, u32)) -> Range {
    Range::new(Position::new(a.0, a.1), Position::new(b.0, b.1))
}

#[test]
fn a_reversed_range_is_turned_round() {
    let mut document = Document::new("ab\ncd", 3);
    document.apply(range((1, 1), (0, 1)), Encoding::Utf16, "x");
    assert_eq!((document.text().as_str(), document.version()), ("axd", 3));
}

#[test]
fn a_line_past_the_end_means_the_end_of_the_text() {
    // What Neovim sends for `Gdd` in a file without a final newline, and editors for a text that is
    // replaced as a whole.
    for (start, end, text, left) in [
        ((1, 0), (2, 0), "", "ab\n"),
        ((0, 0), (2, 0), "x", "x"),
        ((0, 0), (i32::MAX as u32, 0), "x\n", "x\n"),
        ((2, 0), (2, 0), "\nef", "ab\ncd\nef"),
        ((7, 3), (u32::MAX, u32::MAX), "!", "ab\ncd!"),
    ] {
        let mut document = Document::new("ab\ncd", 3);
        document.apply(range(start, end), Encoding::Utf16, text);
        assert_eq!(document.text(), left, "{start:?} to {end:?}");
    }
}

#[test]
fn characters_past_the_end_of_the_line_mean_its_end() {
    let mut document = Document::new("ab\r\ncd", 1);
    document.apply(range((0, 1), (0, 99)), Encoding::Utf16, "x");
    assert_eq!(document.text(), "ax\r\ncd");
}

#[test]
fn versions_are_set_not_counted() {
    let mut document = Document::new("a", 1);
    document.apply(range((0, 1), (0, 1)), Encoding::Utf8, "b");
    assert_eq!(document.version(), 1);
    document.set_version(7);
    document.replace_all("new\r");
    assert_eq!((document.version(), document.text().as_str(), document.n_lines()), (7, "new\r", 2));
}

#[test]
fn slices_are_cut_at_characters() {
    let document = Document::new("a😀b", 0);
    assert_eq!(document.slice(2..99), "😀b");
    assert_eq!(document.slice(0..4), "a");
    let reversed = std::ops::Range { start: 6, end: 1 };
    assert_eq!(document.slice(reversed), "");
}

#[test]
fn a_large_document_with_one_line_takes_edits() {
    let mut document = Document::new(&"x".repeat(5 << 20), 0);
    for i in 0..200 {
        document.apply(range((0, i * 1000), (0, i * 1000 + 1)), Encoding::Utf16, "é");
    }
    assert_eq!(document.len_bytes(), (5 << 20) + 200);
}
