//! Memory for blocks: equal parts of slabs on huge pages, which go back to the system slab by slab.
//!
//! Attention over a long prefix reads keys and values once a token, as products read weights, and
//! in 4 KB pages it waits for the TLB. A part that is given back is handed out again; one empty
//! slab is kept, so that a block at a boundary does not map and unmap memory.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Line;
use crate::pages::{HUGE, Slab};

/// Hands out the blocks of its stores and counts their bytes, each once however many stores share
/// it.
#[derive(Clone, Default)]
pub struct KvMemory(Arc<Pool>);

#[derive(Default)]
struct Pool {
    bytes: AtomicUsize,
    /// By their first address.
    slabs: Mutex<BTreeMap<usize, Parts>>,
}

/// A slab cut into parts of equal length.
struct Parts {
    slab: Slab,
    /// Lines of a part.
    len: usize,
    n: usize,
    /// Parts from this one on were never handed out: they are zero.
    fresh: usize,
    /// Parts that came back.
    free: Vec<NonNull<Line>>,
}

// SAFETY: the pointers are to the slab, which is plain memory; a part belongs to whoever took it.
unsafe impl Send for Parts {}

impl Parts {
    /// As many parts as fill whole huge pages to within a sixteenth.
    fn new(len: usize) -> Parts {
        let part = len * size_of::<Line>();
        let waste = |pages: &usize| pages * HUGE % part;
        let pages = (part.div_ceil(HUGE)..)
            .find(|pages| waste(pages) <= pages * HUGE / 16)
            .expect("the waste is less than a part");
        Parts {
            slab: Slab::new(pages * HUGE),
            len,
            n: pages * HUGE / part,
            fresh: 0,
            free: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.fresh
    }

    /// A part, and whether it is zero.
    fn take(&mut self) -> Option<(NonNull<Line>, bool)> {
        if let Some(part) = self.free.pop() {
            return Some((part, false));
        }
        let at = self.fresh * self.len;
        (self.fresh < self.n).then(|| {
            self.fresh += 1;
            // SAFETY: part `fresh < n` lies inside of the slab.
            (unsafe { self.slab.start().cast::<Line>().add(at) }, true)
        })
    }
}

impl KvMemory {
    /// Bytes handed out now.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn slabs(&self) -> MutexGuard<'_, BTreeMap<usize, Parts>> {
        self.0.slabs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `len` zeros, more than none. The fullest slab with room gives them, so that the others
    /// empty.
    pub(super) fn zeroed(&self, len: usize) -> Part {
        let (start, zero) = {
            let mut slabs = self.slabs();
            let room = |parts: &Parts| parts.n - parts.fresh + parts.free.len();
            let fullest = slabs
                .values_mut()
                .filter(|parts| parts.len == len && room(parts) > 0)
                .min_by_key(|parts| room(parts));
            if let Some(part) = fullest.and_then(Parts::take) {
                part
            } else {
                let mut parts = Parts::new(len);
                let part = parts.take().expect("a new slab has parts");
                slabs.insert(parts.slab.start().addr().get(), parts);
                part
            }
        };
        self.0.bytes.fetch_add(len * size_of::<Line>(), Ordering::Relaxed);
        let mut part = Part { memory: self.clone(), start, len };
        if !zero {
            part.fill(Line::ZERO);
        }
        part
    }
}

impl std::fmt::Debug for KvMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvMemory").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// Some lines of a slab, which is kept as long as one of its parts is.
pub(super) struct Part {
    memory: KvMemory,
    start: NonNull<Line>,
    len: usize,
}

// SAFETY: a part owns its lines, which are plain data.
unsafe impl Send for Part {}
// SAFETY: as above.
unsafe impl Sync for Part {}

impl Part {
    pub(super) fn memory(&self) -> &KvMemory {
        &self.memory
    }
}

impl Deref for Part {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: `len` initialised lines of a slab that the pool keeps until this part comes back;
        // nobody else has them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Part {
    fn deref_mut(&mut self) -> &mut [Line] {
        // SAFETY: as in `deref`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.memory.0.bytes.fetch_sub(self.len * size_of::<Line>(), Ordering::Relaxed);
        let mut slabs = self.memory.slabs();
        let (&first, parts) =
            slabs.range_mut(..=self.start.addr().get()).next_back().expect("the slab of a part");
        parts.free.push(self.start);
        let len = self.len;
        if parts.is_empty()
            && slabs.iter().any(|(&at, parts)| at != first && parts.len == len && parts.is_empty())
        {
            slabs.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a block of two heads of 64 elements in INT8.
    const LEN: usize = 2 * 8 * (4 * 18 + 4 + 4 * 16);

    #[test]
    fn parts_are_zero_and_apart_and_slabs_are_filled_before_the_next() {
        let memory = KvMemory::default();
        let n = Parts::new(LEN).n;
        assert!(n * LEN * 64 * 16 >= memory_of(1) * 15, "{n} parts");
        let mut parts: Vec<Part> = (0..2 * n).map(|_| memory.zeroed(LEN)).collect();
        assert_eq!((memory.bytes(), held(&memory)), (2 * n * LEN * 64, memory_of(2)));
        for (i, part) in parts.iter_mut().enumerate() {
            assert!(super::super::floats(part).iter().all(|v| *v == 0.0), "part {i}");
            super::super::layout::floats_mut(part).fill(i as f32 + 1.0);
        }
        assert!(
            parts
                .iter()
                .enumerate()
                .all(|(i, part)| super::super::floats(part).iter().all(|v| *v == i as f32 + 1.0))
        );
    }

    #[test]
    fn what_comes_back_is_handed_out_again_as_zeros_and_empty_slabs_go_but_one() {
        let memory = KvMemory::default();
        let n = Parts::new(LEN).n;
        let mut parts: Vec<Part> = (0..3 * n).map(|_| memory.zeroed(LEN)).collect();
        super::super::layout::floats_mut(&mut parts[n]).fill(f32::NAN);
        drop(parts.remove(n));
        assert_eq!(held(&memory), memory_of(3));
        let again = memory.zeroed(LEN);
        assert!(super::super::floats(&again).iter().all(|v| *v == 0.0));
        assert_eq!(held(&memory), memory_of(3), "no new slab");
        drop(again);
        drop(parts);
        assert_eq!((memory.bytes(), held(&memory)), (0, memory_of(1)));
    }

    #[test]
    fn parts_larger_than_a_huge_page_and_of_several_lengths_live_side_by_side() {
        let memory = KvMemory::default();
        let long = HUGE / 64 + 1;
        let (a, b, c) = (memory.zeroed(long), memory.zeroed(1), memory.zeroed(long));
        assert_eq!((a.len(), b.len(), c.len()), (long, 1, long));
        assert_eq!(memory.bytes(), (2 * long + 1) * 64);
        drop((a, b, c));
        assert_eq!(memory.bytes(), 0);
    }

    /// Bytes of all slabs, in use or not.
    fn held(memory: &KvMemory) -> usize {
        memory.slabs().values().map(|parts| parts.slab.bytes()).sum()
    }

    fn memory_of(slabs: usize) -> usize {
        slabs * Parts::new(LEN).slab.bytes()
    }
}
