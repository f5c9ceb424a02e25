//! Runs a grid: blocks, warps, barriers, and the lanes of a warp that have parted.
//!
//! A warp is a list of fragments, lanes at the same instruction. The fragment that is furthest
//! behind runs first, so that lanes that parted meet again where their paths do; an operation of a
//! whole warp waits for the lanes it names. Warps, and blocks that are resident together, take
//! turns, so that one may wait for another.

use std::collections::HashMap;

use crate::clock::{Clock, Times};
use crate::copies::Pending;
use crate::counts::{Buffers, Counts};
use crate::fault::{Fault, Kind};
use crate::memory::{Bits, Memory, Ptr};
use crate::op::{Op, Reg};
use crate::parse::{FIRST_CONSTANT, Kernel, Special};
use crate::shadow::Shadow;
use crate::value::{ALL, Lanes, WARP, lanes};

/// How a kernel is launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// Blocks that run at the same time. Blocks that wait for each other must all be resident.
    pub resident: usize,
    /// Instructions that a warp runs before it is another's turn.
    pub turn: u32,
    /// Instructions after which a launch is taken to run for ever.
    pub limit: u64,
    /// Whether races are looked for and costs counted.
    pub watched: bool,
}

impl Launch {
    /// Blocks one after the other, no dynamic shared memory.
    pub fn new(grid: impl Into<Extent>, block: impl Into<Extent>) -> Launch {
        Launch {
            grid: grid.into().0,
            block: block.into().0,
            shared: 0,
            resident: 1,
            turn: 4096,
            limit: 1 << 32,
            watched: true,
        }
    }

    /// With so many bytes of dynamic shared memory.
    pub fn shared(self, bytes: usize) -> Launch {
        Launch { shared: bytes, ..self }
    }

    /// With so many blocks at a time.
    pub fn resident(self, blocks: usize) -> Launch {
        Launch { resident: blocks, ..self }
    }

    /// With turns of so many instructions.
    pub fn turn(self, instructions: u32) -> Launch {
        Launch { turn: instructions, ..self }
    }

    /// With another limit to the number of instructions.
    pub fn limit(self, instructions: u64) -> Launch {
        Launch { limit: instructions, ..self }
    }

    /// In half the time: without looking for races, without costs.
    pub fn unwatched(self) -> Launch {
        Launch { watched: false, ..self }
    }

    fn threads(&self) -> u64 {
        self.block.iter().map(|n| u64::from(*n)).product()
    }

    fn blocks(&self) -> u64 {
        self.grid.iter().map(|n| u64::from(*n)).product()
    }
}

/// One to three dimensions.
#[derive(Debug, Clone, Copy)]
pub struct Extent([u32; 3]);

impl From<u32> for Extent {
    fn from(x: u32) -> Extent {
        Extent([x, 1, 1])
    }
}

impl From<(u32, u32)> for Extent {
    fn from((x, y): (u32, u32)) -> Extent {
        Extent([x, y, 1])
    }
}

impl From<(u32, u32, u32)> for Extent {
    fn from((x, y, z): (u32, u32, u32)) -> Extent {
        Extent([x, y, z])
    }
}

/// An argument of a kernel, as its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param(Vec<u8>);

impl Param {
    /// A struct passed by value.
    pub fn bytes(bytes: &[u8]) -> Param {
        Param(bytes.to_vec())
    }
}

impl From<Ptr> for Param {
    fn from(ptr: Ptr) -> Param {
        Param(ptr.0.to_le_bytes().to_vec())
    }
}

macro_rules! param {
    ($($t:ty),*) => {$(
        impl From<$t> for Param {
            fn from(value: $t) -> Param {
                Param(value.to_le_bytes().to_vec())
            }
        }
    )*};
}
param!(u32, i32, f32, u64, i64, f64);

/// Threads of a block that a GPU allows, and bytes of shared memory (sm_90).
const MOST_THREADS: u64 = 1024;
const MOST_SHARED: usize = 227 * 1024;
/// Blocks that one launch may have here.
const MOST_BLOCKS: u64 = 1 << 22;

