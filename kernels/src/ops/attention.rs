//! Causal attention of new tokens over a KV cache (grouped queries).
//!
//! Keys lie in tiles of 16 positions, dimension-major inside a tile, so that 16 scores are computed side by side without a
//! horizontal sum; values lie position by position. Queries are taken in batches over the same keys and values. Every score
//! and every output is one chain of multiply-adds in a fixed order, so a token's result has the same bits in any batch.

use super::body::{mul_add, softmax};
use crate::isa;
use crate::threads::{self, SharedOut};

/// Positions of a key tile.
const TILE: usize = 16;
/// Queries of a batch at most.
const MAX_BATCH: usize = 8;

/// Shapes of one attention call.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Tokens in the cache before the new ones.
    pub past: usize,
    /// Elements from one token's queries to the next in `q` (≥ heads · head_dim).
    pub q_stride: usize,
}

/// Elements of the key buffer of one layer for `tokens` positions: `[⌈tokens/16⌉][kv_heads][head_dim][16]`.
pub fn key_elements(tokens: usize, kv_heads: usize, head_dim: usize) -> usize {
    tokens.next_multiple_of(TILE) * kv_heads * head_dim
}

/// Puts the keys `row` `[kv_heads·head_dim]` of one position into the key buffer. Panics: the buffer is too short.
pub fn store_key(keys: &mut [f32], head_dim: usize, position: usize, row: &[f32]) {
    let tile_len = row.len() * TILE;
    let tile = &mut keys[position / TILE * tile_len..][..tile_len];
    debug_assert!(row.len().is_multiple_of(head_dim));
    for (place, value) in tile[position % TILE..].iter_mut().step_by(TILE).zip(row) {
        *place = *value;
    }
}

/// `out[m, heads·d]`: token `i` sits at position `past + i` and sees keys `0 ..= past + i`, scaled by `1/√d`.
///
/// Shapes: `q` `m` rows of `q_stride` (the first heads·d count); `keys` as [`key_elements`] says and `values`
/// `[≥ past+m, kv_heads·d]`, both with the new tokens already in place. Panics: lengths.
/// A token's output has the same bits whatever other tokens are computed with it. Equals `reference::attention` head by head.
pub fn attention(shape: &Attention, q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) {
    let Attention { heads, kv_heads, head_dim: d, past, q_stride } = *shape;
    let (width, kv_width) = (heads * d, kv_heads * d);
    assert!(width > 0 && kv_heads > 0 && heads.is_multiple_of(kv_heads) && q_stride >= width, "shape {shape:?}");
    assert!(out.len().is_multiple_of(width), "out is not [m,{width}]");
    let m = out.len() / width;
    if m == 0 {
        return;
    }
    assert!(q.len() >= (m - 1) * q_stride + width, "queries of {m} tokens");
    let total = past + m;
    assert!(keys.len() >= key_elements(total, kv_heads, d), "keys of {total} tokens");
    assert!(values.len() >= total * kv_width, "values of {total} tokens");
    let group = heads / kv_heads;
    let shared = SharedOut::new(out);
    let row = isa::active();
    let batches = (m * group).div_ceil(MAX_BATCH);
    let work_us = (m * total * width) as u64 / 15_000;
    threads::split(batches * kv_heads, work_us, |range| {
        let mut scores = Vec::new();
        let mut batch_out = vec![0f32; MAX_BATCH * d];
        for item in range {
            // Later batches see more keys; in one range all heads of a batch follow each other.
            let (kv_head, first) = (item % kv_heads, item / kv_heads * MAX_BATCH);
            let n = MAX_BATCH.min(m * group - first);
            // Query `i` of the batch: token and head.
            let place = |i: usize| ((first + i) / group, kv_head * group + (first + i) % group);
            let mut queries: [&[f32]; MAX_BATCH] = [&[]; MAX_BATCH];
            let mut seen = [0; MAX_BATCH];
            for i in 0..n {
                let (token, head) = place(i);
                queries[i] = &q[token * q_stride + head * d..][..d];
                seen[i] = past + token + 1;
            }
            let mut batch = Batch {
                queries: &queries[..n],
                seen: &seen[..n],
                kv_head,
                kv_width,
                keys,
                values,
                scale: 1.0 / (d as f32).sqrt(),
                scores: &mut scores,
                out: &mut batch_out[..n * d],
            };
            // SAFETY: the active row's instruction set was checked when it was chosen.
            unsafe { (row.ops.attend)(&mut batch) };
            for (i, values) in batch_out[..n * d].chunks_exact(d).enumerate() {
                let (token, head) = place(i);
                // SAFETY: `out` outlives the split; one head of one token belongs to one item.
                unsafe { shared.part(token * width + head * d, d) }.copy_from_slice(values);
            }
        }
    });
}

