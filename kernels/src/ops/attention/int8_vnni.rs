//! One block over INT8 keys and values with AVX-512 VNNI: `vpdpbusd` of 16 positions (keys) or 16
//! elements (values) × 4.
//!
//! Keys and weights are the unsigned operand. What is read next is prefetched in all three passes
//! over a block, the one that reads little included, so that the memory is never idle: see
//! [`Ahead`].

use std::arch::x86_64::*;

use super::int8::{GROUP_QUADS, KeyTile, LEVELS, SMALLEST, as_i32, key_tile, value_page};
use super::{MAX_QUERIES, Task, partial_len};
use crate::kv::{Layout, Line, PAGE, PAGES, TILE};

/// Tiles of a page.
const TILES: usize = PAGE / TILE;

/// See [`super::Kernels::int8`]; equals `reference::attention_int8`.
///
/// # Safety
/// `int4::avx512vnni::is_available`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn block(task: &mut Task) {
    match task.queries.n {
        1 => sized::<1, 4, 4>(task),
        2 => sized::<2, 4, 4>(task),
        3 => sized::<3, 2, 2>(task),
        4 => sized::<4, 2, 2>(task),
        5 => sized::<5, 2, 2>(task),
        6 => sized::<6, 2, 2>(task),
        7 => sized::<7, 2, 2>(task),
        _ => sized::<8, 1, 2>(task),
    }
}

/// `Q` queries; `T` registers of keys or values at once, so that there are enough independent sums.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn sized<const Q: usize, const T: usize, const V: usize>(task: &mut Task) {
    let pages = task.n_positions().div_ceil(PAGE);
    for page in 0..pages {
        scores::<Q, T>(task, page);
    }
    weights::<Q>(task, pages);
    for page in 0..pages {
        values::<Q, V>(task, page);
    }
}

