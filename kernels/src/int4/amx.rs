//! AMX INT8 for many tokens: weights are requantised to INT8 with one scale a row and 512 k as they
//! are unpacked, activations take one scale a token and 512 k, so that eight tile products in a row
//! need no rescaling.
//!
//! A group of 32 would fill half a tile and need a pass over the sums after every product (a third
//! of the speed). What the coarser scales cost is `reference::gemm_int4_requantized` against
//! `reference::gemm_int4`. Few tokens go the AVX-512 VNNI way.

use std::arch::asm;
use std::arch::x86_64::*;

use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::panel::{Done, Line, MOST_TILES, PANEL_BLOCKS, Panel, PanelScratch, Sums};
use crate::amx::{Element, TileConfig};

/// Inputs that share one scale.
pub(crate) const BLOCK: usize = PANEL_BLOCKS * 64;
pub(crate) use super::panel::TILE_TOKENS;

/// Whether this CPU and system run this module.
pub(crate) fn is_available() -> bool {
    super::avx512vnni::is_available() && crate::amx::is_available(Element::Int8)
}

/// Tiles of a panel: a register of sums each. 32 KB of a part along `k`, which stay in L1 while
/// tokens stream past.
pub(crate) const PANEL_TILES: usize = 4;
/// Lines of an unpacked part of a tile.
const TILE_LINES: usize = PANEL_BLOCKS * 16;
const _: () = assert!(PANEL_TILES <= MOST_TILES, "the scratch has room for the unpacked tiles");

/// Sums of 16 tokens: × rows 0–15, × rows 16–31 and so on.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct TileSums([[i32; TILE_ROWS]; SUM_ROWS]);
/// Rows of the tiles of a panel.
const SUM_ROWS: usize = PANEL_TILES * TILE_TOKENS;
/// Rows that are scaled beside a block of products.
const ROWS_A_BLOCK: usize = SUM_ROWS / PANEL_BLOCKS;
const _: () = assert!(
    TILE_LINES * 64 == 8192 && PANEL_BLOCKS == 8 && ROWS_A_BLOCK == 8,
    "the numbers in `block_of_products` and `product_with`"
);

impl TileSums {
    const ZERO: TileSums = TileSums([[0; TILE_ROWS]; SUM_ROWS]);
}

/// One step of a panel: 16 tokens × 64 rows × a part of `k`, and the scaling of the step before,
/// which the vector units do while the tile unit multiplies.
struct Step<'a> {
    /// `[blocks][16 tokens][64 k]`
    a: &'a [u8],
    /// `[tiles][8 blocks][16 quads][16 rows][4]`, of which the first blocks count.
    b: &'a [Line; PANEL_TILES * TILE_LINES],
    /// In: of the step before. Out: of this one.
    sums: &'a mut TileSums,
    before: Scaling<'a>,
}

/// `out (+)= sums · scale of the row · scale of the token`
struct Scaling<'a> {
    scales: &'a [[f32; TILE_ROWS]; PANEL_TILES],
    x_scales: &'a [f32; TILE_TOKENS],
    /// `=` instead of `+=`.
    first: bool,
    /// In the order of `sums`.
    out: &'a mut [[f32; TILE_ROWS]; SUM_ROWS],
}

type Product = unsafe fn(&mut Step);

/// See [`super::panel::PanelKernel`]; equals `reference::gemm_int4_requantized`.
///
/// # Safety
/// [`is_available`].
pub(crate) unsafe fn panel(panel: &mut Panel, done: Done) {
    // SAFETY: the caller's promise.
    let config = unsafe { TileConfig::load() };
    // SAFETY: the caller's promise; AMX comes with AVX-512.
    unsafe { panel_with(panel, product, done) };
    drop(config);
}

