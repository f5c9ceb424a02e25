//! AMX INT8 for many tokens: weights are requantised to INT8 with one scale a row and 512 k as they are unpacked, activations
//! take one scale a token and 512 k, so that eight tile products in a row need no rescaling.
//!
//! A group of 32 would fill half a tile and need a pass over the sums after every product (a third of the speed). What the
//! coarser scales cost is `reference::gemm_int4_requantized` against `reference::gemm_int4`. Few tokens go the AVX-512 VNNI way.

use std::arch::asm;
use std::arch::x86_64::*;

use super::layout::{Block, TILE_ROWS};
use super::product::{Line, PANEL_BLOCKS, Panel, PanelScratch};
use crate::amx::{Element, TileConfig};

/// Inputs that share one scale.
pub(crate) const BLOCK: usize = PANEL_BLOCKS * 64;
/// Tokens of a tile; two tiles are multiplied at a time.
pub(crate) const TILE_TOKENS: usize = 16;
/// Tokens of a step.
pub(crate) const STEP_TOKENS: usize = 2 * TILE_TOKENS;

/// Whether this CPU and system run this module.
pub(crate) fn is_available() -> bool {
    super::avx512vnni::is_available() && crate::amx::is_available(Element::Int8)
}

/// Four tiles of sums: tokens 0–15 × rows 0–15, × rows 16–31, tokens 16–31 × the same.
#[repr(C, align(64))]
struct Sums([[[i32; TILE_ROWS]; TILE_TOKENS]; 4]);

/// `sums = a · b` over all tiles: `a` are two panels of `[tiles][16 tokens][64 k]`, `b` two of `[tiles][16 quads][16 rows][4]`.
type Product = unsafe fn(a: [&[u8]; 2], b: [&[Line]; 2], sums: &mut Sums);

/// See [`super::PanelKernel`]; equals `reference::gemm_int4_requantized`.
///
/// # Safety
/// [`is_available`].
pub(crate) unsafe fn panel(panel: &mut Panel) {
    // SAFETY: the caller's promise.
    let config = unsafe { TileConfig::load() };
    // SAFETY: the caller's promise; AMX comes with AVX-512.
    unsafe { panel_with(panel, product) };
    drop(config);
}

/// [`panel`] with tile products in plain Rust: the same sums on a CPU without AMX, for tests of everything around them.
///
/// # Safety
/// `avx512vnni::is_available`.
pub(crate) unsafe fn panel_emulated(panel: &mut Panel) {
    // SAFETY: the caller's promise.
    unsafe { panel_with(panel, product_emulated) };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c,fma")]
fn panel_with(panel: &mut Panel, product: Product) {
    let blocks = panel.tiles[0].len();
    let parts = blocks.div_ceil(PANEL_BLOCKS);
    let steps = panel.chunks * super::MAX_TOKENS / STEP_TOKENS;
    let n_tiles = panel.n_tiles;
    let PanelScratch { weights, scales, sums: out } = &mut *panel.scratch;
    let mut sums = [const { Sums([[[0; TILE_ROWS]; TILE_TOKENS]; 4]) }; 2];
    for part in 0..parts {
        let range = part * PANEL_BLOCKS..blocks.min((part + 1) * PANEL_BLOCKS);
        let n_blocks = range.len();
        let (first, second) = weights.split_at_mut(PANEL_BLOCKS * 16);
        scales[0] = requantize(&panel.tiles[0][range.clone()], first);
        scales[1] = if n_tiles == 2 { requantize(&panel.tiles[1][range.clone()], second) } else { scales[0] };
        let b = [&first[..n_blocks * 16], if n_tiles == 2 { &second[..n_blocks * 16] } else { &first[..n_blocks * 16] }];
        let tile_bytes = blocks * 1024;
        // The sums of a step are scaled while the tile unit works on the next one.
        for step in 0..=steps {
            if step < steps {
                let a = |tile: usize| {
                    let at = (step * 2 + tile) * tile_bytes + range.start * 1024;
                    as_bytes(&panel.q[at..at + n_blocks * 1024])
                };
                // SAFETY: `panel` has loaded the configuration that `product` needs, `product_emulated` needs none.
                unsafe { product([a(0), a(1)], b, &mut sums[step % 2]) };
            }
            if let Some(done) = step.checked_sub(1) {
                let tokens = done * STEP_TOKENS..(done + 1) * STEP_TOKENS;
                let out = &mut out[tokens.start * n_tiles..tokens.end * n_tiles];
                scale(&sums[done % 2], &scales[..n_tiles], &panel.x_scales[tokens.start * parts..tokens.end * parts], part, parts, out);
            }
        }
    }
}

/// `out[token][tile] (+)= sums · scale of the row · scale of the token`
#[target_feature(enable = "avx512f")]
fn scale(sums: &Sums, scales: &[[f32; TILE_ROWS]], x_scales: &[f32], part: usize, parts: usize, out: &mut [[f32; TILE_ROWS]]) {
    let n_tiles = scales.len();
    for (tile, row_scales) in scales.iter().enumerate() {
        // SAFETY: 64 readable bytes.
        let row_scales = unsafe { _mm512_loadu_ps(row_scales.as_ptr()) };
        for token in 0..STEP_TOKENS {
            let sums = &sums.0[token / TILE_TOKENS * 2 + tile][token % TILE_TOKENS];
            let place = &mut out[token * n_tiles + tile];
            // SAFETY: 64 readable bytes each, aligned in `Sums`; `place` is writable.
            unsafe {
                let sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums.as_ptr().cast()));
                let scale = _mm512_mul_ps(row_scales, _mm512_set1_ps(x_scales[token * parts + part]));
                let before = if part == 0 { _mm512_setzero_ps() } else { _mm512_loadu_ps(place.as_ptr()) };
                _mm512_storeu_ps(place.as_mut_ptr(), _mm512_fmadd_ps(sum, scale, before));
            }
        }
    }
}

