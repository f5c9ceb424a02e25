//! The parse check: a completion must not leave the file in a worse state than it found it.

use std::ops::Range;

use lacuna_context::{Language, SyntaxTree, balance};
use lacuna_text::Document;

/// Bytes around the cursor in which a file must have parsed for its parse to say anything.
const NEAR: usize = 4 << 10;
/// A longer text before the cursor is not read for brackets.
const MAX_BEFORE: usize = 256 << 10;

/// Whether inserting `completion` at `cursor` adds parse errors; without a tree: whether it closes
/// what nothing opened.
///
/// What a completion opens on purpose is closed for the comparison: after `if x:` the user goes on
/// to write the body. Where the line so far has errors itself, as many are allowed as it has when
/// it ends at the cursor. Where the code around does not parse without the cursor's line either
/// (macros, templates, another language's header), or that line does not however it is closed,
/// errors say nothing: there only a bracket that closes nothing is refused.
pub(crate) fn parses_worse(
    tree: &SyntaxTree,
    document: &Document,
    cursor: usize,
    completion: &str,
) -> bool {
    let language = tree.language();
    if !tree.is_present() {
        return closes_too_much(language, document, cursor, completion);
    }
    let without = tree.n_errors();
    let errors =
        |at: Range<usize>, text: &str| errors_with(tree, document, at, text, 0..usize::MAX);
    let n_new = errors(cursor..cursor, completion)
        .min(errors(cursor..cursor, &format!("{completion}{}", closing(language, completion))));
    // Where nothing is wrong the parser knows better than the brackets.
    if n_new > 0 && closes_too_much(language, document, cursor, completion) {
        return true;
    }
    if n_new <= without {
        return false;
    }
    let line = cursors_line(document, cursor);
    let near = line.start.saturating_sub(NEAR)..cursor.saturating_add(NEAR);
    // Nothing was wrong so far, on the line or around it.
    if tree.n_errors_in(near.clone()) == 0 {
        return true;
    }
    if errors_with(tree, document, line.clone(), "", near) == 0 {
        if tree.n_errors_in(line.clone()) == 0 {
            return true;
        }
        let begun = document.slice(line.start..cursor);
        let end = if language.has_braces() { ";" } else { "" };
        return n_new > errors(cursor..line.end, &format!("{}{end}", closing(language, &begun)));
    }
    closes_nothing(language, document, cursor, completion)
}

/// ERROR and MISSING nodes in `counted` with `text` in place of `at`. 0 where the parse hit its
/// time limit: that proves nothing.
fn errors_with(
    tree: &SyntaxTree,
    document: &Document,
    at: Range<usize>,
    text: &str,
    counted: Range<usize>,
) -> usize {
    let preview = tree.preview(document, at, text);
    if preview.is_present() { preview.n_errors_in(counted) } else { 0 }
}

/// Bytes of the cursor's line, without its line break.
fn cursors_line(document: &Document, cursor: usize) -> Range<usize> {
    let before = document.slice(cursor.saturating_sub(NEAR)..cursor);
    let after = document.slice(cursor..cursor.saturating_add(NEAR));
    let left = before.rsplit('\n').next().map_or(0, str::len);
    let right = after.find(['\n', '\r']).unwrap_or(after.len());
    cursor - left..cursor + right
}

fn closes_nothing(
    language: Language,
    document: &Document,
    cursor: usize,
    completion: &str,
) -> bool {
    if cursor > MAX_BEFORE || balance(language, completion).unmatched_closers.is_empty() {
        return false;
    }
    let text = format!("{}{completion}", document.slice(0..cursor));
    balance(language, &text).unmatched_closers.iter().any(|bracket| bracket.offset >= cursor)
}

/// Whether more brackets close in vain with the completion than without. Without a grammar, kinds
/// that do so already (arms of a shell's `case`, smileys) tell nothing.
fn closes_too_much(
    language: Language,
    document: &Document,
    cursor: usize,
    completion: &str,
) -> bool {
    if document.len_bytes() > MAX_BEFORE
        || balance(language, completion).unmatched_closers.is_empty()
    {
        return false;
    }
    let (before, after) = (document.slice(0..cursor), document.slice(cursor..document.len_bytes()));
    let in_vain = |text: &str| {
        let closers = balance(language, text).unmatched_closers;
        [b')', b']', b'}'].map(|byte| closers.iter().filter(|bracket| bracket.byte == byte).count())
    };
    let (old, new) =
        (in_vain(&format!("{before}{after}")), in_vain(&format!("{before}{completion}{after}")));
    old.iter().zip(new).any(|(old, new)| new > *old && (*old == 0 || language != Language::Text))
}

