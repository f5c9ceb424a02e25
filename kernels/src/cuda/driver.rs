//! The real GPU, through NVIDIA's driver, which is opened when it is asked for: a program that has
//! this in it starts on machines without one.

use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cudarc::driver::{DriverError, result, sys};

use super::{Arg, Gpu, GpuError, Launch, PTX};

/// A GPU that the driver names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub ordinal: usize,
    pub name: String,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Bytes of memory.
    pub memory: usize,
}

/// The least compute capability that the kernels are compiled for.
const LEAST: (i32, i32) = (8, 0);

/// The least version of CUDA that a driver must know for the PTX: 12.4.
const LEAST_VERSION: i32 = 12_040;

/// All GPUs of this machine.
///
/// Errors: [`GpuError::Unavailable`]: there is no driver, or it does not work.
pub fn probe() -> Result<Vec<Found>, GpuError> {
    open()?;
    let count = result::device::get_count().map_err(|e| unavailable("its devices", e))?;
    (0..count).map(|ordinal| found(ordinal).map_err(|e| unavailable("a device", e))).collect()
}

/// Opens the driver's library and starts it.
fn open() -> Result<(), GpuError> {
    // SAFETY: the library's initialisers run, which is what opening the driver is for. Without it
    // every other call would panic.
    if !unsafe { sys::is_culib_present() } {
        let why = "there is no NVIDIA driver on this machine (libcuda cannot be opened): install it, or set model.device = \"cpu\"";
        return Err(GpuError::Unavailable { why: why.to_owned() });
    }
    result::init().map_err(|e| unavailable("itself", e))?;
    let mut version = 0;
    // SAFETY: the library is there, and `version` is where it may write.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(|e| unavailable("its version", e))?;
    if version < LEAST_VERSION {
        let why = format!(
            "the NVIDIA driver knows CUDA {}.{}, the kernels need 12.4: install a newer one, or set model.device = \"cpu\"",
            version / 1000,
            version % 1000 / 10
        );
        return Err(GpuError::Unavailable { why });
    }
    Ok(())
}

fn found(ordinal: i32) -> Result<Found, DriverError> {
    let device = result::device::get(ordinal)?;
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    // SAFETY: the device is one that the driver has just named.
    let (major, minor, memory) = unsafe {
        (
            result::device::get_attribute(device, MAJOR)?,
            result::device::get_attribute(device, MINOR)?,
            result::device::total_mem(device)?,
        )
    };
    let name = result::device::get_name(device)?;
    Ok(Found { ordinal: ordinal as usize, name, capability: (major, minor), memory })
}

fn unavailable(what: &str, error: DriverError) -> GpuError {
    GpuError::Unavailable { why: format!("the NVIDIA driver cannot name {what}: {error}") }
}

/// A GPU with the kernels loaded: the device's primary context, and a stream of its own, in whose
/// order everything happens.
pub struct Driver {
    found: Found,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    modules: Vec<sys::CUmodule>,
    kernels: HashMap<String, sys::CUfunction>,
}

// SAFETY: handles of the driver may be used from any thread that has made the context its current
// one, which every call here does first; the driver locks.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Driver {
    /// GPU number `ordinal`, with all kernels compiled for it.
    ///
    /// Errors: no driver, no such GPU, one that is too old, a driver too old for the PTX.
    pub fn open(ordinal: usize) -> Result<Driver, GpuError> {
        let all = probe()?;
        let Some(found) = all.get(ordinal).cloned() else {
            let why = format!("there is no GPU {ordinal}: the driver names {}", all.len());
            return Err(GpuError::Unavailable { why });
        };
        if found.capability < LEAST {
            let (major, minor) = found.capability;
            let why = format!(
                "{} has compute capability {major}.{minor}, the kernels need 8.0: set model.device = \"cpu\"",
                found.name
            );
            return Err(GpuError::Unavailable { why });
        }
        let device = result::device::get(ordinal as i32).map_err(|e| failed("the device", e))?;
        // SAFETY: the device is one that the driver has named; the context is released in `drop`.
        let context =
            unsafe { result::primary_ctx::retain(device) }.map_err(|e| failed("a context", e))?;
        let mut driver = Driver {
            found,
            device,
            context,
            stream: result::stream::null(),
            modules: Vec::new(),
            kernels: HashMap::new(),
        };
        driver.enter()?;
        driver.stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|e| failed("a stream", e))?;
        for (file, text) in PTX {
            driver.load(file, text)?;
        }
        Ok(driver)
    }

    pub fn found(&self) -> &Found {
        &self.found
    }

    fn load(&mut self, file: &str, text: &str) -> Result<(), GpuError> {
        let image = CString::new(text).expect("PTX has no zero bytes");
        // SAFETY: PTX with a zero at its end, as the driver wants it; unloaded in `drop`.
        let module = unsafe { result::module::load_data(image.as_ptr().cast::<c_void>()) }
            .map_err(|e| failed(&format!("compiling {file}.ptx"), e))?;
        self.modules.push(module);
        for name in entries(text) {
            let c_name = CString::new(name).expect("names have no zero bytes");
            // SAFETY: the module is loaded, and stays as long as `self`.
            let function = unsafe { result::module::get_function(module, c_name) }
                .map_err(|e| failed(name, e))?;
            self.kernels.insert(name.to_owned(), function);
        }
        Ok(())
    }

    /// Makes the context this thread's.
    fn enter(&self) -> Result<(), GpuError> {
        // SAFETY: the context is held until `drop`.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| failed("the context", e))
    }

    fn wait(&self) -> Result<(), GpuError> {
        // SAFETY: the stream lives until `drop`.
        unsafe { result::stream::synchronize(self.stream) }
            .map_err(|e| failed("what was asked for", e))
    }
}

