//! HumanEval-Infilling (github openai/human-eval-infilling): lines and spans of HumanEval's
//! solutions, with their tests. Python.

use serde_json::json;

use super::fields::{Row, text};
use super::{Missing, problem};
use crate::example::{Example, Fault, Task, Test};

pub(super) fn import(mut row: Row) -> Result<Example, Fault> {
    let id = text(&mut row, "task_id")?;
    let (set, task) = match id.split('/').next().unwrap_or("") {
        "SingleLineInfilling" => ("humaneval-single-line", Task::Line),
        "MultiLineInfilling" => ("humaneval-multi-line", Task::Multi),
        "RandomSpanInfilling" => ("humaneval-random-span", Task::Span),
        "RandomSpanInfillingLight" => ("humaneval-random-span-light", Task::Span),
        _ => ("humaneval-infilling", Task::Span),
    };
    let entry_point = text(&mut row, "entry_point")?;
    Ok(Example {
        set: set.to_owned(),
        task,
        language: "python".to_owned(),
        license: Some("MIT".to_owned()),
        group: problem(&id),
        prefix: text(&mut row, "prompt")?,
        middle: text(&mut row, "canonical_solution")?,
        suffix: text(&mut row, "suffix")?,
        test: Some(Test::Check { entry_point, test: text(&mut row, "test")? }),
        extra: row.into_iter().collect(),
        id,
        ..Example::default()
    })
}

pub(super) fn export(example: &Example) -> Result<Row, Missing> {
    let Some(Test::Check { entry_point, test }) = &example.test else {
        return Err(Missing("a test that calls `check` on an entry point"));
    };
    Ok(super::object(json!({
        "task_id": example.id, "entry_point": entry_point, "prompt": example.prefix, "suffix": example.suffix,
        "canonical_solution": example.middle, "test": test,
    })))
}
