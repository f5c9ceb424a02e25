//! Facts about cursors.

use lacuna_context::Language::{self, *};
use lacuna_context::{CursorFacts, ParseLimit, SyntaxTree, cursor_facts};

fn facts(language: Language, fixture: &str) -> CursorFacts {
    let (rope, at) = crate::cursor(fixture);
    // However busy the machine is: a parse that is given up makes no tree.
    cursor_facts(&SyntaxTree::parse_within(language, &rope, ParseLimit::REPEATABLE), &rope, at)
}

#[test]
fn the_line_and_the_word() {
    let found = facts(Python, "a\n\tif foo.ba$0r: b\nc");
    assert_eq!((found.line_prefix.as_str(), found.line_suffix.as_str()), ("\tif foo.ba", "r: b"));
    assert_eq!((found.word_start, found.indent.as_str()), (10, "\t"));
    assert!(found.mid_line);
    let found = facts(Python, "x = é1$0\r\n");
    assert_eq!((found.word_start, found.line_suffix.as_str()), (4, ""));
    assert_eq!(facts(JavaScript, "$a$0").word_start, 0);
    assert_eq!(facts(Python, "x.$0").word_start, 2);
    assert_eq!(facts(Text, "$0").word_start, 0);
}

/// The facts that are true, by letter: c comment, s string, o opens a block, e in an empty block, m
/// mid-line.
fn letters(language: Language, fixture: &str) -> String {
    let f = facts(language, fixture);
    let all = [
        ('c', f.in_comment),
        ('s', f.in_string),
        ('o', f.opens_block),
        ('e', f.in_empty_block),
        ('m', f.mid_line),
    ];
    all.into_iter().filter(|(_, is)| *is).map(|(c, _)| c).collect()
}

#[test]
fn yes_and_no() {
    let cases = [
        (Python, "x = 1 # a$0b", "cm"),
        (Python, "# a$0", "c"),
        (Python, "x = 'a$0b'", "sm"),
        (Python, "x = 'a'$0", ""),
        (Python, "x = '''\n$0\n'''", "s"),
        (Python, "x = 'it is open $0\ny = 1", "s"),
        (Python, "def f():$0", "o"),
        (Python, "def f():  # c\n    $0", "e"),
        (Python, "def f():\n    $0\n    return 1", ""),
        (Python, "def f():\n    $0\nx = 1", "e"),
        (Python, "def f():\n    \"\"\"Doc.\"\"\"\n    $0\nx = 1", "e"),
        (Python, "def f():\n    \"\"\"Doc.\"\"\"\n    $0\n    x = 1", ""),
        (Python, "x[1:$0", ""),
        (Python, "foo($0)", ""),
        (Python, "foo($0))],", ""),
        (Python, "foo($0, b)", "m"),
        (Rust, "fn f() {$0", "o"),
        (Rust, "fn f() {$0}", "o"),
        (Rust, "fn f() {\n    $0\n}", "e"),
        (Rust, "fn f() {\n    a();\n    $0\n}", ""),
        (Rust, "let s = \"{$0\";", "s"),
        (Rust, "/* a $0 */ b", "cm"),
        (Rust, "A =>$0 b,", "om"),
        (JavaScript, "`a ${b$0} c`", "m"),
        (JavaScript, "`a ${b} $0c`", "sm"),
        (JavaScript, "const a = {$0};", "o"),
        (Text, "don't$0", ""),
        (Text, "for x in *; do$0\ndone", "o"),
        (Text, "def f(x)\n  $0\nend", "e"),
        (Text, "def f(x)\n  $0\n  x\nend", ""),
        (Text, "local x = f(a)\n  $0", ""),
        (Text, "local function f(a)\n  $0", "e"),
    ];
    for (language, fixture, expected) in cases {
        assert_eq!(letters(language, fixture), expected, "{fixture:?}");
    }
}

#[test]
fn far_from_the_start_the_tree_tells_strings_and_comments() {
    let filler = "x = 1\n".repeat(20_000);
    // The window that is looked at starts inside the string.
    let long_string = format!("{filler}y = '''{}$0\n'''\n", "a\n".repeat(50_000));
    assert_eq!(letters(Python, &long_string), "s");
    assert_eq!(letters(Python, &format!("{filler}# a$0\n")), "c");
    assert_eq!(letters(Python, &format!("{filler}z = f'a{{b$0}}'\n")), "");
    assert_eq!(letters(Python, &format!("{filler}z = b$0\n")), "");
}

#[test]
fn offsets_past_the_end_and_inside_characters_are_moved() {
    let rope = lacuna_context::Rope::from_str("x = '😀'");
    let tree = SyntaxTree::parse(Python, &rope);
    for byte in 0..20 {
        let found = cursor_facts(&tree, &rope, byte);
        assert!("x = '😀'".starts_with(&found.line_prefix));
    }
    assert_eq!(cursor_facts(&tree, &rope, 7).line_prefix, "x = '");
}
