//! [`prose_at`]: whether a cursor stands in a comment, in documentation or in a string, where people write words rather than code.
//!
//! The tree says so where it has no error. While somebody types, a quote or a `/*` is often not
//! closed yet, and where the parser mends that is its own choice: then the lexer is asked, which
//! reads from the left as people do. What makes a comment documentation is each language's
//! convention.

use lacuna_text::Rope;

use crate::cursor::{floor_char, lexed_state, text, window_start};
use crate::{Language, Lexer, SyntaxTree};

/// Words in a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prose {
    Comment,
    /// What documentation is made of: `///`, `//!`, `/** */`, docstrings, `#:`, in Go the comment
    /// above a declaration.
    DocComment,
    /// Inside the quotes. Code in an f-string or a template string is not in the string.
    String,
}

/// Lines below a comment that are looked at for the declaration it belongs to.
const MAX_LINES_BELOW: usize = 200;
/// Bytes before a string that are looked at for what it belongs to.
const MAX_BEFORE: usize = 4096;

/// What the place `byte` (clamped to the text, rounded down to a character) of `rope`, whose tree
/// is `tree`, stands in; `None`: code, or a text without a grammar.
pub fn prose_at(tree: &SyntaxTree, rope: &Rope, byte: usize) -> Option<Prose> {
    let language = tree.language();
    if language == Language::Text {
        return None;
    }
    let cursor = floor_char(rope, byte);
    let from = window_start(rope, rope.line_to_byte(rope.byte_to_line(cursor)), cursor);
    let is_sound = tree.root().is_some_and(|root| !root.has_error());
    // A window that starts inside a string misleads the lexer more than an error somewhere the
    // tree.
    let found = if is_sound || from > 0 && tree.is_present() {
        by_tree(tree, rope, cursor)
    } else {
        by_lexer(language, rope, from, cursor)
    };
    match found? {
        (Words::Comment, start) if is_documentation(language, rope, start) => {
            Some(Prose::DocComment)
        }
        (Words::Comment, _) => Some(Prose::Comment),
        (Words::String, start) if language == Language::Python && is_docstring(rope, start) => {
            Some(Prose::DocComment)
        }
        (Words::String, _) => Some(Prose::String),
    }
}

#[derive(Clone, Copy)]
enum Words {
    Comment,
    String,
}

/// The innermost comment or string around the cursor and the byte where it starts.
fn by_tree(tree: &SyntaxTree, rope: &Rope, cursor: usize) -> Option<(Words, usize)> {
    let mut found = None;
    // What ends at the cursor counts where it is not closed by what stands there: a comment to the
    // line's end.
    tree.descend(cursor.saturating_sub(1), |node| {
        let (start, end) = (node.start_byte(), node.end_byte());
        let kind = node.kind();
        let is_comment = kind.ends_with("comment");
        let to_the_line = is_comment && is_open_at(end, rope);
        if start >= cursor || !(cursor < end || cursor == end && to_the_line) {
            return;
        }
        if is_comment {
            // Rust's grammar has a node for the words in a comment, too.
            found = found
                .filter(|(words, _)| matches!(words, Words::Comment))
                .or(Some((Words::Comment, start)));
        } else if is_code_in_a_string(kind) {
            found = None;
        } else if is_string(kind) {
            found = Some((Words::String, start));
        }
    });
    found
}

/// Whether what is typed behind a comment that ends at `end` belongs to it: it goes to the end of
/// its line.
fn is_open_at(end: usize, rope: &Rope) -> bool {
    let last = text(rope, end.saturating_sub(2), end);
    !last.ends_with("*/") && !last.ends_with(['\n', '\r'])
}

fn is_code_in_a_string(kind: &str) -> bool {
    matches!(kind, "interpolation" | "template_substitution" | "string_interpolation")
}

fn is_string(kind: &str) -> bool {
    matches!(
        kind,
        "string"
            | "string_literal"
            | "template_string"
            | "raw_string_literal"
            | "interpreted_string_literal"
            | "char_literal"
            | "character_literal"
            | "rune_literal"
            | "regex"
            | "system_lib_string"
    )
}

/// The comment or string that is open at the cursor, read from `from`.
fn by_lexer(language: Language, rope: &Rope, from: usize, cursor: usize) -> Option<(Words, usize)> {
    let before = text(rope, from, cursor);
    let last = Lexer::new(language, &before).last()?;
    let start = from + last.range.start;
    match lexed_state(language, &before) {
        (true, _) => Some((Words::Comment, start)),
        (_, true) => Some((Words::String, start)),
        _ => None,
    }
}

