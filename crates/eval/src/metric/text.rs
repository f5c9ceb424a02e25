//! Metrics on two texts: equality in four degrees, two edit similarities, over-generation, length
//! of the right beginning.

/// Longer texts are compared by their beginnings: the distance takes time and memory proportional
/// to the product of the lengths.
pub const MAX_COMPARED_CHARS: usize = 20_000;

/// Exact match, raw: every byte is right.
pub fn exact_match(prediction: &str, middle: &str) -> bool {
    prediction == middle
}

/// Exact match but for white space: the words between white space are the same in the same order.
pub fn whitespace_exact_match(prediction: &str, middle: &str) -> bool {
    prediction.split_whitespace().eq(middle.split_whitespace())
}

/// CrossCodeEval's exact match: the stripped lines are equal, blank ones aside
/// (`scripts/eval_metric.py` there, without its removal of comments and its cut at the end of the
/// statement).
pub fn lines_exact_match(prediction: &str, middle: &str) -> bool {
    fn lines(text: &str) -> impl Iterator<Item = &str> {
        text.split('\n').map(str::trim).filter(|line| !line.is_empty())
    }
    lines(prediction).eq(lines(middle))
}

/// The line that counts: the first of the text, or the second if the text starts with a newline (as
/// Qwen2.5-Coder's harness does), stripped.
pub fn first_line(text: &str) -> &str {
    let text = text.strip_prefix('\n').unwrap_or(text);
    text.lines().next().unwrap_or("").trim()
}

/// Exact match of the first line, stripped. On SantaCoder-FIM, whose middles are one line, this is
/// the set's own metric.
pub fn line_exact_match(prediction: &str, middle: &str) -> bool {
    first_line(prediction) == first_line(middle)
}

/// Whether a middle is made of closing brackets and punctuation only: about a quarter of
/// SantaCoder-FIM's Java and JavaScript rows.
pub fn is_bracket_only(middle: &str) -> bool {
    let text = middle.trim();
    !text.is_empty() && text.chars().all(|c| matches!(c, ')' | ']' | '}' | ';' | ','))
}

/// `1 - levenshtein(a, b) / max(len(a), len(b))` on characters; 1 for two empty texts.
///
/// Source: RepoEval's and SAFIM's edit similarity, computed there with `editdistance`.
pub fn edit_similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (compared(a), compared(b));
    let longest = a.len().max(b.len());
    if longest == 0 {
        return 1.0;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    1.0 - row[b.len()] as f64 / longest as f64
}

/// `2 · lcs(a, b) / (len(a) + len(b))` on characters, the longest common subsequence `lcs` being
/// what insertions and deletions alone leave in place; 1 for two empty texts.
///
/// Source: CrossCodeEval's edit similarity (`fuzz.ratio`, there in per cent and of stripped texts;
/// the caller strips). Equal to `rapidfuzz.fuzz.ratio` and to fuzzywuzzy's with python-Levenshtein;
/// fuzzywuzzy without it is a heuristic (difflib) and lower.
pub fn fuzz_ratio(a: &str, b: &str) -> f64 {
    let (a, b) = (compared(a), compared(b));
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    let mut row = vec![0usize; b.len() + 1];
    for x in &a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    2.0 * row[b.len()] as f64 / (a.len() + b.len()) as f64
}

fn compared(text: &str) -> Vec<char> {
    text.chars().take(MAX_COMPARED_CHARS).collect()
}

/// Whether the prediction has all of the middle and then goes on: the model did not know where to
/// stop. White space at both ends of both texts is left aside.
pub fn over_generated(prediction: &str, middle: &str) -> bool {
    let (prediction, middle) = (prediction.trim(), middle.trim());
    prediction.len() > middle.len() && prediction.starts_with(middle)
}

/// How many characters of the middle the prediction gets right before its first mistake.
pub fn prefix_match_chars(prediction: &str, middle: &str) -> usize {
    prediction.chars().zip(middle.chars()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_counts() {
        assert_eq!(first_line("  a = 1 \n b"), "a = 1");
        assert_eq!(first_line("\n  a = 1\n"), "a = 1");
        assert_eq!(first_line("\n\na"), "");
        assert_eq!(first_line("a\r\nb"), "a");
        assert_eq!(first_line(""), "");
        assert!(line_exact_match("\n    return x  \nfoo", "  return x"));
        assert!(line_exact_match("a\nb", "a\nc"));
        assert!(!line_exact_match("return y", "return x"));
    }

    #[test]
    fn degrees_of_equality() {
        assert!(exact_match("a\n", "a\n") && !exact_match("a", "a\n") && exact_match("", ""));
        assert!(whitespace_exact_match(" a  b\n", "a\tb") && !whitespace_exact_match("ab", "a b"));
        assert!(whitespace_exact_match("a\r\n b", "a\nb"));
        assert!(
            lines_exact_match("  a\n\n b ", "a\nb")
                && !lines_exact_match("a b", "a\nb")
                && !lines_exact_match("a  b", "a b")
        );
    }

    #[test]
    fn levenshtein_by_hand() {
        assert_eq!(edit_similarity("kitten", "sitting"), 1.0 - 3.0 / 7.0);
        assert_eq!(edit_similarity("", ""), 1.0);
        assert_eq!(edit_similarity("", "abc"), 0.0);
        assert_eq!(edit_similarity("é", "e"), 0.0);
        assert_eq!(edit_similarity("ab", "ba"), 0.0);
    }

    #[test]
    fn ratio_by_hand() {
        // The longest common subsequence of kitten and sitting is `ittn`.
        assert_eq!(fuzz_ratio("kitten", "sitting"), 8.0 / 13.0);
        assert_eq!(fuzz_ratio("", ""), 1.0);
        assert_eq!(fuzz_ratio("", "abc"), 0.0);
        assert_eq!(fuzz_ratio("ab", "ba"), 0.5);
        assert_eq!(fuzz_ratio("äb", "äb"), 1.0);
    }

    #[test]
    fn long_texts_are_compared_by_their_beginnings() {
        let long = "x".repeat(MAX_COMPARED_CHARS + 5);
        assert_eq!(edit_similarity(&long, &long[5..]), 1.0);
        assert_eq!(fuzz_ratio(&long, &long[5..]), 1.0);
    }

    #[test]
    fn over_generation_and_beginnings() {
        assert!(
            over_generated("a)\nb", "a)")
                && !over_generated("a)\n", "a)")
                && !over_generated("b", "a")
        );
        assert!(over_generated("x", "") && !over_generated("", ""));
        assert_eq!(prefix_match_chars("abc", "abd"), 2);
        assert_eq!(prefix_match_chars("", "abd"), 0);
        assert_eq!(prefix_match_chars("é!", "é?"), 1);
    }

    #[test]
    fn brackets() {
        assert!(is_bracket_only("  });") && is_bracket_only("}"));
        assert!(!is_bracket_only("") && !is_bracket_only("x)"));
    }
}
