//! Loop order of the bf16 rows: pack `B` whole, then walk `C` in strips of rows, packing `A` as it
//! goes.
//!
//! A strip's packed `A` (128 KiB at most) stays in the second-level cache while the columns of `B`
//! stream past it.

use std::cell::RefCell;

use rayon::prelude::*;

use super::pack::{DEPTH, EDGE, Tile, pack_a, pack_b};
use super::{MatMut, MatRef, Summands, amx, avx512bf16};

/// Rows of `C` in a strip.
const STRIP: usize = 128;
/// Depth tiles packed of `A` at a time.
const K_TILES: usize = 16;
/// Edge of the block of `C` that a kernel computes.
const BLOCK: usize = 32;

/// Which instructions compute a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Amx,
    Avx512Bf16,
    /// The packed layout read by plain code as the AMX instructions define it: what the tests
    /// compare.
    #[cfg(test)]
    Emulated,
}

/// `c (+)= a · b`; the caller has checked shapes, and that the row of `kernel` is available.
pub(super) fn run(kernel: Kernel, a: MatRef<'_>, b: MatRef<'_>, c: MatMut<'_>, accumulate: bool) {
    with_tiles(&PACKED_B, tiles_of(b.rows, b.cols), |packed| {
        pack_all(packed, b);
        run_packed(kernel, a, packed, c, accumulate);
    });
}

/// Depth tiles of a part of a sum over tokens.
const PART: usize = Summands::PART / DEPTH;
const _: () = assert!(Summands::BLOCK == DEPTH && PART <= K_TILES);

/// Tiles of a part of [`Summands`]: of each panel of elements the depth tiles one after the other.
pub(super) fn part_tiles(width: usize) -> usize {
    width.next_multiple_of(BLOCK) / EDGE * PART
}

/// Packs the vectors of a depth tile of tokens as depth tile `k` of a part.
pub(super) fn put_summands(part: &mut [Tile], left: bool, k: usize, vectors: MatRef<'_>) {
    let panels = part.len() / PART;
    with_tiles(&PACKED_A, panels, |packed| {
        let filled = vectors.cols.div_ceil(EDGE);
        // SAFETY: `pack::is_available` is part of every bf16 row's availability.
        unsafe {
            if left {
                pack_a(packed, vectors.transposed(), 0, vectors.cols, 0, 1);
            } else {
                pack_b(&mut packed[..filled], vectors, 0, filled);
            }
        }
        for (panel, tile) in part.chunks_mut(PART).zip(&packed[..filled]) {
            panel[k] = *tile;
        }
    });
}

/// `c += leftᵀ · right`, both as [`put_summands`] has packed them; threads share the rows.
pub(super) fn run_summed(kernel: Kernel, left: &[Tile], right: &[Tile], c: MatMut<'_>) {
    let MatMut { data, rows: all_rows, cols, row_stride } = c;
    let height = all_rows.div_ceil(rayon::current_num_threads()).next_multiple_of(BLOCK);
    let (left_part, right_part) = (part_tiles(all_rows), part_tiles(cols));
    data.par_chunks_mut(height * row_stride.max(cols)).enumerate().for_each(|(share, data)| {
        let (first_row, rows) = (share * height, height.min(all_rows - share * height));
        // SAFETY: the row of `Kernel::Amx` is available, which is the condition.
        let _config = (kernel == Kernel::Amx).then(|| unsafe { amx::TileConfig::load() });
        for (left, right) in left.chunks(left_part).zip(right.chunks(right_part)) {
            let right = Right { tiles: right, panel: PART, k0: 0, k_tiles: PART };
            for first in (0..rows).step_by(STRIP) {
                let c = MatMut {
                    data: &mut data[first * row_stride..],
                    rows: STRIP.min(rows - first),
                    cols,
                    row_stride,
                };
                compute_strip(kernel, &left[(first_row + first) / EDGE * PART..], &right, c, true);
            }
        }
    });
}

/// Tiles of a packed right operand.
pub(super) fn tiles_of(k: usize, n: usize) -> usize {
    n.div_ceil(BLOCK) * (BLOCK / EDGE) * k.div_ceil(DEPTH)
}

/// Packs the whole right operand.
pub(super) fn pack_all(out: &mut [Tile], b: MatRef<'_>) {
    let panels = BLOCK / EDGE;
    for (j, out) in out.chunks_mut(panels * b.rows.div_ceil(DEPTH)).enumerate() {
        // SAFETY: `pack::is_available` is part of every bf16 row's availability.
        unsafe { pack_b(out, b, j * BLOCK, panels) };
    }
}

/// [`run`] with `b` as [`pack_all`] has packed it.
pub(super) fn run_packed(
    kernel: Kernel,
    a: MatRef<'_>,
    b: &[Tile],
    c: MatMut<'_>,
    accumulate: bool,
) {
    let all_k_tiles = a.cols.div_ceil(DEPTH);
    // SAFETY: the row of `Kernel::Amx` is available, which is the condition.
    let _config = (kernel == Kernel::Amx).then(|| unsafe { amx::TileConfig::load() });
    with_tiles(&PACKED_A, STRIP / EDGE * K_TILES.min(all_k_tiles), |packed| {
        for first in (0..c.rows).step_by(STRIP) {
            let rows = STRIP.min(c.rows - first);
            for k0 in (0..all_k_tiles).step_by(K_TILES) {
                let k_tiles = K_TILES.min(all_k_tiles - k0);
                let (filled, needed) =
                    (rows.div_ceil(EDGE) * k_tiles, rows.next_multiple_of(BLOCK) / EDGE * k_tiles);
                // SAFETY: `pack::is_available` is part of every bf16 row's availability.
                unsafe { pack_a(packed, a, first, rows, k0, k_tiles) };
                packed[filled..needed].fill(Tile::ZERO);
                let c = MatMut { data: &mut c.data[first * c.row_stride..], rows, ..c };
                compute_strip(
                    kernel,
                    packed,
                    &Right { tiles: b, panel: all_k_tiles, k0, k_tiles },
                    c,
                    accumulate || k0 > 0,
                );
            }
        }
    });
}

/// A part of the depth of the packed right operand: tiles `k0..k0 + k_tiles` of each panel of
/// `panel` tiles.
struct Right<'a> {
    tiles: &'a [Tile],
    panel: usize,
    k0: usize,
    k_tiles: usize,
}

/// `c (+)= a · b` for the rows whose panels are in `a`.
fn compute_strip(kernel: Kernel, a: &[Tile], b: &Right<'_>, c: MatMut<'_>, accumulate: bool) {
    let MatMut { data: c, rows, cols, row_stride: stride } = c;
    let k_tiles = b.k_tiles;
    for j in 0..cols.div_ceil(BLOCK) {
        let panel_b = |p: usize| &b.tiles[(2 * j + p) * b.panel + b.k0..][..k_tiles];
        let b = [panel_b(0), panel_b(1)];
        for i in (0..rows).step_by(BLOCK) {
            let panel_a = |p: usize| &a[(i / EDGE + p) * k_tiles..][..k_tiles];
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

fn compute_block(
    kernel: Kernel,
    a: [&[Tile]; 2],
    b: [&[Tile]; 2],
    c: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    match kernel {
        // SAFETY: the callers of `compute_strip` hold a tile configuration.
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

/// Lends a thread's scratch, grown to `n` tiles. It is taken out while lent: a pool thread that
/// waits here may be given another product to compute, and that one then gets its own.
fn with_tiles(
    scratch: &'static std::thread::LocalKey<RefCell<Vec<Tile>>>,
    n: usize,
    f: impl FnOnce(&mut [Tile]),
) {
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