/// Kernels of a PTX file.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        line.trim().strip_prefix(".visible .entry ")?.split_once('(').map(|(name, _)| name)
    })
}

fn failed(what: &str, error: DriverError) -> GpuError {
    GpuError::Failed { what: what.to_owned(), why: error.to_string() }
}

impl Gpu for Driver {
    fn name(&self) -> String {
        self.found.name.clone()
    }

    fn alloc(&self, bytes: usize) -> Result<u64, GpuError> {
        self.enter()?;
        // SAFETY: memory in the order of the stream in which alone it is used.
        unsafe { result::malloc_async(self.stream, bytes) }.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let free = result::mem_get_info().map_or(0, |(free, _)| free);
                GpuError::OutOfMemory { wanted: bytes, free }
            }
            _ => failed(&format!("making room for {bytes} bytes"), error),
        })
    }

    fn free(&self, address: u64) {
        // Nobody is left to hear of an error; the next call meets it again.
        if self.enter().is_ok() {
            // SAFETY: an address of `alloc`, given back once, by its `Room`.
            let _ = unsafe { result::free_async(address, self.stream) };
        }
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<(), GpuError> {
        self.enter()?;
        // SAFETY: the views of a room lie in it.
        unsafe { result::memset_d8_async(address, 0, bytes, self.stream) }
            .map_err(|e| failed("zeroing", e))
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.enter()?;
        // SAFETY: the views of a room lie in it. Pageable memory: the driver has taken the bytes
        // when this returns.
        unsafe { result::memcpy_htod_async(address, bytes, self.stream) }
            .map_err(|e| failed(&format!("writing {} bytes", bytes.len()), e))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.enter()?;
        let n = bytes.len();
        // SAFETY: the views of a room lie in it; `bytes` is borrowed until the wait is over.
        unsafe { result::memcpy_dtoh_async(bytes, address, self.stream) }
            .map_err(|e| failed(&format!("reading {n} bytes"), e))?;
        self.wait()
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), GpuError> {
        self.enter()?;
        // SAFETY: the views of a room lie in it.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|e| failed(&format!("copying {bytes} bytes"), e))
    }

    fn launch(&self, launch: Launch, args: &[Arg]) -> Result<(), GpuError> {
        let Launch { kernel, grid: [x, y, z], block } = launch;
        let function = *self.kernels.get(kernel).ok_or_else(|| GpuError::Failed {
            what: kernel.to_owned(),
            why: "no PTX has it".to_owned(),
        })?;
        self.enter()?;
        let mut words: Vec<u64> = args
            .iter()
            .map(|arg| match arg {
                Arg::U32(v) => u64::from(*v),
                Arg::U64(v) => *v,
                Arg::F32(v) => u64::from(v.to_bits()),
            })
            .collect();
        // Little-endian: the first bytes of a word are its low ones.
        let mut pointers: Vec<*mut c_void> =
            words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        // SAFETY: as many arguments as `launch`'s functions give, of their sizes, to memory whose
        // sizes they have checked; the simulator runs the same calls.
        unsafe {
            result::launch_kernel(function, (x, y, z), (block, 1, 1), 0, self.stream, &mut pointers)
        }
        .map_err(|e| failed(&format!("{kernel} with a grid of {x} × {y} × {z}"), e))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        let _ = self.wait();
        for module in self.modules.drain(..) {
            // SAFETY: loaded by `load`; nothing runs any more.
            let _ = unsafe { result::module::unload(module) };
        }
        if !self.stream.is_null() {
            // SAFETY: created by `open`, and nothing is in it.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
        // SAFETY: retained once by `open`.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
