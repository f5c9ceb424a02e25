//! The forward pass: layers over a workspace, and scoring of whole sequences.
//!
//! One implementation for both precisions and any number of tokens, in line or scattered. Who calls
//! layer after layer, and what is kept when that is broken off, is in `prefill`; the cancel flag is
//! looked at before every layer.

use lacuna_kernels::Epilogue;
use lacuna_kernels::kv::KvStore;
use lacuna_kernels::ops::{self, Attention};

use crate::cancel::Cancel;
use crate::error::PromptError;
use crate::kv::KvCache;
use crate::model::{Layer, Model};
use crate::weights::{self, Input, Norm, ProductBuffers};
use crate::workspace::{self, Workspace};

/// Tokens evaluated at once.
pub(crate) const CHUNK: usize = 512;
/// Positions whose logits are held at once when scoring.
const SCORE_CHUNK: usize = 64;

/// The evaluation was cancelled.
pub(crate) struct Cancelled;

/// Where the tokens of a pass sit.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    /// Side by side from this position on.
    From(usize),
    /// At these positions, ascending.
    Each(&'a [usize]),
}

/// Evaluates `ids` behind the visible tokens and computes their logits, a row each; none becomes
/// visible ([`KvCache::push`]).
pub(crate) fn extend(
    model: &Model,
    kv: &mut KvCache,
    ids: &[u32],
    cancel: &Cancel,
    w: &mut Workspace,
) -> Result<(), Cancelled> {
    let start = kv.ids().len();
    chunk(model, &mut kv.sequence.layers, ids, start, cancel, w)?;
    let logits = kv.logits_mut(ids.len());
    head(model, &w.x, logits, &mut w.product);
    Ok(())
}

/// Logits of every position, `[ids.len(), n_vocab]` row-major. For parity tests and short
/// sequences; see [`log_probs`].
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

