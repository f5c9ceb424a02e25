//! AdamW and Muon over the flat parameter vector.
//!
//! Muon (Jordan et al., 2024): the update of a matrix is its momentum made orthogonal by five
//! Newton–Schulz steps, here scaled by `0.2 · √max(rows, columns)` (Liu et al., 2025), so that its
//! size is like AdamW's. Embedding and norms always take AdamW.

use lacuna_kernels::gemm::{MatMut, MatRef, Row, gemm};
use lacuna_kernels::train_ops::{self, AdamW};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::shape::{Kind, Tensor};
use super::weights::split;

/// Which rule moves the matrices of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// AdamW for everything.
    AdamW,
    /// Muon for the matrices of the layers, AdamW for the rest.
    Muon,
}

/// Settings of the optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptimizerConfig {
    /// The rule of the matrices.
    pub rule: Rule,
    /// Peak learning rate of the matrices and of adapters.
    pub rate: f64,
    /// Peak learning rate of the embedding.
    #[serde(alias = "other_rate")]
    pub embedding_rate: f64,
    /// Peak learning rate of the norms; that of the embedding if none is given.
    pub norm_rate: Option<f64>,
    /// Decay of AdamW's first moment.
    pub beta1: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Momentum of Muon.
    pub momentum: f64,
    /// Decoupled weight decay of the matrices (embedding, norms and adapters have none).
    pub decay: f64,
    /// Largest norm of the whole gradient.
    pub clip: f64,
}

impl Default for OptimizerConfig {
    fn default() -> OptimizerConfig {
        OptimizerConfig {
            rule: Rule::AdamW,
            rate: 2e-3,
            embedding_rate: 2e-3,
            norm_rate: None,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            momentum: 0.95,
            decay: 0.1,
            clip: 1.0,
        }
    }
}

impl OptimizerConfig {
    /// Muon at the rates that the embedded model is trained with (at equal steps 0.6 nats below
    /// AdamW's defaults after 100 steps).
    pub fn muon() -> OptimizerConfig {
        OptimizerConfig {
            rule: Rule::Muon,
            rate: 4e-3,
            embedding_rate: 3e-3,
            ..OptimizerConfig::default()
        }
    }
}

/// Moments of the optimizer, tensor after trained tensor; `v` of a matrix stays zero under Muon.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    pub(crate) m: Vec<f32>,
    pub(crate) v: Vec<f32>,
    /// Steps taken.
    pub(crate) t: u64,
}

/// A tensor with its part of every flat vector.
struct Part<'a> {
    tensor: &'a Tensor,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Optimizer {
    /// Fresh moments for `n` parameters.
    pub fn new(n: usize) -> Optimizer {
        Optimizer { m: vec![0.0; n], v: vec![0.0; n], t: 0 }
    }

    /// One step of `tensors`, whose ranges are places in `p` and `g`, at `factor` of the peak
    /// rates; returns the norm of their gradient before clipping. If that is not finite, nothing is
    /// changed.
    ///
    /// Panics: if the vectors do not fit the tensors.
    pub fn step(
        &mut self,
        tensors: &[Tensor],
        p: &mut [f32],
        g: &[f32],
        config: &OptimizerConfig,
        factor: f64,
        row: Row,
    ) -> f64 {
        let n: usize = tensors.iter().map(|t| t.range.len()).sum();
        assert!(
            p.len() == g.len() && self.m.len() == n && self.v.len() == n,
            "vectors do not fit the trained tensors"
        );
        let of_tensor = |t: &Tensor| {
            g[t.range.clone()]
                .par_chunks(1 << 14)
                .map(|g| train_ops::dot(g, g))
                .collect::<Vec<f32>>()
        };
        let squares: Vec<f32> = tensors.iter().flat_map(of_tensor).collect();
        let norm = squares.iter().map(|&s| f64::from(s)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return norm;
        }
        self.t += 1;
        let gradient_scale = (config.clip / norm.max(1e-12)).min(1.0) as f32;
        let power = i32::try_from(self.t).unwrap_or(i32::MAX);
        let adamw = AdamW {
            rate: (config.embedding_rate * factor) as f32,
            beta1: config.beta1 as f32,
            beta2: config.beta2 as f32,
            correction1: (1.0 / (1.0 - config.beta1.powi(power))) as f32,
            correction2: (1.0 / (1.0 - config.beta2.powi(power))) as f32,
            eps: config.eps as f32,
            decay: 0.0,
            gradient_scale,
        };
        let rate = (config.rate * factor) as f32;
        let adapters = AdamW { rate, ..adamw };
        let matrices = AdamW { decay: config.decay as f32, ..adapters };
        let norms = AdamW {
            rate: (config.norm_rate.unwrap_or(config.embedding_rate) * factor) as f32,
            ..adamw
        };
        let muon = Muon {
            rate,
            momentum: config.momentum as f32,
            decay: config.decay as f32,
            gradient_scale,
        };
        let (orthogonal, plain): (Vec<_>, Vec<_>) =
            parts(tensors, p, g, &mut self.m, &mut self.v).into_iter().partition(|part| {
                config.rule == Rule::Muon
                    && matches!(part.tensor.kind, Kind::Matrix | Kind::Residual)
            });
        for part in plain {
            let step = match part.tensor.kind {
                Kind::Matrix | Kind::Residual => matrices,
                Kind::Adapter => adapters,
                Kind::Norm => norms,
                Kind::Embedding => adamw,
            };
            const CHUNK: usize = 1 << 14;
            let chunks = part.p.par_chunks_mut(CHUNK).zip(part.g.par_chunks(CHUNK));
            chunks
                .zip(part.m.par_chunks_mut(CHUNK).zip(part.v.par_chunks_mut(CHUNK)))
                .for_each(|((p, g), (m, v))| train_ops::adamw(p, g, m, v, &step));
        }
        orthogonal.into_par_iter().with_max_len(1).for_each(|part| muon.step(part, row));
        norm
    }
}

