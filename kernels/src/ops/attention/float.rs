//! One block over f32 or f16 keys and values, in plain Rust that vectorises; and the softmax that the portable rows share.

use half::f16;

use super::{BLOCK, MAX_QUERIES, Task, Work, partial_len};
use crate::kv::{KvDtype, Line, PAGE, TILE, floats, halves};
use crate::ops::body::mul_add;

/// f16 bits to f32 in plain Rust.
pub(super) fn widen(from: &[u16], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f16::from_bits(*from).to_f32();
    }
}

/// `2^x` for `x ≤ 0` to about 1 ulp; 0 below −126, NaN stays NaN.
#[inline(always)]
pub(super) fn exp2<const FMA: bool>(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let clamped = if x < -126.0 { -126.0 } else { x };
    let shifted = clamped + MAGIC;
    let r = clamped - (shifted - MAGIC);
    let p = mul_add::<FMA>(1.327_647_013e-3, r, 9.675_540_961e-3);
    let p = mul_add::<FMA>(p, r, 5.550_713_092e-2);
    let p = mul_add::<FMA>(p, r, 2.402_212_024e-1);
    let p = mul_add::<FMA>(p, r, 6.931_469_44e-1);
    let p = mul_add::<FMA>(p, r, 1.0);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let value = p * power;
    if x < -126.0 { 0.0 } else { value }
}

/// Scores of the first `seen` places become weights `2^(score - largest)`, the rest of the `padded` ones 0.
/// Returns the largest score and the sum of the weights.
#[inline(always)]
pub(super) fn weights<const FMA: bool>(scores: &mut [f32; BLOCK], seen: usize, padded: usize) -> (f32, f32) {
    scores[seen..padded].fill(f32::NEG_INFINITY);
    let tiles = scores[..padded].as_chunks_mut::<TILE>().0;
    let mut largest = [f32::NEG_INFINITY; TILE];
    for tile in tiles.iter() {
        for lane in 0..TILE {
            largest[lane] = if tile[lane] > largest[lane] { tile[lane] } else { largest[lane] };
        }
    }
    let largest = largest.iter().fold(f32::NEG_INFINITY, |a, v| if *v > a { *v } else { a });
    let mut sums = [0f32; TILE];
    for tile in tiles.iter_mut() {
        for lane in 0..TILE {
            tile[lane] = exp2::<FMA>(tile[lane] - largest);
            sums[lane] += tile[lane];
        }
    }
    (largest, sum_lanes(&sums))
}

#[inline(always)]
fn sum_lanes(lanes: &[f32; TILE]) -> f32 {
    let mut halved = *lanes;
    let mut width = TILE / 2;
    while width > 0 {
        for i in 0..width {
            halved[i] += halved[i + width];
        }
        width /= 2;
    }
    halved[0]
}

/// Body of [`super::Kernels::float`]; `WIDE`: registers for eight queries at once; `widen`: f16 bits to f32.
#[inline(always)]
pub(super) fn block<const FMA: bool, const WIDE: bool>(task: &mut Task, widen: impl Fn(&[u16], &mut [f32])) {
    let tiles = task.n_positions().div_ceil(TILE);
    for tile in 0..tiles {
        let (keys, _) = task.head_of_page(tile * TILE / PAGE);
        let lines = task.layout.tile_lines();
        let keys = &keys[tile % (PAGE / TILE) * lines..][..lines];
        let Work { scores, tile: buffer, .. } = &mut *task.work;
        let keys = as_floats(task.layout.dtype, keys, buffer, &widen).as_chunks::<TILE>().0;
        let queries = task.queries.floats;
        each_part::<WIDE>(task.queries.n, |first, width| match width {
            8 => dots::<FMA, 8>(keys, queries, scores, tile, first),
            4 => dots::<FMA, 4>(keys, queries, scores, tile, first),
            2 => dots::<FMA, 2>(keys, queries, scores, tile, first),
            _ => dots::<FMA, 1>(keys, queries, scores, tile, first),
        });
    }
    let len = partial_len(task.layout);
    for i in 0..task.queries.n {
        let out = &mut task.out[i * len..(i + 1) * len];
        let (largest, sum) = weights::<FMA>(&mut task.work.scores[i], task.seen[i], tiles * TILE);
        out.fill(0.0);
        (out[len - 16], out[len - 15]) = (largest, sum);
    }
    let row = task.layout.columns() * 16;
    for tile in 0..tiles {
        let (_, values) = task.head_of_page(tile * TILE / PAGE);
        let lines = task.layout.value_lines() / (PAGE / TILE);
        let values = &values[tile % (PAGE / TILE) * lines..][..lines];
        let Work { scores, tile: buffer, .. } = &mut *task.work;
        let values = as_floats(task.layout.dtype, values, buffer, &widen);
        let out = &mut *task.out;
        each_part::<WIDE>(task.queries.n, |first, width| match width {
            8 => weigh::<FMA, 8>(values, row, scores, tile, first, out, len),
            4 => weigh::<FMA, 4>(values, row, scores, tile, first, out, len),
            2 => weigh::<FMA, 2>(values, row, scores, tile, first, out, len),
            _ => weigh::<FMA, 1>(values, row, scores, tile, first, out, len),
        });
    }
}

