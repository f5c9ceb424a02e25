//! The end of the pass: the last norm, logits over the tied embedding, and the loss.
//!
//! Logits never reach memory: a block of tokens meets a block of words at a time, once for the sums
//! of the loss and again for the gradient, which costs less than keeping it.

use std::ops::Range;

use lacuna_kernels::gemm::{MatMut, MatRef, Row, gemm};
use lacuna_kernels::train_ops;

use super::{Block, Norm, PART, add, each};
use crate::trainer::batch::Batch;
use crate::trainer::shape::{Layout, Shape};

/// Tokens and words of a block of logits: the block, its part of the embedding and the gradients of
/// both sides fit a core's second-level cache.
const BLOCK: usize = 512;
const WORDS: usize = 256;
/// Parts of the vocabulary that are computed side by side and then added in order, whatever the
/// number of threads.
const VOCABULARY_PARTS: usize = 4;

/// The operation.
pub(crate) struct Head {
    row: Row,
    norm: Norm,
    embedding: Range<usize>,
    /// Words in a part of the vocabulary.
    words: usize,
    /// The residual stream behind the last layer, `[n,d]`.
    x: Vec<f32>,
    inverse: Vec<f32>,
    z: Vec<f32>,
    /// Of each token.
    pub(crate) losses: Vec<f32>,
    /// Of a block's tokens: the logarithm of the sum of all words' exponentials.
    log_sums: Vec<f32>,
    parts: Vec<VocabularyPart>,
    /// The gradient of `z`, and the norm's of each part of the tokens.
    dz: Vec<f32>,
    norm_gradient: Vec<f32>,
}

/// Buffers of a part of the vocabulary, for a block of tokens.
struct VocabularyPart {
    /// Logits of a block of words.
    logits: Vec<f32>,
    sums: Vec<PartialSum>,
    /// Its share of `dz`.
    dz: Vec<f32>,
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

const NOTHING: PartialSum = PartialSum { top: f32::NEG_INFINITY, sum: 0.0, right: 0.0 };

/// The gradient that is asked for: of `Σ weight · loss / total_weight`.
pub(crate) struct Wanted<'a> {
    pub(crate) total_weight: f64,
    /// The words whose rows have one, if not all.
    pub(crate) words: Option<&'a [u32]>,
    /// That of all parameters, to be added to.
    pub(crate) g: &'a mut [f32],
}

/// A part of the tokens on its way forward.
pub(crate) struct Part<'a> {
    norm: &'a Norm,
    pub(crate) x: &'a mut [f32],
    inverse: &'a mut [f32],
    z: &'a mut [f32],
}

impl Head {
    pub(crate) fn new(shape: &Shape, layout: &Layout, row: Row) -> Head {
        let part = || VocabularyPart {
            logits: vec![0.0; BLOCK * WORDS],
            sums: vec![NOTHING; BLOCK],
            dz: vec![0.0; BLOCK * shape.d],
        };
        let words = shape.vocab.div_ceil(VOCABULARY_PARTS);
        Head {
            row,
            norm: Norm::new(&layout.norm, shape.eps),
            embedding: layout.embedding.clone(),
            words,
            x: Vec::new(),
            inverse: Vec::new(),
            z: Vec::new(),
            losses: Vec::new(),
            log_sums: vec![0.0; BLOCK],
            parts: (0..shape.vocab.div_ceil(words)).map(|_| part()).collect(),
            dz: Vec::new(),
            norm_gradient: Vec::new(),
        }
    }

    /// Takes over the norm's parameters.
    pub(crate) fn set(&mut self, p: &[f32]) {
        self.norm.set(p);
    }

    /// Room for `n` tokens.
    pub(crate) fn resize(&mut self, n: usize) {
        for buffer in [&mut self.x, &mut self.z, &mut self.dz] {
            buffer.resize(n * self.norm.width(), 0.0);
        }
        self.inverse.resize(n, 0.0);
        self.losses.resize(n, 0.0);
    }

