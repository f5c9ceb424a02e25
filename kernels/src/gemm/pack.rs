//! Packing of f32 matrices into bf16 tiles that both bf16 rows read.
//!
//! A tile is 16 × 32 bf16, 1 KiB. Of the left operand it holds 16 rows of 32 consecutive `k`. Of
//! the right operand it holds 32 `k` of 16 columns as 16 rows of pairs: row `p` is `(b[2p, j],
//! b[2p + 1, j])` for the 16 columns `j` (the order that `tdpbf16ps` and `dpbf16_ps` want). What lies
//! outside the matrix is zero, so the kernels know no tails.

use std::arch::x86_64::*;

use super::MatRef;

/// Rows of a left tile, columns of a right tile.
pub(super) const EDGE: usize = 16;
/// Depth of a tile along `k`.
pub(super) const DEPTH: usize = 32;

/// 16 × 32 bf16, aligned so that no load crosses a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [u16; EDGE * DEPTH]);

const _: () = assert!(size_of::<Tile>() == 1024);

impl Tile {
    pub(super) const ZERO: Tile = Tile([0; EDGE * DEPTH]);
}

/// Whether the packing (and so either bf16 row) can run.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
}

/// Packs rows `row..row + rows` and depth tiles `k_tile..k_tile + k_tiles` of `a` as `[ceil(rows /
/// 16)][k_tiles]` tiles.
///
/// # Safety
/// [`is_available`] must hold.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn pack_a(
    out: &mut [Tile],
    a: MatRef<'_>,
    row: usize,
    rows: usize,
    k_tile: usize,
    k_tiles: usize,
) {
    assert!(row + rows <= a.rows && out.len() >= rows.div_ceil(EDGE) * k_tiles);
    for (i, panel) in out.chunks_mut(k_tiles).take(rows.div_ceil(EDGE)).enumerate() {
        let (r0, height) = (row + i * EDGE, EDGE.min(rows - i * EDGE));
        for (t, tile) in panel.iter_mut().enumerate() {
            let k0 = (k_tile + t) * DEPTH;
            let depth = DEPTH.min(a.cols.saturating_sub(k0));
            *tile = if height == EDGE && depth == DEPTH && a.col_stride == 1 {
                store(rows_of(&a.data[r0 * a.row_stride + k0..], a.row_stride))
            } else if height == EDGE && depth == DEPTH && a.row_stride == 1 {
                store(transpose(pairs_of(&a.data[k0 * a.col_stride + r0..], a.col_stride)))
            } else {
                store(rows_of(&edge_of(a, r0, height, k0, depth), DEPTH))
            };
        }
    }
}

/// Packs columns `col..col + 16 * panels` of `b`, all of its depth, as `[panels][ceil(k / 32)]`
/// tiles.
///
/// # Safety
/// [`is_available`] must hold.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn pack_b(out: &mut [Tile], b: MatRef<'_>, col: usize, panels: usize) {
    let k_tiles = b.rows.div_ceil(DEPTH);
    assert_eq!(out.len(), panels * k_tiles);
    // Seen as its transpose, the right operand has columns for rows: the same three cases as on the
    // left.
    let bt = b.transposed();
    for (j, panel) in out.chunks_mut(k_tiles).enumerate() {
        let c0 = col + j * EDGE;
        let width = EDGE.min(b.cols.saturating_sub(c0));
        for (t, tile) in panel.iter_mut().enumerate() {
            let k0 = t * DEPTH;
            let depth = DEPTH.min(b.rows - k0);
            *tile = if width == EDGE && depth == DEPTH && b.col_stride == 1 {
                store(pairs_of(&b.data[k0 * b.row_stride + c0..], b.row_stride))
            } else if width == EDGE && depth == DEPTH && b.row_stride == 1 {
                store(transpose(rows_of(&b.data[c0 * b.col_stride + k0..], b.col_stride)))
            } else {
                store(transpose(rows_of(&edge_of(bt, c0, width, k0, depth), DEPTH)))
            };
        }
    }
}

