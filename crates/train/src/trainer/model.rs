//! Forward and backward of the decoder, written by hand for this one architecture.
//!
//! [`Model`] owns the activations; parameters and gradients are the caller's flat vectors (see
//! `shape.rs`). The order of every sum is fixed, whatever the number of threads, so that a run
//! repeats to the bit.

use lacuna_kernels::gemm::{
    MatMut, MatRef, Packed, Row, Side, Summands, SummandsPart, add_summed, gemm, gemm_packed,
};
use lacuna_kernels::train_ops;
use rayon::prelude::*;

use super::attention::{self, with_scratch};
use super::batch::Batch;
use super::error::TrainError;
use super::shape::{Layer, Layout, Shape};

/// Tokens in a unit of parallel work.
const PART: usize = Summands::PART;
/// Tokens that go through a layer at a time, between one attention and the next: what it makes of
/// them stays in a core's caches.
const TOKENS: usize = 2 * Summands::BLOCK;
/// Tokens and words of a block of logits: the block, its part of the embedding and the gradients of
/// both sides fit a core's second-level cache, so that no logit reaches memory.
const HEAD_TOKENS: usize = 512;
const HEAD_WORDS: usize = 256;
/// Parts of the vocabulary that are computed side by side and then added in order, whatever the
/// number of threads.
const HEAD_PARTS: usize = 4;

/// Sums of losses (in nats) over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Σ weight · loss.
    pub weighted: f64,
    /// Σ weight.
    pub weight: f64,
    /// Σ loss.
    pub sum: f64,
    /// Number of positions.
    pub tokens: u64,
    /// Σ loss over the targets of middles.
    pub middle: f64,
    /// Number of targets of middles.
    pub middle_tokens: u64,
}

impl Losses {
    /// Adds the sums of another batch.
    pub fn add(&mut self, other: &Losses) {
        self.weighted += other.weighted;
        self.weight += other.weight;
        self.sum += other.sum;
        self.tokens += other.tokens;
        self.middle += other.middle;
        self.middle_tokens += other.middle_tokens;
    }

    /// The objective: weighted mean loss.
    pub fn objective(&self) -> f64 {
        self.weighted / self.weight.max(f64::MIN_POSITIVE)
    }

    /// Mean loss of all positions.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }

    /// Mean loss of the middles.
    pub fn middle_mean(&self) -> f64 {
        self.middle / self.middle_tokens.max(1) as f64
    }
}

/// What a layer keeps from forward to backward; `z` are the inputs of the matrices.
struct Activations {
    x: Vec<f32>,
    z1: Summands,
    inverse1: Vec<f32>,
    qkv: Vec<f32>,
    o: Vec<f32>,
    z_o: Summands,
    log_sums: Vec<f32>,
    mid: Vec<f32>,
    z2: Summands,
    inverse2: Vec<f32>,
    gate_up: Vec<f32>,
}

impl Activations {
    fn new(shape: &Shape, row: Row) -> Activations {
        let input = |width| Summands::new(row, Side::Right, width);
        Activations {
            x: Vec::new(),
            z1: input(shape.d),
            inverse1: Vec::new(),
            qkv: Vec::new(),
            o: Vec::new(),
            z_o: input(shape.heads * shape.head_dim),
            log_sums: Vec::new(),
            mid: Vec::new(),
            z2: input(shape.d),
            inverse2: Vec::new(),
            gate_up: Vec::new(),
        }
    }
}

/// The gradients of the outputs of a layer's matrices (of the last one its inputs and its
/// output's), for those of the weights.
struct Gradients {
    qkv: Summands,
    o: Summands,
    gate_up: Summands,
    hidden: Summands,
    down: Summands,
}

impl Gradients {
    fn new(shape: &Shape, row: Row) -> Gradients {
        let left = |width| Summands::new(row, Side::Left, width);
        Gradients {
            qkv: left(shape.qkv()),
            o: left(shape.d),
            gate_up: left(2 * shape.ff),
            hidden: left(shape.ff),
            down: Summands::new(row, Side::Right, shape.d),
        }
    }
}

/// The matrices of a layer as right operands: of `x · wᵀ`, and of `dy · w` on the way back.
struct Matrices {
    qkv: [Packed; 2],
    o: [Packed; 2],
    gate_up: [Packed; 2],
    down: [Packed; 2],
}

