//! Work that nobody waits for yet: prompts are warmed while the user types, and the line behind a
//! suggestion is prepared.
//!
//! One thread, behind every request (`Class::Warm`): a request of the same document stops it, one
//! of another document goes first at the next layer, and stops it if it needs the room that it
//! holds. Of each kind at most one job waits for a document, the newest.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};

use lacuna_engine::{Cancel, Class, Drafter, Lookup, prefill_with};

use crate::answer::Answer;
use crate::core::{Core, ahead_key, common};
use crate::decode::Limits;
use crate::kept;
use crate::lease::Leased;
use crate::state::lock;
use crate::suffix;
use crate::{Caller, Eagerness, Snapshot};

/// The client that background work counts as: one for all, they take turns by document.
const CLIENT: u64 = u64::MAX;
/// Tokens of typing after which the next window shall be warm.
const AHEAD: usize = 64;

pub(crate) enum Job {
    /// The prompt for a place in a document that was just edited.
    Warm(Box<Snapshot>),
    /// A completion for a text that is not there yet: the suggestion on screen accepted, and its
    /// line broken.
    NextLine(Box<Snapshot>),
}

impl Job {
    fn snapshot(&self) -> &Snapshot {
        match self {
            Job::Warm(snapshot) | Job::NextLine(snapshot) => snapshot,
        }
    }

    fn key(&self) -> &str {
        &self.snapshot().key
    }

    /// Whether the other is the same work for an older text.
    fn replaces(&self, other: &Job) -> bool {
        self.key() == other.key() && std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The thread and its queue. Dropping it ends the thread after the layer that is running.
pub(crate) struct Background {
    queue: Arc<Queue>,
    core: Arc<Core>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    is_running: bool,
    closed: bool,
}

impl Background {
    pub fn start(core: Arc<Core>) -> Background {
        let queue = Arc::new(Queue::default());
        let (of_thread, of_core) = (Arc::clone(&queue), Arc::clone(&core));
        let work = move || of_thread.work(|job| run(&of_core, job));
        // Without the thread everything works, only colder.
        if let Err(error) = std::thread::Builder::new().name("background".to_owned()).spawn(work) {
            tracing::warn!(%error, "no thread for work in the background");
            lock(&queue.state).closed = true;
        }
        Background { queue, core }
    }

    pub fn push(&self, job: Job) {
        let mut state = lock(&self.queue.state);
        if state.closed {
            return;
        }
        state.waiting.retain(|other| !job.replaces(other));
        // What runs for this document does so for a text that is gone.
        self.core.states.stop_background(job.key());
        state.waiting.push_back(job);
        self.queue.changed.notify_all();
    }

    pub fn settle(&self) {
        let mut state = lock(&self.queue.state);
        while !state.closed && (state.is_running || !state.waiting.is_empty()) {
            state =
                self.queue.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        state.closed = true;
        state.waiting.clear();
        self.core.states.stop_all();
        self.queue.changed.notify_all();
    }
}

impl Queue {
    /// Runs the jobs as they come, until there will be none.
    fn work(&self, run: impl Fn(Job)) {
        while let Some(job) = self.next() {
            // A job that panics is lost; the next one is not. Locks and leases are given back as it
            // unwinds.
            if catch_unwind(AssertUnwindSafe(|| run(job))).is_err() {
                tracing::error!(
                    "work in the background panicked: that job is lost, the thread goes on"
                );
            }
            self.done();
        }
    }

    /// The next job; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.is_running = true;
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn done(&self) {
        lock(&self.state).is_running = false;
        self.changed.notify_all();
    }
}

fn run(core: &Core, job: Job) {
    let working = core.states.begin_background(job.key());
    let cancel = working.cancel.clone().with_turn(core.scheduler.turn(Class::Warm, CLIENT));
    match job {
        Job::Warm(snapshot) => warm(core, &snapshot, &cancel),
        Job::NextLine(snapshot) => complete_ahead(core, &snapshot, &cancel),
    }
}

/// Brings the document's cache to the prompt of this place, keeps its excerpts and the window as
/// plain text, then brings the spare cache to where the window will be soon.
fn warm(core: &Core, snapshot: &Snapshot, cancel: &Cancel) {
    let request = snapshot.request();
    let Some(Leased { prepared, budget, mut lease, donors, .. }) = core.lease_free(&request, 0)
    else {
        return;
    };
    let now = &prepared.prompt.ids;
    if prefill_with(&core.model, &mut lease, now, &core.prefill(&donors), cancel).is_err() {
        return;
    }
    let snapshot_now = lease.snapshot();
    drop(lease);
    kept::keep(core, &snapshot.excerpts, cancel);
    suffix::warm(core, &request, &prepared.prompt, cancel);
    let ahead = core.prepare(&request, budget, AHEAD).prompt.ids;
    if common(now, &ahead) * 2 > ahead.len() {
        return;
    }
    if let Some(mut spare) = core.pool.try_lease(&ahead_key(&snapshot.key))
        && spare.reserve(&ahead, 0).is_ok()
    {
        // Cancelled or not, what was computed is kept.
        let options = core.prefill(std::slice::from_ref(&snapshot_now));
        let _ = prefill_with(&core.model, &mut spare, &ahead, &options, cancel);
    }
}

/// Completes a text that is not there yet, and keeps the answer for when it is.
fn complete_ahead(core: &Core, snapshot: &Snapshot, cancel: &Cancel) {
    let request = snapshot.request();
    let state = core.states.of(&snapshot.key);
    if lock(&state.ghosts).recall(request.document, request.cursor).is_some() {
        return;
    }
    let Some(leased) = core.lease_free(&request, core.longest()) else { return };
    let limits = Limits { deadline: None, cancel, flight: None };
    // Nobody is kept waiting: a draft source of its own, and what it learns is lost.
    let (mut drafter, mut answer) = (Drafter::new(Lookup::new()), Answer::new(false));
    match core.complete_in(leased, &request, Caller::default(), limits, &mut drafter, &mut answer) {
        // What a cancelled generation has said so far may be half a word.
        Ok(items) if !cancel.is_cancelled() && core.is_wanted(&request, &items, Eagerness::Low) => {
            lock(&state.ghosts).add(request.document, request.cursor, items)
        }
        Ok(_) => {}
        Err(reason) => tracing::debug!(?reason, "the next line was not prepared"),
    }
}

#[cfg(test)]
mod tests {
    use lacuna_context::{Language, SyntaxTree};
    use lacuna_text::Document;

    use super::*;

    #[test]
    fn a_job_that_panics_is_lost_and_the_next_one_is_not() {
        let queue = Queue::default();
        let job = |key: &str| {
            let document = Document::new("", 0);
            let (language, tree) =
                (Language::Text, SyntaxTree::parse(Language::Text, document.rope()));
            let snapshot = Snapshot {
                key: key.to_owned(),
                path: None,
                language,
                document,
                tree,
                cursor: 0,
                excerpts: Arc::default(),
            };
            Job::Warm(Box::new(snapshot))
        };
        lock(&queue.state).waiting.extend(["a", "bad", "b", "bad", "c"].map(job));
        let done = Mutex::new(Vec::new());
        queue.work(|job| {
            if job.key() == "c" {
                lock(&queue.state).closed = true;
            }
            assert_ne!(job.key(), "bad");
            lock(&done).push(job.key().to_owned());
        });
        assert_eq!(*lock(&done), ["a", "b", "c"]);
        assert!(!lock(&queue.state).is_running);
    }
}
