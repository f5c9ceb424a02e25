//! `bigcode/santacoder-fim-task`: one line of a HumanEval or MultiPL-E solution, in Python, Java
//! and JavaScript.
//!
//! The hole is a line of its own between prompt and suffix, and the newlines around it are usually
//! in neither field; [`import`] adds the ones that are missing and notes which, so that [`export`]
//! gives the row back as it was.

use serde_json::{Value, json};

use super::fields::{Row, text};
use super::{Missing, problem};
use crate::example::{Example, Fault, Task, Test};

/// Extra field: `both`, `before`, `after` or `none`.
const ADDED: &str = "newlines_added";

pub(super) fn import(mut row: Row) -> Result<Example, Fault> {
    let name = text(&mut row, "name")?;
    let code = text(&mut row, "language")?;
    let language = match code.as_str() {
        "py" => "python",
        "java" => "java",
        "js" => "javascript",
        _ => return Err(Fault::Language { language: code, known: "py, java, js" }),
    };
    let mut prefix = text(&mut row, "prompt")?;
    let before = !prefix.is_empty() && !prefix.ends_with('\n');
    if before {
        prefix.push('\n');
    }
    let mut suffix = text(&mut row, "suffix")?;
    let after = !suffix.starts_with('\n');
    if after {
        suffix.insert(0, '\n');
    }
    let middle = text(&mut row, "canonical_solution")?;
    let test = if row.contains_key("tests") {
        Some(Test::Append { test: text(&mut row, "tests")? })
    } else {
        None
    };
    let added = match (before, after) {
        (true, true) => "both",
        (true, false) => "before",
        (false, true) => "after",
        (false, false) => "none",
    };
    row.insert(ADDED.to_owned(), added.into());
    Ok(Example {
        // The same problem and line have one name in all languages.
        id: format!("{code}/{name}"),
        set: "santacoder-fim".to_owned(),
        task: Task::Line,
        language: language.to_owned(),
        group: problem(&name),
        n_lines: Some(1),
        prefix,
        middle,
        suffix,
        test,
        extra: row.into_iter().collect(),
        ..Example::default()
    })
}

pub(super) fn export(example: &Example) -> Result<Row, Missing> {
    let code = match example.language.as_str() {
        "python" => "py",
        "java" => "java",
        "javascript" => "js",
        _ => return Err(Missing("one of the format's languages (python, java, javascript)")),
    };
    if example.middle.contains('\n') {
        return Err(Missing("a middle of one line"));
    }
    // Rows of another origin fit if the hole is a whole line; published rows leave both newlines
    // out.
    let added = example.extra.get(ADDED).and_then(Value::as_str).unwrap_or("both");
    let (mut prompt, mut suffix) = (example.prefix.as_str(), example.suffix.as_str());
    if matches!(added, "both" | "before") && !prompt.is_empty() {
        prompt = prompt.strip_suffix('\n').ok_or(Missing("a middle that starts a line"))?;
    }
    if matches!(added, "both" | "after") {
        suffix = suffix
            .strip_prefix('\n')
            .ok_or(Missing("a middle that ends a line, without its newline"))?;
    }
    let name = example.id.strip_prefix(&format!("{code}/")).unwrap_or(&example.id);
    let mut row = super::object(json!({
        "name": name, "language": code, "prompt": prompt, "suffix": suffix, "canonical_solution": example.middle,
    }));
    if let Some(Test::Append { test }) = &example.test {
        row.insert("tests".to_owned(), test.clone().into());
    }
    Ok(row)
}
