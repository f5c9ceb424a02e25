//! `lacuna lsp --record FILE`: keystrokes of this session as traces that `lacuna bench replay`
//! reads.
//!
//! Opt-in. Paths are hashed (their extension stays); the text of the documents is in the file,
//! since a replay needs it. A trace is appended when its document is closed, by the client or with its
//! session, or when it has grown long.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use super::trace::{Event, Trace};
use super::view::{Edit, View};

/// A trace is written and a new one begun after so many events: memory stays bounded.
const MAX_EVENTS: usize = 20_000;

/// The file that traces are appended to.
pub struct Recorder {
    file: PathBuf,
}

/// One document's trace under way. Dropping it writes it.
pub struct Recording {
    recorder: Arc<Recorder>,
    trace: Trace,
    begun: Instant,
    /// Character offset of the cursor, as far as the events tell.
    cursor: Option<usize>,
}

impl Recorder {
    /// Errors: the file cannot be written to.
    pub fn new(file: &Path) -> anyhow::Result<Recorder> {
        append(file, "").with_context(|| {
            format!("--record {} cannot be written: check that its folder exists", file.display())
        })?;
        Ok(Recorder { file: file.to_owned() })
    }

    pub fn begin(self: &Arc<Recorder>, uri: &str, view: &View) -> Recording {
        let mut hasher = DefaultHasher::new();
        uri.hash(&mut hasher);
        let id = format!("{:016x}", hasher.finish());
        let extension =
            Path::new(uri).extension().and_then(|e| e.to_str()).filter(|e| e.len() <= 8);
        let trace = Trace {
            path: extension.map_or_else(|| id.clone(), |e| format!("{id}.{e}")),
            id,
            language: view.language.name().to_owned(),
            before: view.document.text(),
            events: Vec::new(),
        };
        Recording { recorder: Arc::clone(self), trace, begun: Instant::now(), cursor: None }
    }
}

impl Recording {
    pub fn changed(&mut self, edits: &[Edit], view: &View) {
        for edit in edits {
            self.push(edit.at_char, edit.deleted_chars, &edit.text);
        }
        if self.trace.events.len() >= MAX_EVENTS {
            self.write();
            self.trace.events.clear();
            self.trace.before = view.document.text();
        }
    }

    /// A completion is asked for at a byte offset: the cursor arrived there, unless typing brought
    /// it.
    pub fn asked(&mut self, view: &View, cursor: usize) {
        let at = view.document.rope().byte_to_char(cursor.min(view.document.len_bytes()));
        if self.cursor != Some(at) {
            self.push(at, 0, "");
        }
    }

    fn push(&mut self, at: usize, del: usize, ins: &str) {
        self.cursor = Some(at + ins.chars().count());
        let t = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.trace.events.push(Event { t, at, del, ins: ins.to_owned() });
    }

    fn write(&self) {
        if self.trace.events.is_empty() {
            return;
        }
        let file = &self.recorder.file;
        let line = serde_json::to_string(&self.trace).map_err(anyhow::Error::from);
        if let Err(error) =
            line.and_then(|line| append(file, &format!("{line}\n")).map_err(Into::into))
        {
            tracing::error!(%error, file = %file.display(), "a recorded trace is lost");
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.write();
    }
}

fn append(file: &Path, text: &str) -> std::io::Result<()> {
    lacuna_serving::private::options().append(true).open(file)?.write_all(text.as_bytes())
}