/// Scores of a page.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
fn scores<const Q: usize, const T: usize>(task: &mut Task, page: usize) {
    let (keys, _) = task.head_of_page(page);
    let groups = task.layout.groups();
    let mut ahead = Ahead::in_scores(task, page);
    for first in (0..TILES).step_by(T) {
        let mut tiles: [KeyTile; T] = [(&[], &[]); T];
        for t in 0..T {
            tiles[t] = key_tile(task, keys, first + t);
        }
        let mut acc = [[_mm512_setzero_ps(); Q]; T];
        for g in 0..groups {
            let (scales, bias): (&[f32; Q], &[i32; Q]) =
                (first_of(&task.queries.scales[g]), first_of(&task.queries.bias[g]));
            let mut sums = [[_mm512_setzero_si512(); Q]; T];
            for t in 0..T {
                for i in 0..Q {
                    sums[t][i] = _mm512_set1_epi32(bias[i]);
                }
            }
            let q = &task.queries.quads[g * GROUP_QUADS..];
            let mut k: [&[[u8; 64]]; T] = [&[]; T];
            for t in 0..T {
                k[t] = &tiles[t].1[g * GROUP_QUADS..];
            }
            if q.len() >= GROUP_QUADS {
                dots::<Q, T, GROUP_QUADS>(k, q, &mut sums, &mut ahead);
            } else {
                for quad in 0..q.len() {
                    for k in &mut k {
                        *k = &k[usize::from(quad > 0)..];
                    }
                    dots::<Q, T, 1>(k, &q[quad..], &mut sums, &mut ahead);
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
                store(
                    acc[t][i],
                    &mut task.work.scores[i].as_chunks_mut::<TILE>().0[page * TILES + first + t],
                );
            }
        }
    }
}

/// Adds the products of `N` quads of `T` tiles and `Q` queries.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
fn dots<const Q: usize, const T: usize, const N: usize>(
    keys: [&[[u8; 64]]; T],
    q: &[[[i8; 4]; MAX_QUERIES]],
    sums: &mut [[__m512i; Q]; T],
    ahead: &mut Ahead,
) {
    let q: &[[[i8; 4]; MAX_QUERIES]; N] = first_of(q);
    let mut fixed: [&[[u8; 64]; N]; T] = [&[[0; 64]; N]; T];
    for t in 0..T {
        fixed[t] = first_of(keys[t]);
    }
    for quad in 0..N {
        ahead.prefetch(T);
        for t in 0..T {
            let k = load(&fixed[t][quad]);
            for i in 0..Q {
                sums[t][i] =
                    _mm512_dpbusd_epi32(sums[t][i], k, _mm512_set1_epi32(as_i32(&q[quad][i])));
            }
        }
    }
}

/// Scores to weights and levels: see `int8::quantize_weights`. All queries of a page are taken side
/// by side, so that the latencies of one are spent on the others.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
#[inline]
fn weights<const Q: usize>(task: &mut Task, pages: usize) {
    let len = partial_len(task.layout);
    let mut largest = [_mm512_set1_ps(f32::NEG_INFINITY); MAX_QUERIES];
    for i in 0..Q {
        let tiles = &task.work.scores[i].as_chunks::<TILE>().0.as_chunks::<TILES>().0[..pages];
        let mut of_tile = [largest[i]; TILES];
        for (p, page) in tiles.iter().enumerate() {
            let seen = seen_of_page(task.seen[i], p);
            for t in 0..TILES {
                of_tile[t] =
                    _mm512_mask_max_ps(of_tile[t], seen[t], of_tile[t], load_floats(&page[t]));
            }
        }
        largest[i] = _mm512_max_ps(
            _mm512_max_ps(of_tile[0], of_tile[1]),
            _mm512_max_ps(of_tile[2], of_tile[3]),
        );
    }
    let mut shifts = [0f32; MAX_QUERIES];
    store_8(reduce_max_8(&largest), &mut shifts);
    let mut sums = [_mm512_setzero_ps(); Q];
    for p in 0..pages {
        let (scales, _) = value_page(task.head_of_page(p).1);
        let scales = scales.as_chunks::<TILE>().0.first_chunk::<TILES>().expect("a page of scales");
        let mut tops = [_mm512_setzero_ps(); MAX_QUERIES];
        let mut ahead = Ahead::in_weights(task, p);
        let lines = Ahead::rest(task.layout).div_ceil(Q);
        for i in 0..Q {
            let (seen, shift) = (seen_of_page(task.seen[i], p), _mm512_set1_ps(shifts[i]));
            let page =
                &mut task.work.scores[i].as_chunks_mut::<TILE>().0.as_chunks_mut::<TILES>().0[p];
            let mut weights = [_mm512_setzero_ps(); TILES];
            for t in 0..TILES {
                weights[t] =
                    _mm512_maskz_mov_ps(seen[t], exp2(_mm512_sub_ps(load_floats(&page[t]), shift)));
            }
            let pairs =
                (_mm512_add_ps(weights[0], weights[1]), _mm512_add_ps(weights[2], weights[3]));
            sums[i] = _mm512_add_ps(sums[i], _mm512_add_ps(pairs.0, pairs.1));
            ahead.prefetch(lines);
            for t in 0..TILES {
                weights[t] = _mm512_mul_ps(weights[t], load_floats(&scales[t]));
            }
            if p == 0 {
                task.work.first[i] = _mm512_cvtss_f32(weights[0]);
                // The lane of position 0 is not rounded.
                weights[0] =
                    _mm512_maskz_mov_ps(if task.begins { 0xfffe } else { 0xffff }, weights[0]);
            }
            for t in 0..TILES {
                store(weights[t], &mut page[t]);
            }
            tops[i] = _mm512_max_ps(
                _mm512_max_ps(weights[0], weights[1]),
                _mm512_max_ps(weights[2], weights[3]),
            );
        }
        let top = reduce_max_8(&tops);
        let something = _mm256_cmp_ps::<_CMP_GE_OQ>(top, _mm256_set1_ps(SMALLEST));
        store_8(
            _mm256_and_ps(something, _mm256_mul_ps(top, _mm256_set1_ps(1.0 / LEVELS))),
            &mut task.work.units[p],
        );
        let mut inverses = [0f32; MAX_QUERIES];
        store_8(
            _mm256_and_ps(something, _mm256_div_ps(_mm256_set1_ps(LEVELS), top)),
            &mut inverses,
        );
        for i in 0..Q {
            let inverse = _mm512_set1_ps(inverses[i]);
            let page = &task.work.scores[i].as_chunks::<TILE>().0.as_chunks::<TILES>().0[p];
            let mut levels = [_mm512_setzero_si512(); TILES];
            for t in 0..TILES {
                levels[t] = _mm512_cvtps_epi32(_mm512_mul_ps(load_floats(&page[t]), inverse));
            }
            store_bytes(pack(levels), &mut task.work.levels[i].as_chunks_mut::<PAGE>().0[p]);
        }
    }
    for i in 0..Q {
        let out = &mut task.out[i * len..(i + 1) * len];
        (out[len - 16], out[len - 15]) = (shifts[i], _mm512_reduce_add_ps(sums[i]));
    }
}

/// Which positions of a page's tiles a query sees that sees the first `seen` of the block.
#[inline(always)]
fn seen_of_page(seen: usize, page: usize) -> [__mmask16; TILES] {
    let seen = seen.saturating_sub(page * PAGE).min(PAGE) as u32;
    let mask = u64::MAX.checked_shr(PAGE as u32 - seen).unwrap_or(0);
    [mask as u16, (mask >> 16) as u16, (mask >> 32) as u16, (mask >> 48) as u16]
}

/// The largest element of each of eight registers.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn reduce_max_8(x: &[__m512; 8]) -> __m256 {
    // Lane 0, 1, 2, 3 of each quarter: registers 0–3, 4–7.
    let [low, high] = [0, 4].map(|i| {
        let ab =
            _mm512_max_ps(_mm512_unpacklo_ps(x[i], x[i + 1]), _mm512_unpackhi_ps(x[i], x[i + 1]));
        let cd = _mm512_max_ps(
            _mm512_unpacklo_ps(x[i + 2], x[i + 3]),
            _mm512_unpackhi_ps(x[i + 2], x[i + 3]),
        );
        _mm512_max_ps(_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd))
    });
    // Quarters 0 and 2, 1 and 3 of both; then the two that are left of each.
    let halves = _mm512_max_ps(
        _mm512_shuffle_f32x4::<0x88>(low, high),
        _mm512_shuffle_f32x4::<0xdd>(low, high),
    );
    let both = _mm512_max_ps(halves, _mm512_shuffle_f32x4::<0xb1>(halves, halves));
    _mm512_castps512_ps256(_mm512_shuffle_f32x4::<0x08>(both, both))
}

