//! Causal attention inside documents.
//!
//! A document is a contiguous run of tokens, so it is a contiguous chunk of every buffer, and
//! documents are the unit of parallel work. Within one, queries go in blocks and each block meets
//! only the keys up to its own end: of the square of scores about half is computed, and none across
//! documents. The backward pass computes the probabilities again from the saved logarithms of the
//! sums.

use lacuna_kernels::gemm::{MatMut, MatRef, Row, gemm};
use lacuna_kernels::train_ops;

use super::{each, with_scratch};
use crate::trainer::shape::Shape;

/// Queries in a block.
const BLOCK: usize = 128;

/// The operation in one layer.
pub(crate) struct Attention {
    heads: Heads,
    /// The output of all heads, `[n, heads · head_dim]`.
    pub(crate) o: Vec<f32>,
    /// The logarithm of each softmax's sum, `[n, heads]`.
    log_sums: Vec<f32>,
}

/// The sizes, and the row of the products.
#[derive(Clone, Copy)]
struct Heads {
    row: Row,
    queries: usize,
    keys: usize,
    width: usize,
    scale: f32,
}

impl Attention {
    pub(crate) fn new(shape: &Shape, row: Row) -> Attention {
        let (queries, keys, width) = (shape.heads, shape.kv_heads, shape.head_dim);
        let heads = Heads { row, queries, keys, width, scale: 1.0 / (width as f32).sqrt() };
        Attention { heads, o: Vec::new(), log_sums: Vec::new() }
    }

    /// Room for `n` tokens.
    pub(crate) fn resize(&mut self, n: usize) {
        self.o.resize(n * self.heads.out(), 0.0);
        self.log_sums.resize(n * self.heads.queries, 0.0);
    }

    /// The output from the rotated `qkv` of all documents.
    pub(crate) fn forward(&mut self, documents: &[usize], qkv: &[f32]) {
        let heads = self.heads;
        let saved = split(qkv, documents, heads.wide());
        let made = split_mut(&mut self.o, documents, heads.out()).zip(split_mut(
            &mut self.log_sums,
            documents,
            heads.queries,
        ));
        each(saved.zip(made), |(qkv, (o, log_sums))| heads.forward(qkv, o, log_sums));
    }

    /// The gradient `dqkv` (overwritten, still rotated) from that of the output.
    pub(crate) fn backward(&self, documents: &[usize], qkv: &[f32], d_o: &[f32], dqkv: &mut [f32]) {
        let heads = self.heads;
        let saved = split(&self.o, documents, heads.out()).zip(split(
            &self.log_sums,
            documents,
            heads.queries,
        ));
        let given = split(qkv, documents, heads.wide()).zip(split(d_o, documents, heads.out()));
        let parts = saved.zip(given).zip(split_mut(dqkv, documents, heads.wide()));
        each(parts, |(((o, log_sums), (qkv, d_o)), dqkv)| {
            heads.backward(qkv, o, log_sums, d_o, dqkv);
        });
    }
}

/// One document.
impl Heads {
    fn forward(self, qkv: &[f32], o: &mut [f32], log_sums: &mut [f32]) {
        let Heads { row, width, queries: heads, .. } = self;
        let (n, out) = (log_sums.len() / heads, self.out());
        with_scratch([BLOCK * n], |[scores]| {
            for (head, first) in self.blocks(n) {
                let (queries, keys) = (BLOCK.min(n - first), n.min(first + BLOCK));
                let [q, k, v] = self.views(qkv, head, first, queries);
                let scores = &mut scores[..queries * keys];
                gemm(row, q, k.transposed(), MatMut::row_major(scores, queries, keys), false);
                for (i, scores) in scores.chunks_exact_mut(keys).enumerate() {
                    let (seen, unseen) = scores.split_at_mut(first + i + 1);
                    log_sums[(first + i) * heads + head] = train_ops::softmax(seen, self.scale);
                    unseen.fill(0.0);
                }
                let o = MatMut::new(&mut o[first * out + head * width..], queries, width, out);
                gemm(row, MatRef::row_major(scores, queries, keys), v, o, false);
            }
        });
    }

