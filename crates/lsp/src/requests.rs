//! The requests that run for a document, and which of them a change ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lacuna_complete::Flight;
use lacuna_engine::Cancel;
use tokio::sync::Notify;

use super::view::Edit;

/// What a request holds of itself: when to stop, whether its text is still there, what it has
/// generated.
#[derive(Clone, Default)]
pub struct Ticket {
    pub cancel: Cancel,
    pub flight: Arc<Flight>,
    stale: Arc<AtomicBool>,
    stopped: Arc<Notify>,
}

impl Ticket {
    /// The text has changed or a newer request runs: what was found belongs to a text that is gone.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire) || self.cancel.is_cancelled()
    }

    /// Ends when the request is superseded, also if it was before. For one that waits.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }
}

struct Running {
    ticket: Ticket,
    /// Byte offset of its cursor, where the answer would go; `None`: not there.
    at: Option<usize>,
    /// Typed at the cursor since.
    typed: String,
}

impl Running {
    fn stop(&self) {
        self.ticket.stale.store(true, Ordering::Release);
        self.ticket.cancel.cancel();
        self.ticket.stopped.notify_one();
    }

    /// Whether it may go on after this edit: what is typed is what it is about to say.
    fn follows(&mut self, edit: &Edit) -> bool {
        self.ticket.stale.store(true, Ordering::Release);
        let at_cursor = self.at.is_some_and(|at| at + self.typed.len() == edit.start)
            && edit.removed.is_empty();
        self.typed.push_str(&edit.text);
        at_cursor && self.ticket.flight.agrees(&self.typed)
    }
}

/// One document's. Dropping it stops them.
#[derive(Default)]
pub struct Requests {
    newest: Option<Running>,
    /// An older one whose answer the user is typing: the newest waits for it.
    flying: Option<Running>,
}

impl Requests {
    /// `ticket` becomes the newest request. The one before it is cancelled, unless what was typed
    /// since agrees with what it has said so far.
    pub fn begin(&mut self, ticket: &Ticket) {
        let new = Running { ticket: ticket.clone(), at: None, typed: String::new() };
        let Some(old) = self.newest.replace(new) else { return };
        if old.typed.is_empty() || self.flying.is_some() {
            old.stop();
        } else {
            self.flying = Some(old);
        }
    }

    /// Tells where the answer of the newest request would go, if it is this one.
    pub fn locate(&mut self, ticket: &Ticket, cursor: usize) {
        if let Some(newest) = &mut self.newest
            && Arc::ptr_eq(&newest.ticket.stale, &ticket.stale)
        {
            newest.at = Some(cursor);
        }
    }

    /// The text has changed: those that run on the old one end, but for one whose answer is being
    /// typed.
    pub fn changed(&mut self, edits: &[Edit]) {
        for request in [&mut self.newest, &mut self.flying] {
            if let Some(running) = request
                && !matches!(edits, [edit] if running.follows(edit))
            {
                running.stop();
                *request = None;
            }
        }
    }

    pub fn stop(&mut self) {
        for running in [self.newest.take(), self.flying.take()].into_iter().flatten() {
            running.stop();
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop();
    }
}
