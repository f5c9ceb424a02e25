//! How many threads a kernel may use, and the split of independent items over them.
//!
//! Small work stays on the calling thread: handing a piece to another core costs 5–40 µs.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// Estimated time below which work is not split, in microseconds.
const SPLIT_ABOVE_US: u64 = 150;

/// Sets how many threads kernels may use in this process; 0 means all cores.
pub fn set_threads(n: usize) {
    LIMIT.store(n, Ordering::Relaxed);
}

/// How many threads kernels use at most.
pub fn threads() -> usize {
    let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    match LIMIT.load(Ordering::Relaxed) {
        0 => all(),
        n => n,
    }
}

/// Runs `body` over `0..n_items` in contiguous ranges, on several threads when `estimated_us` is worth it.
pub(crate) fn split(n_items: usize, estimated_us: u64, body: impl Fn(Range<usize>) + Sync) {
    let parts = if estimated_us < SPLIT_ABOVE_US { 1 } else { threads().min(n_items) };
    if parts <= 1 {
        return body(0..n_items);
    }
    let range = |part: usize| n_items * part / parts..n_items * (part + 1) / parts;
    rayon::scope(|scope| {
        for part in 1..parts {
            let body = &body;
            scope.spawn(move |_| body(range(part)));
        }
        body(range(0));
    });
}

/// A pointer into an output that several threads write at disjoint places.
#[derive(Clone, Copy)]
pub(crate) struct SharedOut {
    pointer: *mut f32,
    len: usize,
}

// SAFETY: the pointer is only written through `write`, whose callers promise disjoint ranges.
unsafe impl Send for SharedOut {}
// SAFETY: as above.
unsafe impl Sync for SharedOut {}

impl SharedOut {
    pub(crate) fn new(out: &mut [f32]) -> Self {
        SharedOut { pointer: out.as_mut_ptr(), len: out.len() }
    }

    /// A part of the output; the bounds are checked.
    ///
    /// # Safety
    /// The slice given to `new` outlives the use, and no other thread touches `start..start + len` meanwhile.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len), "part outside of the output");
        // SAFETY: in bounds by the assertion; exclusive and alive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), len) }
    }
}
