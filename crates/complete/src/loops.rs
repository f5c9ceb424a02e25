//! Where a completion begins to say the same again and again.
//!
//! Works on three sizes: one character (`bbbb`, `=====`), a few words of one line (`6, 7, 6, 7`), a
//! few whole lines.

/// Equal letters or digits in a row that no word has. Zeros are exempt.
const LETTERS: usize = 5;
/// Equal marks in a row that are no operator. Brackets are exempt.
const MARKS: usize = 5;
/// Words that may make up a unit that is repeated.
const MAX_UNIT: usize = 12;
/// Lines that may.
const MAX_LINES: usize = 8;
/// More text is not looked at.
const MAX_TEXT: usize = 16 << 10;

/// The beginning of `completion` that has no loop: whole lines before the one that a loop begins
/// on, and the first instance of lines that are repeated. `before`: the text left of the cursor; a
/// run of one character may have begun there.
pub(crate) fn before_loop<'a>(before: &str, completion: &'a str) -> &'a str {
    let bounded = &completion[..completion.floor_char_boundary(MAX_TEXT)];
    let mut end = repeated_lines(bounded).unwrap_or(completion.len());
    let mut start = 0;
    for line in bounded.split_inclusive('\n') {
        let left = if start == 0 { before.rsplit('\n').next().unwrap_or("") } else { "" };
        if has_run(left, line) || has_repeated_words(line) {
            end = end.min(start);
            break;
        }
        start += line.len();
    }
    // Nothing to trim where nothing was cut.
    if end == completion.len() { completion } else { completion[..end].trim_end() }
}

/// Whether one character goes on for too long in `line`, what stands left of it included.
fn has_run(left: &str, line: &str) -> bool {
    let first = line.chars().next();
    let mut n = left.chars().rev().take_while(|c| Some(*c) == first).take(MARKS).count();
    let mut previous = first;
    for c in line.chars() {
        n = if Some(c) == previous { n + 1 } else { 1 };
        previous = Some(c);
        let limit = match c {
            // Hexadecimal masks are runs too: 0xffffffffffffffff.
            '0' | 'f' | 'F' => 17,
            c if c.is_alphanumeric() => LETTERS,
            c if c.is_whitespace() || "()[]{}<>".contains(c) => usize::MAX,
            _ => MARKS,
        };
        if n >= limit {
            return true;
        }
    }
    false
}

/// A word with what follows it up to the next one.
#[derive(Clone, Copy, PartialEq)]
struct Piece<'a> {
    word: &'a str,
    separator: &'a str,
}

fn pieces(line: &str) -> Vec<Piece<'_>> {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let mut pieces = Vec::new();
    let mut rest = &line[line.find(is_word).unwrap_or(line.len())..];
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let (separator, next) = after.split_at(after.find(is_word).unwrap_or(after.len()));
        pieces.push(Piece { word, separator: separator.trim() });
        rest = next;
    }
    pieces
}

/// Whether words of the line are repeated more often than people repeat them: one four times (five
/// for numbers, `0, 0, 0, 0` is a colour), several in a list twice, several otherwise three times.
fn has_repeated_words(line: &str) -> bool {
    let pieces = pieces(line);
    (1..=MAX_UNIT.min(pieces.len() / 2)).any(|unit| {
        (0..pieces.len().saturating_sub(2 * unit - 1)).any(|start| {
            let pieces = &pieces[start..];
            let is_list = unit > 1 && {
                let inner = &pieces[..2 * unit - 1];
                inner.iter().all(|p| {
                    p.separator == inner[0].separator && matches!(p.separator, "" | "," | ";")
                }) && !pieces[..unit].iter().all(|p| p.word == pieces[0].word)
            };
            let needed = match unit {
                1 if pieces[0].word.starts_with(|c: char| c.is_ascii_digit()) => 5,
                1 => 4,
                _ if is_list => 2,
                _ => 3,
            };
            pieces.len() >= needed * unit && repeats(&pieces[..needed * unit], unit)
        })
    })
}

/// Whether `pieces` is its first `unit` pieces over and over; what follows the last word does not
/// matter.
fn repeats(pieces: &[Piece<'_>], unit: usize) -> bool {
    let last = pieces.len() - 1;
    (unit..pieces.len()).all(|i| {
        pieces[i].word == pieces[i - unit].word && (i == last || pieces[i] == pieces[i - unit])
    })
}

/// Where the second instance of lines that are repeated begins.
fn repeated_lines(text: &str) -> Option<usize> {
    let mut at = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        if !line.trim().is_empty() {
            lines.push((at, line.trim_end()));
        }
        at += line.len();
    }
    let is_wordy = |(_, line): &(usize, &str)| line.chars().any(char::is_alphanumeric);
    let repeated = |start: usize, unit: usize| {
        let (first, second) =
            (lines.get(start..start + unit)?, lines.get(start + unit..start + 2 * unit)?);
        let same = first.iter().zip(second).all(|((_, a), (_, b))| a == b);
        (same && first.iter().any(is_wordy)).then(|| second[0].0)
    };
    (0..lines.len())
        .flat_map(|start| (1..=MAX_LINES).map(move |unit| (start, unit)))
        .find_map(|(start, unit)| repeated(start, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_before_its_loop() {
        for (before, completion, kept) in [
            ("PRIMES = [2, 3, 5, 7, ", "6, 6, 7, 6, 7, 8, 9]", ""),
            ("PRIMES = [2, 3, 5, 7, ", "11, 13, 17]", "11, 13, 17]"),
            ("aaaa", &"b".repeat(85), ""),
            ("aaaa", "aa", ""),
            ("Title\n===", "==", ""),
            ("Title\n", "=====", ""),
            ("s = \"", "ＢＢＢＢＢ", ""),
            ("", "very very very very good", ""),
            ("x = ", "f(x, y), f(x, y), f(x, y)", ""),
            ("", "a = 1\nb = bbbbbb", "a = 1"),
            ("", "a = 1\nb = 2\na = 1\nb = 2\na = 1", "a = 1\nb = 2"),
            ("", "    color: red;\n    color: red;\n", "    color: red;"),
        ] {
            assert_eq!(before_loop(before, completion), kept, "{before:?} {completion:?}");
        }
    }

    #[test]
    fn what_people_write_is_no_loop() {
        for completion in [
            "0, 0, 0, 0)",
            "1000000",
            "0xffffffffffffffff",
            "f(((((x)))))",
            "x, y = x, y",
            "self.name = self.name",
            "std::vector<std::vector<int>> v;",
            "for i in range(len(i)):",
            "a !== b && b !== c",
            "if (a) {\n    return 1;\n}\nif (b) {\n    return 2;\n}",
            "}\n}\n}",
            "x = 1    # aligned",
            "foo.bar.baz = foo.bar.baz;",
            "int a, int b, int c",
            "\n    pass\n",
            "",
        ] {
            assert_eq!(before_loop("", completion), completion);
        }
        // `int a, int b` is no loop, `a a` neither.
        assert_eq!(
            before_loop("www.", "example.com"),
            "www.example.com".strip_prefix("www.").unwrap()
        );
    }
}
