//! From a changed file to examples: which added blocks become middles, and the rows they make.

use lacuna_context::Language;

use super::patch::Block;
use super::{HoleLimits, Report};
use crate::example::{Example, Provenance, Task};

/// A file after a change, and what it added.
pub struct ChangedFile<'a> {
    pub path: &'a str,
    pub language: Language,
    pub text: &'a str,
    pub blocks: Vec<Block>,
}

/// The language of a path if it is asked for; else the reason to skip.
pub fn wanted_language(path: &str, limits: &HoleLimits) -> Result<Language, &'static str> {
    match Language::from_path(std::path::Path::new(path)) {
        Language::Text => Err("no language with a grammar"),
        language if limits.languages.is_empty() || limits.languages.contains(&language) => {
            Ok(language)
        }
        _ => Err("another language than those asked for"),
    }
}

impl ChangedFile<'_> {
    /// One example a block that is fit to be a middle, in order; `source` names the change in ids.
    ///
    /// Filled in: everything that the file and the block tell. Left to the caller: repository,
    /// licence, context, commits.
    pub fn examples(&self, source: &str, limits: &HoleLimits, report: &mut Report) -> Vec<Example> {
        let mut examples = Vec::new();
        for block in &self.blocks {
            let id = format!("{source}#{}#L{}", self.path, block.start_line);
            let middle = &self.text[block.range.clone()];
            let (prefix, suffix) = (&self.text[..block.range.start], &self.text[block.range.end..]);
            let unfit = if block.n_lines < limits.min_lines {
                Some("the block is shorter than --min-lines")
            } else if block.n_lines > limits.max_lines {
                Some("the block is longer than --max-lines")
            } else if middle.trim().is_empty() {
                Some("the block is blank")
            } else if prefix.trim().is_empty() && suffix.trim().is_empty() {
                Some("the block is the whole file")
            } else {
                None
            };
            if let Some(reason) = unfit {
                report.skip(id, reason);
                continue;
            }
            examples.push(Example {
                id,
                task: if block.n_lines == 1 { Task::Line } else { Task::Multi },
                language: self.language.name().to_owned(),
                path: Some(self.path.to_owned()),
                n_lines: u32::try_from(block.n_lines).ok(),
                prefix: prefix.to_owned(),
                middle: middle.to_owned(),
                suffix: suffix.to_owned(),
                provenance: Provenance {
                    start_line: u32::try_from(block.start_line).ok(),
                    change: Some(if block.replaces { "replace" } else { "insert" }.to_owned()),
                    ..Provenance::default()
                },
                ..Example::default()
            });
        }
        examples
    }
}