/// What closes the brackets and the block that `completion` leaves open.
fn closing(language: Language, completion: &str) -> String {
    let mut text = String::new();
    if language == Language::Python && completion.trim_end().ends_with(':') {
        text.push_str(" pass");
    }
    for opener in balance(language, completion).unmatched_openers.iter().rev() {
        text.push(match opener.byte {
            b'(' => ')',
            b'[' => ']',
            _ => '}',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holes of the unfinished samples: text left of the cursor (unique, at the end of its line)
    /// and what belongs there.
    const PYTHON: &[(&str, &str)] = &[
        ("= gra", "des"),
        ("append(", "grade)"),
        ("/ len(", "self.grades)"),
        ("max(", "self.grades)"),
        ("load(", "file)"),
        ("[\"gr", "ades\"]))"),
        ("names.app", "end(student.name)"),
        ("return cou", "nts"),
        ("in ran", "ge(len(ordered)):"),
        ("in stu", "dents)"),
    ];
    const RUST: &[(&str, &str)] = &[
        (".is_", "empty()"),
        ("prio", "rity });"),
        ("pop_fr", "ont()"),
        ("Some(", "task);"),
        ("id ==", " id)?;"),
        ("task.pri", "ority);"),
    ];
    const JAVASCRIPT: &[(&str, &str)] = &[
        (".len", "gth; i++) {"),
        ("best = rea", "ding;"),
        ("return", " best;"),
        ("day, rea", "ding);"),
        ("reading.", "high}`;"),
        ("des", "cribe };"),
    ];
    const TYPESCRIPT: &[(&str, &str)] = &[
        ("push(con", "tact);"),
        ("!== na", "me);"),
        ("=>", " contact.name === name);"),
        ("contacts.", "length;"),
        ("contact.", "name);"),
        ("unde", "fined);"),
        ("(b.", "name));"),
    ];

    #[test]
    fn what_belongs_into_an_unfinished_file_is_not_refused() {
        for (file, holes) in [("py", PYTHON), ("rs", RUST), ("js", JAVASCRIPT), ("ts", TYPESCRIPT)]
        {
            let path =
                format!("{}/../../datasets/samples/in_progress.{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).unwrap();
            let document = Document::new(&text, 0);
            let tree = SyntaxTree::parse(
                Language::from_path(std::path::Path::new(&path)),
                document.rope(),
            );
            for (left, middle) in holes {
                let places: Vec<_> = text.match_indices(&format!("{left}\n")).collect();
                let [(at, _)] = places[..] else {
                    panic!("{file}: {left:?} is there {} times", places.len())
                };
                assert!(
                    !parses_worse(&tree, &document, at + left.len(), middle),
                    "{file}: {left:?} {middle:?}"
                );
            }
        }
    }

    #[test]
    fn code_that_never_parsed_is_not_refused_for_it() {
        let header = "#define FMT_BEGIN namespace fmt {\nFMT_BEGIN\ntemplate <typename Char>\nauto write(Char* out) -> Char* {\n  ";
        for (path, prefix, middle, suffix) in [
            (
                "os.h",
                format!("{header}out = detail::write<Char>("),
                "out);",
                "\n  return out;\n}\n}\n",
            ),
            (
                "os.h",
                format!("{header}auto size = std::min<size_t>("),
                "size, n);",
                "\n  return out;\n}\n}\n",
            ),
            (
                "a.cc",
                "FMT_API auto f() -> X {\n  BEGIN_MACRO(a b c)\n  out = g(".to_owned(),
                "out, 1);",
                "\n  return x\n}\n",
            ),
            (
                "a.c",
                "DEFINE(x, {1, 2}) static int\nf(void) {\n  for_each(x, y) if (".to_owned(),
                "x->next) {",
                "\n  }\n}\n",
            ),
        ] {
            let document = Document::new(&format!("{prefix}{suffix}"), 0);
            let tree =
                SyntaxTree::parse(Language::from_path(std::path::Path::new(path)), document.rope());
            assert!(
                !parses_worse(&tree, &document, prefix.len(), middle),
                "{path}: {prefix:?} {middle:?}"
            );
        }
        // A bracket that closes nothing is wrong in any code.
        let (prefix, suffix) =
            (format!("{header}out = detail::write<Char>("), "\n  return out;\n}\n}\n");
        let document = Document::new(&format!("{prefix}{suffix}"), 0);
        let tree = SyntaxTree::parse(Language::C, document.rope());
        assert!(parses_worse(&tree, &document, prefix.len(), "out]);"));
    }

    #[test]
    fn what_breaks_is_refused_and_what_is_merely_unfinished_is_not() {
        for (path, prefix, suffix, middle, refused) in [
            ("a.py", "x = f(", ")\n", "1))", true),
            ("a.py", "x = ", "\n", "1 +", false),
            ("a.py", "", "y = 1\n", "if x:", false),
            ("a.rs", "fn f() { let x = ", " }\n", "g(|y| {", false),
            ("a.js", "let x = [", "];\n", "1, }", true),
            ("a.ts", "const x: number = ", ";\n", "(1", false),
            ("a.txt", "(", "", "]", true),
            ("a.txt", "(", "", "x)", false),
            ("a.css", "a {\n  b: c(1", ");\n}\n", ") d", true),
            ("a.sh", "case $1 in\n    a)\n        ;;\n    ", "\nesac\n", "b)", false),
        ] {
            let document = Document::new(&format!("{prefix}{suffix}"), 0);
            let tree =
                SyntaxTree::parse(Language::from_path(std::path::Path::new(path)), document.rope());
            assert_eq!(
                parses_worse(&tree, &document, prefix.len(), middle),
                refused,
                "{path}: {prefix:?} {middle:?} {suffix:?}"
            );
        }
    }
}