impl Kernel {
    /// Runs the kernel to its end or to its first fault, which leaves `memory` as it was then.
    pub fn launch(
        &self,
        launch: &Launch,
        params: &[Param],
        memory: &mut Memory,
    ) -> Result<Counts, Box<Fault>> {
        let mut run = Run::new(self, launch, params, memory).map_err(|detail| {
            let place = self.code.first().map(|instr| instr.place.clone()).unwrap_or_default();
            Fault {
                kind: Kind::Launch { detail },
                place,
                opcode: self.name.clone(),
                block: [0; 3],
                thread: 0,
            }
        })?;
        run.grid()?;
        Ok(run.finish())
    }
}

/// A launch under way.
pub(crate) struct Run<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) launch: &'a Launch,
    pub(crate) params: Vec<u8>,
    pub(crate) memory: &'a mut Memory,
    pub(crate) counts: Counts,
    pub(crate) buffers: Vec<BufferState>,
    /// What is known to whoever reads a variable by which blocks wait for each other: by buffer and
    /// byte.
    pub(crate) clocks: HashMap<(usize, usize), Times>,
    constants: Vec<Lanes>,
    /// Executions by instruction.
    executed: Vec<u64>,
    left: u64,
    warps: usize,
}

/// What a launch remembers of a buffer.
#[derive(Default)]
pub(crate) struct BufferState {
    pub(crate) shadow: Shadow,
    /// Sectors read: each once, and all.
    pub(crate) touched: Bits,
    pub(crate) asked: u64,
}

/// What the warps of a block share.
pub(crate) struct BlockState {
    pub(crate) index: [u32; 3],
    pub(crate) shared: Vec<u8>,
    pub(crate) written: Bits,
    pub(crate) shadow: Shadow,
    pub(crate) clocks: HashMap<(usize, usize), Times>,
    barriers: Vec<Barrier>,
}

#[derive(Default, Clone)]
struct Barrier {
    /// Threads that have arrived, and that must; 0: nobody has.
    arrived: u32,
    expected: u32,
    /// The instruction of the first arrival, if all of the block must come to the same.
    pc: Option<u32>,
    told: (Vec<u32>, Times),
}

struct Block {
    warps: Vec<Warp>,
    state: BlockState,
}

/// Lanes at the same instruction.
#[derive(Debug, Clone, Copy)]
struct Fragment {
    pc: u32,
    mask: u32,
}

pub(crate) struct Warp {
    pub(crate) regs: Vec<Lanes>,
    pub(crate) preds: Vec<u32>,
    /// Behind first; no two at the same instruction.
    fragments: Vec<Fragment>,
    /// Lanes that exist, and those that have not ended.
    all: u32,
    pub(crate) live: u32,
    /// The barrier it waits at.
    waits: Option<usize>,
    /// Turns that ended with several fragments: whose turn it is among them.
    rotation: usize,
    pub(crate) clock: Clock,
    /// Of the grid.
    pub(crate) number: u32,
    /// Thread of its first lane in the block.
    pub(crate) first_thread: u32,
    pub(crate) local: Vec<u8>,
    pub(crate) local_written: Bits,
    pub(crate) copies: Vec<Pending>,
    /// Groups of copies closed, by lane.
    pub(crate) groups: [u32; WARP],
}

/// A fault before it is known where: what, and the lane that saw it.
pub(crate) type Trouble = Box<(Kind, usize)>;

pub(crate) fn trouble<T>(kind: Kind, lane: usize) -> Result<T, Trouble> {
    Err(Box::new((kind, lane)))
}

