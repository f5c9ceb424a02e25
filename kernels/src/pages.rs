//! Memory on huge pages, for weights and for keys and values.
//!
//! A core that streams hundreds of megabytes in 4 KB pages misses its TLB and stops its hardware
//! prefetchers at every page (measured: 32 against 45 GB/s). Matrices are often smaller than a few
//! huge pages, so they share slabs that are asked for in one piece.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a huge page.
pub(crate) const HUGE: usize = 2 << 20;
/// Bytes of a slab; only what is written takes memory.
const SLAB: usize = 64 << 20;

/// Gives memory that was freed back to the system, where the allocator keeps it (glibc does). Takes
/// milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A piece of zeroed memory, aligned to a huge page.
pub(crate) struct Slab {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a slab is a range of memory; its parts are handed out once each, to one owner.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    /// At least `bytes`, more than 0.
    pub(crate) fn new(bytes: usize) -> Slab {
        let bytes = bytes.checked_next_multiple_of(HUGE).expect("a slab below isize::MAX");
        Slab { start: memory::zeroed(bytes), bytes }
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: from `zeroed` with this size, given back once.
        unsafe { memory::free(self.start, self.bytes) };
    }
}

/// The slab that is being handed out and the first free byte of it.
static CURRENT: Mutex<Option<(Arc<Slab>, usize)>> = Mutex::new(None);

/// A fixed number of plain values in a slab, zero at first. `T` is plain data for which all zeros
/// is a value.
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
        let fits =
            |(slab, used): &(Arc<Slab>, usize)| used.next_multiple_of(align) + bytes <= slab.bytes;
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
mod memory {
    //! Straight from the system: the allocator would write zeros before it can be told that huge
    //! pages are wanted, and pages that have been written stay small.

    use std::alloc::{Layout, handle_alloc_error};
    use std::ptr::{NonNull, null_mut};

    use super::HUGE;

    /// `bytes` (whole huge pages) of zeros at a multiple of [`HUGE`]; they take memory when they
    /// are written.
    pub(super) fn zeroed(bytes: usize) -> NonNull<u8> {
        let mapped = bytes.checked_add(HUGE).expect("a slab below isize::MAX");
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new mapping, wherever the system likes.
        let start = unsafe { libc::mmap(null_mut(), mapped, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            handle_alloc_error(
                Layout::from_size_align(bytes, HUGE).expect("a slab below isize::MAX"),
            );
        }
        let before = start.align_offset(HUGE);
        let start = start.cast::<u8>();
        // SAFETY: the mapping is `HUGE` longer than what is kept, and `before` is less than that;
        // what lies before and behind is given back. The advice changes no contents, and its
        // failure nothing at all.
        unsafe {
            let aligned = start.add(before);
            if before > 0 {
                libc::munmap(start.cast(), before);
            }
            libc::munmap(aligned.add(bytes).cast(), HUGE - before);
            libc::madvise(aligned.cast(), bytes, libc::MADV_HUGEPAGE);
            NonNull::new_unchecked(aligned)
        }
    }

    /// # Safety
    /// From [`zeroed`] with the same size; not used any more.
    pub(super) unsafe fn free(start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    }
}

#[cfg(not(target_os = "linux"))]
mod memory {
    //! From the allocator: other systems choose their pages themselves.

    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::ptr::NonNull;

    use super::HUGE;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, HUGE).expect("a slab below isize::MAX")
    }

    /// `bytes`, more than 0, of zeros at a multiple of [`HUGE`].
    pub(super) fn zeroed(bytes: usize) -> NonNull<u8> {
        // SAFETY: the layout has a size above 0.
        NonNull::new(unsafe { alloc_zeroed(layout(bytes)) })
            .unwrap_or_else(|| handle_alloc_error(layout(bytes)))
    }

    /// # Safety
    /// From [`zeroed`] with the same size; not used any more.
    pub(super) unsafe fn free(start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { dealloc(start.as_ptr(), layout(bytes)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: an integer.
    unsafe impl Plain for u64 {}

    #[test]
    fn slices_are_zero_apart_and_keep_their_slab() {
        let mut all: Vec<HugeSlice<u64>> =
            [0, 1, 7, 8, 1000, SLAB / 8 + 5, 3].map(HugeSlice::zeroed).into();
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

    /// Small pages cost a third of the reading speed, and nothing else shows that they came back.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_slab_lies_on_huge_pages_where_the_system_has_them() {
        let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .unwrap_or_default();
        if !enabled.contains("[madvise]") && !enabled.contains("[always]") {
            println!("skipped: no transparent huge pages here ({})", enabled.trim());
            return;
        }
        let mut slice = HugeSlice::<u64>::zeroed(SLAB / 8 + 1);
        slice.fill(1);
        let address = slice.as_ptr() as usize;
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("the process's own map");
        // A head line `start-end …`, then lines `Name: value kB`; neighbours with equal rights may
        // share one mapping.
        let mut inside = false;
        let mut huge = 0;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((Ok(start), Ok(end))) =
                range.map(|(s, e)| (usize::from_str_radix(s, 16), usize::from_str_radix(e, 16)))
            {
                inside = start <= address && address < end;
            } else if let Some(kilobytes) = line.strip_prefix("AnonHugePages:").filter(|_| inside) {
                huge = kilobytes
                    .trim()
                    .trim_end_matches(" kB")
                    .parse::<usize>()
                    .expect("a number of kB")
                    << 10;
            }
        }
        // Memory may be too torn for some of them, not for all.
        assert!(huge >= SLAB / 2, "{huge} bytes of {SLAB} lie on huge pages");
    }
}