/// Cuts `n` queries into parts that the registers hold: first query and width.
#[inline(always)]
fn each_part<const WIDE: bool>(n: usize, mut body: impl FnMut(usize, usize)) {
    let mut first = 0;
    while first < n {
        let width = match n - first {
            // Seven queries cost what eight do; the eighth is not read.
            7.. if WIDE => 8,
            3.. => 4,
            left => left,
        };
        body(first, width);
        first += width;
    }
}

#[inline(always)]
fn as_floats<'a>(dtype: KvDtype, lines: &'a [Line], buffer: &'a mut Vec<f32>, widen: &impl Fn(&[u16], &mut [f32])) -> &'a [f32] {
    if dtype == KvDtype::F32 {
        return floats(lines);
    }
    let halves = halves(lines);
    if buffer.len() < halves.len() {
        buffer.resize(halves.len(), 0.0);
    }
    let buffer = &mut buffer[..halves.len()];
    widen(halves, buffer);
    buffer
}

/// Scores of queries `first .. first + Q` in a tile.
#[inline(always)]
fn dots<const FMA: bool, const Q: usize>(
    keys: &[[f32; TILE]],
    queries: &[[f32; MAX_QUERIES]],
    scores: &mut [[f32; BLOCK]; MAX_QUERIES],
    tile: usize,
    first: usize,
) {
    let mut acc = [[0f32; TILE]; Q];
    for (key, q) in keys.iter().zip(queries) {
        let q: &[f32; Q] = q[first..].first_chunk().expect("Q queries");
        for i in 0..Q {
            for lane in 0..TILE {
                acc[i][lane] = mul_add::<FMA>(q[i], key[lane], acc[i][lane]);
            }
        }
    }
    for i in 0..Q {
        scores[first + i].as_chunks_mut::<TILE>().0[tile] = acc[i];
    }
}

/// Adds a tile's weighted values to the results of queries `first .. first + Q`.
#[inline(always)]
fn weigh<const FMA: bool, const Q: usize>(
    values: &[f32],
    row: usize,
    scores: &[[f32; BLOCK]; MAX_QUERIES],
    tile: usize,
    first: usize,
    out: &mut [f32],
    len: usize,
) {
    let weights: [&[f32; TILE]; Q] = std::array::from_fn(|i| &scores[first + i].as_chunks::<TILE>().0[tile]);
    for column in (0..row).step_by(16) {
        // Beyond the last query: a result that nobody reads.
        let mut acc: [[f32; 16]; Q] =
            std::array::from_fn(|i| out.get((first + i) * len + column..).and_then(|o| o.first_chunk().copied()).unwrap_or([0.0; 16]));
        for t in 0..TILE {
            let v: &[f32; 16] = values[t * row + column..].first_chunk().expect("a row of values");
            for i in 0..Q {
                for lane in 0..16 {
                    acc[i][lane] = mul_add::<FMA>(weights[i][t], v[lane], acc[i][lane]);
                }
            }
        }
        for i in 0..Q {
            if let Some(out) = out.get_mut((first + i) * len + column..) {
                if let Some(out) = out.first_chunk_mut() {
                    *out = acc[i];
                }
            }
        }
    }
}
