//! Asynchronous copies: what is copied arrives at the last moment, when it is waited for, so that a
//! wait too few is seen.

use crate::machine::{BlockState, Run, Trouble, Warp};
use crate::op::{Address, Reg};
use crate::shadow::{Access, Manner};
use crate::spaces::Home;
use crate::value::{WARP, lanes};

/// A copy of one lane that has not been waited for.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) lane: usize,
    /// Groups its lane had closed before.
    group: u32,
    to: usize,
    from: Option<Home>,
    bytes: u32,
    valid: u32,
}

impl Run<'_> {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn copy(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        active: u32,
        to: Address,
        from: Address,
        bytes: u32,
        valid: Option<Reg>,
    ) -> Result<(), Trouble> {
        let (to_space, from_space) = (to.space, from.space);
        let (to, from) = (self.addresses(warp, to), self.addresses(warp, from));
        let valid = valid.map_or([bytes.into(); WARP], |valid| *self.reg(warp, valid));
        for lane in lanes(active) {
            let valid = (valid[lane] as u32).min(bytes);
            let target = self.check(warp, state, to_space, to[lane], bytes, lane, true)?;
            let source = if valid > 0 {
                // Of a copy that zeros complete, only what is copied must be there.
                let whole = valid == bytes;
                if !whole {
                    self.check(
                        warp,
                        state,
                        from_space,
                        from[lane] + u64::from(valid) - 1,
                        1,
                        lane,
                        false,
                    )?;
                }
                let source = self.check(
                    warp,
                    state,
                    from_space,
                    from[lane],
                    if whole { bytes } else { 1 },
                    lane,
                    false,
                )?;
                self.order_read(warp, state, pc, source, if whole { bytes } else { 1 }, lane)?;
                Some(source)
            } else {
                None
            };
            let Home::Shared(start) = target else { continue };
            let who = Access { warp: warp.number, time: warp.clock.time, pc, lane: lane as u8 };
            let clock = &warp.clock;
            let judged =
                state.shadow.write(start, bytes as usize, who, Manner::InFlight, |access| {
                    clock.knows(access, lane as u8)
                });
            if let Err(conflict) = judged {
                return self.conflict(&conflict, target, lane);
            }
            // Reading before the wait is a read in flight, not an uninitialised one.
            state.written.set(start, bytes as usize);
            warp.copies.push(Pending {
                lane,
                group: warp.groups[lane],
                to: start,
                from: source,
                bytes,
                valid,
            });
        }
        let copied = lanes(active).filter(|lane| valid[*lane] > 0).map(|lane| from[lane]);
        let sectors = self.counts.copies.request(copied, bytes.into());
        self.touched(&sectors);
        self.counts
            .shared
            .request(&lanes(active).map(|lane| (lane, to[lane])).collect::<Vec<_>>(), bytes.into());
        Ok(())
    }

    pub(crate) fn copy_wait(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        active: u32,
        keep: u32,
        open: bool,
    ) {
        let groups = warp.groups;
        let done = |copy: &Pending| {
            let closed = groups[copy.lane].saturating_sub(keep);
            active >> copy.lane & 1 == 1 && (copy.group < closed || open)
        };
        let (landed, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut warp.copies).into_iter().partition(done);
        warp.copies = waiting;
        for copy in landed {
            let mut value = [0; 32];
            if let Some(from) = copy.from {
                let source = self.bytes(warp, state, from, copy.valid, copy.lane);
                value[..copy.valid as usize].copy_from_slice(&source[..copy.valid as usize]);
            }
            self.put(warp, state, Home::Shared(copy.to), &value[..copy.bytes as usize], copy.lane);
            let who =
                Access { warp: warp.number, time: warp.clock.time, pc, lane: copy.lane as u8 };
            state.shadow.land(copy.to, copy.bytes as usize, who);
        }
    }
}
