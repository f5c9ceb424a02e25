//! When nothing is offered unasked, however good it may be: what keeps a suggestion from being a
//! nuisance.
//!
//! Owns: what is remembered of a client's documents for that ([`history`]: undo and deletions;
//! [`refused`]: what was turned down where) and the settings about it. Does not own: pauses and the
//! snooze ([`super::status`]), how sure a model is. Nothing here looks at a clock, waits or keeps
//! source text beyond what was offered.
//!
//! Start reading at [`Manners::objection`], which is asked before every completion.

mod delay;
mod history;
mod refused;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lacuna_config::{Eagerness, ShowConfig};
use lacuna_context::{Prose, prose_at};

use self::history::History;
use self::refused::Offers;
use super::documents::{Edited, Open};
use super::reasons::Quiet;

pub use delay::waited;

/// One client's.
#[derive(Default)]
pub struct Manners {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    show: ShowConfig,
    histories: HashMap<String, History>,
    offers: Offers,
}

/// A request, as far as manners are concerned.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub uri: &'a str,
    pub open: &'a Open,
    /// Byte offset of the client's cursor.
    pub cursor: usize,
    /// Made while typing, not by the user.
    pub is_automatic: bool,
}

impl Manners {
    /// Takes settings, those of `initialize` or later ones.
    pub fn configure(&self, show: &ShowConfig) {
        self.inner().show = show.clone();
    }

    pub fn opened(&self, uri: &str, open: &Open) {
        let mut inner = self.inner();
        inner.histories.insert(uri.to_owned(), History::new(open.document.rope()));
        inner.offers.forget(uri);
    }

    pub fn closed(&self, uri: &str) {
        let mut inner = self.inner();
        inner.histories.remove(uri);
        inner.offers.forget(uri);
    }

    pub fn changed(&self, uri: &str, edited: &Edited) {
        let mut inner = self.inner();
        let is_of_offer = inner.offers.changed(uri, &edited.edits, &edited.open.document);
        if let Some(history) = inner.histories.get_mut(uri) {
            history.changed(&edited.edits, edited.open.document.rope(), is_of_offer);
        }
    }

    /// Why a request gets no answer, whatever a model would say.
    pub fn objection(&self, asking: &Asking<'_>) -> Option<Quiet> {
        let Asking { uri, open, cursor, is_automatic } = *asking;
        let inner = self.inner();
        if is_automatic && inner.histories.get(uri).is_some_and(History::is_quiet) {
            return Some(Quiet::AfterUndo);
        }
        let show = &inner.show;
        let wanted = [show.in_comments, show.in_doc_comments, show.in_strings];
        if wanted.iter().all(|wanted| wanted.allows(is_automatic)) {
            return None;
        }
        let [in_comments, in_doc_comments, in_strings] = wanted;
        drop(inner);
        let (wanted, quiet) = match prose_at(&open.tree, open.document.rope(), cursor)? {
            Prose::Comment => (in_comments, Quiet::InComment),
            Prose::DocComment => (in_doc_comments, Quiet::InDocComment),
            Prose::String => (in_strings, Quiet::InString),
        };
        (!wanted.allows(is_automatic)).then_some(quiet)
    }

    /// How long a request is held before it is answered. What is on screen already and is being
    /// typed goes on at once.
    pub fn delay(&self, asking: &Asking<'_>) -> Duration {
        let inner = self.inner();
        if asking.is_automatic && !inner.offers.is_typed_through(asking.uri, asking.cursor) {
            Duration::from_millis(inner.show.delay_ms)
        } else {
            Duration::ZERO
        }
    }

    /// What was turned down at this place: texts right of the client's cursor. Nothing, if the user
    /// asks by hand.
    pub fn refused(&self, asking: &Asking<'_>) -> Vec<String> {
        if asking.is_automatic {
            self.inner().offers.refused(asking.uri, asking.cursor)
        } else {
            Vec::new()
        }
    }

    /// How eager the user wants us to be in a language.
    pub fn eagerness(&self, language_id: &str) -> Eagerness {
        self.inner().show.eagerness_in(language_id)
    }

    /// These were sent: texts right of the client's cursor, with the ids by which the client calls
    /// them.
    pub fn offered(&self, asking: &Asking<'_>, items: impl Iterator<Item = (String, String)>) {
        self.inner().offers.offered(asking.uri, asking.cursor, &asking.open.document, items);
    }

    /// The user turned down what was sent with this id.
    pub fn dismissed(&self, id: &str) {
        self.inner().offers.dismissed(id);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
