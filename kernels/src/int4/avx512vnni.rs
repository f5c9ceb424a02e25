//! AVX-512 VNNI: `vpdpbusd` of 16 rows × 4 k at a time.
//!
//! Nibbles are unsigned, activations signed; the accumulator starts at `-8 Σ q`, which makes the weights signed. One f32
//! multiply-add a group joins the two scales.

use std::arch::x86_64::*;

use super::activations::quantize_body;
use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::{MAX_TOKENS, check_tile};

/// Bytes ahead that the single-token kernel prefetches (four blocks; measured best of several).
const PREFETCH: usize = 2304;

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
fn one(blocks: &[Block], x: &[i8], scales: &[f32], bias: &[i32], out: &mut [[f32; TILE_ROWS]; MAX_TOKENS]) {
    let low_mask = _mm512_set1_epi8(0x0f);
    // One accumulator, groups in order: the same bits as `several`.
    let mut acc = _mm512_setzero_ps();
    let x = x.as_chunks::<BLOCK_K>().0;
    let (scales, bias) = (scales.as_chunks::<2>().0, bias.as_chunks::<2>().0);
    for (((block, x), scales), bias) in blocks.iter().zip(x).zip(scales).zip(bias) {
        for line in 0..9 {
            let ahead = std::ptr::from_ref(block).cast::<i8>().wrapping_add(PREFETCH + line * 64);
            _mm_prefetch::<_MM_HINT_T0>(ahead);
        }
        for group in 0..2 {
            let mut low_sum = _mm512_set1_epi32(bias[group]);
            let mut high_sum = _mm512_setzero_si512();
            for quad in 0..4 {
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
fn several<const M: usize>(blocks: &[Block], x: &[i8], scales: &[f32], bias: &[i32], out: &mut [[f32; TILE_ROWS]; MAX_TOKENS]) {
    let low_mask = _mm512_set1_epi8(0x0f);
    let mut acc = [_mm512_setzero_ps(); M];
    let (scales, bias) = (scales.as_chunks::<M>().0, bias.as_chunks::<M>().0);
    // Four k of M tokens each.
    let quads = x.as_chunks::<4>().0.as_chunks::<M>().0;
    for (b, block) in blocks.iter().enumerate() {
        for group in 0..2 {
            let at = b * 2 + group;
            let mut sums = [_mm512_setzero_si512(); M];
            for (sum, bias) in sums.iter_mut().zip(&bias[at]) {
                *sum = _mm512_set1_epi32(*bias);
            }
            let group_quads: &[[[i8; 4]; M]; 8] = &quads.as_chunks::<8>().0[at];
            for quad in 0..4 {
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
