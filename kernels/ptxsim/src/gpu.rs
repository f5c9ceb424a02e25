//! The simulator as a GPU: what runs the launch code of `lacuna-kernels` without one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lacuna_kernels::cuda::{Arg, Gpu, GpuError, Launch as GpuLaunch, PTX};

use crate::counts::Counts;
use crate::machine::{Launch, Param};
use crate::memory::{Memory, Ptr};
use crate::parse::Module;

/// More instructions than any launch has that is to end.
const MOST_INSTRUCTIONS: u64 = 1 << 28;

/// A GPU that is simulated: every launch is checked, and its first fault is an error. Races are looked for where costs are ([`Simulated::counted`]): what
/// tests more than kernels runs twice as fast without.
pub struct Simulated {
    modules: Vec<Arc<Module>>,
    /// Instructions after which a launch is taken to run for ever.
    instructions: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    /// What each kernel has cost since it was last asked; `None`: nobody asks.
    counts: Option<HashMap<&'static str, Vec<Counts>>>,
    allocated: usize,
    limit: usize,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated").finish_non_exhaustive()
    }
}

/// The shipped modules, parsed once.
fn shipped() -> &'static [Arc<Module>] {
    static SHIPPED: OnceLock<Vec<Arc<Module>>> = OnceLock::new();
    SHIPPED.get_or_init(|| {
        let parse = |(name, text)| {
            Arc::new(Module::parse(text).unwrap_or_else(|e| panic!("{name}.ptx: {e}")))
        };
        PTX.into_iter().map(parse).collect()
    })
}

impl Default for Simulated {
    fn default() -> Simulated {
        let state = State { limit: usize::MAX, ..State::default() };
        let (modules, instructions) = (shipped().to_vec(), MOST_INSTRUCTIONS);
        Simulated { modules, instructions, state: Mutex::new(state) }
    }
}

impl Simulated {
    /// With the kernels of a module in place of those of the same names that are shipped.
    pub fn with(module: &Arc<Module>) -> Simulated {
        let mut simulated = Simulated::default();
        simulated.modules.insert(0, Arc::clone(module));
        simulated
    }

    /// Looks for races, and remembers what launches cost ([`Simulated::take_counts`]).
    pub fn counted(self) -> Simulated {
        self.lock().counts = Some(HashMap::new());
        self
    }

    /// Launches are taken to run for ever after so many instructions.
    pub fn patient_for(self, instructions: u64) -> Simulated {
        Simulated { instructions, ..self }
    }

    /// With so many bytes of memory.
    pub fn limited(bytes: usize) -> Simulated {
        let simulated = Simulated::default();
        simulated.set_limit(bytes);
        simulated
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the launches since the last time have cost, by kernel.
    pub fn take_counts(&self) -> HashMap<&'static str, Vec<Counts>> {
        self.lock().counts.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Gives it another amount of memory; what is taken stays.
    pub fn set_limit(&self, bytes: usize) {
        self.lock().limit = bytes;
    }

    /// Bytes that nobody has given back.
    pub fn allocated(&self) -> usize {
        self.lock().allocated
    }

    /// The same for what lies at `address`: see [`Memory::unwritten`].
    pub fn unwritten(&self, address: u64) -> usize {
        self.lock().memory.unwritten(Ptr(address))
    }
}

impl Gpu for Simulated {
    fn name(&self) -> String {
        "a simulated GPU".to_owned()
    }

    fn alloc(&self, bytes: usize) -> Result<u64, GpuError> {
        let mut state = self.lock();
        let free = state.limit - state.allocated.min(state.limit);
        if bytes > free {
            return Err(GpuError::OutOfMemory { wanted: bytes, free });
        }
        state.allocated += bytes;
        Ok(state.memory.output::<u8>("a room", bytes).0)
    }

    fn free(&self, address: u64) {
        let mut state = self.lock();
        state.allocated -= state.memory.free(Ptr(address));
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<(), GpuError> {
        self.write(address, &vec![0; bytes])
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.lock().memory.write(Ptr(address), bytes);
        Ok(())
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.lock().memory.read_bytes(Ptr(address), bytes);
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), GpuError> {
        self.lock().memory.copy(Ptr(from), Ptr(to), bytes);
        Ok(())
    }

    fn launch(&self, launch: GpuLaunch, args: &[Arg]) -> Result<(), GpuError> {
        let GpuLaunch { kernel: name, grid, block } = launch;
        let failed = |why: String| GpuError::Failed { what: name.to_owned(), why };
        let kernel = self.modules.iter().find_map(|module| module.kernel(name).ok());
        let kernel = kernel.ok_or_else(|| failed("no PTX has it".to_owned()))?;
        let params: Vec<Param> = args
            .iter()
            .map(|arg| match arg {
                Arg::U32(v) => Param::from(*v),
                Arg::U64(v) => Param::from(*v),
                Arg::F32(v) => Param::from(*v),
            })
            .collect();
        let mut state = self.lock();
        let shape = Launch::new((grid[0], grid[1], grid[2]), block).limit(self.instructions);
        let shape = if state.counts.is_some() { shape } else { shape.unwatched() };
        let counts = kernel
            .launch(&shape, &params, &mut state.memory)
            .map_err(|fault| failed(fault.to_string()))?;
        if let Some(all) = &mut state.counts {
            all.entry(name).or_default().push(counts);
        }
        Ok(())
    }
}
