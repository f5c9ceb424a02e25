//! The product of INT4 weights and INT8 activations: how tiles and tokens are shared out, and what becomes of the sums.
//!
//! Few tokens: each tile of 16 rows is read once and multiplied with chunks of at most eight tokens, which is bound by reading
//! the weights. Many tokens: the nibbles of two tiles are unpacked once into L1 ([`Panel`]) and all tokens pass over them.

use std::cell::RefCell;
use std::ops::Range;

use super::activations::Activations;
use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::{FEW_TOKENS, Int4Matrix, MAX_TOKENS};
use crate::isa::{self, Row};
use crate::reference::GROUP;
use crate::threads::{self, SharedOut};

/// Blocks along `k` that a panel unpacks at a time: 16 KB for two tiles.
pub(crate) const PANEL_BLOCKS: usize = 8;
/// Tiles that a panel joins.
pub(crate) const PANEL_TILES: usize = 2;
const _: () = assert!(FEW_TOKENS == 2 * MAX_TOKENS, "`few` takes two chunks");
/// Groups along `k` of a panel step.
pub(crate) const PANEL_GROUPS: usize = PANEL_BLOCKS * BLOCK_K / GROUP;

/// What is done with a product `p`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to every row, `[n]`.
    pub bias: Option<&'a [f32]>,
    /// `y += p` instead of `y = p`.
    pub add: bool,
}

/// `y[m,n] = x[m,k] · dequant(w)[k,n]`, activations quantised to INT8 per group of 32, accumulated in f32.
///
/// Shapes: `x` `[m,k]` row-major f32, `m` taken from its length; `y` `[m,n]`, overwritten.
/// A NaN or infinity in a row of `x` makes that row of `y` NaN and no other.
/// Panics: if a length does not match its shape (always checked).
/// A row of `y` has the same bits whatever the other rows are and how many: a warm cache computes what a cold one does.
/// Accuracy: NMSE ≤ 1e-6 against `reference::gemm_int4`.
/// The `amx` row differs for more than 16 tokens: those equal `reference::gemm_int4_requantized`, one to another with the same
/// bits, but not the bits of 16 or fewer.
pub fn matmul_int4(w: &Int4Matrix, x: &[f32], y: &mut [f32], activations: &mut Activations) {
    matmul_int4_with(isa::active(), w, x, y, activations);
}

/// [`matmul_int4`] on a given row of the kernel table.
pub fn matmul_int4_with(row: &'static Row, w: &Int4Matrix, x: &[f32], y: &mut [f32], activations: &mut Activations) {
    activations.quantize_with(row, x, w.k);
    matmul_quantized(w, activations, Epilogue::default(), y);
}

/// [`matmul_int4`] for activations that are quantised already, with an [`Epilogue`].
///
/// Panics: the activations have not `w.k()` inputs, `y` is not `[m,n]`, the bias not `[n]`.
pub fn matmul_quantized(w: &Int4Matrix, x: &Activations, epilogue: Epilogue, y: &mut [f32]) {
    let (n, m) = (w.n, x.tokens());
    assert_eq!(x.k(), w.k, "inputs of a product");
    assert_eq!(y.len(), m * n, "y is not [{m},{n}]");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == n), "the bias is not [{n}]");
    if m == 0 {
        return;
    }
    let out = Out { y: SharedOut::new(y), n, epilogue };
    // Multiply-adds a nanosecond and core: 60 when there is work for the registers; one token is bound by reading and costs as much as four.
    let estimated_us = n as u64 * w.k as u64 * (m as u64 + 3) / 60_000;
    if m <= FEW_TOKENS {
        threads::split(n.div_ceil(TILE_ROWS), estimated_us, |tiles| few(w, x, tiles, &out));
    } else {
        threads::split(n.div_ceil(PANEL_TILES * TILE_ROWS), estimated_us, |panels| {
            SCRATCH.with_borrow_mut(|scratch| panels.for_each(|p| many(w, x, p * PANEL_TILES, scratch, &out)));
        });
    }
}

