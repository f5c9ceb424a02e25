//! Prefill: what of the prompt is held already, what is computed, and what is kept when it is
//! cancelled.
//!
//! A prefill works on a sequence of its own ([`Unfinished`]) that shares the blocks it builds on,
//! and proceeds in chunks and layers: `(chunk in flight, next half of a layer, residual stream)` is
//! all its state. When it is done, its sequence becomes the visible one; when it is cancelled, the
//! state is put aside, and a later prompt that begins with the same tokens goes on from that layer.
//! Rows of the chunk in flight depend only on tokens before them, so its agreeing part is kept even
//! when the rest of the prompt has changed.
//!
//! Start at [`prefill_with`]. Which text is moved from other positions is found in `runs`, moved
//! and repaired in `blend`.

use crate::blend;
use crate::cancel::Cancel;
use crate::error::PromptError;
use crate::forward::{self, At, CHUNK, Cancelled};
use crate::kv::{KvCache, KvSnapshot, Sequence};
use crate::model::Model;
use crate::runs::{Run, find_runs};
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
    let mut work = begin(kv, ids, options, &mut stats);
    if let Reuse::Shift { min_run } | Reuse::Blend { min_run, .. } = options.reuse {
        let mut donors: Vec<&Sequence> = vec![&kv.sequence];
        donors.extend(options.donors.iter().map(|donor| &*donor.sequence));
        // The last token is computed for its logits.
        let runs = find_runs(ids, work.reached()..ids.len() - 1, &donors, min_run);
        stats.shifted = work.take_over(model, &runs, &donors);
    }
    match work.run(model, options.reuse, cancel, w, &mut stats) {
        Ok(()) => {
            forward::last_logits(model, w, kv.logits_mut(1));
            kv.sequence = work.sequence;
            let held = &kv.sequence;
            kv.unfinished.retain(|work| !work.is_covered_by(held));
            stats.shifted -= stats.repaired;
            Ok(stats)
        }
        Err(Cancelled) => {
            kv.keep(work);
            Err(PromptError::Cancelled)
        }
    }
}

/// The work on `ids`, from the best that there is: visible, left by a cancelled prefill, or a
/// donor's.
fn begin(
    kv: &mut KvCache,
    ids: &[u32],
    options: &PrefillOptions,
    stats: &mut PrefillStats,
) -> Unfinished {
    let exact_only = options.reuse.is_exact();
    let most = ids.len() - 1;
    let held = kv.sequence.common_prefix(ids, exact_only).min(most);
    let of_donor = |donor: &KvSnapshot| donor.sequence.common_prefix(ids, exact_only).min(most);
    let (donated, donor) =
        options.donors.iter().map(|donor| (of_donor(donor), donor)).max_by_key(|(n, _)| *n).unzip();
    let cached = held.max(donated.unwrap_or(0));
    let usable = kv
        .unfinished
        .iter()
        .map(|work| work.usable(ids, exact_only))
        .enumerate()
        .max_by_key(|(_, usable)| usable.progress);
    if let Some((i, usable)) = usable
        && usable.progress > cached * 2 * kv.sequence.layers.len()
    {
        let mut work = kv.unfinished.remove(i);
        work.adapt(ids, usable);
        stats.cached = held.min(usable.done);
        stats.resumed = work.reached() - stats.cached;
        return work;
    }
    stats.cached = cached;
    let source = donor.filter(|_| cached > held).map_or(&kv.sequence, |donor| &*donor.sequence);
    Unfinished::new(source.branch(cached), ids)
}

/// A prefill in progress.
pub(crate) struct Unfinished {
    /// All tokens of the prompt; keys and values are complete up to `done`, and those of moved
    /// tokens beyond.
    sequence: Sequence,
    done: usize,
    flight: Option<Flight>,
}

/// A chunk on its way through the layers.
struct Flight {
    /// Ascending.
    positions: Vec<usize>,
    /// The next half of a layer: `2 l` is the attention of layer `l`, `2 l + 1` its feed-forward
    /// half.
    half: usize,
    /// The residual stream `[positions, hidden]` while the chunk waits.
    x: Vec<f32>,
    /// Everything before this position is complete when the chunk is.
    end: usize,
    /// The share of moved tokens to repair, while these are not chosen yet.
    repair: Option<f32>,
}

