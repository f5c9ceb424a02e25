//! Loading: how the tensors of a [`ModelSpec`] come into host memory, for this device and others.
//!
//! Sources give them as values (quantised here when INT4 is asked for) or as INT4. q, k and v, and
//! gate and up, are joined row-wise into one matrix each.

use lacuna_kernels::{Int4Matrix, isa};
use lacuna_model::{Head, Int4Parts, LoadError, ModelSpec, Role, TensorSpec, WeightSource};

use super::weights::{Linear, Matrix};
use super::{Cpu, Layer};
use crate::device::Precision;
use crate::device::rope::Rope;

impl Cpu {
    /// Takes all tensors of `spec` from `source`.
    ///
    /// Errors: see [`LoadError`]; also a `LACUNA_ISA` that names no usable kernel row.
    pub(crate) fn load(
        spec: &ModelSpec,
        source: &mut dyn WeightSource,
        precision: Precision,
    ) -> Result<Cpu, LoadError> {
        load(spec, source, precision)
    }
}

fn load(
    spec: &ModelSpec,
    source: &mut dyn WeightSource,
    precision: Precision,
) -> Result<Cpu, LoadError> {
    let tensors = spec.tensors();
    let mut reader = Reader::new(&tensors, source, precision)?;
    let embedding = reader.matrix(None, &[Role::Embedding])?;
    let mut layers = Vec::new();
    for (l, block) in spec.blocks.iter().enumerate() {
        let l = Some(l);
        let head_norms = match block.attention.qk_norm {
            true => Some([reader.vector(l, Role::QueryNorm)?, reader.vector(l, Role::KeyNorm)?]),
            false => None,
        };
        layers.push(Layer {
            attention_norm: reader.vector(l, Role::AttentionNorm)?,
            qkv: reader.linear(l, &[Role::Query, Role::Key, Role::Value])?,
            head_norms,
            output: reader.linear(l, &[Role::Output])?,
            mlp_norm: reader.vector(l, Role::MlpNorm)?,
            gate_up: reader.linear(l, &[Role::Gate, Role::Up])?,
            down: reader.linear(l, &[Role::Down])?,
        });
    }
    let norm = reader.vector(None, Role::FinalNorm)?;
    let head = match spec.head {
        Head::Tied => None,
        Head::Own => Some(reader.matrix(None, &[Role::Head])?),
    };
    source.finish(spec)?;
    Ok(Cpu {
        attention: *spec.attention(),
        hidden: spec.hidden,
        eps: spec.norm_eps,
        embedding,
        layers,
        norm,
        head,
        rope: Rope::new(spec),
    })
}

/// Takes the tensors of a model from its source, as they shall be held.
pub(in crate::device) struct Reader<'a> {
    tensors: &'a [TensorSpec],
    source: &'a mut dyn WeightSource,
    precision: Precision,
}

impl<'a> Reader<'a> {
    /// Errors: a source that has not all layers, and a `LACUNA_ISA` that names no usable kernel row.
    pub(in crate::device) fn new(
        tensors: &'a [TensorSpec],
        source: &'a mut dyn WeightSource,
        precision: Precision,
    ) -> Result<Reader<'a>, LoadError> {
        isa::selected().map_err(Clone::clone)?;
        // A config with too many layers fails here rather than after loading the rest.
        let last = tensors.iter().rev().find(|tensor| tensor.role == Role::AttentionNorm);
        last.map_or(Ok(()), |tensor| source.expect(tensor))?;
        Ok(Reader { tensors, source, precision })
    }

    /// The tensor of a role that the spec has.
    fn tensor(&self, layer: Option<usize>, role: Role, is_bias: bool) -> Option<&'a TensorSpec> {
        self.tensors
            .iter()
            .find(|tensor| (tensor.layer, tensor.role, tensor.is_bias) == (layer, role, is_bias))
    }

    fn weight(&self, layer: Option<usize>, role: Role) -> &'a TensorSpec {
        self.tensor(layer, role, false).expect("a spec lists the weights of its roles")
    }

    pub(in crate::device) fn vector(
        &mut self,
        layer: Option<usize>,
        role: Role,
    ) -> Result<Vec<f32>, LoadError> {
        let mut out = Vec::new();
        self.source.append_values(self.weight(layer, role), &mut out)?;
        Ok(out)
    }

    /// Matrices of equal width joined row-wise.
    pub(in crate::device) fn matrix(
        &mut self,
        layer: Option<usize>,
        roles: &[Role],
    ) -> Result<Matrix, LoadError> {
        let parts: Vec<&TensorSpec> = roles.iter().map(|role| self.weight(layer, *role)).collect();
        let n = parts.iter().map(|part| part.rows).sum();
        let k = parts[0].columns.unwrap_or(1);
        let (file, name) = (self.source.file().to_owned(), parts[0].name.clone());
        let int4 = |source| LoadError::Int4 { file, name, source };
        if self.precision == Precision::Int4 {
            let mut stored = Int4Parts::default();
            let mut is_stored = true;
            for part in &parts {
                is_stored = is_stored && self.source.append_int4(part, &mut stored)?;
            }
            if is_stored {
                return Int4Matrix::from_file_parts(n, k, &stored.nibbles, &stored.scales)
                    .map(Matrix::Int4)
                    .map_err(int4);
            }
        }
        let mut data = Vec::new();
        for part in &parts {
            self.source.append_values(part, &mut data)?;
        }
        match self.precision {
            Precision::F32 => Ok(Matrix::F32 { n, k, data }),
            Precision::Int4 => Int4Matrix::quantize(n, k, &data).map(Matrix::Int4).map_err(int4),
        }
    }

    /// As [`Reader::matrix`], with the biases where there are some.
    pub(in crate::device) fn linear(
        &mut self,
        layer: Option<usize>,
        roles: &[Role],
    ) -> Result<Linear, LoadError> {
        let matrix = self.matrix(layer, roles)?;
        let biases: Vec<&TensorSpec> =
            roles.iter().filter_map(|role| self.tensor(layer, *role, true)).collect();
        if biases.is_empty() {
            return Ok(Linear { matrix, bias: None });
        }
        let mut all = Vec::new();
        for bias in biases {
            self.source.append_values(bias, &mut all)?;
        }
        Ok(Linear { matrix, bias: Some(all) })
    }
}
