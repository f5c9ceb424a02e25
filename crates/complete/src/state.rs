//! What is remembered of each document besides its KV cache: ghost text, draft source, and what
//! runs for it in the background.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use lacuna_engine::{Cancel, Drafter, Lookup};

use crate::ghost::Ghosts;

/// Documents that are remembered; a client that closes none must not make us grow.
const MAX_DOCUMENTS: usize = 1024;

/// One document.
pub(crate) struct DocumentState {
    pub ghosts: Mutex<Ghosts>,
    /// Held for the length of a request: requests of one document wait for each other.
    pub drafter: Mutex<Drafter>,
    /// Raised by a request, which needs the document's cache.
    background: Mutex<Cancel>,
    /// Requests that run or wait.
    requests: AtomicUsize,
    last_used: AtomicU64,
}

impl DocumentState {
    fn new() -> DocumentState {
        DocumentState {
            ghosts: Mutex::default(),
            drafter: Mutex::new(Drafter::new(Lookup::new())),
            background: Mutex::default(),
            requests: AtomicUsize::new(0),
            last_used: AtomicU64::new(0),
        }
    }

    /// A flag for work in the background; work that had one before is stopped. Raised at once while
    /// there are requests.
    fn begin_background(&self) -> Cancel {
        let mut running = lock(&self.background);
        running.cancel();
        *running = Cancel::new();
        if self.requests.load(Ordering::SeqCst) > 0 {
            running.cancel();
        }
        running.clone()
    }

    /// Keeps work in the background from starting, and stops what runs, until the result is
    /// dropped.
    pub fn request(self: &Arc<Self>) -> Requesting {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.stop_background();
        Requesting(Arc::clone(self))
    }

    /// Stops what runs in the background: it ends within a layer, and its work is kept by the
    /// cache.
    pub fn stop_background(&self) {
        lock(&self.background).cancel();
    }
}

/// A request of a document that runs or waits.
pub(crate) struct Requesting(Arc<DocumentState>);

impl Drop for Requesting {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::SeqCst);
    }
}

/// States by document key, and what the background is at.
#[derive(Default)]
pub(crate) struct States {
    entries: DashMap<String, Arc<DocumentState>>,
    clock: AtomicU64,
    /// Held while a piece of work in the background runs, whatever its document.
    working: Mutex<()>,
    /// Of that work.
    running: Mutex<Cancel>,
    /// Requests that need what it holds.
    alone: AtomicUsize,
}

/// A piece of work in the background, until it is dropped.
pub(crate) struct Working<'a> {
    pub cancel: Cancel,
    _one: MutexGuard<'a, ()>,
}

/// Nothing runs in the background until this is dropped.
pub(crate) struct Alone<'a> {
    states: &'a States,
    _none: MutexGuard<'a, ()>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.states.alone.fetch_sub(1, Ordering::SeqCst);
    }
}

impl States {
    /// Begins a piece of work for a document. It is stopped at once while there are requests of
    /// this document, or such as need what it would hold.
    pub fn begin_background(&self, state: &DocumentState) -> Working<'_> {
        let one = lock(&self.working);
        let cancel = state.begin_background();
        *lock(&self.running) = cancel.clone();
        if self.alone.load(Ordering::SeqCst) > 0 {
            cancel.cancel();
        }
        Working { cancel, _one: one }
    }

    /// Stops what runs in the background, for whatever document, and waits until it has given back
    /// what it held: as long as half a layer takes.
    pub fn alone(&self) -> Alone<'_> {
        self.alone.fetch_add(1, Ordering::SeqCst);
        lock(&self.running).cancel();
        Alone { states: self, _none: lock(&self.working) }
    }

    pub fn of(&self, key: &str) -> Arc<DocumentState> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(state) = self.entries.get(key) {
            state.last_used.store(now, Ordering::Relaxed);
            return Arc::clone(&state);
        }
        while self.entries.len() >= MAX_DOCUMENTS {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|e| e.last_used.load(Ordering::Relaxed))
                .map(|e| e.key().clone());
            match oldest {
                Some(key) => self.entries.remove(&key),
                None => break,
            };
        }
        let state =
            self.entries.entry(key.to_owned()).or_insert_with(|| Arc::new(DocumentState::new()));
        state.last_used.store(now, Ordering::Relaxed);
        Arc::clone(&state)
    }

    pub fn remove(&self, key: &str) {
        if let Some((_, state)) = self.entries.remove(key) {
            state.stop_background();
        }
    }
}

/// A panic in an earlier request may have poisoned a lock; what is behind ours is valid at every
/// step, so it can go on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
