//! Low-rank adapters (LoRA, Hu et al., 2021) over frozen parameters: `W = W₀ + alpha/rank · B·A`
//! for the seven projections of a layer; norms and the embeddings of some tokens (the markers,
//! which a base that never infilled has not learnt) are trained whole.
//!
//! The sum is formed once a step, so that passes and INT4 rounding see one matrix, as the merged
//! model will have it. Names and shapes are those of PEFT's `adapter_model.safetensors`.

use std::ops::Range;

use lacuna_kernels::gemm::{MatMut, MatRef, Row, gemm};
use lacuna_model::Role;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Weights, split};
use crate::trainer::error::TrainError;
use crate::trainer::optimizer::{Optimizer, OptimizerConfig};
use crate::trainer::random::Random;
use crate::trainer::shape::{Kind, Layout, Tensor};

/// What is adapted, and how finely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// Rank of the products, the same for all projections.
    pub rank: usize,
    /// The product counts `alpha / rank` times.
    pub alpha: f32,
    /// Token ids, ascending, whose embeddings are trained; none if lower layers are frozen.
    pub tokens: Vec<u32>,
}

impl AdapterConfig {
    /// Refuses ranks and scales that cannot work.
    pub fn check(&self, vocab: usize) -> Result<(), TrainError> {
        if !(1..=1024).contains(&self.rank) || !self.alpha.is_finite() || self.alpha <= 0.0 {
            return Err(TrainError::Config(format!(
                "adapters of rank {} and alpha {}: 1 to 1024, and above 0",
                self.rank, self.alpha
            )));
        }
        if !self.tokens.is_sorted_by(|a, b| a < b)
            || self.tokens.iter().any(|&id| id as usize >= vocab)
        {
            return Err(TrainError::Config(format!(
                "tokens to train: ascending ids below {vocab}"
            )));
        }
        Ok(())
    }

    fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// `adapter_config.json` as PEFT reads it.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": "",
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            "modules_to_save": ["input_layernorm", "post_attention_layernorm", "norm"],
            "trainable_token_indices": {"embed_tokens": self.tokens},
        })
    }
}

/// A projection and the places of its two factors in the trained vector.
struct Pair {
    /// Index in the layout.
    tensor: usize,
    a: Range<usize>,
    b: Range<usize>,
}

/// Frozen parameters with adapters over them.
pub struct Adapter {
    config: AdapterConfig,
    layout: Layout,
    base: Vec<f32>,
    operand: Vec<f32>,
    values: Vec<f32>,
    gradient: Vec<f32>,
    tensors: Vec<Tensor>,
    pairs: Vec<Pair>,
    /// Norms: index in the layout, place in the trained vector.
    norms: Vec<(usize, Range<usize>)>,
    /// The rows of the embedding, if there are any.
    rows: Range<usize>,
}

impl Adapter {
    /// Fresh adapters over `base`, which change nothing yet: `B` is zero. Layers below
    /// `frozen_layers` get none.
    ///
    /// Panics: if the parameters do not fit the layout.
    pub fn new(
        layout: &Layout,
        base: Vec<f32>,
        config: AdapterConfig,
        frozen_layers: usize,
        seed: u64,
    ) -> Adapter {
        assert_eq!(base.len(), layout.n_parameters(), "parameters do not fit the model");
        let mut random = Random::new(seed ^ 0x6c6f_7261);
        let (mut tensors, mut values): (Vec<Tensor>, Vec<f32>) = (Vec::new(), Vec::new());
        let (mut pairs, mut norms) = (Vec::new(), Vec::new());
        let d = layout.tensors[0].cols;
        let embedding = &base[layout.embedding.clone()];
        let tokens: &[u32] = if frozen_layers == 0 { &config.tokens } else { &[] };
        for &id in tokens {
            values.extend_from_slice(&embedding[id as usize * d..][..d]);
        }
        let rows = 0..values.len();
        if !tokens.is_empty() {
            let name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
                .to_owned();
            let (role, kind) = (Role::Embedding, Kind::Embedding);
            tensors.push(Tensor {
                name,
                role,
                layer: None,
                range: rows.clone(),
                rows: tokens.len(),
                cols: d,
                kind,
            });
        }
        for (i, t) in layout.tensors.iter().enumerate() {
            if t.role == Role::Embedding || t.layer.is_some_and(|l| l < frozen_layers) {
                continue;
            }
            let mut place = |suffix: &str, rows: usize, cols: usize, kind: Kind, values: &[f32]| {
                let range = values.len() - rows * cols..values.len();
                let name = format!(
                    "base_model.model.{}{suffix}",
                    t.name.strip_suffix(".weight").unwrap_or(&t.name)
                );
                tensors.push(Tensor {
                    name,
                    role: t.role,
                    layer: t.layer,
                    range: range.clone(),
                    rows,
                    cols,
                    kind,
                });
                range
            };
            if t.kind == Kind::Norm {
                values.extend_from_slice(&base[t.range.clone()]);
                norms.push((i, place(".weight", 1, t.cols, Kind::Norm, &values)));
                continue;
            }
            // The deviation of PEFT's uniform numbers.
            let deviation = 1.0 / (3.0 * t.cols as f32).sqrt();
            values.extend((0..config.rank * t.cols).map(|_| random.normal() * deviation));
            let a = place(".lora_A.weight", config.rank, t.cols, Kind::Adapter, &values);
            values.resize(values.len() + t.rows * config.rank, 0.0);
            let b = place(".lora_B.weight", t.rows, config.rank, Kind::Adapter, &values);
            pairs.push(Pair { tensor: i, a, b });
        }
        let (operand, gradient) = (base.clone(), vec![0.0; values.len()]);
        Adapter {
            config,
            layout: layout.clone(),
            base,
            operand,
            values,
            gradient,
            tensors,
            pairs,
            norms,
            rows,
        }
    }

