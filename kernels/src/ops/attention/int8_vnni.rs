//! One block over INT8 keys and values with AVX-512 VNNI: `vpdpbusd` of 16 positions (keys) or 16 elements (values) × 4.
//!
//! Keys and weights are the unsigned operand. With few queries, lines that are needed half a block later are prefetched.

use std::arch::x86_64::*;

use super::int8::{GROUP_QUADS, LEVELS, SMALLEST, key_tile, value_page};
use super::{BLOCK, MAX_QUERIES, Task, partial_len};
use crate::kv::{Line, PAGE, TILE};

/// Tiles of a page.
const TILES: usize = PAGE / TILE;

/// See [`super::Kernels::int8`]; equals `reference::attention_int8`.
///
/// # Safety
/// `int4::avx512vnni::is_available`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn block(task: &mut Task) {
    match task.queries.n {
        1 => sized::<1, 4>(task),
        2 => sized::<2, 4>(task),
        3 => sized::<3, 4>(task),
        4 => sized::<4, 2>(task),
        5 => sized::<5, 2>(task),
        6 => sized::<6, 2>(task),
        7 => sized::<7, 2>(task),
        _ => sized::<8, 2>(task),
    }
}

/// `Q` queries; `T` registers of keys or values at once, so that there are enough independent sums.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn sized<const Q: usize, const T: usize>(task: &mut Task) {
    let pages = task.n_positions().div_ceil(PAGE);
    for page in 0..pages {
        scores::<Q, T>(task, page);
    }
    weights::<Q>(task, pages);
    for page in 0..pages {
        values::<Q, T>(task, page);
    }
}

/// Scores of a page.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
fn scores<const Q: usize, const T: usize>(task: &mut Task, page: usize) {
    let (keys, values) = task.head_of_page(page);
    let mut ahead = values.iter();
    let groups = task.layout.groups();
    for first in (0..TILES).step_by(T) {
        let tiles: [_; T] = std::array::from_fn(|t| key_tile(task, keys, first + t));
        let mut acc = [[_mm512_setzero_ps(); Q]; T];
        for g in 0..groups {
            let (scales, bias): (&[f32; Q], &[i32; Q]) = (first_of(&task.queries.scales[g]), first_of(&task.queries.bias[g]));
            let mut sums = [[_mm512_setzero_si512(); Q]; T];
            for sums in &mut sums {
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum = _mm512_set1_epi32(*bias);
                }
            }
            let quads = g * GROUP_QUADS..((g + 1) * GROUP_QUADS).min(task.layout.quads());
            let q = &task.queries.quads[quads.clone()];
            let k: [&[[u8; 64]]; T] = std::array::from_fn(|t| &tiles[t].1[quads.clone()]);
            for (quad, q) in q.iter().enumerate() {
                let q: &[[i8; 4]; Q] = first_of(q);
                for t in 0..T {
                    let k = load(&k[t][quad]);
                    prefetch(ahead.next());
                    for (sum, q) in sums[t].iter_mut().zip(q) {
                        *sum = _mm512_dpbusd_epi32(*sum, k, _mm512_set1_epi32(i32::from_ne_bytes(q.map(|b| b as u8))));
                    }
                }
            }
            for t in 0..T {
                let k_scales = load_floats(&tiles[t].0[g]);
                for i in 0..Q {
                    let scale = _mm512_mul_ps(k_scales, _mm512_set1_ps(scales[i]));
                    acc[t][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[t][i]), scale, acc[t][i]);
                }
            }
        }
        for t in 0..T {
            for i in 0..Q {
                store(acc[t][i], &mut task.work.scores[i].as_chunks_mut::<TILE>().0[page * TILES + first + t]);
            }
        }
    }
    ahead.for_each(|line| prefetch(Some(line)));
}

/// Scores to weights and levels: see `int8::quantize_weights`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
#[inline]
fn weights<const Q: usize>(task: &mut Task, pages: usize) {
    let len = partial_len(task.layout);
    let minus_infinity = _mm512_set1_ps(f32::NEG_INFINITY);
    let scales: [Option<&[f32; PAGE]>; BLOCK / PAGE] =
        std::array::from_fn(|page| (page < pages).then(|| value_page(task.head_of_page(page).1).0));
    for i in 0..Q {
        let seen = task.seen[i];
        let scores = &mut task.work.scores[i];
        scores[seen..pages * PAGE].fill(f32::NEG_INFINITY);
        let tiles = scores[..pages * PAGE].as_chunks_mut::<TILE>().0.as_chunks_mut::<TILES>().0;
        let mut largest = [minus_infinity; TILES];
        for page in tiles.iter() {
            for t in 0..TILES {
                largest[t] = _mm512_max_ps(largest[t], load_floats(&page[t]));
            }
        }
        let largest = _mm512_max_ps(_mm512_max_ps(largest[0], largest[1]), _mm512_max_ps(largest[2], largest[3]));
        let largest = _mm512_reduce_max_ps(largest);
        let shift = _mm512_set1_ps(largest);
        let mut sum = _mm512_setzero_ps();
        let levels = task.work.levels[i].as_chunks_mut::<TILE>().0.as_chunks_mut::<TILES>().0;
        for (p, page) in tiles.iter().enumerate() {
            let scales = scales[p].expect("a page of the block").as_chunks::<TILE>().0;
            let mut scaled = [_mm512_setzero_ps(); TILES];
            for t in 0..TILES {
                let weight = exp2(_mm512_sub_ps(load_floats(&page[t]), shift));
                sum = _mm512_add_ps(sum, weight);
                scaled[t] = _mm512_mul_ps(weight, load_floats(&scales[t]));
            }
            let top = _mm512_max_ps(_mm512_max_ps(scaled[0], scaled[1]), _mm512_max_ps(scaled[2], scaled[3]));
            let top = _mm512_reduce_max_ps(top);
            let (unit, inverse) = if top < SMALLEST { (0.0, 0.0) } else { (top / LEVELS, LEVELS / top) };
            task.work.units[i][p] = unit;
            let inverse = _mm512_set1_ps(inverse);
            for t in 0..TILES {
                let level = _mm512_cvtps_epi32(_mm512_mul_ps(scaled[t], inverse));
                store_bytes(_mm512_cvtepi32_epi8(level), &mut levels[p][t]);
            }
        }
        let out = &mut task.out[i * len..(i + 1) * len];
        (out[len - 16], out[len - 15]) = (largest, _mm512_reduce_add_ps(sum));
    }
}

