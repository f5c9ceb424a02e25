//! What is cut from a completion because the file already has it.

use lacuna_context::Language;

use crate::word::leading_word;

/// Letters of a line that does not stand twice among a few by chance, and how many lines below the
/// next one are looked at.
const LONG_LINE: usize = 12;
const NEXT_LINES: usize = 3;
/// Longest run of characters that is checked against the text right of the cursor.
const MAX_OVERLAP: usize = 256;

/// Cuts the end of `completion` that repeats the rest of the cursor's line: `foo(a|)` completed
/// with `, b)` keeps `, b`.
///
/// Only the part of the suffix up to the end of the line counts, and blanks between the two are
/// ignored.
pub(crate) fn repeated_rest_of_line<'a>(completion: &'a str, suffix: &str) -> &'a str {
    let rest = suffix.lines().next().unwrap_or("").trim_end();
    if rest.is_empty() || completion.contains('\n') {
        return completion;
    }
    // The whole rest of the line at the end of the completion, or a completion that ends inside a
    // repetition of it.
    let trimmed = completion.trim_end();
    let longest = rest.len().min(trimmed.len()).min(MAX_OVERLAP);
    for n in (1..=longest).rev() {
        if rest.is_char_boundary(n)
            && trimmed.ends_with(&rest[..n])
            && closes_or_repeats(&rest[..n], n == rest.len())
        {
            return &trimmed[..trimmed.len() - n];
        }
    }
    completion
}

/// A short overlap is only taken as a repetition when it is punctuation that closes something;
/// words may well occur twice.
fn closes_or_repeats(overlap: &str, whole: bool) -> bool {
    let closing = overlap
        .chars()
        .all(|c| matches!(c, ')' | ']' | '}' | '>' | '"' | '\'' | '`' | ';' | ',' | ':'));
    closing || (whole && overlap.chars().filter(|c| !c.is_whitespace()).count() >= 2)
}

/// Whether `completion` begins as the rest of the cursor's line does: what stands right of the
/// cursor would be there twice.
pub(crate) fn begins_as_the_rest(completion: &str, suffix: &str) -> bool {
    let rest = suffix.lines().next().unwrap_or("").trim();
    let completion = completion.trim_start_matches([' ', '\t']);
    let common = completion.chars().zip(rest.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c);
    let n = common.clone().filter(|c| !c.is_whitespace()).count();
    let is_there = !rest.is_empty() && rest.starts_with(completion.trim_end());
    is_there
        || (n >= 4 && common.clone().any(char::is_alphanumeric))
        || (n >= 2 && completion.starts_with(rest))
}

/// Whether a text says that nothing is missing at the cursor: it begins with what stands right of
/// it on the line, or is the beginning of that, some word included, or opens what the next line
/// opens.
pub(crate) fn says_the_rest(language: Language, text: &str, suffix: &str) -> bool {
    let (text, rest) = (text.trim(), suffix.lines().next().unwrap_or("").trim());
    if rest.is_empty() {
        return !text.is_empty() && before_opener_below(text, suffix).is_empty();
    }
    let word = leading_word(language, rest);
    let same = if text.starts_with(rest) {
        rest
    } else if rest.starts_with(text) {
        text
    } else if !word.is_empty() && leading_word(language, text) == word {
        word
    } else {
        ""
    };
    same.chars().any(char::is_alphanumeric)
}

/// Cuts a `{` at the end of `completion` where the next line has it.
pub(crate) fn before_opener_below<'a>(completion: &'a str, suffix: &str) -> &'a str {
    let mut lines = suffix.lines();
    let is_at_end = lines.next().is_none_or(|rest| rest.trim().is_empty());
    let is_below = lines
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| line.trim_start().starts_with('{'));
    match completion.trim_end().strip_suffix('{') {
        Some(kept) if is_at_end && is_below => kept.trim_end(),
        _ => completion,
    }
}

/// Cuts blanks at the start of `completion` where the cursor has blanks before it behind something:
/// they would be doubled.
pub(crate) fn doubled_blanks<'a>(before: &str, completion: &'a str) -> &'a str {
    let left = cursors_line(before);
    if left.ends_with([' ', '\t']) && !left.trim().is_empty() {
        completion.trim_start_matches([' ', '\t'])
    } else {
        completion
    }
}

