//! The rows of a pass: tokens with their sequences and positions, as plain arrays.

use std::ops::Range;

/// Tokens evaluated at once.
pub(crate) const CHUNK: usize = 512;

/// Tokens to evaluate, a row each. The tokens of a sequence stand side by side, at ascending
/// positions; no padding.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) ids: Vec<u32>,
    /// One for each id.
    pub(crate) positions: Vec<usize>,
    /// All rows, in their order.
    pub(crate) parts: Vec<Part>,
}

/// The rows of one sequence.
pub(crate) struct Part {
    /// Index of the sequence.
    pub(crate) sequence: usize,
    pub(crate) rows: Range<usize>,
}

impl Batch {
    /// Rows.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds tokens of a sequence: position and id each.
    pub(crate) fn push(&mut self, sequence: usize, tokens: impl Iterator<Item = (usize, u32)>) {
        let start = self.len();
        for (position, id) in tokens {
            self.positions.push(position);
            self.ids.push(id);
        }
        self.parts.push(Part { sequence, rows: start..self.len() });
    }

    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.positions.clear();
        self.parts.clear();
    }

    /// Drops all rows but `rows` (ascending) of a batch of one sequence.
    pub(crate) fn keep(&mut self, rows: &[usize]) {
        for (to, from) in rows.iter().enumerate() {
            self.ids[to] = self.ids[*from];
            self.positions[to] = self.positions[*from];
        }
        self.truncate(rows.len());
    }

    /// Drops all rows of a batch of one sequence but the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.ids.truncate(rows);
        self.positions.truncate(rows);
        self.parts[0].rows.end = self.parts[0].rows.end.min(rows);
    }
}