impl Matrices {
    fn new(row: Row) -> Matrices {
        let both = || [Packed::new(row), Packed::new(row)];
        Matrices { qkv: both(), o: both(), gate_up: both(), down: both() }
    }

    fn set(&mut self, p: &[f32], at: &Layer, d: usize, backward: bool) {
        // `[out, in]`; the inputs of the first and third are `d` wide, the outputs of the others.
        let all = [
            (&mut self.qkv, &at.qkv, at.qkv.len() / d),
            (&mut self.o, &at.o, d),
            (&mut self.gate_up, &at.gate_up, at.gate_up.len() / d),
            (&mut self.down, &at.down, d),
        ];
        for ([forward, back], range, out) in all {
            let w = MatRef::row_major(&p[range.clone()], out, range.len() / out);
            forward.set(w.transposed());
            if backward {
                back.set(w);
            }
        }
    }
}

/// Buffers that no layer keeps.
#[derive(Default)]
struct Scratch {
    /// Of each token in its document.
    positions: Vec<usize>,
    last: Vec<f32>,
    z: Vec<f32>,
    inverse: Vec<f32>,
    losses: Vec<f32>,
    /// A block for each part of the vocabulary.
    logits: Vec<f32>,
    /// Σ e^logit of each part of the vocabulary, and the logarithm of it all.
    sums: Vec<PartialSum>,
    log_sums: Vec<f32>,
    /// The share of each part of the vocabulary in `dz`.
    dz_parts: Vec<f32>,
    /// Gradients of a layer's output, and of what stands between its halves.
    dx: Vec<f32>,
    dmid: Vec<f32>,
    dz: Vec<f32>,
    d_o: Vec<f32>,
    dqkv: Vec<f32>,
    /// The norm's gradient of each unit of tokens.
    partial: Vec<f32>,
    /// The gradient of a wide matrix, transposed.
    transposed: Vec<f32>,
}

/// What a part of the vocabulary adds to a token's loss.
#[derive(Clone, Copy)]
struct PartialSum {
    /// The largest logit.
    top: f32,
    /// Σ e^(logit − top).
    sum: f32,
    /// The target's logit, where the target is in this part.
    right: f32,
}

/// The decoder with its activations.
pub struct Model {
    shape: Shape,
    layout: Layout,
    row: Row,
    max_document: usize,
    /// The embedding and the layers below have no gradient.
    frozen_layers: usize,
    /// The tokens whose rows of the embedding have one; all, if none are named.
    tokens: Option<Vec<u32>>,
    rope: Vec<f32>,
    layers: Vec<Activations>,
    matrices: Vec<Matrices>,
    gradients: Gradients,
    scratch: Scratch,
}

impl Model {
    /// A model for documents of up to `max_document` tokens; activations grow with the batches it
    /// is given.
    pub fn new(shape: &Shape, row: Row, max_document: usize) -> Result<Model, TrainError> {
        shape.check()?;
        if !row.is_available() {
            return Err(TrainError::Config(format!(
                "this CPU cannot compute with `{row}`: leave --compute out or use f32"
            )));
        }
        let frequencies = shape.spec().rope.inverse_frequencies(shape.head_dim);
        let mut rope = vec![0.0; max_document * shape.head_dim];
        for (position, angles) in rope.chunks_exact_mut(shape.head_dim).enumerate() {
            let (cos, sin) = angles.split_at_mut(frequencies.len());
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(&frequencies) {
                let (s, c) = (position as f64 * f64::from(*frequency)).sin_cos();
                (*cos, *sin) = (c as f32, s as f32);
            }
        }
        let layers = (0..shape.layers).map(|_| Activations::new(shape, row)).collect();
        let matrices = (0..shape.layers).map(|_| Matrices::new(row)).collect();
        let layout = Layout::new(shape);
        let (gradients, scratch) = (Gradients::new(shape, row), Scratch::default());
        Ok(Model {
            shape: shape.clone(),
            layout,
            row,
            max_document,
            frozen_layers: 0,
            tokens: None,
            rope,
            layers,
            matrices,
            gradients,
            scratch,
        })
    }

    /// Leaves out gradients that nobody asks for: of the embedding and the lowest layers, and of
    /// the embedding's rows but for some `tokens`. What is left out keeps the value that it has in
    /// the caller's vector.
    pub fn set_frozen(&mut self, frozen_layers: usize, tokens: Option<Vec<u32>>) {
        (self.frozen_layers, self.tokens) =
            (frozen_layers, if frozen_layers > 0 { Some(Vec::new()) } else { tokens });
    }

