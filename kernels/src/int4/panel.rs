//! Many tokens: the weights of a few tiles are unpacked once into L1 and all tokens pass over them.
//!
//! Owns what a row's panel kernel is given ([`Panel`]) and the memory it works in. What becomes of
//! the sums is the caller's: they are handed out while they are in L1, some tokens at a time.

use std::cell::RefCell;
use std::ops::Range;

use super::activations::Activations;
use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::{Int4Matrix, MAX_TOKENS};
use crate::isa::Row;
use crate::reference::GROUP;
use crate::threads;

/// Blocks along `k` that a panel unpacks at a time: 8 KB a tile.
pub(crate) const PANEL_BLOCKS: usize = 8;
/// Tiles that a panel joins at most.
pub(crate) const MOST_TILES: usize = 4;
/// Tokens of the largest tile of tokens of all rows.
pub(crate) const TILE_TOKENS: usize = 16;
/// Groups along `k` of a panel step.
pub(crate) const PANEL_GROUPS: usize = PANEL_BLOCKS * BLOCK_K / GROUP;

/// A cache line of unpacked weights: 16 rows × 4 k.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// Working memory of one thread for panels.
pub(crate) struct PanelScratch {
    /// Unpacked weights of [`PANEL_BLOCKS`], in an order of the kernel's choice.
    pub(crate) weights: Vec<Line>,
    /// `[group][tiles][16]`
    pub(crate) scales: Vec<[f32; TILE_ROWS]>,
    /// Sums between two steps along `k`, `[chunk][token in chunk][tiles][16]`.
    pub(crate) sums: Vec<[f32; TILE_ROWS]>,
}

thread_local! {
    static SCRATCH: RefCell<PanelScratch> = const { RefCell::new(PanelScratch { weights: Vec::new(), scales: Vec::new(), sums: Vec::new() }) };
}

/// Some tiles times whole chunks of tokens.
pub(crate) struct Panel<'a> {
    /// The first `n_tiles` count, all equally long.
    pub(crate) tiles: [&'a [Block]; MOST_TILES],
    pub(crate) n_tiles: usize,
    /// The tiles of the next panel, to be asked for ahead; may be empty.
    pub(crate) next: [&'a [Block]; MOST_TILES],
    pub(crate) chunks: usize,
    /// `[chunks][k/4][8][4]`, [`Activations::whole_chunks`]; of rows with coarse scales see
    /// `coarse.rs`
    pub(crate) q: &'a [i8],
    /// `[chunks][k/32][8]`
    pub(crate) x_scales: &'a [f32],
    /// `[chunks][k/32][8]`
    pub(crate) bias: &'a [i32],
    pub(crate) scratch: &'a mut PanelScratch,
}

/// Finished sums of some tokens and tiles of a panel.
pub(crate) struct Sums<'a> {
    /// The first token, counted from the panel's first; those of the last chunk may not exist.
    pub(crate) token: usize,
    /// The first tile, by its place in the panel, and how many.
    pub(crate) tile: usize,
    pub(crate) tokens: usize,
    pub(crate) n_tiles: usize,
    /// Sixteen rows each.
    pub(crate) values: &'a [[f32; TILE_ROWS]],
    /// From a token to the next in `values`, from a tile to the next.
    pub(crate) strides: [usize; 2],
}

/// What becomes of [`Sums`].
pub(crate) type Done<'a> = &'a mut dyn FnMut(Sums);

/// Computes a [`Panel`] and hands out each sum once; equal to `reference::gemm_int4` and bit for
/// bit to the row's [`super::TileKernel`].
pub(crate) type PanelKernel = unsafe fn(&mut Panel, Done);

/// The panel kernel of a row.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    pub(crate) kernel: PanelKernel,
    /// Tiles it wants at once; it takes fewer.
    pub(crate) tiles: usize,
}

/// Tokens of a block at most: with their inputs and outputs they stay in the second-level cache.
const BLOCK_TOKENS: usize = 256;
/// Tokens of a block at least, where each thread could have one.
const SPLIT_TOKENS: usize = 128;
/// Weights that may be read, and unpacked, once for every [`SPLIT_TOKENS`]: they stay in that cache
/// too.
const SPLIT_BYTES: usize = 1 << 20;

/// How many blocks the tokens `m` of a product with `w` are taken in, one after another or by
/// different threads.
pub(super) fn token_blocks(w: &Int4Matrix, m: usize) -> usize {
    let a_thread_each =
        if w.bytes() <= SPLIT_BYTES { (m / SPLIT_TOKENS).min(threads::threads()) } else { 1 };
    m.div_ceil(BLOCK_TOKENS).max(a_thread_each)
}

/// The tokens of a block; begins where a tile of tokens begins.
pub(super) fn tokens_of(m: usize, block: usize, blocks: usize) -> Range<usize> {
    let tiles = m.div_ceil(TILE_TOKENS);
    let start = |block: usize| m.min(tiles * block / blocks * TILE_TOKENS);
    start(block)..start(block + 1)
}

/// Runs the row's kernel over the tiles `tiles` of `w` and the tokens `tokens` ([`tokens_of`]) of
/// `x`, which has more than [`super::FEW_TOKENS`]. `next`: the tiles that will be asked for next.
pub(super) fn run(
    w: &Int4Matrix,
    x: &Activations,
    tokens: Range<usize>,
    tiles: &[usize],
    next: &[usize],
    done: Done,
) {
    let (row, per_tile) = (x.row(), w.blocks_per_tile());
    let blocks = |list: &[usize]| {
        let mut blocks: [&[Block]; MOST_TILES] = [&[]; MOST_TILES];
        for (place, tile) in blocks.iter_mut().zip(list) {
            *place = w.blocks.get(tile * per_tile..(tile + 1) * per_tile).unwrap_or(&[]);
        }
        blocks
    };
    let (chunks, q, x_scales, bias) = x.whole_chunks(tokens);
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.weights.resize(PANEL_BLOCKS * BLOCK_K / 4 * MOST_TILES, Line([0; 64]));
        scratch.scales.resize(PANEL_GROUPS * MOST_TILES, [0.0; TILE_ROWS]);
        scratch.sums.resize(chunks * MAX_TOKENS * MOST_TILES, [0.0; TILE_ROWS]);
        let mut panel = Panel {
            tiles: blocks(tiles),
            n_tiles: tiles.len(),
            next: blocks(next),
            chunks,
            q,
            x_scales,
            bias,
            scratch,
        };
        panel.check(row);
        // SAFETY: the row was checked for this CPU when it was handed out; the lengths by `check`.
        unsafe { (row.int4_panel.kernel)(&mut panel, done) };
    });
}

impl Panel<'_> {
    /// The lengths every [`PanelKernel`] relies on.
    fn check(&self, row: &Row) {
        let k = self.tiles[0].len() * BLOCK_K;
        let tokens = self.chunks * MAX_TOKENS;
        assert!(
            (1..=row.int4_panel.tiles).contains(&self.n_tiles) && k > 0,
            "{} tiles of a panel",
            self.n_tiles
        );
        assert!(
            self.tiles.iter().take(self.n_tiles).all(|t| t.len() == self.tiles[0].len()),
            "tiles of a panel"
        );
        assert_eq!(self.q.len(), tokens * k, "activations of a panel");
        let (scales, bias) = match row.int4_coarse {
            Some(coarse) => (tokens * k.div_ceil(coarse.block), 0),
            None => (tokens * k / GROUP, tokens * k / GROUP),
        };
        assert_eq!(
            (self.x_scales.len(), self.bias.len()),
            (scales, bias),
            "scales and bias of a panel"
        );
    }
}
