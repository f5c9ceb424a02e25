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
    /// Requests that run or wait.
    requests: AtomicUsize,
    last_used: AtomicU64,
}

impl DocumentState {
    fn new() -> DocumentState {
        DocumentState {
            ghosts: Mutex::default(),
            drafter: Mutex::new(Drafter::new(Lookup::new())),
            requests: AtomicUsize::new(0),
            last_used: AtomicU64::new(0),
        }
    }
}

/// States by document key, and what the background is at.
#[derive(Default)]
pub(crate) struct States {
    entries: DashMap<String, Arc<DocumentState>>,
    clock: AtomicU64,
    /// Held while a piece of work in the background runs, whatever its document.
    working: Mutex<()>,
    /// The document of that work, and what stops it.
    running: Mutex<(String, Cancel)>,
    /// Requests that need what it holds.
    alone: AtomicUsize,
}

/// A piece of work in the background, until it is dropped.
pub(crate) struct Working<'a> {
    pub cancel: Cancel,
    _one: MutexGuard<'a, ()>,
}

/// One that keeps work in the background from starting until it is dropped.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn one_more(count: &'a AtomicUsize) -> Counted<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl States {
    /// Begins a piece of work for a document. It is stopped at once while there are requests of
    /// this document, or such as need what it would hold.
    pub fn begin_background(&self, key: &str) -> Working<'_> {
        let one = lock(&self.working);
        let cancel = Cancel::new();
        *lock(&self.running) = (key.to_owned(), cancel.clone());
        let requests = &self.of(key).requests;
        if self.alone.load(Ordering::SeqCst) > 0 || requests.load(Ordering::SeqCst) > 0 {
            cancel.cancel();
        }
        Working { cancel, _one: one }
    }

    /// Stops what runs in the background for a document, which a request needs the cache of: it
    /// ends within a layer, and its work is kept by the cache.
    pub fn stop_background(&self, key: &str) {
        let running = lock(&self.running);
        if running.0 == key {
            running.1.cancel();
        }
    }

    /// Stops what runs in the background, for whatever document.
    pub fn stop_all(&self) {
        lock(&self.running).1.cancel();
    }

    /// Keeps work in the background for this document from starting, and stops what runs, until the
    /// result is dropped.
    pub fn request<'a>(&self, key: &str, state: &'a DocumentState) -> Counted<'a> {
        let requesting = Counted::one_more(&state.requests);
        self.stop_background(key);
        requesting
    }

    /// Stops what runs in the background, for whatever document, and waits until it has given back
    /// what it held: as long as half a layer takes. Nothing runs there until this is dropped.
    pub fn alone(&self) -> (Counted<'_>, MutexGuard<'_, ()>) {
        let alone = Counted::one_more(&self.alone);
        self.stop_all();
        (alone, lock(&self.working))
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
        if self.entries.remove(key).is_some() {
            self.stop_background(key);
        }
    }
}

/// A panic in an earlier request may have poisoned a lock; what is behind ours is valid at every
/// step, so it can go on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
