//! Causal attention of new tokens over a position-major KV cache (grouped queries).
//!
//! Few tokens: one query at a time, vectorised over the head. Many: blocks of queries as two f32 products around a softmax.

use crate::isa;
use crate::threads::{self, SharedOut};

/// Queries that are multiplied at once in the blocked path.
const BLOCK: usize = 64;
/// Up to this many tokens are attended one by one.
const FEW: usize = 3;

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

/// `out[m, heads·d]`: token `i` sits at position `past + i` and sees keys `0 ..= past + i`, scaled by `1/√d`.
///
/// Shapes: `q` `m` rows of `q_stride` (the first heads·d count); `k`, `v` `[≥ past+m, kv_heads·d]` with the new tokens already
/// in place. Panics: lengths. Equals `reference::attention` head by head.
pub fn attention(shape: &Attention, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
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
    assert!(k.len() >= total * kv_width && v.len() >= total * kv_width, "keys and values of {total} tokens");
    let group = heads / kv_heads;
    let shared = SharedOut::new(out);
    let scale = 1.0 / (d as f32).sqrt();
    let row = isa::active();
    if m <= FEW {
        let work_us = (m * total * width) as u64 / 4_000;
        threads::split(heads, work_us, |range| {
            let mut scores = vec![0f32; total];
            for head in range {
                let at = head / group * d;
                for i in 0..m {
                    let q = &q[i * q_stride + head * d..][..d];
                    // SAFETY: `out` outlives the split; one head of one token belongs to one thread.
                    let out = unsafe { shared.part(i * width + head * d, d) };
                    let scores = &mut scores[..=past + i];
                    // SAFETY: the active row's instruction set was checked when it was chosen.
                    unsafe { (row.ops.attend_one)(q, &k[at..], &v[at..], kv_width, scale, scores, out) };
                }
            }
        });
        return;
    }
    let blocks = m.div_ceil(BLOCK);
    let work_us = (m * total * width) as u64 / 20_000;
    threads::split(heads * blocks, work_us, |range| {
        let mut scores = Vec::new();
        // Late blocks see more keys; interleaving heads and blocks keeps contiguous ranges even.
        for item in range {
            let (head, block) = (item % heads, item / heads);
            let first = block * BLOCK;
            let rows = BLOCK.min(m - first);
            let keys = past + first + rows;
            let at = head / group * d;
            scores.resize(BLOCK * total, 0f32);
            let scores = &mut scores[..rows * keys];
            product(rows, keys, d, (&q[first * q_stride + head * d..], q_stride), (&k[at..], 1, kv_width), scale, (scores, keys));
            for (i, scores) in scores.chunks_exact_mut(keys).enumerate() {
                let (seen, unseen) = scores.split_at_mut(past + first + i + 1);
                // SAFETY: the active row's instruction set was checked when it was chosen.
                unsafe { (row.ops.softmax)(seen) };
                unseen.fill(0.0);
            }
            let mut head_out = [0f32; BLOCK * 128];
            let mut large = Vec::new();
            let head_out = if rows * d <= head_out.len() {
                &mut head_out[..rows * d]
            } else {
                large.resize(rows * d, 0.0);
                &mut large[..]
            };
            product(rows, d, keys, (scores, keys), (&v[at..], kv_width, 1), 1.0, (head_out, d));
            for (i, values) in head_out.chunks_exact(d).enumerate() {
                // SAFETY: `out` outlives the split; one head of one token belongs to one thread.
                unsafe { shared.part((first + i) * width + head * d, d) }.copy_from_slice(values);
            }
        }
    });
}

/// `out[rows,columns] = scale · a[rows,inner] · b[inner,columns]`; `a` and `out` with a row stride, `b` with both strides.
fn product(
    rows: usize,
    columns: usize,
    inner: usize,
    (a, a_stride): (&[f32], usize),
    (b, b_row, b_column): (&[f32], usize, usize),
    scale: f32,
    (out, out_stride): (&mut [f32], usize),
) {
    assert!(a.len() >= (rows - 1) * a_stride + inner, "left operand");
    assert!(b.len() > (inner - 1) * b_row + (columns - 1) * b_column, "right operand");
    assert!(out.len() >= (rows - 1) * out_stride + columns, "output");
    // SAFETY: the largest index of each operand was checked against its length above.
    unsafe {
        ::gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            false,
            a.as_ptr(),
            1,
            a_stride as isize,
            b.as_ptr(),
            b_column as isize,
            b_row as isize,
            0.0,
            scale,
            false,
            false,
            false,
            ::gemm::Parallelism::None,
        );
    }
}
