//! The model in memory: its shape, and its weights on the device.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use lacuna_model::{Checkpoint, LoadError, ModelSpec, Packed, WeightSource, read_spec};

use crate::device::{Active, Device, DeviceChoice, Precision};

/// Facts about a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Weights, each counted once.
    pub parameters: u64,
    /// Bytes of weights in memory.
    pub bytes: usize,
    pub precision: Precision,
    /// `cpu`, or the name of the GPU.
    pub device: String,
}

/// A model in memory: immutable, shared between threads.
pub struct Model {
    /// Tells a cache of this model from one of another.
    pub(crate) id: u64,
    pub(crate) spec: ModelSpec,
    info: Info,
    pub(crate) device: Active,
}

impl Model {
    /// Loads a directory in Hugging Face layout, a directory with one `*.lacuna.safetensors`, or
    /// such a file.
    ///
    /// Errors: see [`LoadError`]; also a `LACUNA_ISA` that names no usable kernel row.
    pub fn load(path: impl AsRef<Path>, precision: Precision) -> Result<Self, LoadError> {
        Self::load_on(path, precision, DeviceChoice::Auto)
    }

    /// [`Model::load`] on a device.
    ///
    /// Errors: also a device that is not there, has too little memory, or computes something else
    /// than the CPU.
    pub fn load_on(
        path: impl AsRef<Path>,
        precision: Precision,
        device: DeviceChoice,
    ) -> Result<Self, LoadError> {
        let files = lacuna_model::open(path.as_ref())?;
        let (spec, mut source) = files.source()?;
        Self::build(spec, &mut *source, precision, device)
    }

    /// Loads a checkpoint from memory: the bytes of `config.json` and of one `.safetensors` file.
    pub fn from_checkpoint(
        config: &[u8],
        weights: &[u8],
        precision: Precision,
    ) -> Result<Self, LoadError> {
        let spec = read_spec(config)
            .map_err(|source| LoadError::Config { file: "config.json".to_owned(), source })?;
        let mut source = Checkpoint::of_bytes("model.safetensors", weights)?;
        Self::build(spec, &mut source, precision, DeviceChoice::Auto)
    }

    /// Loads a packed model from memory, for example one embedded in the binary.
    pub fn from_packed(bytes: &[u8]) -> Result<Self, LoadError> {
        Self::from_packed_on(bytes, DeviceChoice::Auto)
    }

    /// [`Model::from_packed`] on a device. Errors: as [`Model::load_on`].
    pub fn from_packed_on(bytes: &[u8], device: DeviceChoice) -> Result<Self, LoadError> {
        let (spec, mut source) = Packed::of_bytes("embedded model", bytes)?;
        Self::build(spec, &mut source, Precision::Int4, device)
    }

    fn build(
        spec: ModelSpec,
        source: &mut dyn WeightSource,
        precision: Precision,
        device: DeviceChoice,
    ) -> Result<Self, LoadError> {
        let device = Active::load(&spec, source, precision, device)?;
        Ok(Self::with(device, spec, precision))
    }

    pub(crate) fn with(device: Active, spec: ModelSpec, precision: Precision) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let parameters = spec.parameters();
        let info = Info { parameters, bytes: device.bytes(), precision, device: device.name() };
        Model { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), spec, info, device }
    }

    /// As [`Model::load`], on a GPU that is given.
    #[cfg(test)]
    pub(crate) fn on_gpu(
        gpu: std::sync::Arc<dyn crate::device::Gpu>,
        path: impl AsRef<Path>,
        precision: Precision,
    ) -> Result<Self, LoadError> {
        let files = lacuna_model::open(path.as_ref())?;
        let (spec, mut source) = files.source()?;
        let device = Active::on_gpu(gpu, &spec, &mut *source, precision)?;
        Ok(Self::with(device, spec, precision))
    }

    /// The shape of this model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Parameters, bytes, precision.
    pub fn info(&self) -> &Info {
        &self.info
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
