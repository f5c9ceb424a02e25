//! The parse check: a completion must not leave the file in a worse state than it found it.

use lacuna_context::{Language, SyntaxTree, balance};
use lacuna_text::Document;

/// Whether inserting `completion` at `cursor` adds parse errors. Always false without a tree.
///
/// What a completion opens on purpose is closed for the comparison: after `if x:` the user goes on to write the body.
pub(crate) fn parses_worse(tree: &SyntaxTree, document: &Document, cursor: usize, completion: &str) -> bool {
    if !tree.is_present() {
        return false;
    }
    let without = tree.n_errors();
    let with = |text: &str| {
        let preview = tree.preview(document, cursor..cursor, text);
        // A parse that hit its time limit proves nothing.
        if preview.is_present() { preview.n_errors() } else { 0 }
    };
    with(completion) > without && with(&format!("{completion}{}", closing(tree.language(), completion))) > without
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

    /// Holes of the unfinished samples: text left of the cursor (unique, at the end of its line) and what belongs there.
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
        for (file, holes) in [("py", PYTHON), ("rs", RUST), ("js", JAVASCRIPT), ("ts", TYPESCRIPT)] {
            let path = format!("{}/../../datasets/samples/in_progress.{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).unwrap();
            let document = Document::new(&text, 0);
            let tree = SyntaxTree::parse(Language::from_path(std::path::Path::new(&path)), document.rope());
            for (left, middle) in holes {
                let places: Vec<_> = text.match_indices(&format!("{left}\n")).collect();
                let [(at, _)] = places[..] else { panic!("{file}: {left:?} is there {} times", places.len()) };
                assert!(!parses_worse(&tree, &document, at + left.len(), middle), "{file}: {left:?} {middle:?}");
            }
        }
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
            ("a.txt", "(", "", "]", false),
        ] {
            let document = Document::new(&format!("{prefix}{suffix}"), 0);
            let tree = SyntaxTree::parse(Language::from_path(std::path::Path::new(path)), document.rope());
            assert_eq!(parses_worse(&tree, &document, prefix.len(), middle), refused, "{path}: {prefix:?} {middle:?} {suffix:?}");
        }
    }
}