/// Nibbles to INT8 with one scale a row, which is returned: `w8 = round((q - 8) · s / s_max · 127 / 8)`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
fn requantize(blocks: &[Block], lines: &mut [Line]) -> [f32; TILE_ROWS] {
    let scales_of = |block: &Block, group: usize| {
        let bits: &[u16; 16] = &block.scales.as_chunks::<16>().0[group];
        // SAFETY: 32 readable bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().cast())) }
    };
    let mut largest = _mm512_set1_ps(1e-20);
    for block in blocks {
        for group in 0..2 {
            largest = _mm512_max_ps(largest, _mm512_abs_ps(scales_of(block, group)));
        }
    }
    let inverse = _mm512_div_ps(_mm512_set1_ps(4064.0), largest);
    let odd = 0xAAAA_AAAA_AAAA_AAAA_u64;
    let nibble = _mm512_set1_epi16(15);
    for (block, lines) in blocks.iter().zip(lines.as_chunks_mut::<16>().0) {
        for group in 0..2 {
            // (q - 8) · r + 128 = q · r + (128 - 8 r) in 16 bits, |r| ≤ 4064; its high byte is the rounded result.
            let r = _mm512_cvtps_epi32(_mm512_mul_ps(inverse, scales_of(block, group)));
            let r = _mm512_or_si512(_mm512_and_si512(r, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32::<16>(r));
            let offset = _mm512_sub_epi16(_mm512_set1_epi16(128), _mm512_slli_epi16::<3>(r));
            let scaled = |q: __m512i| _mm512_add_epi16(_mm512_mullo_epi16(q, r), offset);
            for quad in 0..4 {
                let bytes: &[u8; 64] = &block.nibbles.as_chunks::<64>().0[group * 4 + quad];
                // SAFETY: 64 readable bytes.
                let v = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
                let even_low = scaled(_mm512_and_si512(v, nibble));
                let even_high = scaled(_mm512_and_si512(_mm512_srli_epi16::<4>(v), nibble));
                let odd_low = scaled(_mm512_and_si512(_mm512_srli_epi16::<8>(v), nibble));
                let odd_high = scaled(_mm512_srli_epi16::<12>(v));
                let low = _mm512_mask_blend_epi8(odd, _mm512_srli_epi16::<8>(even_low), odd_low);
                let high = _mm512_mask_blend_epi8(odd, _mm512_srli_epi16::<8>(even_high), odd_high);
                // SAFETY: a line is 64 writable bytes, aligned.
                unsafe {
                    _mm512_store_si512(lines[group * 8 + quad].0.as_mut_ptr().cast(), low);
                    _mm512_store_si512(lines[group * 8 + quad + 4].0.as_mut_ptr().cast(), high);
                }
            }
        }
    }
    let mut scales = [0f32; TILE_ROWS];
    // SAFETY: 64 writable bytes.
    unsafe { _mm512_storeu_ps(scales.as_mut_ptr(), _mm512_mul_ps(largest, _mm512_set1_ps(8.0 / 127.0))) };
    scales
}

fn as_bytes(q: &[i8]) -> &[u8] {
    // SAFETY: i8 and u8 have the same layout.
    unsafe { std::slice::from_raw_parts(q.as_ptr().cast(), q.len()) }
}

/// See [`Product`].
///
/// # Safety
/// A [`TileConfig`] must be loaded on this thread.
unsafe fn product(a: [&[u8]; 2], b: [&[Line]; 2], sums: &mut Sums) {
    let tiles = check(&a, &b);
    // SAFETY: the four operand pointers each advance by one tile (1,024 bytes) `tiles` times over slices of that many tiles;
    // `sums` takes four tiles; the configuration is the caller's promise; all tile registers are declared as clobbered.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm6, [{b0} + {s}]",
            "tileloadd tmm4, [{a0} + {s}]",
            "tdpbssd tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {s}]",
            "tdpbssd tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a1} + {s}]",
            "tdpbssd tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            "add {a0}, 1024",
            "add {a1}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {n}",
            "jnz 2b",
            "tilestored [{c} + {s}], tmm0",
            "tilestored [{c} + {s} + 1024], tmm1",
            "tilestored [{c} + {s} + 2048], tmm2",
            "tilestored [{c} + {s} + 3072], tmm3",
            a0 = inout(reg) a[0].as_ptr() => _,
            a1 = inout(reg) a[1].as_ptr() => _,
            b0 = inout(reg) b[0].as_ptr() => _,
            b1 = inout(reg) b[1].as_ptr() => _,
            c = in(reg) sums.0.as_mut_ptr(),
            s = in(reg) 64usize,
            n = inout(reg) tiles => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

fn product_emulated(a: [&[u8]; 2], b: [&[Line]; 2], sums: &mut Sums) {
    check(&a, &b);
    for (i, sums) in sums.0.iter_mut().enumerate() {
        for (token, sums) in sums.iter_mut().enumerate() {
            *sums = [0; TILE_ROWS];
            for (a, b) in a[i / 2].as_chunks::<1024>().0.iter().zip(b[i % 2].as_chunks::<16>().0) {
                for (quad, line) in b.iter().enumerate() {
                    for (row, sum) in sums.iter_mut().enumerate() {
                        for k in 0..4 {
                            *sum += i32::from(a[token * 64 + quad * 4 + k] as i8) * i32::from(line.0[row * 4 + k] as i8);
                        }
                    }
                }
            }
        }
    }
}

/// Tiles along `k`.
fn check(a: &[&[u8]; 2], b: &[&[Line]; 2]) -> usize {
    let tiles = a[0].len() / 1024;
    assert!(tiles > 0 && a.iter().all(|a| a.len() == tiles * 1024) && b.iter().all(|b| b.len() == tiles * 16), "tiles of a product");
    tiles
}

/// One token for [`panel`]: `q` `[padded k]`, one scale a [`BLOCK`]. A NaN or infinity makes the scale of its block NaN.
///
/// # Safety
/// `avx512vnni::is_available`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,avx2")]
pub(crate) unsafe fn quantize(x: &[f32], q: &mut [i8], scales: &mut [f32]) {
    assert!(x.len() <= q.len() && scales.len() == q.len().div_ceil(BLOCK));
    q[x.len()..].fill(0);
    for ((x, q), scale) in x.chunks(BLOCK).zip(q.chunks_mut(BLOCK)).zip(scales) {
        let largest_bits = x.iter().fold(0u32, |a, v| a.max(v.to_bits() & 0x7fff_ffff));
        let largest = f32::from_bits(largest_bits);
        let inverse;
        (*scale, inverse) = if largest_bits >= 0x7f80_0000 {
            (f32::NAN, 0.0)
        } else if largest < 1e-30 {
            (0.0, 0.0)
        } else {
            (largest / 127.0, 127.0 / largest)
        };
        for (q, v) in q.iter_mut().zip(x) {
            let level = if inverse == 0.0 { 0 } else { (v * inverse + 12_582_912.0).to_bits() as i32 - 0x4b40_0000 };
            *q = level.clamp(-127, 127) as i8;
        }
    }
}
