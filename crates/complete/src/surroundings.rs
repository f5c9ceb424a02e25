//! Places where nothing is offered whatever a model would write, and what a text needs so that it
//! stands well between its neighbours.

use std::borrow::Cow;

use lacuna_context::{Language, SyntaxTree, balance};
use lacuna_text::Document;

use crate::indent::blanks;
use crate::{Reason, Request};

/// More text than this is not judged: nobody calls a file of that size finished.
const MAX_WHOLE: usize = 256 << 10;
/// Bytes of a line in which errors are looked for.
const MAX_LINE: usize = 4 << 10;

/// Why nothing is missing in a file, as far as can be told without a model: it is blank, or the
/// cursor stands on a blank line at the margin below code that has come to its end, and nothing
/// follows. What a model adds there is a guess at another file.
pub(crate) fn nothing_to_guess(request: &Request<'_>) -> Option<Reason> {
    let Request { document, cursor, language, .. } = request;
    if document.len_bytes() > MAX_WHOLE
        || !document.slice(*cursor..document.len_bytes()).trim().is_empty()
    {
        return None;
    }
    let before = document.slice(0..*cursor);
    let code = before.trim_end();
    if code.is_empty() {
        return Some(Reason::BlankFile);
    }
    let is_at_margin = before[code.len()..].ends_with('\n');
    (is_at_margin && is_finished(*language, code)).then_some(Reason::FinishedFile)
}

/// Whether a text has come to its end: its last line closes all that was open, or is in the block
/// that runs a program.
fn is_finished(language: Language, code: &str) -> bool {
    let last = code.rsplit('\n').next().unwrap_or("");
    let is_closed = || balance(language, code).unmatched_openers.is_empty();
    match language {
        Language::Python => ends_in_main(code),
        Language::Text => {
            last.trim() == "</html>"
                || (code.trim_start().starts_with(['{', '['])
                    && last.starts_with(['}', ']'])
                    && is_closed())
        }
        _ => last.starts_with('}') && is_closed(),
    }
}

/// Whether the last lines are the block that runs the program.
fn ends_in_main(code: &str) -> bool {
    let head = code.lines().rfind(|line| {
        !line.trim().is_empty() && !line.starts_with([' ', '\t', '#', ')', ']', '}'])
    });
    let indented = code.lines().last().is_some_and(|line| line.starts_with([' ', '\t']));
    head.is_some_and(|head| {
        head.starts_with("if __name__") && (indented || !head.trim_end().ends_with(':'))
    })
}

/// Whether the line at the cursor may be finished as it stands: it has something, nothing stands
/// right of the cursor, and it parses.
pub(crate) fn may_be_finished(request: &Request<'_>, after: &str) -> bool {
    let Request { document, cursor, tree, .. } = request;
    if !after.lines().next().unwrap_or("").trim().is_empty() {
        return false;
    }
    let before = document.slice(cursor.saturating_sub(MAX_LINE)..*cursor);
    let left = before.rsplit('\n').next().unwrap_or("");
    !left.trim().is_empty() && tree.n_errors_in(cursor - left.len()..cursor + 1) == 0
}

/// Whether `completion` is a mark that only ends what stands before it (`;`, `,`), at the end of a
/// line, where the file parses as well without. Some people write it and some do not; it is not
/// worth a suggestion. Text without a grammar never misses it.
pub(crate) fn is_idle_mark(
    tree: &SyntaxTree,
    document: &Document,
    cursor: usize,
    completion: &str,
    rest: &str,
) -> bool {
    let is_mark = !completion.trim().is_empty()
        && completion.trim().chars().all(|c| matches!(c, ';' | ',' | '.' | ':'));
    is_mark && rest.trim().is_empty() && {
        let preview = tree.preview(document, cursor..cursor, completion);
        !tree.is_present() || !preview.is_present() || preview.n_errors() >= tree.n_errors()
    }
}

/// `completion` with what puts the closer right of the cursor on a line of its own, as deep as the
/// line that opened it, where the completion is a block between the two: `f() {|}`, or `|}` on a
/// line below the opener.
pub(crate) fn closer_on_own_line(
    language: Language,
    before: &str,
    completion: String,
    after: &str,
) -> String {
    let left = before.rsplit('\n').next().unwrap_or("");
    let rest = after.trim_start_matches([' ', '\t']);
    let is_block = completion.starts_with(['\n', '\r']) || left.trim().is_empty();
    if !is_block || completion.trim().is_empty() {
        return completion;
    }
    let opener = match rest.bytes().next() {
        Some(closer @ (b'}' | b')' | b']')) => {
            opener_at_lines_end(language, &format!("{before}{completion}"), closer)
        }
        Some(b'<') if rest.starts_with("</") && left.trim_end().ends_with('>') => {
            Some(Cow::Borrowed(left))
        }
        _ => None,
    };
    // A line that is still to be written has no opener of its own.
    match opener {
        Some(line) if !line.is_empty() => format!("{}\n{}", completion.trim_end(), blanks(&line)),
        _ => completion,
    }
}

