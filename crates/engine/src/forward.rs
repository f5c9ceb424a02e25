//! The pass over the tokens of one sequence: a token with its draft, and the scoring of whole
//! sequences.

use crate::batch::CHUNK;
use crate::cancel::Cancel;
use crate::device::{Device, log_sum_exp};
use crate::error::{PromptError, Stopped};
use crate::kv::KvCache;
use crate::model::Model;
use crate::pass::Stops;
use crate::sequence::Sequence;
use crate::workspace::{self, Workspace};

/// Positions whose logits are held at once when scoring.
const SCORE_CHUNK: usize = 64;

/// Evaluates `ids` behind the visible tokens and computes their logits, a row each; none becomes
/// visible ([`KvCache::push`]).
pub(crate) fn extend(
    model: &Model,
    kv: &mut KvCache,
    ids: &[u32],
    cancel: &Cancel,
    w: &mut Workspace,
) -> Result<(), Stopped> {
    let start = kv.ids().len();
    chunk(model, &mut kv.sequence, ids, start, cancel, w)?;
    let rows = 0..ids.len();
    let logits = kv.logits_mut(ids.len());
    let done = model.device.head(&w.pass.x, rows, logits, &mut w.buffers);
    done.map_err(|error| kv.without_logits(error).into())
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
            all.push(logits[*next as usize] - log_sum_exp(logits));
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
    let n_vocab = model.spec.n_vocab;
    let mut logits = Vec::new();
    let mut w = workspace::borrow();
    for (c, part) in ids.chunks(CHUNK).enumerate() {
        chunk(model, &mut kv.sequence, part, c * CHUNK, cancel, &mut w)?;
        let Workspace { pass, buffers } = &mut *w;
        for start in (0..part.len()).step_by(SCORE_CHUNK) {
            let rows = start..part.len().min(start + SCORE_CHUNK);
            logits.resize(rows.len() * n_vocab, 0.0);
            model.device.head(&pass.x, rows, &mut logits, buffers)?;
            for (i, logits) in logits.chunks_exact(n_vocab).enumerate() {
                body(c * CHUNK + start + i, logits);
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

/// Runs all layers over `ids` at positions `start ..`; the states are left in the workspace.
fn chunk(
    model: &Model,
    sequence: &mut Sequence,
    ids: &[u32],
    start: usize,
    cancel: &Cancel,
    w: &mut Workspace,
) -> Result<(), Stopped> {
    w.pass.begin(Stops::Layers).push(0, (start..).zip(ids.iter().copied()));
    let Sequence { kv, route, .. } = sequence;
    w.pass.run(&model.device, &mut [kv], route, cancel, &mut w.buffers)
}
