//! Keystroke traces: one JSON object a line, a text and the edits that were made to it.
//!
//! `{"id", "path", "language", "before", "events": [{"t", "at", "del", "ins"}]}`: milliseconds
//! since the start, offset and deletion in characters (Unicode scalar values), inserted text. An
//! event without deletion and insertion is the cursor arriving at `at`. Other fields are ignored.
//! `lacuna lsp --record` writes this format.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Trace {
    pub id: String,
    pub path: String,
    /// As editors name it.
    pub language: String,
    /// The text before the first event.
    pub before: String,
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Event {
    /// Milliseconds since the start of the trace.
    pub t: u64,
    /// Characters before the edit.
    pub at: usize,
    /// Characters deleted.
    pub del: usize,
    /// Text inserted.
    pub ins: String,
}
