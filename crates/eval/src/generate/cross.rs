//! Cross-file context: the parts of the example's other files that look most like the surroundings of the hole.
//!
//! The middle is never looked at. Source of the measure: Jaccard similarity of the words in windows of ten lines, the sparse retrieval
//! of RepoCoder (Zhang et al. 2023) and of CrossCodeEval's baselines in spirit, without an index.

use std::collections::BTreeSet;

use lacuna_context::{Excerpt, ExcerptKind, LexKind, Lexer};

use crate::Example;

/// Lines of one excerpt.
const WINDOW_LINES: usize = 10;
/// Lines before and after the hole that an excerpt is compared with.
const QUERY_LINES: (usize, usize) = (20, 5);

/// Excerpts of at most `max_bytes` in all, the most similar first, each headed by a comment with its path.
pub fn cross_file_excerpts(example: &Example, max_bytes: usize) -> Vec<Excerpt> {
    let before: Vec<&str> = example.prefix.lines().rev().take(QUERY_LINES.0).collect();
    let after: Vec<&str> = example.suffix.lines().take(QUERY_LINES.1).collect();
    let query: BTreeSet<&str> = before.iter().chain(&after).flat_map(|line| words(example, line)).collect();
    let mut windows: Vec<(f64, usize, usize, Vec<&str>)> = Vec::new();
    for (file, context) in example.context.iter().enumerate() {
        let lines: Vec<&str> = context.text.lines().collect();
        for (number, window) in lines.chunks(WINDOW_LINES).enumerate() {
            let found: BTreeSet<&str> = window.iter().flat_map(|line| words(example, line)).collect();
            let both = found.intersection(&query).count();
            if both > 0 {
                let similarity = both as f64 / (found.len() + query.len() - both) as f64;
                windows.push((similarity, file, number, window.to_vec()));
            }
        }
    }
    windows.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let comment = example.syntax().line_comment().unwrap_or("#");
    let mut excerpts = Vec::new();
    let mut left = max_bytes;
    for (similarity, file, _, lines) in windows {
        let path = &example.context[file].path;
        let text = format!("{comment} {path}\n{}", lines.join("\n"));
        // A line break follows each in the prompt.
        if text.len() < left {
            left -= text.len() + 1;
            excerpts.push(Excerpt { kind: ExcerptKind::Definition, path: Some(path.clone()), text, score: similarity as f32 });
        }
    }
    excerpts
}

fn words<'a>(example: &Example, line: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
    Lexer::new(example.syntax(), line)
        .filter(|l| l.kind == LexKind::Word)
        .map(|l| &line[l.range])
        .filter(|word| word.len() > 1 && !word.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::ContextFile;

    fn example() -> Example {
        let file = |path: &str, text: &str| ContextFile { path: path.to_owned(), text: text.to_owned(), excerpt: false };
        Example {
            language: "python".to_owned(),
            prefix: "from shapes import Circle\n\ncircle = Circle(radius)\n".to_owned(),
            middle: "secret = 1\n".to_owned(),
            suffix: "print(circle.area())\n".to_owned(),
            context: vec![
                file("other.py", "def secret():\n    pass\n"),
                file("shapes.py", "class Circle:\n    def area(self):\n        return self.radius\n"),
            ],
            ..Example::default()
        }
    }

    #[test]
    fn what_the_surroundings_name_is_taken_and_the_middle_is_not_looked_at() {
        let excerpts = cross_file_excerpts(&example(), 1000);
        assert_eq!(excerpts.len(), 1);
        assert_eq!(excerpts[0].text, "# shapes.py\nclass Circle:\n    def area(self):\n        return self.radius");
        assert_eq!(excerpts[0].path.as_deref(), Some("shapes.py"));
        let exact = excerpts[0].text.len() + 1;
        assert_eq!((cross_file_excerpts(&example(), exact).len(), cross_file_excerpts(&example(), exact - 1).len()), (1, 0));
    }

    #[test]
    fn the_budget_holds() {
        assert_eq!(cross_file_excerpts(&example(), 50), []);
        assert!(cross_file_excerpts(&Example::default(), 50).is_empty());
    }
}
