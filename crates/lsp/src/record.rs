//! `lacuna lsp --record FILE`: keystrokes of this session as traces that `lacuna bench replay`
//! reads.
//!
//! Opt-in. Paths are hashed (their extension stays); the text of the documents is in the file,
//! since a replay needs it. A trace is appended when its document is closed, when the session ends,
//! or when it has grown long.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;

use super::documents::{Edited, Open};
use super::trace::{Event, Trace};

/// A trace is written and a new one begun after so many events: memory stays bounded.
const MAX_EVENTS: usize = 20_000;

/// Traces under way, by URI.
pub struct Recorder {
    file: PathBuf,
    open: Mutex<HashMap<String, Recording>>,
}

struct Recording {
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
        Ok(Recorder { file: file.to_owned(), open: Mutex::default() })
    }

    pub fn opened(&self, uri: &str, open: &Open) {
        let recording = Recording { trace: begin(uri, open), begun: Instant::now(), cursor: None };
        if let Some(old) = self.lock().insert(uri.to_owned(), recording) {
            self.write(old);
        }
    }

    pub fn changed(&self, uri: &str, edited: &Edited) {
        let mut all = self.lock();
        let Some(recording) = all.get_mut(uri) else { return };
        for edit in &edited.edits {
            recording.push(edit.at_char, edit.deleted_chars, &edit.text);
        }
        if recording.trace.events.len() >= MAX_EVENTS {
            let next = Recording {
                trace: begin(uri, &edited.open),
                begun: recording.begun,
                cursor: recording.cursor,
            };
            let full = std::mem::replace(recording, next);
            self.write(full);
        }
    }

    /// A completion is asked for at a byte offset: the cursor arrived there, unless typing brought
    /// it.
    pub fn asked(&self, uri: &str, open: &Open, cursor: usize) {
        if let Some(recording) = self.lock().get_mut(uri) {
            let at = open.document.rope().byte_to_char(cursor.min(open.document.len_bytes()));
            if recording.cursor != Some(at) {
                recording.push(at, 0, "");
            }
        }
    }

    pub fn closed(&self, uri: &str) {
        if let Some(recording) = self.lock().remove(uri) {
            self.write(recording);
        }
    }

    /// Writes what is under way.
    pub fn finish(&self) {
        let all = std::mem::take(&mut *self.lock());
        all.into_values().for_each(|recording| self.write(recording));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Recording>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, recording: Recording) {
        if recording.trace.events.is_empty() {
            return;
        }
        let line = serde_json::to_string(&recording.trace).map_err(anyhow::Error::from);
        if let Err(error) =
            line.and_then(|line| append(&self.file, &format!("{line}\n")).map_err(Into::into))
        {
            tracing::error!(%error, file = %self.file.display(), "a recorded trace is lost");
        }
    }
}

impl Recording {
    fn push(&mut self, at: usize, del: usize, ins: &str) {
        self.cursor = Some(at + ins.chars().count());
        let t = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.trace.events.push(Event { t, at, del, ins: ins.to_owned() });
    }
}

fn begin(uri: &str, open: &Open) -> Trace {
    let mut hasher = DefaultHasher::new();
    uri.hash(&mut hasher);
    let id = format!("{:016x}", hasher.finish());
    let extension = Path::new(uri).extension().and_then(|e| e.to_str()).filter(|e| e.len() <= 8);
    let path = extension.map_or_else(|| id.clone(), |e| format!("{id}.{e}"));
    Trace {
        id,
        path,
        language: open.language.name().to_owned(),
        before: open.document.text(),
        events: Vec::new(),
    }
}

fn append(file: &Path, text: &str) -> std::io::Result<()> {
    lacuna_serving::private::options().append(true).open(file)?.write_all(text.as_bytes())
}
