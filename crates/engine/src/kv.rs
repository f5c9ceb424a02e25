//! The KV cache of one sequence: keys and values per layer, the token ids they belong to, the logits of the last one.
//!
//! What is visible (`ids`, `logits`) changes only when an evaluation has succeeded. A cancelled one puts back what it had
//! overwritten ([`KvCache::begin`], [`Undo`]).

use std::ops::Range;

use lacuna_kernels::ops;

use crate::model::Model;
use crate::weights::ProductBuffers;

/// Keys and values of one sequence of a model, at most `capacity` tokens. Memory grows with use.
pub struct KvCache {
    model: u64,
    capacity: usize,
    pub(crate) kv_width: usize,
    pub(crate) ids: Vec<u32>,
    pub(crate) layers: Vec<LayerKv>,
    pub(crate) logits: Vec<f32>,
    pub(crate) workspace: Workspace,
}

/// Keys and values of one layer.
#[derive(Default)]
pub(crate) struct LayerKv {
    /// In tiles of 16 positions; see [`ops::key_elements`].
    pub(crate) keys: Vec<f32>,
    /// `[tokens, kv_width]`
    pub(crate) values: Vec<f32>,
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
    pub fn new(model: &Model, capacity: usize) -> Self {
        let config = model.config();
        let layers = (0..config.layers).map(|_| LayerKv::default()).collect();
        KvCache {
            model: model.id,
            capacity: capacity.min(config.max_positions),
            kv_width: config.kv_width(),
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

    /// Bytes that keys and values take now.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|l| (l.keys.capacity() + l.values.capacity()) * size_of::<f32>()).sum()
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
        let (keys, values) = self.range(len, len + ids.len());
        let tail = |l: &LayerKv| (l.keys[keys.clone()].to_vec(), l.values[values.clone()].to_vec());
        let layers = if ids.is_empty() { Vec::new() } else { self.layers.iter().map(tail).collect() };
        Undo { ids, layers }
    }

    /// Puts back what was there at [`KvCache::begin`].
    pub(crate) fn roll_back(&mut self, undo: Undo) {
        let (keys, values) = self.range(self.ids.len(), self.ids.len() + undo.ids.len());
        for (layer, (old_keys, old_values)) in self.layers.iter_mut().zip(&undo.layers) {
            layer.keys[keys.clone()].copy_from_slice(old_keys);
            layer.values[values.clone()].copy_from_slice(old_values);
        }
        self.ids.extend(undo.ids);
    }

    /// Where positions `start..end` lie in the buffers of a layer: whole tiles of keys, rows of values.
    fn range(&self, start: usize, end: usize) -> (Range<usize>, Range<usize>) {
        let keys = |tokens: usize| ops::key_elements(tokens, 1, self.kv_width);
        let first_tile = keys(start + 1) - keys(1);
        (first_tile..keys(end).max(first_tile), start * self.kv_width..end * self.kv_width)
    }
}

/// The tail of a cache before an evaluation.
pub(crate) struct Undo {
    ids: Vec<u32>,
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl LayerKv {
    /// Makes room for `tokens` tokens of `width`.
    pub(crate) fn grow(&mut self, tokens: usize, width: usize) {
        let keys = ops::key_elements(tokens, 1, width);
        if self.keys.len() < keys {
            self.keys.resize(keys, 0.0);
        }
        if self.values.len() < tokens * width {
            self.values.resize(tokens * width, 0.0);
        }
    }
}