/// What of an unfinished prefill a prompt can use.
#[derive(Clone, Copy)]
pub(crate) struct Usable {
    /// Tokens of the prompt that are complete.
    pub(crate) done: usize,
    /// Rows of the chunk in flight.
    rows: usize,
    /// Positions that agree.
    agree: usize,
    /// Tokens times halves of layers.
    progress: usize,
}

impl Unfinished {
    fn new(mut sequence: Sequence, ids: &[u32]) -> Unfinished {
        let done = sequence.ids.len();
        sequence.ids.extend_from_slice(&ids[done..]);
        sequence.moves.resize(ids.len(), 0);
        if sequence.exact == done {
            sequence.exact = ids.len();
        }
        Unfinished { sequence, done, flight: None }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.sequence.bytes() + self.flight.as_ref().map_or(0, |flight| size_of_val(&flight.x[..]))
    }

    /// Whether there is nothing to go on from.
    pub(crate) fn is_empty(&self) -> bool {
        self.done == 0 && self.flight.is_none()
    }

    /// Where the tokens begin that nothing has been done for.
    fn reached(&self) -> usize {
        self.flight.as_ref().map_or(self.done, |flight| flight.end)
    }

    /// Whether a held sequence makes this work useless.
    fn is_covered_by(&self, held: &Sequence) -> bool {
        held.common_prefix(&self.sequence.ids, true) >= self.reached().min(self.sequence.exact)
    }

    pub(crate) fn usable(&self, ids: &[u32], exact_only: bool) -> Usable {
        let mut agree = self.sequence.common_prefix(ids, exact_only);
        let Some(most) = ids.len().checked_sub(1) else {
            return Usable { done: 0, rows: 0, agree: 0, progress: 0 };
        };
        // The last token is computed, so it must not be one that was moved.
        if agree == ids.len() && self.sequence.moves[most] > 0 {
            agree = most;
        }
        let done = self.done.min(agree).min(most);
        let in_flight = self.flight.as_ref().filter(|_| self.done <= most);
        let rows = in_flight
            .map_or(0, |flight| flight.positions.partition_point(|position| *position < agree));
        let halves = in_flight.map_or(0, |flight| flight.half);
        Usable {
            done,
            rows,
            agree,
            progress: done * 2 * self.sequence.layers.len() + rows * halves,
        }
    }

    /// Makes this the work on `ids`, of which `usable` was found.
    fn adapt(&mut self, ids: &[u32], usable: Usable) {
        let Usable { done, rows, agree, .. } = usable;
        self.flight = self.flight.take().filter(|_| rows > 0).map(|mut flight| {
            let hidden = flight.x.len() / flight.positions.len();
            flight.positions.truncate(rows);
            flight.x.truncate(rows * hidden);
            flight.end = flight.end.min(agree);
            flight
        });
        self.done = done;
        // Moved text beyond the chunk in flight is looked for again: it is quickly moved.
        let kept = self.reached();
        self.sequence.truncate(kept);
        self.sequence.layers.iter_mut().for_each(|layer| layer.rewrite(kept));
        self.sequence.ids.extend_from_slice(&ids[kept..]);
        self.sequence.moves.resize(ids.len(), 0);
        if self.sequence.exact == kept {
            self.sequence.exact = ids.len();
        }
    }

    /// Moves the keys and values of `runs` here; returns how many tokens those are.
    fn take_over(&mut self, model: &Model, runs: &[Run], donors: &[&Sequence]) -> usize {
        let Some(first) = runs.first() else { return 0 };
        let sequence = &mut self.sequence;
        sequence.exact = sequence.exact.min(first.at);
        for run in runs {
            let source = donors[run.donor];
            blend::move_run(model, sequence, source, run);
            for (moves, before) in
                sequence.moves[run.target()].iter_mut().zip(&source.moves[run.source()])
            {
                *moves = before + 1;
            }
        }
        runs.iter().map(|run| run.len).sum()
    }