/// The kernel of one instruction set.
pub(crate) type Kernel = unsafe fn(&mut Batch);

/// Up to eight queries over the keys and values of one head.
pub(crate) struct Batch<'a> {
    queries: &'a [&'a [f32]],
    /// Keys that each query sees, ascending.
    seen: &'a [usize],
    kv_head: usize,
    kv_width: usize,
    keys: &'a [f32],
    values: &'a [f32],
    scale: f32,
    scores: &'a mut Vec<f32>,
    /// `[queries, d]`
    out: &'a mut [f32],
}

/// Body of every [`Kernel`]; `WIDE`: enough registers for eight queries at once.
#[inline(always)]
pub(super) fn attend<const FMA: bool, const WIDE: bool>(batch: &mut Batch) {
    let n = batch.queries.len();
    let mut first = 0;
    while first < n {
        let left = n - first;
        first += if WIDE && left >= 8 {
            part::<FMA, 8>(batch, first)
        } else if left >= 4 {
            part::<FMA, 4>(batch, first)
        } else if left >= 2 {
            part::<FMA, 2>(batch, first)
        } else {
            part::<FMA, 1>(batch, first)
        };
    }
}

/// Queries `first .. first + Q`.
#[inline(always)]
fn part<const FMA: bool, const Q: usize>(batch: &mut Batch, first: usize) -> usize {
    let d = batch.queries[first].len();
    let seen: &[usize; Q] = batch.seen[first..].first_chunk().expect("Q queries");
    let n_keys = seen[Q - 1];
    let padded = n_keys.next_multiple_of(TILE);
    batch.scores.resize(padded * Q, 0.0);
    let scores = &mut batch.scores[..padded * Q];

    let queries: [&[f32]; Q] = std::array::from_fn(|i| &batch.queries[first + i][..d]);
    let tile_len = batch.kv_width * TILE;
    for t in 0..padded / TILE {
        let tile = batch.keys[t * tile_len + batch.kv_head * d * TILE..][..d * TILE].as_chunks::<TILE>().0;
        let mut acc = [[0f32; TILE]; Q];
        for (c, key) in tile.iter().enumerate() {
            for i in 0..Q {
                let q = queries[i][c];
                for lane in 0..TILE {
                    acc[i][lane] = mul_add::<FMA>(q, key[lane], acc[i][lane]);
                }
            }
        }
        for i in 0..Q {
            let place: &mut [f32; TILE] = scores[i * padded + t * TILE..].first_chunk_mut().expect("a tile of scores");
            for lane in 0..TILE {
                place[lane] = acc[i][lane] * batch.scale;
            }
        }
    }
    for (scores, seen) in scores.chunks_exact_mut(padded).zip(seen) {
        let (seen, unseen) = scores.split_at_mut(*seen);
        softmax::<FMA>(seen);
        unseen.fill(0.0);
    }

    let scores: [&[f32]; Q] = std::array::from_fn(|i| &batch.scores[i * padded..][..n_keys]);
    let out = &mut batch.out[first * d..(first + Q) * d];
    let values = Values { all: batch.values, stride: batch.kv_width, head: batch.kv_head * d, n_keys };
    let mut column = 0;
    // 16 lanes: with 32 the compiler gives up and keeps the sums in memory, lane by lane.
    while column + 16 <= d {
        weigh::<FMA, Q, 16>(&scores, &values, column, d, out);
        column += 16;
    }
    while column + 8 <= d {
        weigh::<FMA, Q, 8>(&scores, &values, column, d, out);
        column += 8;
    }
    while column < d {
        weigh::<FMA, Q, 1>(&scores, &values, column, d, out);
        column += 1;
    }
    Q
}

struct Values<'a> {
    all: &'a [f32],
    stride: usize,
    /// Where the head begins in a row.
    head: usize,
    n_keys: usize,
}

/// `out[i][column .. column + L] = Σ scores[i][t] · values[t]`
#[inline(always)]
fn weigh<const FMA: bool, const Q: usize, const L: usize>(scores: &[&[f32]; Q], values: &Values, column: usize, d: usize, out: &mut [f32]) {
    let mut acc = [[0f32; L]; Q];
    for t in 0..values.n_keys {
        let v: &[f32; L] = values.all[t * values.stride + values.head + column..].first_chunk().expect("a row of values");
        for i in 0..Q {
            let score = scores[i][t];
            for lane in 0..L {
                acc[i][lane] = mul_add::<FMA>(score, v[lane], acc[i][lane]);
            }
        }
    }
    for i in 0..Q {
        out[i * d + column..][..L].copy_from_slice(&acc[i]);
    }
}
