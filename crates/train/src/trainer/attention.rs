//! Causal attention inside documents, forward and backward.
//!
//! A document is a contiguous run of tokens, so it is a contiguous chunk of every buffer, and
//! documents are the unit of parallel work. Within one, queries go in blocks and each block meets
//! only the keys up to its own end: of the square of scores about half is computed, and none across
//! documents. The backward pass computes the probabilities again from the saved logarithms of the
//! sums.

use std::cell::RefCell;

use lacuna_kernels::gemm::{MatMut, MatRef, Row, gemm};
use lacuna_kernels::train_ops;
use rayon::prelude::*;

use super::shape::Shape;

/// Queries in a block.
const BLOCK: usize = 128;

/// `o[n, heads · head_dim]` and the logarithms `log_sums[n, heads]` from the rotated `qkv` of all
/// documents.
pub(super) fn forward(
    shape: &Shape,
    row: Row,
    documents: &[usize],
    qkv: &[f32],
    o: &mut [f32],
    log_sums: &mut [f32],
) {
    let (wide, out) = (shape.qkv(), shape.heads * shape.head_dim);
    let parts = split(qkv, documents, wide)
        .into_iter()
        .zip(split_mut(o, documents, out))
        .zip(split_mut(log_sums, documents, shape.heads))
        .collect::<Vec<_>>();
    parts.into_par_iter().with_max_len(1).for_each(|((qkv, o), log_sums)| {
        with_scratch(BLOCK * log_sums.len() / shape.heads, |scores, _| {
            forward_document(shape, row, qkv, o, log_sums, scores)
        });
    });
}

fn forward_document(
    shape: &Shape,
    row: Row,
    qkv: &[f32],
    o: &mut [f32],
    log_sums: &mut [f32],
    scores: &mut [f32],
) {
    let Heads { wide, out, n, scale, .. } = Heads::new(shape, log_sums.len());
    let hd = shape.head_dim;
    for head in 0..shape.heads {
        let (q_at, k_at, v_at) = columns(shape, head);
        for first in (0..n).step_by(BLOCK) {
            let (queries, keys) = (BLOCK.min(n - first), n.min(first + BLOCK));
            let scores = &mut scores[..queries * keys];
            let q = MatRef::new(&qkv[first * wide + q_at..], queries, hd, wide, 1);
            let k = MatRef::new(&qkv[k_at..], keys, hd, wide, 1);
            gemm(row, q, k.transposed(), MatMut::row_major(scores, queries, keys), false);
            for (i, scores) in scores.chunks_exact_mut(keys).enumerate() {
                let (seen, unseen) = scores.split_at_mut(first + i + 1);
                log_sums[(first + i) * shape.heads + head] = train_ops::softmax(seen, scale);
                unseen.fill(0.0);
            }
            let v = MatRef::new(&qkv[v_at..], keys, hd, wide, 1);
            let o = MatMut::new(&mut o[first * out + head * hd..], queries, hd, out);
            gemm(row, MatRef::row_major(scores, queries, keys), v, o, false);
        }
    }
}

/// What the backward pass of attention reads.
#[derive(Clone, Copy)]
pub(super) struct Saved<'a> {
    /// Rotated queries, keys and values.
    pub qkv: &'a [f32],
    /// The output.
    pub o: &'a [f32],
    /// Logarithms of the sums.
    pub log_sums: &'a [f32],
}

/// The gradient `dqkv` (overwritten, still rotated) from that of the output.
pub(super) fn backward(
    shape: &Shape,
    row: Row,
    documents: &[usize],
    saved: Saved<'_>,
    d_o: &[f32],
    dqkv: &mut [f32],
) {
    let (wide, out) = (shape.qkv(), shape.heads * shape.head_dim);
    let parts = split(saved.qkv, documents, wide)
        .into_iter()
        .zip(split(saved.o, documents, out))
        .zip(split(saved.log_sums, documents, shape.heads))
        .zip(split(d_o, documents, out))
        .zip(split_mut(dqkv, documents, wide))
        .collect::<Vec<_>>();
    parts.into_par_iter().with_max_len(1).for_each(|((((qkv, o), log_sums), d_o), dqkv)| {
        with_scratch(BLOCK * log_sums.len() / shape.heads, |scores, dscores| {
            backward_document(shape, row, Saved { qkv, o, log_sums }, d_o, dqkv, [scores, dscores]);
        });
    });
}

