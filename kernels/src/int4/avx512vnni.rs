//! AVX-512 VNNI: `vpdpbusd` of 16 rows × 4 k at a time.
//!
//! Nibbles are unsigned, activations signed; the accumulator starts at `-8 Σ q`, which makes the
//! weights signed. One f32 multiply-add a group joins the two scales.

use std::arch::x86_64::*;

use super::activations::quantize_body;
use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::panel::{Done, Line, PANEL_BLOCKS, PANEL_GROUPS, Panel, PanelScratch, Sums};
use super::{MAX_TOKENS, check_tile, prefetch};

/// Whether this CPU runs this module.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// See [`super::TileKernel`]; equals `reference::gemm_int4`.
///
/// # Safety
/// [`is_available`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c,fma,avx2")]
pub(crate) unsafe fn tile(
    blocks: &[Block],
    x: &[i8],
    scales: &[f32],
    bias: &[i32],
    tokens: usize,
    out: &mut [[f32; TILE_ROWS]; MAX_TOKENS],
) {
    check_tile(blocks, x, scales, bias, tokens);
    match tokens {
        1 => one(blocks, x, scales, bias, out),
        2 => several::<2>(blocks, x, scales, bias, out),
        3 => several::<3>(blocks, x, scales, bias, out),
        4 => several::<4>(blocks, x, scales, bias, out),
        5 => several::<5>(blocks, x, scales, bias, out),
        6 => several::<6>(blocks, x, scales, bias, out),
        7 => several::<7>(blocks, x, scales, bias, out),
        _ => several::<8>(blocks, x, scales, bias, out),
    }
}

/// One token: high nibbles are not shifted but accumulate 16-fold, with one shift at the end.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
fn one(
    blocks: &[Block],
    x: &[i8],
    scales: &[f32],
    bias: &[i32],
    out: &mut [[f32; TILE_ROWS]; MAX_TOKENS],
) {
    let low_mask = _mm512_set1_epi8(0x0f);
    // One accumulator, groups in order: the same bits as `several`.
    let mut acc = _mm512_setzero_ps();
    let x = x.as_chunks::<BLOCK_K>().0;
    let (scales, bias) = (scales.as_chunks::<2>().0, bias.as_chunks::<2>().0);
    for (((block, x), scales), bias) in blocks.iter().zip(x).zip(scales).zip(bias) {
        prefetch(block, 8);
        for group in 0..2 {
            let mut low_sum = _mm512_set1_epi32(bias[group]);
            let mut high_sum = _mm512_setzero_si512();
            for quad in 0..4 {
                prefetch(block, group * 4 + quad);
                let v = load_quad(block, group, quad);
                let low_x = _mm512_set1_epi32(quad_of(x, group * 8 + quad));
                let high_x = _mm512_set1_epi32(quad_of(x, group * 8 + quad + 4));
                low_sum = _mm512_dpbusd_epi32(low_sum, _mm512_and_si512(v, low_mask), low_x);
                high_sum = _mm512_dpbusd_epi32(high_sum, _mm512_andnot_si512(low_mask, v), high_x);
            }
            let sum = _mm512_add_epi32(low_sum, _mm512_srai_epi32::<4>(high_sum));
            let scale = _mm512_mul_ps(load_scales(block, group), _mm512_set1_ps(scales[group]));
            acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, acc);
        }
    }
    store(acc, &mut out[0]);
}

