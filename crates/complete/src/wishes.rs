//! What the file around the cursor asks of the line that is written there: names that it must bind,
//! a block that it must open.
//!
//! Evidence, not law: a wish moves a line up or down by some nats ([`Wishes::bonus`]), and begins
//! hypotheses of its own ([`Wishes::starts`]). Asks nothing where something stands right of the
//! cursor on its line. Does not own: which names are unbound (`lacuna_context::Names`).

use lacuna_context::{Language, Names, balance, line_names};
use lacuna_text::Document;

use crate::Request;
use crate::indent::blanks;

/// Nats against a line for each name that the text right of it misses and that it does not bind; of
/// so many names at most.
const BINDS: f32 = 4.0;
const MAX_BOUND: usize = 2;
/// Nats against a line that opens nothing although the next one is deeper.
const OPENS_NOTHING: f32 = 4.0;
/// Nats against a line that leaves although the next one, as deep, would never be reached.
const LEAVES: f32 = 2.0;
/// Starts that are followed beside the free one.
const MAX_STARTS: usize = 2;
/// A file whose names are looked up is no larger: the time of a request is bounded.
const MAX_BYTES: usize = 200_000;
/// Bytes right of the cursor in which the next line of code is looked for.
const LOOK_AHEAD: usize = 4 << 10;

/// What is asked of a line.
pub(crate) struct Wishes {
    language: Language,
    /// What stands on the line already.
    line: String,
    /// Names that are used right of the cursor and bound nowhere.
    unbound: Vec<String>,
    /// The next line of code.
    next: Option<String>,
    /// Blanks that a whole line would begin with.
    indent: String,
}

/// Whether one line is deeper than another. Tabs and spaces that do not compare are no evidence.
fn is_deeper(inner: &str, outer: &str) -> bool {
    let (inner, outer) = (blanks(inner), blanks(outer));
    inner.len() > outer.len() && inner.starts_with(outer)
}

impl Wishes {
    /// What the document asks of the line at the request's cursor; `None` where it asks nothing.
    pub fn of(request: &Request<'_>) -> Option<Wishes> {
        let Request { document, cursor, language, .. } = request;
        let after = document.slice(*cursor..cursor.saturating_add(LOOK_AHEAD));
        let (rest, following) = after.split_once('\n')?;
        if !rest.trim().is_empty() || *language == Language::Text {
            return None;
        }
        let before = document.slice(cursor.saturating_sub(LOOK_AHEAD)..*cursor);
        let (above, line) = before.rsplit_once('\n').unwrap_or(("", &before));
        let next = following
            .lines()
            .find(|line| !line.trim().is_empty())
            .map(|line| line.trim_end().to_owned());
        let previous = above.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
        let indent = match &next {
            _ if !line.is_empty() => blanks(line),
            Some(next) if opens(*language, previous) && is_deeper(next, previous) => blanks(next),
            _ => blanks(previous),
        };
        let mut wishes = Wishes {
            language: *language,
            line: line.to_owned(),
            unbound: Vec::new(),
            indent: indent.to_owned(),
            next,
        };
        if line.trim().is_empty() && request.tree.is_present() && document.len_bytes() <= MAX_BYTES
        {
            wishes.unbound = wishes.missing(request).unwrap_or_default();
        }
        Some(wishes)
    }

    /// Names that nothing binds, with something in the hole that lets the rest parse.
    fn missing(&self, request: &Request<'_>) -> Option<Vec<String>> {
        let indent = if self.line.is_empty() { &self.indent[..] } else { "" };
        let is_python = self.language == Language::Python;
        let filler = match (self.is_outer(&format!("{}{indent}_", self.line)), is_python) {
            (true, true) => "if _:",
            (true, false) => "if (_) {",
            (false, true) => "_",
            // What is deeper and not inside goes on with this line.
            (false, false)
                if self
                    .next
                    .as_deref()
                    .is_some_and(|next| is_deeper(next, &format!("{}{indent}", self.line))) =>
            {
                "_"
            }
            (false, false) => "_;",
        };
        let filler = format!("{indent}{filler}");
        let mut filled: Document = request.document.clone();
        filled.splice(request.cursor..request.cursor, &filler);
        let tree = request.tree.preview(request.document, request.cursor..request.cursor, &filler);
        let text = filled.slice(0..filled.len_bytes());
        Names::of(&tree, &text, request.cursor + filler.len()).map(|names| names.unbound)
    }

