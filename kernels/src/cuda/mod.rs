//! CUDA: the kernels of `kernels/cuda` with their launch code, and the seam behind which a GPU is.
//!
//! [`Gpu`] is that seam: memory, copies, launches. [`Driver`] is the real one; `lacuna-ptxsim` has
//! one that runs the same PTX on the CPU, so that everything above the seam is tested without a
//! GPU. [`Room`] is memory that is given back when it is dropped, [`weights`] and [`store`] say how
//! things lie in it, [`launch`] has a function a kernel, with its sizes checked. Knows no models.

mod driver;
pub mod launch;
mod room;
pub mod store;
mod verify;
pub mod weights;

pub use driver::{Driver, Found, probe};
pub use room::{Plain, Room, View};
pub use verify::verify;

/// The PTX of the kernels, by file.
pub const PTX: [(&str, &str); 5] = [
    ("activations", include_str!("../../cuda/ptx/activations.ptx")),
    ("attention", include_str!("../../cuda/ptx/attention.ptx")),
    ("float", include_str!("../../cuda/ptx/float.ptx")),
    ("int4", include_str!("../../cuda/ptx/int4.ptx")),
    ("moved", include_str!("../../cuda/ptx/moved.ptx")),
];

/// What a GPU did not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    #[error("{why}")]
    Unavailable { why: String },
    #[error(
        "the GPU has no room for {wanted} bytes more ({free} are free): use a smaller model, lower kv.budget_mb, or set model.device = \"cpu\""
    )]
    OutOfMemory { wanted: usize, free: usize },
    #[error("{what} failed on the GPU: {why}")]
    Failed { what: String, why: String },
}

/// A kernel with the shape of its grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    pub kernel: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    U32(u32),
    U64(u64),
    F32(f32),
}

/// Memory, copies and launches, one after the other in the order in which they are asked for,
/// whichever thread asks; only [`Gpu::read`] waits. Addresses are the device's; 0 is none.
pub trait Gpu: Send + Sync + std::fmt::Debug {
    fn name(&self) -> String;

    /// Bytes, aligned to 256, with nothing in them.
    ///
    /// Errors: [`GpuError::OutOfMemory`].
    fn alloc(&self, bytes: usize) -> Result<u64, GpuError>;

    /// Gives back what [`Gpu::alloc`] gave, once what was asked for before is done.
    fn free(&self, address: u64);

    fn zero(&self, address: u64, bytes: usize) -> Result<(), GpuError>;

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError>;

    /// Waits for everything that was asked for before.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError>;

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), GpuError>;

    /// Arguments in the order of the kernel's parameters, of their sizes.
    fn launch(&self, launch: Launch, args: &[Arg]) -> Result<(), GpuError>;
}