/// `M` tokens over the same unpacked weights.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
fn several<const M: usize>(
    blocks: &[Block],
    x: &[i8],
    scales: &[f32],
    bias: &[i32],
    out: &mut [[f32; TILE_ROWS]; MAX_TOKENS],
) {
    let low_mask = _mm512_set1_epi8(0x0f);
    let mut acc = [_mm512_setzero_ps(); M];
    let (scales, bias) = (scales.as_chunks::<M>().0, bias.as_chunks::<M>().0);
    // Four k of M tokens each.
    let quads = x.as_chunks::<4>().0.as_chunks::<M>().0;
    for (b, block) in blocks.iter().enumerate() {
        prefetch(block, 8);
        for group in 0..2 {
            let at = b * 2 + group;
            let mut sums = [_mm512_setzero_si512(); M];
            for (sum, bias) in sums.iter_mut().zip(&bias[at]) {
                *sum = _mm512_set1_epi32(*bias);
            }
            let group_quads: &[[[i8; 4]; M]; 8] = &quads.as_chunks::<8>().0[at];
            for quad in 0..4 {
                prefetch(block, group * 4 + quad);
                let v = load_quad(block, group, quad);
                let low = _mm512_and_si512(v, low_mask);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(v), low_mask);
                for (sum, x) in sums.iter_mut().zip(&group_quads[quad]) {
                    *sum = _mm512_dpbusd_epi32(*sum, low, _mm512_set1_epi32(as_i32(x)));
                }
                for (sum, x) in sums.iter_mut().zip(&group_quads[quad + 4]) {
                    *sum = _mm512_dpbusd_epi32(*sum, high, _mm512_set1_epi32(as_i32(x)));
                }
            }
            let scale = load_scales(block, group);
            for ((acc, sum), x_scale) in acc.iter_mut().zip(&sums).zip(&scales[at]) {
                let scale = _mm512_mul_ps(scale, _mm512_set1_ps(*x_scale));
                *acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*sum), scale, *acc);
            }
        }
    }
    for (acc, out) in acc.iter().zip(out) {
        store(*acc, out);
    }
}

/// Tiles of a panel.
pub(crate) const PANEL_TILES: usize = 2;

