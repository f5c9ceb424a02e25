//! The rows of 256-bit vectors: 8 rows × 4 k a step, with AVX2 alone or with VNNI.

use std::arch::x86_64::*;

use super::activations::quantize_body;
use super::layout::{Block, TILE_ROWS};
use super::panel::{Done, Line, PANEL_BLOCKS, Panel, PanelScratch, Sums};
use super::{MAX_TOKENS, check_tile, prefetch};

/// The kernels of one instruction set, around three functions: `start` a sum, one `step` of 8 rows
/// × 4 k, `finish` it as i32.
macro_rules! kernels {
    ($module:ident, $about:literal, $features:literal, [$($needed:tt),+], { $($dot:item)+ }) => {
        #[doc = $about]
        pub(crate) mod $module {
            use super::*;

            /// Whether this CPU runs this module.
            pub(crate) fn is_available() -> bool {
                $(is_x86_feature_detected!($needed))&&+
            }

            $(#[target_feature(enable = $features)] #[inline] $dot)+

            /// See [`super::TileKernel`]; equals `reference::gemm_int4`.
            ///
            /// # Safety
            /// [`is_available`].
            #[target_feature(enable = $features)]
            pub(crate) unsafe fn tile(
                blocks: &[Block],
                x: &[i8],
                scales: &[f32],
                bias: &[i32],
                tokens: usize,
                out: &mut [[f32; TILE_ROWS]; MAX_TOKENS],
            ) {
                check_tile(blocks, x, scales, bias, tokens);
                match tokens {
                    1 => part::<1, 1>(blocks, x, scales, bias, 0, out),
                    2 => part::<2, 2>(blocks, x, scales, bias, 0, out),
                    3 => part::<3, 3>(blocks, x, scales, bias, 0, out),
                    4 => part::<4, 4>(blocks, x, scales, bias, 0, out),
                    // Four tokens fill the 16 registers; more go in two passes over weights that
                    // are in L1 by then.
                    5 => {
                        part::<4, 5>(blocks, x, scales, bias, 0, out);
                        part::<1, 5>(blocks, x, scales, bias, 4, out);
                    }
                    6 => {
                        part::<4, 6>(blocks, x, scales, bias, 0, out);
                        part::<2, 6>(blocks, x, scales, bias, 4, out);
                    }
                    7 => {
                        part::<4, 7>(blocks, x, scales, bias, 0, out);
                        part::<3, 7>(blocks, x, scales, bias, 4, out);
                    }
                    _ => {
                        part::<4, 8>(blocks, x, scales, bias, 0, out);
                        part::<4, 8>(blocks, x, scales, bias, 4, out);
                    }
                }
            }

            /// Tokens `first .. first + M` of a chunk of `ALL`.
            #[target_feature(enable = $features)]
            fn part<const M: usize, const ALL: usize>(
                blocks: &[Block],
                x: &[i8],
                scales: &[f32],
                bias: &[i32],
                first: usize,
                out: &mut [[f32; TILE_ROWS]; MAX_TOKENS],
            ) {
                let low_mask = _mm256_set1_epi8(0x0f);
                let mut acc = [[_mm256_setzero_ps(); 2]; M];
                let (scales, bias) = (scales.as_chunks::<ALL>().0, bias.as_chunks::<ALL>().0);
                let quads = x.as_chunks::<4>().0.as_chunks::<ALL>().0;
                for (b, block) in blocks.iter().enumerate() {
                    prefetch(block, 8);
                    for group in 0..2 {
                        let at = b * 2 + group;
                        let group_quads: &[[[i8; 4]; ALL]; 8] = &quads.as_chunks::<8>().0[at];
                        for half in 0..2 {
                            // Two at a time: one in every step makes the compiler spill the sums.
                            for line in 0..2 {
                                prefetch(block, group * 4 + half * 2 + line);
                            }
                            let mut sums = [_mm256_setzero_si256(); M];
                            for t in 0..M {
                                sums[t] = start(bias[at][first + t]);
                            }
                            for quad in 0..4 {
                                let v = load_half_quad(block, group, quad, half);
                                let low = _mm256_and_si256(v, low_mask);
                                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(v), low_mask);
                                for (t, sum) in sums.iter_mut().enumerate() {
                                    let low_x = _mm256_set1_epi32(as_i32(&group_quads[quad][first + t]));
                                    let high_x = _mm256_set1_epi32(as_i32(&group_quads[quad + 4][first + t]));
                                    *sum = step(*sum, low, low_x);
                                    *sum = step(*sum, high, high_x);
                                }
                            }
                            let scale = load_half_scales(block, group, half);
                            for (t, sum) in sums.iter().enumerate() {
                                let dot = finish(*sum, bias[at][first + t]);
                                let scale = _mm256_mul_ps(scale, _mm256_set1_ps(scales[at][first + t]));
                                acc[t][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, acc[t][half]);
                            }
                        }
                    }
                }
                for (acc, out) in acc.iter().zip(&mut out[first..first + M]) {
                    for (half, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                        store(acc[half], out);
                    }
                }
            }

            /// See [`super::panel::PanelKernel`]; equals `reference::gemm_int4`.
            ///
            /// # Safety
            /// [`is_available`].
            #[target_feature(enable = $features)]
            pub(crate) unsafe fn panel(panel: &mut Panel, done: Done) {
                let blocks = panel.tiles[0].len();
                let all_groups = blocks * 2;
                let PanelScratch { weights, scales, sums } = &mut *panel.scratch;
                for (tile, tile_blocks) in panel.tiles.iter().enumerate().take(panel.n_tiles) {
                    for first in (0..blocks).step_by(PANEL_BLOCKS) {
                        let part = first..blocks.min(first + PANEL_BLOCKS);
                        unpack(&tile_blocks[part.clone()], weights, scales);
                        let groups = part.len() * 2;
                        let (weights, scales) = (&weights.as_chunks::<8>().0[..groups], &scales[..groups]);
                        for (chunk, sums) in sums.as_chunks_mut::<MAX_TOKENS>().0.iter_mut().enumerate().take(panel.chunks) {
                            let at = chunk * all_groups + first * 2;
                            let x = &panel.q.as_chunks::<4>().0.as_chunks::<MAX_TOKENS>().0.as_chunks::<8>().0[at..at + groups];
                            let x_scales = &panel.x_scales.as_chunks::<MAX_TOKENS>().0[at..at + groups];
                            let bias = &panel.bias.as_chunks::<MAX_TOKENS>().0[at..at + groups];
                            if first == 0 {
                                *sums = [[0.0; TILE_ROWS]; MAX_TOKENS];
                            }
                            half_chunk::<0>(weights, scales, x, x_scales, bias, sums);
                            half_chunk::<4>(weights, scales, x, x_scales, bias, sums);
                            if part.end == blocks {
                                let (token, values) = (chunk * MAX_TOKENS, sums.as_slice());
                                done(Sums { token, tile, tokens: MAX_TOKENS, n_tiles: 1, values, strides: [1, 1] });
                            }
                        }
                    }
                }
            }

            /// Tokens `FIRST .. FIRST + 4` of a chunk over the 16 rows of a tile.
            #[target_feature(enable = $features)]
            fn half_chunk<const FIRST: usize>(
                weights: &[[Line; 8]],
                scales: &[[f32; TILE_ROWS]],
                x: &[[[[i8; 4]; MAX_TOKENS]; 8]],
                x_scales: &[[f32; MAX_TOKENS]],
                bias: &[[i32; MAX_TOKENS]],
                out: &mut [[f32; TILE_ROWS]; MAX_TOKENS],
            ) {
                for ((((weights, scales), x), x_scales), bias) in weights.iter().zip(scales).zip(x).zip(x_scales).zip(bias) {
                    let mut sums = [[_mm256_setzero_si256(); 2]; 4];
                    for t in 0..4 {
                        sums[t] = [start(bias[FIRST + t]); 2];
                    }
                    // A length that the compiler does not know keeps it from unrolling into an
                    // order that spills.
                    let weights: &[Line] = std::hint::black_box(&weights[..]);
                    for (line, x) in weights.iter().zip(x) {
                        let w = [load_half(line, 0), load_half(line, 1)];
                        for t in 0..4 {
                            let x = _mm256_set1_epi32(as_i32(&x[FIRST + t]));
                            for half in 0..2 {
                                sums[t][half] = step(sums[t][half], w[half], x);
                            }
                        }
                    }
                    for half in 0..2 {
                        let scale = load(&scales.as_chunks::<8>().0[half]);
                        for t in 0..4 {
                            let dot = finish(sums[t][half], bias[FIRST + t]);
                            let scale = _mm256_mul_ps(scale, _mm256_set1_ps(x_scales[FIRST + t]));
                            let place = &mut out[FIRST + t].as_chunks_mut::<8>().0[half];
                            store(_mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, load(place)), place);
                        }
                    }
                }
            }
        }
    };
}

