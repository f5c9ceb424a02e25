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

/// Cuts whole lines at the end of `completion` that repeat the next non-blank lines of the file.
///
/// A line of closing brackets alone is cut only if it has the indentation of the line it repeats.
pub(crate) fn repeated_lines<'a>(completion: &'a str, suffix: &str) -> &'a str {
    let mut after = suffix.split_inclusive('\n').skip(1).map(|l| l.trim_end()).filter(|l| !l.trim().is_empty());
    let Some(next) = after.next() else { return completion };
    let following = after.next();
    let mut start = 0;
    for line in completion.split_inclusive('\n') {
        let text = line.trim_end();
        let first = start == 0;
        let same = if first { !text.trim().is_empty() && text.trim() == next.trim() } else { text == next };
        // The first line may lack its indentation: the cursor stands behind it.
        if same && (is_wordy(text) || !first) {
            let rest = &completion[start + line.len()..];
            let agrees = match (rest.lines().find(|l| !l.trim().is_empty()), following) {
                (None, _) => true,
                (Some(more), Some(expected)) => more.trim_end() == expected,
                (Some(_), None) => false,
            };
            if agrees || is_wordy(text) {
                return completion[..start].trim_end_matches(['\n', '\r', ' ', '\t']);
            }
        }
        start += line.len();
    }
    completion
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
        for (completion, suffix, kept) in [
            ("x = 1\n    return total", "\n    return total\n", "x = 1"),
            ("return total", "\n    return total\n", ""),
            ("a()\n}\n", "\n}\n\nfn b() {}\n", "a()"),
            ("a()\n    }\n", "\n}\n", "a()\n    }\n"),
            ("}", "\n}\n", "}"),
            ("x = 1", "\ny = 2\n", "x = 1"),
            ("x = 1", "", "x = 1"),
        ] {
            assert_eq!(repeated_lines(completion, suffix), kept, "{completion:?} before {suffix:?}");
        }
    }
}