/// Whether the comment that starts at `start` documents something.
fn is_documentation(language: Language, rope: &Rope, start: usize) -> bool {
    let head = text(rope, start, start + 4);
    let block = head.starts_with("/**") && !head.starts_with("/**/") && !head.starts_with("/***");
    let line = head.starts_with("///") && !head.starts_with("////");
    let inner = head.starts_with("//!") || head.starts_with("/*!");
    match language {
        Language::Python => head.starts_with("#:"),
        Language::Rust | Language::C | Language::Cpp => block || line || inner,
        // Java's Markdown comments.
        Language::Java => block || line,
        // Three slashes are a directive there.
        Language::JavaScript | Language::TypeScript | Language::Tsx => block,
        Language::Go => is_above_a_declaration(rope, start),
        Language::Text => false,
    }
}

/// Whether a comment of Go's at the margin has, with other comments in between and nothing else, a
/// declaration right below.
fn is_above_a_declaration(rope: &Rope, start: usize) -> bool {
    let first = rope.byte_to_line(start);
    if rope.line_to_byte(first) != start {
        return false;
    }
    let mut in_block = false;
    for line in rope.lines_at(first).take(MAX_LINES_BELOW) {
        let line: String = line.chars().take(80).collect();
        let line = line.trim_end();
        if in_block || line.starts_with("/*") {
            in_block = !line.contains("*/");
        } else if !line.starts_with("//") {
            return ["func ", "func(", "type ", "var ", "const ", "package "]
                .iter()
                .any(|word| line.starts_with(word));
        }
    }
    false
}

/// Whether the string that starts at `start` stands alone as a statement where Python has its
/// documentation: first in a file or behind the head of a block; in three quotes also behind
/// another statement, as descriptions of attributes are.
fn is_docstring(rope: &Rope, start: usize) -> bool {
    let line_start = rope.line_to_byte(rope.byte_to_line(start));
    let left = text(rope, line_start, start);
    let is_prefix = |c: char| "rRuUbBfF".contains(c);
    if !left.trim_start().trim_end_matches(is_prefix).is_empty() {
        return false;
    }
    let opener = text(rope, start, start + 6);
    let quotes = opener.trim_start_matches(is_prefix);
    let is_triple = quotes.starts_with("\"\"\"") || quotes.starts_with("'''");
    let before = text(rope, line_start.saturating_sub(MAX_BEFORE), line_start);
    let above =
        before.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    match above.and_then(|line| line.chars().last()) {
        None | Some(':') => true,
        // A value, an argument, one more piece of another string.
        Some(last) if "([{,=+-*/%&|^<>~.\\\"'".contains(last) => {
            above.is_some_and(|line| is_triple && ends_a_docstring(line))
        }
        Some(_) => is_triple,
    }
}

/// Three quotes that stand there for a string's end.
fn ends_a_docstring(line: &str) -> bool {
    (line.ends_with("\"\"\"") || line.ends_with("'''")) && !line.contains(['(', '[', '{', '='])
}

#[cfg(test)]
mod tests {
    use super::*;
    use Prose::{Comment, DocComment, String as Quoted};

    /// The prose at `|`, in the whole text and in what is left of the cursor alone, which is what a
    /// text looks like while it is typed.
    #[track_caller]
    fn check(language: Language, marked: &str, expected: Option<Prose>) {
        let (left, right) = marked.split_once('|').unwrap();
        for whole in [format!("{left}{right}"), left.to_owned()] {
            let rope = Rope::from_str(&whole);
            let tree = SyntaxTree::parse(language, &rope);
            let is_cut = whole.len() == left.len() && !right.is_empty();
            // What documents a declaration is told by the declaration.
            if !(is_cut && language == Language::Go && expected == Some(DocComment)) {
                assert_eq!(
                    prose_at(&tree, &rope, left.len()),
                    expected,
                    "{} {marked:?}, cut: {is_cut}",
                    language.name()
                );
            }
        }
    }