/// The line that opens what `closer` behind `text` closes, where the opener is the last of that
/// line and not on the last one.
fn opener_at_lines_end(language: Language, text: &str, closer: u8) -> Option<Cow<'static, str>> {
    let opener = balance(language, text)
        .unmatched_openers
        .into_iter()
        .last()
        .filter(|bracket| bracket.closer() == closer)?;
    let start = text[..opener.offset].rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map(|at| start + at)?;
    let line = &text[start..end];
    let is_last = line.trim_end().len() == opener.offset + opener_len(text, opener.offset) - start;
    is_last.then(|| Cow::Owned(line.to_owned()))
}

/// `${` is an opener of two bytes.
fn opener_len(text: &str, offset: usize) -> usize {
    if text[offset..].starts_with("${") { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, before: &str, after: &str) -> Option<Reason> {
        let language = Language::from_path(std::path::Path::new(path));
        let document = Document::new(&format!("{before}{after}"), 0);
        let tree = SyntaxTree::parse(language, document.rope());
        nothing_to_guess(&Request::at("", None, &document, &tree, before.len()))
    }

    #[test]
    fn blank_and_finished_files_are_told() {
        for (path, text) in
            [("a.py", ""), ("a.md", "\n\n\n"), ("Makefile", " \n"), ("a.html", "\t")]
        {
            assert_eq!(told(path, text, ""), Some(Reason::BlankFile), "{path} {text:?}");
        }
        for (path, before, after, complete) in [
            ("a.py", "", "x = 1\n", false),
            ("a.json", "{\n  \"a\": 1\n}\n", "", true),
            ("a.css", "a {\n  b: c;\n}\n", "", false),
            ("a.html", "<html>\n</html>\n", "\n", true),
            ("a.md", "# Title\n\n", "", false),
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
            let expected = complete.then_some(Reason::FinishedFile);
            assert_eq!(told(path, before, after), expected, "{path}: {before:?} | {after:?}");
        }
    }

    #[test]
    fn marks_are_offered_where_they_are_missing() {
        for (path, before, mark, after, idle) in [
            ("a.c", "int f(void) { return 1", ";", "\n}\n", false),
            ("a.rs", "fn f() -> u32 {\n    g(1)", ";", "\n}\n", true),
            ("a.js", "function f() {\n  return 1", ";", "\n}\n", true),
            ("a.py", "if x", ":", "\n    y = 1\n", false),
            ("a.py", "x = 1", ",", "\n", true),
            ("a.md", "Some words", ".", "\n", true),
            ("a.c", "int f(void) { return 1", ";", " }\n", false),
            ("a.js", "f(", "1", ")\n", false),
        ] {
            let language = Language::from_path(std::path::Path::new(path));
            let document = Document::new(&format!("{before}{after}"), 0);
            let tree = SyntaxTree::parse(language, document.rope());
            let rest = after.lines().next().unwrap_or("");
            assert_eq!(
                is_idle_mark(&tree, &document, before.len(), mark, rest),
                idle,
                "{path}: {before:?} {mark:?}"
            );
        }
    }

    #[test]
    fn a_closer_comes_on_its_own_line_below_a_block() {
        for (before, completion, after, text) in [
            ("function sub(a, b) {", "\n  return a + b;", "}\n", "\n  return a + b;\n"),
            (
                "    if (x) {",
                "\n        y();\n        z();",
                " }\n",
                "\n        y();\n        z();\n    ",
            ),
            ("\tx := []int{", "\n\t\t1,", "}\n", "\n\t\t1,\n\t"),
            ("  f(", "\n    a,", ")\n", "\n    a,\n  "),
            ("<div>", "\n  <p></p>", "</div>\n", "\n  <p></p>\n"),
            ("function sub(a, b) {", " return a + b; ", "}\n", " return a + b; "),
            ("function sub(a, b) {", "\n  return a + b;", "\n}\n", "\n  return a + b;"),
            ("x = f(a", ",\n  b", ")\n", ",\n  b"),
            ("function sub(a, b) {\n    ", "return a + b;", "}\n", "return a + b;\n"),
            ("  f(\n    ", "a,\n    b", ")\n", "a,\n    b\n  "),
            ("  f(a,\n    ", "b", ")\n", "b"),
            ("x = {\n", "  a: 1", "};\n", "  a: 1\n"),
            ("function sub(a, b) {\n  ", "if (a) {\n    b();", "}\n", "if (a) {\n    b();\n  "),
        ] {
            assert_eq!(
                closer_on_own_line(Language::JavaScript, before, completion.to_owned(), after),
                text,
                "{before:?} {completion:?} {after:?}"
            );
        }
    }
}
