//! The first half of a feed-forward block: the product with gate and up, SwiGLU, and the quantised
//! inputs of what follows.
//!
//! Where a row has kernels for several tokens or multiplies panels with coarse scales (AMX), the
//! two halves of an output are never in memory: a thread takes tiles of `gate` and the same tiles
//! of `up`, and what comes of them is quantised as soon as a whole block is there. Writing and
//! reading `[m,2f]` in f32 takes as long as a third of the products otherwise: half of it is
//! another core's.

use std::cell::Cell;
use std::ops::Range;

use super::activations::Activations;
use super::coarse::Coarse;
use super::few::{self, SomeTokens};
use super::layout::{BLOCK_K, TILE_ROWS};
use super::panel::{self, MOST_TILES, Sums};
use super::product::{Epilogue, estimated_us, matmul_quantized};
use super::{FEW_TOKENS, Int4Matrix};
use crate::ops::silu_mul;
use crate::reference::GROUP;
use crate::threads;

/// `out = quantise(silu(gate) · up)` where `gate` and `up` are the halves of `x · wᵀ`, `w`
/// `[2f,k]`.
///
/// The same bits as [`matmul_quantized`] into `gate_up` and then [`Activations::quantize_swiglu`];
/// `gate_up` is used, and grown to `[m,2f]`, only where that is what happens. Panics: `x` has not
/// `w.k()` inputs, `w` has an odd number of rows.
pub fn matmul_swiglu(
    w: &Int4Matrix,
    x: &Activations,
    gate_up: &mut Vec<f32>,
    out: &mut Activations,
) {
    let (m, f) = (x.tokens(), w.n / 2);
    assert!(f > 0 && w.n.is_multiple_of(2), "gate and up of {} rows", w.n);
    assert_eq!(x.k(), w.k, "inputs of a product");
    // Tiles of `up` begin where tiles begin.
    if let Some(coarse) =
        x.row().int4_coarse.filter(|_| m > FEW_TOKENS && f.is_multiple_of(TILE_ROWS))
    {
        many(w, x, coarse, out);
    } else if let Some(some) =
        x.row().int4_few.filter(|some| some.takes(m) && f.is_multiple_of(BLOCK_K))
    {
        several(w, x, some, out);
    } else {
        gate_up.resize(m * w.n, 0.0);
        matmul_quantized(w, x, Epilogue::default(), gate_up);
        out.quantize_swiglu_with(x.row(), gate_up, f);
    }
}

/// Blocks of 64 outputs that [`several`] computes in one go: what they need stays in the
/// first-level cache.
const BLOCKS_AT_ONCE: usize = 2;

fn several(w: &Int4Matrix, x: &Activations, some: SomeTokens, out: &mut Activations) {
    const WIDTH: usize = BLOCKS_AT_ONCE * BLOCK_K;
    const TILES: usize = BLOCK_K / TILE_ROWS;
    let (m, f, row) = (x.tokens(), w.n / 2, x.row());
    let rows = out.begin_several(row, &some, m, f);
    threads::split(f / BLOCK_K, estimated_us(w, m), |blocks| {
        let (mut halves, mut activated) = ([[[0f32; WIDTH]; FEW_TOKENS]; 2], [0f32; WIDTH]);
        let (mut q, mut scales, mut bias) =
            ([0i8; WIDTH], [0f32; WIDTH / GROUP], [0i32; WIDTH / GROUP]);
        for first in blocks.clone().step_by(BLOCKS_AT_ONCE) {
            let n = BLOCKS_AT_ONCE.min(blocks.end - first);
            for (up, half) in halves.iter_mut().enumerate() {
                let tile = up * (f / TILE_ROWS) + first * TILES;
                few::run(&some, w, x, tile..tile + n * TILES, &mut |tile, sums| {
                    for (place, sums) in half.iter_mut().zip(sums) {
                        place[tile * TILE_ROWS..(tile + 1) * TILE_ROWS].copy_from_slice(sums);
                    }
                });
            }
            let (width, groups) = (n * BLOCK_K, n * BLOCK_K / GROUP);
            let [gate, up] = &halves;
            for (token, (gate, up)) in gate.iter().zip(up).enumerate().take(m) {
                // SAFETY: the row's instruction set was checked when it was handed out; a block of
                // every token belongs to one thread.
                unsafe {
                    (row.ops.silu_mul)(&gate[..width], &up[..width], &mut activated[..width]);
                    (row.quantize)(
                        &activated[..width],
                        &mut q[..width],
                        &mut scales[..groups],
                        &mut bias[..groups],
                    );
                    rows.put(token, first, &q[..width], &scales[..groups]);
                }
            }
        }
    });
}

