//! The KV cache of one sequence: keys and values per layer, the token ids they belong to, the
//! logits of the last one; and what cancelled prefills have left to go on from.
//!
//! What is visible (`ids`, `logits`) changes only when an evaluation has succeeded: a prefill
//! writes to a sequence of its own that shares the blocks it keeps (`prefill`). How blocks are laid
//! out and shared is the device's.

use std::sync::Arc;

use crate::device::{Device, DeviceError, KeysValues, KvDtype, KvMemory, Precision};
use crate::model::Model;
use crate::route::Route;
use crate::sequence::Sequence;
use crate::unfinished::Unfinished;

/// How the keys and values of an INT4 model are held, unless the caller says otherwise. Those of an
/// f32 model stay f32.
///
/// Measured with the embedded model (`examples/kv_quality.rs`), nats a token against f32: 13,044
/// tokens of `datasets/samples` +0.0001 ± 0.0003; 16,312 tokens of Rust in sequences of 2,040
/// −0.0007 ± 0.0003 (f16: +0.0000 and +0.0001 ± 0.0003). A quarter of the memory of f32.
pub const DEFAULT_KV: KvDtype = KvDtype::Int8;

/// Cancelled prefills that a cache remembers: one of a request and one of warming.
const MAX_UNFINISHED: usize = 2;

/// Keys and values of one sequence of a model, at most `capacity` tokens. Memory grows with use.
pub struct KvCache {
    model: u64,
    capacity: usize,
    pub(crate) sequence: Sequence,
    /// Rows of `n_vocab`; the one at `logits_row` belongs to the last token.
    pub(crate) logits: Vec<f32>,
    pub(crate) logits_row: usize,
    n_vocab: usize,
    /// Cancelled prefills, the latest last.
    pub(crate) unfinished: Vec<Unfinished>,
}

/// A sequence as it was when [`KvCache::snapshot`] was called: shares its blocks, costs a copy of
/// the ids. Other caches of the model can take prefixes and moved text from it.
#[derive(Clone)]
pub struct KvSnapshot {
    model: u64,
    pub(crate) sequence: Arc<Sequence>,
}

impl KvSnapshot {
    /// The tokens held.
    pub fn ids(&self) -> &[u32] {
        &self.sequence.ids
    }
}

impl KvCache {
    /// An empty cache for `model`; `capacity` tokens at most, and never more than the model's
    /// positions.
    ///
    /// Keys and values are f32 for an f32 model, else [`DEFAULT_KV`]; see [`KvCache::with_dtype`].
    pub fn new(model: &Model, capacity: usize) -> Self {
        Self::with_dtype(model, capacity, default_dtype(model))
    }

    /// [`KvCache::new`] with keys and values held as `dtype`.
    pub fn with_dtype(model: &Model, capacity: usize, dtype: KvDtype) -> Self {
        Self::counted(model, capacity, dtype, &KvMemory::default())
    }

    /// [`KvCache::with_dtype`] with the bytes of its blocks counted by `memory`.
    pub(crate) fn counted(
        model: &Model,
        capacity: usize,
        dtype: KvDtype,
        memory: &KvMemory,
    ) -> Self {
        let (kv, route) = (model.device.new_kv(dtype, memory), Route::default());
        KvCache {
            model: model.id,
            capacity: capacity.min(model.spec.max_positions),
            sequence: Sequence { ids: Vec::new(), moves: Vec::new(), exact: 0, kv, route },
            logits: Vec::new(),
            logits_row: 0,
            n_vocab: model.spec.n_vocab,
            unfinished: Vec::new(),
        }
    }

    /// The tokens whose keys and values are held, from position 0 on.
    pub fn ids(&self) -> &[u32] {
        &self.sequence.ids
    }