/// Adds a page's weighted values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
fn values<const Q: usize, const T: usize>(task: &mut Task, page: usize) {
    let (_, values) = task.head_of_page(page);
    // The keys of the same page of the next block.
    let layout = task.layout;
    let next = (page + BLOCK / PAGE) * layout.page_lines() + task.kv_head * layout.head_lines();
    let mut ahead = task.pages.get(next..next + layout.key_lines()).unwrap_or(&[]).iter();
    let (_, columns) = value_page(values);
    let mut column = 0;
    while column + T <= columns.len() {
        some_columns::<Q, T>(task, page, column, &columns[column..], &mut ahead);
        column += T;
    }
    while column < columns.len() {
        some_columns::<Q, 1>(task, page, column, &columns[column..], &mut ahead);
        column += 1;
    }
    ahead.for_each(|line| prefetch(Some(line)));
}

/// `T` columns of 16 elements, from `column` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
fn some_columns<'a, const Q: usize, const T: usize>(
    task: &mut Task,
    page: usize,
    column: usize,
    columns: &[[[u8; 64]; PAGE / 4]],
    ahead: &mut impl Iterator<Item = &'a Line>,
) {
    let len = partial_len(task.layout);
    let columns: &[[[u8; 64]; PAGE / 4]; T] = first_of(columns);
    let levels: [&[[u8; 4]; PAGE / 4]; Q] = std::array::from_fn(|i| first_of(task.work.levels[i][page * PAGE..].as_chunks::<4>().0));
    let mut sums = [[_mm512_setzero_si512(); T]; Q];
    for quad in 0..PAGE / 4 {
        let mut v = [_mm512_setzero_si512(); T];
        for t in 0..T {
            v[t] = load(&columns[t][quad]);
            prefetch(ahead.next());
        }
        for i in 0..Q {
            let level = _mm512_set1_epi32(i32::from_ne_bytes(levels[i][quad]));
            for t in 0..T {
                sums[i][t] = _mm512_dpbusd_epi32(sums[i][t], level, v[t]);
            }
        }
    }
    for i in 0..Q {
        let unit = _mm512_set1_ps(task.work.units[i][page]);
        for t in 0..T {
            let out: &mut [f32; 16] = task.out[i * len + (column + t) * 16..].first_chunk_mut().expect("a column");
            // The first page overwrites what an earlier call has left.
            let before = if page == 0 { _mm512_setzero_ps() } else { load_floats(out) };
            store(_mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i][t]), unit, before), out);
        }
    }
}

/// f16 bits to f32.
#[target_feature(enable = "avx512f,f16c")]
#[inline]
pub(super) fn widen(from: &[u16], to: &mut [f32]) {
    let (from, from_rest) = from.as_chunks::<16>();
    let (to, to_rest) = to.as_chunks_mut::<16>();
    assert!(from.len() == to.len() && from_rest.is_empty() && to_rest.is_empty(), "whole half lines");
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: `from` is 32 readable bytes; the load is unaligned.
        store(_mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }), to);
    }
}

/// `2^x` for `x ≤ 0` to 3e-6; 0 far below zero, NaN stays NaN.
#[target_feature(enable = "avx512f,avx512dq,fma")]
#[inline]
fn exp2(x: __m512) -> __m512 {
    // x - floor(x), exceptions suppressed.
    let r = _mm512_reduce_ps::<9>(x);
    let p = _mm512_fmadd_ps(_mm512_set1_ps(1.353_416_6e-2), r, _mm512_set1_ps(5.201_146_4e-2));
    let p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.414_427_5e-1));
    let p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.930_038e-1));
    let p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.000_002_6));
    _mm512_scalef_ps(p, x)
}

#[inline(always)]
fn first_of<T, const N: usize>(slice: &[T]) -> &[T; N] {
    slice.first_chunk().expect("as many as the caller has")
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: `bytes` is 64 readable bytes; the load is unaligned.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_floats(floats: &[f32; 16]) -> __m512 {
    // SAFETY: `floats` is 64 readable bytes; the load is unaligned.
    unsafe { _mm512_loadu_ps(floats.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(v: __m512, out: &mut [f32; 16]) {
    // SAFETY: `out` is 64 writable bytes; the store is unaligned.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), v) }
}

#[target_feature(enable = "sse2")]
#[inline]
fn store_bytes(v: __m128i, out: &mut [u8; 16]) {
    // SAFETY: `out` is 16 writable bytes; the store is unaligned.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), v) }
}

#[target_feature(enable = "sse")]
#[inline]
fn prefetch(line: Option<&Line>) {
    if let Some(line) = line {
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast());
    }
}

const _: () = assert!(MAX_QUERIES == 8 && TILES == 4);
