//! The line below an opener: where a block is opened at the cursor and has no body yet, what is
//! completed is that body.
//!
//! Right behind `def f():` or `if (x) {` most models take the line for whole, so the line break and
//! the indentation are written for them.

use std::path::Path;

use lacuna_context::{Language, SyntaxTree, balance, cursor_facts};
use lacuna_text::Document;

use crate::Request;
use crate::ghost::tail;

/// Bytes before the cursor from which the file's indentation is read.
const WINDOW: usize = 16 << 10;
/// More columns are no unit of indentation.
const MAX_UNIT: usize = 8;

/// The document with the block's first line begun, and what was written for that.
pub(crate) struct Opened {
    document: Document,
    tree: SyntaxTree,
    cursor: usize,
    /// Inserted left of the cursor.
    lead: String,
    /// Inserted right of it: a closer goes on a line of its own.
    trail: String,
}

impl Opened {
    /// `None`: no block is opened at the cursor, something else follows on its line, or the block
    /// has a body.
    pub fn at(request: &Request<'_>) -> Option<Opened> {
        let facts = cursor_facts(request.tree, request.document.rope(), request.cursor);
        if !facts.opens_block
            || !facts.body_is_empty
            || !opens_statements(request, &facts.line_prefix)
        {
            return None;
        }
        // A closing bracket goes to its own line, and with it what ends the statement; anything
        // else stays where it is.
        let rest = facts.line_suffix.trim();
        if !rest.chars().all(|c| ")]};,".contains(c)) {
            return None;
        }
        let before = request.document.slice(request.cursor.saturating_sub(WINDOW)..request.cursor);
        let line_break = if tail(&before, WINDOW).contains("\r\n") { "\r\n" } else { "\n" };
        let lead = format!("{line_break}{}{}", facts.indent, unit(request.language, &before));
        let trail =
            if rest.is_empty() { String::new() } else { format!("{line_break}{}", facts.indent) };
        let mut document = request.document.clone();
        let edit = document.splice(request.cursor..request.cursor, &format!("{lead}{trail}"));
        let mut tree = request.tree.clone();
        tree.edit(&edit);
        tree.reparse(document.rope());
        let cursor = request.cursor + lead.len();
        let has_no_body = cursor_facts(&tree, document.rope(), cursor).in_empty_block;
        has_no_body.then_some(Opened { document, tree, cursor, lead, trail })
    }

    /// The request for the block's body.
    pub fn request<'a>(&'a self, request: &Request<'a>) -> Request<'a> {
        Request { document: &self.document, tree: &self.tree, cursor: self.cursor, ..*request }
    }

    /// What is inserted at the original cursor for a text that was written in the body.
    pub fn whole(&self, text: &str) -> String {
        format!("{}{}{}", self.lead, text.trim_end(), self.trail)
    }

    /// The inverse: what was written in the body for a text at the original cursor; `None`:
    /// something else was.
    pub fn body(&self, whole: &str) -> Option<String> {
        whole.strip_prefix(&self.lead)?.strip_suffix(&self.trail).map(str::to_owned)
    }
}

/// Whether a text closes every bracket that it opens.
pub(crate) fn is_closed(language: Language, text: &str) -> bool {
    balance(language, text).unmatched_openers.is_empty()
}

/// Whether what the line opens holds statements or members, each on a line of its own: not the
/// values of an array, the names of an import or code in a string.
fn opens_statements(request: &Request<'_>, line_prefix: &str) -> bool {
    let line = line_prefix.trim_end();
    if request.language == Language::Text {
        return has_blocks(request.path, line);
    }
    let Some(before) = line.strip_suffix('{') else { return true };
    // `[]int{`: where a block is meant, a blank stands before the brace.
    if request.language == Language::Go {
        return before.ends_with(char::is_whitespace);
    }
    let before = before.trim_end();
    let last_word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
    if before.ends_with(['$', '#', '{']) || ["import", "export", "use"].contains(&last_word) {
        return false;
    }
    let is_value = before.ends_with(['=', '(', '[', ','])
        || before.ends_with("::")
        || request.language == Language::Java && before.ends_with("[]");
    // An object has members.
    !is_value
        || matches!(request.language, Language::JavaScript | Language::TypeScript | Language::Tsx)
}

