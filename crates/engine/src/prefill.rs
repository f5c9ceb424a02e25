//! Prefill: what of the prompt is held already, what is computed, and what is kept when it is
//! cancelled.
//!
//! A prefill works on a sequence of its own ([`Unfinished`]) that shares the blocks it builds on,
//! and proceeds in chunks, each a [`Pass`] that stops before any half of a layer. When it is done, its
//! sequence becomes the visible one; when it is cancelled, sequence and pass are put aside, and a
//! later prompt that begins with the same tokens goes on from that layer.
//! Rows of the chunk in flight depend only on tokens before them, so its agreeing part is kept even
//! when the rest of the prompt has changed.
//!
//! Start at [`prefill_with`]. Text that is moved from other positions is `blend`'s.

use crate::batch::CHUNK;
use crate::blend;
use crate::cancel::Cancel;
use crate::device::{Active, Device, KeysValues, States};
use crate::error::{PromptError, Stopped};
use crate::forward;
use crate::kv::{KvCache, KvSnapshot};
use crate::model::Model;
use crate::pass::{Pass, Stops};
use crate::route::{All, Route, Router};
use crate::runs::find_runs;
use crate::sequence::Sequence;
use crate::unfinished::{Chunk, Unfinished};
use crate::workspace::{self, Workspace};

/// What a prefill may take over from tokens that it has seen before.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Reuse {
    /// The longest exact prefix only: the result is that of a cold prefill.
    #[default]
    Exact,
    /// Also runs of at least `min_run` equal tokens that stand elsewhere now: their keys are
    /// rotated to the new position. Their values (and keys above the first layer) still know their
    /// old surroundings: see `docs/bench/kv-quality.md` for what that costs.
    Shift { min_run: usize },
    /// [`Reuse::Shift`], then the share `ratio` of the moved tokens that deviate most is computed
    /// again (CacheBlend, arXiv 2405.16444). 1 is a cold prefill.
    Blend { min_run: usize, ratio: f32 },
}

impl Reuse {
    fn is_exact(self) -> bool {
        self == Reuse::Exact
    }
}

/// How a prefill is made.
#[derive(Clone, Copy, Default)]
pub struct PrefillOptions<'a> {
    pub reuse: Reuse,
    /// Other sequences to take an exact prefix (in every mode) or moved text from. The cache's own
    /// sequence is always one.
    pub donors: &'a [KvSnapshot],
}

/// What became of the tokens of a prompt; together they are all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefillStats {
    /// Leading tokens that were held, here or by a donor.
    pub cached: usize,
    /// Tokens taken over from a cancelled prefill, in whole or up to some layer.
    pub resumed: usize,
    /// Tokens moved from another place and not computed.
    pub shifted: usize,
    /// Tokens moved from another place and computed again in all layers but the first.
    pub repaired: usize,
    /// Tokens computed from nothing.
    pub prefilled: usize,
}

/// Makes the cache hold exactly `ids`, computing only what follows the longest common prefix (at
/// least the last token, for its logits: [`KvCache::logits`]).
///
/// Errors: [`PromptError::Cancelled`] and the other [`PromptError`]s leave the visible cache,
/// logits included, as it was; the work of a cancelled prefill is kept and taken up by the next one
/// that can use it. Panics: the cache was made for another model.
pub fn prefill(
    model: &Model,
    kv: &mut KvCache,
    ids: &[u32],
    cancel: &Cancel,
) -> Result<PrefillStats, PromptError> {
    prefill_with(model, kv, ids, &PrefillOptions::default(), cancel)
}

/// [`prefill`] with a choice of what may be reused.
///
/// Errors: as [`prefill`]. Panics: the cache, or a donor, was made for another model or another
/// type.
pub fn prefill_with(
    model: &Model,
    kv: &mut KvCache,
    ids: &[u32],
    options: &PrefillOptions,
    cancel: &Cancel,
) -> Result<PrefillStats, PromptError> {
    let _working = cancel.enter();
    prefill_in(model, kv, ids, options, cancel, &mut workspace::borrow())
}

/// [`prefill_with`] in the caller's workspace.
pub(crate) fn prefill_in(
    model: &Model,
    kv: &mut KvCache,
    ids: &[u32],
    options: &PrefillOptions,
    cancel: &Cancel,
    w: &mut Workspace,
) -> Result<PrefillStats, PromptError> {
    kv.check_model(model);
    options.donors.iter().for_each(|donor| kv.check_donor(donor));
    forward::check_ids(model, ids)?;
    if ids.len() > kv.capacity() {
        return Err(PromptError::TooLong { tokens: ids.len(), capacity: kv.capacity() });
    }
    let mut stats = PrefillStats::default();
    let mut work = begin(kv, ids, All.route(model.spec.layers(), ids), options, &mut stats);
    if let Reuse::Shift { min_run } | Reuse::Blend { min_run, .. } = options.reuse {
        let mut donors: Vec<&Sequence> = vec![&kv.sequence];
        donors.extend(options.donors.iter().map(|donor| &*donor.sequence));
        donors.retain(|donor| donor.route == work.sequence.route);
        // The last token is computed for its logits.
        let runs = find_runs(ids, work.reached()..ids.len() - 1, &donors, min_run);
        stats.shifted = blend::take_over(model, &mut work.sequence, &runs, &donors)?;
    }
    match work.run(model, options.reuse, cancel, w, &mut stats) {
        Ok(()) => {
            let (x, buffers) = (&w.pass.x, &mut w.buffers);
            let done = model.device.head(x, x.rows() - 1..x.rows(), kv.logits_mut(1), buffers);
            done.map_err(|error| kv.without_logits(error))?;
            kv.sequence = work.sequence;
            let held = &kv.sequence;
            kv.unfinished.retain(|work| !work.is_covered_by(held));
            stats.shifted -= stats.repaired;
            Ok(stats)
        }
        Err(stopped) => {
            stopped.unless_cancelled()?;
            kv.keep(work);
            Err(PromptError::Cancelled)
        }
    }
}

