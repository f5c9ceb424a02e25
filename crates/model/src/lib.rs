//! lacuna-model: what a model is and how it lies on disk. No computation, no text.
//!
//! A [`ModelSpec`] is the shape of a model as data; its [`ModelSpec::tensors`] is the one list of
//! tensors that loading, counting, packing, converting, inventing and training go through. A
//! [`Family`] says how a `config.json` becomes one ([`read_spec`]): a small file each in `family/`.
//! A [`WeightSource`] hands out tensors: a checkpoint ([`Checkpoint`]), our packed file
//! ([`Packed`]) or a GGUF file ([`GgufWeights`]).

mod error;
mod family;
pub mod gguf;
mod hyper;
mod role;
mod rope;
mod source;
mod spec;
pub mod synth;
mod whole;

pub use error::LoadError;
pub use family::{FAMILIES, Family, family, read_spec};
pub use hyper::{ConfigError, Hyper};
pub use role::{Role, TensorSpec};
pub use rope::{RopeScaling, RopeSpec};
pub use source::packed::{Card, PACKED_FORMAT, PACKED_SUFFIX, describe, pack, pack_for};
pub use source::{
    Checkpoint, GgufWeights, Int4Parts, ModelFiles, Packed, WeightSource, is_gguf, open,
};
pub use spec::{AttentionSpec, BlockSpec, Head, MlpSpec, ModelSpec};
