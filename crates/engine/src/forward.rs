//! The forward pass, prefill with reuse of the longest common prefix, and scoring of whole sequences.
//!
//! One implementation for both precisions and any number of tokens. Long prompts go in chunks of [`CHUNK`] tokens; the cancel flag
//! is looked at before every layer.

use lacuna_kernels::Epilogue;
use lacuna_kernels::kv::KvStore;
use lacuna_kernels::ops::{self, Attention};

use crate::cancel::Cancel;
use crate::error::PromptError;
use crate::kv::{KvCache, Workspace};
use crate::model::{Layer, Model};
use crate::weights::{Input, Norm, ProductBuffers};

/// Tokens evaluated at once.
const CHUNK: usize = 256;
/// Positions whose logits are held at once when scoring.
const SCORE_CHUNK: usize = 64;

/// What a prefill did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefillStats {
    /// Leading tokens that were in the cache.
    pub cached: usize,
    /// Tokens that were computed.
    pub prefilled: usize,
}

/// The evaluation was cancelled.
pub(crate) struct Cancelled;

/// Makes the cache hold exactly `ids`, computing only what follows the longest common prefix (at least the last token, for
/// its logits: [`KvCache::logits`]).
///
/// Errors: [`PromptError::Cancelled`] and the other [`PromptError`]s leave the cache, logits included, as it was.
/// Panics: the cache was made for another model.
pub fn prefill(model: &Model, kv: &mut KvCache, ids: &[u32], cancel: &Cancel) -> Result<PrefillStats, PromptError> {
    kv.check_model(model);
    check_ids(model, ids)?;
    if ids.len() > kv.capacity() {
        return Err(PromptError::TooLong { tokens: ids.len(), capacity: kv.capacity() });
    }
    let cached = kv.common_prefix(ids).min(ids.len() - 1);
    let undo = kv.begin(cached);
    match evaluate(model, kv, ids, cached, cancel) {
        Ok(()) => {
            last_logits(model, kv);
            kv.ids.extend_from_slice(&ids[cached..]);
            Ok(PrefillStats { cached, prefilled: ids.len() - cached })
        }
        Err(Cancelled) => {
            kv.roll_back(undo);
            Err(PromptError::Cancelled)
        }
    }
}

/// Appends one token and computes its logits; the cache has room for it.
pub(crate) fn extend(model: &Model, kv: &mut KvCache, id: u32, cancel: &Cancel) -> Result<(), Cancelled> {
    let start = kv.ids.len();
    chunk(model, kv, &[id], start, cancel)?;
    last_logits(model, kv);
    kv.ids.push(id);
    Ok(())
}

/// Logits of every position, `[ids.len(), n_vocab]` row-major. For parity tests and short sequences; see [`log_probs`].
///
/// Errors: an empty or too long sequence, an id outside of the vocabulary.
pub fn forward_all(model: &Model, ids: &[u32]) -> Result<Vec<f32>, PromptError> {
    let mut all = Vec::new();
    each_logits(model, ids, &Cancel::new(), |_, logits| all.extend_from_slice(logits))?;
    Ok(all)
}

/// Log-probability of every token given those before it: element `i` belongs to `ids[i + 1]`.
///
/// Errors: as [`forward_all`], and [`PromptError::Cancelled`].
pub fn log_probs(model: &Model, ids: &[u32], cancel: &Cancel) -> Result<Vec<f32>, PromptError> {
    let mut all = Vec::with_capacity(ids.len());
    each_logits(model, ids, cancel, |position, logits| {
        if let Some(next) = ids.get(position + 1) {
            all.push(logits[*next as usize] - ops::log_sum_exp(logits));
        }
    })?;
    Ok(all)
}

fn each_logits(model: &Model, ids: &[u32], cancel: &Cancel, mut body: impl FnMut(usize, &[f32])) -> Result<(), PromptError> {
    check_ids(model, ids)?;
    let mut kv = KvCache::new(model, ids.len());
    if ids.len() > kv.capacity() {
        return Err(PromptError::TooLong { tokens: ids.len(), capacity: kv.capacity() });
    }
    let (d, n_vocab) = (model.config.hidden, model.config.n_vocab);
    let mut logits = Vec::new();
    for (c, part) in ids.chunks(CHUNK).enumerate() {
        chunk(model, &mut kv, part, c * CHUNK, cancel).map_err(|Cancelled| PromptError::Cancelled)?;
        let Workspace { x, product, .. } = &mut kv.workspace;
        for (s, x) in x.chunks(SCORE_CHUNK * d).enumerate() {
            logits.resize(x.len() / d * n_vocab, 0.0);
            head(model, x, &mut logits, product);
            for (i, logits) in logits.chunks_exact(n_vocab).enumerate() {
                body(c * CHUNK + s * SCORE_CHUNK + i, logits);
            }
        }
    }
    Ok(())
}

