//! What became of the inputs of a build: rows, and what was left out with the reason.

use std::collections::BTreeMap;

use serde::Serialize;

/// Examples of a reason that are kept; the rest is counted.
const KEPT: usize = 1_000;

/// Counts and reasons of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Inputs looked at: instances, commits, files.
    pub inputs: u64,
    pub rows: u64,
    /// How often each reason was given.
    pub reasons: BTreeMap<String, u64>,
    skipped: Vec<Skipped>,
}

/// One thing that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Instance, commit, file or block.
    pub what: String,
    pub reason: String,
}

impl Report {
    /// Notes that `what` was left out.
    pub fn skip(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        let reason = reason.into();
        let count = self.reasons.entry(reason.clone()).or_default();
        *count += 1;
        if *count <= KEPT as u64 {
            self.skipped.push(Skipped { what: what.into(), reason });
        }
    }

    /// What was left out, in the order of the build; of one reason at most 1,000.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}
