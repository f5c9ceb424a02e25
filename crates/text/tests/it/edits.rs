//! Edits against the model; every edit can be undone.

use lacuna_text::{Document, EditError, Encoding, Position, Range};

use crate::model::{self, ENCODINGS, Random};

fn range(a: (u32, u32), b: (u32, u32)) -> Range {
    Range::new(Position::new(a.0, a.1), Position::new(b.0, b.1))
}

#[test]
fn random_edits_agree_with_the_model_and_undo_to_the_same_text() {
    let mut random = Random(0x5eed_0002);
    let mut n_edits = 0;
    for round in 0..200 {
        let mut text = random.text(30);
        let mut document = Document::new(&text, 0);
        for _ in 0..12 {
            let encoding = ENCODINGS[random.below(3)];
            let n_lines = model::lines(&text).len();
            let mut ends = [0, 1].map(|_| Position::new(random.below(n_lines) as u32, random.below(12) as u32));
            ends.sort();
            let inserted = if random.below(3) == 0 { String::new() } else { random.text(5) };
            let start = model::offset(&text, ends[0], encoding).unwrap();
            let end = model::offset(&text, ends[1], encoding).unwrap();
            let before = text.clone();
            text.replace_range(start..end, &inserted);

            let edit = document.apply(Range::new(ends[0], ends[1]), encoding, &inserted).unwrap();
            assert_eq!(document.text(), text, "round {round}");
            assert_eq!((edit.start_byte, edit.old_end_byte, edit.new_end_byte), (start, end, start + inserted.len()));
            assert_eq!(edit.start_point, model::point(&before, start), "{before:?}");
            assert_eq!(edit.old_end_point, model::point(&before, end), "{before:?}");
            assert_eq!(edit.new_end_point, model::point(&text, edit.new_end_byte), "{text:?}");

            let mut undone = document.clone();
            undone.splice(edit.start_byte..edit.new_end_byte, &before[start..end]);
            assert_eq!(undone.text(), before);
            assert_eq!(undone.n_lines(), model::lines(&before).len());
            assert_eq!(document.text(), text, "a clone shares nothing that changes");
            n_edits += 1;
        }
    }
    assert_eq!(n_edits, 2400);
}

#[test]
fn a_reversed_range_changes_nothing() {
    let mut document = Document::new("ab\ncd", 3);
    let error = document.apply(range((1, 1), (0, 1)), Encoding::Utf16, "x").unwrap_err();
    assert_eq!(error.to_string(), "the range ends (0:1) before it starts (1:1)");
    assert_eq!((document.text().as_str(), document.version()), ("ab\ncd", 3));
}

#[test]
fn a_line_past_the_end_changes_nothing() {
    let mut document = Document::new("ab\ncd", 3);
    let error = document.apply(range((0, 0), (2, 0)), Encoding::Utf16, "x").unwrap_err();
    assert!(matches!(error, EditError::Position(_)), "{error}");
    assert_eq!(document.text(), "ab\ncd");
}

#[test]
fn characters_past_the_end_of_the_line_mean_its_end() {
    let mut document = Document::new("ab\r\ncd", 1);
    document.apply(range((0, 1), (0, 99)), Encoding::Utf16, "x").unwrap();
    assert_eq!(document.text(), "ax\r\ncd");
}

#[test]
fn versions_are_set_not_counted() {
    let mut document = Document::new("a", 1);
    document.apply(range((0, 1), (0, 1)), Encoding::Utf8, "b").unwrap();
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
        document.apply(range((0, i * 1000), (0, i * 1000 + 1)), Encoding::Utf16, "é").unwrap();
    }
    assert_eq!(document.len_bytes(), (5 << 20) + 200);
}