thread_local! {
    static ACTIVATED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

fn many(w: &Int4Matrix, x: &Activations, coarse: Coarse, out: &mut Activations) {
    let (m, f) = (x.tokens(), w.n / 2);
    let rows = out.begin_coarse(x.row(), coarse, m, f);
    // A line more than the block: rows whose distance is a power of two would fall into few sets of
    // the cache.
    let stride = coarse.block + TILE_ROWS;
    let (parts, token_blocks) = (rows.parts(), panel::token_blocks(w, m));
    threads::split(parts * token_blocks, estimated_us(w, m), |items| {
        let mut activated = ACTIVATED.take();
        for item in items {
            let (block, tokens) = (item % parts, panel::tokens_of(m, item / parts, token_blocks));
            activated.resize((tokens.len() * stride).max(activated.len()), 0.0);
            let inputs = rows.inputs(block);
            let width = inputs.len();
            gated(
                w,
                x,
                tokens.clone(),
                inputs.start / TILE_ROWS,
                width / TILE_ROWS,
                stride,
                &mut activated,
            );
            for (token, activated) in tokens.zip(activated.chunks_exact(stride)) {
                // SAFETY: a block of every token belongs to one thread. The row's instruction set
                // was checked when it was handed out.
                unsafe { rows.put(token, block, &activated[..width]) };
            }
        }
        ACTIVATED.set(activated);
    });
}

/// `silu(gate) · up` of some tokens for `n` tiles from tile `first` on, to `activated`
/// `[tokens][stride]`.
fn gated(
    w: &Int4Matrix,
    x: &Activations,
    tokens: Range<usize>,
    first: usize,
    n: usize,
    stride: usize,
    activated: &mut [f32],
) {
    let up = w.n / 2 / TILE_ROWS;
    // Beside each gate its `up`.
    let width = x.row().int4_panel.tiles;
    let tiles_from =
        |tile: usize| -> [usize; MOST_TILES] { std::array::from_fn(|i| tile + i / 2 + i % 2 * up) };
    for tile in (0..n).step_by(width / 2) {
        let count = 2 * (n - tile).min(width / 2);
        let (column, tile) = (tile * TILE_ROWS, first + tile);
        panel::run(
            w,
            x,
            tokens.clone(),
            &tiles_from(tile)[..count],
            &tiles_from(tile + width / 2)[..width],
            &mut |sums: Sums| {
                let tokens = sums.tokens.min(tokens.len().saturating_sub(sums.token));
                if tokens > 0 {
                    let out = &mut activated[sums.token * stride + column..];
                    // SAFETY: the row's instruction set was checked when it was handed out.
                    unsafe { (x.row().ops.gated)(&mut Gated { sums: &sums, tokens, out, stride }) };
                }
            },
        );
    }
}

/// Tiles of a gate and of an `up` on their way to the inputs of what follows.
pub(crate) struct Gated<'a> {
    sums: &'a Sums<'a>,
    /// Those that exist.
    tokens: usize,
    /// The first token's place, and elements from one to the next.
    out: &'a mut [f32],
    stride: usize,
}

/// `out = silu(gate) · up`; compiled once per instruction set.
#[inline(always)]
pub(crate) fn gated_body<const FMA: bool>(gated: &mut Gated) {
    let Sums { values, n_tiles, strides, .. } = *gated.sums;
    for (token, out) in gated.out.chunks_mut(gated.stride).enumerate().take(gated.tokens) {
        for (pair, out) in
            out.as_chunks_mut::<TILE_ROWS>().0.iter_mut().enumerate().take(n_tiles / 2)
        {
            let gate = token * strides[0] + 2 * pair * strides[1];
            silu_mul::<FMA>(&values[gate], &values[gate + strides[1]], out);
        }
    }
}