kernels!(
    avx2,
    "AVX2: `vpmaddubsw`; the sums of a group of 32 fit 16 bits.",
    "avx2,fma,f16c",
    ["avx2", "fma", "f16c"],
    {
        fn start(_bias: i32) -> __m256i {
            _mm256_setzero_si256()
        }
        // 8 steps of at most 2 · 15 · 127.
        fn step(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
            _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x))
        }
        fn finish(sum: __m256i, bias: i32) -> __m256i {
            _mm256_add_epi32(_mm256_madd_epi16(sum, _mm256_set1_epi16(1)), _mm256_set1_epi32(bias))
        }
    }
);

kernels!(
    avxvnni,
    "AVX-VNNI: `vpdpbusd` of 256 bits.",
    "avx2,fma,f16c,avxvnni",
    ["avx2", "fma", "f16c", "avxvnni"],
    {
        fn start(bias: i32) -> __m256i {
            _mm256_set1_epi32(bias)
        }
        fn step(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
            _mm256_dpbusd_avx_epi32(sum, w, x)
        }
        fn finish(sum: __m256i, _bias: i32) -> __m256i {
            sum
        }
    }
);

kernels!(
    avx512vl,
    "The same in the encoding of AVX-512 VL.",
    "avx2,fma,f16c,avx512vl,avx512vnni",
    ["avx2", "fma", "f16c", "avx512vl", "avx512vnni"],
    {
        fn start(bias: i32) -> __m256i {
            _mm256_set1_epi32(bias)
        }
        fn step(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
            _mm256_dpbusd_epi32(sum, w, x)
        }
        fn finish(sum: __m256i, _bias: i32) -> __m256i {
            sum
        }
    }
);

