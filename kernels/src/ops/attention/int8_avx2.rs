//! One block over INT8 keys and values with AVX2: bytes widened to 16 bits, `madd` into 32: no
//! product can saturate.

use std::arch::x86_64::*;

use super::int8::{GROUP_QUADS, as_i32, key_tile, quantize_weights, value_page};
use super::{Task, partial_len};
use crate::kv::{PAGE, TILE};

/// Tiles of a page.
const TILES: usize = PAGE / TILE;

/// See [`super::Kernels::int8`]; equals `reference::attention_int8`.
///
/// # Safety
/// `int4::avx2::is_available`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn block(task: &mut Task) {
    let (n, pages) = (task.queries.n, task.n_positions().div_ceil(PAGE));
    for page in 0..pages {
        for first in (0..n).step_by(2) {
            if first + 1 < n {
                scores::<2>(task, page, first)
            } else {
                scores::<1>(task, page, first)
            }
        }
    }
    quantize_weights::<true>(task, pages);
    for page in 0..pages {
        for first in (0..n).step_by(2) {
            if first + 1 < n {
                values::<2>(task, page, first)
            } else {
                values::<1>(task, page, first)
            }
        }
    }
}

/// Scores of queries `first .. first + Q` in a page.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn scores<const Q: usize>(task: &mut Task, page: usize, first: usize) {
    let (keys, _) = task.head_of_page(page);
    for tile in 0..TILES {
        let (k_scales, quads) = key_tile(task, keys, tile);
        let mut acc = [[_mm256_setzero_ps(); 2]; Q];
        for (g, (k_scales, quads)) in k_scales.iter().zip(quads.chunks(GROUP_QUADS)).enumerate() {
            // Four positions a register, two sums a position.
            let mut sums = [[_mm256_setzero_si256(); 4]; Q];
            for (quad, q) in quads.iter().zip(&task.queries.quads[g * GROUP_QUADS..]) {
                let q: [__m256i; Q] = {
                    let mut all = [_mm256_setzero_si256(); Q];
                    for i in 0..Q {
                        let bytes = _mm_cvtsi32_si128(as_i32(&q[first + i]));
                        all[i] = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(bytes));
                    }
                    all
                };
                for (part, k) in quad.as_chunks::<16>().0.iter().enumerate() {
                    let k = _mm256_cvtepu8_epi16(load(k));
                    for i in 0..Q {
                        sums[i][part] = _mm256_add_epi32(sums[i][part], _mm256_madd_epi16(k, q[i]));
                    }
                }
            }
            for i in 0..Q {
                let bias = _mm256_set1_epi32(task.queries.bias[g][first + i]);
                let q_scale = _mm256_set1_ps(task.queries.scales[g][first + i]);
                for half in 0..2 {
                    let dots =
                        _mm256_add_epi32(join(sums[i][half * 2], sums[i][half * 2 + 1]), bias);
                    let scale =
                        _mm256_mul_ps(load_floats(&k_scales.as_chunks::<8>().0[half]), q_scale);
                    acc[i][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, acc[i][half]);
                }
            }
        }
        for i in 0..Q {
            let scores =
                &mut task.work.scores[first + i].as_chunks_mut::<TILE>().0[page * TILES + tile];
            for half in 0..2 {
                store(acc[i][half], &mut scores.as_chunks_mut::<8>().0[half]);
            }
        }
    }
}

/// Adds a page's weighted values to the results of queries `first .. first + Q`.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn values<const Q: usize>(task: &mut Task, page: usize, first: usize) {
    let len = partial_len(task.layout);
    let (_, columns) = value_page(task.head_of_page(page).1);
    for (c, column) in columns.iter().enumerate() {
        // Four elements a register, two sums an element.
        let mut sums = [[_mm256_setzero_si256(); 4]; Q];
        for (quad, v) in column.iter().enumerate() {
            let mut levels = [_mm256_setzero_si256(); Q];
            for i in 0..Q {
                let bytes =
                    task.work.levels[first + i].as_chunks::<4>().0[page * (PAGE / 4) + quad];
                levels[i] = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(
                    i32::from_ne_bytes(bytes),
                )));
            }
            for (part, v) in v.as_chunks::<16>().0.iter().enumerate() {
                let v = _mm256_cvtepi8_epi16(load(v));
                for i in 0..Q {
                    sums[i][part] =
                        _mm256_add_epi32(sums[i][part], _mm256_madd_epi16(v, levels[i]));
                }
            }
        }
        for i in 0..Q {
            let unit = _mm256_set1_ps(task.work.units[page][first + i]);
            let out = &mut task.out[(first + i) * len + c * 16..][..16];
            for (half, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let sum = _mm256_cvtepi32_ps(join(sums[i][half * 2], sums[i][half * 2 + 1]));
                store(_mm256_fmadd_ps(sum, unit, load_floats(out)), out);
            }
        }
    }
}

/// Adds neighbours: eight sums from two registers of four pairs each, in order.
#[target_feature(enable = "avx2")]
#[inline]
fn join(a: __m256i, b: __m256i) -> __m256i {
    // Within 128-bit lanes: a0 a1 b0 b1 | a2 a3 b2 b3.
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(a, b))
}

#[target_feature(enable = "sse2")]
#[inline]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: `bytes` is 16 readable bytes; the load is unaligned.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx")]
#[inline]
fn load_floats(floats: &[f32; 8]) -> __m256 {
    // SAFETY: `floats` is 32 readable bytes; the load is unaligned.
    unsafe { _mm256_loadu_ps(floats.as_ptr()) }
}

#[target_feature(enable = "avx")]
#[inline]
fn store(v: __m256, out: &mut [f32; 8]) {
    // SAFETY: `out` is 32 writable bytes; the store is unaligned.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) }
}
