//! Published formats and ours: which one a row is in, rows as [`Example`]s and back.
//!
//! Owns: field names of others. Does not own: the record (`example`), Parquet (`table`). Start
//! reading at [`open`].

mod cceval;
mod fields;
mod humaneval;
mod projects;
mod safim;
mod santacoder;

use std::path::Path;

use serde_json::Value;

use crate::example::{Example, Fault, ReadError};
use crate::table::Table;
use fields::Row;

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON lines of [`Example`].
    Lacuna,
    /// `openai/human-eval-infilling`.
    HumanEvalInfilling,
    /// `bigcode/santacoder-fim-task`.
    SantaCoder,
    /// `amazon-science/cceval`.
    CrossCodeEval,
    /// `gonglinyuan/safim`.
    Safim,
    /// Infilling in projects, by earlier scripts; read only.
    Projects,
}

/// What an example lacks to be written in another format: "the format needs …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub &'static str);

impl Format {
    pub const ALL: [Format; 6] = [
        Format::Lacuna,
        Format::HumanEvalInfilling,
        Format::SantaCoder,
        Format::CrossCodeEval,
        Format::Safim,
        Format::Projects,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Lacuna => "lacuna",
            Format::HumanEvalInfilling => "humaneval-infilling",
            Format::SantaCoder => "santacoder-fim",
            Format::CrossCodeEval => "cceval",
            Format::Safim => "safim",
            Format::Projects => "projects",
        }
    }

    /// The format that a row with these fields is in.
    pub fn of_row(row: &Row) -> Option<Format> {
        let has = |fields: &[&str]| fields.iter().all(|f| row.contains_key(*f));
        Some(if has(&["prefix", "middle", "suffix", "cross_file"]) {
            Format::Projects
        } else if has(&["prefix", "middle", "suffix"]) {
            Format::Lacuna
        } else if has(&["task_id", "entry_point", "canonical_solution"]) {
            Format::HumanEvalInfilling
        } else if has(&["name", "prompt", "canonical_solution"]) {
            Format::SantaCoder
        } else if has(&["prompt", "eval_prompt", "ground_truth"]) {
            Format::Safim
        } else if has(&["prompt", "groundtruth"]) {
            Format::CrossCodeEval
        } else {
            return None;
        })
    }

    /// The example that a row of this format is.
    ///
    /// Errors: a field is missing, of a wrong type, or [`Example::check`] refuses the outcome.
    pub fn import(self, row: Row) -> Result<Example, Fault> {
        let example = match self {
            Format::Lacuna => ours(row)?,
            Format::HumanEvalInfilling => humaneval::import(row)?,
            Format::SantaCoder => santacoder::import(row)?,
            Format::CrossCodeEval => cceval::import(row)?,
            Format::Safim => safim::import(row)?,
            Format::Projects => projects::import(row)?,
        };
        example.check()?;
        Ok(example)
    }

    /// The row of this format that an example is; of an imported one, the row that it was.
    ///
    /// Errors: the format has no place for such an example.
    pub fn export(self, example: &Example) -> Result<Row, Missing> {
        match self {
            Format::Lacuna => match serde_json::to_value(example) {
                Ok(Value::Object(row)) => Ok(row),
                _ => Err(Missing("numbers that JSON has")),
            },
            Format::HumanEvalInfilling => humaneval::export(example),
            Format::SantaCoder => santacoder::export(example),
            Format::CrossCodeEval => cceval::export(example),
            Format::Safim => safim::export(example),
            Format::Projects => Err(Missing("nothing: it is only read")),
        }
    }
}

/// The examples of a file in any known format; each row tells its own. JSON lines (plain, gzip,
/// zstd) or Parquet. An item that is [`ReadError::Row`] is about one row; reading goes on after it.
///
/// Errors: the file cannot be opened.
pub fn open(path: &Path) -> Result<Examples, ReadError> {
    Ok(Examples { rows: Table::open(path)? })
}

/// Iterator over the examples of a file.
pub struct Examples {
    rows: Table,
}

impl Iterator for Examples {
    type Item = Result<Example, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        Some(example(row).map_err(|fault| self.rows.bad_row(fault)))
    }
}

/// The example in a row of any known format.
pub fn example(row: Value) -> Result<Example, Fault> {
    let Value::Object(row) = row else {
        return Err(Fault::Format("not a JSON object"));
    };
    let Some(format) = Format::of_row(&row) else {
        return Err(Fault::Format(
            "fields of no known format; ours needs id, language, prefix, middle, suffix",
        ));
    };
    format.import(row)
}

/// A row of ours; a wrong type is told with its field, which serde would not name.
fn ours(mut row: Row) -> Result<Example, Fault> {
    for field in ["id", "language", "prefix", "middle", "suffix"] {
        let text = fields::text(&mut row, field)?;
        row.insert(field.to_owned(), text.into());
    }
    serde_json::from_value(Value::Object(row)).map_err(Fault::Json)
}

fn object(value: Value) -> Row {
    match value {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

/// Our name of a language that a published set calls `name`; an unknown one stays as it is.
fn language_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "py" => "python",
        "js" | "jsx" => "javascript",
        "ts" => "typescript",
        "rs" => "rust",
        "cs" | "c#" => "csharp",
        "c++" | "cc" => "cpp",
        "golang" => "go",
        other => other,
    }
    .to_owned()
}

/// Lines that a middle touches.
fn count_lines(middle: &str) -> u32 {
    u32::try_from(middle.lines().count()).unwrap_or(u32::MAX)
}

/// HumanEval's problem that an id or name is about (`HumanEval/59`), or the id itself.
fn problem(id: &str) -> String {
    let rest =
        id.split_once("HumanEval").map_or("", |(_, rest)| rest.trim_start_matches(['/', '_']));
    let digits: &str = &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()];
    if digits.is_empty() { id.to_owned() } else { format!("HumanEval/{digits}") }
}