fn parts<'a>(
    tensors: &'a [Tensor],
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
) -> Vec<Part<'a>> {
    let moments = compact(tensors);
    let (m, v) = (split(&moments, m), split(&moments, v));
    let values = tensors.iter().zip(split(tensors, p));
    values
        .zip(m.into_iter().zip(v))
        .map(|((tensor, p), (m, v))| Part { tensor, p, g: &g[tensor.range.clone()], m, v })
        .collect()
}

/// The tensors as they lie in the moments: without gaps.
pub(crate) fn compact(tensors: &[Tensor]) -> Vec<Tensor> {
    let mut end = 0;
    let mut place = |t: &Tensor| {
        let start = end;
        end += t.range.len();
        Tensor { range: start..end, ..t.clone() }
    };
    tensors.iter().map(&mut place).collect()
}

struct Muon {
    rate: f32,
    momentum: f32,
    decay: f32,
    gradient_scale: f32,
}

impl Muon {
    fn step(&self, part: Part<'_>, row: Row) {
        let Part { tensor, p, g, m, .. } = part;
        let (rows, cols) = (tensor.rows, tensor.cols);
        let mut update = Vec::with_capacity(g.len());
        for (m, g) in m.iter_mut().zip(g) {
            let g = g * self.gradient_scale;
            *m = self.momentum * *m + g;
            update.push(g + self.momentum * *m);
        }
        let update = orthogonalise(&update, rows, cols, row);
        let scale = 0.2 * (rows.max(cols) as f32).sqrt();
        for (p, u) in p.iter_mut().zip(&update) {
            *p -= self.rate * (scale * u + self.decay * *p);
        }
    }
}

/// The nearly orthogonal matrix of the same singular vectors: five steps of the quintic
/// Newton–Schulz iteration, after which every singular value of a full-rank matrix is about 1 (0.7
/// to 1.2).
pub(crate) fn orthogonalise(x: &[f32], rows: usize, cols: usize, row: Row) -> Vec<f32> {
    const STEPS: usize = 5;
    let (a, b, c) = (3.4445, -4.7750, 2.0315);
    let norm = train_ops::dot(x, x).sqrt() + 1e-7;
    let tall = rows > cols;
    let (m, n) = if tall { (cols, rows) } else { (rows, cols) };
    let mut x: Vec<f32> = if tall { transpose(x, rows, cols) } else { x.to_vec() };
    x.iter_mut().for_each(|x| *x /= norm);
    let (mut gram, mut square, mut next) = (vec![0.0; m * m], vec![0.0; m * m], vec![0.0; m * n]);
    for _ in 0..STEPS {
        let view = MatRef::row_major(&x, m, n);
        gemm(row, view, view.transposed(), MatMut::row_major(&mut gram, m, m), false);
        let view = MatRef::row_major(&gram, m, m);
        gemm(row, view, view, MatMut::row_major(&mut square, m, m), false);
        square.iter_mut().zip(&gram).for_each(|(s, g)| *s = b * g + c * *s);
        next.iter_mut().zip(&x).for_each(|(y, x)| *y = a * x);
        let (polynomial, view) = (MatRef::row_major(&square, m, m), MatRef::row_major(&x, m, n));
        gemm(row, polynomial, view, MatMut::row_major(&mut next, m, n), true);
        std::mem::swap(&mut x, &mut next);
    }
    if tall { transpose(&x, m, n) } else { x }
}

fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for (i, x) in x.chunks_exact(cols).enumerate() {
        for (j, x) in x.iter().enumerate() {
            out[j * rows + i] = *x;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::super::shape::Shape;
    use super::*;
    use crate::trainer::shape::Layout;

    #[test]
    fn newton_schulz_makes_matrices_nearly_orthogonal() {
        for row in [Row::F32, Row::Bf16].into_iter().filter(|r| r.is_available()) {
            for (rows, cols) in [(32, 32), (24, 64), (64, 24)] {
                let mut random = Random::new(3);
                let x: Vec<f32> = (0..rows * cols).map(|_| random.normal() * 0.01).collect();
                let o = orthogonalise(&x, rows, cols, row);
                // All singular values near one: the squares sum to the rank, and for the clearly
                // non-square shapes (no tiny singular value at the start) each diagonal entry of
                // the small Gram matrix is near one.
                let rank = rows.min(cols) as f32;
                let sum = train_ops::dot(&o, &o) / rank;
                assert!((0.6..1.3).contains(&sum), "{rows}×{cols} {row}: {sum}");
                let small = if rows > cols { transpose(&o, rows, cols) } else { o };
                let n = rows.max(cols);
                for i in 0..rows.min(cols) {
                    for j in 0..i {
                        let inner = train_ops::dot(&small[i * n..][..n], &small[j * n..][..n]);
                        assert!(
                            inner.abs() < 0.35,
                            "{rows}×{cols} {row}: rows {i} and {j}: {inner}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn adamw_takes_the_rate_as_first_step_and_decays_matrices_alone() {
        let shape = Shape {
            d: 4,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 2,
            ff: 4,
            vocab: 8,
            ..Shape::default()
        };
        let layout = Layout::new(&shape);
        let n = layout.n_parameters();
        let config = OptimizerConfig { clip: 1e9, ..OptimizerConfig::default() };
        let (mut p, g) = (vec![1.0; n], vec![0.5; n]);
        let norm = Optimizer::new(n).step(&layout.tensors, &mut p, &g, &config, 1.0, Row::F32);
        assert!((norm - 0.5 * (n as f64).sqrt()).abs() < 1e-3);
        for t in &layout.tensors {
            let decay = if matches!(t.kind, Kind::Matrix | Kind::Residual) { 0.1 } else { 0.0 };
            let want = 1.0 - 2e-3 * (1.0 + decay);
            assert!(
                p[t.range.clone()].iter().all(|p| (p - want as f32).abs() < 1e-6),
                "{}",
                t.name
            );
        }
    }

    #[test]
    fn clipping_bounds_the_gradient_and_nonsense_changes_nothing() {
        let shape = Shape {
            d: 4,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 2,
            ff: 4,
            vocab: 8,
            ..Shape::default()
        };
        let layout = Layout::new(&shape);
        let n = layout.n_parameters();
        let mut optimizer = Optimizer::new(n);
        let mut p = vec![1.0; n];
        optimizer.step(
            &layout.tensors,
            &mut p,
            &vec![100.0; n],
            &OptimizerConfig::default(),
            1.0,
            Row::F32,
        );
        let clipped = optimizer.m.iter().map(|m| m * m).sum::<f32>().sqrt() / 0.1;
        assert!((clipped - 1.0).abs() < 1e-3, "{clipped}");
        let before = (p.clone(), optimizer.clone());
        let mut g = vec![0.0; n];
        g[7] = f32::NAN;
        assert!(
            !optimizer
                .step(&layout.tensors, &mut p, &g, &OptimizerConfig::default(), 1.0, Row::F32)
                .is_finite()
        );
        assert_eq!((p, optimizer), before);
    }
}