    pub(crate) fn parts(&mut self) -> impl ExactSizeIterator<Item = Part<'_>> + Send {
        let (norm, width) = (&self.norm, PART * self.norm.width());
        let kept = self.x.chunks_mut(width).zip(self.inverse.chunks_mut(PART));
        kept.zip(self.z.chunks_mut(width)).map(move |((x, inverse), z)| Part {
            norm,
            x,
            inverse,
            z,
        })
    }

    /// The losses of all tokens, behind [`Part::forward`]; with a gradient, that of the embedding's
    /// rows as output, and that of `z` for [`Head::backward`].
    pub(crate) fn losses(&mut self, p: &[f32], batch: &Batch, mut wanted: Option<Wanted<'_>>) {
        for first in (0..batch.len()).step_by(BLOCK) {
            let tokens = first..batch.len().min(first + BLOCK);
            self.block_losses(p, batch, tokens.clone());
            if let Some(wanted) = &mut wanted {
                self.block_gradient(p, batch, tokens, wanted);
            }
        }
    }

    fn block_losses(&mut self, p: &[f32], batch: &Batch, tokens: Range<usize>) {
        let (d, row, words) = (self.norm.width(), self.row, self.words);
        let z = MatRef::row_major(&self.z[rows(&tokens, d)], tokens.len(), d);
        let targets = &batch.targets[tokens.clone()];
        let embedding = p[self.embedding.clone()].chunks(words * d);
        each(self.parts.iter_mut().zip(embedding).enumerate(), |(i, (part, embedding))| {
            part.sums.fill(NOTHING);
            for (first, embedding) in word_blocks(i * words, embedding, d) {
                let logits = logits_of(row, z, embedding, &mut part.logits);
                let rows = logits.chunks_exact(embedding.len() / d).zip(&mut part.sums);
                for ((logits, all), &target) in rows.zip(targets) {
                    (all.top, all.sum) = train_ops::add_exp(logits, all.top, all.sum);
                    if let Some(right) = logits.get((target as usize).wrapping_sub(first)) {
                        all.right = *right;
                    }
                }
            }
        });
        let losses = self.losses[tokens].iter_mut().zip(&mut self.log_sums);
        for (i, (loss, log_sum)) in losses.enumerate() {
            let parts = || self.parts.iter().map(|part| part.sums[i]);
            let top = parts().fold(f32::NEG_INFINITY, |top, part| top.max(part.top));
            let sum: f32 = parts().map(|part| part.sum * (part.top - top).exp()).sum();
            *log_sum = top + sum.ln();
            *loss = *log_sum - parts().map(|part| part.right).sum::<f32>();
        }
    }

    fn block_gradient(
        &mut self,
        p: &[f32],
        batch: &Batch,
        tokens: Range<usize>,
        wanted: &mut Wanted<'_>,
    ) {
        let (d, row, words, m) = (self.norm.width(), self.row, self.words, tokens.len());
        let z_rows = &self.z[rows(&tokens, d)];
        let z = MatRef::row_major(z_rows, m, d);
        let (log_sums, targets) = (&self.log_sums, &batch.targets[tokens.clone()]);
        let (weights, scale) = (&batch.weights[tokens.clone()], 1.0 / wanted.total_weight);
        let trained = wanted.words;
        let embedding = p[self.embedding.clone()].chunks(words * d);
        let dembedding = wanted.g[self.embedding.clone()].chunks_mut(words * d);
        let parts = self.parts.iter_mut().zip(embedding.zip(dembedding)).enumerate();
        each(parts, |(i, (part, (embedding, dembedding)))| {
            let dz = &mut part.dz[..m * d];
            let blocks = word_blocks(i * words, embedding, d).zip(dembedding.chunks_mut(WORDS * d));
            for (i, ((first, embedding), dembedding)) in blocks.enumerate() {
                let width = embedding.len() / d;
                let logits = logits_of(row, z, embedding, &mut part.logits);
                let rows = logits.chunks_exact_mut(width).zip(log_sums).zip(targets).zip(weights);
                for (((logits, &log_sum), &target), &weight) in rows {
                    let weight = (f64::from(weight) * scale) as f32;
                    train_ops::weighted_exp(logits, log_sum, weight);
                    if let Some(p) = logits.get_mut((target as usize).wrapping_sub(first)) {
                        *p -= weight;
                    }
                }
                let dlogits = MatRef::row_major(logits, m, width);
                let embedding = MatRef::row_major(embedding, width, d);
                gemm(row, dlogits, embedding, MatMut::row_major(dz, m, d), i > 0);
                let Some(trained) = trained else {
                    let dembedding = MatMut::row_major(dembedding, width, d);
                    gemm(row, dlogits.transposed(), z, dembedding, true);
                    continue;
                };
                let here = trained.iter().map(|&id| (id as usize).wrapping_sub(first));
                for word in here.filter(|word| *word < width) {
                    let dembedding = &mut dembedding[word * d..][..d];
                    for (logits, z) in logits.chunks_exact(width).zip(z_rows.chunks_exact(d)) {
                        let dlogit = logits[word];
                        dembedding.iter_mut().zip(z).for_each(|(de, z)| *de += dlogit * z);
                    }
                }
            }
        });
        let dz = &mut self.dz[rows(&tokens, d)];
        dz.fill(0.0);
        self.parts.iter().for_each(|part| add(dz, &part.dz[..m * d]));
    }

    /// The gradient of the last layer's output, and that of the norm, added to `g`.
    pub(crate) fn backward(&mut self, dx: &mut [f32], g: &mut [f32]) {
        let Head { norm, x, inverse, dz, norm_gradient, .. } = self;
        let (norm, d) = (&*norm, norm.width());
        norm_gradient.clear();
        norm_gradient.resize(inverse.len().div_ceil(PART) * d, 0.0);
        let kept = x.chunks(PART * d).zip(inverse.chunks(PART)).zip(dz.chunks(PART * d));
        let made = dx.chunks_mut(PART * d).zip(norm_gradient.chunks_mut(d));
        each(kept.zip(made), |(((x, inverse), dz), (dx, norm_gradient))| {
            dx.fill(0.0);
            norm.backward(dz, x, inverse, dx, norm_gradient);
        });
        norm.add_gradient(norm_gradient, g);
    }
}

