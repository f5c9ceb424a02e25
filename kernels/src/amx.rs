//! AMX: whether this process may use the tile registers, and their configuration on a thread.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Which element types the tile unit multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Bf16,
    Int8,
}

/// Whether the CPU has AMX for `element`.
pub(crate) fn cpu_has(element: Element) -> bool {
    if __cpuid(0).eax < 7 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    let bit = match element {
        Element::Bf16 => 22,
        Element::Int8 => 25,
    };
    features >> 24 & 1 == 1 && features >> bit & 1 == 1
}

/// Whether the CPU has AMX for `element` and the operating system lets this process use it (asked
/// for once).
pub(crate) fn is_available(element: Element) -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    cpu_has(element) && *PERMITTED.get_or_init(permitted)
}

/// Asks Linux for the tile data state; without the grant the first tile instruction would be a
/// fault. Threads inherit it.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_int = 18;
    // SAFETY: a system call with two plain numbers that changes nothing but this process's
    // permissions.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// A configuration of the tile registers, from creation to drop, on this thread.
pub(crate) struct TileConfig(());

impl TileConfig {
    /// All eight registers as 16 rows of 64 bytes.
    ///
    /// # Safety
    /// [`is_available`] must have returned true in this process.
    pub(crate) unsafe fn load() -> TileConfig {
        // SAFETY: the caller's promise.
        unsafe { Self::load_shapes([(16, 64); 8]) }
    }

    /// For products 32 bytes deep: registers 0–3 hold `tokens` (at most 16) rows of sums, 4 and 5
    /// as many rows of 32 bytes, 6 and 7 eight rows of 64 bytes.
    ///
    /// # Safety
    /// [`is_available`] must have returned true in this process.
    pub(crate) unsafe fn load_groups(tokens: usize) -> TileConfig {
        assert!((1..=16).contains(&tokens), "{tokens} rows of a tile");
        let (sums, inputs, weights) = ((tokens as u8, 64), (tokens as u8, 32), (8, 64));
        // SAFETY: the caller's promise.
        unsafe { Self::load_shapes([sums, sums, sums, sums, inputs, inputs, weights, weights]) }
    }

    /// Rows and bytes a row of each register.
    ///
    /// # Safety
    /// [`is_available`] must have returned true in this process; at most 16 rows of 64 bytes.
    unsafe fn load_shapes(shapes: [(u8, u8); 8]) -> TileConfig {
        #[repr(C, align(64))]
        struct Bytes([u8; 64]);
        let mut config = Bytes([0; 64]);
        config.0[0] = 1; // palette 1
        for (i, (rows, bytes)) in shapes.into_iter().enumerate() {
            config.0[16 + 2 * i] = bytes; // low byte of a u16
            config.0[48 + i] = rows;
        }
        // SAFETY: the caller vouches for AMX and the shapes; the operand is the 64 bytes that the
        // instruction reads.
        unsafe { asm!("ldtilecfg [{}]", in(reg) config.0.as_ptr(), options(nostack, readonly)) };
        TileConfig(())
    }
}

impl Drop for TileConfig {
    fn drop(&mut self) {
        // SAFETY: this value exists only where AMX is usable.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