/// The output, shared by threads that own different columns.
struct Out<'a> {
    y: SharedOut<f32>,
    n: usize,
    epilogue: Epilogue<'a>,
}

impl Out<'_> {
    /// Columns `first ..` of token `token`.
    ///
    /// # Safety
    /// As [`SharedOut::part`]: the calling thread owns these columns.
    #[inline(always)]
    unsafe fn write(&self, token: usize, first: usize, values: &[f32]) {
        // SAFETY: the caller's promise.
        let place = unsafe { self.y.part(token * self.n + first, values.len()) };
        // Whole tiles have a fixed size, which saves a call for each 64 bytes.
        let ((tiles, rest), (values, values_rest)) = (place.as_chunks_mut::<TILE_ROWS>(), values.as_chunks::<TILE_ROWS>());
        for (i, (y, v)) in tiles.iter_mut().zip(values).enumerate() {
            self.finish(first + i * TILE_ROWS, y, v);
        }
        self.finish(first + tiles.len() * TILE_ROWS, rest, values_rest);
    }

    /// Asks for `columns` columns of all tokens, which lie a row apart, to be near when the sums are done.
    #[cfg(target_arch = "x86_64")]
    fn prefetch(&self, tokens: usize, first: usize, columns: usize) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for token in 0..tokens {
            let start = self.y.address().wrapping_add(token * self.n + first);
            for column in (0..columns + 15).step_by(16) {
                // SAFETY: a prefetch of any address is allowed.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(column).cast()) };
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn prefetch(&self, _tokens: usize, _first: usize, _columns: usize) {}

    /// The epilogue for columns `first ..`.
    #[inline(always)]
    fn finish(&self, first: usize, y: &mut [f32], product: &[f32]) {
        match (self.epilogue.bias, self.epilogue.add) {
            (None, false) => y.iter_mut().zip(product).for_each(|(y, p)| *y = *p),
            (None, true) => y.iter_mut().zip(product).for_each(|(y, p)| *y += p),
            (Some(bias), add) => {
                for ((y, p), b) in y.iter_mut().zip(product).zip(&bias[first..]) {
                    *y = if add { *y + (p + b) } else { p + b };
                }
            }
        }
    }
}

fn few(w: &Int4Matrix, x: &Activations, tiles: Range<usize>, out: &Out) {
    let per_tile = w.blocks_per_tile();
    let kernel = x.row().int4_tile;
    let mut sums = [[0f32; TILE_ROWS]; MAX_TOKENS];
    let mut chunks = x.chunks();
    let chunks = [chunks.next(), chunks.next()];
    for tile in tiles {
        let blocks = &w.blocks[tile * per_tile..(tile + 1) * per_tile];
        let first_row = tile * TILE_ROWS;
        let rows = TILE_ROWS.min(w.n - first_row);
        // The second chunk finds the tile in the cache.
        for chunk in chunks.iter().flatten() {
            // SAFETY: the row was checked for this CPU when it was handed out.
            unsafe { kernel(blocks, chunk.q, chunk.scales, chunk.bias, chunk.tokens, &mut sums) };
            for (t, values) in sums.iter().enumerate().take(chunk.tokens) {
                // SAFETY: `y` outlives the split; each tile owns its columns.
                unsafe { out.write(chunk.first_token + t, first_row, &values[..rows]) };
            }
        }
    }
}

/// A cache line of unpacked weights: 16 rows × 4 k.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// Working memory of one thread for panels.
pub(crate) struct PanelScratch {
    /// `[k/4][tiles]`
    pub(crate) weights: Vec<Line>,
    /// `[group][tiles][16]`
    pub(crate) scales: Vec<[f32; TILE_ROWS]>,
    /// `[chunk][token in chunk][tiles][16]`
    pub(crate) sums: Vec<[f32; TILE_ROWS]>,
}

thread_local! {
    static SCRATCH: RefCell<PanelScratch> = const { RefCell::new(PanelScratch { weights: Vec::new(), scales: Vec::new(), sums: Vec::new() }) };
}

/// Two tiles (or the last single one) times whole chunks of tokens.
pub(crate) struct Panel<'a> {
    /// Equally long; the second is empty when there is one.
    pub(crate) tiles: [&'a [Block]; PANEL_TILES],
    pub(crate) n_tiles: usize,
    pub(crate) chunks: usize,
    /// `[chunks][k/4][8][4]`, [`Activations::whole_chunks`]
    pub(crate) q: &'a [i8],
    /// `[chunks][k/32][8]`
    pub(crate) x_scales: &'a [f32],
    /// `[chunks][k/32][8]`
    pub(crate) bias: &'a [i32],
    /// Sums come back in `sums` `[chunks][8][n_tiles][16]`.
    pub(crate) scratch: &'a mut PanelScratch,
}

/// Computes a [`Panel`]; equal to `reference::gemm_int4` and bit for bit to the row's [`super::TileKernel`].
pub(crate) type PanelKernel = unsafe fn(&mut Panel);

fn many(w: &Int4Matrix, x: &Activations, tile: usize, scratch: &mut PanelScratch, out: &Out) {
    let per_tile = w.blocks_per_tile();
    let n_tiles = PANEL_TILES.min(w.n.div_ceil(TILE_ROWS) - tile);
    let blocks = |i: usize| if i < n_tiles { &w.blocks[(tile + i) * per_tile..(tile + i + 1) * per_tile] } else { &[] };
    let (chunks, q, x_scales, bias) = x.whole_chunks();
    scratch.weights.resize(PANEL_BLOCKS * BLOCK_K / 4 * PANEL_TILES, Line([0; 64]));
    scratch.scales.resize(PANEL_GROUPS * PANEL_TILES, [0.0; TILE_ROWS]);
    scratch.sums.resize(chunks * MAX_TOKENS * PANEL_TILES, [0.0; TILE_ROWS]);
    let mut panel = Panel { tiles: [blocks(0), blocks(1)], n_tiles, chunks, q, x_scales, bias, scratch };
    panel.check(x.row());
    out.prefetch(x.tokens(), tile * TILE_ROWS, n_tiles * TILE_ROWS);
    // SAFETY: the row was checked for this CPU when it was handed out; the lengths by `check`.
    unsafe { (x.row().int4_panel)(&mut panel) };
    for (token, tiles) in scratch.sums.chunks_exact(n_tiles).enumerate().take(x.tokens()) {
        let first_row = tile * TILE_ROWS;
        let rows = (n_tiles * TILE_ROWS).min(w.n - first_row);
        // SAFETY: `y` outlives the split; each panel owns its columns.
        unsafe { out.write(token, first_row, &tiles.as_flattened()[..rows]) };
    }
}

impl Panel<'_> {
    /// The lengths every [`PanelKernel`] relies on.
    fn check(&self, row: &Row) {
        let k = self.tiles[0].len() * BLOCK_K;
        let tokens = self.chunks * MAX_TOKENS;
        assert!((1..=PANEL_TILES).contains(&self.n_tiles) && k > 0, "tiles of a panel");
        assert!(self.n_tiles == 1 || self.tiles[1].len() == self.tiles[0].len(), "tiles of a panel");
        assert_eq!(self.q.len(), tokens * k, "activations of a panel");
        let (scales, bias) = match row.int4_coarse {
            Some(coarse) => (tokens * k.div_ceil(coarse.block), 0),
            None => (tokens * k / GROUP, tokens * k / GROUP),
        };
        assert_eq!((self.x_scales.len(), self.bias.len()), (scales, bias), "scales and bias of a panel");
    }
}
