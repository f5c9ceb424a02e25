//! Cross-file context: the parts of the example's other files that look most like the surroundings
//! of the hole, chosen as the server does. The middle is never looked at.

use lacuna_context::{Excerpt, OtherFile, similar};
use lacuna_prompt::excerpts::excerpt;

use super::model::path;
use crate::Example;

/// Excerpts of at most `max_bytes` in all, the most similar first, each headed by a comment with
/// its path.
pub fn cross_file_excerpts(example: &Example, max_bytes: usize) -> Vec<Excerpt> {
    let files: Vec<OtherFile> = example
        .context
        .iter()
        .map(|file| OtherFile { path: &file.path, text: &file.text })
        .collect();
    let shown_in = path(example);
    similar(example.syntax(), &example.prefix, &example.suffix, &files, max_bytes, |path, text| {
        excerpt(&shown_in, path, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::ContextFile;

    fn example() -> Example {
        let file = |path: &str, text: &str| ContextFile {
            path: path.to_owned(),
            text: text.to_owned(),
            excerpt: false,
        };
        Example {
            language: "python".to_owned(),
            prefix: "from shapes import Circle\n\ncircle = Circle(radius)\n".to_owned(),
            middle: "secret = 1\n".to_owned(),
            suffix: "print(circle.area())\n".to_owned(),
            context: vec![
                file("other.py", "def secret():\n    pass\n"),
                file(
                    "shapes.py",
                    "class Circle:\n    def area(self):\n        return self.radius\n",
                ),
            ],
            ..Example::default()
        }
    }

    #[test]
    fn what_the_surroundings_name_is_taken_and_the_middle_is_not_looked_at() {
        let excerpts = cross_file_excerpts(&example(), 1000);
        assert_eq!(
            excerpts.iter().map(|e| e.path.as_deref()).collect::<Vec<_>>(),
            [Some("shapes.py")]
        );
        assert!(cross_file_excerpts(&Example::default(), 1000).is_empty());
    }
}