fn backward_document(
    shape: &Shape,
    row: Row,
    saved: Saved<'_>,
    d_o: &[f32],
    dqkv: &mut [f32],
    scratch: [&mut [f32]; 2],
) {
    let Saved { qkv, o, log_sums } = saved;
    let Heads { wide, out, n, scale } = Heads::new(shape, log_sums.len());
    let hd = shape.head_dim;
    let [scores, dscores] = scratch;
    dqkv.fill(0.0);
    for head in 0..shape.heads {
        let (q_at, k_at, v_at) = columns(shape, head);
        for first in (0..n).step_by(BLOCK) {
            let (queries, keys) = (BLOCK.min(n - first), n.min(first + BLOCK));
            let (scores, dscores) = (&mut scores[..queries * keys], &mut dscores[..queries * keys]);
            let q = MatRef::new(&qkv[first * wide + q_at..], queries, hd, wide, 1);
            let k = MatRef::new(&qkv[k_at..], keys, hd, wide, 1);
            let v = MatRef::new(&qkv[v_at..], keys, hd, wide, 1);
            let at = first * out + head * hd;
            let d_o_block = MatRef::new(&d_o[at..], queries, hd, out, 1);
            gemm(row, q, k.transposed(), MatMut::row_major(scores, queries, keys), false);
            gemm(row, d_o_block, v.transposed(), MatMut::row_major(dscores, queries, keys), false);
            for (i, (p, dp)) in
                scores.chunks_exact_mut(keys).zip(dscores.chunks_exact_mut(keys)).enumerate()
            {
                let at = at + i * out;
                let delta = train_ops::dot(&d_o[at..at + hd], &o[at..at + hd]);
                let (p, p_unseen) = p.split_at_mut(first + i + 1);
                let (dp, dp_unseen) = dp.split_at_mut(first + i + 1);
                train_ops::softmax_backward(
                    p,
                    dp,
                    scale,
                    log_sums[(first + i) * shape.heads + head],
                    delta,
                );
                p_unseen.fill(0.0);
                dp_unseen.fill(0.0);
            }
            let (p, dp) = (
                MatRef::row_major(scores, queries, keys),
                MatRef::row_major(dscores, queries, keys),
            );
            gemm(
                row,
                dp,
                k,
                MatMut::new(&mut dqkv[first * wide + q_at..], queries, hd, wide),
                false,
            );
            gemm(row, dp.transposed(), q, MatMut::new(&mut dqkv[k_at..], keys, hd, wide), true);
            gemm(
                row,
                p.transposed(),
                d_o_block,
                MatMut::new(&mut dqkv[v_at..], keys, hd, wide),
                true,
            );
        }
    }
}

/// Widths of a document's buffers.
struct Heads {
    wide: usize,
    out: usize,
    n: usize,
    scale: f32,
}

impl Heads {
    fn new(shape: &Shape, log_sums: usize) -> Heads {
        let scale = 1.0 / (shape.head_dim as f32).sqrt();
        Heads {
            wide: shape.qkv(),
            out: shape.heads * shape.head_dim,
            n: log_sums / shape.heads,
            scale,
        }
    }
}

/// First columns of a query head, its keys and its values in the joined projection.
fn columns(shape: &Shape, head: usize) -> (usize, usize, usize) {
    let kv = head / (shape.heads / shape.kv_heads);
    let hd = shape.head_dim;
    (head * hd, (shape.heads + kv) * hd, (shape.heads + shape.kv_heads + kv) * hd)
}

fn split<'a>(mut data: &'a [f32], documents: &[usize], width: usize) -> Vec<&'a [f32]> {
    let cut = |&n: &usize| {
        let (part, rest) = data.split_at(n * width);
        data = rest;
        part
    };
    documents.iter().map(cut).collect()
}

fn split_mut<'a>(mut data: &'a mut [f32], documents: &[usize], width: usize) -> Vec<&'a mut [f32]> {
    let cut = |&n: &usize| {
        let (part, rest) = std::mem::take(&mut data).split_at_mut(n * width);
        data = rest;
        part
    };
    documents.iter().map(cut).collect()
}

/// Lends two buffers of `n` numbers that stay with the thread; taken out while lent, so that a
/// nested use gets its own.
pub(super) fn with_scratch(n: usize, f: impl FnOnce(&mut [f32], &mut [f32])) {
    thread_local! {
        static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
    }
    let mut buffers = SCRATCH.take();
    for buffer in &mut buffers {
        if buffer.len() < n {
            buffer.resize(n, 0.0);
        }
    }
    let [a, b] = &mut buffers;
    f(&mut a[..n], &mut b[..n]);
    SCRATCH.set(buffers);
}
