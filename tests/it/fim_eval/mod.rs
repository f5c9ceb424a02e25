//! `lacuna fim-eval run`, `compare` and `report` as a user types them.
//!
//! [`sandbox`] and [`endpoint`] answer with a server of ours in place of a model, so that a test
//! decides what is "generated".

mod compare;
mod endpoint;
mod large;
mod run;
mod sandbox;
mod stages;
mod stub;

use std::path::Path;

use serde_json::{Value, json};

/// The rows of a JSON-lines file.
fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// A row of our own format.
fn row(id: &str, prefix: &str, middle: &str, suffix: &str) -> Value {
    json!({"id": id, "set": "test-set", "language": "python", "prefix": prefix, "middle": middle, "suffix": suffix})
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Scores of one mode of one example.
fn values<'a>(row: &'a Value, mode: &str) -> &'a Value {
    let modes = row["modes"].as_array().expect("modes");
    &modes.iter().find(|m| m["mode"] == mode).unwrap_or_else(|| panic!("no {mode} in {row}"))["values"]
}
