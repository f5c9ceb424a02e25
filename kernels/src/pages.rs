//! Memory for weights on huge pages.
//!
//! A core that streams hundreds of megabytes in 4 KB pages misses its TLB and stops its hardware prefetchers at every page (measured:
//! 32 against 45 GB/s). Matrices are often smaller than a few huge pages, so they share slabs that are asked for in one piece.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

const HUGE: usize = 2 << 20;
/// Bytes of a slab; only what is written takes memory.
const SLAB: usize = 64 << 20;

/// A piece of zeroed memory, aligned to a huge page.
struct Slab {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a slab is a range of memory; its parts are handed out once each, to one owner.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    fn new(bytes: usize) -> Slab {
        let layout = Layout::from_size_align(bytes.next_multiple_of(HUGE), HUGE).expect("a slab below isize::MAX");
        // SAFETY: the layout has a size above 0 (the caller asks for some bytes).
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        advise(start.as_ptr() as usize, layout.size());
        Slab { start, layout }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// The slab that is being handed out and the first free byte of it.
static CURRENT: Mutex<Option<(Arc<Slab>, usize)>> = Mutex::new(None);

/// A fixed number of plain values in a slab, zero at first. `T` is plain data for which all zeros is a value.
pub(crate) struct HugeSlice<T: Plain> {
    start: NonNull<T>,
    len: usize,
    _slab: Option<Arc<Slab>>,
}

/// Types that any bytes are a value of.
///
/// # Safety
/// No padding, no invalid bit pattern, no drop, alignment at most a page.
pub(crate) unsafe trait Plain: Copy + Send + Sync {}

// SAFETY: the slice owns its part of the slab; `T` is plain data.
unsafe impl<T: Plain> Send for HugeSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for HugeSlice<T> {}

impl<T: Plain> HugeSlice<T> {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let bytes = len.checked_mul(size_of::<T>()).expect("a matrix below isize::MAX");
        if bytes == 0 {
            return HugeSlice { start: NonNull::dangling(), len, _slab: None };
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let align = align_of::<T>().max(64);
        let fits = |(slab, used): &(Arc<Slab>, usize)| used.next_multiple_of(align) + bytes <= slab.layout.size();
        if !current.as_ref().is_some_and(fits) {
            *current = Some((Arc::new(Slab::new(bytes.max(SLAB))), 0));
        }
        let (slab, used) = current.as_mut().expect("just made");
        let at = used.next_multiple_of(align);
        *used = at + bytes;
        // SAFETY: `at + bytes` is inside the slab, aligned for `T`, and handed out to nobody else.
        let start = unsafe { slab.start.add(at) }.cast();
        HugeSlice { start, len, _slab: Some(Arc::clone(slab)) }
    }
}

impl<T: Plain> Deref for HugeSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised (zeroed) values that this slice owns and its slab keeps alive.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for HugeSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> Clone for HugeSlice<T> {
    fn clone(&self) -> Self {
        let mut copy = HugeSlice::zeroed(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

#[cfg(target_os = "linux")]
fn advise(start: usize, bytes: usize) {
    // SAFETY: whole pages of an allocation that is alive; the advice changes no contents, and its failure nothing at all.
    unsafe { libc::madvise(start as *mut libc::c_void, bytes, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_start: usize, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: an integer.
    unsafe impl Plain for u64 {}

    #[test]
    fn slices_are_zero_apart_and_keep_their_slab() {
        let mut all: Vec<HugeSlice<u64>> = [0, 1, 7, 8, 1000, SLAB / 8 + 5, 3].map(HugeSlice::zeroed).into();
        for (i, slice) in all.iter_mut().enumerate() {
            assert!(slice.iter().all(|v| *v == 0), "slice {i}");
            slice.fill(i as u64 + 1);
        }
        let copy = all[4].clone();
        for (i, slice) in all.iter().enumerate() {
            assert!(slice.iter().all(|v| *v == i as u64 + 1), "slice {i}");
            assert!(slice.as_ptr().is_aligned());
        }
        drop(all);
        assert_eq!(copy.len(), 1000);
        assert!(copy.iter().all(|v| *v == 5));
    }
}