/// Sixty-four numbers from 0 to 255 as bytes, in their order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn pack(x: [__m512i; TILES]) -> __m512i {
    let words = [_mm512_packus_epi32(x[0], x[1]), _mm512_packus_epi32(x[2], x[3])];
    let bytes = _mm512_packus_epi16(words[0], words[1]);
    // Packing went by quarters.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, bytes)
}

/// Adds a page's weighted values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
fn values<const Q: usize, const T: usize>(task: &mut Task, page: usize) {
    let (_, columns) = value_page(task.head_of_page(page).1);
    let mut ahead = Ahead::in_values(task, page);
    let mut column = 0;
    while column + T <= columns.len() {
        some_columns::<Q, T>(task, page, column, &columns[column..], &mut ahead);
        column += T;
    }
    while column < columns.len() {
        some_columns::<Q, 1>(task, page, column, &columns[column..], &mut ahead);
        column += 1;
    }
}

/// `T` columns of 16 elements, from `column` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
#[inline]
fn some_columns<const Q: usize, const T: usize>(
    task: &mut Task,
    page: usize,
    column: usize,
    columns: &[[[u8; 64]; PAGE / 4]],
    ahead: &mut Ahead,
) {
    let len = partial_len(task.layout);
    let columns: &[[[u8; 64]; PAGE / 4]; T] = first_of(columns);
    let mut levels: [&[[u8; 4]; PAGE / 4]; Q] = [&[[0; 4]; PAGE / 4]; Q];
    for i in 0..Q {
        levels[i] = first_of(task.work.levels[i][page * PAGE..].as_chunks::<4>().0);
    }
    let mut sums = [[_mm512_setzero_si512(); T]; Q];
    for quad in 0..PAGE / 4 {
        if quad < IN_COLUMN {
            ahead.prefetch(T);
        }
        let mut v = [_mm512_setzero_si512(); T];
        for t in 0..T {
            v[t] = load(&columns[t][quad]);
        }
        for i in 0..Q {
            let level = _mm512_set1_epi32(i32::from_ne_bytes(levels[i][quad]));
            for t in 0..T {
                sums[i][t] = _mm512_dpbusd_epi32(sums[i][t], level, v[t]);
            }
        }
    }
    for i in 0..Q {
        let unit = _mm512_set1_ps(task.work.units[page][i]);
        for t in 0..T {
            let out: &mut [f32; 16] =
                task.out[i * len + (column + t) * 16..].first_chunk_mut().expect("a column");
            // The first page overwrites what an earlier call has left.
            let before = if page > 0 {
                load_floats(out)
            } else if task.begins {
                // Position 0 is the first byte of four.
                let v = _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(load(&columns[t][0])));
                _mm512_mul_ps(_mm512_cvtepi32_ps(v), _mm512_set1_ps(task.work.first[i]))
            } else {
                _mm512_setzero_ps()
            };
            store(_mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i][t]), unit, before), out);
        }
    }
}

