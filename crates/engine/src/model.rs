//! The model in memory: how the tensors of a [`ModelSpec`] come into it.
//!
//! Sources give them as values (quantised here when INT4 is asked for) or as INT4. q, k and v, and
//! gate and up, are joined row-wise into one matrix each.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use lacuna_kernels::{Int4Matrix, isa};
use lacuna_model::{
    Checkpoint, Head, Int4Parts, LoadError, ModelSpec, Packed, Role, TensorSpec, WeightSource,
    read_spec,
};

use crate::rope::Rope;
use crate::weights::{Linear, Matrix};

/// How weights are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As in the checkpoint, widened to f32: the reference.
    F32,
    /// Linear layers and embedding in INT4 (group 32), norms and biases f32.
    Int4,
}

/// Facts about a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Weights, each counted once.
    pub parameters: u64,
    /// Bytes of weights in memory.
    pub bytes: usize,
    pub precision: Precision,
}

/// A model in memory: immutable, shared between threads.
pub struct Model {
    /// Tells a cache of this model from one of another.
    pub(crate) id: u64,
    pub(crate) spec: ModelSpec,
    info: Info,
    pub(crate) embedding: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    /// `None`: tied to the embedding.
    pub(crate) head: Option<Matrix>,
    pub(crate) rope: Rope,
}

pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    /// q, k, v row-wise.
    pub(crate) qkv: Linear,
    /// Norms of each head of the queries and of the keys, `[head_dim]` each.
    pub(crate) head_norms: Option<[Vec<f32>; 2]>,
    pub(crate) output: Linear,
    pub(crate) mlp_norm: Vec<f32>,
    /// gate, up row-wise.
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

impl Model {
    /// Loads a directory in Hugging Face layout, a directory with one `*.lacuna.safetensors`, or
    /// such a file.
    ///
    /// Errors: see [`LoadError`]; also a `LACUNA_ISA` that names no usable kernel row.
    pub fn load(path: impl AsRef<Path>, precision: Precision) -> Result<Self, LoadError> {
        let files = lacuna_model::open(path.as_ref())?;
        let (spec, mut source) = files.source()?;
        Self::build(spec, &mut *source, precision)
    }

    /// Loads a checkpoint from memory: the bytes of `config.json` and of one `.safetensors` file.
    pub fn from_checkpoint(
        config: &[u8],
        weights: &[u8],
        precision: Precision,
    ) -> Result<Self, LoadError> {
        let spec = read_spec(config)
            .map_err(|source| LoadError::Config { file: "config.json".to_owned(), source })?;
        Self::build(spec, &mut Checkpoint::of_bytes("model.safetensors", weights)?, precision)
    }

    /// Loads a packed model from memory, for example one embedded in the binary.
    pub fn from_packed(bytes: &[u8]) -> Result<Self, LoadError> {
        let (spec, mut source) = Packed::of_bytes("embedded model", bytes)?;
        Self::build(spec, &mut source, Precision::Int4)
    }

    fn build(
        spec: ModelSpec,
        source: &mut dyn WeightSource,
        precision: Precision,
    ) -> Result<Self, LoadError> {
        isa::selected().map_err(Clone::clone)?;
        let tensors = spec.tensors();
        // A config with too many layers fails here rather than after loading the rest.
        let last = tensors.iter().rev().find(|tensor| tensor.role == Role::AttentionNorm);
        last.map_or(Ok(()), |tensor| source.expect(tensor))?;
        let mut reader = Reader { tensors: &tensors, source, precision };
        let embedding = reader.matrix(None, &[Role::Embedding])?;
        let mut layers = Vec::new();
        for (l, block) in spec.blocks.iter().enumerate() {
            let l = Some(l);
            let head_norms = match block.attention.qk_norm {
                true => {
                    Some([reader.vector(l, Role::QueryNorm)?, reader.vector(l, Role::KeyNorm)?])
                }
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
        source.finish(&spec)?;
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let rope = Rope::new(&spec);
        let info = Info { parameters: spec.parameters(), bytes: 0, precision };
        let mut model = Model {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            spec,
            info,
            embedding,
            layers,
            norm,
            head,
            rope,
        };
        model.info.bytes = model.bytes();
        Ok(model)
    }

    /// The shape of this model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Parameters, bytes, precision.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Bytes of weights in memory.
    fn bytes(&self) -> usize {
        let vectors =
            |all: &[Vec<f32>]| all.iter().map(|vector| size_of_val(&vector[..])).sum::<usize>();
        let head_norms =
            |layer: &Layer| layer.head_norms.as_ref().map_or(0, |norms| vectors(norms));
        let norms = |layer: &Layer| {
            size_of_val(&layer.attention_norm[..])
                + size_of_val(&layer.mlp_norm[..])
                + head_norms(layer)
        };
        let matrices = |layer: &Layer| {
            layer.qkv.bytes() + layer.output.bytes() + layer.gate_up.bytes() + layer.down.bytes()
        };
        self.embedding.bytes()
            + self.layers.iter().map(|layer| matrices(layer) + norms(layer)).sum::<usize>()
            + size_of_val(&self.norm[..])
            + self.head.as_ref().map_or(0, Matrix::bytes)
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("spec", &self.spec)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// Takes the tensors of a model from its source, as they shall be held.
struct Reader<'a> {
    tensors: &'a [TensorSpec],
    source: &'a mut dyn WeightSource,
    precision: Precision,
}

impl<'a> Reader<'a> {
    /// The tensor of a role that the spec has.
    fn tensor(&self, layer: Option<usize>, role: Role, is_bias: bool) -> Option<&'a TensorSpec> {
        self.tensors
            .iter()
            .find(|tensor| (tensor.layer, tensor.role, tensor.is_bias) == (layer, role, is_bias))
    }

    fn weight(&self, layer: Option<usize>, role: Role) -> &'a TensorSpec {
        self.tensor(layer, role, false).expect("a spec lists the weights of its roles")
    }

    fn vector(&mut self, layer: Option<usize>, role: Role) -> Result<Vec<f32>, LoadError> {
        let mut out = Vec::new();
        self.source.append_values(self.weight(layer, role), &mut out)?;
        Ok(out)
    }

    /// Matrices of equal width joined row-wise.
    fn matrix(&mut self, layer: Option<usize>, roles: &[Role]) -> Result<Matrix, LoadError> {
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
    fn linear(&mut self, layer: Option<usize>, roles: &[Role]) -> Result<Linear, LoadError> {
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
