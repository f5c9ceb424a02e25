//! [`similar`]: the parts of other files that look most like the surroundings of the cursor.
//!
//! Source of the measure: Jaccard similarity of the words in windows of ten lines, the sparse
//! retrieval of RepoCoder (Zhang et al. 2023) and of CrossCodeEval's baselines in spirit, without
//! an index.

use std::collections::BTreeSet;

use crate::{Excerpt, ExcerptKind, Language, LexKind, Lexer};

/// Lines of one excerpt.
const WINDOW_LINES: usize = 10;
/// Lines before and after the cursor that an excerpt is compared with.
const QUERY_LINES: (usize, usize) = (20, 5);
/// No word with more bytes counts: it says nothing, and takes time to compare.
const MAX_WORD: usize = 64;

/// Another file of the project.
#[derive(Clone, Copy, Debug)]
pub struct OtherFile<'a> {
    /// As the model shall see it.
    pub path: &'a str,
    pub text: &'a str,
}

/// Excerpts of `files` of at most `max_bytes` in all, the most similar first. `before` and `after`
/// are the text around the cursor; of it and of every file as much is looked at as there is. `form`
/// makes the excerpt of a path and a text (`lacuna_prompt::excerpts::excerpt`).
pub fn similar(
    language: Language,
    before: &str,
    after: &str,
    files: &[OtherFile],
    max_bytes: usize,
    form: impl Fn(&str, &str) -> String,
) -> Vec<Excerpt> {
    let around = before.lines().rev().take(QUERY_LINES.0).chain(after.lines().take(QUERY_LINES.1));
    let query: BTreeSet<&str> = around.flat_map(|line| words(language, line)).collect();
    let mut windows: Vec<(f64, usize, usize, Vec<&str>)> = Vec::new();
    for (file, other) in files.iter().enumerate() {
        let lines: Vec<&str> = other.text.lines().collect();
        for (number, window) in lines.chunks(WINDOW_LINES).enumerate() {
            let found: BTreeSet<&str> =
                window.iter().flat_map(|line| words(language, line)).collect();
            let both = found.intersection(&query).count();
            if both > 0 {
                let similarity = both as f64 / (found.len() + query.len() - both) as f64;
                windows.push((similarity, file, number, window.to_vec()));
            }
        }
    }
    windows.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut excerpts = Vec::new();
    let mut left = max_bytes;
    for (similarity, file, _, lines) in windows {
        let path = files[file].path;
        let text = form(path, &lines.join("\n"));
        // A line break follows each in the prompt.
        if text.len() < left {
            left -= text.len() + 1;
            excerpts.push(Excerpt {
                kind: ExcerptKind::OtherFile,
                path: Some(path.to_owned()),
                text,
                score: similarity as f32,
            });
        }
    }
    excerpts
}

fn words(language: Language, line: &str) -> impl Iterator<Item = &str> {
    Lexer::new(language, line).filter(|l| l.kind == LexKind::Word).map(|l| &line[l.range]).filter(
        |word| {
            (2..=MAX_WORD).contains(&word.len()) && !word.starts_with(|c: char| c.is_ascii_digit())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [OtherFile; 2] = [
        OtherFile { path: "other.py", text: "def secret():\n    pass\n" },
        OtherFile {
            path: "shapes.py",
            text: "class Circle:\n    def area(self):\n        return self.radius\n",
        },
    ];

    fn of(before: &str, after: &str, max_bytes: usize) -> Vec<Excerpt> {
        similar(Language::Python, before, after, &FILES, max_bytes, |path, text| {
            format!("# {path}\n{text}")
        })
    }

    #[test]
    fn what_the_surroundings_name_is_taken() {
        let excerpts = of(
            "from shapes import Circle\n\ncircle = Circle(radius)\n",
            "print(circle.area())\n",
            1000,
        );
        assert_eq!(excerpts.len(), 1);
        assert_eq!(
            excerpts[0].text,
            "# shapes.py\nclass Circle:\n    def area(self):\n        return self.radius"
        );
        assert_eq!(excerpts[0].path.as_deref(), Some("shapes.py"));
        let exact = excerpts[0].text.len() + 1;
        let count = |max| of("circle = Circle(radius)\n", "", max).len();
        assert_eq!((count(exact), count(exact - 1), count(0)), (1, 0, 0));
        assert!(of("", "", 1000).is_empty());
    }

    #[test]
    fn only_what_is_near_the_cursor_counts() {
        let far = format!("Circle\n{}", "x = 1\n".repeat(QUERY_LINES.0));
        assert!(of(&far, "", 1000).is_empty());
        assert!(of("", &format!("{}secret()\n", "x = 1\n".repeat(QUERY_LINES.1)), 1000).is_empty());
        assert_eq!(of("", "secret()\n", 1000)[0].path.as_deref(), Some("other.py"));
    }
}
