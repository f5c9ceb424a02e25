//! The AVX512-BF16 kernel: one 32 × 32 block of `C` from packed tiles with `dpbf16_ps`.

use std::arch::x86_64::*;

use super::pack::{DEPTH, EDGE, Tile};

/// `c[32,32] (+)= a · b` over all depth tiles; `a` and `b` are two panels each of `k_tiles` tiles.
///
/// # Safety
/// [`super::pack::is_available`] must hold.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn block(
    a: [&[Tile]; 2],
    b: [&[Tile]; 2],
    c: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    let k_tiles = a[0].len();
    assert!(a[1].len() == k_tiles && b[0].len() == k_tiles && b[1].len() == k_tiles);
    assert!(c.len() >= 31 * stride + 32);
    for quarter in 0..4 {
        let (panel, half) = (a[quarter / 2], quarter % 2);
        strip(panel, half * 8, b, &mut c[quarter * 8 * stride..], stride, accumulate);
    }
}

/// Eight rows by 32 columns in sixteen accumulators: rows `first..first + 8` of the tiles of `a`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn strip(
    a: &[Tile],
    first: usize,
    b: [&[Tile]; 2],
    c: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    assert!(c.len() >= 7 * stride + 32 && first + 8 <= EDGE);
    assert!(b[0].len() == a.len() && b[1].len() == a.len());
    let mut sum = [[_mm512_setzero_ps(); 2]; 8];
    let c = c.as_mut_ptr();
    // SAFETY: reads and writes of `c` end at 7 · stride + 31, asserted above. Tiles are 16 rows of
    // 32 u16: row `first + i` < 16 read as 16 pairs stays inside, and a pair row of `b` is 64
    // aligned bytes. `__m512bh` and `__m512i` are both 64 plain bytes.
    unsafe {
        if accumulate {
            for (i, s) in sum.iter_mut().enumerate() {
                *s = [_mm512_loadu_ps(c.add(i * stride)), _mm512_loadu_ps(c.add(i * stride + 16))];
            }
        }
        for ((a, b0), b1) in a.iter().zip(b[0]).zip(b[1]) {
            let a = a.0.as_ptr().add(first * DEPTH).cast::<i32>();
            let (b0, b1) = (b0.0.as_ptr(), b1.0.as_ptr());
            for p in 0..DEPTH / 2 {
                let x0: __m512bh = std::mem::transmute(_mm512_load_si512(b0.add(p * 32).cast()));
                let x1: __m512bh = std::mem::transmute(_mm512_load_si512(b1.add(p * 32).cast()));
                for (i, s) in sum.iter_mut().enumerate() {
                    let y: __m512bh =
                        std::mem::transmute(_mm512_set1_epi32(*a.add(i * (DEPTH / 2) + p)));
                    s[0] = _mm512_dpbf16_ps(s[0], y, x0);
                    s[1] = _mm512_dpbf16_ps(s[1], y, x1);
                }
            }
        }
        for (i, s) in sum.iter().enumerate() {
            _mm512_storeu_ps(c.add(i * stride), s[0]);
            _mm512_storeu_ps(c.add(i * stride + 16), s[1]);
        }
    }
}