impl Part<'_> {
    pub(crate) fn forward(&mut self, block: Block) {
        let (all, d) = (block.of(self.norm.width()), block.of(1));
        self.norm.forward(&self.x[all.clone()], &mut self.z[all], &mut self.inverse[d]);
    }
}

/// The blocks of a part of the vocabulary: the first word of each and its rows of the embedding.
fn word_blocks(first: usize, rows: &[f32], d: usize) -> impl Iterator<Item = (usize, &[f32])> {
    rows.chunks(WORDS * d).enumerate().map(move |(i, rows)| (first + i * WORDS, rows))
}

/// The logits of some tokens for a block of words, `[tokens, words]`, in `out`.
fn logits_of<'a>(row: Row, z: MatRef<'_>, embedding: &[f32], out: &'a mut [f32]) -> &'a mut [f32] {
    let (m, d) = (z.rows(), z.cols());
    let words = embedding.len() / d;
    let out = &mut out[..m * words];
    let embedding = MatRef::row_major(embedding, words, d).transposed();
    gemm(row, z, embedding, MatMut::row_major(out, m, words), false);
    out
}

/// The places of some tokens' elements.
fn rows(tokens: &Range<usize>, d: usize) -> Range<usize> {
    tokens.start * d..tokens.end * d
}

#[cfg(test)]
mod tests {
    use super::super::blocks;
    use super::super::check::{assert_gradient, assert_parameters, numbers, tiny};
    use super::*;

    /// The embedding here as the output's matrix alone.
    #[test]
    fn the_way_back_is_the_derivative() {
        let (shape, layout, p) = tiny();
        let (d, n) = (shape.d, PART + 70);
        let id = |i: usize| (i * 7919 % shape.vocab) as u32;
        let batch = Batch {
            inputs: vec![0; n],
            targets: (0..n).map(id).collect(),
            weights: (0..n).map(|i| 0.5 + (i % 3) as f32).collect(),
            middle: vec![false; n],
            documents: vec![n],
        };
        // Large, so that differences stand out.
        let total_weight = 10.0;
        let run = |p: &[f32], x: &[f32], words: Option<&[u32]>| {
            let (mut dx, mut g) = (vec![0.0; n * d], vec![0.0; p.len()]);
            let mut head = Head::new(&shape, &layout, Row::F32);
            head.set(p);
            head.resize(n);
            each(head.parts().zip(x.chunks(PART * d)), |(mut part, x)| {
                part.x.copy_from_slice(x);
                blocks(x.len() / d).for_each(|block| part.forward(block));
            });
            head.losses(p, &batch, Some(Wanted { total_weight, words, g: &mut g }));
            head.backward(&mut dx, &mut g);
            let weighted = head.losses.iter().zip(&batch.weights);
            let loss: f64 = weighted.map(|(l, w)| f64::from(*l) * f64::from(*w)).sum();
            (loss / total_weight, dx, g)
        };
        let x = numbers(n * d, 1.0, 1);
        let (_, dx, g) = run(&p, &x, None);
        assert_gradient("the input", &x, &dx, |x| run(&p, x, None).0);
        let places = [("norm", &layout.norm), ("embedding", &layout.embedding)];
        assert_parameters(&places, &p, &g, |p| run(p, &x, None).0);

        let words = [0, 3, 255, 256, 274, 275, 1_099];
        let (_, _, some) = run(&p, &x, Some(&words));
        let embedding = layout.embedding.clone();
        let rows = g[embedding.clone()].chunks(d).zip(some[embedding].chunks(d)).enumerate();
        for (word, (all, some)) in rows {
            let close = all.iter().zip(some).all(|(a, b)| (a - b).abs() < 1e-4);
            let is_asked_for = words.contains(&(word as u32));
            assert!(if is_asked_for { close } else { some.iter().all(|g| *g == 0.0) }, "{word}");
        }
    }
}