/// See [`super::panel::PanelKernel`]; equals `reference::gemm_int4`.
///
/// # Safety
/// [`is_available`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c,fma,avx2")]
pub(crate) unsafe fn panel(panel: &mut Panel, done: Done) {
    match panel.n_tiles {
        1 => panel_of::<1>(panel, done),
        _ => panel_of::<PANEL_TILES>(panel, done),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
fn panel_of<const T: usize>(panel: &mut Panel, done: Done) {
    let blocks = panel.tiles[0].len();
    let all_groups = blocks * 2;
    let PanelScratch { weights, scales, sums } = &mut *panel.scratch;
    for first in (0..blocks).step_by(PANEL_BLOCKS) {
        let part = first..blocks.min(first + PANEL_BLOCKS);
        for (tile, blocks) in panel.tiles.iter().enumerate().take(T) {
            unpack::<T>(&blocks[part.clone()], tile, weights, scales);
        }
        let groups = part.len() * 2;
        let weights = &weights.as_chunks::<T>().0.as_chunks::<8>().0[..groups];
        let scales = &scales.as_chunks::<T>().0[..groups];
        for (chunk, sums) in sums
            .as_chunks_mut::<T>()
            .0
            .as_chunks_mut::<MAX_TOKENS>()
            .0
            .iter_mut()
            .enumerate()
            .take(panel.chunks)
        {
            let at = chunk * all_groups + first * 2;
            let x = &panel.q.as_chunks::<4>().0.as_chunks::<MAX_TOKENS>().0.as_chunks::<8>().0
                [at..at + groups];
            let x_scales = &panel.x_scales.as_chunks::<MAX_TOKENS>().0[at..at + groups];
            let bias = &panel.bias.as_chunks::<MAX_TOKENS>().0[at..at + groups];
            half_chunk::<T, 0>(weights, scales, x, x_scales, bias, first == 0, sums);
            half_chunk::<T, 4>(weights, scales, x, x_scales, bias, first == 0, sums);
            if part.end == blocks {
                let (token, values) = (chunk * MAX_TOKENS, sums.as_flattened());
                done(Sums {
                    token,
                    tile: 0,
                    tokens: MAX_TOKENS,
                    n_tiles: T,
                    values,
                    strides: [T, 1],
                });
            }
        }
    }
}

/// Nibbles to bytes, `[k/4][T]` lines, and scales to f32, `[group][T]`, for tile `tile` of `T`.
#[target_feature(enable = "avx512f,avx512bw,f16c")]
fn unpack<const T: usize>(
    blocks: &[Block],
    tile: usize,
    weights: &mut [Line],
    scales: &mut [[f32; TILE_ROWS]],
) {
    debug_assert!(blocks.len() * 2 <= PANEL_GROUPS);
    let low_mask = _mm512_set1_epi8(0x0f);
    let weights = weights.as_chunks_mut::<T>().0.as_chunks_mut::<8>().0;
    let scales = scales.as_chunks_mut::<T>().0;
    for (b, block) in blocks.iter().enumerate() {
        for group in 0..2 {
            store(load_scales(block, group), &mut scales[b * 2 + group][tile]);
            let lines = &mut weights[b * 2 + group];
            for quad in 0..4 {
                let v = load_quad(block, group, quad);
                store_line(_mm512_and_si512(v, low_mask), &mut lines[quad][tile]);
                store_line(
                    _mm512_and_si512(_mm512_srli_epi16::<4>(v), low_mask),
                    &mut lines[quad + 4][tile],
                );
            }
        }
    }
}

/// Tokens `FIRST .. FIRST + 4` of a chunk: 4 × T sums and as many accumulators stay in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn half_chunk<const T: usize, const FIRST: usize>(
    weights: &[[[Line; T]; 8]],
    scales: &[[[f32; TILE_ROWS]; T]],
    x: &[[[[i8; 4]; MAX_TOKENS]; 8]],
    x_scales: &[[f32; MAX_TOKENS]],
    bias: &[[i32; MAX_TOKENS]],
    from_zero: bool,
    sums: &mut [[[f32; TILE_ROWS]; T]; MAX_TOKENS],
) {
    let mut acc = [[_mm512_setzero_ps(); T]; 4];
    if !from_zero {
        for t in 0..4 {
            for i in 0..T {
                acc[t][i] = load(&sums[FIRST + t][i]);
            }
        }
    }
    for ((((weights, scales), x), x_scales), bias) in
        weights.iter().zip(scales).zip(x).zip(x_scales).zip(bias)
    {
        let mut dots = [[_mm512_setzero_si512(); T]; 4];
        for t in 0..4 {
            dots[t] = [_mm512_set1_epi32(bias[FIRST + t]); T];
        }
        for quad in 0..8 {
            let mut w = [_mm512_setzero_si512(); T];
            for i in 0..T {
                w[i] = load_line(&weights[quad][i]);
            }
            for t in 0..4 {
                let x = _mm512_set1_epi32(as_i32(&x[quad][FIRST + t]));
                for i in 0..T {
                    dots[t][i] = _mm512_dpbusd_epi32(dots[t][i], w[i], x);
                }
            }
        }
        for i in 0..T {
            let scale = load(&scales[i]);
            for t in 0..4 {
                let scale = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[FIRST + t]));
                acc[t][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][i]), scale, acc[t][i]);
            }
        }
    }
    for t in 0..4 {
        for i in 0..T {
            store(acc[t][i], &mut sums[FIRST + t][i]);
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(place: &[f32; TILE_ROWS]) -> __m512 {
    // SAFETY: 64 readable bytes; the load is unaligned.
    unsafe { _mm512_loadu_ps(place.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_line(line: &Line) -> __m512i {
    // SAFETY: 64 readable bytes, aligned by the type.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store_line(v: __m512i, line: &mut Line) {
    // SAFETY: 64 writable bytes, aligned by the type.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), v) }
}

#[inline(always)]
fn as_i32(quad: &[i8; 4]) -> i32 {
    i32::from_ne_bytes(quad.map(|b| b as u8))
}

#[inline(always)]
fn quad_of(x: &[i8; BLOCK_K], quad: usize) -> i32 {
    as_i32(&x.as_chunks::<4>().0[quad])
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_quad(block: &Block, group: usize, quad: usize) -> __m512i {
    let bytes: &[u8; 64] = &block.nibbles.as_chunks::<64>().0[group * 4 + quad];
    // SAFETY: `bytes` is 64 readable bytes; the load is unaligned.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,f16c")]
#[inline]
fn load_scales(block: &Block, group: usize) -> __m512 {
    let bits: &[u16; 16] = &block.scales.as_chunks::<16>().0[group];
    // SAFETY: `bits` is 32 readable bytes; the load is unaligned.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(v: __m512, out: &mut [f32; TILE_ROWS]) {
    // SAFETY: `out` is 64 writable bytes; the store is unaligned.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), v) }
}

/// See [`super::QuantizeKernel`]; equals `reference::quantize_activations`.
///
/// # Safety
/// [`is_available`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,avx2")]
pub(crate) unsafe fn quantize(x: &[f32], q: &mut [i8], scales: &mut [f32], bias: &mut [i32]) {
    quantize_body(x, q, scales, bias);
}
