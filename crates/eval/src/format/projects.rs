//! Two formats of infilling in real projects that were made by scripts before `fim-eval build` was
//! there: from SWE-bench's gold patches (`instance_id`, `cross_file`, …) and from recent commits
//! (`commit_date`, …). Read only.

use serde::Deserialize;

use super::fields::{Row, flag, optional, optional_count, optional_text, text};
use super::language_name;
use crate::example::{ContextFile, Example, Fault, Provenance, Task};

#[derive(Deserialize)]
struct CrossFile {
    path: String,
    text: String,
    #[serde(default)]
    excerpt: bool,
}

/// Names of imported things and node kinds stay in the extra fields; the names a cross-file excerpt
/// was chosen by are dropped.
pub(super) fn import(mut row: Row) -> Result<Example, Fault> {
    let n_lines = optional_count(&mut row, "n_lines")?;
    let instance_id = optional_text(&mut row, "instance_id")?;
    let task = match optional_text(&mut row, "task")?.as_deref() {
        Some("line") => Task::Line,
        Some("multi") => Task::Multi,
        Some(_) => return Err(Fault::Format("`task` is neither line nor multi")),
        None if n_lines == Some(1) => Task::Line,
        None => Task::Multi,
    };
    let cross_file: Vec<CrossFile> = optional(&mut row, "cross_file")?.unwrap_or_default();
    let repo = text(&mut row, "repo")?;
    let truncated = flag(&mut row, "prefix_truncated")? | flag(&mut row, "suffix_truncated")?;
    let provenance = Provenance {
        base_commit: optional_text(&mut row, "base_commit")?,
        commit: optional_text(&mut row, "commit")?,
        commit_date: optional_text(&mut row, "commit_date")?,
        start_line: optional_count(&mut row, "start_line")?,
        change: optional_text(&mut row, "kind")?,
        truncated,
        instance_id,
    };
    Ok(Example {
        id: text(&mut row, "id")?,
        set: if provenance.instance_id.is_some() { "swebench-infill" } else { "commit-infill" }
            .to_owned(),
        task,
        language: language_name(&text(&mut row, "language")?),
        path: optional_text(&mut row, "path")?,
        license: optional_text(&mut row, "license")?,
        group: repo.clone(),
        repo: Some(repo),
        n_lines,
        prefix: text(&mut row, "prefix")?,
        middle: text(&mut row, "middle")?,
        suffix: text(&mut row, "suffix")?,
        context: cross_file
            .into_iter()
            .map(|c| ContextFile { path: c.path, text: c.text, excerpt: c.excerpt })
            .collect(),
        provenance,
        extra: row.into_iter().collect(),
        ..Example::default()
    })
}
