//! What happened before what: vector clocks, one process a warp.
//!
//! A warp's time advances at each barrier, fence or release. All lanes of a warp are ordered by a
//! barrier (of the warp or the block); warps of a block by a barrier of the block; blocks by a
//! release that another acquires: an atomic, volatile or relaxed access between fences
//! (`__threadfence`), or one that says `.release` and `.acquire` itself.
//!
//! Coarser than the memory model in two places. A barrier of part of a warp (`__syncwarp` with a
//! mask) orders nothing: a race may be reported that is none. What one lane acquires its whole warp
//! knows: such a race inside one warp is not seen.

use std::collections::BTreeMap;

use crate::shadow::Access;

/// What a warp knows of all others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    /// The warp's number in the grid.
    warp: u32,
    /// Its first warp's number of the own block.
    first: u32,
    pub(crate) time: u32,
    /// Accesses of this warp's lanes up to here are ordered before all that follows in any of them.
    floor: u32,
    /// Latest time known, by warp of the own block.
    block: Vec<u32>,
    /// Latest time known, by warp of another block.
    others: Times,
    /// Known at the last fence: what an access that is no release by itself releases.
    fenced: Option<Times>,
    /// Read by accesses that are no acquire by themselves: known from the next fence on.
    unfenced: Times,
}

/// Latest times by warp of the grid.
pub(crate) type Times = BTreeMap<u32, u32>;

fn join(into: &mut Times, from: &Times) {
    for (warp, time) in from {
        let known = into.entry(*warp).or_default();
        *known = (*known).max(*time);
    }
}

impl Clock {
    /// Of warp `warp` of the grid, in the block of `n` warps from `first` on.
    pub(crate) fn new(warp: u32, first: u32, n: usize) -> Clock {
        Clock { warp, first, time: 1, block: vec![0; n], ..Clock::default() }
    }

    /// Whether an access came before all that `lane` of this warp does now.
    #[inline]
    pub(crate) fn knows(&self, access: &Access, lane: u8) -> bool {
        if access.warp == self.warp {
            return access.lane == lane || access.time <= self.floor;
        }
        let local = access.warp.wrapping_sub(self.first) as usize;
        match self.block.get(local) {
            Some(time) => access.time <= *time,
            None => self.others.get(&access.warp).is_some_and(|time| access.time <= *time),
        }
    }

    /// All lanes of the warp meet.
    pub(crate) fn warp_barrier(&mut self) {
        self.floor = self.time;
        self.time += 1;
    }

    /// What the warp tells at a barrier of the block.
    pub(crate) fn told(&self) -> (Vec<u32>, Times) {
        let mut block = self.block.clone();
        block[(self.warp - self.first) as usize] = self.time;
        (block, self.others.clone())
    }

    /// The warp has told and goes on.
    pub(crate) fn advance(&mut self) {
        self.time += 1;
    }

    /// The warp passes a barrier of the block at which `told` was told.
    pub(crate) fn block_barrier(&mut self, told: &(Vec<u32>, Times)) {
        for (known, time) in self.block.iter_mut().zip(&told.0) {
            *known = (*known).max(*time);
        }
        join(&mut self.others, &told.1);
        self.warp_barrier();
    }

    pub(crate) fn fence(&mut self) {
        let unfenced = std::mem::take(&mut self.unfenced);
        self.know(&unfenced);
        self.fenced = Some(self.everything());
        self.advance();
    }

    fn know(&mut self, times: &Times) {
        for (warp, time) in times {
            match self.block.get_mut(warp.wrapping_sub(self.first) as usize) {
                Some(known) => *known = (*known).max(*time),
                None => join(&mut self.others, &Times::from([(*warp, *time)])),
            }
        }
    }

    fn everything(&self) -> Times {
        let mut all = self.others.clone();
        for (warp, time) in (self.first..).zip(&self.block) {
            all.insert(warp, *time);
        }
        all.insert(self.warp, self.time);
        all
    }

    /// Writes what is known to the variable's clock; `release`: up to now, else up to the last
    /// fence.
    pub(crate) fn publish(&mut self, variable: &mut Times, release: bool) {
        if release {
            join(variable, &self.everything());
            self.advance();
        } else if let Some(fenced) = &self.fenced {
            join(variable, fenced);
        }
    }

    /// Learns the variable's clock; `acquire`: now, else at the next fence.
    pub(crate) fn learn(&mut self, variable: &Times, acquire: bool) {
        if acquire {
            self.know(variable);
        } else {
            join(&mut self.unfenced, variable);
        }
    }
}