    /// Whether the next line is inside of what this line opens.
    fn is_outer(&self, line: &str) -> bool {
        // A chain or an operator goes on with a line that has opened nothing.
        let starts = |next: &str| {
            next.trim_start()
                .starts_with(|c: char| c.is_alphanumeric() || "_\"'`@#*-&(".contains(c))
        };
        self.next.as_deref().is_some_and(|next| is_deeper(next, line) && starts(next))
    }

    /// The line with `text`, without what follows it.
    fn whole(&self, text: &str) -> String {
        // A text may begin with the end of the line that opens a block.
        let text = text.trim_start_matches(['\n', '\r']);
        format!("{}{}", self.line, text.lines().next().unwrap_or(""))
    }

    /// Nats that are added to the likelihood of a line that `text` completes; never more than 0.
    pub fn bonus(&self, text: &str) -> f32 {
        if text.starts_with(['\n', '\r']) {
            return 0.0;
        }
        let line = self.whole(text);
        let mut nats = 0.0;
        if !self.unbound.is_empty() {
            let binds = line_names(self.language, &line).binds;
            let bound = self.unbound.iter().filter(|name| binds.contains(name)).count();
            nats -= BINDS * self.unbound.len().min(MAX_BOUND).saturating_sub(bound) as f32;
        }
        if self.is_outer(&line) && !opens(self.language, &line) {
            nats -= OPENS_NOTHING;
        }
        if leaves(&line)
            && self
                .next
                .as_deref()
                .is_some_and(|next| blanks(next) == blanks(&line) && is_statement(next))
        {
            nats -= LEAVES;
        }
        nats
    }

    /// Whether a name is used that nothing binds.
    pub fn asks_for_names(&self) -> bool {
        !self.unbound.is_empty()
    }

    /// How a line may begin that binds what is missing, from the cursor on.
    pub fn starts(&self) -> Vec<String> {
        let Some(name) = self.unbound.first() else { return Vec::new() };
        let indent = if self.line.is_empty() { &self.indent[..] } else { "" };
        let opens = self.is_outer(&format!("{}{indent}_", self.line));
        let names =
            self.unbound.iter().take(MAX_BOUND).map(String::as_str).collect::<Vec<_>>().join(", ");
        let is_several = self.unbound.len() > 1;
        let mut starts = match (self.language, opens) {
            (Language::Python, true) => vec![format!("for {names} in")],
            (Language::Python, false) if is_several => {
                vec![format!("{name} ="), format!("{names} =")]
            }
            (Language::Python, false) => vec![format!("{name} =")],
            (Language::Rust, true) => vec![format!("for {name} in")],
            (Language::Rust, false) => vec![format!("let {name} ="), format!("let mut {name} =")],
            (Language::JavaScript | Language::TypeScript | Language::Tsx, true) => {
                vec![format!("for (const {name} of")]
            }
            (Language::JavaScript | Language::TypeScript | Language::Tsx, false) => {
                vec![format!("const {name} ="), format!("let {name} =")]
            }
            (Language::Go, true) => vec![format!("for _, {name} := range")],
            (Language::Go, false) => vec![format!("{names} :=")],
            (Language::Java, _) => vec![format!("var {name} =")],
            (Language::C | Language::Cpp | Language::Text, _) => Vec::new(),
        };
        starts.truncate(MAX_STARTS);
        starts.into_iter().map(|start| format!("{indent}{start}")).collect()
    }
}

/// Whether a line opens a block, a bracket or an expression that goes on.
fn opens(language: Language, line: &str) -> bool {
    let line = line.trim_end();
    let mark = if language == Language::Python {
        line.ends_with([':', '\\'])
    } else {
        line.ends_with(['=', ':', ',', '>', '|', '&', '+', '?'])
    };
    mark || !balance(language, line).unmatched_openers.is_empty()
}