    #[test]
    fn comments_documentation_and_strings_by_each_languages_conventions() {
        use Language::*;
        for (language, marked, expected) in [
            (Python, "x = 1  # no|te\ny = 2\n", Some(Comment)),
            (Python, "x = 1  # note|\ny = 2\n", Some(Comment)),
            (Python, "x = 1  # note\n|y = 2\n", None),
            (Python, "#: wid|th\nw = 1\n", Some(DocComment)),
            (Python, "def f(a):\n    \"\"\"Adds |one.\"\"\"\n    return a\n", Some(DocComment)),
            (
                Python,
                "def f(\n    a,\n) -> int:\n    # note\n    r'''Adds\n    |one.'''\n    return a\n",
                Some(DocComment),
            ),
            (Python, "def f(a):\n    \"Adds |one.\"\n    return a\n", Some(DocComment)),
            (Python, "\"\"\"A mod|ule.\"\"\"\nimport os\n", Some(DocComment)),
            (Python, "class A:\n    x = 1\n    \"\"\"The |x.\"\"\"\n", Some(DocComment)),
            (Python, "x = \"so|me\"\n", Some(Quoted)),
            (Python, "f(\n    \"\"\"so|me\"\"\",\n)\n", Some(Quoted)),
            (Python, "x = (\n    \"one\"\n    \"tw|o\"\n)\n", Some(Quoted)),
            (Python, "x = \"\"\"a\nb|\n\"\"\"\n", Some(Quoted)),
            (Python, "x = \"some\"|\n", None),
            (Python, "x = |\"some\"\n", None),
            (Python, "x = |1\n", None),
            (Rust, "/// Adds |one.\nfn f() {}\n", Some(DocComment)),
            (Rust, "/// Adds one.|\nfn f() {}\n", Some(DocComment)),
            (Rust, "//! A cr|ate.\n", Some(DocComment)),
            (Rust, "/** Adds\n * o|ne. */\nfn f() {}\n", Some(DocComment)),
            (Rust, "//// ru|le\nfn f() {}\n", Some(Comment)),
            (Rust, "// no|te\nfn f() {}\n", Some(Comment)),
            (Rust, "/* no|te */\nfn f() {}\n", Some(Comment)),
            (Rust, "fn f<'a>(x: &'a str) { let y = |x; }\n", None),
            (Rust, "let s = r#\"so|me\"#;\n", Some(Quoted)),
            (JavaScript, "/**\n * Adds |one.\n */\nfunction f() {}\n", Some(DocComment)),
            (JavaScript, "/// <refer|ence />\n", Some(Comment)),
            (JavaScript, "/* no|te */ f();\n", Some(Comment)),
            (JavaScript, "const s = `so|me ${x}`;\n", Some(Quoted)),
            (JavaScript, "const s = `some ${f(x|)} more`;\n", None),
            (JavaScript, "const s = `some ${x} mo|re`;\n", Some(Quoted)),
            (JavaScript, "const s = 'so|me';\n", Some(Quoted)),
            (TypeScript, "/** Adds |one. */\nexport const f = 1;\n", Some(DocComment)),
            (Java, "/** Adds |one. */\nclass A {}\n", Some(DocComment)),
            (Java, "class A { // no|te\n}\n", Some(Comment)),
            (C, "/*! Adds |one. */\nint f(void);\n", Some(DocComment)),
            (Cpp, "/// Adds |one.\nint f();\n", Some(DocComment)),
            (Cpp, "auto s = \"so|me\";\n", Some(Quoted)),
            (Go, "// F adds |one.\n// Always.\nfunc F() {}\n", Some(DocComment)),
            (Go, "// F adds |one.\n\nfunc F() {}\n", Some(Comment)),
            (Go, "func F() {\n\t// no|te\n\tx := 1\n}\n", Some(Comment)),
            (Go, "var s = `so|me`\n", Some(Quoted)),
            (Text, "# don't |know\n", None),
        ] {
            check(language, marked, expected);
        }
    }

    #[test]
    fn code_in_an_f_string_is_code() {
        let text = "x = f\"some {name} more\"\n";
        let rope = Rope::from_str(text);
        let tree = SyntaxTree::parse(Language::Python, &rope);
        let at = |what: &str| prose_at(&tree, &rope, text.find(what).unwrap() + 1);
        assert_eq!((at("some"), at("name"), at("more")), (Some(Quoted), None, Some(Quoted)));
    }

    #[test]
    fn every_place_of_any_text_has_an_answer() {
        for language in Language::ALL {
            for whole in ["/** é", "\"\"\"🦀\n'", "`${`${", "'\\", "/*", "# é\r\n\"", "f\"{", ""]
            {
                let rope = Rope::from_str(whole);
                let tree = SyntaxTree::parse(language, &rope);
                (0..whole.len() + 2).for_each(|byte| {
                    assert!(prose_at(&tree, &rope, byte).is_none() || language != Language::Text)
                });
            }
        }
    }
}