    /// Computes what is missing. The last token's state is left in the workspace.
    fn run(
        &mut self,
        model: &Model,
        reuse: Reuse,
        cancel: &Cancel,
        w: &mut Workspace,
        stats: &mut PrefillStats,
    ) -> Result<(), Cancelled> {
        while self.done < self.sequence.ids.len() {
            // Tokens of a chunk that was taken up again are counted as resumed.
            let mut repaired = Some(&mut stats.repaired);
            let flight = match &mut self.flight {
                Some(flight) => {
                    std::mem::swap(&mut w.x, &mut flight.x);
                    repaired = None;
                    flight
                }
                None => {
                    let flight = self.next_chunk(reuse);
                    forward::embed(
                        model,
                        flight.positions.iter().map(|p| self.sequence.ids[*p]),
                        w,
                    );
                    let moved =
                        flight.positions.iter().filter(|p| self.sequence.moves[**p] > 0).count();
                    stats.prefilled += flight.positions.len() - moved;
                    self.flight.insert(flight)
                }
            };
            model.rope.fill(flight.positions.iter().copied(), &mut w.cos, &mut w.sin);
            let end = flight.end;
            if let Err(Cancelled) = advance(model, flight, &mut self.sequence, cancel, w, repaired)
            {
                std::mem::swap(&mut w.x, &mut flight.x);
                self.flight = self.flight.take().filter(|flight| flight.half > 0);
                return Err(Cancelled);
            }
            self.done = end;
            self.flight = None;
        }
        Ok(())
    }

    /// The next tokens to compute, [`CHUNK`] at most.
    fn next_chunk(&self, reuse: Reuse) -> Flight {
        let (rest, moves) = (self.done..self.sequence.ids.len(), &self.sequence.moves);
        let repair = match reuse {
            Reuse::Blend { ratio, .. } if ratio > 0.0 => Some(ratio),
            _ => None,
        };
        let wanted = |position: &usize| repair.is_some() || moves[*position] == 0;
        let mut positions: Vec<usize> = Vec::with_capacity(CHUNK.min(rest.len()));
        positions.extend(rest.clone().filter(wanted).take(CHUNK));
        let end = if positions.len() < CHUNK { rest.end } else { positions[CHUNK - 1] + 1 };
        let repair = repair.filter(|_| positions.iter().any(|position| moves[*position] > 0));
        Flight { positions, half: 0, x: Vec::new(), end, repair }
    }
}

/// Takes the chunk in `w.x` through the layers that it has not seen; adds to `repaired`.
fn advance(
    model: &Model,
    flight: &mut Flight,
    sequence: &mut Sequence,
    cancel: &Cancel,
    w: &mut Workspace,
    mut repaired: Option<&mut usize>,
) -> Result<(), Cancelled> {
    for half in flight.half..2 * model.layers.len() {
        if cancel.checkpoint(half == 0) {
            return Err(Cancelled);
        }
        let l = half / 2;
        if half % 2 == 0 {
            attend(model, l, flight, sequence, w, &mut repaired);
        } else {
            forward::feed_forward_half(model, &model.layers[l], w);
        }
        flight.half = half + 1;
    }
    Ok(())
}

/// The attention half of layer `l`; at [`blend::CHECK_LAYER`] the moved tokens to repair are chosen
/// first.
fn attend(
    model: &Model,
    l: usize,
    flight: &mut Flight,
    sequence: &mut Sequence,
    w: &mut Workspace,
    repaired: &mut Option<&mut usize>,
) {
    let (layer, kv) = (&model.layers[l], &mut sequence.layers[l]);
    let Some(ratio) = flight.repair.filter(|_| l == blend::CHECK_LAYER) else {
        return forward::attention_half(model, layer, kv, place(&flight.positions), w);
    };
    forward::project(model, layer, w);
    let chosen = blend::choose(model, kv, &flight.positions, &sequence.moves, ratio, w);
    forward::put(model, kv, At::Each(&flight.positions), w);
    if let Some(repaired) = repaired {
        **repaired +=
            chosen.iter().filter(|row| sequence.moves[flight.positions[**row]] > 0).count();
    }
    blend::keep_rows(model, &chosen, w);
    flight.positions = chosen.iter().map(|row| flight.positions[*row]).collect();
    flight.positions.iter().for_each(|position| sequence.moves[*position] = 0);
    flight.repair = None;
    model.rope.fill(flight.positions.iter().copied(), &mut w.cos, &mut w.sin);
    forward::attend(model, layer, kv, At::Each(&flight.positions), w);
}

fn place(positions: &[usize]) -> At<'_> {
    match positions {
        [first, .., last] if last - first + 1 == positions.len() => At::From(*first),
        [only] => At::From(*only),
        _ => At::Each(positions),
    }
}
