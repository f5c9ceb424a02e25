//! Executes one instruction of a warp: registers, loads, stores, atomics.

use crate::fault::Kind;
use crate::machine::{BlockState, Run, Trouble, Warp, trouble};
use crate::memory::{Bits, WINDOW_BITS};
use crate::op::{Address, Dst, Guard, Op, Order, PredSrc, Reg};
use crate::shadow::{Access, Conflict, Manner};
use crate::spaces::{Home, Space, home};
use crate::value::{ALL, Lanes, WARP, lanes, low, signed};

/// A value in memory, of up to 32 bytes.
type Bytes = [u8; 32];

impl Run<'_> {
    pub(crate) fn guard(&self, warp: &Warp, guard: Guard) -> u32 {
        let mask = self.pred(warp, guard.pred);
        if guard.negated { !mask } else { mask }
    }

    fn pred(&self, warp: &Warp, pred: PredSrc) -> u32 {
        match pred {
            PredSrc::Reg(pred) => warp.preds[pred as usize],
            PredSrc::Const(value) => {
                if value {
                    ALL
                } else {
                    0
                }
            }
        }
    }

    pub(crate) fn execute(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        active: u32,
    ) -> Result<(), Trouble> {
        let kernel = self.kernel;
        match &kernel.code[pc as usize].op {
            Op::Nop => {}
            Op::Alu { f, dst, src } => {
                let mut out = [0; WARP];
                f(&src.map(|reg| self.reg(warp, reg)), &mut out);
                set(warp, *dst, &out, active);
            }
            Op::Compare { f, dst, inverse, src, with } => {
                let found = f(self.reg(warp, src[0]), self.reg(warp, src[1]));
                let join = |mask: u32| {
                    with.map_or(mask, |(logic, guard)| logic.of(mask, self.guard(warp, guard)))
                };
                let (yes, no) = (join(found), join(!found));
                set_pred(warp, *dst, yes, active);
                set_pred(warp, *inverse, no, active);
            }
            Op::Select { dst, yes, no, by } => {
                let by = self.guard(warp, *by);
                let (yes, no) = (self.reg(warp, *yes), self.reg(warp, *no));
                let out =
                    std::array::from_fn(
                        |lane| if by >> lane & 1 == 1 { yes[lane] } else { no[lane] },
                    );
                set(warp, *dst, &out, active);
            }
            Op::Logic { f, dst, a, b } => {
                let found = f.of(self.pred(warp, *a), self.pred(warp, *b));
                set_pred(warp, Dst::Pred(*dst), found, active);
            }
            Op::Pack { dst, src, bits } => {
                let mut out = [0; WARP];
                for (part, reg) in (0u32..).zip(src) {
                    let value = self.reg(warp, *reg);
                    (0..WARP)
                        .for_each(|lane| out[lane] |= low(value[lane], *bits) << (part * bits));
                }
                set(warp, *dst, &out, active);
            }
            Op::Unpack { dst, src, bits } => {
                let value = *self.reg(warp, *src);
                for (part, dst) in (0u32..).zip(dst) {
                    set_dst(warp, *dst, &value.map(|v| low(v >> (part * bits), *bits)), active);
                }
            }
            Op::Load { from, bytes, dst, widen, order } => {
                self.load(warp, state, pc, active, (*from, *bytes, *order), dst, *widen)?
            }
            Op::Store { to, bytes, src, order } => {
                self.store(warp, state, pc, active, (*to, *bytes, *order), src)?
            }
            Op::Atomic { at, bytes, dst, f, a, b, order } => {
                let (addresses, a, b) =
                    (self.addresses(warp, *at), *self.reg(warp, *a), *self.reg(warp, *b));
                let mut old = [0; WARP];
                for lane in lanes(active) {
                    self.check(warp, state, at.space, addresses[lane], *bytes, lane, false)?;
                    let place =
                        self.check(warp, state, at.space, addresses[lane], *bytes, lane, true)?;
                    self.order(warp, state, pc, place, *bytes, lane, Touch::Atomic(*order))?;
                    old[lane] = number(&self.bytes(warp, state, place, *bytes, lane), 0, *bytes);
                    let new = low(f(old[lane], a[lane], b[lane]), 8 * bytes);
                    self.put(warp, state, place, &new.to_le_bytes()[..*bytes as usize], lane);
                    self.counts.atomics += u64::from(matches!(place, Home::Buffer(..)));
                }
                set_dst(warp, *dst, &old, active);
            }
            Op::WarpBarrier { .. } => {
                if active == warp.live {
                    warp.clock.warp_barrier();
                }
            }
            Op::Fence => warp.clock.fence(),
            Op::Trap => return trouble(Kind::Trap, active.trailing_zeros() as usize),
            Op::ActiveMask { dst } => set(warp, *dst, &[u64::from(active); WARP], active),
            Op::Shuffle { .. } | Op::Vote { .. } | Op::Match { .. } | Op::Reduce { .. } => {
                self.collective(warp, pc, active)?
            }
            Op::Mma { product, d, a, b, c } => self.mma(warp, *product, d, a, b, c),
            Op::LoadMatrix { from, dst, transposed } => {
                self.load_matrix(warp, state, pc, *from, dst, *transposed)?
            }
            Op::Copy { to, from, bytes, valid } => {
                self.copy(warp, state, pc, active, *to, *from, *bytes, *valid)?
            }
            Op::CopyCommit => lanes(active).for_each(|lane| warp.groups[lane] += 1),
            Op::CopyWait { keep, open } => self.copy_wait(warp, state, pc, active, *keep, *open),
            Op::Branch { .. } | Op::Exit | Op::Barrier { .. } => unreachable!("the machine's own"),
        }
        Ok(())
    }

    pub(crate) fn addresses(&self, warp: &Warp, at: Address) -> Lanes {
        self.reg(warp, at.base).map(|base| base.wrapping_add(at.offset as u64))
    }

    #[allow(clippy::too_many_arguments)]
    fn load(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        active: u32,
        (from, bytes, order): (Address, u32, Order),
        dst: &[Dst],
        widen: Option<u32>,
    ) -> Result<(), Trouble> {
        let addresses = self.addresses(warp, from);
        let total = bytes * dst.len() as u32;
        let mut out = [[0; WARP]; 4];
        for lane in lanes(active) {
            let value = if from.space == Space::Param {
                self.param(addresses[lane], total, lane)?
            } else {
                let place =
                    self.check(warp, state, from.space, addresses[lane], total, lane, false)?;
                self.order(warp, state, pc, place, total, lane, Touch::read(order))?;
                self.bytes(warp, state, place, total, lane)
            };
            for (part, out) in out.iter_mut().take(dst.len()).enumerate() {
                let value = number(&value, part, bytes);
                out[lane] = widen.map_or(value, |bits| low(signed(value, 8 * bytes) as u64, bits));
            }
        }
        for (dst, out) in dst.iter().zip(&out) {
            set_dst(warp, *dst, out, active);
        }
        self.count(from.space, &addresses, active, total, false);
        Ok(())
    }

    fn store(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        active: u32,
        (to, bytes, order): (Address, u32, Order),
        src: &[Reg],
    ) -> Result<(), Trouble> {
        let addresses = self.addresses(warp, to);
        let total = bytes * src.len() as u32;
        for lane in lanes(active) {
            let mut value: Bytes = [0; 32];
            for (part, reg) in src.iter().enumerate() {
                let at = part * bytes as usize;
                value[at..at + bytes as usize]
                    .copy_from_slice(&self.reg(warp, *reg)[lane].to_le_bytes()[..bytes as usize]);
            }
            let value = &value[..total as usize];
            let place = self.check(warp, state, to.space, addresses[lane], total, lane, true)?;
            self.order(warp, state, pc, place, total, lane, Touch::write(order))?;
            self.put(warp, state, place, value, lane);
        }
        self.count(to.space, &addresses, active, total, true);
        Ok(())
    }

    fn param(&self, address: u64, bytes: u32, lane: usize) -> Result<Bytes, Trouble> {
        let (start, bytes) = (address as usize, bytes as usize);
        let Some(found) = start.checked_add(bytes).and_then(|end| self.params.get(start..end))
        else {
            return trouble(
                Kind::OutOfBounds {
                    what: format!("byte {start} of the parameters"),
                    bytes: bytes as u32,
                },
                lane,
            );
        };
        let mut value = [0; 32];
        value[..bytes].copy_from_slice(found);
        Ok(value)
    }

    /// Counts the requests of one instruction.
    fn count(&mut self, space: Space, addresses: &Lanes, active: u32, bytes: u32, write: bool) {
        if !self.launch.watched {
            return;
        }
        let mut shared = [(0, 0); WARP];
        let mut global = [0; WARP];
        let (mut n_shared, mut n_global, mut local) = (0, 0, false);
        for lane in lanes(active) {
            match home(space, addresses[lane]) {
                Home::Shared(at) => {
                    shared[n_shared] = (lane, at as u64);
                    n_shared += 1;
                }
                Home::Buffer(..) => {
                    global[n_global] = addresses[lane];
                    n_global += 1;
                }
                Home::Local(_) => local = true,
                Home::Module(_) | Home::Nowhere => {}
            }
        }
        self.counts.shared.request(&shared[..n_shared], bytes.into());
        self.counts.local += u64::from(local);
        let traffic = if write { &mut self.counts.stores } else { &mut self.counts.loads };
        let sectors = traffic.request(global[..n_global].iter().copied(), bytes.into());
        if !write {
            self.touched(&sectors);
        }
    }

    /// Notes sectors that were read, by their addresses divided by 32.
    pub(crate) fn touched(&mut self, sectors: &[u64]) {
        for sector in sectors {
            let window = WINDOW_BITS - 5;
            let at = (sector >> window) as usize - 1;
            let buffer = &mut self.buffers[at];
            if buffer.asked == 0 {
                buffer.touched = Bits::new(self.memory.buffers[at].bytes.len().div_ceil(32));
            }
            buffer.asked += 1;
            buffer.touched.set((sector & ((1 << window) - 1)) as usize, 1);
        }
    }

    /// Where an access goes, after all that can be said of the place alone.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn check(
        &self,
        warp: &Warp,
        state: &BlockState,
        space: Space,
        address: u64,
        bytes: u32,
        lane: usize,
        write: bool,
    ) -> Result<Home, Trouble> {
        let place = home(space, address);
        let n = bytes as usize;
        let (start, len) = match place {
            Home::Buffer(buffer, start) => {
                (start, self.memory.buffers.get(buffer).map_or(0, |buffer| buffer.bytes.len()))
            }
            Home::Module(start) => (start, self.kernel.variables.len()),
            Home::Shared(start) => (start, state.shared.len()),
            Home::Local(start) => (start, self.kernel.local),
            Home::Nowhere => (0, 0),
        };
        if start.checked_add(n).is_none_or(|end| end > len) {
            return trouble(Kind::OutOfBounds { what: self.what(place), bytes }, lane);
        }
        if !start.is_multiple_of(n) {
            return trouble(Kind::Misaligned { what: self.what(place), bytes }, lane);
        }
        let (written, start) = match place {
            Home::Buffer(buffer, _) => (self.memory.buffers[buffer].written.as_ref(), start),
            Home::Shared(_) => (Some(&state.written), start),
            Home::Local(_) => (Some(&warp.local_written), lane * self.kernel.local + start),
            Home::Module(_) | Home::Nowhere => (None, start),
        };
        match written {
            None if write => trouble(Kind::ReadOnly { what: self.what(place) }, lane),
            Some(written) if !write && !written.all(start, n) => {
                trouble(Kind::Uninitialised { what: self.what(place) }, lane)
            }
            _ => Ok(place),
        }
    }

    /// A place in words.
    fn what(&self, place: Home) -> String {
        match place {
            Home::Buffer(buffer, at) => match self.memory.buffers.get(buffer) {
                Some(buffer) => {
                    format!("byte {at} of `{}` (of {})", buffer.name, buffer.bytes.len())
                }
                None => "an address outside of all buffers".to_owned(),
            },
            Home::Module(at) => format!("byte {at} of the module's variables"),
            Home::Shared(at) => format!("shared byte {at}"),
            Home::Local(at) => format!("local byte {at}"),
            Home::Nowhere => "an address outside of all buffers".to_owned(),
        }
    }

    /// Whether an access is ordered with all before it.
    #[allow(clippy::too_many_arguments)]
    fn order(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        place: Home,
        bytes: u32,
        lane: usize,
        touch: Touch,
    ) -> Result<(), Trouble> {
        if !self.launch.watched {
            return Ok(());
        }
        let (shadow, start, clocks, buffer) = match place {
            Home::Buffer(buffer, start) if self.memory.buffers[buffer].written.is_some() => {
                (&mut self.buffers[buffer].shadow, start, &mut self.clocks, buffer)
            }
            Home::Shared(start) => (&mut state.shadow, start, &mut state.clocks, 0),
            _ => return Ok(()),
        };
        let who = Access { warp: warp.number, time: warp.clock.time, pc, lane: lane as u8 };
        let (clock, n) = (&warp.clock, bytes as usize);
        let known = |access: &Access| clock.knows(access, lane as u8);
        let judged = match touch {
            Touch::Read => shadow.read(start, n, who, known),
            Touch::Write => shadow.write(start, n, who, Manner::Plain, known),
            Touch::ReadOrdered(_) => shadow.read_atomically(start, n, known),
            Touch::WriteOrdered(_) => shadow.write(start, n, who, Manner::Atomic, known),
            Touch::Atomic(_) => shadow
                .read_atomically(start, n, known)
                .and_then(|()| shadow.write(start, n, who, Manner::Atomic, known)),
        };
        if let Err(conflict) = judged {
            return self.conflict(&conflict, place, lane);
        }
        let variable = (buffer, start);
        if let Touch::ReadOrdered(order) | Touch::Atomic(order) = touch
            && let Some(times) = clocks.get(&variable)
        {
            warp.clock.learn(times, order.acquires());
        }
        if let Touch::WriteOrdered(order) | Touch::Atomic(order) = touch {
            warp.clock.publish(clocks.entry(variable).or_default(), order.releases());
        }
        Ok(())
    }

    pub(crate) fn conflict<T>(
        &self,
        conflict: &Conflict,
        place: Home,
        lane: usize,
    ) -> Result<T, Trouble> {
        let what = self.what(match place {
            Home::Buffer(buffer, _) => Home::Buffer(buffer, conflict.byte),
            _ => Home::Shared(conflict.byte),
        });
        let warps = self.warps() as u32;
        let earlier = Box::new(self.kernel.code[conflict.with.pc as usize].place.clone());
        let lane_of =
            if usize::from(conflict.with.lane) < WARP { u32::from(conflict.with.lane) } else { 0 };
        let (block, thread) =
            (conflict.with.warp / warps, conflict.with.warp % warps * 32 + lane_of);
        let kind = if conflict.in_flight {
            Kind::InFlight { what, thread, place: earlier }
        } else {
            Kind::Race { what, written: conflict.written, block, thread, place: earlier }
        };
        trouble(kind, lane)
    }

    /// Judges a read that is no load instruction's.
    pub(crate) fn order_read(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        place: Home,
        bytes: u32,
        lane: usize,
    ) -> Result<(), Trouble> {
        self.order(warp, state, pc, place, bytes, lane, Touch::Read)
    }

    pub(crate) fn bytes(
        &self,
        warp: &Warp,
        state: &BlockState,
        place: Home,
        bytes: u32,
        lane: usize,
    ) -> Bytes {
        let n = bytes as usize;
        let from = match place {
            Home::Buffer(buffer, start) => &self.memory.buffers[buffer].bytes[start..start + n],
            Home::Module(start) => &self.kernel.variables[start..start + n],
            Home::Shared(start) => &state.shared[start..start + n],
            Home::Local(start) => &warp.local[lane * self.kernel.local + start..][..n],
            Home::Nowhere => &[],
        };
        let mut value = [0; 32];
        value[..from.len()].copy_from_slice(from);
        value
    }

    pub(crate) fn put(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        place: Home,
        value: &[u8],
        lane: usize,
    ) {
        let (bytes, written, start) = match place {
            Home::Buffer(buffer, start) => {
                let buffer = &mut self.memory.buffers[buffer];
                (&mut buffer.bytes, buffer.written.as_mut(), start)
            }
            Home::Shared(start) => (&mut state.shared, Some(&mut state.written), start),
            Home::Local(start) => {
                (&mut warp.local, Some(&mut warp.local_written), lane * self.kernel.local + start)
            }
            Home::Module(_) | Home::Nowhere => return,
        };
        bytes[start..start + value.len()].copy_from_slice(value);
        if let Some(written) = written {
            written.set(start, value.len());
        }
    }
}

