//! AMX INT8 for a few tokens: exact groups of 32, with the bits of the AVX-512 VNNI kernel.
//!
//! The products of a group (half a tile deep) are integers, as there; what is done with them is the
//! same in the same order. The tile unit leaves the vector units to unpacking the next block, after
//! which its sums are stored, and to scaling the one before.

use std::arch::asm;
use std::arch::x86_64::*;

use super::few::{Few, TileDone};
use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::panel::Line;
use super::prefetch;
use crate::amx::TileConfig;

/// Fewest tokens for which this is worth it.
pub(crate) const LEAST: usize = 5;

/// Tokens that the kernels compute with for `tokens` ones.
pub(crate) fn padded(tokens: usize) -> usize {
    if tokens <= 8 { 8 } else { 16 }
}

/// See [`super::few::FewKernel`].
///
/// # Safety
/// `amx::is_available`.
pub(crate) unsafe fn few(few: &Few, done: TileDone) {
    // SAFETY: the caller's promise, for the configuration and for AVX-512, which comes with AMX.
    unsafe {
        let config = TileConfig::load_groups(few.padded);
        match few.padded {
            8 => few_with::<8, false>(few, done),
            _ => few_with::<16, false>(few, done),
        }
        drop(config);
    }
}

/// [`few`] with products in plain Rust.
///
/// # Safety
/// `avx512vnni::is_available`.
pub(crate) unsafe fn few_emulated(few: &Few, done: TileDone) {
    // SAFETY: the caller's promise.
    unsafe {
        match few.padded {
            8 => few_with::<8, true>(few, done),
            _ => few_with::<16, true>(few, done),
        }
    }
}

/// An unpacked block, and the products of its two groups.
#[repr(C, align(64))]
struct Unpacked([Line; 16]);
#[repr(C, align(64))]
struct GroupSums<const M: usize>([[[i32; TILE_ROWS]; M]; 2]);

#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c,fma")]
unsafe fn few_with<const M: usize, const EMULATED: bool>(few: &Few, done: TileDone) {
    let (blocks, per_tile) = (few.blocks, few.per_tile);
    let q = few.q.as_chunks::<BLOCK_K>().0.as_chunks::<M>().0;
    let scales = few.scales.as_chunks::<M>().0.as_chunks::<2>().0;
    let mut weights = [const { Unpacked([Line([0; 64]); 16]) }; 2];
    let mut sums = [const { GroupSums([[[0; TILE_ROWS]; M]; 2]) }; 2];
    let mut acc = [_mm512_setzero_ps(); M];
    let mut out = [[0f32; TILE_ROWS]; M];
    // Block `i` of all tiles is multiplied while the next one is unpacked and the one before is
    // scaled.
    let (mut now, mut before) = (0, per_tile - 1);
    if let Some(block) = blocks.first() {
        unpack(block, &mut weights[0]);
    }
    for i in 0..=blocks.len() {
        if i < blocks.len() {
            if EMULATED {
                product_emulated(&q[now], &weights[i % 2], &mut sums[i % 2]);
            } else {
                // SAFETY: `few` has loaded the configuration for `M` tokens.
                unsafe { product(&q[now], &weights[i % 2]) };
            }
        }
        if let Some(block) = blocks.get(i + 1) {
            unpack(block, &mut weights[(i + 1) % 2]);
        }
        if i < blocks.len() && !EMULATED {
            // SAFETY: as above; nothing but these two functions uses tile registers.
            unsafe { store_product(&mut sums[i % 2]) };
        }
        if let Some(i) = i.checked_sub(1) {
            scale(&blocks[i], &sums[i % 2], &scales[before], &mut acc);
            if before + 1 == per_tile {
                for t in 0..M {
                    // SAFETY: 64 writable bytes.
                    unsafe { _mm512_storeu_ps(out[t].as_mut_ptr(), acc[t]) };
                    acc[t] = _mm512_setzero_ps();
                }
                done(i / per_tile, &out);
            }
        }
        before = now;
        now = if now + 1 == per_tile { 0 } else { now + 1 };
    }
}

