//! Trees: errors counted, previews, edits.

use lacuna_context::{Language, ParseLimit, Rope, SyntaxTree};
use lacuna_text::{Document, Encoding, Position, Range};

#[test]
fn errors_are_counted() {
    let cases = [
        (Language::Python, "x = 1\n", 0),
        (Language::Python, "x = = 1\n", 1),
        (Language::Rust, "fn f() {", 1),
        (Language::JavaScript, "f(a;", 1),
        (Language::Text, "((((", 0),
    ];
    for (language, text, expected) in cases {
        let tree = SyntaxTree::parse_str(language, text);
        assert_eq!(tree.n_errors(), expected, "{text:?}\n{}", tree.dump(50));
        assert_eq!(SyntaxTree::parse(language, &Rope::from_str(text)).n_errors(), expected);
        assert_eq!(tree.is_present(), language != Language::Text);
    }
}

#[test]
fn errors_in_a_range_are_those_that_touch_it() {
    let tree = SyntaxTree::parse_str(Language::Python, "a = = 1\nb = 2\nc = 3\nd = = 4\n");
    assert_eq!(
        (
            tree.n_errors(),
            tree.n_errors_in(0..7),
            tree.n_errors_in(9..18),
            tree.n_errors_in(20..27)
        ),
        (2, 1, 0, 1)
    );
}

#[test]
fn a_preview_changes_neither_document_nor_tree() {
    let document = Document::new("x = foo(\n", 1);
    let tree = SyntaxTree::parse(Language::Python, document.rope());
    let before = (tree.n_errors(), tree.dump(100));
    assert_eq!(tree.preview(&document, 8..8, "a)").n_errors(), 0);
    assert_eq!(tree.preview(&document, 8..9, "a)\n").n_errors(), 0);
    assert!(tree.preview(&document, 8..8, "a]").n_errors() > 0);
    assert_eq!((tree.n_errors(), tree.dump(100)), before);
    assert_eq!(document.text(), "x = foo(\n");
}

#[test]
fn edits_are_reparsed() {
    let mut document = Document::new("def f():\n    pass\n", 1);
    let mut tree = SyntaxTree::parse(Language::Python, document.rope());
    let range = Range::new(Position::new(0, 4), Position::new(0, 5));
    tree.edit(&document.apply(range, Encoding::Utf16, "grün"));
    tree.reparse(document.rope());
    let scope = tree.scope(document.rope(), 20);
    assert_eq!(scope.name.as_deref(), Some("grün"));
    assert_eq!(tree.dump(1000), SyntaxTree::parse(Language::Python, document.rope()).dump(1000));
}

#[test]
fn a_parse_ends_by_its_work_and_not_by_the_clock() {
    let text = "def f(x):\n    return g(x, [1, 2, 3])\n".repeat(2_000);
    let rope = Rope::from_str(&text);
    let within = |limit| SyntaxTree::parse_within(Language::Python, &rope, limit).is_present();
    assert!(within(ParseLimit::REPEATABLE));
    assert!(!within(ParseLimit { steps: 3, ..ParseLimit::REPEATABLE }));
    assert!(!within(ParseLimit { bytes: text.len() as u64 / 2, ..ParseLimit::REPEATABLE }));
    // Each `r#"` makes the lexer read to the end of the text: little of the parser's work, much
    // reading.
    let far = Rope::from_str(&"r#\"".repeat(20_000));
    let limit = ParseLimit { bytes: 1 << 20, ..ParseLimit::REPEATABLE };
    assert!(!SyntaxTree::parse_within(Language::Rust, &far, limit).is_present());
}

#[test]
fn a_parse_for_somebody_who_waits_no_longer_is_given_up() {
    let document = Document::new(&"x = f(1)\n".repeat(20_000), 0);
    let tree = SyntaxTree::parse_within(Language::Python, document.rope(), ParseLimit::REPEATABLE);
    let past = Some(std::time::Instant::now());
    let (hurried, whole) = (tree.clone().until(past), document.len_bytes());
    // All of it is new.
    assert!(!hurried.preview(&document, 0..whole, &"y = [2]\n".repeat(20_000)).is_present());
    assert!(hurried.is_present(), "what is there stays");
    assert!(
        hurried.until(None).preview(&document, 0..whole, &"y = [2]\n".repeat(20_000)).is_present()
    );
}
