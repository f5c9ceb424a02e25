//! The KV cache of one sequence: keys and values per layer, the token ids they belong to, the logits of the last one.
//!
//! What is visible (`ids`, `logits`) changes only when an evaluation has succeeded. A cancelled one puts back what it had
//! overwritten ([`KvCache::begin`], [`Undo`]).

use lacuna_kernels::kv::{KvDtype, KvSaved, KvStore};

use crate::model::{Model, Precision};
use crate::weights::ProductBuffers;

/// How the keys and values of an INT4 model are held, unless the caller says otherwise. Those of an f32 model stay f32.
///
/// Measured with the embedded model (`examples/kv_quality.rs`), nats a token against f32: 13,044 tokens of `datasets/samples`
/// +0.0001 ± 0.0003; 16,312 tokens of Rust in sequences of 2,040 −0.0007 ± 0.0003 (f16: +0.0000 and +0.0001 ± 0.0003). A quarter of
/// the memory of f32.
pub const DEFAULT_KV: KvDtype = KvDtype::Int8;

/// Keys and values of one sequence of a model, at most `capacity` tokens. Memory grows with use.
pub struct KvCache {
    model: u64,
    capacity: usize,
    pub(crate) ids: Vec<u32>,
    /// One a layer.
    pub(crate) layers: Vec<KvStore>,
    pub(crate) logits: Vec<f32>,
    pub(crate) workspace: Workspace,
}

/// Buffers of a forward pass, reused from call to call.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) product: ProductBuffers,
    /// The residual stream, `[m, hidden]`.
    pub(crate) x: Vec<f32>,
    pub(crate) qkv: Vec<f32>,
    pub(crate) attended: Vec<f32>,
    pub(crate) gate_up: Vec<f32>,
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
}

impl KvCache {
    /// An empty cache for `model`; `capacity` tokens at most, and never more than the model's positions.
    ///
    /// Keys and values are f32 for an f32 model, else [`DEFAULT_KV`]; see [`KvCache::with_dtype`].
    pub fn new(model: &Model, capacity: usize) -> Self {
        let dtype = match model.info().precision {
            Precision::F32 => KvDtype::F32,
            Precision::Int4 => DEFAULT_KV,
        };
        Self::with_dtype(model, capacity, dtype)
    }

    /// [`KvCache::new`] with keys and values held as `dtype`.
    pub fn with_dtype(model: &Model, capacity: usize, dtype: KvDtype) -> Self {
        let config = model.config();
        let layers = (0..config.layers).map(|_| KvStore::new(dtype, config.kv_heads, config.head_dim)).collect();
        KvCache {
            model: model.id,
            capacity: capacity.min(config.max_positions),
            ids: Vec::new(),
            layers,
            logits: Vec::new(),
            workspace: Workspace::default(),
        }
    }

    /// The tokens whose keys and values are held, from position 0 on.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Logits after the last token, `[n_vocab]`; empty before the first prefill.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// How keys and values are held.
    pub fn dtype(&self) -> KvDtype {
        self.layers[0].dtype()
    }

    /// Bytes that keys and values take now.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(KvStore::bytes).sum()
    }

    /// How many leading tokens of `ids` are held.
    pub fn common_prefix(&self, ids: &[u32]) -> usize {
        self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count()
    }

    /// Forgets every token from position `len` on (and the logits, if any token goes).
    pub fn truncate(&mut self, len: usize) {
        if len < self.ids.len() {
            self.ids.truncate(len);
            self.logits.clear();
        }
    }

    /// Panics: the cache was made for another model.
    pub(crate) fn check_model(&self, model: &Model) {
        assert_eq!(self.model, model.id, "a KV cache is used with the model it was made for");
    }

    /// Cuts the visible sequence at `len` for an evaluation that will write from there on; keeps what is needed to undo it.
    pub(crate) fn begin(&mut self, len: usize) -> Undo {
        let ids = self.ids.split_off(len);
        let positions = len..len + ids.len();
        let layers = if ids.is_empty() { Vec::new() } else { self.layers.iter().map(|l| l.save(positions.clone())).collect() };
        Undo { ids, layers }
    }

    /// Puts back what was there at [`KvCache::begin`].
    pub(crate) fn roll_back(&mut self, undo: Undo) {
        for (layer, saved) in self.layers.iter_mut().zip(&undo.layers) {
            layer.restore(saved);
        }
        self.ids.extend(undo.ids);
    }
}

/// The tail of a cache before an evaluation.
pub(crate) struct Undo {
    ids: Vec<u32>,
    layers: Vec<KvSaved>,
}
