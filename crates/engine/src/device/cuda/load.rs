//! Loading: tensors come as to the CPU (`cpu/load`), one after the other, and are laid out for the
//! GPU.

use std::sync::Arc;

use lacuna_kernels::cuda::store::LONGEST_HEAD;
use lacuna_kernels::cuda::weights::{F32Weights, Int4Weights, Weights, vector};
use lacuna_kernels::cuda::{Gpu, GpuError, Room};
use lacuna_model::{AttentionSpec, Head, LoadError, ModelSpec, Role, WeightSource};

use super::{Cuda, Layer, Linear};
use crate::device::Precision;
use crate::device::cpu::{self, Matrix, Reader};
use crate::device::rope::Rope;

impl Cuda {
    /// Takes all tensors of `spec` from `source`.
    ///
    /// Errors: see [`LoadError`]; also a shape that the kernels do not take, or too little memory.
    pub(crate) fn load(
        gpu: Arc<dyn Gpu>,
        spec: &ModelSpec,
        source: &mut dyn WeightSource,
        precision: Precision,
    ) -> Result<Cuda, LoadError> {
        refuse(spec)?;
        let tensors = spec.tensors();
        let mut reader = Reader::new(&tensors, source, precision)?;
        let embedding = matrix(&gpu, &mut reader, None, &[Role::Embedding])?;
        let mut layers = Vec::new();
        for l in 0..spec.layers() {
            let l = Some(l);
            let norm = |reader: &mut Reader, role| -> Result<Room, LoadError> {
                let values = reader.vector(l, role)?;
                Ok(vector(&gpu, &[values.len()], &values)?)
            };
            let head_norms = match spec.attention().qk_norm {
                true => {
                    Some([norm(&mut reader, Role::QueryNorm)?, norm(&mut reader, Role::KeyNorm)?])
                }
                false => None,
            };
            layers.push(Layer {
                attention_norm: norm(&mut reader, Role::AttentionNorm)?,
                qkv: linear(&gpu, &mut reader, l, &[Role::Query, Role::Key, Role::Value], 1)?,
                head_norms,
                output: linear(&gpu, &mut reader, l, &[Role::Output], 1)?,
                mlp_norm: norm(&mut reader, Role::MlpNorm)?,
                gate_up: linear(&gpu, &mut reader, l, &[Role::Gate, Role::Up], 2)?,
                down: linear(&gpu, &mut reader, l, &[Role::Down], 1)?,
            });
        }
        let norm = reader.vector(None, Role::FinalNorm)?;
        let norm = vector(&gpu, &[norm.len()], &norm)?;
        let head = match spec.head {
            Head::Tied => None,
            Head::Own => Some(matrix(&gpu, &mut reader, None, &[Role::Head])?),
        };
        source.finish(spec)?;
        let (attention, hidden, eps) = (*spec.attention(), spec.hidden, spec.norm_eps);
        let rope = Rope::new(spec);
        Ok(Cuda { gpu, attention, hidden, eps, embedding, layers, norm, head, rope })
    }
}

/// Errors: a shape that the kernels do not take.
fn refuse(spec: &ModelSpec) -> Result<(), LoadError> {
    let AttentionSpec { head_dim, .. } = *spec.attention();
    if head_dim % 2 == 1 || head_dim > LONGEST_HEAD {
        let what = format!("attention with heads of {head_dim} elements");
        return Err(LoadError::NotOnGpu { what });
    }
    Ok(())
}

fn matrix(
    gpu: &Arc<dyn Gpu>,
    reader: &mut Reader,
    layer: Option<usize>,
    roles: &[Role],
) -> Result<Weights, LoadError> {
    Ok(upload(gpu, &reader.matrix(layer, roles)?, 1)?)
}

/// A matrix and its bias, made of `parts` equal ones that are filled up each by itself.
fn linear(
    gpu: &Arc<dyn Gpu>,
    reader: &mut Reader,
    layer: Option<usize>,
    roles: &[Role],
    parts: usize,
) -> Result<Linear, LoadError> {
    let cpu::Linear { matrix, bias } = reader.linear(layer, roles)?;
    let rows = vec![matrix.outputs() / parts; parts];
    let bias = bias.map(|bias| vector(gpu, &rows, &bias)).transpose()?;
    Ok(Linear { matrix: upload(gpu, &matrix, parts)?, bias })
}

fn upload(gpu: &Arc<dyn Gpu>, matrix: &Matrix, parts: usize) -> Result<Weights, GpuError> {
    let rows = vec![matrix.outputs() / parts; parts];
    match matrix {
        Matrix::F32 { k, data, .. } => F32Weights::upload(gpu, &rows, *k, data).map(Weights::F32),
        Matrix::Int4(w) => {
            let (nibbles, scales) = w.to_file_parts();
            Int4Weights::upload(gpu, &rows, w.k(), &nibbles, &scales).map(Weights::Int4)
        }
    }
}