    /// Leading tokens whose keys and values are what a cold prefill computes; behind moved text
    /// ([`crate::Reuse`]) nothing is.
    pub fn exact(&self) -> usize {
        self.sequence.exact
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Logits after the last token, `[n_vocab]`; empty before the first prefill.
    pub fn logits(&self) -> &[f32] {
        self.logits
            .get(self.logits_row * self.n_vocab..(self.logits_row + 1) * self.n_vocab)
            .unwrap_or(&[])
    }

    /// How keys and values are held.
    pub fn dtype(&self) -> KvDtype {
        self.sequence.kv.dtype()
    }

    /// Bytes that keys and values, logits and unfinished prefills take now; shared blocks count in
    /// full.
    pub fn bytes(&self) -> usize {
        let unfinished: usize = self.unfinished.iter().map(Unfinished::bytes).sum();
        self.sequence.kv.bytes() + unfinished + size_of_val(&self.logits[..])
    }

    /// How many leading tokens of `ids` are held.
    pub fn common_prefix(&self, ids: &[u32]) -> usize {
        self.sequence.common_prefix(ids, false)
    }

    /// How many leading tokens of `ids` an exact prefill would not have to compute: held, or left
    /// by a cancelled prefill.
    pub fn warm(&self, ids: &[u32]) -> usize {
        let left = self.unfinished.iter().map(|work| work.usable(ids, true).done);
        left.fold(
            self.sequence.common_prefix(ids, true).min(ids.len().saturating_sub(1)),
            usize::max,
        )
    }

    /// Forgets every token from position `len` on (and the logits, if any token goes).
    pub fn truncate(&mut self, len: usize) {
        if len < self.sequence.ids.len() {
            self.sequence.truncate(len);
            self.logits.clear();
        }
    }

    /// Gives back memory: what cancelled prefills have left and whole blocks that no token needs.
    pub fn shrink(&mut self) {
        self.unfinished.clear();
        self.sequence.kv.shrink(self.sequence.ids.len());
        if self.logits.is_empty() {
            self.logits = Vec::new();
        }
    }

    /// Forgets what cancelled prefills have left.
    pub fn drop_unfinished(&mut self) {
        self.unfinished.clear();
    }

    /// The sequence as it is now, for other caches to take from.
    pub fn snapshot(&self) -> KvSnapshot {
        KvSnapshot { model: self.model, sequence: Arc::new(self.sequence.clone()) }
    }

    /// A second cache with the same tokens on the same blocks; either is copied as it is written
    /// to.
    pub fn fork(&self) -> KvCache {
        KvCache {
            sequence: self.sequence.clone(),
            logits: self.logits().to_vec(),
            logits_row: 0,
            unfinished: Vec::new(),
            ..*self
        }
    }

    /// Panics: the cache was made for another model.
    pub(crate) fn check_model(&self, model: &Model) {
        assert_eq!(self.model, model.id, "a KV cache is used with the model it was made for");
    }

    /// Panics: a snapshot of another model's cache, or of another type.
    pub(crate) fn check_donor(&self, donor: &KvSnapshot) {
        assert_eq!(self.model, donor.model, "a cache takes from caches of its model");
        assert_eq!(
            self.dtype(),
            donor.sequence.kv.dtype(),
            "a cache takes from caches of its type"
        );
    }

    /// `id` has been evaluated at the next position; its logits are in row `row`.
    pub(crate) fn push(&mut self, id: u32, row: usize) {
        self.sequence.push(id);
        self.logits_row = row;
    }

    /// Keeps the work of a cancelled prefill.
    pub(crate) fn keep(&mut self, work: Unfinished) {
        if work.is_empty() {
            return;
        }
        if self.unfinished.len() == MAX_UNFINISHED {
            self.unfinished.remove(0);
        }
        self.unfinished.push(work);
    }

    /// Forgets the logits: they could not be computed.
    pub(crate) fn without_logits(&mut self, error: DeviceError) -> DeviceError {
        self.logits.clear();
        error
    }

    /// Room for the logits of `m` tokens.
    pub(crate) fn logits_mut(&mut self, m: usize) -> &mut [f32] {
        self.logits_row = m - 1;
        self.logits.resize(m * self.n_vocab, 0.0);
        &mut self.logits
    }
}

/// What [`KvCache::new`] holds.
pub(crate) fn default_dtype(model: &Model) -> KvDtype {
    match model.info().precision {
        Precision::F32 => KvDtype::F32,
        Precision::Int4 => DEFAULT_KV,
    }
}