/// How an instruction touches memory.
#[derive(Debug, Clone, Copy)]
enum Touch {
    Read,
    Write,
    ReadOrdered(Order),
    WriteOrdered(Order),
    Atomic(Order),
}

impl Touch {
    fn read(order: Order) -> Touch {
        if order == Order::Weak { Touch::Read } else { Touch::ReadOrdered(order) }
    }

    fn write(order: Order) -> Touch {
        if order == Order::Weak { Touch::Write } else { Touch::WriteOrdered(order) }
    }
}

/// The `part`-th number of `bytes` bytes.
fn number(value: &Bytes, part: usize, bytes: u32) -> u64 {
    let n = bytes as usize;
    let mut wide = [0; 8];
    wide[..n].copy_from_slice(&value[part * n..][..n]);
    u64::from_le_bytes(wide)
}

/// Writes a register in the active lanes.
#[inline]
pub(crate) fn set(warp: &mut Warp, dst: Reg, value: &Lanes, active: u32) {
    let reg = &mut warp.regs[dst as usize];
    if active == ALL {
        *reg = *value;
    } else {
        lanes(active).for_each(|lane| reg[lane] = value[lane]);
    }
}

pub(crate) fn set_pred(warp: &mut Warp, dst: Dst, mask: u32, active: u32) {
    if let Dst::Pred(pred) = dst {
        let pred = &mut warp.preds[pred as usize];
        *pred = (*pred & !active) | (mask & active);
    }
}

pub(crate) fn set_dst(warp: &mut Warp, dst: Dst, value: &Lanes, active: u32) {
    if let Dst::Reg(reg) = dst {
        set(warp, reg, value, active);
    }
}
