//! Rotary positions: heads turned by the angles of a token's place in its document, and back.

use lacuna_kernels::train_ops;

use super::{Block, PART};
use crate::trainer::shape::Shape;

/// The angles of every position, and the positions of a batch.
pub(crate) struct Rope {
    head_dim: usize,
    /// Of a position `head_dim / 2` cosines, then as many sines.
    angles: Vec<f32>,
    positions: Vec<usize>,
}

/// The tokens of a part.
pub(crate) struct RopePart<'a> {
    of: &'a Rope,
    positions: &'a [usize],
}

impl Rope {
    /// Angles for documents of up to `max_document` tokens.
    pub(crate) fn new(shape: &Shape, max_document: usize) -> Rope {
        let head_dim = shape.head_dim;
        let frequencies = shape.spec().rope.inverse_frequencies(head_dim);
        let mut angles = vec![0.0; max_document * head_dim];
        for (position, angles) in angles.chunks_exact_mut(head_dim).enumerate() {
            let (cos, sin) = angles.split_at_mut(frequencies.len());
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(&frequencies) {
                let (s, c) = (position as f64 * f64::from(*frequency)).sin_cos();
                (*cos, *sin) = (c as f32, s as f32);
            }
        }
        Rope { head_dim, angles, positions: Vec::new() }
    }

    /// Takes over the lengths of a batch's documents.
    pub(crate) fn set(&mut self, documents: &[usize]) {
        self.positions.clear();
        self.positions.extend(documents.iter().flat_map(|n| 0..*n));
    }

    /// The batch's tokens, part by part.
    pub(super) fn parts(&self) -> impl ExactSizeIterator<Item = RopePart<'_>> + Send {
        self.positions.chunks(PART).map(|positions| RopePart { of: self, positions })
    }
}

impl RopePart<'_> {
    /// Turns the heads in the first `rotated` columns of each row of a block.
    pub(super) fn forward(&self, block: Block, rows: &mut [f32], width: usize, rotated: usize) {
        self.rotate(block, rows, width, rotated, 1.0);
    }

    /// Turns gradients back.
    pub(super) fn backward(&self, block: Block, rows: &mut [f32], width: usize, rotated: usize) {
        self.rotate(block, rows, width, rotated, -1.0);
    }

    fn rotate(&self, block: Block, rows: &mut [f32], width: usize, rotated: usize, direction: f32) {
        let Rope { head_dim, angles, .. } = self.of;
        for (row, position) in rows.chunks_exact_mut(width).zip(&self.positions[block.of(1)]) {
            let angles = &angles[position * head_dim..][..*head_dim];
            train_ops::rotate(&mut row[..rotated], angles, direction);
        }
    }
}
