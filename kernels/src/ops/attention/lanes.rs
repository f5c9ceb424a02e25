//! [`Lanes`] in AVX2 and AVX-512 registers.

use std::arch::x86_64::*;

use super::float::Lanes;
use crate::kv::TILE;

/// Two AVX2 registers.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

// Every method: SAFETY is that only kernels of a row with AVX2, FMA and F16C use the type, and that
// loads and stores are unaligned ones of a whole array.
impl Lanes for Avx2 {
    const SUMS: usize = 4;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }

    #[inline(always)]
    fn load(from: &[f32; TILE]) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from[8..].as_ptr())) }
    }

    #[inline(always)]
    fn load_halves(from: &[u16; TILE]) -> Self {
        // SAFETY: see above.
        unsafe {
            let low = _mm_loadu_si128(from.as_ptr().cast());
            let high = _mm_loadu_si128(from[8..].as_ptr().cast());
            Avx2(_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
        }
    }

    #[inline(always)]
    fn add_scaled(self, a: Self, b: f32) -> Self {
        // SAFETY: see above.
        unsafe {
            let b = _mm256_set1_ps(b);
            Avx2(_mm256_fmadd_ps(a.0, b, self.0), _mm256_fmadd_ps(a.1, b, self.1))
        }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; TILE]) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), self.0);
            _mm256_storeu_ps(to[8..].as_mut_ptr(), self.1);
        }
    }
}

/// One AVX-512 register.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

// Every method: SAFETY is that only kernels of a row with AVX-512 F use the type, and that loads
// and stores are unaligned ones of a whole array.
impl Lanes for Avx512 {
    const SUMS: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_setzero_ps()) }
    }

    #[inline(always)]
    fn load(from: &[f32; TILE]) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_loadu_ps(from.as_ptr())) }
    }

    #[inline(always)]
    fn load_halves(from: &[u16; TILE]) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn add_scaled(self, a: Self, b: f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_fmadd_ps(a.0, _mm512_set1_ps(b), self.0)) }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; TILE]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }
}
