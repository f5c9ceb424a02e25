//! Places where nothing is offered whatever a model would write, and what a text needs so that it stands well between its neighbours.

use lacuna_context::{Language, balance};
use lacuna_text::Document;

/// More text than this is not judged: nobody calls a file of that size finished.
const MAX_WHOLE: usize = 256 << 10;

/// Whether nothing is missing in a file, as far as can be told without a model: it is blank, or the cursor stands on a blank line at the margin
/// below code that has come to its end and nothing follows. What a model adds there is a guess at another file.
pub(crate) fn is_blank_or_complete(language: Language, document: &Document, cursor: usize) -> bool {
    if document.len_bytes() > MAX_WHOLE || !document.slice(cursor..document.len_bytes()).trim().is_empty() {
        return false;
    }
    let before = document.slice(0..cursor);
    let code = before.trim_end();
    if code.is_empty() {
        return true;
    }
    let at_margin = before[code.len()..].ends_with('\n');
    let last = code.rsplit('\n').next().unwrap_or("");
    match language {
        Language::Text => false,
        Language::Python => at_margin && ends_in_main(code),
        _ => at_margin && last.starts_with('}') && balance(language, code).unmatched_openers.is_empty(),
    }
}

/// Whether the last lines are the block that runs the program.
fn ends_in_main(code: &str) -> bool {
    let head = code.lines().rfind(|line| !line.trim().is_empty() && !line.starts_with([' ', '\t', '#', ')', ']', '}']));
    let indented = code.lines().last().is_some_and(|line| line.starts_with([' ', '\t']));
    head.is_some_and(|head| head.starts_with("if __name__") && (indented || !head.trim_end().ends_with(':')))
}

/// `completion` with what puts the closer right of the cursor on a line of its own, as deep as the line that opened it, where the completion is
/// a block between the two: `f() {|}`.
pub(crate) fn closer_on_own_line(before: &str, completion: String, after: &str) -> String {
    let line = before.rsplit('\n').next().unwrap_or("");
    let opener = line.trim_end().bytes().last();
    let closer = after.trim_start_matches([' ', '\t']).bytes().next();
    let is_pair = matches!((opener, closer), (Some(b'{'), Some(b'}')) | (Some(b'('), Some(b')')) | (Some(b'['), Some(b']')))
        || (opener == Some(b'>') && after.trim_start_matches([' ', '\t']).starts_with("</"));
    let is_block = completion.starts_with(['\n', '\r']) && !completion.trim().is_empty();
    if !is_pair || !is_block {
        return completion;
    }
    let indent = &line[..line.len() - line.trim_start().len()];
    format!("{}\n{indent}", completion.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_and_complete_files_are_told() {
        for (path, before, after, complete) in [
            ("a.py", "", "", true),
            ("a.md", "\n\n", "\n", true),
            ("a.py", "", "x = 1\n", false),
            ("a.c", "int main(void) {\n    return 0;\n}\n", "", true),
            ("a.c", "int main(void) {\n    return 0;\n}\n\n", "\n\n", true),
            ("a.c", "int main(void) {\n    return 0;\n}\nint f", "", false),
            ("a.c", "int main(void) {\n    if (x) {\n    }\n", "", false),
            ("a.rs", "mod tests {\n    fn f() {\n    }\n    ", "\n", false),
            ("a.go", "package main\n", "", false),
            ("a.js", "f(() => {\n  g();\n});\n", "", true),
            ("a.py", "def f():\n    pass\n\n", "", false),
            ("a.py", "if __name__ == \"__main__\":\n    main()\n", "", true),
            ("a.py", "if __name__ == \"__main__\":\n", "", false),
            ("a.py", "if __name__ == \"__main__\":\n    main()\n    ", "", false),
        ] {
            let language = Language::from_path(std::path::Path::new(path));
            let document = Document::new(&format!("{before}{after}"), 0);
            assert_eq!(is_blank_or_complete(language, &document, before.len()), complete, "{path}: {before:?} | {after:?}");
        }
    }

    #[test]
    fn a_closer_comes_on_its_own_line_below_a_block() {
        for (before, completion, after, text) in [
            ("function sub(a, b) {", "\n  return a + b;", "}\n", "\n  return a + b;\n"),
            ("    if (x) {", "\n        y();\n        z();", " }\n", "\n        y();\n        z();\n    "),
            ("\tx := []int{", "\n\t\t1,", "}\n", "\n\t\t1,\n\t"),
            ("  f(", "\n    a,", ")\n", "\n    a,\n  "),
            ("<div>", "\n  <p></p>", "</div>\n", "\n  <p></p>\n"),
            ("function sub(a, b) {", " return a + b; ", "}\n", " return a + b; "),
            ("function sub(a, b) {", "\n  return a + b;", "\n}\n", "\n  return a + b;"),
            ("x = f(a", ",\n  b", ")\n", ",\n  b"),
        ] {
            assert_eq!(closer_on_own_line(before, completion.to_owned(), after), text, "{before:?} {completion:?} {after:?}");
        }
    }
}
