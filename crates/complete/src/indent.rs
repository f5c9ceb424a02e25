//! Indentation as the file has it: the lines that a completion begins are as deep, and made of the
//! same blanks, as those around.
//!
//! A model writes four spaces into a file of tabs or of two spaces when it has seen little of that
//! file. Only what can be told for sure is changed: one step is known from the first line behind an
//! opener, and everything deeper must be a whole number of such steps.

/// What one step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Tab,
    Spaces(usize),
}

/// Spaces that one step may have.
const WIDEST: usize = 8;
/// An indented line behind an opener tells more than another deeper line, which may be aligned with
/// something.
const OPENER_WEIGHT: usize = 4;

impl Unit {
    /// The unit of a file's text, `None` where no line tells it.
    fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Unit> {
        let (mut tabs, mut spaces, mut steps) = (0, 0, [0usize; WIDEST + 1]);
        let mut previous: Option<&str> = None;
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let indent = blanks(line);
            tabs += usize::from(indent.starts_with('\t'));
            spaces += usize::from(indent.starts_with("  "));
            let above = previous.replace(line);
            if let Some(above) = above
                && let Some(step) = indent
                    .len()
                    .checked_sub(blanks(above).len())
                    .filter(|n| (2..=WIDEST).contains(n))
                && !indent.contains('\t')
                && indent.starts_with(blanks(above))
            {
                steps[step] += if opens(above) { OPENER_WEIGHT } else { 1 };
            }
        }
        if tabs > spaces {
            return Some(Unit::Tab);
        }
        let (step, n) =
            steps.into_iter().enumerate().max_by_key(|(step, n)| (*n, WIDEST - step))?;
        (n > 0).then_some(Unit::Spaces(step))
    }

    fn times(self, n: usize) -> String {
        match self {
            Unit::Tab => "\t".repeat(n),
            Unit::Spaces(width) => " ".repeat(width * n),
        }
    }
}