/// Whether in a language without a grammar the end of this line opens a block: told by the file's
/// name, because a colon in prose or in JSON opens none.
fn has_blocks(path: Option<&str>, line: &str) -> bool {
    let extension = path
        .and_then(|path| Path::new(path).extension()?.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    match extension.as_str() {
        "css" | "scss" | "less" | "cs" | "kt" | "kts" | "swift" | "php" | "dart" | "scala"
        | "groovy" | "gradle" | "zig" | "proto" | "tf" | "hcl" | "graphql" | "vala" | "glsl"
        | "hlsl" | "wgsl" | "pl" | "pm" | "r" | "ps1" | "awk" | "sol" => line.ends_with('{'),
        "sh" | "bash" | "zsh" => {
            ["{", " do", ";do", "then", "else"].iter().any(|end| line.ends_with(end))
                || line.trim() == "do"
        }
        "rb" | "rake" | "gemspec" | "lua" | "ex" | "exs" | "cr" => {
            line.ends_with(|c: char| c.is_alphanumeric() || "_)?!".contains(c))
        }
        "yml" | "yaml" | "gd" | "nim" | "bzl" | "star" => line.ends_with(':'),
        _ => false,
    }
}

/// What one level is indented by: the commonest step from a line to a deeper one, or what is usual
/// in the language.
fn unit(language: Language, before: &str) -> String {
    let mut steps = [0; MAX_UNIT + 1];
    // The first line may be in the middle of anything.
    let (mut above, mut n_tabs) = (usize::MAX, 0);
    for line in before.lines().filter(|line| !line.trim().is_empty()) {
        let blanks = &line[..line.len() - line.trim_start().len()];
        n_tabs += usize::from(blanks.contains('\t'));
        if let Some(step) =
            blanks.len().checked_sub(above).filter(|step| (1..=MAX_UNIT).contains(step))
        {
            steps[step] += 1;
        }
        above = blanks.len();
    }
    if n_tabs > 0 && n_tabs >= steps[2..].iter().sum() {
        return "\t".to_owned();
    }
    let commonest =
        (2..=MAX_UNIT).rev().max_by_key(|step| steps[*step]).filter(|step| steps[*step] > 0);
    match (commonest, language) {
        (Some(n), _) => " ".repeat(n),
        (None, Language::Go) => "\t".to_owned(),
        (None, Language::JavaScript | Language::TypeScript | Language::Tsx | Language::Text) => {
            " ".repeat(2)
        }
        (None, _) => " ".repeat(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(path: &str, before: &str, after: &str) -> Option<(String, String)> {
        let language = Language::from_path(Path::new(path));
        let document = Document::new(&format!("{before}{after}"), 0);
        let tree = SyntaxTree::parse(language, document.rope());
        Opened::at(&Request::at("a", Some(path), &document, &tree, before.len()))
            .map(|opened| (opened.lead, opened.trail))
    }

    #[test]
    fn the_body_of_a_block_without_one_is_begun_as_the_file_is_indented() {
        for (path, before, after, lead, trail) in [
            ("a.py", "def f(x):", "\n", "\n    ", ""),
            ("a.py", "class A:\n  x = 1\n  def f(self):", "\n", "\n    ", ""),
            ("a.py", "def f(x):", "", "\n    ", ""),
            ("a.py", "def f(x):  ", "", "\n    ", ""),
            ("a.py", "def f(x):", "\n\ndef g():\n    pass\n", "\n    ", ""),
            ("a.py", "try:\r\n    a()\r\nexcept E:", "\r\n", "\r\n    ", ""),
            ("a.js", "function sub(a, b) {", "}\n", "\n  ", "\n"),
            ("a.js", "function sub(a, b) {", "\n}\n", "\n  ", ""),
            ("a.js", "if (a) {\n    b();\n    if (c) {", "}\n}\n", "\n        ", "\n    "),
            ("a.js", "run(async () => {", "});\n", "\n  ", "\n"),
            ("a.ts", "const options = {", "};\n", "\n  ", "\n"),
            ("a.go", "func f() {", "\n}\n", "\n\t", ""),
            ("a.go", "func f() {\n\tfor i := 0; i < 9; i++ {", "}\n}\n", "\n\t\t", "\n\t"),
            ("a.cpp", "case 1: {", "}\n", "\n    ", "\n"),
            ("a.cpp", "auto f = [&] {", "};\n", "\n    ", "\n"),
            ("a.rs", "fn f() -> [u8; 4] {", "}\n", "\n    ", "\n"),
            ("a.rs", "        1 => {", "}\n", "\n            ", "\n        "),
            ("a.go", "switch x {\ncase 1:", "\n}\n", "\n\t", ""),
            ("a.c", "int f(void) {\n\tif (x) {", "\n\t}\n}\n", "\n\t\t", ""),
            ("a.c", "int f(void)\n{", "}\n", "\n    ", "\n"),
            ("a.rs", "fn f() -> Vec<u8> {", "}", "\n    ", "\n"),
            ("a.java", "class A {\n  int f() {", "\n  }\n}\n", "\n    ", ""),
            ("a.css", "a:hover {", "}\n", "\n  ", "\n"),
            ("a.rb", "def f(x)", "\n", "\n  ", ""),
            ("a.rb", "xs.each do", "\nend\n", "\n  ", ""),
            ("a.lua", "local function f(x)", "\nend\n", "\n  ", ""),
            ("a.lua", "if x then", "\nend\n", "\n  ", ""),
            ("a.sh", "for x in *; do", "\ndone\n", "\n  ", ""),
            ("a.yml", "jobs:", "\n", "\n  ", ""),
        ] {
            assert_eq!(
                opened(path, before, after),
                Some((lead.to_owned(), trail.to_owned())),
                "{path}: {before:?} | {after:?}"
            );
        }
    }

    #[test]
    fn nothing_is_begun_where_no_block_is_missing() {
        for (path, before, after) in [
            ("a.py", "def f(x):", "\n    return x\n"),
            ("a.py", "def f(x):", " return x\n"),
            ("a.py", "x = {1:", "\n"),
            ("a.py", "x[1:", "]\n"),
            ("a.py", "# so:", "\n"),
            ("a.py", "s = 'so:", "'\n"),
            ("a.py", "def f(x)", "\n"),
            ("a.rs", "fn f() {", " g() }\n"),
            ("a.rs", "let x = f(", ")\n"),
            ("a.rs", "use std::{", "};\n"),
            ("a.rs", "println!(\"{", "}\");\n"),
            ("a.js", "const a = `${", "}`;\n"),
            ("a.js", "import {", "} from 'b';\n"),
            ("a.js", "export {", "};\n"),
            ("a.js", "function f() {", "\n  return 1;\n}\n"),
            ("a.go", "x := []int{", "}\n"),
            ("a.java", "int[] x = new int[] {", "};\n"),
            ("a.c", "int x[] = {", "};\n"),
            ("a.md", "As follows:", "\n"),
            ("a.txt", "what to do", "\n"),
            ("a.json", "{", "}\n"),
            ("a.rb", "x = [1", "\n"),
            ("a.sh", "echo foo", "\n"),
        ] {
            assert_eq!(opened(path, before, after), None, "{path}: {before:?} | {after:?}");
        }
    }
}