/// [`panel`] with tile products in plain Rust: the same sums on a CPU without AMX, for tests of
/// everything around them.
///
/// # Safety
/// `avx512vnni::is_available`.
pub(crate) unsafe fn panel_emulated(panel: &mut Panel, done: Done) {
    // SAFETY: the caller's promise.
    unsafe { panel_with(panel, product_emulated, done) };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c,fma")]
fn panel_with(panel: &mut Panel, product: Product, done: Done) {
    let Panel { tiles, n_tiles, next, chunks, q, x_scales, .. } = *panel;
    let PanelScratch { weights, scales, sums: between } = &mut *panel.scratch;
    let blocks = tiles[0].len();
    let parts = blocks.div_ceil(PANEL_BLOCKS);
    let tokens = chunks * super::MAX_TOKENS;
    let steps = tokens / TILE_TOKENS;
    let x_scales = x_scales.as_chunks::<TILE_TOKENS>().0;
    let weights: &mut [Line; PANEL_TILES * TILE_LINES] =
        weights.first_chunk_mut().expect("the unpacked tiles");
    let scales: &mut [[f32; TILE_ROWS]; PANEL_TILES] =
        scales.first_chunk_mut().expect("scales of the tiles");
    let between = between.as_chunks_mut::<SUM_ROWS>().0;
    // Where all of `k` is unpacked at once, sums are finished before those of the next tokens
    // begin: one place, which stays in L1.
    let place_of = |step: usize| if parts == 1 { 0 } else { step };
    let mut sums = TileSums::ZERO;
    // Where the sums of before the first product go.
    let mut nowhere = [[0f32; TILE_ROWS]; SUM_ROWS];
    for part in 0..parts {
        let range = part * PANEL_BLOCKS..blocks.min((part + 1) * PANEL_BLOCKS);
        // With few tokens unpacking takes most of the time, and the weights that come next are
        // asked for meanwhile.
        let (while_unpacking, while_multiplying) =
            if steps <= 4 { (n_tiles * PANEL_BLOCKS, 0) } else { (0, steps) };
        let mut ahead =
            Ahead::new(&tiles[..n_tiles], &next, range.end, while_unpacking + while_multiplying);
        for (tile, (lines, scales)) in
            weights.chunks_exact_mut(TILE_LINES).zip(&mut *scales).enumerate().take(n_tiles)
        {
            *scales = requantize(
                &tiles[tile][range.clone()],
                lines,
                (while_unpacking > 0).then_some(&mut ahead),
            );
        }
        for i in 0..=steps {
            let mut before = match i.checked_sub(1) {
                Some(step) => Scaling {
                    scales,
                    x_scales: &x_scales[step * parts + part],
                    first: part == 0,
                    out: &mut between[place_of(step)],
                },
                None => Scaling { scales, x_scales: &x_scales[0], first: true, out: &mut nowhere },
            };
            if i < steps {
                let at = (i * blocks + range.start) * 1024;
                if while_multiplying > 0 {
                    ahead.prefetch();
                }
                let mut step = Step {
                    a: as_bytes(&q[at..at + range.len() * 1024]),
                    b: weights,
                    sums: &mut sums,
                    before,
                };
                // SAFETY: `panel` has loaded the configuration that `product` needs,
                // `product_emulated` needs none.
                unsafe { product(&mut step) };
            } else {
                scale(&sums, &mut before, SUM_ROWS);
            }
            if let Some(step) = i.checked_sub(1).filter(|_| part + 1 == parts) {
                let (token, values) = (step * TILE_TOKENS, &between[place_of(step)]);
                done(Sums {
                    token,
                    tile: 0,
                    tokens: TILE_TOKENS,
                    n_tiles,
                    values,
                    strides: [1, TILE_TOKENS],
                });
            }
        }
    }
}

/// The weights that are unpacked next: asked for in equal steps, into the second-level cache.
struct Ahead<'a> {
    tiles: [&'a [Block]; PANEL_TILES],
    /// Lines of each tile that have been asked for.
    at: usize,
    step: usize,
}

impl<'a> Ahead<'a> {
    /// What follows block `end` of `tiles`, or the beginning of `next`, in `steps`.
    fn new(
        tiles: &[&'a [Block]],
        next: &[&'a [Block]; MOST_TILES],
        end: usize,
        steps: usize,
    ) -> Self {
        let some = |blocks: &'a [Block], first: usize| {
            &blocks[first.min(blocks.len())..blocks.len().min(first + PANEL_BLOCKS)]
        };
        let mut ahead = [&[][..]; PANEL_TILES];
        for (i, place) in ahead.iter_mut().enumerate() {
            let own = tiles.get(i).map_or(&[][..], |blocks| some(blocks, end));
            *place = if own.is_empty() { some(next[i], 0) } else { own };
        }
        let lines = PANEL_BLOCKS * size_of::<Block>() / 64;
        Ahead { tiles: ahead, at: 0, step: lines.div_ceil(steps.max(1)) }
    }

    #[inline(always)]
    fn prefetch(&mut self) {
        for blocks in self.tiles {
            let lines = size_of_val(blocks) / 64;
            for line in self.at..lines.min(self.at + self.step) {
                let address = blocks.as_ptr().cast::<i8>().wrapping_add(line * 64);
                // SAFETY: a prefetch of any address is allowed.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(address) };
            }
        }
        self.at += self.step;
    }
}

/// The first `rows` of a [`Scaling`].
#[target_feature(enable = "avx512f")]
fn scale(sums: &TileSums, some: &mut Scaling, rows: usize) {
    let Scaling { scales, x_scales, first, ref mut out } = *some;
    for row in 0..rows {
        let (tile, token) = (row / TILE_TOKENS, row % TILE_TOKENS);
        // SAFETY: 64 readable bytes each, aligned in `TileSums`; those of `out` are writable.
        unsafe {
            let sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums.0[row].as_ptr().cast()));
            let scale = _mm512_mul_ps(
                _mm512_loadu_ps(scales[tile].as_ptr()),
                _mm512_set1_ps(x_scales[token]),
            );
            let scaled = if first {
                _mm512_mul_ps(sum, scale)
            } else {
                _mm512_fmadd_ps(sum, scale, _mm512_loadu_ps(out[row].as_ptr()))
            };
            _mm512_storeu_ps(out[row].as_mut_ptr(), scaled);
        }
    }
}

