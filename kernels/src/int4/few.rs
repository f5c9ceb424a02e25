//! Several tokens, but not many, on a row that has a kernel of its own for them: see `amx_few.rs`.
//!
//! Inputs lie a token after the other for each block of 64 k, `q` `[k/64][padded][64]`, scales
//! `[k/32][padded]`; tokens that only fill up have scale 0. Owns that layout and what a kernel is
//! given.

use std::marker::PhantomData;

use super::activations::Activations;
use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::{FEW_TOKENS, Int4Matrix};
use crate::reference::GROUP;
use crate::threads::SharedOut;

/// Some tiles of weights times a few tokens.
pub(crate) struct Few<'a> {
    /// `[tiles][per_tile]`
    pub(crate) blocks: &'a [Block],
    pub(crate) per_tile: usize,
    /// `[per_tile][padded][64]`
    pub(crate) q: &'a [i8],
    /// `[2·per_tile][padded]`
    pub(crate) scales: &'a [f32],
    /// Tokens, padded to what [`padded`] says.
    pub(crate) padded: usize,
}

/// Takes the sums of a tile of [`Few`]: its number and `[padded][16]`.
pub(crate) type TileDone<'a> = &'a mut dyn FnMut(usize, &[[f32; TILE_ROWS]]);

/// Computes [`Few`]; equal to `reference::gemm_int4` and bit for bit to the row's
/// [`super::TileKernel`].
pub(crate) type FewKernel = unsafe fn(&Few, TileDone);

/// The kernel of a row.
#[derive(Clone, Copy)]
pub(crate) struct SomeTokens {
    pub(crate) kernel: FewKernel,
    /// Fewest tokens for which it is worth it; [`FEW_TOKENS`] are the most.
    pub(crate) least: usize,
    /// Tokens that it computes with for so many.
    pub(crate) padded: fn(usize) -> usize,
}

impl SomeTokens {
    /// Whether it is for `tokens`.
    pub(crate) fn takes(&self, tokens: usize) -> bool {
        (self.least..=FEW_TOKENS).contains(&tokens)
    }
}

impl Few<'_> {
    /// The lengths every [`FewKernel`] relies on.
    fn check(&self) {
        assert!(
            matches!(self.padded, 8 | 16)
                && self.per_tile > 0
                && self.blocks.len().is_multiple_of(self.per_tile),
            "tiles of a few tokens"
        );
        assert_eq!(
            self.q.len(),
            self.per_tile * self.padded * BLOCK_K,
            "activations of a few tokens"
        );
        assert_eq!(self.scales.len(), self.per_tile * 2 * self.padded, "scales of a few tokens");
    }
}

/// Runs the kernel over whole tiles of `w`.
pub(super) fn run(
    some: &SomeTokens,
    w: &Int4Matrix,
    x: &Activations,
    tiles: std::ops::Range<usize>,
    done: TileDone,
) {
    let per_tile = w.blocks_per_tile();
    let (q, scales) = x.token_rows();
    let few = Few {
        blocks: &w.blocks[tiles.start * per_tile..tiles.end * per_tile],
        per_tile,
        q,
        scales,
        padded: (some.padded)(x.tokens()),
    };
    few.check();
    // SAFETY: the row was checked for this CPU when it was handed out; the lengths by `check`.
    unsafe { (some.kernel)(&few, done) };
}

/// The buffers while they are filled, by threads that own different tokens or different blocks of
/// 64 k.
pub(super) struct TokenRows<'a> {
    q: SharedOut<i8>,
    scales: SharedOut<f32>,
    padded: usize,
    buffers: PhantomData<&'a mut Vec<i8>>,
}

impl<'a> TokenRows<'a> {
    /// Room for `m` tokens of `k` (whole blocks); tokens that only fill up are set to 0.
    pub(super) fn new(
        some: &SomeTokens,
        m: usize,
        k: usize,
        q: &'a mut Vec<i8>,
        scales: &'a mut Vec<f32>,
    ) -> Self {
        let padded = (some.padded)(m);
        q.resize(padded * k, 0);
        scales.resize(padded * k / GROUP, 0.0);
        for tokens in q.chunks_exact_mut(padded * BLOCK_K) {
            tokens[m * BLOCK_K..].fill(0);
        }
        for tokens in scales.chunks_exact_mut(padded) {
            tokens[m..].fill(0.0);
        }
        TokenRows {
            q: SharedOut::new(q),
            scales: SharedOut::new(scales),
            padded,
            buffers: PhantomData,
        }
    }

    /// Takes quantised inputs of a token from block `first` on.
    ///
    /// # Safety
    /// No other thread writes these blocks of this token.
    pub(super) unsafe fn put(&self, token: usize, first: usize, q: &[i8], scales: &[f32]) {
        for (i, (q, scales)) in
            q.as_chunks::<BLOCK_K>().0.iter().zip(scales.as_chunks::<2>().0).enumerate()
        {
            let block = first + i;
            // SAFETY: the caller's promise; the buffers are borrowed, the bounds are checked.
            unsafe {
                self.q.part((block * self.padded + token) * BLOCK_K, BLOCK_K).copy_from_slice(q);
                for (group, scale) in scales.iter().enumerate() {
                    self.scales.part((block * 2 + group) * self.padded + token, 1)[0] = *scale;
                }
            }
        }
    }
}
