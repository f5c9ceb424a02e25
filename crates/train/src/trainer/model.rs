//! Forward and backward of the decoder, written by hand for this one architecture.
//!
//! [`Model`] owns the activations; parameters and gradients are the caller's flat vectors (see `shape.rs`). The order of
//! every sum is fixed, whatever the number of threads, so that a run repeats to the bit.

use lacuna_kernels::gemm::{MatMut, MatRef, Row, gemm_parallel};
use lacuna_kernels::train_ops;
use rayon::prelude::*;

use super::attention;
use super::batch::Batch;
use super::error::TrainError;
use super::shape::{Layout, Shape};

/// Tokens in a unit of row-wise work.
const TOKENS: usize = 64;
/// Tokens whose logits are held at a time: 64 MiB at a vocabulary of 16,384.
const LOGIT_TOKENS: usize = 1024;

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

/// What a layer keeps from forward to backward.
#[derive(Default)]
struct Activations {
    x: Vec<f32>,
    z1: Vec<f32>,
    inverse1: Vec<f32>,
    qkv: Vec<f32>,
    o: Vec<f32>,
    log_sums: Vec<f32>,
    mid: Vec<f32>,
    z2: Vec<f32>,
    inverse2: Vec<f32>,
    gate_up: Vec<f32>,
}

/// Buffers that no layer keeps.
#[derive(Default)]
struct Scratch {
    last: Vec<f32>,
    z: Vec<f32>,
    inverse: Vec<f32>,
    logits: Vec<f32>,
    losses: Vec<f32>,
    hidden: Vec<f32>,
    dgate_up: Vec<f32>,
    dx: Vec<f32>,
    dz: Vec<f32>,
    d_o: Vec<f32>,
    dqkv: Vec<f32>,
    partial: Vec<f32>,
}

/// The decoder with its activations.
pub struct Model {
    shape: Shape,
    layout: Layout,
    row: Row,
    max_document: usize,
    rope: Vec<f32>,
    layers: Vec<Activations>,
    scratch: Scratch,
}

impl Model {
    /// A model for documents of up to `max_document` tokens; activations grow with the batches it is given.
    pub fn new(shape: &Shape, row: Row, max_document: usize) -> Result<Model, TrainError> {
        shape.check()?;
        if !row.is_available() {
            return Err(TrainError::Config(format!("this CPU cannot compute with `{row}`: leave --compute out or use f32")));
        }
        let half = shape.head_dim / 2;
        let mut rope = vec![0.0; max_document * shape.head_dim];
        for (position, angles) in rope.chunks_exact_mut(shape.head_dim).enumerate() {
            let (cos, sin) = angles.split_at_mut(half);
            for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
                let frequency = f64::from(shape.rope_theta).powf(-(i as f64) / half as f64);
                let (s, c) = (position as f64 * frequency).sin_cos();
                (*cos, *sin) = (c as f32, s as f32);
            }
        }
        let layers = (0..shape.layers).map(|_| Activations::default()).collect();
        let layout = Layout::new(shape);
        Ok(Model { shape: shape.clone(), layout, row, max_document, rope, layers, scratch: Scratch::default() })
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

    /// Losses of a batch; adds the gradient of `Σ weight · loss / total_weight` to `g`. A step of several batches passes
    /// the weight of them all, so that the gradients add up to that of the whole.
    ///
    /// Panics: if `p` or `g` is not [`Layout::n_parameters`] long.
    pub fn losses_and_gradient(&mut self, p: &[f32], batch: &Batch, total_weight: f64, g: &mut [f32]) -> Result<Losses, TrainError> {
        self.pass(p, batch, Some((total_weight, g)))
    }

