//! What a cancelled prefill leaves: the work on a prompt, up to some half of a layer, and how much
//! of it another prompt can use. How it goes on is `prefill`'s.

use crate::device::{Active, KeysValues, States};
use crate::pass::Pass;
use crate::sequence::Sequence;

/// A prefill in progress.
pub(crate) struct Unfinished {
    /// All tokens of the prompt; keys and values are complete up to `done`, and those of moved
    /// tokens beyond.
    pub(crate) sequence: Sequence,
    pub(crate) done: usize,
    pub(crate) chunk: Option<Chunk>,
}

/// A chunk on its way through the layers.
pub(crate) struct Chunk {
    pub(crate) pass: Pass<Active>,
    /// Everything before this position is complete when the chunk is.
    pub(crate) end: usize,
    /// The share of moved tokens to repair, while these are not chosen yet.
    pub(crate) repair: Option<f32>,
}

/// What of an unfinished prefill a prompt can use.
#[derive(Clone, Copy)]
pub(crate) struct Usable {
    /// Tokens of the prompt that are complete.
    pub(crate) done: usize,
    /// Rows of the chunk on its way.
    pub(crate) rows: usize,
    /// Positions that agree.
    pub(crate) agree: usize,
    /// Tokens times halves of layers.
    pub(crate) progress: usize,
}

impl Unfinished {
    pub(crate) fn new(mut sequence: Sequence, ids: &[u32]) -> Unfinished {
        let done = sequence.ids.len();
        sequence.ids.extend_from_slice(&ids[done..]);
        sequence.moves.resize(ids.len(), 0);
        if sequence.exact == done {
            sequence.exact = ids.len();
        }
        Unfinished { sequence, done, chunk: None }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.sequence.kv.bytes() + self.chunk.as_ref().map_or(0, |chunk| chunk.pass.x.bytes())
    }

    /// Whether there is nothing to go on from.
    pub(crate) fn is_empty(&self) -> bool {
        self.done == 0 && self.chunk.is_none()
    }

    /// Where the tokens begin that nothing has been done for.
    pub(crate) fn reached(&self) -> usize {
        self.chunk.as_ref().map_or(self.done, |chunk| chunk.end)
    }

    /// Whether a held sequence makes this work useless.
    pub(crate) fn is_covered_by(&self, held: &Sequence) -> bool {
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
        let begun = self.chunk.as_ref().filter(|_| self.done <= most).map(|chunk| &chunk.pass);
        let rows = begun.map_or(0, |pass| pass.batch.positions.partition_point(|p| *p < agree));
        let halves = begun.map_or(0, |pass| pass.half);
        Usable { done, rows, agree, progress: done * 2 * self.sequence.kv.layers() + rows * halves }
    }

    /// Makes this the work on `ids`, of which `usable` was found.
    pub(crate) fn adapt(&mut self, ids: &[u32], usable: Usable) {
        let Usable { done, rows, agree, .. } = usable;
        self.chunk = self.chunk.take().filter(|_| rows > 0).map(|mut chunk| {
            chunk.pass.truncate(rows);
            chunk.end = chunk.end.min(agree);
            chunk
        });
        self.done = done;
        // Moved text beyond the chunk is looked for again: it is quickly moved.
        let kept = self.reached();
        self.sequence.truncate(kept);
        self.sequence.kv.rewrite(kept);
        self.sequence.ids.extend_from_slice(&ids[kept..]);
        self.sequence.moves.resize(ids.len(), 0);
        if self.sequence.exact == kept {
            self.sequence.exact = ids.len();
        }
    }
}