/// `completion` with the indentation of the file that `before` and `after` are of.
pub(crate) fn as_the_file(before: &str, completion: &str, after: &str) -> String {
    let left = before.rsplit('\n').next().unwrap_or("");
    // A line that the cursor has begun is the user's; its blanks are theirs too.
    let owns_first = left.is_empty();
    if !owns_first && !completion.contains('\n') {
        return completion.to_owned();
    }
    let above = &before[..before.len() - left.len()];
    let Some(unit) = Unit::of(above.lines().chain(after.lines().skip(1))) else {
        return completion.to_owned();
    };
    let anchor = if left.trim().is_empty() {
        above.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("")
    } else {
        left
    };
    // What the first line stands on, and what the lines below it are measured against.
    let first = format!("{left}{}", completion.lines().next().unwrap_or(""));
    let base = if owns_first || !left.trim().is_empty() { blanks(anchor) } else { blanks(&first) };
    let mut reference = if owns_first || !left.trim().is_empty() { anchor } else { &first };
    let owned: Vec<&str> = completion
        .split('\n')
        .skip(usize::from(!owns_first))
        .filter(|line| !line.trim().is_empty())
        .collect();
    let mut step = None;
    for line in &owned {
        let deeper = blanks(line).strip_prefix(blanks(reference)).filter(|extra| !extra.is_empty());
        if opens(reference) && step.is_none() {
            step = deeper.map(|extra| {
                if extra.starts_with('\t') { Unit::Tab } else { Unit::Spaces(extra.len()) }
            });
        }
        reference = line;
    }
    let Some(written) = step.or_else(|| foreign(base, &owned)).filter(|step| *step != unit) else {
        return completion.to_owned();
    };
    let Some(indents) = owned
        .iter()
        .map(|line| converted(blanks(line), base, written, unit))
        .collect::<Option<Vec<String>>>()
    else {
        return completion.to_owned();
    };
    let mut indents = indents.into_iter();
    let line = |(i, line): (usize, &str)| {
        let is_owned = (i > 0 || owns_first) && !line.trim().is_empty();
        match is_owned.then(|| indents.next()).flatten() {
            Some(indent) => format!("{indent}{}", line.trim_start_matches([' ', '\t'])),
            None => line.to_owned(),
        }
    };
    completion.split('\n').enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// The step of lines that are indented by other blanks than the line that they stand below.
fn foreign(base: &str, lines: &[&str]) -> Option<Unit> {
    let indents = || lines.iter().map(|line| blanks(line)).filter(|indent| !indent.is_empty());
    if base.starts_with('\t') && indents().all(|indent| indent.bytes().all(|b| b == b' ')) {
        let width = if indents().all(|indent| indent.len().is_multiple_of(4)) { 4 } else { 2 };
        return indents().next().map(|_| Unit::Spaces(width));
    }
    (base.starts_with(' ')
        && indents().next().is_some()
        && indents().all(|indent| indent.starts_with('\t')))
    .then_some(Unit::Tab)
}

/// An indentation below `base` in another unit; `None` where it is no whole number of steps.
fn converted(indent: &str, base: &str, from: Unit, to: Unit) -> Option<String> {
    let steps = |blanks: &str| match from {
        Unit::Tab => blanks.bytes().all(|b| b == b'\t').then_some(blanks.len()),
        Unit::Spaces(width) => (blanks.bytes().all(|b| b == b' ')
            && blanks.len().is_multiple_of(width))
        .then(|| blanks.len() / width),
    };
    match indent.strip_prefix(base) {
        Some(extra) => Some(format!("{base}{}", to.times(steps(extra)?))),
        // What is less deep than the line that it stands below goes back to where the file has been
        // already.
        None if base.starts_with(indent) => Some(indent.to_owned()),
        None => Some(to.times(steps(indent)?)),
    }
}

/// Blanks at the start of a line.
pub(crate) fn blanks(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

fn opens(line: &str) -> bool {
    line.trim_end().ends_with(['{', '(', '[', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABS: &str = "func f() {\n\tif x {\n\t\ty()\n\t}\n}\n";
    const TWO: &str = "function f() {\n  if (x) {\n    y();\n  }\n}\n";
    const FOUR: &str = "def f():\n    if x:\n        y()\n";

    #[test]
    fn lines_are_indented_as_the_file() {
        for (file, before, completion, expected) in [
            (
                TABS,
                "func g() {",
                "\n    z()\n    if z {\n        w()\n    }",
                "\n\tz()\n\tif z {\n\t\tw()\n\t}",
            ),
            (TABS, "func g() {\n\tif z {", "\n\t    w()", "\n\t\tw()"),
            (TABS, "func g() {\n\tif z {", "\n        w()\n    }", "\n\t\tw()\n\t}"),
            (TABS, "func g() {\n", "    z()", "\tz()"),
            (
                TWO,
                "function g() {",
                "\n    z();\n    if (z) {\n        w();\n    }",
                "\n  z();\n  if (z) {\n    w();\n  }",
            ),
            (TWO, "function g() {", "\n\tz();", "\n  z();"),
            (TWO, "function g() {\n", "    z();", "  z();"),
            (TWO, "function g() {\n  ", "if (z) {\n      w();\n  }", "if (z) {\n    w();\n  }"),
            (FOUR, "def g():", "\n  z()\n  if z:\n    w()", "\n    z()\n    if z:\n        w()"),
            (FOUR, "class A:\n    def g(self):\n", "      z()", "        z()"),
        ] {
            assert_eq!(
                as_the_file(&format!("{file}{before}"), completion, "\n"),
                expected,
                "{before:?} {completion:?}"
            );
        }
    }

    #[test]
    fn what_agrees_or_cannot_be_told_stays() {
        for (file, before, completion) in [
            (TABS, "func g() {", "\n\tz()\n\tif z {\n\t\tw()\n\t}"),
            (TWO, "function g() {", "\n  z(a,\n    b);"),
            (TWO, "const x = y", "\n      .map(z)\n      .filter(w);"),
            (TWO, "function g() {", "\n    z();\n     odd();"),
            (FOUR, "x = f(a,\n      ", "b)"),
            (FOUR, "    return x\n", "y = 1"),
            ("a = 1\n", "if x:", "\n  y = 2"),
            ("", "f(", "x)"),
        ] {
            assert_eq!(
                as_the_file(&format!("{file}{before}"), completion, "\n"),
                completion,
                "{before:?}"
            );
        }
    }

    #[test]
    fn the_unit_is_that_of_most_lines() {
        for (text, unit) in [
            (TABS, Some(Unit::Tab)),
            (TWO, Some(Unit::Spaces(2))),
            (FOUR, Some(Unit::Spaces(4))),
            ("f(a,\n  b,\n  c)\nif x:\n    y\nif x:\n    y\n", Some(Unit::Spaces(4))),
            ("a\nb\n", None),
            ("", None),
        ] {
            assert_eq!(Unit::of(text.lines()), unit, "{text:?}");
        }
    }
}