    fn pass(&mut self, p: &[f32], batch: &Batch, gradient: Option<(f64, &mut [f32])>) -> Result<Losses, TrainError> {
        assert_eq!(p.len(), self.layout.n_parameters(), "parameters do not fit the model");
        batch.check(self.shape.vocab, self.max_document)?;
        if batch.is_empty() {
            return Ok(Losses::default());
        }
        self.reserve(batch.len());
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
        let Shape { d, heads, head_dim, ff, vocab, .. } = self.shape;
        let (wide, out) = (self.shape.qkv(), heads * head_dim);
        let grow = |buffer: &mut Vec<f32>, n: usize| {
            if buffer.len() < n {
                buffer.resize(n, 0.0);
            }
        };
        for a in &mut self.layers {
            for buffer in [&mut a.x, &mut a.z1, &mut a.mid, &mut a.z2] {
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
        for buffer in [&mut s.last, &mut s.z, &mut s.dx, &mut s.dz] {
            grow(buffer, n * d);
        }
        grow(&mut s.inverse, n);
        grow(&mut s.losses, n);
        grow(&mut s.logits, n.min(LOGIT_TOKENS) * vocab);
        grow(&mut s.hidden, n * ff);
        grow(&mut s.dgate_up, n * 2 * ff);
        grow(&mut s.d_o, n * out);
        grow(&mut s.dqkv, n * wide);
        grow(&mut s.partial, n.div_ceil(TOKENS) * d);
    }

    fn forward(&mut self, p: &[f32], batch: &Batch) {
        let Shape { d, heads, kv_heads, head_dim, ff, eps, .. } = self.shape;
        let (n, wide, out, row) = (batch.len(), self.shape.qkv(), heads * head_dim, self.row);
        let embedding = &p[self.layout.embedding.clone()];
        let first = &mut self.layers[0].x[..n * d];
        first.par_chunks_mut(TOKENS * d).zip(batch.inputs.par_chunks(TOKENS)).for_each(|(x, ids)| {
            for (x, &id) in x.chunks_exact_mut(d).zip(ids) {
                x.copy_from_slice(&embedding[id as usize * d..][..d]);
            }
        });
        let hidden = &mut self.scratch.hidden[..n * ff];
        for (l, at) in self.layout.layers.iter().enumerate() {
            let (done, next) = self.layers.split_at_mut(l + 1);
            let a = &mut done[l];
            let output = next.first_mut().map_or(&mut self.scratch.last, |a| &mut a.x);
            let output = &mut output[..n * d];
            let (x, z1, mid, z2) = (&a.x[..n * d], &mut a.z1[..n * d], &mut a.mid[..n * d], &mut a.z2[..n * d]);
            let (qkv, o, gate_up) = (&mut a.qkv[..n * wide], &mut a.o[..n * out], &mut a.gate_up[..n * 2 * ff]);

            rms_norm(x, &p[at.norm1.clone()], eps, z1, &mut a.inverse1[..n]);
            linear(row, z1, &p[at.qkv.clone()], qkv, [n, d, wide], false);
            rotate(&self.rope, head_dim, &batch.documents, qkv, wide, (heads + kv_heads) * head_dim, 1.0);
            attention::forward(&self.shape, row, &batch.documents, qkv, o, &mut a.log_sums[..n * heads]);
            mid.copy_from_slice(x);
            linear(row, o, &p[at.o.clone()], mid, [n, out, d], true);

            rms_norm(mid, &p[at.norm2.clone()], eps, z2, &mut a.inverse2[..n]);
            linear(row, z2, &p[at.gate_up.clone()], gate_up, [n, d, 2 * ff], false);
            hidden.par_chunks_mut(TOKENS * ff).zip(gate_up.par_chunks(TOKENS * 2 * ff)).for_each(|(h, gu)| {
                h.chunks_exact_mut(ff).zip(gu.chunks_exact(2 * ff)).for_each(|(h, gu)| train_ops::swiglu(gu, h));
            });
            output.copy_from_slice(mid);
            linear(row, hidden, &p[at.down.clone()], output, [n, ff, d], true);
        }
        let s = &mut self.scratch;
        rms_norm(&s.last[..n * d], &p[self.layout.norm.clone()], eps, &mut s.z[..n * d], &mut s.inverse[..n]);
    }

    /// Logits and losses in chunks of tokens; with a gradient, `dz` of the last norm and the embedding's share as output.
    fn head(&mut self, p: &[f32], batch: &Batch, mut gradient: Option<(f64, &mut [f32])>) -> Losses {
        let (d, vocab, n, row) = (self.shape.d, self.shape.vocab, batch.len(), self.row);
        let at = self.layout.embedding.clone();
        let embedding = MatRef::row_major(&p[at.clone()], vocab, d);
        let scale = gradient.as_ref().map_or(0.0, |(total, _)| 1.0 / total);
        let s = &mut self.scratch;
        for first in (0..n).step_by(LOGIT_TOKENS) {
            let m = LOGIT_TOKENS.min(n - first);
            let z = MatRef::row_major(&s.z[first * d..][..m * d], m, d);
            let logits = &mut s.logits[..m * vocab];
            gemm_parallel(row, z, embedding.transposed(), MatMut::row_major(logits, m, vocab), false);
            let (targets, weights) = (&batch.targets[first..][..m], &batch.weights[first..][..m]);
            let losses = &mut s.losses[first..][..m];
            logits.par_chunks_mut(vocab).zip(losses).zip(targets).zip(weights).for_each(|(((logits, loss), &target), &weight)| {
                *loss = train_ops::cross_entropy(logits, target as usize, (f64::from(weight) * scale) as f32);
            });
            if let Some((_, g)) = &mut gradient {
                let dlogits = MatRef::row_major(logits, m, vocab);
                let dz = MatMut::row_major(&mut s.dz[first * d..][..m * d], m, d);
                gemm_parallel(row, dlogits, embedding, dz, false);
                gemm_parallel(row, dlogits.transposed(), z, MatMut::row_major(&mut g[at.clone()], vocab, d), true);
            }
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
        let s = &mut self.scratch;
        let (dx, dz, d_o) = (&mut s.dx[..n * d], &mut s.dz[..n * d], &mut s.d_o[..n * out]);
        let (hidden, dgate_up, dqkv) = (&mut s.hidden[..n * ff], &mut s.dgate_up[..n * 2 * ff], &mut s.dqkv[..n * wide]);
        let norm = self.layout.norm.clone();
        dx.fill(0.0);
        rms_norm_backward(dz, &s.last[..n * d], &p[norm.clone()], &s.inverse[..n], dx, &mut g[norm], &mut s.partial);
        for (a, at) in self.layers.iter().zip(&self.layout.layers).rev() {
            let (x, z1, mid, z2) = (&a.x[..n * d], &a.z1[..n * d], &a.mid[..n * d], &a.z2[..n * d]);
            let (qkv, o, gate_up) = (&a.qkv[..n * wide], &a.o[..n * out], &a.gate_up[..n * 2 * ff]);

            linear_input(row, dx, &p[at.down.clone()], hidden, [n, ff, d]);
            let rows = hidden.par_chunks_mut(ff).zip(gate_up.par_chunks(2 * ff)).zip(dgate_up.par_chunks_mut(2 * ff));
            rows.with_min_len(TOKENS).for_each(|((dh, gu), dgu)| train_ops::swiglu_backward(gu, dh, dgu));
            linear_weight(row, dx, hidden, &mut g[at.down.clone()], [n, ff, d]);
            linear_input(row, dgate_up, &p[at.gate_up.clone()], dz, [n, d, 2 * ff]);
            linear_weight(row, dgate_up, z2, &mut g[at.gate_up.clone()], [n, d, 2 * ff]);
            let norm = at.norm2.clone();
            rms_norm_backward(dz, mid, &p[norm.clone()], &a.inverse2[..n], dx, &mut g[norm], &mut s.partial);

            linear_input(row, dx, &p[at.o.clone()], d_o, [n, out, d]);
            linear_weight(row, dx, o, &mut g[at.o.clone()], [n, out, d]);
            let saved = attention::Saved { qkv, o, log_sums: &a.log_sums[..n * heads] };
            attention::backward(&self.shape, row, &batch.documents, saved, d_o, dqkv);
            rotate(&self.rope, head_dim, &batch.documents, dqkv, wide, (heads + kv_heads) * head_dim, -1.0);
            linear_input(row, dqkv, &p[at.qkv.clone()], dz, [n, d, wide]);
            linear_weight(row, dqkv, z1, &mut g[at.qkv.clone()], [n, d, wide]);
            let norm = at.norm1.clone();
            rms_norm_backward(dz, x, &p[norm.clone()], &a.inverse1[..n], dx, &mut g[norm], &mut s.partial);
        }
        let embedding = &mut g[self.layout.embedding.clone()];
        for (dx, &id) in dx.chunks_exact(d).zip(&batch.inputs) {
            train_ops::add(&mut embedding[id as usize * d..][..d], dx);
        }
    }
}

/// `y[n, b] (+)= x[n, a] · wᵀ` with `w[b, a]`; the sizes are `[n, a, b]`.
fn linear(row: Row, x: &[f32], w: &[f32], y: &mut [f32], [n, a, b]: [usize; 3], accumulate: bool) {
    let (x, w) = (MatRef::row_major(x, n, a), MatRef::row_major(w, b, a));
    gemm_parallel(row, x, w.transposed(), MatMut::row_major(y, n, b), accumulate);
}

/// `dx[n, a] = dy[n, b] · w[b, a]`.
fn linear_input(row: Row, dy: &[f32], w: &[f32], dx: &mut [f32], [n, a, b]: [usize; 3]) {
    gemm_parallel(row, MatRef::row_major(dy, n, b), MatRef::row_major(w, b, a), MatMut::row_major(dx, n, a), false);
}

/// `dw[b, a] += dyᵀ · x`.
fn linear_weight(row: Row, dy: &[f32], x: &[f32], dw: &mut [f32], [n, a, b]: [usize; 3]) {
    let (dy, x) = (MatRef::row_major(dy, n, b), MatRef::row_major(x, n, a));
    gemm_parallel(row, dy.transposed(), x, MatMut::row_major(dw, b, a), true);
}

fn rms_norm(x: &[f32], weight: &[f32], eps: f32, z: &mut [f32], inverse: &mut [f32]) {
    let chunk = TOKENS * weight.len();
    x.par_chunks(chunk)
        .zip(z.par_chunks_mut(chunk))
        .zip(inverse.par_chunks_mut(TOKENS))
        .for_each(|((x, z), inverse)| train_ops::rms_norm(x, weight, eps, z, inverse));
}

/// Adds to `dx` and `dweight`. The weight's gradient is summed per chunk of tokens, then over the chunks in order.
fn rms_norm_backward(dz: &[f32], x: &[f32], weight: &[f32], inverse: &[f32], dx: &mut [f32], dweight: &mut [f32], partial: &mut [f32]) {
    let d = weight.len();
    let partial = &mut partial[..inverse.len().div_ceil(TOKENS) * d];
    partial.fill(0.0);
    dz.par_chunks(TOKENS * d)
        .zip(x.par_chunks(TOKENS * d))
        .zip(inverse.par_chunks(TOKENS))
        .zip(dx.par_chunks_mut(TOKENS * d))
        .zip(partial.par_chunks_mut(d))
        .for_each(|((((dz, x), inverse), dx), partial)| {
            train_ops::rms_norm_backward(dz, x, weight, inverse, dx, partial);
        });
    partial.chunks_exact(d).for_each(|partial| train_ops::add(dweight, partial));
}

/// Rotates the first `rotated` columns of each row by its position in its document.
fn rotate(rope: &[f32], head_dim: usize, documents: &[usize], rows: &mut [f32], width: usize, rotated: usize, direction: f32) {
    let mut rest = rows;
    let mut parts = Vec::with_capacity(documents.len());
    for &n in documents {
        let (part, after) = rest.split_at_mut(n * width);
        parts.push(part);
        rest = after;
    }
    parts.into_par_iter().for_each(|part| {
        for (row, angles) in part.chunks_exact_mut(width).zip(rope.chunks_exact(head_dim)) {
            train_ops::rotate(&mut row[..rotated], angles, direction);
        }
    });
}