/// Cuts whole lines at the end of `completion` that repeat the next non-blank lines of the file.
/// `before`: the text left of the cursor; what stands on the cursor's line is part of the first
/// line.
///
/// A line of brackets alone is cut only if it has the indentation of the line it repeats: how many
/// are missing is for [`lacuna_context::cut_repeated_closers`] to say.
pub(crate) fn repeated_lines<'a>(before: &str, completion: &'a str, suffix: &str) -> &'a str {
    let mut after =
        suffix.split_inclusive('\n').skip(1).map(|l| l.trim_end()).filter(|l| !l.trim().is_empty());
    let Some(next) = after.next() else { return completion };
    let following = after.next();
    let left = cursors_line(before);
    let first = format!("{left}{}", completion.lines().next().unwrap_or(""));
    if n_letters(first.trim()) >= LONG_LINE
        && suffix
            .lines()
            .skip(2)
            .filter(|l| !l.trim().is_empty())
            .take(NEXT_LINES)
            .any(|l| l.trim_end() == first.trim_end())
    {
        return "";
    }
    let mut start = 0;
    for line in completion.split_inclusive('\n') {
        let text = line.trim_end();
        let is_same = if start > 0 {
            text == next
        } else {
            let whole = format!("{left}{text}");
            // The first line may lack its indentation: the cursor stands behind it.
            let same = whole.trim() == next.trim()
                && (!is_brackets(text) || indent(&whole) == indent(next));
            !text.trim().is_empty() && (same || (is_wordy(text) && text.trim() == next.trim()))
        };
        if is_same {
            let rest = &completion[start + line.len()..];
            let agrees = match (rest.lines().find(|l| !l.trim().is_empty()), following) {
                (None, _) => true,
                (Some(more), Some(expected)) => more.trim_end() == expected,
                (Some(_), None) => false,
            };
            if agrees || is_wordy(text) || start == 0 {
                return completion[..start].trim_end_matches(['\n', '\r', ' ', '\t']);
            }
        }
        start += line.len();
    }
    completion
}

/// Cuts `completion` before the first of its lines that says what the line above it says, as deep
/// as that one.
pub(crate) fn line_above_again<'a>(before: &str, completion: &'a str) -> &'a str {
    let left = cursors_line(before);
    let above = &before[..before.len() - left.len()];
    let mut above =
        above.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("").trim_end().to_owned();
    let mut start = 0;
    for line in completion.split_inclusive('\n') {
        let whole = if start == 0 { format!("{left}{line}") } else { line.to_owned() };
        let whole = whole.trim_end();
        if !whole.trim().is_empty() {
            if whole == above && !line.trim().is_empty() && !is_closer(whole) {
                return completion[..start].trim_end();
            }
            whole.clone_into(&mut above);
        }
        start += line.len();
    }
    completion
}

fn cursors_line(before: &str) -> &str {
    before.rsplit('\n').next().unwrap_or("")
}

fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

fn is_brackets(line: &str) -> bool {
    line.trim().chars().all(|c| matches!(c, ')' | ']' | '}' | ';' | ','))
}

/// Whether a line ends something, as several lines one below the other may.
fn is_closer(line: &str) -> bool {
    let line = line.trim().trim_end_matches([';', ',']);
    is_brackets(line)
        || line.starts_with("</")
        || line.starts_with("#end")
        || matches!(line, "end" | "fi" | "done" | "esac")
}

fn n_letters(line: &str) -> usize {
    line.chars().filter(|c| c.is_alphanumeric()).count()
}

