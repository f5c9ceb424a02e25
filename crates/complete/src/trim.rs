//! What is cut from a completion because the file already has it.

/// Longest run of characters that is checked against the text right of the cursor.
const MAX_OVERLAP: usize = 256;

/// Cuts the end of `completion` that repeats the rest of the cursor's line: `foo(a|)` completed with `, b)` keeps `, b`.
///
/// Only the part of the suffix up to the end of the line counts, and blanks between the two are ignored.
pub(crate) fn repeated_rest_of_line<'a>(completion: &'a str, suffix: &str) -> &'a str {
    let rest = suffix.lines().next().unwrap_or("").trim_end();
    if rest.is_empty() || completion.contains('\n') {
        return completion;
    }
    // The whole rest of the line at the end of the completion, or a completion that ends inside a repetition of it.
    let trimmed = completion.trim_end();
    let longest = rest.len().min(trimmed.len()).min(MAX_OVERLAP);
    for n in (1..=longest).rev() {
        if rest.is_char_boundary(n) && trimmed.ends_with(&rest[..n]) && closes_or_repeats(&rest[..n], n == rest.len()) {
            return &trimmed[..trimmed.len() - n];
        }
    }
    completion
}

/// A short overlap is only taken as a repetition when it is punctuation that closes something; words may well occur twice.
fn closes_or_repeats(overlap: &str, whole: bool) -> bool {
    let closing = overlap.chars().all(|c| matches!(c, ')' | ']' | '}' | '>' | '"' | '\'' | '`' | ';' | ',' | ':'));
    closing || (whole && overlap.chars().filter(|c| !c.is_whitespace()).count() >= 2)
}

/// Whether `completion` begins as the rest of the cursor's line does: what stands right of the cursor would be there twice.
pub(crate) fn begins_as_the_rest(completion: &str, suffix: &str) -> bool {
    let rest = suffix.lines().next().unwrap_or("").trim();
    let completion = completion.trim_start_matches([' ', '\t']);
    let common = completion.chars().zip(rest.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c);
    let n = common.clone().filter(|c| !c.is_whitespace()).count();
    (n >= 4 && common.clone().any(char::is_alphanumeric)) || (n >= 2 && completion.starts_with(rest))
}

/// Cuts whole lines at the end of `completion` that repeat the next non-blank lines of the file. `before`: the text left of the cursor; what
/// stands on the cursor's line is part of the first line.
///
/// A line of brackets alone is cut only if it has the indentation of the line it repeats: how many are missing is for
/// [`lacuna_context::cut_repeated_closers`] to say.
pub(crate) fn repeated_lines<'a>(before: &str, completion: &'a str, suffix: &str) -> &'a str {
    let mut after = suffix.split_inclusive('\n').skip(1).map(|l| l.trim_end()).filter(|l| !l.trim().is_empty());
    let Some(next) = after.next() else { return completion };
    let following = after.next();
    let left = cursors_line(before);
    let mut start = 0;
    for line in completion.split_inclusive('\n') {
        let text = line.trim_end();
        let is_same = if start > 0 {
            text == next
        } else {
            let whole = format!("{left}{text}");
            // The first line may lack its indentation: the cursor stands behind it.
            let same = whole.trim() == next.trim() && (!is_brackets(text) || indent(&whole) == indent(next));
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

/// Cuts `completion` before the first of its lines that says what the line above it says, as deep as that one.
pub(crate) fn line_above_again<'a>(before: &str, completion: &'a str) -> &'a str {
    let left = cursors_line(before);
    let above = &before[..before.len() - left.len()];
    let mut above = above.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("").trim_end().to_owned();
    let mut start = 0;
    for line in completion.split_inclusive('\n') {
        let whole = if start == 0 { format!("{left}{line}") } else { line.to_owned() };
        let whole = whole.trim_end();
        if !whole.trim().is_empty() {
            if whole == above && !line.trim().is_empty() {
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

fn is_wordy(line: &str) -> bool {
    line.chars().filter(|c| c.is_alphanumeric()).count() >= 4
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
            assert_eq!(repeated_rest_of_line(completion, suffix), kept, "{completion:?} before {suffix:?}");
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
        ] {
            assert_eq!(repeated_lines(before, completion, suffix), kept, "{before:?} {completion:?} before {suffix:?}");
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
            ("        return None\n    ", "return None", "return None"),
            ("x = [\n    1,", "\n    2,", "\n    2,"),
            ("", "a", "a"),
        ] {
            assert_eq!(line_above_again(before, completion), kept, "{before:?} {completion:?}");
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
            (")", ")\n", false),
        ] {
            assert_eq!(begins_as_the_rest(completion, suffix), again, "{completion:?} before {suffix:?}");
        }
    }
}