/// Nibbles of one tile to bytes, `[k/4]` lines, and scales to f32, `[group]`.
#[target_feature(enable = "avx2,f16c")]
fn unpack(blocks: &[Block], weights: &mut [Line], scales: &mut [[f32; TILE_ROWS]]) {
    let low_mask = _mm256_set1_epi8(0x0f);
    for (b, block) in blocks.iter().enumerate() {
        for group in 0..2 {
            let at = b * 2 + group;
            for half in 0..2 {
                store(
                    load_half_scales(block, group, half),
                    &mut scales[at].as_chunks_mut::<8>().0[half],
                );
                for quad in 0..4 {
                    let v = load_half_quad(block, group, quad, half);
                    let (low, high) = (
                        _mm256_and_si256(v, low_mask),
                        _mm256_and_si256(_mm256_srli_epi16::<4>(v), low_mask),
                    );
                    store_half(low, &mut weights[at * 8 + quad], half);
                    store_half(high, &mut weights[at * 8 + quad + 4], half);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(place: &[f32; 8]) -> __m256 {
    // SAFETY: 32 readable bytes; the load is unaligned.
    unsafe { _mm256_loadu_ps(place.as_ptr()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(v: __m256, place: &mut [f32; 8]) {
    // SAFETY: 32 writable bytes; the store is unaligned.
    unsafe { _mm256_storeu_ps(place.as_mut_ptr(), v) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_half(line: &Line, half: usize) -> __m256i {
    let bytes: &[u8; 32] = &line.0.as_chunks::<32>().0[half];
    // SAFETY: 32 readable bytes; the load is unaligned.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_half(v: __m256i, line: &mut Line, half: usize) {
    let bytes: &mut [u8; 32] = &mut line.0.as_chunks_mut::<32>().0[half];
    // SAFETY: 32 writable bytes; the store is unaligned.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), v) }
}

#[inline(always)]
fn as_i32(quad: &[i8; 4]) -> i32 {
    i32::from_ne_bytes(quad.map(|b| b as u8))
}

/// Rows `8·half ..` of a quad vector.
#[target_feature(enable = "avx2")]
#[inline]
fn load_half_quad(block: &Block, group: usize, quad: usize, half: usize) -> __m256i {
    let bytes: &[u8; 32] = &block.nibbles.as_chunks::<32>().0[(group * 4 + quad) * 2 + half];
    // SAFETY: `bytes` is 32 readable bytes; the load is unaligned.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,f16c")]
#[inline]
fn load_half_scales(block: &Block, group: usize, half: usize) -> __m256 {
    let bits: &[u16; 8] = &block.scales.as_chunks::<8>().0[group * 2 + half];
    // SAFETY: `bits` is 16 readable bytes; the load is unaligned.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bits.as_ptr().cast()) })
}

/// See [`super::QuantizeKernel`]; equals `reference::quantize_activations`.
///
/// # Safety
/// AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn avx2_quantize(x: &[f32], q: &mut [i8], scales: &mut [f32], bias: &mut [i32]) {
    quantize_body(x, q, scales, bias);
}