/// Nibbles to signed bytes; asks for half of a later block's lines.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn unpack(block: &Block, lines: &mut Unpacked) {
    let (low, eight) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(8));
    for (i, v) in block.nibbles.as_chunks::<64>().0.iter().enumerate() {
        let at = i / 4 * 8 + i % 4;
        if i % 2 == 0 {
            prefetch(block, i / 2);
        }
        // SAFETY: 64 readable bytes, and 64 writable ones that are aligned by their type.
        unsafe {
            let v = _mm512_loadu_si512(v.as_ptr().cast());
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(v), low);
            _mm512_store_si512(
                lines.0[at].0.as_mut_ptr().cast(),
                _mm512_sub_epi8(_mm512_and_si512(v, low), eight),
            );
            _mm512_store_si512(lines.0[at + 4].0.as_mut_ptr().cast(), _mm512_sub_epi8(high, eight));
        }
    }
}

/// `acc += sums · scale of the row · scale of the token`, group after group; asks for the other
/// half of a later block's lines.
#[target_feature(enable = "avx512f,avx512vl,f16c,fma")]
#[inline]
fn scale<const M: usize>(
    block: &Block,
    sums: &GroupSums<M>,
    scales: &[[f32; M]; 2],
    acc: &mut [__m512; M],
) {
    for group in 0..2 {
        let bits: &[u16; 16] = &block.scales.as_chunks::<16>().0[group];
        // SAFETY: 32 readable bytes.
        let row_scales = _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) });
        for t in 0..M {
            let step = group * M + t;
            if step.is_multiple_of(M / 4) && step / (M / 4) < 5 {
                prefetch(block, 4 + step / (M / 4));
            }
            // SAFETY: 64 readable bytes, aligned by their type.
            let sum = unsafe { _mm512_load_si512(sums.0[group][t].as_ptr().cast()) };
            let scale = _mm512_mul_ps(row_scales, _mm512_set1_ps(scales[group][t]));
            acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, acc[t]);
        }
    }
}

/// Both groups of a block, into tile registers 0 and 1.
///
/// # Safety
/// [`TileConfig::load_groups`] for `M` tokens on this thread.
#[inline(always)]
unsafe fn product<const M: usize>(q: &[[i8; BLOCK_K]; M], weights: &Unpacked) {
    // SAFETY: the tiles of inputs cover `M` rows of 64 bytes, those of weights 16 lines; the
    // configuration is the caller's promise; all tile registers that are used are declared.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tileloadd tmm6, [{b} + {s}]",
            "tileloadd tmm4, [{a} + {s}]",
            "tdpbssd tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {s} + 512]",
            "tileloadd tmm5, [{a} + {s} + 32]",
            "tdpbssd tmm1, tmm5, tmm7",
            a = in(reg) q.as_ptr(),
            b = in(reg) weights.0.as_ptr(),
            s = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Stores what [`product`] has left. Apart from it, because the store waits for the products and
/// everything behind it for the store: the two together would keep the vector units idle meanwhile.
///
/// # Safety
/// As [`product`], which ran before; no tile register has been used since.
#[inline(always)]
unsafe fn store_product<const M: usize>(sums: &mut GroupSums<M>) {
    let [first, second] = &mut sums.0;
    // SAFETY: the tiles of sums cover `M` rows of 64 bytes each; the rest is the caller's promise.
    unsafe {
        asm!(
            "tilestored [{c} + {s}], tmm0",
            "tilestored [{d} + {s}], tmm1",
            c = in(reg) first.as_mut_ptr(),
            d = in(reg) second.as_mut_ptr(),
            s = in(reg) 64usize,
            options(nostack),
        );
    }
}

/// Both groups of a block in plain Rust.
fn product_emulated<const M: usize>(
    q: &[[i8; BLOCK_K]; M],
    weights: &Unpacked,
    sums: &mut GroupSums<M>,
) {
    for (group, (sums, lines)) in sums.0.iter_mut().zip(weights.0.as_chunks::<8>().0).enumerate() {
        for (q, sums) in q.iter().zip(sums) {
            *sums = [0; TILE_ROWS];
            for (quad, line) in lines.iter().enumerate() {
                for (row, sum) in sums.iter_mut().enumerate() {
                    for k in 0..4 {
                        *sum += i32::from(q[group * 32 + quad * 4 + k])
                            * i32::from(line.0[row * 4 + k] as i8);
                    }
                }
            }
        }
    }
}
