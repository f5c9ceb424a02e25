//! One block over INT8 keys and values: what the rows share, and the portable row.
//!
//! Scores are integer products of quantised queries and keys, one f32 multiply-add a group of 32
//! elements. Weights times the scales of the values are rounded to u8, in units of 1/255 of the
//! largest of their page and query, so that values are summed in integers too; but position 0 is
//! weighed in f32: `reference::attention_int8`.

use super::float::weights;
use super::{MAX_QUERIES, Task, partial_len};
use crate::kv::{BLOCK, Line, PAGE, TILE, bytes, floats};
use crate::reference::GROUP;

/// Quads of a group.
pub(super) const GROUP_QUADS: usize = GROUP / 4;
/// Largest level of a weight.
pub(super) const LEVELS: f32 = 255.0;
/// Weights below this are nothing.
pub(super) const SMALLEST: f32 = 1e-30;

/// Scales `[groups][16]` and elements `[quads][16][4]` of 16 keys.
pub(super) type KeyTile<'a> = (&'a [[f32; TILE]], &'a [[u8; 64]]);

/// Tile `tile` of a page's keys.
#[inline(always)]
pub(super) fn key_tile<'a>(task: &Task, keys: &'a [Line], tile: usize) -> KeyTile<'a> {
    let lines = task.layout.tile_lines();
    let (scales, quads) = keys[tile * lines..][..lines].split_at(task.layout.groups());
    (floats(scales).as_chunks().0, bytes(quads).as_chunks().0)
}

/// Scales `[64]` and elements `[columns][16 quads of positions][16][4]` of a page's values.
#[inline(always)]
pub(super) fn value_page(values: &[Line]) -> (&[f32; PAGE], &[[[u8; 64]; PAGE / 4]]) {
    let (scales, levels) = values.split_at(PAGE / 16);
    (
        floats(scales).first_chunk().expect("a page of scales"),
        bytes(levels).as_chunks().0.as_chunks().0,
    )
}

/// Four elements as an instruction takes them.
#[inline(always)]
pub(super) fn as_i32(quad: &[i8; 4]) -> i32 {
    i32::from_ne_bytes(quad.map(|b| b as u8))
}

/// Scores of a block to weights and their levels; writes the largest score and the sum behind the
/// values of `out`, which become those of position 0, or 0.
#[inline(always)]
pub(super) fn quantize_weights<const FMA: bool>(task: &mut Task, pages: usize) {
    let len = partial_len(task.layout);
    for i in 0..task.queries.n {
        let out = &mut task.out[i * len..(i + 1) * len];
        let scores = &mut task.work.scores[i];
        let (largest, sum) = weights::<FMA>(scores, task.seen[i], pages * PAGE);
        out.fill(0.0);
        (out[len - 16], out[len - 15]) = (largest, sum);
    }
    for page in 0..pages {
        let (scales, columns) = value_page(task.head_of_page(page).1);
        for i in 0..task.queries.n {
            let mut scaled: [f32; PAGE] = task.work.scores[i].as_chunks().0[page];
            if page == 0 && task.begins {
                let weight = scaled[0] * scales[0];
                scaled[0] = 0.0;
                for (out, column) in
                    task.out[i * len..].as_chunks_mut::<16>().0.iter_mut().zip(columns)
                {
                    for (out, v) in out.iter_mut().zip(column[0].as_chunks::<4>().0) {
                        *out = weight * f32::from(v[0] as i8);
                    }
                }
            }
            let mut largest = [0f32; TILE];
            for (tile, scales) in
                scaled.as_chunks_mut::<TILE>().0.iter_mut().zip(scales.as_chunks::<TILE>().0)
            {
                for lane in 0..TILE {
                    tile[lane] *= scales[lane];
                    largest[lane] =
                        if tile[lane] > largest[lane] { tile[lane] } else { largest[lane] };
                }
            }
            let largest = largest.iter().fold(0f32, |a, v| if *v > a { *v } else { a });
            let (unit, inverse) =
                if largest < SMALLEST { (0.0, 0.0) } else { (largest / LEVELS, LEVELS / largest) };
            task.work.units[page][i] = unit;
            for (level, scaled) in
                task.work.levels[i].as_chunks_mut::<PAGE>().0[page].iter_mut().zip(&scaled)
            {
                // The low bits of `x + 1.5·2^23` are x rounded half to even; the largest is 255 to
                // within f32's precision. NaN becomes some level: the sum of the weights is NaN
                // then.
                *level = (scaled * inverse + 12_582_912.0).to_bits() as u8;
            }
        }
    }
}

/// [`super::Kernels::int8`] in plain Rust.
pub(super) fn block(task: &mut Task) {
    let pages = task.n_positions().div_ceil(PAGE);
    let len = partial_len(task.layout);
    for page in 0..pages {
        let (keys, _) = task.head_of_page(page);
        for tile in 0..PAGE / TILE {
            let (scales, quads) = key_tile(task, keys, tile);
            for i in 0..task.queries.n {
                let scores = dots(task, scales, quads, i);
                task.work.scores[i].as_chunks_mut::<TILE>().0[page * (PAGE / TILE) + tile] = scores;
            }
        }
    }
    quantize_weights::<false>(task, pages);
    for page in 0..pages {
        let (_, columns) = value_page(task.head_of_page(page).1);
        for i in 0..task.queries.n {
            let levels = &task.work.levels[i].as_chunks::<PAGE>().0[page];
            let unit = task.work.units[page][i];
            let out = task.out[i * len..(i + 1) * len].as_chunks_mut::<16>().0;
            for (out, column) in out.iter_mut().zip(columns) {
                let mut sums = [0i32; 16];
                for (v, levels) in column.iter().zip(levels.as_chunks::<4>().0) {
                    for (sum, v) in sums.iter_mut().zip(v.as_chunks::<4>().0) {
                        for p in 0..4 {
                            *sum += i32::from(levels[p]) * i32::from(v[p] as i8);
                        }
                    }
                }
                for (out, sum) in out.iter_mut().zip(&sums) {
                    *out += *sum as f32 * unit;
                }
            }
        }
    }
}

fn dots(task: &Task, scales: &[[f32; TILE]], quads: &[[u8; 64]], i: usize) -> [f32; TILE] {
    let mut scores = [0f32; TILE];
    for (g, (scales, quads)) in scales.iter().zip(quads.chunks(GROUP_QUADS)).enumerate() {
        let mut sums = [task.queries.bias[g][i]; TILE];
        for (quad, q) in quads.iter().zip(&task.queries.quads[g * GROUP_QUADS..]) {
            for (sum, k) in sums.iter_mut().zip(quad.as_chunks::<4>().0) {
                for c in 0..4 {
                    *sum += i32::from(k[c]) * i32::from(q[i][c]);
                }
            }
        }
        for lane in 0..TILE {
            scores[lane] += sums[lane] as f32 * (scales[lane] * task.queries.scales[g][i]);
        }
    }
    scores
}

const _: () = assert!(BLOCK.is_multiple_of(PAGE) && PAGE.is_multiple_of(TILE) && MAX_QUERIES == 8);