    fn backward(self, qkv: &[f32], o: &[f32], log_sums: &[f32], d_o: &[f32], dqkv: &mut [f32]) {
        let Heads { row, width, queries: heads, scale, .. } = self;
        let (n, wide, out) = (log_sums.len() / heads, self.wide(), self.out());
        dqkv.fill(0.0);
        with_scratch([BLOCK * n; 2], |[scores, dscores]| {
            for (head, first) in self.blocks(n) {
                let (queries, keys) = (BLOCK.min(n - first), n.min(first + BLOCK));
                let [q, k, v] = self.views(qkv, head, first, queries);
                let (p, dp) = (&mut scores[..queries * keys], &mut dscores[..queries * keys]);
                let at = first * out + head * width;
                let d_out = MatRef::new(&d_o[at..], queries, width, out, 1);
                gemm(row, q, k.transposed(), MatMut::row_major(p, queries, keys), false);
                gemm(row, d_out, v.transposed(), MatMut::row_major(dp, queries, keys), false);
                for (i, (p, dp)) in
                    p.chunks_exact_mut(keys).zip(dp.chunks_exact_mut(keys)).enumerate()
                {
                    let at = at + i * out;
                    let delta = train_ops::dot(&d_o[at..at + width], &o[at..at + width]);
                    let log_sum = log_sums[(first + i) * heads + head];
                    let (p, p_unseen) = p.split_at_mut(first + i + 1);
                    let (dp, dp_unseen) = dp.split_at_mut(first + i + 1);
                    train_ops::softmax_backward(p, dp, scale, log_sum, delta);
                    p_unseen.fill(0.0);
                    dp_unseen.fill(0.0);
                }
                let [p, dp] = [&*p, dp].map(|scores| MatRef::row_major(scores, queries, keys));
                let [q_at, k_at, v_at] = self.columns(head);
                let dq = MatMut::new(&mut dqkv[first * wide + q_at..], queries, width, wide);
                gemm(row, dp, k, dq, false);
                let dk = MatMut::new(&mut dqkv[k_at..], keys, width, wide);
                gemm(row, dp.transposed(), q, dk, true);
                let dv = MatMut::new(&mut dqkv[v_at..], keys, width, wide);
                gemm(row, p.transposed(), d_out, dv, true);
            }
        });
    }

    /// Columns of the joined projection.
    fn wide(self) -> usize {
        (self.queries + 2 * self.keys) * self.width
    }

    /// Columns of the output.
    fn out(self) -> usize {
        self.queries * self.width
    }

    /// Each head's blocks of queries: the head and the first query.
    fn blocks(self, n: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.queries)
            .flat_map(move |head| (0..n).step_by(BLOCK).map(move |first| (head, first)))
    }

    /// First columns of a query head, its keys and its values in the joined projection.
    fn columns(self, head: usize) -> [usize; 3] {
        let kv = head / (self.queries / self.keys);
        [head, self.queries + kv, self.queries + self.keys + kv].map(|head| head * self.width)
    }

    /// A block of a head's queries, and the keys and values up to its end.
    fn views(self, qkv: &[f32], head: usize, first: usize, queries: usize) -> [MatRef<'_>; 3] {
        let (width, wide, keys) = (self.width, self.wide(), first + queries);
        let [q_at, k_at, v_at] = self.columns(head);
        let [k, v] = [k_at, v_at].map(|at| MatRef::new(&qkv[at..], keys, width, wide, 1));
        [MatRef::new(&qkv[first * wide + q_at..], queries, width, wide, 1), k, v]
    }
}

/// The documents' parts of a buffer of `width` elements a token.
fn split<'a>(
    mut data: &'a [f32],
    documents: &'a [usize],
    width: usize,
) -> impl ExactSizeIterator<Item = &'a [f32]> + Send {
    documents.iter().map(move |n| data.split_off(..n * width).expect("as long as the documents"))
}

fn split_mut<'a>(
    mut data: &'a mut [f32],
    documents: &'a [usize],
    width: usize,
) -> impl ExactSizeIterator<Item = &'a mut [f32]> + Send {
    documents
        .iter()
        .map(move |n| data.split_off_mut(..n * width).expect("as long as the documents"))
}

#[cfg(test)]
mod tests {
    use super::super::check::{assert_gradient, dot, numbers, tiny};
    use super::*;

    #[test]
    fn the_way_back_is_the_derivative() {
        let (shape, ..) = tiny();
        let (documents, n) = ([150, 1, 33], 184);
        let forward = |qkv: &[f32]| {
            let mut attention = Attention::new(&shape, Row::F32);
            attention.resize(n);
            attention.forward(&documents, qkv);
            attention
        };
        let (qkv, d_o) = (numbers(n * shape.qkv(), 1.0, 1), numbers(n * 24, 1.0, 2));
        let mut dqkv = vec![0.0; qkv.len()];
        forward(&qkv).backward(&documents, &qkv, &d_o, &mut dqkv);
        assert_gradient("attention", &qkv, &dqkv, |qkv| dot(&forward(qkv).o, &d_o));
    }

    #[test]
    fn a_token_sees_itself_and_what_is_before_it_in_its_document() {
        let (shape, ..) = tiny();
        let mut attention = Attention::new(&shape, Row::F32);
        attention.resize(5);
        let mut qkv = numbers(5 * shape.qkv(), 1.0, 1);
        attention.forward(&[3, 2], &qkv);
        let before = attention.o.clone();
        let wide = shape.qkv();
        qkv[2 * wide..3 * wide].iter_mut().for_each(|x| *x += 1.0);
        attention.forward(&[3, 2], &qkv);
        let changed = |token: usize| before[token * 24..][..24] != attention.o[token * 24..][..24];
        assert_eq!([0, 1, 2, 3, 4].map(changed), [false, false, true, false, false]);
    }
}