/// Nibbles to INT8 with one scale a row, which is returned: `w8 = round((q - 8) · s / s_max · 127 /
/// 8)`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
fn requantize(
    blocks: &[Block],
    lines: &mut [Line],
    mut ahead: Option<&mut Ahead>,
) -> [f32; TILE_ROWS] {
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
        if let Some(ahead) = &mut ahead {
            ahead.prefetch();
        }
        for group in 0..2 {
            // (q - 8) · r + 128 = q · r + (128 - 8 r) in 16 bits, |r| ≤ 4064; its high byte is the
            // rounded result.
            let r = _mm512_cvtps_epi32(_mm512_mul_ps(inverse, scales_of(block, group)));
            let r = _mm512_or_si512(
                _mm512_and_si512(r, _mm512_set1_epi32(0xffff)),
                _mm512_slli_epi32::<16>(r),
            );
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
    unsafe {
        _mm512_storeu_ps(scales.as_mut_ptr(), _mm512_mul_ps(largest, _mm512_set1_ps(8.0 / 127.0)))
    };
    scales
}

fn as_bytes(q: &[i8]) -> &[u8] {
    // SAFETY: i8 and u8 have the same layout.
    unsafe { std::slice::from_raw_parts(q.as_ptr().cast(), q.len()) }
}

/// `row = row · scale`, to which (but in the first part of `k`) what there was at the row's place
/// is added.
macro_rules! join {
    (first, $row:literal, $scale:literal, $at:literal) => {
        concat!("vmulps ", $row, ", ", $row, ", ", $scale, "\n")
    };
    (next, $row:literal, $scale:literal, $at:literal) => {
        concat!("vfmadd213ps ", $row, ", ", $scale, ", [{o} + ", $at, "]\n")
    };
}

/// Two rows of sums: `out (+)= sums · scales`.
macro_rules! two_rows {
    ($part:ident, $scales:literal, $at:literal, $x:literal, $next_at:literal, $next_x:literal) => {
        concat!(
            "vcvtdq2ps zmm16, [{p} + ",
            $at,
            "]\n",
            "vcvtdq2ps zmm17, [{p} + ",
            $next_at,
            "]\n",
            "vmulps zmm18, ",
            $scales,
            ", dword ptr [{x} + ",
            $x,
            "]{{1to16}}\n",
            "vmulps zmm19, ",
            $scales,
            ", dword ptr [{x} + ",
            $next_x,
            "]{{1to16}}\n",
            join!($part, "zmm16", "zmm18", $at),
            join!($part, "zmm17", "zmm19", $next_at),
            "vmovups [{o} + ",
            $at,
            "], zmm16\n",
            "vmovups [{o} + ",
            $next_at,
            "], zmm17\n",
        )
    };
}

/// 64 k of four tile products, with eight rows of the step before between them: they have the tile
/// unit's 64 cycles.
macro_rules! block_of_products {
    ($part:ident, $scales:literal, $a:literal, $x0:literal, $x1:literal, $x2:literal, $x3:literal, $x4:literal, $x5:literal, $x6:literal, $x7:literal) => {
        concat!(
            "tileloadd ",
            $a,
            ", [{a} + {s}]\n",
            "tileloadd tmm6, [{b} + {s}]\n",
            "tdpbssd tmm0, ",
            $a,
            ", tmm6\n",
            two_rows!($part, $scales, "0", $x0, "64", $x1),
            "tileloadd tmm7, [{b} + {s} + 8192]\n",
            "tdpbssd tmm1, ",
            $a,
            ", tmm7\n",
            two_rows!($part, $scales, "128", $x2, "192", $x3),
            "tileloadd tmm6, [{b} + {s} + 16384]\n",
            "tdpbssd tmm2, ",
            $a,
            ", tmm6\n",
            two_rows!($part, $scales, "256", $x4, "320", $x5),
            "tileloadd tmm7, [{b} + {s} + 24576]\n",
            "tdpbssd tmm3, ",
            $a,
            ", tmm7\n",
            two_rows!($part, $scales, "384", $x6, "448", $x7),
            "add {a}, 1024\n",
            "add {b}, 1024\n",
            "add {p}, 512\n",
            "add {o}, 512\n",
        )
    };
    ($part:ident, $scales:literal, even) => {
        block_of_products!($part, $scales, "tmm4", "0", "4", "8", "12", "16", "20", "24", "28")
    };
    ($part:ident, $scales:literal, odd) => {
        block_of_products!($part, $scales, "tmm5", "32", "36", "40", "44", "48", "52", "56", "60")
    };
}

/// [`product`], for the first or a next part of `k` of the step before.
macro_rules! product_with {
    ($part:ident, $step:ident, $blocks:ident) => {{
        let Step { a, b, sums, before } = $step;
        let row = (PANEL_BLOCKS - $blocks) * ROWS_A_BLOCK;
        // SAFETY: `a` and `b` advance by one tile (1,024 bytes) `blocks` times (1 to 8, asserted by
        // the caller), `a` over a slice of that many tiles, `b` over the first of four runs of
        // eight; `p` and `o` by eight rows each, to the end of 64 rows, `x` is 16 floats; `sums`
        // takes four tiles, after its rows were read. The configuration is the caller's promise;
        // all registers are declared.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "cmp {n}, 8",
                "je 28f",
                "cmp {n}, 7",
                "je 27f",
                "cmp {n}, 6",
                "je 26f",
                "cmp {n}, 5",
                "je 25f",
                "cmp {n}, 4",
                "je 24f",
                "cmp {n}, 3",
                "je 23f",
                "cmp {n}, 2",
                "je 22f",
                "jmp 21f",
                "28:",
                block_of_products!($part, "zmm20", even),
                "27:",
                block_of_products!($part, "zmm20", odd),
                "26:",
                block_of_products!($part, "zmm21", even),
                "25:",
                block_of_products!($part, "zmm21", odd),
                "24:",
                block_of_products!($part, "zmm22", even),
                "23:",
                block_of_products!($part, "zmm22", odd),
                "22:",
                block_of_products!($part, "zmm23", even),
                "21:",
                block_of_products!($part, "zmm23", odd),
                "tilestored [{c} + {s}], tmm0",
                "tilestored [{c} + {s} + 1024], tmm1",
                "tilestored [{c} + {s} + 2048], tmm2",
                "tilestored [{c} + {s} + 3072], tmm3",
                a = inout(reg) a.as_ptr() => _,
                b = inout(reg) b.as_ptr() => _,
                p = inout(reg) sums.0[row..].as_ptr() => _,
                o = inout(reg) before.out[row..].as_mut_ptr() => _,
                x = in(reg) before.x_scales.as_ptr(),
                c = in(reg) sums.0.as_mut_ptr(),
                s = in(reg) 64usize,
                n = in(reg) $blocks,
                in("zmm20") _mm512_loadu_ps(before.scales[0].as_ptr()),
                in("zmm21") _mm512_loadu_ps(before.scales[1].as_ptr()),
                in("zmm22") _mm512_loadu_ps(before.scales[2].as_ptr()),
                in("zmm23") _mm512_loadu_ps(before.scales[3].as_ptr()),
                out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }};
}

/// A [`Step`].
///
/// # Safety
/// A [`TileConfig`] must be loaded on this thread; AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn product(step: &mut Step) {
    let blocks = check(step);
    // The others go with a block each.
    scale(step.sums, &mut step.before, (PANEL_BLOCKS - blocks) * ROWS_A_BLOCK);
    if step.before.first {
        product_with!(first, step, blocks);
    } else {
        product_with!(next, step, blocks);
    }
}

