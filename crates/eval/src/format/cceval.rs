//! CrossCodeEval (github amazon-science/cceval, arXiv 2310.11248): the rest of a line that needs
//! another file of the repository.
//!
//! Files are one a language, and rows do not name it: it is told by the task's name, or by the
//! file's extension.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fields::{Row, optional, optional_text, text};
use super::{Missing, language_name};
use crate::example::{ContextFile, Example, Fault, Provenance, Task};

#[derive(Default, Serialize, Deserialize)]
struct Metadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    /// `owner-name-commit`: a name may hold a dash, so that it is not taken apart.
    #[serde(default)]
    repository: Option<String>,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    groundtruth_start_lineno: Option<u32>,
}

#[derive(Deserialize)]
struct CrossFile {
    #[serde(default)]
    list: Vec<Chunk>,
}

#[derive(Deserialize)]
struct Chunk {
    retrieved_chunk: String,
    filename: String,
}

pub(super) fn import(mut row: Row) -> Result<Example, Fault> {
    // What is needed to give the row back stays with the example.
    let kept: Vec<(String, _)> = ["metadata", "crossfile_context"]
        .into_iter()
        .filter_map(|f| row.get(f).map(|v| (f.to_owned(), v.clone())))
        .collect();
    let metadata: Metadata = optional(&mut row, "metadata")?.unwrap_or_default();
    let cross_file: Option<CrossFile> = optional(&mut row, "crossfile_context")?;
    let id = match (
        optional_text(&mut row, "task_id")?,
        metadata.task_id,
        optional_text(&mut row, "id")?,
    ) {
        (Some(id), ..) | (None, Some(id), _) | (None, None, Some(id)) => id,
        _ => return Err(Fault::Empty { field: "task_id" }),
    };
    let named = optional_text(&mut row, "language")?;
    let of_task = id.strip_prefix("project_cc_").and_then(|rest| rest.split('/').next());
    let of_file =
        metadata.file.as_deref().and_then(|f| f.rsplit_once('.')).map(|(_, extension)| extension);
    let Some(language) = named.as_deref().or(of_task).or(of_file).map(language_name) else {
        return Err(Fault::Empty { field: "language" });
    };
    let middle = text(&mut row, "groundtruth")?;
    let chunks = cross_file.map(|c| c.list).unwrap_or_default();
    let mut example = Example {
        set: "cceval".to_owned(),
        task: Task::Line,
        language,
        group: metadata.repository.unwrap_or_default(),
        n_lines: Some(super::count_lines(&middle)),
        prefix: text(&mut row, "prompt")?,
        middle,
        suffix: optional_text(&mut row, "right_context")?.unwrap_or_default(),
        context: chunks
            .into_iter()
            .map(|c| ContextFile { path: c.filename, text: c.retrieved_chunk, excerpt: true })
            .collect(),
        provenance: Provenance {
            start_line: metadata.groundtruth_start_lineno.map(|n| n.saturating_add(1)),
            ..Provenance::default()
        },
        path: metadata.file,
        extra: row.into_iter().collect(),
        id,
        ..Example::default()
    };
    example.extra.extend(kept);
    Ok(example)
}

pub(super) fn export(example: &Example) -> Result<Row, Missing> {
    let mut row = super::object(json!({
        "task_id": example.id, "language": example.language, "prompt": example.prefix, "groundtruth": example.middle, "right_context": example.suffix,
    }));
    row.extend(example.extra.iter().map(|(k, v)| (k.clone(), v.clone())));
    if !row.contains_key("metadata") {
        // Lines count from 0.
        let start = example.provenance.start_line.unwrap_or(1).saturating_sub(1);
        let metadata = json!({
            "task_id": example.id, "repository": example.cluster(), "file": example.path, "context_start_lineno": 0,
            "groundtruth_start_lineno": start, "right_context_start_lineno": start + super::count_lines(&example.middle),
        });
        row.insert("metadata".to_owned(), metadata);
    }
    if !row.contains_key("crossfile_context") && !example.context.is_empty() {
        let list: Vec<_> = example
            .context
            .iter()
            .map(|c| json!({"retrieved_chunk": c.text, "filename": c.path, "score": 0.0}))
            .collect();
        row.insert(
            "crossfile_context".to_owned(),
            json!({"text": commented(example), "list": list}),
        );
    }
    Ok(row)
}

/// The excerpts as the harness puts them before a prompt: comments, each under its file's name.
fn commented(example: &Example) -> String {
    let mark = if example.language == "python" { "#" } else { "//" };
    let mut text =
        format!("{mark} Here are some relevant code fragments from other files of the repo:\n\n");
    for file in &example.context {
        text.push_str(&format!(
            "{mark} the below code fragment can be found in:\n{mark} {}\n",
            file.path
        ));
        for line in file.text.lines() {
            text.push_str(&format!("{mark} {line}\n"));
        }
        text.push('\n');
    }
    text
}
