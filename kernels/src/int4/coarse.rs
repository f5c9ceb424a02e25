//! INT8 inputs with one scale for many `k`, in the order in which panels of tile products read
//! them: see `amx.rs`.
//!
//! `q` `[m/16][k/64][16][64]`, scales `[m/16][parts][16]`; `m` is padded to whole tiles with zeros.

use std::marker::PhantomData;

use super::layout::BLOCK_K;
use crate::threads::SharedOut;

/// How a row with panels of its own wants many tokens.
#[derive(Clone, Copy)]
pub(crate) struct Coarse {
    /// Inputs that share one scale; a multiple of 64.
    pub(crate) block: usize,
    /// Tokens of a tile; they come in whole tiles.
    pub(crate) tile_tokens: usize,
    /// `x`, at most a block, to `q` (64 of them, then the next 64 `stride` bytes on, the last
    /// filled up with 0); returns the scale.
    pub(crate) quantize: unsafe fn(x: &[f32], q: &mut [i8], stride: usize) -> f32,
}

/// The buffers while they are filled, by threads that own different blocks of different tokens.
pub(super) struct CoarseRows<'a> {
    coarse: Coarse,
    q: SharedOut<i8>,
    scales: SharedOut<f32>,
    k: usize,
    padded_k: usize,
    parts: usize,
    buffers: PhantomData<&'a mut Vec<i8>>,
}

impl<'a> CoarseRows<'a> {
    /// Room for `m` tokens of `k`; tokens that only fill up the last tile are set to 0.
    pub(super) fn new(
        coarse: Coarse,
        m: usize,
        k: usize,
        q: &'a mut Vec<i8>,
        scales: &'a mut Vec<f32>,
    ) -> Self {
        let padded_k = k.next_multiple_of(BLOCK_K);
        let parts = padded_k.div_ceil(coarse.block);
        let held = m.next_multiple_of(coarse.tile_tokens);
        q.resize(held * padded_k, 0);
        scales.resize(held * parts, 0.0);
        let rows = CoarseRows {
            coarse,
            q: SharedOut::new(q),
            scales: SharedOut::new(scales),
            k,
            padded_k,
            parts,
            buffers: PhantomData,
        };
        for token in m..held {
            for block in 0..parts {
                // SAFETY: nobody else has `rows` yet; the buffers are borrowed as long as it lives.
                // Available: see `put`.
                unsafe { rows.put(token, block, &[]) };
            }
        }
        rows
    }

    /// Blocks of a token.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// Where the inputs of a block lie among a token's.
    pub(super) fn inputs(&self, block: usize) -> std::ops::Range<usize> {
        block * self.coarse.block..self.k.min((block + 1) * self.coarse.block)
    }

    /// Quantises a block of a token.
    ///
    /// # Safety
    /// No other thread writes this block of a token of the same tile. The `coarse` that `self` was
    /// made with runs on this CPU.
    pub(super) unsafe fn put(&self, token: usize, block: usize, x: &[f32]) {
        let Coarse { block: size, tile_tokens, quantize, .. } = self.coarse;
        let (tile, lane, first) = (token / tile_tokens, token % tile_tokens, block * size);
        let (stride, blocks) = (tile_tokens * BLOCK_K, size.min(self.padded_k - first) / BLOCK_K);
        let start = (tile * self.padded_k + first) * tile_tokens + lane * BLOCK_K;
        // SAFETY: the range holds lines of the tile's other tokens too (`quantize` leaves them
        // alone); nobody else uses them, by the caller's promise.
        unsafe {
            let q = self.q.part(start, (blocks - 1) * stride + BLOCK_K);
            self.scales.part((tile * self.parts + block) * tile_tokens + lane, 1)[0] =
                quantize(x, q, stride);
        }
    }
}
