//! Per-document state: the KV cache of the last prompt and the ghost text on screen, at most a fixed number of documents.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use lacuna_engine::{KvCache, KvDtype, Model};

use crate::ghost::Ghost;

/// State of one document. Locked for the length of one request.
pub(crate) struct Slot {
    pub cache: KvCache,
    pub ghost: Option<Ghost>,
}

struct Entry {
    slot: Arc<Mutex<Slot>>,
    last_used: AtomicU64,
}

/// Slots by document key; the least recently used one goes when there are too many.
pub(crate) struct Slots {
    entries: DashMap<String, Entry>,
    clock: AtomicU64,
    max: usize,
    dtype: Option<KvDtype>,
}

impl Slots {
    pub fn new(max: usize, dtype: Option<KvDtype>) -> Slots {
        Slots { entries: DashMap::new(), clock: AtomicU64::new(0), max: max.max(1), dtype }
    }

    /// The slot of a document, made when it is new. `capacity` is the prompt and its answer, in tokens.
    pub fn slot(&self, key: &str, model: &Model, capacity: usize) -> Arc<Mutex<Slot>> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = self.entries.get(key) {
            entry.last_used.store(now, Ordering::Relaxed);
            return Arc::clone(&entry.slot);
        }
        // A running request holds its own Arc, so that evicting its entry frees the memory only when it has ended.
        while self.entries.len() >= self.max {
            let oldest = self.entries.iter().min_by_key(|e| e.last_used.load(Ordering::Relaxed)).map(|e| e.key().clone());
            match oldest {
                Some(key) => self.entries.remove(&key),
                None => break,
            };
        }
        let cache = match self.dtype {
            Some(dtype) => KvCache::with_dtype(model, capacity, dtype),
            None => KvCache::new(model, capacity),
        };
        let slot = Arc::new(Mutex::new(Slot { cache, ghost: None }));
        let entry = Entry { slot: Arc::clone(&slot), last_used: AtomicU64::new(now) };
        self.entries.insert(key.to_owned(), entry);
        slot
    }

    pub fn remove(&self, key: &str) {
        self.entries.remove(key);
    }
}