fn check_ids(model: &Model, ids: &[u32]) -> Result<(), PromptError> {
    let n_vocab = model.config.n_vocab;
    if ids.is_empty() {
        return Err(PromptError::Empty);
    }
    match ids.iter().find(|id| **id as usize >= n_vocab) {
        Some(id) => Err(PromptError::TokenOutOfRange { id: *id, n_vocab }),
        None => Ok(()),
    }
}

/// Keys and values of `ids[start..]`; the last token's state is left in the workspace.
fn evaluate(model: &Model, kv: &mut KvCache, ids: &[u32], start: usize, cancel: &Cancel) -> Result<(), Cancelled> {
    for (c, part) in ids[start..].chunks(CHUNK).enumerate() {
        chunk(model, kv, part, start + c * CHUNK, cancel)?;
    }
    Ok(())
}

/// Runs all layers over `ids` at positions `start ..`; the result is `workspace.x` `[ids.len(), hidden]`.
fn chunk(model: &Model, kv: &mut KvCache, ids: &[u32], start: usize, cancel: &Cancel) -> Result<(), Cancelled> {
    let d = model.config.hidden;
    let KvCache { layers, workspace, .. } = kv;
    workspace.x.resize(ids.len() * d, 0.0);
    for (id, x) in ids.iter().zip(workspace.x.chunks_exact_mut(d)) {
        model.embedding.row(*id as usize, x);
    }
    model.rope.fill(start..start + ids.len(), &mut workspace.cos, &mut workspace.sin);
    for (layer, kv) in model.layers.iter().zip(layers) {
        if cancel.is_cancelled() {
            return Err(Cancelled);
        }
        attention_half(model, layer, kv, start, workspace);
        feed_forward_half(model, layer, workspace);
    }
    Ok(())
}

/// `x += output(attention(norm(x)))`
fn attention_half(model: &Model, layer: &Layer, kv: &mut KvStore, start: usize, w: &mut Workspace) {
    let config = &model.config;
    let (q_width, kv_width) = (config.q_width(), config.kv_width());
    let m = w.x.len() / config.hidden;
    let width = q_width + 2 * kv_width;
    w.qkv.resize(m * width, 0.0);
    let norm = Norm { weight: &layer.attention_norm, eps: config.rms_eps };
    layer.qkv.apply(Input::Normed(&w.x, norm), &mut w.qkv, &mut w.product);
    ops::rope_rows(&mut w.qkv, width, q_width + kv_width, &w.cos, &w.sin, model.rope.width());
    kv.grow(start + m);
    kv.put_many(start, m, &w.qkv[q_width..], &w.qkv[q_width + kv_width..], width);
    w.attended.resize(m * q_width, 0.0);
    let shape = Attention { heads: config.heads, past: start, q_stride: width };
    ops::attention(&shape, &w.qkv, kv, &mut w.attended);
    layer.output.add_to(Input::Plain(&w.attended), &mut w.x, &mut w.product);
}

/// `x += down(silu(gate(norm(x))) · up(norm(x)))`
fn feed_forward_half(model: &Model, layer: &Layer, w: &mut Workspace) {
    let config = &model.config;
    let m = w.x.len() / config.hidden;
    w.gate_up.resize(m * 2 * config.ff, 0.0);
    let norm = Norm { weight: &layer.mlp_norm, eps: config.rms_eps };
    layer.gate_up.apply(Input::Normed(&w.x, norm), &mut w.gate_up, &mut w.product);
    layer.down.add_to(Input::Swiglu(&w.gate_up), &mut w.x, &mut w.product);
}

/// Logits of the last token of the workspace into the cache.
fn last_logits(model: &Model, kv: &mut KvCache) {
    let KvCache { workspace: w, logits, .. } = kv;
    logits.resize(model.config.n_vocab, 0.0);
    head(model, &w.x[w.x.len() - model.config.hidden..], logits, &mut w.product);
}

/// `logits[m, n_vocab]` of the states `x` `[m, hidden]`.
fn head(model: &Model, x: &[f32], logits: &mut [f32], product: &mut ProductBuffers) {
    let norm = Norm { weight: &model.norm, eps: model.config.rms_eps };
    let matrix = model.head.as_ref().unwrap_or(&model.embedding);
    matrix.apply(Input::Normed(x, norm), Epilogue::default(), logits, product);
}
