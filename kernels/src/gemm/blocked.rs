//! Loop order of the bf16 rows: pack `B` whole, then walk `C` in strips of rows, packing `A` as it goes.
//!
//! A strip's packed `A` (256 KiB at most) stays in the second-level cache while the columns of `B` stream past it. Strips
//! are the unit of work of the pool: small enough that a core busy elsewhere does not hold up the others.

use std::cell::RefCell;

use rayon::prelude::*;

use super::pack::{DEPTH, EDGE, Tile, pack_a, pack_b};
use super::{MatMut, MatRef, amx, avx512bf16};

/// Rows of `C` in a strip.
const STRIP: usize = 128;
/// Depth tiles packed of `A` at a time.
const K_TILES: usize = 32;
/// Edge of the block of `C` that a kernel computes.
const BLOCK: usize = 32;

/// Which instructions compute a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Amx,
    Avx512Bf16,
    /// The packed layout read by plain code as the AMX instructions define it: what the tests compare.
    #[cfg(test)]
    Emulated,
}

/// `c (+)= a · b`; the caller has checked shapes, and that the row of `kernel` is available.
pub(super) fn run(kernel: Kernel, a: MatRef<'_>, b: MatRef<'_>, c: MatMut<'_>, accumulate: bool, threads: usize) {
    let (m, n, k) = (c.rows, c.cols, a.cols);
    let k_tiles = k.div_ceil(DEPTH);
    let panels_per_block = BLOCK / EDGE;
    let block_tiles = panels_per_block * k_tiles;
    with_tiles(&PACKED_B, n.div_ceil(BLOCK) * block_tiles, |packed| {
        // SAFETY: `pack::is_available` is part of every bf16 row's availability.
        let pack = |(j, out): (usize, &mut [Tile])| unsafe { pack_b(out, b, j * BLOCK, panels_per_block) };
        if threads > 1 {
            packed.par_chunks_mut(block_tiles).enumerate().for_each(pack);
        } else {
            packed.chunks_mut(block_tiles).enumerate().for_each(pack);
        }
        let packed = &*packed;
        let height = STRIP.min(m.div_ceil(threads).next_multiple_of(BLOCK));
        let strip = |(i, c_rows): (usize, &mut [f32])| {
            let rows = height.min(m - i * height);
            let c = MatMut { data: c_rows, rows, cols: n, row_stride: c.row_stride };
            compute_strip(kernel, a, i * height, packed, c, accumulate);
        };
        let chunk = height * c.row_stride.max(n);
        if threads > 1 {
            c.data.par_chunks_mut(chunk).enumerate().for_each(strip);
        } else {
            c.data.chunks_mut(chunk).enumerate().for_each(strip);
        }
    });
}

/// The rows `first_row..` of the product that fall into `c`.
fn compute_strip(kernel: Kernel, a: MatRef<'_>, first_row: usize, b: &[Tile], c: MatMut<'_>, accumulate: bool) {
    let MatMut { data: c, rows, cols, row_stride: stride } = c;
    let all_k_tiles = a.cols.div_ceil(DEPTH);
    // SAFETY: the row of `Kernel::Amx` is available, which is the condition.
    let _config = (kernel == Kernel::Amx).then(|| unsafe { amx::TileConfig::load() });
    let panels = rows.next_multiple_of(BLOCK) / EDGE;
    with_tiles(&PACKED_A, panels * K_TILES.min(all_k_tiles), |packed| {
        for k0 in (0..all_k_tiles).step_by(K_TILES) {
            let k_tiles = K_TILES.min(all_k_tiles - k0);
            let filled = rows.div_ceil(EDGE) * k_tiles;
            // SAFETY: `pack::is_available` is part of every bf16 row's availability.
            unsafe { pack_a(packed, a, first_row, rows, k0, k_tiles) };
            packed[filled..panels * k_tiles].fill(Tile::ZERO);
            let accumulate = accumulate || k0 > 0;
            for j in 0..cols.div_ceil(BLOCK) {
                let panel_b = |p: usize| &b[(2 * j + p) * all_k_tiles + k0..][..k_tiles];
                let b = [panel_b(0), panel_b(1)];
                for i in (0..rows).step_by(BLOCK) {
                    let panel_a = |p: usize| &packed[(i / EDGE + p) * k_tiles..][..k_tiles];
                    let a = [panel_a(0), panel_a(1)];
                    let (height, width) = (BLOCK.min(rows - i), BLOCK.min(cols - j * BLOCK));
                    let out = &mut c[i * stride + j * BLOCK..];
                    if (height, width) == (BLOCK, BLOCK) {
                        compute_block(kernel, a, b, out, stride, accumulate);
                    } else {
                        let mut whole = [0.0; BLOCK * BLOCK];
                        compute_block(kernel, a, b, &mut whole, BLOCK, false);
                        for (to, from) in out.chunks_mut(stride).zip(whole.chunks(BLOCK)).take(height) {
                            for (to, from) in to.iter_mut().zip(&from[..width]) {
                                *to = if accumulate { *to + from } else { *from };
                            }
                        }
                    }
                }
            }
        }
    });
}

fn compute_block(kernel: Kernel, a: [&[Tile]; 2], b: [&[Tile]; 2], c: &mut [f32], stride: usize, accumulate: bool) {
    match kernel {
        // SAFETY: `compute_strip` holds a tile configuration while it calls this.
        Kernel::Amx => unsafe { amx::block(a, b, c, stride, accumulate) },
        // SAFETY: the row is available, which is the condition.
        Kernel::Avx512Bf16 => unsafe { avx512bf16::block(a, b, c, stride, accumulate) },
        #[cfg(test)]
        Kernel::Emulated => super::tests::emulated_block(a, b, c, stride, accumulate),
    }
}

thread_local! {
    static PACKED_A: RefCell<Vec<Tile>> = const { RefCell::new(Vec::new()) };
    static PACKED_B: RefCell<Vec<Tile>> = const { RefCell::new(Vec::new()) };
}

/// Lends a thread's scratch, grown to `n` tiles. It is taken out while lent: a pool thread that waits here may be given
/// another product to compute, and that one then gets its own.
fn with_tiles(scratch: &'static std::thread::LocalKey<RefCell<Vec<Tile>>>, n: usize, f: impl FnOnce(&mut [Tile])) {
    let mut tiles = scratch.take();
    if tiles.len() < n {
        tiles.resize(n, Tile::ZERO);
    }
    f(&mut tiles[..n]);
    scratch.with_borrow_mut(|kept| {
        if kept.len() < tiles.len() {
            *kept = tiles;
        }
    });
}
