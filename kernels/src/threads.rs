//! How many threads a kernel may use, and the split of independent items over them.
//!
//! Small work stays on the calling thread; what is split goes to the [`crate::team`].

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::team::{self, Line};

pub use crate::team::set_pinned;

static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// Estimated time below which work is not split, in microseconds: handing over and waiting cost
/// about half a microsecond.
const SPLIT_ABOVE_US: u64 = 4;
/// Chunks a thread: more than one, so that a thread that is held up does not hold up the others.
const CHUNKS_PER_THREAD: usize = 4;
/// Estimated time of a chunk at least.
const CHUNK_US: u64 = 2;

/// Sets how many threads kernels may use in this process; 0 means all cores that the process may
/// use.
pub fn set_threads(n: usize) {
    LIMIT.store(n, Ordering::Relaxed);
}

thread_local! {
    /// Whether kernels that this thread calls use no other.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` with kernels on the calling thread alone: for work that already has a thread a core.
/// The result is the same.
pub fn alone<T>(body: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    body()
}

/// How many threads kernels use at most: one inside of [`alone`], else what was set, else the cores
/// that the process may use.
pub fn threads() -> usize {
    if ALONE.get() {
        return 1;
    }
    match LIMIT.load(Ordering::Relaxed) {
        0 => team::available(),
        n => n,
    }
}

/// Shares of a region that threads begin with; where there are more threads, some have a share
/// together.
const SHARES: usize = 16;

/// Runs `body` over `0..n_items` in contiguous ranges, on several threads when `estimated_us` is
/// worth it.
///
/// A thread begins with its own share, the same in every region, and then takes what others have
/// left: what a thread wrote in one region it mostly reads itself in the next, from its own cache.
pub(crate) fn split(n_items: usize, estimated_us: u64, body: impl Fn(Range<usize>) + Sync) {
    let width = if estimated_us < SPLIT_ABOVE_US { 1 } else { threads().min(n_items) };
    if width <= 1 {
        return body(0..n_items);
    }
    let chunks =
        (width * CHUNKS_PER_THREAD).min((estimated_us / CHUNK_US) as usize).clamp(width, n_items);
    let shares = width.min(SHARES);
    let next: [Line<AtomicUsize>; SHARES] = [const { Line(AtomicUsize::new(0)) }; SHARES];
    let first = |share: usize| chunks * share / shares;
    team::run(chunks, width, &|_| {
        let own = team::seat();
        let taken = (own..own + shares).find_map(|share| {
            let share = share % shares;
            let chunk = first(share) + next[share].0.fetch_add(1, Ordering::Relaxed);
            (chunk < first(share + 1)).then_some(chunk)
        });
        let chunk = taken.expect("a chunk for every call");
        body(n_items * chunk / chunks..n_items * (chunk + 1) / chunks);
    });
}

/// A pointer into an output that several threads write at disjoint places.
pub(crate) struct SharedOut<T> {
    pointer: *mut T,
    len: usize,
}

// SAFETY: the pointer is only written through `part`, whose callers promise disjoint ranges.
unsafe impl<T: Send> Send for SharedOut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedOut<T> {}

impl<T> SharedOut<T> {
    pub(crate) fn new(out: &mut [T]) -> Self {
        SharedOut { pointer: out.as_mut_ptr(), len: out.len() }
    }

    /// Where the output begins, for prefetches.
    pub(crate) fn address(&self) -> *const T {
        self.pointer
    }

    /// Elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A part of the output; the bounds are checked.
    ///
    /// # Safety
    /// The slice given to `new` outlives the use, and no other thread touches `start..start + len`
    /// meanwhile.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len),
            "part outside of the output"
        );
        // SAFETY: in bounds by the assertion; exclusive and alive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_means_one_thread_until_it_ends_be_it_by_a_panic() {
        assert_eq!(alone(|| (threads(), alone(threads), threads())), (1, 1, 1));
        let panics = || {
            if threads() == 1 {
                panic!("on purpose");
            }
        };
        assert!(std::panic::catch_unwind(|| alone(panics)).is_err());
        assert!(!ALONE.get());
    }
}
