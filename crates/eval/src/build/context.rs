//! Cross-file context of a hole: the files that the file imports, the most useful first.
//!
//! Ranking looks at the code around the hole and never into the middle. Does not own: which file an
//! import means (`resolve`).

use std::collections::HashSet;

use lacuna_context::{Language, ParseLimit, Rope, SyntaxTree};

use super::resolve::{FileIndex, resolve};
use super::vendored;
use crate::example::ContextFile;

/// Lines before and after the hole whose names count.
const LINES_BEFORE: usize = 40;
const LINES_AFTER: usize = 20;

/// How much context a row may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextLimits {
    pub files: usize,
    /// Bytes of one file; a longer one is cut at a line and marked as an excerpt.
    pub bytes: usize,
}

impl Default for ContextLimits {
    fn default() -> Self {
        ContextLimits { files: 8, bytes: 32 << 10 }
    }
}

/// Paths that the file `path` with the text `prefix + suffix` imports, ranked: files whose imported
/// names are used near the hole first (more names first), then in the order of the imports.
pub fn imported(
    language: Language,
    path: &str,
    prefix: &str,
    suffix: &str,
    files: &FileIndex,
) -> Vec<String> {
    let text = Rope::from_str(&format!("{prefix}{suffix}"));
    let near = names_near(prefix, suffix);
    let mut ranked: Vec<(std::cmp::Reverse<usize>, usize, String)> = Vec::new();
    for import in SyntaxTree::parse_within(language, &text, ParseLimit::REPEATABLE).imports(&text) {
        for found in resolve(language, path, &import.text, files) {
            if vendored::is_vendored(&found) || ranked.iter().any(|(_, _, p)| *p == found) {
                continue;
            }
            let stem =
                found.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or("");
            let names = import.names.iter().map(String::as_str).chain([stem]);
            let used = names
                .collect::<HashSet<_>>()
                .into_iter()
                .filter(|name| near.contains(name))
                .count();
            ranked.push((std::cmp::Reverse(used), ranked.len(), found));
        }
    }
    ranked.sort();
    ranked.into_iter().map(|(_, _, path)| path).collect()
}

/// The context files that `read` can give for `paths`, within the limits. `read` gives `None` for
/// what is no text.
pub fn gather<E>(
    paths: Vec<String>,
    limits: &ContextLimits,
    mut read: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<Vec<ContextFile>, E> {
    let mut context = Vec::new();
    for path in paths {
        if context.len() >= limits.files {
            break;
        }
        if let Some(mut text) = read(&path)?
            && !text.trim().is_empty()
        {
            let excerpt = text.len() > limits.bytes;
            if excerpt {
                let cut = text.as_bytes()[..limits.bytes]
                    .iter()
                    .rposition(|b| *b == b'\n')
                    .map_or(0, |at| at + 1);
                text.truncate(cut);
            }
            if !text.is_empty() {
                context.push(ContextFile { path, text, excerpt });
            }
        }
    }
    Ok(context)
}

fn names_near<'a>(prefix: &'a str, suffix: &'a str) -> HashSet<&'a str> {
    let before = prefix.lines().rev().take(LINES_BEFORE);
    let after = suffix.lines().take(LINES_AFTER);
    before
        .chain(after)
        .flat_map(|line| line.split(|c: char| c != '_' && c != '$' && !c.is_alphanumeric()))
        .filter(|w| !w.is_empty())
        .collect()
}