fn first_word(line: &str) -> &str {
    line.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

/// Whether what follows a line as deep as it is never reached.
fn leaves(line: &str) -> bool {
    matches!(first_word(line), "return" | "raise" | "throw" | "break" | "continue")
}

/// Whether a line is a statement of its own: no label, no clause, no end of a block.
fn is_statement(line: &str) -> bool {
    let word = first_word(line);
    !word.is_empty()
        && !matches!(
            word,
            "case"
                | "default"
                | "else"
                | "elif"
                | "except"
                | "finally"
                | "catch"
                | "while"
                | "def"
                | "function"
                | "fn"
                | "class"
        )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lacuna_context::SyntaxTree;

    use super::*;

    fn wishes(path: &str, fixture: &str) -> Option<Wishes> {
        let (prefix, suffix) = fixture.split_once("$0").expect("a cursor");
        let document = Document::new(&format!("{prefix}{suffix}"), 0);
        let language = Language::from_path(Path::new(path));
        let tree = SyntaxTree::parse(language, document.rope());
        Wishes::of(&Request::at("", None, &document, &tree, prefix.len()))
    }

    #[test]
    fn missing_names_begin_lines_and_raise_those_that_bind_them() {
        for (path, fixture, starts, binding, other) in [
            (
                "a.py",
                "def f(xs):\n    $0\n    for x in xs:\n        total += x\n    return total\n",
                &["total ="][..],
                "total = 0",
                "n = 0",
            ),
            (
                "a.py",
                "def f(xs):\n    out = []\n    $0\n        out.append(x)\n    return out\n",
                &["for x in"],
                "for x in xs:",
                "if xs:",
            ),
            (
                "a.py",
                "def f(xs):\n    out = []\n$0\n        out.append(x)\n    return out\n",
                &["    for x in"],
                "    for x in xs:",
                "    if xs:",
            ),
            (
                "a.rs",
                "fn f(xs: &[u32]) -> u32 {\n    $0\n    total + 1\n}\n",
                &["let total =", "let mut total ="],
                "let total = 0;",
                "g();",
            ),
            (
                "a.js",
                "function f(xs) {\n  $0\n  return total + 1;\n}\n",
                &["const total =", "let total ="],
                "const total = 0;",
                "g();",
            ),
            (
                "a.go",
                "package a\nfunc f(xs []int) int {\n\t$0\n\treturn n + 1\n}\n",
                &["n :="],
                "n := 0",
                "g()",
            ),
        ] {
            let wishes = wishes(path, fixture).expect("wishes");
            assert_eq!(wishes.starts(), starts, "{fixture}");
            assert_eq!(wishes.bonus(binding) - wishes.bonus(other), BINDS, "{fixture}");
            assert_eq!(wishes.bonus(binding), 0.0, "{fixture}");
        }
    }

    #[test]
    fn a_deeper_next_line_asks_for_an_opener_and_an_unreachable_one_speaks_against_leaving() {
        for (path, fixture, better, worse) in [
            ("a.py", "def f(a):\n    $0\n        g(a)\n    return a\n", "if a:", "a = 1"),
            ("a.js", "function f(a) {\n  $0\n    g(a);\n  }\n}\n", "if (a) {", "a = 1;"),
            ("a.rs", "fn f(a: u32) {\n    $0\n        g(a);\n    }\n}\n", "while a > 1 {", "g(a);"),
            ("a.py", "def f(a):\n    $0\n    return a\n", "a += 1", "return a"),
            ("a.js", "function f(a) {\n  $0\n  g(a);\n}\n", "a += 1;", "throw a;"),
        ] {
            let wishes = wishes(path, fixture).expect("wishes");
            assert!(wishes.bonus(better) > wishes.bonus(worse), "{fixture}");
        }
        // A chain opens nothing, a clause is no statement.
        let chain =
            wishes("a.js", "const a = b => {\n  $0\n    .map(c => c);\n};\n").expect("wishes");
        assert_eq!((&chain.unbound[..], chain.bonus("b")), (&[][..] as &[String], 0.0));
        let clause =
            wishes("a.py", "def f(a):\n    if a:\n        $0\n    else:\n        a -= 1\n")
                .expect("wishes");
        assert_eq!(clause.bonus("return a"), 0.0);
    }

    #[test]
    fn nothing_is_asked_before_code_on_the_line_and_in_plain_text() {
        assert!(wishes("a.py", "x = f($0)\n").is_none());
        assert!(wishes("a.txt", "$0\n    deeper\n").is_none());
        assert!(wishes("a.py", "def f():\n    x$0").is_none(), "nothing follows");
    }
}