impl<'a> Run<'a> {
    fn new(
        kernel: &'a Kernel,
        launch: &'a Launch,
        params: &[Param],
        memory: &'a mut Memory,
    ) -> Result<Run<'a>, String> {
        if params.len() != kernel.params.len() {
            return Err(format!("{} arguments, {} parameters", params.len(), kernel.params.len()));
        }
        let mut bytes = vec![0; kernel.param_bytes];
        for (param, wanted) in params.iter().zip(&kernel.params) {
            if param.0.len() != wanted.bytes {
                return Err(format!(
                    "{} has {} bytes, {} were passed",
                    wanted.name,
                    wanted.bytes,
                    param.0.len()
                ));
            }
            bytes[wanted.offset..wanted.offset + wanted.bytes].copy_from_slice(&param.0);
        }
        if launch.threads() == 0
            || launch.threads() > MOST_THREADS
            || launch.blocks() == 0
            || launch.blocks() > MOST_BLOCKS
        {
            return Err(format!(
                "a grid of {:?} blocks of {:?} threads",
                launch.grid, launch.block
            ));
        }
        if launch.shared > 0 && !kernel.dynamic_shared {
            return Err(format!(
                "{} bytes of dynamic shared memory, and the kernel uses none",
                launch.shared
            ));
        }
        if kernel.shared.next_multiple_of(16) + launch.shared > MOST_SHARED {
            return Err(format!("{} bytes of shared memory", kernel.shared + launch.shared));
        }
        let buffers = memory.buffers.iter().map(|buffer| BufferState {
            shadow: Shadow::new(buffer.bytes.len()),
            touched: Bits::default(),
            asked: 0,
        });
        Ok(Run {
            kernel,
            launch,
            params: bytes,
            buffers: buffers.collect(),
            memory,
            counts: Counts::default(),
            clocks: HashMap::new(),
            constants: kernel.constants.iter().map(|value| [*value; WARP]).collect(),
            executed: vec![0; kernel.code.len()],
            left: launch.limit,
            warps: launch.threads().div_ceil(WARP as u64) as usize,
        })
    }

    fn finish(mut self) -> Counts {
        let states = self.buffers.into_iter().zip(&self.memory.buffers);
        let states = states.filter(|(state, _)| state.asked > 0);
        self.counts.buffers = states
            .map(|(state, buffer)| Buffers {
                name: buffer.name.clone(),
                asked: state.asked,
                needed: state.touched.count(),
            })
            .collect();
        for (instr, n) in self.kernel.code.iter().zip(&self.executed).filter(|(_, n)| **n > 0) {
            *self.counts.lines.entry(instr.place.clone()).or_default() += n;
        }
        self.counts
    }

    fn grid(&mut self) -> Result<(), Box<Fault>> {
        let total = self.launch.blocks();
        let resident = self.launch.resident.max(1);
        let mut started = 0;
        let mut running = Vec::new();
        // Warps of blocks that have ended are used again: their registers need no new memory.
        let mut ended: Vec<Block> = Vec::new();
        while started < total || !running.is_empty() {
            while started < total && running.len() < resident {
                let mut block = ended.pop().unwrap_or_else(|| self.new_block());
                self.start(&mut block, started);
                running.push(block);
                started += 1;
            }
            let mut at = 0;
            while at < running.len() {
                self.block_turn(&mut running[at])?;
                if running[at].warps.iter().all(|warp| warp.live == 0) {
                    ended.push(running.remove(at));
                } else {
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn new_block(&self) -> Block {
        let bytes = if self.kernel.dynamic_shared {
            self.kernel.shared.next_multiple_of(16) + self.launch.shared
        } else {
            self.kernel.shared
        };
        let warp = || Warp {
            regs: vec![[0xdead_beef_dead_beef; WARP]; self.kernel.regs],
            preds: vec![0; self.kernel.preds],
            fragments: Vec::new(),
            all: 0,
            live: 0,
            waits: None,
            rotation: 0,
            clock: Clock::default(),
            number: 0,
            first_thread: 0,
            local: vec![0; self.kernel.local * WARP],
            local_written: Bits::new(self.kernel.local * WARP),
            copies: Vec::new(),
            groups: [0; WARP],
        };
        let state = BlockState {
            index: [0; 3],
            shared: vec![0xa5; bytes],
            written: Bits::new(bytes),
            shadow: Shadow::new(bytes),
            clocks: HashMap::new(),
            barriers: vec![Barrier::default(); 16],
        };
        Block { warps: (0..self.warps).map(|_| warp()).collect(), state }
    }

    /// Makes `block` the grid's block `number`, at its first instruction.
    fn start(&self, block: &mut Block, number: u64) {
        let [x, y, _] = self.launch.grid.map(u64::from);
        let index = [number % x, number / x % y, number / x / y].map(|i| i as u32);
        let state = &mut block.state;
        state.index = index;
        state.shared.fill(0xa5);
        state.written.clear();
        state.shadow.clear();
        state.clocks.clear();
        state.barriers.fill(Barrier::default());
        let threads = self.launch.threads() as u32;
        let first = number as u32 * self.warps as u32;
        for (local, warp) in (0u32..).zip(&mut block.warps) {
            warp.first_thread = 32 * local;
            warp.all =
                if threads - 32 * local >= 32 { ALL } else { (1 << (threads - 32 * local)) - 1 };
            warp.live = warp.all;
            warp.fragments = vec![Fragment { pc: 0, mask: warp.all }];
            warp.waits = None;
            warp.rotation = 0;
            warp.number = first + local;
            warp.clock = Clock::new(first + local, first, self.warps);
            warp.local_written.clear();
            warp.copies.clear();
            warp.groups = [0; WARP];
            for (special, reg) in &self.kernel.specials {
                warp.regs[*reg as usize] = std::array::from_fn(|lane| {
                    u64::from(self.special(*special, index, local, lane as u32))
                });
            }
        }
    }

    fn special(&self, special: Special, block: [u32; 3], warp: u32, lane: u32) -> u32 {
        let [x, y, _] = self.launch.block;
        let thread = warp * 32 + lane;
        match special {
            Special::Thread(axis) => [thread % x, thread / x % y, thread / x / y][axis],
            Special::Block(axis) => block[axis],
            Special::BlockSize(axis) => self.launch.block[axis],
            Special::GridSize(axis) => self.launch.grid[axis],
            Special::Lane => lane,
            Special::Warp => warp,
            Special::LaneMask(order, or_equal) => (0..32)
                .filter(|other: &u32| other.cmp(&lane) == order || (or_equal && *other == lane))
                .fold(0, |mask, other| mask | 1 << other),
        }
    }

    /// A turn for each warp, then for the barriers.
    fn block_turn(&mut self, block: &mut Block) -> Result<(), Box<Fault>> {
        let mut moved = false;
        for warp in &mut block.warps {
            if warp.waits.is_none() && warp.live != 0 {
                moved = true;
                self.warp_turn(warp, &mut block.state)?;
            }
        }
        for id in 0..block.state.barriers.len() {
            let barrier = &block.state.barriers[id];
            if barrier.expected > 0 && barrier.arrived >= barrier.expected {
                let told = std::mem::take(&mut block.state.barriers[id]).told;
                self.counts.barriers += 1;
                moved = true;
                for warp in block.warps.iter_mut().filter(|warp| warp.waits == Some(id)) {
                    warp.waits = None;
                    warp.clock.block_barrier(&told);
                    warp.fragments[0].pc += 1;
                }
            }
        }
        if moved || block.warps.iter().all(|warp| warp.live == 0) {
            return Ok(());
        }
        let ended: u32 = block.warps.iter().map(|warp| (warp.all & !warp.live).count_ones()).sum();
        let waiting =
            block.warps.iter().find(|warp| warp.waits.is_some()).expect("who cannot move waits");
        let barrier = &block.state.barriers[waiting.waits.expect("it waits")];
        let detail = format!(
            "{} of {} threads have arrived, {ended} have ended",
            barrier.arrived, barrier.expected
        );
        let kind =
            if ended > 0 { Kind::DivergentBarrier { detail } } else { Kind::Deadlock { detail } };
        Err(self.fault((kind, 0), waiting.fragments[0].pc, waiting, &block.state))
    }

    fn fault(
        &self,
        (kind, lane): (Kind, usize),
        pc: u32,
        warp: &Warp,
        state: &BlockState,
    ) -> Box<Fault> {
        let instr = &self.kernel.code[pc as usize];
        Box::new(Fault {
            kind,
            place: instr.place.clone(),
            opcode: instr.opcode.clone(),
            block: state.index,
            thread: warp.first_thread + lane as u32,
        })
    }

    /// Runs a warp until it waits, ends, or its turn is over.
    fn warp_turn(&mut self, warp: &mut Warp, state: &mut BlockState) -> Result<(), Box<Fault>> {
        for _ in 0..self.launch.turn.max(1) {
            if warp.live == 0 || warp.waits.is_some() {
                return Ok(());
            }
            let at =
                if warp.fragments.len() == 1 { 0 } else { warp.rotation % warp.fragments.len() };
            let Fragment { pc, mask } = warp.fragments[at];
            let (at, active) = match self.ready(warp, pc, mask) {
                Ok(active) => (at, active),
                Err(missing) => match self.other_ready(warp, at) {
                    Some(found) => found,
                    None => {
                        let lane = mask.trailing_zeros() as usize;
                        let detail = format!("lanes {missing:#010x} are elsewhere or have ended");
                        let kind = match self.kernel.code[pc as usize].op {
                            Op::Barrier { .. } => Kind::DivergentBarrier { detail },
                            _ => Kind::DivergentWarp { detail },
                        };
                        return Err(self.fault((kind, lane), pc, warp, state));
                    }
                },
            };
            let Fragment { pc, mask } = warp.fragments[at];
            self.left = match self.left.checked_sub(1) {
                Some(left) => left,
                None => {
                    return Err(self.fault(
                        (Kind::Runaway { limit: self.launch.limit }, 0),
                        pc,
                        warp,
                        state,
                    ));
                }
            };
            self.executed[pc as usize] += 1;
            self.counts.instructions += 1;
            self.counts.lane_instructions += u64::from(active.count_ones());
            self.step(warp, state, at, Fragment { pc, mask }, active)
                .map_err(|trouble| self.fault(*trouble, pc, warp, state))?;
        }
        if warp.fragments.len() > 1 {
            // Lanes that spin must let those run that they wait for.
            warp.rotation += 1;
        }
        Ok(())
    }

    /// The lanes that an instruction runs for, or those that it needs and that are not here.
    fn ready(&self, warp: &Warp, pc: u32, mask: u32) -> Result<u32, u32> {
        let instr = &self.kernel.code[pc as usize];
        let active = match instr.guard {
            Some(guard) => mask & self.guard(warp, guard),
            None => mask,
        };
        let needed = match instr.op {
            // Every lane of the warp, whether it has ended or not.
            Op::Barrier { .. } => warp.all,
            Op::Mma { .. } | Op::LoadMatrix { .. } => ALL,
            Op::Shuffle { mask, .. }
            | Op::Vote { mask, .. }
            | Op::Match { mask, .. }
            | Op::Reduce { mask, .. }
            | Op::WarpBarrier { mask } => {
                let named = self.reg(warp, mask);
                lanes(active).fold(0, |all, lane| all | named[lane] as u32) & warp.live
            }
            _ => return Ok(active),
        };
        if active == 0 || needed & !active == 0 { Ok(active) } else { Err(needed & !active) }
    }

    fn other_ready(&self, warp: &Warp, but: usize) -> Option<(usize, u32)> {
        let others = warp.fragments.iter().enumerate().filter(|(at, _)| *at != but);
        others
            .map(|(at, fragment)| Some((at, self.ready(warp, fragment.pc, fragment.mask).ok()?)))
            .find_map(|found| found)
    }

    /// Runs one instruction of fragment `at`.
    fn step(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        at: usize,
        here: Fragment,
        active: u32,
    ) -> Result<(), Trouble> {
        let Fragment { pc, mask } = here;
        let next = pc + 1;
        match self.kernel.code[pc as usize].op {
            Op::Branch { target } => {
                let stay = mask & !active;
                if active != 0 && stay != 0 {
                    self.counts.divergent += 1;
                    warp.fragments[at] = Fragment { pc: next, mask: stay };
                    warp.fragments.push(Fragment { pc: target, mask: active });
                } else {
                    warp.fragments[at].pc = if stay == 0 { target } else { next };
                }
            }
            Op::Exit => {
                if let Some(copy) = warp.copies.iter().find(|copy| active >> copy.lane & 1 == 1) {
                    return trouble(Kind::CopiesAtExit, copy.lane);
                }
                warp.live &= !active;
                warp.fragments[at] = Fragment { pc: next, mask: mask & !active };
                if mask == active {
                    warp.fragments.remove(at);
                }
            }
            Op::Barrier { id, count, wait } if active != 0 => {
                if self.arrive(warp, state, pc, id, count, wait)? {
                    warp.fragments[at].pc = next;
                }
            }
            _ => {
                if active != 0 {
                    self.execute(warp, state, pc, active)?;
                }
                warp.fragments[at].pc = next;
            }
        }
        if warp.fragments.len() > 1 {
            meet(&mut warp.fragments);
        }
        Ok(())
    }

    /// A warp comes to a barrier of the block. Returns whether it goes on at once.
    fn arrive(
        &self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        id: Reg,
        count: Option<Reg>,
        wait: bool,
    ) -> Result<bool, Trouble> {
        let id = self.reg(warp, id)[0] as usize;
        let all = 32 * self.warps as u32;
        let expected = count.map_or(all, |count| self.reg(warp, count)[0] as u32);
        let diverges = |detail: String| trouble(Kind::DivergentBarrier { detail }, 0);
        let Some(barrier) = state.barriers.get_mut(id) else {
            return diverges(format!("there is no barrier {id}"));
        };
        if expected == 0 || expected > all || !expected.is_multiple_of(32) {
            return diverges(format!("{expected} threads of {all}"));
        }
        if barrier.expected == 0 {
            barrier.expected = expected;
            barrier.pc = count.is_none().then_some(pc);
        }
        if barrier.expected != expected || barrier.arrived == barrier.expected {
            return diverges(format!(
                "{expected} threads are to come, by others' word {}",
                barrier.expected
            ));
        }
        if let Some(other) = barrier.pc.filter(|other| count.is_none() && *other != pc) {
            return diverges(format!(
                "other warps are at {}",
                self.kernel.code[other as usize].place
            ));
        }
        barrier.arrived += 32;
        let (block, others) = warp.clock.told();
        if barrier.told.0.is_empty() {
            barrier.told.0 = block;
        } else {
            barrier
                .told
                .0
                .iter_mut()
                .zip(&block)
                .for_each(|(time, told)| *time = (*time).max(*told));
        }
        others.iter().for_each(|(warp, told)| {
            let time = barrier.told.1.entry(*warp).or_default();
            *time = (*time).max(*told);
        });
        warp.clock.advance();
        if wait {
            warp.waits = Some(id);
        }
        Ok(!wait)
    }

    /// Warps of a block.
    pub(crate) fn warps(&self) -> usize {
        self.warps
    }

    /// The lanes of a register.
    #[inline]
    pub(crate) fn reg<'b>(&'b self, warp: &'b Warp, reg: Reg) -> &'b Lanes {
        if reg >= FIRST_CONSTANT {
            &self.constants[(reg - FIRST_CONSTANT) as usize]
        } else {
            &warp.regs[reg as usize]
        }
    }
}

/// Sorts fragments, and joins those that have come to the same instruction.
fn meet(fragments: &mut Vec<Fragment>) {
    fragments.sort_unstable_by_key(|fragment| fragment.pc);
    fragments.dedup_by(|next, earlier| {
        let same = next.pc == earlier.pc;
        if same {
            earlier.mask |= next.mask;
        }
        same
    });
}
