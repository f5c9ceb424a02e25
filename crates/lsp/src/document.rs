//! All that is known of one open document, and how it changes.
//!
//! A new fact about documents is a field here. Dropping a document is closing it: its requests
//! stop, its recording is written, and nothing else knows of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lacuna_config::ShowConfig;
use lacuna_context::Language;
use lacuna_text::{Encoding, Utf16Text};

use super::about::About;
use super::manners::Manners;
use super::neighbours::{Choice, Spot};
use super::record::Recording;
use super::requests::{Requests, Ticket};
use super::status::Last;
use super::view::{Edited, View};
use super::wire::Change;

pub struct OpenDocument {
    pub about: Arc<About>,
    pub view: View,
    /// A change was missed: this is not the text that the editor has. Until the document is opened
    /// again or replaced as a whole.
    pub out_of_step: bool,
    /// Settings that are in force in it.
    pub show: Arc<ShowConfig>,
    pub manners: Manners,
    /// For `--record`.
    pub recording: Option<Recording>,
    /// What its prompts show of other documents.
    pub choice: Option<Choice>,
    requests: Requests,
    last: Option<Last>,
    /// Byte at which it was edited, or a completion was asked for, last.
    used_at: usize,
    /// When, as [`now`] counts.
    pub used: u64,
    pub changed: u64,
    /// `0`: never.
    pub answered: u64,
}

/// Why a document could not be changed.
#[derive(Debug)]
pub enum ChangeError {
    NotOpen,
    /// An older version than the one that is there: the message came late or twice.
    Stale {
        has: i32,
        got: i32,
    },
    /// An earlier change was missed; that was told then.
    OutOfStep,
}

/// Larger than every number before: what comes later has the larger one.
pub fn now() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

impl OpenDocument {
    /// A document that nothing is known of but its text.
    pub fn new(uri: &str, language: Language, version: i32, text: &Utf16Text) -> OpenDocument {
        let view = View::new(language, version, text);
        let opened = now();
        OpenDocument {
            about: Arc::new(About::new(uri, uri, language.name())),
            out_of_step: false,
            show: Arc::default(),
            manners: Manners::new(&view),
            view,
            recording: None,
            choice: None,
            requests: Requests::default(),
            last: None,
            used_at: 0,
            used: opened,
            changed: opened,
            answered: 0,
        }
    }

    /// Applies the edits of one `didChange` in order. Requests that run on the old text are
    /// cancelled, but for one whose answer is being typed. `version`: `None` for a client that does
    /// not count.
    pub fn change(
        &mut self,
        version: Option<i32>,
        changes: &[Change],
        encoding: Encoding,
    ) -> Result<Edited, ChangeError> {
        let has = self.view.document.version();
        let version = version.unwrap_or(has);
        // What stands before a replacement of the whole text leaves no trace in it.
        let whole = changes.iter().rposition(Change::replaces_all);
        if whole.is_none() && (version < has || self.out_of_step) {
            let was_lost = !self.lose();
            return Err(if was_lost {
                ChangeError::OutOfStep
            } else {
                ChangeError::Stale { has, got: version }
            });
        }
        let edits = self.view.apply(&changes[whole.unwrap_or(0)..], encoding);
        self.view.document.set_version(version);
        self.out_of_step = false;
        self.requests.changed(&edits);
        self.manners.changed(&edits, &self.view);
        if let Some(recording) = &mut self.recording {
            recording.changed(&edits, &self.view);
        }
        self.changed = now();
        let edited = Edited { about: Arc::clone(&self.about), view: self.view.clone(), edits };
        self.used_at(edited.cursor());
        Ok(edited)
    }

    /// A change could not be read: the text is not known any more. Returns whether it was.
    pub fn lose(&mut self) -> bool {
        self.requests.stop();
        !std::mem::replace(&mut self.out_of_step, true)
    }

    /// A text to complete; `ticket` becomes the newest request.
    pub fn begin(&mut self, ticket: &Ticket) -> View {
        self.requests.begin(ticket);
        self.view.clone()
    }

    /// Tells where the answer of the newest request would go.
    pub fn locate(&mut self, ticket: &Ticket, cursor: usize) {
        self.requests.locate(ticket, cursor);
        if let Some(recording) = &mut self.recording {
            recording.asked(&self.view, cursor);
        }
    }

    /// The user is at this byte.
    pub fn used_at(&mut self, cursor: usize) {
        (self.used, self.used_at) = (now(), cursor);
    }

    /// Where the user was last.
    pub fn spot(&self) -> Spot<'_> {
        self.spot_at(self.used_at)
    }

    pub fn spot_at(&self, at: usize) -> Spot<'_> {
        Spot { about: &self.about, view: &self.view, at }
    }

    /// Keeps what a request ended in.
    pub fn note(&mut self, last: Last) {
        (self.answered, self.last) = (now(), Some(last));
    }

    /// What the last request ended in.
    pub fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }
}