/// The work on `ids` along `route`, from the best that there is: visible, left by a cancelled
/// prefill, or a donor's.
fn begin(
    kv: &mut KvCache,
    ids: &[u32],
    route: Route,
    options: &PrefillOptions,
    stats: &mut PrefillStats,
) -> Unfinished {
    let exact_only = options.reuse.is_exact();
    let held = kv.sequence.usable(ids, &route, exact_only);
    let donors = options.donors.iter().map(|donor| &*donor.sequence);
    let (donated, donor) = donors
        .map(|donor| (donor.usable(ids, &route, exact_only), donor))
        .max_by_key(|(n, _)| *n)
        .unzip();
    let cached = held.max(donated.unwrap_or(0));
    let usable = kv
        .unfinished
        .iter()
        .enumerate()
        .filter(|(_, work)| work.sequence.route == route)
        .map(|(i, work)| (i, work.usable(ids, exact_only)))
        .max_by_key(|(_, usable)| usable.progress);
    if let Some((i, usable)) = usable
        && usable.progress > cached * 2 * kv.sequence.kv.layers()
    {
        let mut work = kv.unfinished.remove(i);
        work.adapt(ids, usable);
        stats.cached = held.min(usable.done);
        stats.resumed = work.reached() - stats.cached;
        return work;
    }
    stats.cached = cached;
    let source = donor.filter(|_| cached > held).unwrap_or(&kv.sequence);
    Unfinished::new(Sequence { route, ..source.branch(cached) }, ids)
}

impl Unfinished {
    /// Computes what is missing. The last token's state is left in the workspace.
    fn run(
        &mut self,
        model: &Model,
        reuse: Reuse,
        cancel: &Cancel,
        w: &mut Workspace,
        stats: &mut PrefillStats,
    ) -> Result<(), Stopped> {
        while self.done < self.sequence.ids.len() {
            // Tokens of a chunk that was taken up again are counted as resumed.
            let is_new = self.chunk.is_none();
            let pass = std::mem::take(&mut w.pass);
            let mut chunk = self.chunk.take().unwrap_or_else(|| self.next_chunk(reuse, pass));
            if is_new {
                let positions = &chunk.pass.batch.positions;
                let moves = &self.sequence.moves;
                stats.prefilled += positions.iter().filter(|p| moves[**p] == 0).count();
            }
            match chunk.advance(model, &mut self.sequence, cancel, w) {
                Ok(repaired) => stats.repaired += if is_new { repaired } else { 0 },
                Err(stopped) => {
                    self.chunk = Some(chunk).filter(|chunk| chunk.pass.half > 0);
                    return Err(stopped);
                }
            }
            self.done = chunk.end;
            w.pass = chunk.pass;
        }
        Ok(())
    }

    /// The next tokens to compute, [`CHUNK`] at most.
    fn next_chunk(&self, reuse: Reuse, mut pass: Pass<Active>) -> Chunk {
        let Sequence { ids, moves, .. } = &self.sequence;
        let repair = match reuse {
            Reuse::Blend { ratio, .. } if ratio > 0.0 => Some(ratio),
            _ => None,
        };
        let wanted = |position: &usize| repair.is_some() || moves[*position] == 0;
        let rest = self.done..ids.len();
        let batch = pass.begin(Stops::Halves);
        batch.push(0, rest.clone().filter(wanted).take(CHUNK).map(|at| (at, ids[at])));
        let end = if batch.len() < CHUNK { rest.end } else { batch.positions[CHUNK - 1] + 1 };
        let repair = repair.filter(|_| batch.positions.iter().any(|at| moves[*at] > 0));
        Chunk { pass, end, repair }
    }
}

impl Chunk {
    /// Takes the chunk through the layers that it has not seen; how many moved tokens were
    /// repaired.
    fn advance(
        &mut self,
        model: &Model,
        sequence: &mut Sequence,
        cancel: &Cancel,
        w: &mut Workspace,
    ) -> Result<usize, Stopped> {
        let (device, pass, buffers) = (&model.device, &mut self.pass, &mut w.buffers);
        let mut repaired = 0;
        if let Some(ratio) = self.repair
            && device.layers() > blend::CHECK_HALF / 2
        {
            let Sequence { kv, route, .. } = &mut *sequence;
            pass.advance(device, &mut [kv], route, blend::CHECK_HALF, cancel, buffers)?;
            if cancel.checkpoint(false) {
                return Err(Stopped::Cancelled);
            }
            repaired = blend::repair(model, pass, sequence, ratio, buffers)?;
            self.repair = None;
        }
        pass.run(device, &mut [&mut sequence.kv], &sequence.route, cancel, buffers)?;
        Ok(repaired)
    }
}
