//! The AMX kernel: one 32 × 32 block of `C` in four tile registers with `tdpbf16ps`.

use std::arch::asm;

use super::pack::Tile;
use crate::amx::Element;
pub(super) use crate::amx::TileConfig;

/// Whether the CPU has AMX with bf16 and the operating system lets this process use it.
pub(super) fn is_available() -> bool {
    crate::amx::is_available(Element::Bf16)
}

/// `c[32,32] (+)= a · b` over all depth tiles; `a` and `b` are two panels each of `k_tiles` tiles.
///
/// # Safety
/// A [`TileConfig`] must be loaded on this thread.
pub(super) unsafe fn block(
    a: [&[Tile]; 2],
    b: [&[Tile]; 2],
    c: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    let k_tiles = a[0].len();
    assert!(k_tiles > 0 && a[1].len() == k_tiles && b[0].len() == k_tiles && b[1].len() == k_tiles);
    assert!(c.len() >= 31 * stride + 32);
    let upper = c.as_mut_ptr();
    // SAFETY: tile loads and stores of `c` cover rows 0..32 and 128 bytes of each, asserted above;
    // the four operand pointers each advance by one tile (1,024 bytes) `k_tiles` times over slices
    // of that many tiles; the configuration is the caller's promise; all eight tile registers are
    // declared as clobbered.
    unsafe {
        let lower = upper.add(16 * stride);
        asm!(
            "test {acc:e}, {acc:e}",
            "jz 2f",
            "tileloadd tmm0, [{c0} + {ldc}]",
            "tileloadd tmm1, [{c0} + {ldc} + 64]",
            "tileloadd tmm2, [{c1} + {ldc}]",
            "tileloadd tmm3, [{c1} + {ldc} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "tileloadd tmm4, [{a0} + {s}]",
            "tileloadd tmm6, [{b0} + {s}]",
            "tileloadd tmm7, [{b1} + {s}]",
            "tileloadd tmm5, [{a1} + {s}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 1024",
            "add {a1}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {n}",
            "jnz 3b",
            "tilestored [{c0} + {ldc}], tmm0",
            "tilestored [{c0} + {ldc} + 64], tmm1",
            "tilestored [{c1} + {ldc}], tmm2",
            "tilestored [{c1} + {ldc} + 64], tmm3",
            acc = in(reg) u32::from(accumulate),
            c0 = in(reg) upper,
            c1 = in(reg) lower,
            ldc = in(reg) stride * size_of::<f32>(),
            s = in(reg) 64usize,
            a0 = inout(reg) a[0].as_ptr() => _,
            a1 = inout(reg) a[1].as_ptr() => _,
            b0 = inout(reg) b[0].as_ptr() => _,
            b1 = inout(reg) b[1].as_ptr() => _,
            n = inout(reg) k_tiles => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