    /// Where each tensor lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The instruction row of the products.
    pub fn row(&self) -> Row {
        self.row
    }

    /// Losses of a batch, no gradient.
    ///
    /// Panics: if `p` is not [`Layout::n_parameters`] long.
    pub fn losses(&mut self, p: &[f32], batch: &Batch) -> Result<Losses, TrainError> {
        self.pass(p, batch, None)
    }

    /// Losses of a batch; adds the gradient of `Σ weight · loss / total_weight` to `g`. A step of
    /// several batches passes the weight of them all, so that the gradients add up to that of the
    /// whole.
    ///
    /// Panics: if `p` or `g` is not [`Layout::n_parameters`] long.
    pub fn losses_and_gradient(
        &mut self,
        p: &[f32],
        batch: &Batch,
        total_weight: f64,
        g: &mut [f32],
    ) -> Result<Losses, TrainError> {
        self.pass(p, batch, Some((total_weight, g)))
    }

    fn pass(
        &mut self,
        p: &[f32],
        batch: &Batch,
        gradient: Option<(f64, &mut [f32])>,
    ) -> Result<Losses, TrainError> {
        assert_eq!(p.len(), self.layout.n_parameters(), "parameters do not fit the model");
        batch.check(self.shape.vocab, self.max_document)?;
        if batch.is_empty() {
            return Ok(Losses::default());
        }
        self.reserve(batch.len());
        let (d, backward) = (self.shape.d, gradient.is_some());
        let frozen = self.frozen_layers;
        let matrices =
            self.matrices.par_iter_mut().zip(&self.layout.layers).enumerate().with_max_len(1);
        matrices.for_each(|(l, (m, at))| m.set(p, at, d, backward && l >= frozen));
        self.scratch.positions.clear();
        self.scratch.positions.extend(batch.documents.iter().flat_map(|n| 0..*n));
        self.forward(p, batch);
        match gradient {
            None => Ok(self.head(p, batch, None)),
            Some((total_weight, g)) => {
                assert_eq!(g.len(), p.len(), "gradient does not fit the model");
                let losses = self.head(p, batch, Some((total_weight, &mut *g)));
                self.backward(p, batch, g);
                Ok(losses)
            }
        }
    }

    /// Grows the buffers to `n` tokens; they never shrink.
    fn reserve(&mut self, n: usize) {
        let Shape { d, heads, head_dim, ff, .. } = self.shape;
        let (wide, out) = (self.shape.qkv(), heads * head_dim);
        let grow = |buffer: &mut Vec<f32>, n: usize| {
            if buffer.len() < n {
                buffer.resize(n, 0.0);
            }
        };
        for a in &mut self.layers {
            for buffer in [&mut a.x, &mut a.mid] {
                grow(buffer, n * d);
            }
            grow(&mut a.inverse1, n);
            grow(&mut a.inverse2, n);
            grow(&mut a.qkv, n * wide);
            grow(&mut a.o, n * out);
            grow(&mut a.log_sums, n * heads);
            grow(&mut a.gate_up, n * 2 * ff);
        }
        let s = &mut self.scratch;
        for buffer in [&mut s.last, &mut s.z, &mut s.dx, &mut s.dmid, &mut s.dz] {
            grow(buffer, n * d);
        }
        grow(&mut s.inverse, n);
        grow(&mut s.losses, n);
        grow(&mut s.logits, HEAD_PARTS * HEAD_TOKENS * HEAD_WORDS);
        grow(&mut s.dz_parts, HEAD_PARTS * HEAD_TOKENS * d);
        grow(&mut s.log_sums, HEAD_TOKENS);
        s.sums.resize(HEAD_PARTS * HEAD_TOKENS, PartialSum { top: 0.0, sum: 0.0, right: 0.0 });
        grow(&mut s.d_o, n * out);
        grow(&mut s.dqkv, n * wide);
        grow(&mut s.partial, n.div_ceil(PART) * d);
        grow(&mut s.transposed, ff * d);
    }

