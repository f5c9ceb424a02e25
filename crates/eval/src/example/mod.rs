//! The one record of an evaluation: a file with a hole, where it comes from, and what each stage
//! made of it.
//!
//! A set is JSON lines of [`Example`]s. A run adds to each what its stages make of it ([`stages`]),
//! stage by stage in files of their own beside the examples, so that any stage can be run again
//! from the files before it. Fields that we do not know are kept as they are ([`Example::extra`]):
//! a set may carry columns of its own. Does not own: published formats (`format`), metrics.

mod read;
pub mod stages;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use lacuna_context::Language;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use read::{BadRow, Fault, MAX_ROW_BYTES, ReadError, Rows};
pub(crate) use write::unfinished_file;
pub use write::{WriteError, Writer};

/// A file with a hole: the file is `prefix + middle + suffix` (unless the set's makers cut its ends
/// off), byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Unique in its set, and the same whenever the set is built again.
    pub id: String,
    /// Name of the set, such as `humaneval-single-line`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub set: String,
    #[serde(default)]
    pub task: Task,
    /// Lower-case name as in [`Language::name`], or another (`csharp`) for which we have no
    /// grammar; see [`Example::syntax`].
    pub language: String,
    /// Path in the repository, with `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `owner/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// SPDX identifier of the file's licence where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Examples of one group (a repository, a problem) are not independent: intervals are clustered
    /// by it. Empty: a group of its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// What the middle is in the syntax tree, such as `argument_list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_kind: Option<String>,
    /// Lines that the middle touches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_lines: Option<u32>,
    pub prefix: String,
    pub middle: String,
    pub suffix: String,
    /// Other files that a completion may look at, the most useful first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<ContextFile>,
    /// How to tell a right completion from a wrong one by running it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,
    #[serde(default, skip_serializing_if = "Provenance::is_empty")]
    pub provenance: Provenance,

    /// Fields of the row that are none of the above, kept from stage to stage.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// What the hole is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One line, or the rest of one.
    Line,
    /// Whole lines, more than one.
    Multi,
    /// Any run of characters.
    #[default]
    Span,
    /// A node of the syntax tree.
    Block,
}

/// A file beside the one with the hole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextFile {
    pub path: String,
    pub text: String,
    /// The text is part of the file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub excerpt: bool,
}

/// The program that decides whether a completion is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Test {
    /// `prefix + completion + suffix + "\n" + test + "\ncheck(" + entry_point + ")"` in Python
    /// (HumanEval).
    Check { entry_point: String, test: String },
    /// `prefix + completion + suffix + "\n" + test` (MultiPL-E).
    Append { test: String },
    /// `frame` with the completion in place of [`Test::HOLE`] is a program; each case gives its
    /// input and the outputs that are right (SAFIM).
    Cases { frame: String, cases: Vec<Case> },
}

impl Test {
    /// Where the completion goes in the frame of [`Test::Cases`].
    pub const HOLE: &str = "{{completion}}";
}

/// One run of a program that reads standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub input: String,
    /// Any of these is right.
    #[serde(default)]
    pub output: Vec<String>,
}

/// Where an example comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// SWE-bench's name of the issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Commit before the change that the middle belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    /// Commit of the file with the middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Author's date of the commit, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_date: Option<String>,
    /// Line of the file where the middle starts, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_line: Option<u32>,
    /// `insert` or `replace`: whether the change also took lines away here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// Whether `prefix` or `suffix` is not the whole of what is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Provenance {
    fn is_empty(&self) -> bool {
        *self == Provenance::default()
    }
}

impl Example {
    /// The grammar of the example's language; [`Language::Text`] when there is none.
    pub fn syntax(&self) -> Language {
        let language = Language::from_name(&self.language).unwrap_or(Language::Text);
        match (language, self.path.as_deref().map(|path| Language::from_path(Path::new(path)))) {
            // Published sets call both by one name.
            (Language::TypeScript, Some(Language::Tsx)) => Language::Tsx,
            _ => language,
        }
    }

    /// Key by which examples are clustered: the group, or the example itself.
    pub fn cluster(&self) -> &str {
        if self.group.is_empty() { &self.id } else { &self.group }
    }

    /// Whether the row can be evaluated.
    ///
    /// Errors: no id, no language, or an empty middle that no test judges (every completion would
    /// be wrong or none).
    pub fn check(&self) -> Result<(), Fault> {
        if self.id.is_empty() {
            return Err(Fault::Empty { field: "id" });
        }
        if self.language.is_empty() {
            return Err(Fault::Empty { field: "language" });
        }
        if self.middle.is_empty() && self.test.is_none() {
            return Err(Fault::Empty { field: "middle" });
        }
        Ok(())
    }
}
