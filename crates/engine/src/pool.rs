//! The caches of many documents under one budget of bytes: least recently used first out, block by
//! block from the end.
//!
//! A cache is leased for the length of a request; leased caches are not touched, so giving
//! memory back never breaks a running request. Blocks are counted once however many caches
//! share them ([`KvMemory`]). One lock guards the table: what it does is short, and the budget is a
//! question about all documents at once. Spare caches ([`KvLease::spare`]) go before all others.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::device::{KeysValues, Kv, KvDtype, KvMemory};
use crate::kv::{KvCache, KvSnapshot, default_dtype};
use crate::model::Model;

/// Caches by document.
pub struct KvPool {
    model: Arc<Model>,
    dtype: KvDtype,
    capacity: usize,
    budget: usize,
    memory: KvMemory,
    table: Mutex<Table>,
    returned: Condvar,
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    clock: u64,
    next_id: u64,
    /// Bytes promised to leases; what they have taken of it meanwhile is counted twice, on the safe
    /// side.
    reserved: usize,
    hits: u64,
    misses: u64,
    evicted_bytes: u64,
}

struct Entry {
    /// Tells this entry from a later one of the same document.
    id: u64,
    /// `None` while it is leased.
    cache: Option<KvCache>,
    last_used: u64,
    is_spare: bool,
}

/// What a pool holds and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Bytes of keys and values now, shared blocks once.
    pub bytes: usize,
    pub budget: usize,
    pub caches: usize,
    /// Leased.
    pub held: usize,
    /// Leases that found a cache with tokens, and others.
    pub hits: u64,
    pub misses: u64,
    pub evicted_bytes: u64,
}

/// A prompt does not fit beside what must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} bytes of keys and values are needed, but {held} of {budget} are held by running requests: \
     raise kv.budget_mb or lower the prompt's length"
)]
pub struct OverBudget {
    pub needed: usize,
    pub held: usize,
    pub budget: usize,
}

impl KvPool {
    /// Tokens that one cache holds at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Caches of at most `capacity` tokens each, held as `dtype` (`None`: as the engine chooses for
    /// the model), `budget` bytes in all.
    pub fn new(
        model: Arc<Model>,
        dtype: Option<KvDtype>,
        capacity: usize,
        budget: usize,
    ) -> Arc<KvPool> {
        let dtype = dtype.unwrap_or_else(|| default_dtype(&model));
        let (memory, table, returned) = (KvMemory::default(), Mutex::default(), Condvar::new());
        Arc::new(KvPool { model, dtype, capacity, budget, memory, table, returned })
    }