fn is_wordy(line: &str) -> bool {
    n_letters(line) >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_punctuation_that_the_line_already_has_is_cut() {
        for (completion, suffix, kept) in [
            (", b)", ")\n", ", b"),
            ("x)):", ")):\n", "x"),
            ("'name']", "]", "'name'"),
            ("a, b", ")\n", "a, b"),
            ("value", " + 1\n", "value"),
            ("n + 1", " + 1\n", "n"),
            ("foo(\n    x)", ")\n", "foo(\n    x)"),
            ("\"text\"", "\"\n", "\"text"),
        ] {
            assert_eq!(
                repeated_rest_of_line(completion, suffix),
                kept,
                "{completion:?} before {suffix:?}"
            );
        }
    }

    #[test]
    fn lines_that_follow_already_are_cut() {
        for (before, completion, suffix, kept) in [
            ("    ", "x = 1\n    return total", "\n    return total\n", "x = 1"),
            ("    ", "return total", "\n    return total\n", ""),
            ("", "a()\n}\n", "\n}\n\nfn b() {}\n", "a()"),
            ("", "a()\n    }\n", "\n}\n", "a()\n    }\n"),
            ("    ", "}", "\n}\n", "}"),
            ("", "}", "\n}\n", ""),
            ("", "x = 1", "\ny = 2\n", "x = 1"),
            ("", "x = 1", "", "x = 1"),
            ("    retu", "rn x", "\n    return x\n", ""),
            ("<div>\n  <p>text</p>\n", "</div>", "\n\n</div>\n", ""),
            ("<div>\n  <p>text</p>\n  ", "</div>", "\n</div>\n", ""),
            ("return x\n", "end", "\n\nend\n", ""),
            ("  echo x\n", "fi", "\nfi\n", ""),
            ("  echo x\n", "done", "\ndone\n", ""),
            ("  ;;\n", "  ;;\nesac", "\nesac\n", "  ;;"),
            ("", "begin", "\nend\n", "begin"),
            ("    ", "self.name = names", "\n    a = 1\n    self.name = names\n", ""),
            (
                "    ",
                "self.name = names",
                "\n    a = 1\n        self.name = names\n",
                "self.name = names",
            ),
            ("    ", "return None", "\n    a = 1\n    return None\n", "return None"),
        ] {
            assert_eq!(
                repeated_lines(before, completion, suffix),
                kept,
                "{before:?} {completion:?} before {suffix:?}"
            );
        }
    }

    #[test]
    fn the_line_above_is_not_said_again() {
        for (before, completion, kept) in [
            ("a {\n  color: red;\n  ", "color: red;", ""),
            ("name = \"x\"\n", "name = \"x\"", ""),
            ("name = \"x\"\nna", "me = \"x\"", ""),
            ("a = 1\n", "b = 2\nb = 2\nc = 3", "b = 2"),
            ("    }\n", "}", "}"),
            ("#endif\n", "#endif", "#endif"),
            ("</div>\n", "</div>", "</div>"),
            ("        return None\n    ", "return None", "return None"),
            ("x = [\n    1,", "\n    2,", "\n    2,"),
            ("", "a", "a"),
        ] {
            assert_eq!(line_above_again(before, completion), kept, "{before:?} {completion:?}");
        }
    }

    #[test]
    fn a_line_that_says_what_stands_there_means_that_nothing_is_missing() {
        for (text, rest, says) in [
            ("header)", "header)", true),
            ("header", "header)", true),
            ("header).x", "header)", true),
            ("headers", "header)", false),
            (")", "))", false),
            (")", ")", false),
            ("x", "", false),
            ("", "x", false),
            (" += 1", "+= 1", true),
            (" {", "\n{\n", true),
            (" {", "\n  x;\n", false),
            ("x) {", "\n{\n", false),
        ] {
            assert_eq!(
                says_the_rest(Language::Python, text, rest),
                says,
                "{text:?} before {rest:?}"
            );
        }
    }

    #[test]
    fn a_block_is_not_opened_twice() {
        for (completion, suffix, kept) in [
            (", int y) {", "\n{\n", ", int y)"),
            (" {", "\n\n  {\n", ""),
            (" {", "\n  return x;\n", " {"),
            (" {", " }\n{\n", " {"),
            ("x", "\n{\n", "x"),
        ] {
            assert_eq!(
                before_opener_below(completion, suffix),
                kept,
                "{completion:?} before {suffix:?}"
            );
        }
    }

    #[test]
    fn blanks_are_not_doubled() {
        for (before, completion, kept) in [
            ("- ", " steps:", "steps:"),
            ("x =", " 1", " 1"),
            ("    ", "  deeper", "  deeper"),
            ("a\n", "  b", "  b"),
            ("x = ", "\n  b", "\n  b"),
        ] {
            assert_eq!(doubled_blanks(before, completion), kept, "{before:?} {completion:?}");
        }
    }

    #[test]
    fn what_begins_right_of_the_cursor_does_not_begin_again() {
        for (completion, suffix, again) in [
            ("self.a + 1", "self.a + self.b\n", true),
            ("(a)", "(b)\n", false),
            ("(a, b) + 1", "(a, b)\n", true),
            ("</b> x", "</b>\n", true),
            ("[0],", "[1, 2]]\n", false),
            ("x", "\n", false),
            (")", ")\n", true),
            ("(x)", "(x) + 1\n", true),
            (",", ", b\n", true),
        ] {
            assert_eq!(
                begins_as_the_rest(completion, suffix),
                again,
                "{completion:?} before {suffix:?}"
            );
        }
    }
}
