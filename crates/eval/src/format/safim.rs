//! SAFIM (github gonglinyuan/safim, arXiv 2403.04814): blocks, control-flow expressions and API
//! calls of competition programs.
//!
//! `prompt` has a placeholder comment where the hole is, `eval_prompt` the mark [`Test::HOLE`];
//! `unit_tests` is a list, or (on the hub) a list written as JSON text. Rows without tests (`api`)
//! are judged by exact match.

use serde::de::Error as _;
use serde_json::{Value, json};

use super::fields::{Row, text};
use super::{Missing, language_name};
use crate::example::{Case, Example, Fault, Task, Test};

pub(super) fn import(mut row: Row) -> Result<Example, Fault> {
    let id = text(&mut row, "task_id")?;
    let language = language_name(&text(&mut row, "lang")?);
    let prompt = text(&mut row, "prompt")?;
    let hole = placeholder(&language);
    let mut parts = prompt.split(hole);
    let (Some(prefix), Some(suffix), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Fault::Format(
            "`prompt` does not hold the placeholder `TODO: Your code here` exactly once",
        ));
    };
    let frame = text(&mut row, "eval_prompt")?;
    if frame.matches(Test::HOLE).count() != 1 {
        return Err(Fault::Format("`eval_prompt` does not hold {{completion}} exactly once"));
    }
    let cases = cases(row.remove("unit_tests"))?;
    let test = if cases.is_empty() {
        row.insert("eval_prompt".to_owned(), frame.into());
        None
    } else {
        Some(Test::Cases { frame, cases })
    };
    // `block_completion_000123`, `control_completion_…`, `api_completion_…`
    let split = id.split('_').next().unwrap_or("").to_owned();
    Ok(Example {
        task: if split == "block" { Task::Block } else { Task::Span },
        set: if id.contains('_') { format!("safim-{split}") } else { "safim".to_owned() },
        language,
        prefix: prefix.to_owned(),
        middle: text(&mut row, "ground_truth")?,
        suffix: suffix.to_owned(),
        test,
        extra: row.into_iter().collect(),
        id,
        ..Example::default()
    })
}

pub(super) fn export(example: &Example) -> Result<Row, Missing> {
    if !matches!(example.language.as_str(), "python" | "java" | "cpp" | "csharp") {
        return Err(Missing("one of the format's languages (python, java, cpp, csharp)"));
    }
    let hole = placeholder(&example.language);
    if example.prefix.contains(hole) || example.suffix.contains(hole) {
        return Err(Missing("a file that does not hold the placeholder comment already"));
    }
    let (frame, tests) = match &example.test {
        Some(Test::Cases { frame, cases }) => (frame.clone(), json!(cases).to_string()),
        Some(_) => return Err(Missing("a test that is inputs and outputs")),
        None => match example.extra.get("eval_prompt").and_then(Value::as_str) {
            Some(frame) => (frame.to_owned(), "[]".to_owned()),
            None => {
                (format!("{}{}{}", example.prefix, Test::HOLE, example.suffix), "[]".to_owned())
            }
        },
    };
    Ok(super::object(json!({
        "task_id": example.id, "lang": example.language, "prompt": format!("{}{hole}{}", example.prefix, example.suffix), "eval_prompt": frame,
        "ground_truth": example.middle, "unit_tests": tests,
    })))
}

fn placeholder(language: &str) -> &'static str {
    if language == "python" { "# TODO: Your code here" } else { "/* TODO: Your code here */" }
}

fn cases(value: Option<Value>) -> Result<Vec<Case>, Fault> {
    let list = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(Fault::Json)?,
        Some(list) => list,
    };
    serde_json::from_value(list)
        .map_err(|e| Fault::Json(serde_json::Error::custom(format_args!("`unit_tests`: {e}"))))
}