/// [`product`] in plain Rust.
#[target_feature(enable = "avx512f")]
fn product_emulated(step: &mut Step) {
    check(step);
    scale(step.sums, &mut step.before, SUM_ROWS);
    for (row, sums) in step.sums.0.iter_mut().enumerate() {
        let (tile, token) = (row / TILE_TOKENS, row % TILE_TOKENS);
        *sums = [0; TILE_ROWS];
        for (a, b) in
            step.a.as_chunks::<1024>().0.iter().zip(step.b[tile * TILE_LINES..].as_chunks::<16>().0)
        {
            for (quad, line) in b.iter().enumerate() {
                for (row, sum) in sums.iter_mut().enumerate() {
                    for k in 0..4 {
                        *sum += i32::from(a[token * 64 + quad * 4 + k] as i8)
                            * i32::from(line.0[row * 4 + k] as i8);
                    }
                }
            }
        }
    }
}

/// Blocks along `k` of a step.
fn check(step: &Step) -> usize {
    let blocks = step.a.len() / 1024;
    assert!(
        (1..=PANEL_BLOCKS).contains(&blocks) && step.a.len().is_multiple_of(1024),
        "{} bytes of a step",
        step.a.len()
    );
    blocks
}

/// See [`super::coarse::Coarse::quantize`]. A NaN or infinity makes the scale NaN and the levels 0.
///
/// # Safety
/// `avx512vnni::is_available`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,avx2")]
pub(crate) unsafe fn quantize(x: &[f32], q: &mut [i8], stride: usize) -> f32 {
    assert!(stride >= BLOCK_K && x.len() <= BLOCK && q.len() <= BLOCK / BLOCK_K * stride);
    // As integers, magnitudes order like floats and infinities and NaN come last.
    let largest_bits = x.iter().fold(0u32, |a, v| a.max(v.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest_bits);
    let (scale, inverse) = if largest_bits >= 0x7f80_0000 {
        (f32::NAN, 0.0)
    } else if largest < 1e-30 {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    };
    let mut padded = [0f32; BLOCK_K];
    for (i, q) in q.chunks_mut(stride).enumerate() {
        let q: &mut [i8; BLOCK_K] = q.first_chunk_mut().expect("a line");
        let rest = x.get(i * BLOCK_K..).unwrap_or(&[]);
        if inverse == 0.0 || rest.is_empty() {
            q.fill(0);
            continue;
        }
        let some = rest.first_chunk::<BLOCK_K>().unwrap_or_else(|| {
            padded[..rest.len()].copy_from_slice(rest);
            &padded
        });
        for (q, v) in q.iter_mut().zip(some) {
            // The low bits of `x + 1.5·2^23` are x rounded half to even.
            let level = (v * inverse + 12_582_912.0).to_bits() as i32 - 0x4b40_0000;
            *q = level.clamp(-127, 127) as i8;
        }
    }
    scale
}