    /// Forms the sums anew.
    fn refresh(&mut self) {
        let Adapter { config, layout, base, operand, values, pairs, norms, rows, .. } = self;
        let (values, rank, scale) = (&values[..], config.rank, config.scale());
        operand.copy_from_slice(base);
        let d = layout.tensors[0].cols;
        let embedding = &mut operand[layout.embedding.clone()];
        for (row, &id) in values[rows.clone()].chunks_exact(d).zip(&config.tokens) {
            embedding[id as usize * d..][..d].copy_from_slice(row);
        }
        for (tensor, at) in norms.iter() {
            operand[layout.tensors[*tensor].range.clone()].copy_from_slice(&values[at.clone()]);
        }
        let projections = split(pairs.iter().map(|p| &layout.tensors[p.tensor]), operand);
        projections.into_par_iter().zip(&*pairs).with_max_len(1).for_each(|(w, pair)| {
            let t = &layout.tensors[pair.tensor];
            let b: Vec<f32> = values[pair.b.clone()].iter().map(|b| b * scale).collect();
            let a = MatRef::row_major(&values[pair.a.clone()], rank, t.cols);
            gemm(
                Row::F32,
                MatRef::row_major(&b, t.rows, rank),
                a,
                MatMut::row_major(w, t.rows, t.cols),
                true,
            );
        });
    }

    /// The gradient of the trained tensors from that of the operand: `dB = s·dW·Aᵀ`, `dA =
    /// s·Bᵀ·dW`.
    fn project(&mut self, operand: &[f32]) {
        let Adapter { config, layout, values, gradient, tensors, pairs, norms, rows, .. } = self;
        let (values, rank, scale) = (&values[..], config.rank, config.scale());
        let d = layout.tensors[0].cols;
        let embedding = &operand[layout.embedding.clone()];
        for (row, &id) in gradient[rows.clone()].chunks_exact_mut(d).zip(&config.tokens) {
            row.copy_from_slice(&embedding[id as usize * d..][..d]);
        }
        for (tensor, at) in norms.iter() {
            gradient[at.clone()].copy_from_slice(&operand[layout.tensors[*tensor].range.clone()]);
        }
        let factors = split(tensors.iter().filter(|t| t.kind == Kind::Adapter), gradient);
        let mut factors = factors.into_iter();
        let both: Vec<_> = pairs
            .iter()
            .zip(std::iter::from_fn(|| Some((factors.next()?, factors.next()?))))
            .collect();
        both.into_par_iter().with_max_len(1).for_each(|(pair, (da, db))| {
            let t = &layout.tensors[pair.tensor];
            let dw = MatRef::row_major(&operand[t.range.clone()], t.rows, t.cols);
            let a = MatRef::row_major(&values[pair.a.clone()], rank, t.cols);
            let b = MatRef::row_major(&values[pair.b.clone()], t.rows, rank);
            gemm(Row::F32, dw, a.transposed(), MatMut::row_major(db, t.rows, rank), false);
            gemm(Row::F32, b.transposed(), dw, MatMut::row_major(da, rank, t.cols), false);
            da.iter_mut().chain(db).for_each(|g| *g *= scale);
        });
    }
}

impl Weights for Adapter {
    fn operand(&self) -> &[f32] {
        &self.operand
    }

    fn base(&self) -> Option<&[f32]> {
        Some(&self.base)
    }

    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn values(&self) -> &[f32] {
        &self.values
    }

    fn set_values(&mut self, values: Vec<f32>) {
        assert_eq!(values.len(), self.values.len(), "values do not fit the adapters");
        self.values = values;
        self.refresh();
    }

    fn step(
        &mut self,
        gradient: &[f32],
        optimizer: &mut Optimizer,
        config: &OptimizerConfig,
        factor: f64,
        row: Row,
    ) -> f64 {
        self.project(gradient);
        let norm =
            optimizer.step(&self.tensors, &mut self.values, &self.gradient, config, factor, row);
        if norm.is_finite() {
            self.refresh();
        }
        norm
    }
}
