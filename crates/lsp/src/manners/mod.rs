//! When nothing is offered unasked, however good it may be: what keeps a suggestion from being a
//! nuisance.
//!
//! Owns: what is remembered of one document for that ([`history`]: undo and deletions;
//! [`refused`]: what was turned down where). Does not own: the settings about it, pauses and the
//! snooze ([`super::status`]), how sure a model is. Nothing here looks at a clock, waits or keeps
//! source text beyond what was offered.
//!
//! Start reading at [`Manners::objection`], which is asked before every completion.

mod delay;
mod fingerprint;
mod history;
mod refused;

use std::time::Duration;

use lacuna_config::ShowConfig;
use lacuna_context::{Prose, prose_at};

use self::history::History;
use self::refused::Offers;
use super::reasons::Quiet;
use super::view::{Edit, View};

pub use delay::waited;

/// One document's.
pub struct Manners {
    history: History,
    offers: Offers,
}

/// A request, as far as manners are concerned.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub view: &'a View,
    /// Byte offset of the client's cursor.
    pub cursor: usize,
    /// Made while typing, not by the user.
    pub is_automatic: bool,
}

impl Manners {
    pub fn new(view: &View) -> Manners {
        Manners { history: History::new(view.document.rope()), offers: Offers::default() }
    }

    pub fn changed(&mut self, edits: &[Edit], view: &View) {
        let is_of_offer = self.offers.changed(edits, &view.document);
        self.history.changed(edits, view.document.rope(), is_of_offer);
    }

    /// Why a request gets no answer, whatever a model would say.
    pub fn objection(&self, show: &ShowConfig, asking: &Asking<'_>) -> Option<Quiet> {
        let Asking { view, cursor, is_automatic } = *asking;
        if is_automatic && self.history.is_quiet() {
            return Some(Quiet::AfterUndo);
        }
        let wanted = [show.in_comments, show.in_doc_comments, show.in_strings];
        if wanted.iter().all(|wanted| wanted.allows(is_automatic)) {
            return None;
        }
        let (wanted, quiet) = match prose_at(&view.tree, view.document.rope(), cursor)? {
            Prose::Comment => (show.in_comments, Quiet::InComment),
            Prose::DocComment => (show.in_doc_comments, Quiet::InDocComment),
            Prose::String => (show.in_strings, Quiet::InString),
        };
        (!wanted.allows(is_automatic)).then_some(quiet)
    }

    /// How long a request is held before it is answered. What is on screen already and is being
    /// typed goes on at once.
    pub fn delay(&self, show: &ShowConfig, asking: &Asking<'_>) -> Duration {
        if asking.is_automatic && !self.offers.is_typed_through(asking.cursor) {
            Duration::from_millis(show.delay_ms)
        } else {
            Duration::ZERO
        }
    }

    /// What was turned down at this place: texts right of the client's cursor. Nothing, if the user
    /// asks by hand.
    pub fn refused(&self, asking: &Asking<'_>) -> Vec<String> {
        if asking.is_automatic { self.offers.refused(asking.cursor) } else { Vec::new() }
    }

    /// These were sent: texts right of the client's cursor, with the ids by which the client calls
    /// them.
    pub fn offered(&mut self, asking: &Asking<'_>, items: impl Iterator<Item = (String, String)>) {
        self.offers.offered(asking.cursor, &asking.view.document, items);
    }

    /// The user turned down what was sent with this id, if it was sent here.
    pub fn dismissed(&mut self, id: &str) {
        self.offers.dismissed(id);
    }
}
