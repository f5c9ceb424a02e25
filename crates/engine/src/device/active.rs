//! The device of a model: the CPU or a GPU, chosen when it is loaded.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use lacuna_kernels::cuda::{Driver, Found, Gpu, probe, verify};
use lacuna_model::{LoadError, ModelSpec, WeightSource};

use super::cpu::{self, Cpu};
use super::cuda::{self, Cuda};
use super::{Device, DeviceError, KeysValues, KvDtype, MovedText, Precision, States};
use crate::batch::Batch;

/// What models are to be computed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The CPU, as long as the kernels for GPUs have not been run on hardware (`docs/gpu.md`).
    #[default]
    Auto,
    Cpu,
    /// The GPU with that number of the driver's.
    Cuda(usize),
}

/// What a device was named that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device: it is auto, cpu, cuda or cuda:N")]
pub struct ParseDeviceError(pub String);

impl FromStr for DeviceChoice {
    type Err = ParseDeviceError;

    fn from_str(name: &str) -> Result<Self, ParseDeviceError> {
        let unknown = || ParseDeviceError(name.to_owned());
        match name {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => {
                let number = name.strip_prefix("cuda:").ok_or_else(unknown)?;
                let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
                let number = number.parse().ok().filter(|_| is_number);
                number.map(DeviceChoice::Cuda).ok_or_else(unknown)
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// GPUs of this machine, a line each.
///
/// Errors: there is no driver, or it does not work.
pub fn gpus() -> Result<Vec<String>, DeviceError> {
    let line = |Found { ordinal, name, capability: (major, minor), memory }: Found| {
        format!("cuda:{ordinal} {name} (compute capability {major}.{minor}, {} MiB)", memory >> 20)
    };
    Ok(probe()?.into_iter().map(line).collect())
}

/// The GPU of that number, once it has computed what the CPU does.
///
/// Errors: it is not there, or it does not compute what the kernels' specification says.
fn gpu(number: usize) -> Result<Arc<dyn Gpu>, DeviceError> {
    let gpu: Arc<dyn Gpu> = Arc::new(Driver::open(number)?);
    verify(&gpu)?;
    Ok(gpu)
}

/// A model on one of the devices.
pub(crate) enum Active {
    Cpu(Box<Cpu>),
    Cuda(Box<Cuda>),
}

impl Active {
    /// In words.
    pub(crate) fn name(&self) -> String {
        match self {
            Active::Cpu(_) => "cpu".to_owned(),
            Active::Cuda(cuda) => cuda.name(),
        }
    }

    /// Takes all tensors of `spec` from `source`.
    ///
    /// Errors: see [`LoadError`]; also a GPU that is not there, or that does not compute what the
    /// kernels' specification says.
    pub(crate) fn load(
        spec: &ModelSpec,
        source: &mut dyn WeightSource,
        precision: Precision,
        choice: DeviceChoice,
    ) -> Result<Active, LoadError> {
        match choice {
            DeviceChoice::Auto | DeviceChoice::Cpu => {
                Ok(Active::Cpu(Box::new(Cpu::load(spec, source, precision)?)))
            }
            DeviceChoice::Cuda(number) => Active::on_gpu(gpu(number)?, spec, source, precision),
        }
    }

    pub(crate) fn on_gpu(
        gpu: Arc<dyn Gpu>,
        spec: &ModelSpec,
        source: &mut dyn WeightSource,
        precision: Precision,
    ) -> Result<Active, LoadError> {
        let cuda = Cuda::load(gpu, spec, source, precision)?;
        Ok(Active::Cuda(Box::new(cuda)))
    }
}

/// Keys and values on the device of their model.
#[derive(Clone)]
pub(crate) enum Kv {
    Cpu(cpu::Stores),
    Cuda(cuda::Blocks),
}

#[cfg(test)]
impl Default for Kv {
    /// Of a model without layers.
    fn default() -> Kv {
        Kv::Cpu(cpu::Stores::default())
    }
}

/// Counts the bytes on each device.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    cpu: <cpu::Stores as KeysValues>::Memory,
    cuda: cuda::BlockMemory,
}

/// Rows on the device that computed them last.
pub(crate) enum Rows {
    Cpu(cpu::Rows),
    Cuda(cuda::Rows),
}

impl Default for Rows {
    fn default() -> Rows {
        Rows::Cpu(cpu::Rows::default())
    }
}

#[derive(Default)]
pub(crate) struct Buffers {
    cpu: cpu::Buffers,
    cuda: cuda::Buffers,
}

/// Of another model's device: a caller has mixed them up.
const MIXED: &str = "states, keys and values are used with the model that made them";

impl Rows {
    fn cpu(&mut self) -> &mut cpu::Rows {
        match self {
            Rows::Cpu(rows) => rows,
            Rows::Cuda(_) => panic!("{MIXED}"),
        }
    }

    fn cuda(&mut self) -> &mut cuda::Rows {
        match self {
            Rows::Cuda(rows) => rows,
            Rows::Cpu(_) => panic!("{MIXED}"),
        }
    }
}

impl Kv {
    #[cfg(test)]
    pub(crate) fn stores(&self) -> &[lacuna_kernels::kv::KvStore] {
        match self {
            Kv::Cpu(stores) => &stores.0,
            Kv::Cuda(_) => panic!("{MIXED}"),
        }
    }

    fn cpu(&mut self) -> &mut cpu::Stores {
        match self {
            Kv::Cpu(stores) => stores,
            Kv::Cuda(_) => panic!("{MIXED}"),
        }
    }

    fn cuda(&mut self) -> &mut cuda::Blocks {
        match self {
            Kv::Cuda(blocks) => blocks,
            Kv::Cpu(_) => panic!("{MIXED}"),
        }
    }
}

impl AsMut<cpu::Stores> for Kv {
    fn as_mut(&mut self) -> &mut cpu::Stores {
        self.cpu()
    }
}

impl Device for Active {
    type Kv = Kv;
    type States = Rows;
    type Buffers = Buffers;

    fn bytes(&self) -> usize {
        match self {
            Active::Cpu(cpu) => cpu.bytes(),
            Active::Cuda(cuda) => cuda.bytes(),
        }
    }

    fn layers(&self) -> usize {
        match self {
            Active::Cpu(cpu) => cpu.layers(),
            Active::Cuda(cuda) => cuda.layers(),
        }
    }

    fn new_kv(&self, dtype: KvDtype, memory: &Memory) -> Kv {
        match self {
            Active::Cpu(cpu) => Kv::Cpu(cpu.new_kv(dtype, &memory.cpu)),
            Active::Cuda(cuda) => Kv::Cuda(cuda.new_kv(dtype, &memory.cuda)),
        }
    }

    fn embed(&self, ids: &[u32], x: &mut Rows) -> Result<(), DeviceError> {
        // The rows of a pass may have been another model's.
        match (self, &*x) {
            (Active::Cpu(_), Rows::Cuda(_)) => *x = Rows::Cpu(cpu::Rows::default()),
            (Active::Cuda(_), Rows::Cpu(_)) => *x = Rows::Cuda(cuda::Rows::default()),
            _ => {}
        }
        match self {
            Active::Cpu(cpu) => cpu.embed(ids, x.cpu()),
            Active::Cuda(cuda) => cuda.embed(ids, x.cuda()),
        }
    }

    fn place(&self, positions: &[usize], buffers: &mut Buffers) -> Result<(), DeviceError> {
        match self {
            Active::Cpu(cpu) => cpu.place(positions, &mut buffers.cpu),
            Active::Cuda(cuda) => cuda.place(positions, &mut buffers.cuda),
        }
    }

    fn attention_half(
        &self,
        layer: usize,
        batch: &Batch,
        kv: &mut [&mut Kv],
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), DeviceError> {
        match self {
            Active::Cpu(cpu) => {
                cpu.attention_over(layer, batch, kv, x.cpu(), &mut buffers.cpu);
                Ok(())
            }
            Active::Cuda(cuda) => {
                let mut kv: Vec<_> = kv.iter_mut().map(|kv| kv.cuda()).collect();
                cuda.attention_half(layer, batch, &mut kv, x.cuda(), &mut buffers.cuda)
            }
        }
    }

    fn feed_forward_half(
        &self,
        layer: usize,
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), DeviceError> {
        match self {
            Active::Cpu(cpu) => cpu.feed_forward_half(layer, x.cpu(), &mut buffers.cpu),
            Active::Cuda(cuda) => cuda.feed_forward_half(layer, x.cuda(), &mut buffers.cuda),
        }
    }

    fn head(
        &self,
        x: &Rows,
        rows: Range<usize>,
        logits: &mut [f32],
        buffers: &mut Buffers,
    ) -> Result<(), DeviceError> {
        match (self, x) {
            (Active::Cpu(cpu), Rows::Cpu(x)) => cpu.head(x, rows, logits, &mut buffers.cpu),
            (Active::Cuda(cuda), Rows::Cuda(x)) => cuda.head(x, rows, logits, &mut buffers.cuda),
            _ => panic!("{MIXED}"),
        }
    }
}

impl MovedText for Active {
    fn move_run(
        &self,
        target: &mut Kv,
        at: usize,
        source: &Kv,
        run: Range<usize>,
    ) -> Result<(), DeviceError> {
        match (self, source) {
            (Active::Cpu(cpu), Kv::Cpu(source)) => cpu.move_run(target.cpu(), at, source, run),
            (Active::Cuda(cuda), Kv::Cuda(source)) => cuda.move_run(target.cuda(), at, source, run),
            _ => panic!("{MIXED}"),
        }
    }

    fn repair_half(
        &self,
        batch: &mut Batch,
        moves: &[u8],
        ratio: f32,
        kv: &mut Kv,
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), DeviceError> {
        match self {
            Active::Cpu(cpu) => {
                cpu.repair_half(batch, moves, ratio, kv.cpu(), x.cpu(), &mut buffers.cpu)
            }
            Active::Cuda(cuda) => {
                cuda.repair_half(batch, moves, ratio, kv.cuda(), x.cuda(), &mut buffers.cuda)
            }
        }
    }
}

impl KeysValues for Kv {
    type Memory = Memory;

    fn counted(memory: &Memory) -> usize {
        memory.cpu.bytes() + memory.cuda.bytes()
    }

    fn layers(&self) -> usize {
        match self {
            Kv::Cpu(kv) => kv.layers(),
            Kv::Cuda(kv) => kv.layers(),
        }
    }

    fn dtype(&self) -> KvDtype {
        match self {
            Kv::Cpu(kv) => kv.dtype(),
            Kv::Cuda(kv) => kv.dtype(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Kv::Cpu(kv) => kv.bytes(),
            Kv::Cuda(kv) => kv.bytes(),
        }
    }

    fn block(&self) -> (usize, usize) {
        match self {
            Kv::Cpu(kv) => kv.block(),
            Kv::Cuda(kv) => kv.block(),
        }
    }

    fn rewrite(&mut self, from: usize) {
        match self {
            Kv::Cpu(kv) => kv.rewrite(from),
            Kv::Cuda(kv) => kv.rewrite(from),
        }
    }

    fn shrink(&mut self, tokens: usize) {
        match self {
            Kv::Cpu(kv) => kv.shrink(tokens),
            Kv::Cuda(kv) => kv.shrink(tokens),
        }
    }
}

impl States for Rows {
    fn bytes(&self) -> usize {
        match self {
            Rows::Cpu(rows) => rows.bytes(),
            Rows::Cuda(rows) => rows.bytes(),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Rows::Cpu(rows) => rows.rows(),
            Rows::Cuda(rows) => rows.rows(),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Rows::Cpu(own) => own.truncate(rows),
            Rows::Cuda(own) => own.truncate(rows),
        }
    }

    fn push(&mut self, other: &Rows, row: usize) -> Result<(), DeviceError> {
        match (&mut *self, other) {
            (Rows::Cpu(own), Rows::Cpu(other)) => own.push(other, row),
            (Rows::Cuda(own), Rows::Cuda(other)) => own.push(other, row),
            // The first row says where.
            (own, Rows::Cuda(other)) => {
                *own = Rows::Cuda(cuda::Rows::default());
                own.cuda().push(other, row)
            }
            (own, Rows::Cpu(other)) => {
                *own = Rows::default();
                own.cpu().push(other, row)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        let names = ["auto", "cpu", "cuda:0", "cuda:7"];
        for name in names {
            assert_eq!(
                name.parse::<DeviceChoice>().map(|choice| choice.to_string()),
                Ok(name.into())
            );
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for name in [
            "",
            "gpu",
            "CUDA",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:x",
            "cuda:99999999999999999999",
        ] {
            assert!(name.parse::<DeviceChoice>().is_err(), "{name}");
        }
    }
}
