//! Metrics of single-line infilling.

/// The line that counts: the first of the generation, or the second if the generation starts with a newline (as Qwen2.5-Coder's
/// harness does), stripped.
pub fn first_line(generation: &str) -> &str {
    let generation = generation.strip_prefix('\n').unwrap_or(generation);
    generation.lines().next().unwrap_or("").trim()
}

/// Line exact match: equal after stripping both (the task's own metric).
pub fn line_exact_match(generation: &str, middle: &str) -> bool {
    first_line(generation) == middle.trim()
}

/// Whether a middle is made of closing brackets and punctuation only: about a quarter of the Java and JavaScript rows.
pub fn is_bracket_only(middle: &str) -> bool {
    let text = middle.trim();
    !text.is_empty() && text.chars().all(|c| matches!(c, ')' | ']' | '}' | ';' | ','))
}

/// `1 - levenshtein(a, b) / max(len(a), len(b))` on characters; 1 for two empty texts.
pub fn edit_similarity(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_counts() {
        assert_eq!(first_line("  a = 1 \n b"), "a = 1");
        assert_eq!(first_line("\n  a = 1\n"), "a = 1");
        assert_eq!(first_line(""), "");
        assert!(line_exact_match("\n    return x  \nfoo", "  return x"));
        assert!(!line_exact_match("return y", "return x"));
    }

    #[test]
    fn levenshtein_by_hand() {
        assert_eq!(edit_similarity("kitten", "sitting"), 1.0 - 3.0 / 7.0);
        assert_eq!(edit_similarity("", ""), 1.0);
        assert_eq!(edit_similarity("", "abc"), 0.0);
        assert_eq!(edit_similarity("é", "e"), 0.0);
    }

    #[test]
    fn brackets() {
        assert!(is_bracket_only("  });") && is_bracket_only("}"));
        assert!(!is_bracket_only("") && !is_bracket_only("x)"));
    }
}