    /// The cache of a document, an empty one if it is new; waits while somebody else has it.
    pub fn lease(self: &Arc<Self>, key: &str) -> KvLease {
        let mut table = self.lock();
        while table.entries.get(key).is_some_and(|entry| entry.cache.is_none()) {
            table = self.returned.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        self.take(&mut table, key)
    }

    /// [`KvPool::lease`], or nothing while somebody else has it.
    pub fn try_lease(self: &Arc<Self>, key: &str) -> Option<KvLease> {
        let mut table = self.lock();
        let busy = table.entries.get(key).is_some_and(|entry| entry.cache.is_none());
        (!busy).then(|| self.take(&mut table, key))
    }

    /// What a cache holds now, if it is there and nobody has it: to take text from. Counts as a use
    /// of it.
    pub fn snapshot(&self, key: &str) -> Option<KvSnapshot> {
        let mut table = self.lock();
        table.clock += 1;
        let now = table.clock;
        let entry = table.entries.get_mut(key)?;
        entry.last_used = now;
        entry.cache.as_ref().filter(|cache| !cache.ids().is_empty()).map(KvCache::snapshot)
    }

    /// The most recently used `n` caches whose keys are `wanted`, as far as nobody has them: to
    /// take text from.
    pub fn donors(&self, wanted: impl Fn(&str) -> bool, n: usize) -> Vec<KvSnapshot> {
        let table = self.lock();
        let mut others: Vec<(u64, &KvCache)> = table
            .entries
            .iter()
            .filter(|(key, _)| wanted(key))
            .filter_map(|(_, entry)| entry.cache.as_ref().map(|cache| (entry.last_used, cache)))
            .filter(|(_, cache)| !cache.ids().is_empty())
            .collect();
        others.sort_unstable_by_key(|(last_used, _)| std::cmp::Reverse(*last_used));
        others.iter().take(n).map(|(_, cache)| cache.snapshot()).collect()
    }

    /// Forgets a document. A lease of it goes on; its cache goes when that ends.
    pub fn remove(&self, key: &str) {
        self.lock().entries.remove(key);
        self.returned.notify_all();
    }

    pub fn stats(&self) -> PoolStats {
        let table = self.lock();
        PoolStats {
            bytes: Kv::counted(&self.memory),
            budget: self.budget,
            caches: table.entries.len(),
            held: table.entries.values().filter(|entry| entry.cache.is_none()).count(),
            hits: table.hits,
            misses: table.misses,
            evicted_bytes: table.evicted_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, table: &mut Table, key: &str) -> KvLease {
        table.clock += 1;
        let now = table.clock;
        let new = || KvCache::counted(&self.model, self.capacity, self.dtype, &self.memory);
        let (id, cache) = match table.entries.get_mut(key) {
            Some(entry) => {
                entry.last_used = now;
                (entry.id, entry.cache.take().unwrap_or_else(new))
            }
            None => {
                table.next_id += 1;
                let id = table.next_id;
                table.entries.insert(
                    key.to_owned(),
                    Entry { id, cache: None, last_used: now, is_spare: false },
                );
                (id, new())
            }
        };
        if cache.ids().is_empty() {
            table.misses += 1
        } else {
            table.hits += 1
        }
        KvLease {
            pool: Arc::clone(self),
            key: key.to_owned(),
            id,
            cache: Some(cache),
            reserved: 0,
            is_spare: false,
        }
    }

    /// Gives memory back until `wanted` more bytes fit, as far as possible; of spare caches alone,
    /// or of these first.
    fn make_room(&self, table: &mut Table, wanted: usize, spare_only: bool) -> bool {
        loop {
            let before = Kv::counted(&self.memory);
            if before + table.reserved + wanted <= self.budget {
                return true;
            }
            let free = table.entries.iter_mut().filter(|(_, entry)| entry.cache.is_some());
            let free = free.filter(|(_, entry)| entry.is_spare || !spare_only);
            let Some((key, entry)) =
                free.min_by_key(|(_, entry)| (!entry.is_spare, entry.last_used))
            else {
                return false;
            };
            let gone = entry.cache.as_mut().is_none_or(give_back);
            let key = key.clone();
            if gone {
                table.entries.remove(&key);
            }
            table.evicted_bytes += before.saturating_sub(Kv::counted(&self.memory)) as u64;
        }
    }
}

/// Gives back what is worth least: the leavings of cancelled prefills, then the last block. Whether
/// nothing is left.
fn give_back(cache: &mut KvCache) -> bool {
    if !cache.unfinished.is_empty() {
        cache.shrink();
    } else {
        let (positions, _) = cache.sequence.kv.block();
        let keep = cache.ids().len().saturating_sub(1) / positions * positions;
        cache.truncate(keep);
        cache.shrink();
    }
    cache.ids().is_empty() && cache.unfinished.is_empty()
}

/// A document's cache for the length of a request.
pub struct KvLease {
    pool: Arc<KvPool>,
    key: String,
    id: u64,
    /// There until the lease is dropped.
    cache: Option<KvCache>,
    reserved: usize,
    is_spare: bool,
}

impl KvLease {
    /// From now on this cache is what can best be spared: it is given back before any other that is
    /// not, and [`KvLease::reserve`] takes room from its like alone.
    #[must_use]
    pub fn spare(mut self) -> KvLease {
        self.is_spare = true;
        if let Some(entry) =
            self.pool.lock().entries.get_mut(&self.key).filter(|entry| entry.id == self.id)
        {
            entry.is_spare = true;
        }
        self
    }

    /// Makes sure that a prefill of `ids` and `more` tokens after it fit the budget, at the cost of
    /// other documents, then of this one's tokens that the prompt does not begin with. Without it a
    /// prefill is not held up, and the budget is met when the lease ends.
    ///
    /// Errors: what must stay leaves too little.
    pub fn reserve(&mut self, ids: &[u32], more: usize) -> Result<(), OverBudget> {
        let pool = Arc::clone(&self.pool);
        let mut table = pool.lock();
        table.reserved -= std::mem::take(&mut self.reserved);
        let needed = new_bytes(self, ids, more);
        let mut fits = pool.make_room(&mut table, needed, self.is_spare);
        if !fits {
            let common = self.common_prefix(ids);
            self.truncate(common);
            self.shrink();
            fits = pool.make_room(&mut table, needed, self.is_spare);
        }
        if !fits {
            return Err(OverBudget {
                needed,
                held: Kv::counted(&pool.memory) + table.reserved,
                budget: pool.budget,
            });
        }
        self.reserved = needed;
        table.reserved += needed;
        Ok(())
    }
}

/// Bytes of the blocks that a prefill of `ids` and `more` tokens makes at most.
fn new_bytes(cache: &KvCache, ids: &[u32], more: usize) -> usize {
    let (positions, bytes) = cache.sequence.kv.block();
    let tokens = (ids.len() + more).min(cache.capacity());
    let kept = cache.common_prefix(ids).min(cache.exact()) / positions;
    (tokens.div_ceil(positions) - kept) * bytes
}

impl Deref for KvLease {
    type Target = KvCache;
    fn deref(&self) -> &KvCache {
        self.cache.as_ref().expect("a lease has its cache")
    }
}

impl DerefMut for KvLease {
    fn deref_mut(&mut self) -> &mut KvCache {
        self.cache.as_mut().expect("a lease has its cache")
    }
}

impl Drop for KvLease {
    fn drop(&mut self) {
        let Some(mut cache) = self.cache.take() else { return };
        // The next prefill computes them again, and with a large vocabulary they are as large as
        // many tokens.
        cache.logits = Vec::new();
        let mut table = self.pool.lock();
        table.reserved -= self.reserved;
        let empty = cache.ids().is_empty() && cache.unfinished.is_empty();
        let ours = table.entries.get_mut(&self.key).filter(|entry| entry.id == self.id);
        match ours {
            Some(entry) if !empty => entry.cache = Some(cache),
            Some(_) => drop(table.entries.remove(&self.key)),
            None => drop(cache),
        }
        self.pool.make_room(&mut table, 0, false);
        drop(table);
        self.pool.returned.notify_all();
    }
}
