//! A comparison as Markdown, and two texts side by side.

use std::fmt::{self, Write};

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::{Case, Comparison};
use crate::summary::metric;

/// Tables of differences, then the examples that changed.
pub fn markdown(comparison: &Comparison, cases: &[Case], width: usize) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, comparison, cases, width);
    out
}

fn write_all(out: &mut String, c: &Comparison, cases: &[Case], width: usize) -> fmt::Result {
    writeln!(
        out,
        "A = {} ({}), B = {} ({}); {} examples in both, {} in one only.{}",
        c.a.name,
        c.a.mode,
        c.b.name,
        c.b.mode,
        c.pairs,
        c.unpaired,
        match c.off {
            0 => String::new(),
            off => format!(" {off} are left out: in one of the two their language is off."),
        }
    )?;
    for set in &c.sets {
        writeln!(out, "\n## {}\n", set.set)?;
        writeln!(
            out,
            "| metric | n | A | B | B − A [95 %] | better | worse | sign test p | permutation p |\n|---|---|---|---|---|---|---|---|---|"
        )?;
        for d in &set.metrics {
            let Some(m) = metric(d.metric) else { continue };
            let i = &d.difference;
            writeln!(
                out,
                "| {} | {} | {} | {} | {} [{}, {}] | {} | {} | {:.4} | {:.4} |",
                m.title,
                d.n,
                m.format(d.a),
                m.format(d.b),
                signed(m.format(i.mean)),
                m.format(i.low).trim_end_matches(" %"),
                m.format(i.high).trim_end_matches(" %"),
                d.wins,
                d.losses,
                d.sign_test,
                d.permutation_test
            )?;
        }
    }
    for (win, title) in [(true, "Better in B"), (false, "Worse in B")] {
        let mut chosen = cases.iter().filter(|case| case.win == win).peekable();
        if chosen.peek().is_none() {
            continue;
        }
        writeln!(out, "\n## {title}")?;
        for case in chosen {
            writeln!(
                out,
                "\n{} {} ({:.3} → {:.3})",
                case.set, case.id, case.scores.0, case.scores.1
            )?;
            writeln!(out, "```\n{}", indented(&case.middle, "true  "))?;
            write!(out, "{}```", side_by_side(&case.a, &case.b, width))?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn signed(text: String) -> String {
    if text.starts_with('-') { text } else { format!("+{text}") }
}

fn indented(text: &str, label: &str) -> String {
    text.trim_end().lines().map(|line| format!("{label}| {line}")).collect::<Vec<_>>().join("\n")
}

/// Two texts in columns, line by line: ` ` equal, `|` changed, `<` only left, `>` only right.
/// `width`: characters of a line.
pub fn side_by_side(a: &str, b: &str, width: usize) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let column = (width.saturating_sub(3) / 2).max(8);
    let mut out = String::new();
    let mut row = |left: &str, sign: char, right: &str| {
        let line = format!("{} {sign} {}", cell(left, column), cell(right, column));
        out.push_str(line.trim_end());
        out.push('\n');
    };
    for op in capture_diff_slices(Algorithm::Myers, &a, &b) {
        let (old, new) = (op.old_range(), op.new_range());
        let sign = if matches!(op, DiffOp::Equal { .. }) { ' ' } else { '|' };
        for i in 0..old.len().max(new.len()) {
            match (old.clone().nth(i), new.clone().nth(i)) {
                (Some(x), Some(y)) => row(a[x], sign, b[y]),
                (Some(x), None) => row(a[x], '<', ""),
                (None, Some(y)) => row("", '>', b[y]),
                (None, None) => {}
            }
        }
    }
    out
}

/// Exactly `width` characters; what is too long ends in `…`.
fn cell(text: &str, width: usize) -> String {
    let clean: Vec<char> =
        text.chars().map(|c| if c == '\t' || c.is_control() { ' ' } else { c }).collect();
    if clean.len() > width {
        clean[..width - 1].iter().chain(['…'].iter()).collect()
    } else {
        format!("{:width$}", clean.into_iter().collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let text = side_by_side("same\nold\ngone\n", "same\nnew\n", 19);
        assert_eq!(text, "same       same\nold      | new\ngone     <\n");
        assert_eq!(side_by_side("", "only\tright and long", 19), "         > only ri…\n");
        assert_eq!(side_by_side("", "", 19), "");
    }
}