    fn forward(&mut self, p: &[f32], batch: &Batch) {
        let Shape { d, heads, kv_heads, head_dim, ff, eps, .. } = self.shape;
        let (n, wide, out, row) = (batch.len(), self.shape.qkv(), heads * head_dim, self.row);
        let embedding = &p[self.layout.embedding.clone()];
        let (rope, layout, matrices) = (&self.rope, &self.layout, &self.matrices);
        let s = &mut self.scratch;
        let positions = &s.positions[..];
        // A layer's work on some tokens of a part, the first of which is `at`: before attention,
        // and after it.
        let before = |l: usize,
                      at: usize,
                      x: &[f32],
                      z1: &mut SummandsPart<'_>,
                      inverse: &mut [f32],
                      qkv: &mut [f32],
                      positions: &[usize]| {
            let tokens = x.len() / d;
            with_scratch(x.len(), |z, _| {
                train_ops::rms_norm(x, &p[layout.layers[l].norm1.clone()], eps, z, inverse);
                z1.put(at, z);
                gemm_packed(
                    MatRef::row_major(z, tokens, d),
                    &matrices[l].qkv[0],
                    MatMut::row_major(qkv, tokens, wide),
                    false,
                );
            });
            rotate(rope, head_dim, positions, qkv, wide, (heads + kv_heads) * head_dim, 1.0);
        };
        let after = |l: usize,
                     at: usize,
                     [x, o]: [&[f32]; 2],
                     [z_o, z2]: [&mut SummandsPart<'_>; 2],
                     [mid, inverse, gate_up, output]: [&mut [f32]; 4]| {
            let (tokens, m) = (x.len() / d, &matrices[l]);
            z_o.put(at, o);
            mid.copy_from_slice(x);
            gemm_packed(
                MatRef::row_major(o, tokens, out),
                &m.o[0],
                MatMut::row_major(mid, tokens, d),
                true,
            );
            with_scratch(tokens * (2 * ff).max(ff + d), |wide, rest| {
                let (wide, (hidden, z)) =
                    (&mut wide[..tokens * 2 * ff], rest.split_at_mut(tokens * ff));
                let z = &mut z[..tokens * d];
                train_ops::rms_norm(mid, &p[layout.layers[l].norm2.clone()], eps, z, inverse);
                z2.put(at, z);
                gemm_packed(
                    MatRef::row_major(z, tokens, d),
                    &m.gate_up[0],
                    MatMut::row_major(wide, tokens, 2 * ff),
                    false,
                );
                hidden
                    .chunks_exact_mut(ff)
                    .zip(wide.chunks_exact(2 * ff))
                    .for_each(|(h, gu)| train_ops::swiglu(gu, h));
                output.copy_from_slice(mid);
                gemm_packed(
                    MatRef::row_major(hidden, tokens, ff),
                    &m.down[0],
                    MatMut::row_major(output, tokens, d),
                    true,
                );
                // Products go to a buffer in the cache, and from there to memory in one piece.
                gate_up.copy_from_slice(wide);
            });
        };
        let first = &mut self.layers[0];
        let parts = (
            first.x[..n * d].par_chunks_mut(PART * d),
            first.z1.parts(n),
            first.inverse1[..n].par_chunks_mut(PART),
            first.qkv[..n * wide].par_chunks_mut(PART * wide),
            positions.par_chunks(PART),
            batch.inputs.par_chunks(PART),
        );
        parts.into_par_iter().with_max_len(1).for_each(
            |(x, mut z1, inverse, qkv, positions, ids)| {
                for (x, &id) in x.chunks_exact_mut(d).zip(ids) {
                    x.copy_from_slice(&embedding[id as usize * d..][..d]);
                }
                for (at, t) in blocks(ids.len()) {
                    before(
                        0,
                        at,
                        &x[t(d)],
                        &mut z1,
                        &mut inverse[t(1)],
                        &mut qkv[t(wide)],
                        &positions[t(1)],
                    );
                }
            },
        );
        for l in 0..layout.layers.len() {
            let (done, next) = self.layers.split_at_mut(l + 1);
            let a = &mut done[l];
            attention::forward(
                &self.shape,
                row,
                &batch.documents,
                &a.qkv[..n * wide],
                &mut a.o[..n * out],
                &mut a.log_sums[..n * heads],
            );
            let parts = (
                a.x[..n * d].par_chunks(PART * d),
                a.o[..n * out].par_chunks(PART * out),
                a.z_o.parts(n),
                a.mid[..n * d].par_chunks_mut(PART * d),
                a.z2.parts(n),
                a.inverse2[..n].par_chunks_mut(PART),
                a.gate_up[..n * 2 * ff].par_chunks_mut(PART * 2 * ff),
            );
            let parts = parts.into_par_iter().with_max_len(1);
            if let Some(next) = next.first_mut() {
                let onward = (
                    next.x[..n * d].par_chunks_mut(PART * d),
                    next.z1.parts(n),
                    next.inverse1[..n].par_chunks_mut(PART),
                    next.qkv[..n * wide].par_chunks_mut(PART * wide),
                    positions.par_chunks(PART),
                );
                parts.zip(onward).for_each(
                    |(
                        (x, o, mut z_o, mid, mut z2, inverse2, gate_up),
                        (output, mut z1, inverse1, qkv, positions),
                    )| {
                        for (at, t) in blocks(positions.len()) {
                            let output = &mut output[t(d)];
                            let of_layer = [
                                &mut mid[t(d)],
                                &mut inverse2[t(1)],
                                &mut gate_up[t(2 * ff)],
                                &mut *output,
                            ];
                            after(l, at, [&x[t(d)], &o[t(out)]], [&mut z_o, &mut z2], of_layer);
                            before(
                                l + 1,
                                at,
                                output,
                                &mut z1,
                                &mut inverse1[t(1)],
                                &mut qkv[t(wide)],
                                &positions[t(1)],
                            );
                        }
                    },
                );
            } else {
                let norm = &p[layout.norm.clone()];
                let last = (
                    s.last[..n * d].par_chunks_mut(PART * d),
                    s.z[..n * d].par_chunks_mut(PART * d),
                    s.inverse[..n].par_chunks_mut(PART),
                );
                parts.zip(last).for_each(
                    |((x, o, mut z_o, mid, mut z2, inverse2, gate_up), (output, z, inverse))| {
                        for (at, t) in blocks(inverse.len()) {
                            let of_layer = [
                                &mut mid[t(d)],
                                &mut inverse2[t(1)],
                                &mut gate_up[t(2 * ff)],
                                &mut output[t(d)],
                            ];
                            after(l, at, [&x[t(d)], &o[t(out)]], [&mut z_o, &mut z2], of_layer);
                        }
                        train_ops::rms_norm(output, norm, eps, z, inverse);
                    },
                );
            }
        }
    }

    /// Losses; with a gradient, `dz` of the last norm and the embedding's share as output. A block
    /// of logits is computed for the sums and again for the gradient, which costs less than keeping
    /// it.
    fn head(
        &mut self,
        p: &[f32],
        batch: &Batch,
        mut gradient: Option<(f64, &mut [f32])>,
    ) -> Losses {
        let (d, vocab, n, row) = (self.shape.d, self.shape.vocab, batch.len(), self.row);
        let at = self.layout.embedding.clone();
        let embedding = &p[at.clone()];
        let words = vocab.div_ceil(HEAD_PARTS);
        let (s, trained) = (&mut self.scratch, self.tokens.as_ref());
        for first in (0..n).step_by(HEAD_TOKENS) {
            let m = HEAD_TOKENS.min(n - first);
            let z = MatRef::row_major(&s.z[first * d..][..m * d], m, d);
            let targets = &batch.targets[first..][..m];
            let blocks = s
                .logits
                .par_chunks_mut(HEAD_TOKENS * HEAD_WORDS)
                .zip(embedding.par_chunks(words * d))
                .enumerate();
            blocks.zip(s.sums.par_chunks_mut(HEAD_TOKENS)).with_max_len(1).for_each(
                |((part, (logits, embedding)), sums)| {
                    sums.fill(PartialSum { top: f32::NEG_INFINITY, sum: 0.0, right: 0.0 });
                    for (i, embedding) in embedding.chunks(HEAD_WORDS * d).enumerate() {
                        let start = part * words + i * HEAD_WORDS;
                        let logits = logits_of(row, z, embedding, logits);
                        for ((logits, all), &target) in
                            logits.chunks_exact(embedding.len() / d).zip(&mut *sums).zip(targets)
                        {
                            (all.top, all.sum) = train_ops::add_exp(logits, all.top, all.sum);
                            if let Some(right) = logits.get((target as usize).wrapping_sub(start)) {
                                all.right = *right;
                            }
                        }
                    }
                },
            );
            let losses = &mut s.losses[first..][..m];
            for (i, (loss, log_sum)) in losses.iter_mut().zip(&mut s.log_sums).enumerate() {
                let parts =
                    || s.sums.iter().skip(i).step_by(HEAD_TOKENS).take(vocab.div_ceil(words));
                let top = parts().fold(f32::NEG_INFINITY, |top, part| top.max(part.top));
                let sum: f32 = parts().map(|part| part.sum * (part.top - top).exp()).sum();
                *log_sum = top + sum.ln();
                *loss = *log_sum - parts().map(|part| part.right).sum::<f32>();
            }
            let Some((total, g)) = &mut gradient else { continue };
            let (log_sums, weights, scale) =
                (&s.log_sums, &batch.weights[first..][..m], 1.0 / *total);
            let blocks = s
                .logits
                .par_chunks_mut(HEAD_TOKENS * HEAD_WORDS)
                .zip(embedding.par_chunks(words * d))
                .enumerate();
            let gradients = g[at.clone()]
                .par_chunks_mut(words * d)
                .zip(s.dz_parts.par_chunks_mut(HEAD_TOKENS * d));
            blocks.zip(gradients).with_max_len(1).for_each(
                |((part, (logits, embedding)), (dembedding, dz))| {
                    let blocks =
                        embedding.chunks(HEAD_WORDS * d).zip(dembedding.chunks_mut(HEAD_WORDS * d));
                    for (i, (embedding, dembedding)) in blocks.enumerate() {
                        let (start, width) = (part * words + i * HEAD_WORDS, embedding.len() / d);
                        let logits = logits_of(row, z, embedding, logits);
                        let tokens =
                            logits.chunks_exact_mut(width).zip(log_sums).zip(targets).zip(weights);
                        for (((logits, &log_sum), &target), &weight) in tokens {
                            let weight = (f64::from(weight) * scale) as f32;
                            train_ops::weighted_exp(logits, log_sum, weight);
                            if let Some(p) = logits.get_mut((target as usize).wrapping_sub(start)) {
                                *p -= weight;
                            }
                        }
                        let dlogits = MatRef::row_major(logits, m, width);
                        gemm(
                            row,
                            dlogits,
                            MatRef::row_major(embedding, width, d),
                            MatMut::row_major(&mut dz[..m * d], m, d),
                            i > 0,
                        );
                        let Some(trained) = trained else {
                            gemm(
                                row,
                                dlogits.transposed(),
                                z,
                                MatMut::row_major(dembedding, width, d),
                                true,
                            );
                            continue;
                        };
                        for id in trained
                            .iter()
                            .map(|&id| id as usize)
                            .filter(|id| (start..start + width).contains(id))
                        {
                            let dembedding = &mut dembedding[(id - start) * d..][..d];
                            for (logits, z) in
                                logits.chunks_exact(width).zip(s.z[first * d..].chunks_exact(d))
                            {
                                dembedding
                                    .iter_mut()
                                    .zip(z)
                                    .for_each(|(de, z)| *de += logits[id - start] * z);
                            }
                        }
                    }
                },
            );
            let dz = &mut s.dz[first * d..][..m * d];
            dz.fill(0.0);
            s.dz_parts
                .chunks(HEAD_TOKENS * d)
                .take(vocab.div_ceil(words))
                .for_each(|part| train_ops::add(dz, &part[..m * d]));
        }
        let mut losses = Losses { tokens: n as u64, ..Losses::default() };
        for ((&loss, &weight), &middle) in s.losses.iter().zip(&batch.weights).zip(&batch.middle) {
            let loss = f64::from(loss);
            losses.weighted += loss * f64::from(weight);
            losses.weight += f64::from(weight);
            losses.sum += loss;
            if middle {
                losses.middle += loss;
                losses.middle_tokens += 1;
            }
        }
        losses
    }

    fn backward(&mut self, p: &[f32], batch: &Batch, g: &mut [f32]) {
        let Shape { d, heads, kv_heads, head_dim, ff, .. } = self.shape;
        let (n, wide, out, row) = (batch.len(), self.shape.qkv(), heads * head_dim, self.row);
        let rope = &self.rope;
        let (s, gradients) = (&mut self.scratch, &mut self.gradients);
        let positions = &s.positions[..];
        let (dx, dmid, d_o, dqkv) = (
            &mut s.dx[..n * d],
            &mut s.dmid[..n * d],
            &mut s.d_o[..n * out],
            &mut s.dqkv[..n * wide],
        );
        let partial = &mut s.partial[..n.div_ceil(PART) * d];
        let norm = &p[self.layout.norm.clone()];
        let parts = (
            s.dz[..n * d].par_chunks(PART * d),
            s.last[..n * d].par_chunks(PART * d),
            s.inverse[..n].par_chunks(PART),
            dx.par_chunks_mut(PART * d),
            partial.par_chunks_mut(d),
        );
        parts.into_par_iter().with_max_len(1).for_each(|(dz, x, inverse, dx, partial)| {
            dx.fill(0.0);
            partial.fill(0.0);
            train_ops::rms_norm_backward(dz, x, norm, inverse, dx, partial);
        });
        partial
            .chunks_exact(d)
            .for_each(|partial| train_ops::add(&mut g[self.layout.norm.clone()], partial));
        for ((a, at), m) in self
            .layers
            .iter()
            .zip(&self.layout.layers)
            .zip(&self.matrices)
            .skip(self.frozen_layers)
            .rev()
        {
            let parts = (
                (dx.par_chunks(PART * d), a.gate_up[..n * 2 * ff].par_chunks(PART * 2 * ff)),
                (a.mid[..n * d].par_chunks(PART * d), a.inverse2[..n].par_chunks(PART)),
                (
                    gradients.down.parts(n),
                    gradients.hidden.parts(n),
                    gradients.gate_up.parts(n),
                    gradients.o.parts(n),
                ),
                (
                    dmid.par_chunks_mut(PART * d),
                    d_o.par_chunks_mut(PART * out),
                    partial.par_chunks_mut(d),
                ),
            );
            let norm = &p[at.norm2.clone()];
            parts.into_par_iter().with_max_len(1).for_each(
                |(
                    (dx, gate_up),
                    (mid, inverse),
                    (mut to_down, mut to_hidden, mut to_gate_up, mut to_o),
                    (dmid, d_o, partial),
                )| {
                    partial.fill(0.0);
                    for (at, t) in blocks(inverse.len()) {
                        let (dx, gate_up, dmid) = (&dx[t(d)], &gate_up[t(2 * ff)], &mut dmid[t(d)]);
                        let tokens = dx.len() / d;
                        to_down.put(at, dx);
                        dmid.copy_from_slice(dx);
                        with_scratch(tokens * (2 * ff).max(ff + d), |wide, rest| {
                            let (dgate_up, (hidden, dz)) =
                                (&mut wide[..tokens * 2 * ff], rest.split_at_mut(tokens * ff));
                            let dz = &mut dz[..tokens * d];
                            gemm_packed(
                                MatRef::row_major(dx, tokens, d),
                                &m.down[1],
                                MatMut::row_major(hidden, tokens, ff),
                                false,
                            );
                            let rows = hidden
                                .chunks_exact_mut(ff)
                                .zip(gate_up.chunks_exact(2 * ff))
                                .zip(dgate_up.chunks_exact_mut(2 * ff));
                            rows.for_each(|((dh, gu), dgu)| {
                                train_ops::swiglu_backward(gu, dh, dgu)
                            });
                            to_hidden.put(at, hidden);
                            to_gate_up.put(at, dgate_up);
                            gemm_packed(
                                MatRef::row_major(dgate_up, tokens, 2 * ff),
                                &m.gate_up[1],
                                MatMut::row_major(dz, tokens, d),
                                false,
                            );
                            train_ops::rms_norm_backward(
                                dz,
                                &mid[t(d)],
                                norm,
                                &inverse[t(1)],
                                dmid,
                                partial,
                            );
                        });
                        to_o.put(at, dmid);
                        gemm_packed(
                            MatRef::row_major(dmid, tokens, d),
                            &m.o[1],
                            MatMut::row_major(&mut d_o[t(out)], tokens, out),
                            false,
                        );
                    }
                },
            );
            partial
                .chunks_exact(d)
                .for_each(|partial| train_ops::add(&mut g[at.norm2.clone()], partial));
            // Threads share rows, of which this matrix has few.
            let transposed = &mut s.transposed[..ff * d];
            transposed.fill(0.0);
            add_summed(&gradients.hidden, &gradients.down, MatMut::row_major(transposed, ff, d));
            add_transposed(&mut g[at.down.clone()], transposed, ff);
            add_summed(
                &gradients.gate_up,
                &a.z2,
                MatMut::row_major(&mut g[at.gate_up.clone()], 2 * ff, d),
            );
            add_summed(&gradients.o, &a.z_o, MatMut::row_major(&mut g[at.o.clone()], d, out));

            let saved = attention::Saved {
                qkv: &a.qkv[..n * wide],
                o: &a.o[..n * out],
                log_sums: &a.log_sums[..n * heads],
            };
            attention::backward(&self.shape, row, &batch.documents, saved, d_o, dqkv);
            let parts = (
                (
                    dqkv.par_chunks_mut(PART * wide),
                    positions.par_chunks(PART),
                    gradients.qkv.parts(n),
                ),
                (a.x[..n * d].par_chunks(PART * d), a.inverse1[..n].par_chunks(PART)),
                (dmid.par_chunks(PART * d), dx.par_chunks_mut(PART * d), partial.par_chunks_mut(d)),
            );
            let norm = &p[at.norm1.clone()];
            parts.into_par_iter().with_max_len(1).for_each(
                |((dqkv, positions, mut to_qkv), (x, inverse), (dmid, dx, partial))| {
                    dx.copy_from_slice(dmid);
                    partial.fill(0.0);
                    for (at, t) in blocks(positions.len()) {
                        let dqkv = &mut dqkv[t(wide)];
                        let tokens = dqkv.len() / wide;
                        rotate(
                            rope,
                            head_dim,
                            &positions[t(1)],
                            dqkv,
                            wide,
                            (heads + kv_heads) * head_dim,
                            -1.0,
                        );
                        to_qkv.put(at, dqkv);
                        with_scratch(tokens * d, |dz, _| {
                            gemm_packed(
                                MatRef::row_major(dqkv, tokens, wide),
                                &m.qkv[1],
                                MatMut::row_major(dz, tokens, d),
                                false,
                            );
                            train_ops::rms_norm_backward(
                                dz,
                                &x[t(d)],
                                norm,
                                &inverse[t(1)],
                                &mut dx[t(d)],
                                partial,
                            );
                        });
                    }
                },
            );
            partial
                .chunks_exact(d)
                .for_each(|partial| train_ops::add(&mut g[at.norm1.clone()], partial));
            add_summed(&gradients.qkv, &a.z1, MatMut::row_major(&mut g[at.qkv.clone()], wide, d));
        }
        let embedding = &mut g[self.layout.embedding.clone()];
        let is_trained =
            |id: u32| self.tokens.as_ref().is_none_or(|tokens| tokens.binary_search(&id).is_ok());
        for (dx, &id) in dx.chunks_exact(d).zip(&batch.inputs).filter(|(_, id)| is_trained(**id)) {
            train_ops::add(&mut embedding[id as usize * d..][..d], dx);
        }
    }
}

/// The blocks of `n` tokens: the first token of each, and the range of its elements for a width.
fn blocks(
    n: usize,
) -> impl Iterator<Item = (usize, impl Fn(usize) -> std::ops::Range<usize> + Copy)> {
    (0..n).step_by(TOKENS).map(move |at| {
        let end = n.min(at + TOKENS);
        (at, move |width: usize| at * width..end * width)
    })
}

/// The logits of a block of tokens for a block of words, `[tokens, words]`, in `out`.
fn logits_of<'a>(row: Row, z: MatRef<'_>, embedding: &[f32], out: &'a mut [f32]) -> &'a mut [f32] {
    let (m, d) = (z.rows(), z.cols());
    let words = embedding.len() / d;
    let out = &mut out[..m * words];
    gemm(
        row,
        z,
        MatRef::row_major(embedding, words, d).transposed(),
        MatMut::row_major(out, m, words),
        false,
    );
    out
}

/// `to += fromᵀ`, where `to` has rows of `cols` elements.
fn add_transposed(to: &mut [f32], from: &[f32], cols: usize) {
    let rows = to.len() / cols;
    to.par_chunks_mut(cols).enumerate().for_each(|(i, to)| {
        to.iter_mut().zip(from.chunks_exact(rows)).for_each(|(to, from)| *to += from[i])
    });
}

/// Rotates the first `rotated` columns of each row by its position.
fn rotate(
    rope: &[f32],
    head_dim: usize,
    positions: &[usize],
    rows: &mut [f32],
    width: usize,
    rotated: usize,
    direction: f32,
) {
    for (row, position) in rows.chunks_exact_mut(width).zip(positions) {
        train_ops::rotate(&mut row[..rotated], &rope[position * head_dim..][..head_dim], direction);
    }
}
