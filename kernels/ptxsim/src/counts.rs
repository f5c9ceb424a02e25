//! What a launch cost: the counters a profiler would show, as far as they follow from the program
//! alone.

use std::collections::BTreeMap;

use crate::fault::Place;

/// Counters of a launch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions, one a warp, whatever its lanes.
    pub instructions: u64,
    /// Instructions times the lanes that took part.
    pub lane_instructions: u64,
    /// Matrix products of a warp.
    pub mma: u64,
    /// Barriers of a block that were passed.
    pub barriers: u64,
    /// Branches that a warp's lanes took differently.
    pub divergent: u64,
    /// Global memory, plain loads.
    pub loads: Traffic,
    /// Global memory, asynchronous copies into shared memory.
    pub copies: Traffic,
    /// Global memory, stores.
    pub stores: Traffic,
    /// Global memory, atomics (one request a lane).
    pub atomics: u64,
    pub shared: Shared,
    /// Local memory accesses: a kernel that keeps all in registers has none.
    pub local: u64,
    /// Global buffers that were read, in the order of their allocation.
    pub buffers: Vec<Buffers>,
    pub(crate) lines: BTreeMap<Place, u64>,
}

/// Requests to global memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// One a warp and instruction.
    pub requests: u64,
    /// 32-byte sectors that the requests touch.
    pub sectors: u64,
    /// Sectors that the bytes asked for would fill: `sectors` of perfectly coalesced requests.
    pub needed: u64,
}

/// Requests to shared memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shared {
    pub requests: u64,
    /// Passes over the banks; 8-byte accesses need two, 16-byte accesses four.
    pub wavefronts: u64,
    /// Passes more than that.
    pub conflicts: u64,
}

/// Reads of one global buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buffers {
    pub name: String,
    /// 32-byte sectors asked for, each time.
    pub asked: u64,
    /// Different sectors among them: the least that had to travel.
    pub needed: u64,
}

/// Instructions made from a line of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub file: String,
    pub line: u32,
    pub instructions: u64,
}

impl Counts {
    /// Instructions by line of the source, most first.
    pub fn lines(&self) -> Vec<Line> {
        let mut sums = BTreeMap::<(&str, u32), u64>::new();
        for (place, n) in &self.lines {
            *sums.entry((&place.file, place.line)).or_default() += n;
        }
        let mut lines: Vec<_> = sums
            .into_iter()
            .map(|((file, line), instructions)| Line { file: file.to_owned(), line, instructions })
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.instructions));
        lines
    }

    /// Reads of the buffer of that name.
    pub fn buffer(&self, name: &str) -> Option<&Buffers> {
        self.buffers.iter().find(|buffer| buffer.name == name)
    }
}

impl Traffic {
    /// Counts one request: an address a lane, `bytes` at each. Returns the sectors.
    pub(crate) fn request(&mut self, addresses: impl Iterator<Item = u64>, bytes: u64) -> Vec<u64> {
        let mut starts: Vec<u64> = addresses.collect();
        if starts.is_empty() {
            return starts;
        }
        starts.sort_unstable();
        starts.dedup();
        self.needed += (starts.len() as u64 * bytes).div_ceil(32);
        // Aligned accesses of at most 16 bytes lie in one sector each.
        starts.iter_mut().for_each(|address| *address /= 32);
        starts.dedup();
        self.requests += 1;
        self.sectors += starts.len() as u64;
        starts
    }
}

impl Shared {
    /// Counts one request: an address a lane in the order of the lanes, `bytes` at each.
    pub(crate) fn request(&mut self, addresses: &[(usize, u64)], bytes: u64) {
        if addresses.is_empty() {
            return;
        }
        self.requests += 1;
        // 8-byte accesses go by half warps, 16-byte accesses by quarters.
        let phase_lanes = if bytes <= 4 { 32 } else { 128 / bytes as usize };
        let mut rest = addresses;
        while let Some((lane, _)) = rest.first() {
            let end = (lane / phase_lanes + 1) * phase_lanes;
            let (phase, later) = rest.split_at(rest.partition_point(|(lane, _)| *lane < end));
            rest = later;
            let passes = bank_passes(phase.iter().map(|(_, address)| *address), bytes);
            self.wavefronts += passes;
            self.conflicts += passes - 1;
        }
    }
}

/// Different words that the busiest bank has to give.
fn bank_passes(addresses: impl Iterator<Item = u64>, bytes: u64) -> u64 {
    let words = bytes.div_ceil(4);
    let mut seen = [u64::MAX; 128];
    let mut len = 0;
    let mut load = [0u64; 32];
    for address in addresses {
        for word in address / 4..address / 4 + words {
            if !seen[..len].contains(&word) {
                seen[len] = word;
                len += 1;
                load[word as usize % 32] += 1;
            }
        }
    }
    load.into_iter().max().unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflicts(stride: u64, bytes: u64) -> u64 {
        let mut shared = Shared::default();
        shared
            .request(&(0..32).map(|lane| (lane, lane as u64 * stride)).collect::<Vec<_>>(), bytes);
        shared.conflicts
    }

    #[test]
    fn bank_conflicts_of_strides() {
        assert_eq!(conflicts(4, 4), 0);
        assert_eq!(conflicts(8, 4), 1);
        assert_eq!(conflicts(128, 4), 31);
        assert_eq!(conflicts(132, 4), 0);
        assert_eq!(conflicts(0, 4), 0, "a broadcast");
        assert_eq!(conflicts(2, 2), 0, "two lanes a word");
        assert_eq!(conflicts(8, 8), 0);
        assert_eq!(conflicts(16, 16), 0);
        assert_eq!(conflicts(128, 16), 4 * 7);
        assert_eq!(conflicts(144, 16), 0);
    }

    #[test]
    fn sectors_of_strides() {
        let mut loads = Traffic::default();
        loads.request((0..32).map(|lane| lane * 4), 4);
        assert_eq!((loads.requests, loads.sectors, loads.needed), (1, 4, 4));
        loads.request((0..32).map(|lane| lane * 32), 4);
        assert_eq!((loads.sectors, loads.needed), (4 + 32, 4 + 4));
        loads.request((0..32).map(|_| 64), 4);
        assert_eq!((loads.sectors, loads.needed), (37, 9));
    }
}