/// `2^x` for `x ≤ 0` to 8e-5 (a level is 4e-3); at least `2^-96`, so that its product with a scale
/// is not denormal, which takes a core 150 cycles. NaN stays NaN (those of this crate: the low bits
/// of others would count).
#[target_feature(enable = "avx512f,fma")]
#[inline]
fn exp2(x: __m512) -> __m512 {
    // 1.5·2^23: the low bits of the sum are x rounded. Cheaper than `vreduceps` and `vscalefps`.
    let magic = _mm512_set1_ps(12_582_912.0);
    let x = _mm512_max_ps(_mm512_set1_ps(-96.0), x);
    let shifted = _mm512_add_ps(x, magic);
    let r = _mm512_sub_ps(x, _mm512_sub_ps(shifted, magic));
    let p = _mm512_fmadd_ps(_mm512_set1_ps(5.517_165_8e-2), r, _mm512_set1_ps(2.426_111_2e-1));
    let p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.932_61e-1));
    let p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.999_281e-1));
    let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), power))
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

#[target_feature(enable = "avx")]
#[inline]
fn store_8(v: __m256, out: &mut [f32; 8]) {
    // SAFETY: `out` is 32 writable bytes; the store is unaligned.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store_bytes(v: __m512i, out: &mut [u8; 64]) {
    // SAFETY: `out` is 64 writable bytes; the store is unaligned.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), v) }
}

/// Lines from asking for one to reading it, at the start of a block.
const LEAD: usize = 160;
/// Lines that are asked for in a column of the values of a page.
const IN_COLUMN: usize = 10;

/// The lines of a head in the order in which they are read (the keys of all pages of a block that
/// count, their values, the next block), from one that is about to be read on.
///
/// As many are asked for in a block as it has, at a pace that the memory can follow: one at every
/// register of keys, the most at the values that the arithmetic leaves time for, what is left in
/// between. A burst would fill the core's buffers for misses and hold up its loads.
struct Ahead(*const Line);

impl Ahead {
    /// In the pass over the keys: one at every quad of a tile.
    #[inline(always)]
    fn in_scores(task: &Task, page: usize) -> Ahead {
        Ahead::at(task, page * TILES * task.layout.quads())
    }

    /// In the pass over the scores: [`Ahead::rest`] at every page.
    #[inline(always)]
    fn in_weights(task: &Task, page: usize) -> Ahead {
        let pages = task.n_positions().div_ceil(PAGE);
        Ahead::at(task, pages * TILES * task.layout.quads() + page * Ahead::rest(task.layout))
    }

    /// In the pass over the values.
    #[inline(always)]
    fn in_values(task: &Task, page: usize) -> Ahead {
        let (pages, layout) = (task.n_positions().div_ceil(PAGE), task.layout);
        let before = pages * (TILES * layout.quads() + Ahead::rest(layout));
        Ahead::at(task, before + page * IN_COLUMN * layout.columns())
    }

    /// What the other two passes leave of the lines of a page.
    #[inline(always)]
    fn rest(layout: &Layout) -> usize {
        let lines = layout.key_lines() + layout.value_lines();
        lines.saturating_sub(TILES * layout.quads() + IN_COLUMN * layout.columns())
    }

    /// [`LEAD`] lines after line `i` of those that are read.
    #[inline(always)]
    fn at(task: &Task, i: usize) -> Ahead {
        let (i, layout, pages) = (i + LEAD, task.layout, task.n_positions().div_ceil(PAGE));
        let (keys, values) = (pages * layout.key_lines(), pages * layout.value_lines());
        Ahead(if i < keys {
            task.lines[i..].as_ptr()
        } else if i < keys + values {
            task.lines[PAGES * layout.key_lines() + i - keys..].as_ptr()
        } else {
            // Where there is no next block, lines that have been read cost nothing.
            task.next.get(i - keys - values..).map_or(task.lines.as_ptr(), |lines| lines.as_ptr())
        })
    }

    /// The next `n` lines go into the second-level cache.
    #[inline(always)]
    fn prefetch(&mut self, n: usize) {
        for i in 0..n {
            // SAFETY: SSE is always there on x86-64, and a prefetch of any address is allowed.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.0.wrapping_add(i).cast()) };
        }
        self.0 = self.0.wrapping_add(n);
    }
}

const _: () = assert!(MAX_QUERIES == 8 && TILES == 4 && PAGE == 64);