/// A part of a matrix as 16 × 32 f32, zero where there is none.
fn edge_of(a: MatRef<'_>, row: usize, rows: usize, col: usize, cols: usize) -> [f32; EDGE * DEPTH] {
    let mut out = [0.0; EDGE * DEPTH];
    for i in 0..rows {
        for j in 0..cols {
            out[i * DEPTH + j] = a.data[(row + i) * a.row_stride + (col + j) * a.col_stride];
        }
    }
    out
}

/// 16 rows of 32 contiguous f32 each, as bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn rows_of(data: &[f32], stride: usize) -> [__m512i; 16] {
    assert!(data.len() >= 15 * stride + 32);
    let mut out = [_mm512_setzero_si512(); 16];
    for (i, row) in out.iter_mut().enumerate() {
        // SAFETY: the assertion covers the last element read, 15 · stride + 31; both vector types
        // are 64 plain bytes.
        *row = unsafe {
            let p = data.as_ptr().add(i * stride);
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(
                _mm512_loadu_ps(p.add(16)),
                _mm512_loadu_ps(p),
            ))
        };
    }
    out
}

/// 32 rows of 16 contiguous f32 each, as 16 rows of bf16 pairs (rows `2p` and `2p + 1`
/// interleaved).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pairs_of(data: &[f32], stride: usize) -> [__m512i; 16] {
    const INTERLEAVE: [u16; 32] = {
        let mut x = [0u16; 32];
        let mut i = 0;
        while i < 16 {
            x[2 * i] = i as u16;
            x[2 * i + 1] = 16 + i as u16;
            i += 1;
        }
        x
    };
    assert!(data.len() >= 31 * stride + 16);
    let mut out = [_mm512_setzero_si512(); 16];
    // SAFETY: the assertion covers the last element read, 31 · stride + 15; the index table is 64
    // bytes; both vector types are 64 plain bytes.
    unsafe {
        let interleave = _mm512_loadu_si512(INTERLEAVE.as_ptr().cast());
        for (i, row) in out.iter_mut().enumerate() {
            let p = data.as_ptr().add(2 * i * stride);
            let pair = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(p.add(stride)), _mm512_loadu_ps(p));
            *row = _mm512_permutexvar_epi16(
                interleave,
                std::mem::transmute::<__m512bh, __m512i>(pair),
            );
        }
    }
    out
}

/// 16 × 16 transpose of 32-bit lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(r: [__m512i; 16]) -> [__m512i; 16] {
    let mut t = r;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    let mut u = t;
    for i in 0..4 {
        u[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        u[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    let mut out = u;
    for i in 0..4 {
        let a = _mm512_shuffle_i32x4::<0x88>(u[i], u[4 + i]);
        let b = _mm512_shuffle_i32x4::<0xdd>(u[i], u[4 + i]);
        let c = _mm512_shuffle_i32x4::<0x88>(u[8 + i], u[12 + i]);
        let d = _mm512_shuffle_i32x4::<0xdd>(u[8 + i], u[12 + i]);
        out[i] = _mm512_shuffle_i32x4::<0x88>(a, c);
        out[8 + i] = _mm512_shuffle_i32x4::<0xdd>(a, c);
        out[4 + i] = _mm512_shuffle_i32x4::<0x88>(b, d);
        out[12 + i] = _mm512_shuffle_i32x4::<0xdd>(b, d);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(rows: [__m512i; 16]) -> Tile {
    let mut tile = Tile::ZERO;
    for (i, row) in rows.into_iter().enumerate() {
        // SAFETY: a tile is 16 rows of 64 bytes and aligned to 64.
        unsafe { _mm512_store_si512(tile.0.as_mut_ptr().add(i * DEPTH).cast(), row) };
    }
    tile
}