fn each_logits(
    model: &Model,
    ids: &[u32],
    cancel: &Cancel,
    mut body: impl FnMut(usize, &[f32]),
) -> Result<(), PromptError> {
    check_ids(model, ids)?;
    let mut kv = KvCache::new(model, ids.len());
    if ids.len() > kv.capacity() {
        return Err(PromptError::TooLong { tokens: ids.len(), capacity: kv.capacity() });
    }
    let (d, n_vocab) = (model.spec.hidden, model.spec.n_vocab);
    let mut logits = Vec::new();
    let mut workspace = workspace::borrow();
    for (c, part) in ids.chunks(CHUNK).enumerate() {
        chunk(model, &mut kv.sequence.layers, part, c * CHUNK, cancel, &mut workspace)
            .map_err(|Cancelled| PromptError::Cancelled)?;
        let Workspace { x, product, .. } = &mut *workspace;
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

/// Errors: no ids, or one that the model does not know.
pub(crate) fn check_ids(model: &Model, ids: &[u32]) -> Result<(), PromptError> {
    let n_vocab = model.spec.n_vocab;
    if ids.is_empty() {
        return Err(PromptError::Empty);
    }
    match ids.iter().find(|id| **id as usize >= n_vocab) {
        Some(id) => Err(PromptError::TokenOutOfRange { id: *id, n_vocab }),
        None => Ok(()),
    }
}

/// Runs all layers over `ids` at positions `start ..`; the result is `w.x` `[ids.len(), hidden]`.
fn chunk(
    model: &Model,
    layers: &mut [KvStore],
    ids: &[u32],
    start: usize,
    cancel: &Cancel,
    w: &mut Workspace,
) -> Result<(), Cancelled> {
    embed(model, ids.iter().copied(), w);
    model.rope.fill(start..start + ids.len(), &mut w.cos, &mut w.sin);
    for (l, (layer, kv)) in model.layers.iter().zip(layers).enumerate() {
        if cancel.checkpoint(l == 0) {
            return Err(Cancelled);
        }
        attention_half(model, layer, kv, At::From(start), w);
        feed_forward_half(model, layer, w);
    }
    Ok(())
}

/// The embeddings of `ids` into `w.x`.
pub(crate) fn embed(model: &Model, ids: impl ExactSizeIterator<Item = u32>, w: &mut Workspace) {
    let d = model.spec.hidden;
    w.x.resize(ids.len() * d, 0.0);
    for (id, x) in ids.zip(w.x.chunks_exact_mut(d)) {
        model.embedding.row(id as usize, x);
    }
}

/// `x += output(attention(norm(x)))`; the store takes the keys and values of the tokens.
pub(crate) fn attention_half(
    model: &Model,
    layer: &Layer,
    kv: &mut KvStore,
    at: At,
    w: &mut Workspace,
) {
    project(model, layer, w);
    put(model, kv, at, w);
    attend(model, layer, kv, at, w);
}

/// Queries, keys and values of `norm(x)` into `w.qkv` `[m, q_width + 2·kv_width]`, rotated by
/// `w.cos` and `w.sin`.
pub(crate) fn project(model: &Model, layer: &Layer, w: &mut Workspace) {
    let spec = &model.spec;
    let (q_width, kv_width) = (spec.q_width(), spec.kv_width());
    let m = w.x.len() / spec.hidden;
    let width = q_width + 2 * kv_width;
    w.qkv.resize(m * width, 0.0);
    let norm = Norm { weight: &layer.attention_norm, eps: spec.norm_eps };
    layer.qkv.apply(Input::Normed(&w.x, norm), &mut w.qkv, &mut w.product);
    if let Some(norms) = &layer.head_norms {
        for row in w.qkv.chunks_exact_mut(width) {
            let (queries, rest) = row.split_at_mut(q_width);
            norm_heads(queries, &norms[0], spec.norm_eps, &mut w.attended);
            norm_heads(&mut rest[..kv_width], &norms[1], spec.norm_eps, &mut w.attended);
        }
    }
    ops::rope_rows(&mut w.qkv, width, q_width + kv_width, &w.cos, &w.sin, model.rope.width());
}

/// RMSNorm of each head of a token in place, `weight` `[head_dim]`.
fn norm_heads(heads: &mut [f32], weight: &[f32], eps: f32, scratch: &mut Vec<f32>) {
    scratch.clear();
    scratch.extend_from_slice(heads);
    ops::rms_norm(scratch, weight, eps, heads);
}

/// The keys and values of `w.qkv` into the store.
pub(crate) fn put(model: &Model, kv: &mut KvStore, at: At, w: &Workspace) {
    let (q_width, kv_width) = (model.spec.q_width(), model.spec.kv_width());
    let width = q_width + 2 * kv_width;
    let m = w.qkv.len() / width;
    let (k, v) = (&w.qkv[q_width..], &w.qkv[q_width + kv_width..]);
    match at {
        At::From(start) => {
            kv.grow(start + m);
            kv.put_many(start, m, k, v, width);
        }
        At::Each(positions) => {
            kv.grow(positions.last().map_or(0, |last| last + 1));
            for (i, position) in positions.iter().enumerate() {
                kv.put(*position, &k[i * width..][..kv_width], &v[i * width..][..kv_width]);
            }
        }
    }
}

/// `x += output(attention(q))` of the queries in `w.qkv`.
pub(crate) fn attend(model: &Model, layer: &Layer, kv: &KvStore, at: At, w: &mut Workspace) {
    let (q_width, kv_width) = (model.spec.q_width(), model.spec.kv_width());
    let width = q_width + 2 * kv_width;
    let m = w.qkv.len() / width;
    w.attended.resize(m * q_width, 0.0);
    let shape = |past| Attention { heads: model.spec.attention().heads, past, q_stride: width };
    match at {
        At::From(start) => ops::attention(&shape(start), &w.qkv, kv, &mut w.attended),
        At::Each(positions) => ops::attention_at(&shape(0), positions, &w.qkv, kv, &mut w.attended),
    }
    layer.output.add_to(Input::Plain(&w.attended), &mut w.x, &mut w.product);
}

/// `x += down(silu(gate(norm(x))) · up(norm(x)))`
pub(crate) fn feed_forward_half(model: &Model, layer: &Layer, w: &mut Workspace) {
    let norm = Norm { weight: &layer.mlp_norm, eps: model.spec.norm_eps };
    weights::feed_forward(&layer.gate_up, &layer.down, norm, &mut w.x, &mut w.product);
}

/// Logits of the last token of the workspace into `logits` `[n_vocab]`.
pub(crate) fn last_logits(model: &Model, w: &mut Workspace, logits: &mut [f32]) {
    head(model, &w.x[w.x.len() - model.spec.hidden..], logits, &mut w.product);
}

/// `logits[m, n_vocab]` of the states `x` `[m, hidden]`.
pub(crate) fn head(model: &Model, x: &[f32], logits: &mut [f32], product: &mut ProductBuffers) {
    let norm = Norm { weight: &model.norm, eps: model.spec.norm_eps };
    let matrix = model.head.as_ref().unwrap_or(&model.embedding);
    matrix.apply(Input::Normed(x, norm), Epilogue::default(), logits, product);
}
