//! AMX INT8 for many tokens: weights are requantised to INT8 with one scale a row and 512 k as they are unpacked, activations
//! take one scale a token and 512 k, so that eight tile products in a row need no rescaling.
//!
//! A group of 32 would fill half a tile and need a pass over the sums after every product (a third of the speed). What the
//! coarser scales cost is `reference::gemm_int4_requantized` against `reference::gemm_int4`. Few tokens go the AVX-512 VNNI way.

use std::arch::asm;
use std::arch::x86_64::*;

use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::panel::{Done, Line, MOST_TILES, PANEL_BLOCKS, Panel, PanelScratch, Sums};
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

/// Tiles of a panel: a tile register each, beside each other.
pub(crate) const PANEL_TILES: usize = 2;
/// Parts along `k` that are unpacked at a time: with two tiles 32 KB, which stay in L1 while tokens stream past.
const PARTS: usize = 2;
/// Lines of an unpacked part of a tile.
const TILE_LINES: usize = PANEL_BLOCKS * 16;
const _: () = assert!(PARTS * PANEL_TILES <= MOST_TILES, "the scratch has room for the unpacked tiles");

/// Four tiles of sums: tokens 0–15 × rows 0–15, × rows 16–31, tokens 16–31 × the same.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct TileSums([[i32; TILE_ROWS]; SUM_ROWS]);
/// Rows of four tiles.
const SUM_ROWS: usize = 4 * TILE_TOKENS;

impl TileSums {
    const ZERO: TileSums = TileSums([[0; TILE_ROWS]; SUM_ROWS]);
}

/// One step of a panel: 32 tokens × 32 rows × a part of `k`, and the scaling of the step before, which the vector units do while the
/// tile unit multiplies.
struct Step<'a> {
    /// Two tiles of tokens, `[blocks][16 tokens][64 k]` each.
    a: [&'a [u8]; 2],
    /// Two tiles of weights, `[blocks][16 quads][16 rows][4]` each.
    b: [&'a [Line]; 2],
    sums: &'a mut TileSums,
    before: Scaling<'a>,
}

/// `out (+)= sums · scale of the row · scale of the token`
struct Scaling<'a> {
    sums: &'a TileSums,
    /// Of the rows of two tiles.
    scales: [[f32; TILE_ROWS]; PANEL_TILES],
    /// Of 32 tokens.
    x_scales: &'a [f32; STEP_TOKENS],
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

/// [`panel`] with tile products in plain Rust: the same sums on a CPU without AMX, for tests of everything around them.
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
    let steps = tokens / STEP_TOKENS;
    let between = between.as_chunks_mut::<SUM_ROWS>().0;
    // Where all of `k` is unpacked at once, sums are finished before those of the next tokens begin: one place, which stays in L1.
    let place_of = |step: usize| if parts <= PARTS { 0 } else { step };
    let mut sums = [TileSums::ZERO; 2];
    // What is scaled along with the first product of all.
    let (none, mut nowhere) = (TileSums::ZERO, [[0f32; TILE_ROWS]; SUM_ROWS]);
    for first_part in (0..parts).step_by(PARTS) {
        let group = first_part..parts.min(first_part + PARTS);
        let blocks_of = |part: usize| part * PANEL_BLOCKS..blocks.min((part + 1) * PANEL_BLOCKS);
        let products = steps * group.len();
        // With few tokens unpacking takes most of the time, and the weights that come next are asked for meanwhile.
        let (while_unpacking, while_multiplying) = if steps <= 2 { (group.len() * n_tiles * PANEL_BLOCKS, 0) } else { (0, products) };
        let mut ahead = Ahead::new(&tiles[..n_tiles], &next, group.end * PANEL_BLOCKS, while_unpacking + while_multiplying);
        for (i, part) in group.clone().enumerate() {
            for tile in 0..n_tiles {
                let at = i * PANEL_TILES + tile;
                let ahead = (while_unpacking > 0).then_some(&mut ahead);
                scales[at] = requantize(&tiles[tile][blocks_of(part)], &mut weights[at * TILE_LINES..][..TILE_LINES], ahead);
            }
        }
        for i in 0..=products {
            let at = |i: usize| (i / group.len(), group.start + i % group.len());
            let [even, odd] = &mut sums;
            let (now, before) = if i % 2 == 0 { (even, &*odd) } else { (odd, &*even) };
            let before = match i.checked_sub(1).map(at) {
                Some((step, part)) => {
                    let first = (part - group.start) * PANEL_TILES;
                    Scaling {
                        sums: before,
                        // A last odd tile is multiplied twice.
                        scales: [scales[first], scales[first + n_tiles - 1]],
                        x_scales: x_scales[part * tokens + step * STEP_TOKENS..].first_chunk().expect("scales of a step"),
                        first: part == 0,
                        out: &mut between[place_of(step)],
                    }
                }
                None => {
                    let x_scales = x_scales.first_chunk().expect("scales of a step");
                    Scaling { sums: &none, scales: [[0.0; TILE_ROWS]; PANEL_TILES], x_scales, first: true, out: &mut nowhere }
                }
            };
            if i < products {
                let (step, part) = at(i);
                let range = blocks_of(part);
                let a = |tile: usize| {
                    let at = ((step * 2 + tile) * blocks + range.start) * 1024;
                    as_bytes(&q[at..at + range.len() * 1024])
                };
                let b = |tile: usize| &weights[((part - group.start) * PANEL_TILES + tile) * TILE_LINES..][..range.len() * 16];
                if while_multiplying > 0 {
                    ahead.prefetch();
                }
                let mut step = Step { a: [a(0), a(1)], b: [b(0), b(n_tiles - 1)], sums: now, before };
                // SAFETY: `panel` has loaded the configuration that `product` needs, `product_emulated` needs none.
                unsafe { product(&mut step) };
            } else {
                scale(before, 0);
            }
            if let Some((step, _)) = i.checked_sub(1).map(at).filter(|(_, part)| part + 1 == parts) {
                for (half, values) in between[place_of(step)].chunks_exact(SUM_ROWS / 2).enumerate() {
                    let token = step * STEP_TOKENS + half * TILE_TOKENS;
                    done(Sums { token, tile: 0, tokens: TILE_TOKENS, n_tiles, values, strides: [1, TILE_TOKENS] });
                }
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
    fn new(tiles: &[&'a [Block]], next: &[&'a [Block]; MOST_TILES], end: usize, steps: usize) -> Self {
        let some = |blocks: &'a [Block], first: usize| &blocks[first.min(blocks.len())..blocks.len().min(first + PARTS * PANEL_BLOCKS)];
        let mut ahead = [&[][..]; PANEL_TILES];
        for (i, place) in ahead.iter_mut().enumerate() {
            let own = tiles.get(i).map_or(&[][..], |blocks| some(blocks, end));
            *place = if own.is_empty() { some(next[i], 0) } else { own };
        }
        let lines = PARTS * PANEL_BLOCKS * size_of::<Block>() / 64;
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

/// Rows `from ..` of a [`Scaling`].
#[target_feature(enable = "avx512f")]
fn scale(some: Scaling, from: usize) {
    let Scaling { sums, scales, x_scales, first, out } = some;
    for row in from..SUM_ROWS {
        let (tile, token) = (row / TILE_TOKENS % 2, row / (2 * TILE_TOKENS) * TILE_TOKENS + row % TILE_TOKENS);
        // SAFETY: 64 readable bytes each, aligned in `TileSums`; those of `out` are writable.
        unsafe {
            let sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums.0[row].as_ptr().cast()));
            let scale = _mm512_mul_ps(_mm512_loadu_ps(scales[tile].as_ptr()), _mm512_set1_ps(x_scales[token]));
            let scaled = if first { _mm512_mul_ps(sum, scale) } else { _mm512_fmadd_ps(sum, scale, _mm512_loadu_ps(out[row].as_ptr())) };
            _mm512_storeu_ps(out[row].as_mut_ptr(), scaled);
        }
    }
}

/// Nibbles to INT8 with one scale a row, which is returned: `w8 = round((q - 8) · s / s_max · 127 / 8)`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
fn requantize(blocks: &[Block], lines: &mut [Line], mut ahead: Option<&mut Ahead>) -> [f32; TILE_ROWS] {
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

/// `row = row · scale`, to which (but in the first part of `k`) what there was at the row's place is added.
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

/// Asks for half a tile of tokens two blocks on (any address may be asked for): it comes from the second-level cache, and the tile load
/// would wait for it.
macro_rules! ask_for_half_a_tile {
    ($at:literal) => {
        concat!(
            ask_for_half_a_tile!($at, "0", "64", "128", "192"),
            ask_for_half_a_tile!($at, "256", "320", "384", "448")
        )
    };
    ($at:literal, $($line:literal),*) => {
        concat!($("prefetcht0 [", $at, " + ", $line, "]\n"),*)
    };
}

/// 64 k of four tile products, with eight rows of the step before between them: they have the tile unit's 64 cycles.
macro_rules! block_of_products {
    ($part:ident, $scales:literal, $to_next_tokens:literal) => {
        concat!(
            "tileloadd tmm6, [{b0} + {s}]\n",
            "tileloadd tmm4, [{a0} + {s}]\n",
            "tdpbssd tmm0, tmm4, tmm6\n",
            ask_for_half_a_tile!("{a0} + 2048"),
            two_rows!($part, $scales, "0", "0", "64", "4"),
            "tileloadd tmm7, [{b1} + {s}]\n",
            "tdpbssd tmm1, tmm4, tmm7\n",
            ask_for_half_a_tile!("{a0} + 2560"),
            two_rows!($part, $scales, "128", "8", "192", "12"),
            "tileloadd tmm5, [{a1} + {s}]\n",
            "tdpbssd tmm2, tmm5, tmm6\n",
            ask_for_half_a_tile!("{a1} + 2048"),
            two_rows!($part, $scales, "256", "16", "320", "20"),
            "tdpbssd tmm3, tmm5, tmm7\n",
            ask_for_half_a_tile!("{a1} + 2560"),
            two_rows!($part, $scales, "384", "24", "448", "28"),
            "add {a0}, 1024\n",
            "add {a1}, 1024\n",
            "add {b0}, 1024\n",
            "add {b1}, 1024\n",
            "add {p}, 512\n",
            "add {o}, 512\n",
            $to_next_tokens,
            "\n",
            "dec {n}\n",
            "jz 3f\n",
        )
    };
}

/// [`product`], for the first or a next part of `k` of the step before.
macro_rules! product_with {
    ($part:ident, $step:ident, $blocks:ident) => {{
        let Step { a, b, sums, before } = $step;
        // SAFETY: the four operand pointers advance by one tile (1,024 bytes) `blocks` times (1 to 8, asserted by the caller) over
        // slices of that many tiles; `p` and `o` by eight rows each over 64 rows, `x` moves inside of 32 floats; `sums` takes four
        // tiles and is not what `p` points to. The configuration is the caller's promise; all registers are declared.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                block_of_products!($part, "zmm20", "add {x}, 32"),
                block_of_products!($part, "zmm20", "sub {x}, 32"),
                block_of_products!($part, "zmm21", "add {x}, 32"),
                block_of_products!($part, "zmm21", "add {x}, 32"),
                block_of_products!($part, "zmm20", "add {x}, 32"),
                block_of_products!($part, "zmm20", "sub {x}, 32"),
                block_of_products!($part, "zmm21", "add {x}, 32"),
                block_of_products!($part, "zmm21", "add {x}, 32"),
                "3:",
                "tilestored [{c} + {s}], tmm0",
                "tilestored [{c} + {s} + 1024], tmm1",
                "tilestored [{c} + {s} + 2048], tmm2",
                "tilestored [{c} + {s} + 3072], tmm3",
                a0 = inout(reg) a[0].as_ptr() => _,
                a1 = inout(reg) a[1].as_ptr() => _,
                b0 = inout(reg) b[0].as_ptr() => _,
                b1 = inout(reg) b[1].as_ptr() => _,
                p = inout(reg) before.sums.0.as_ptr() => _,
                o = inout(reg) before.out.as_mut_ptr() => _,
                x = inout(reg) before.x_scales.as_ptr() => _,
                c = in(reg) sums.0.as_mut_ptr(),
                s = in(reg) 64usize,
                n = inout(reg) $blocks => _,
                in("zmm20") _mm512_loadu_ps(before.scales[0].as_ptr()),
                in("zmm21") _mm512_loadu_ps(before.scales[1].as_ptr()),
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
    if step.before.first {
        product_with!(first, step, blocks);
    } else {
        product_with!(next, step, blocks);
    }
    let Scaling { sums, scales, x_scales, first, ref mut out } = step.before;
    // Eight rows went with each block.
    scale(Scaling { sums, scales, x_scales, first, out }, blocks * 8);
}

/// [`product`] in plain Rust.
#[target_feature(enable = "avx512f")]
fn product_emulated(step: &mut Step) {
    check(step);
    let Scaling { sums, scales, x_scales, first, ref mut out } = step.before;
    scale(Scaling { sums, scales, x_scales, first, out }, 0);
    for (row, sums) in step.sums.0.iter_mut().enumerate() {
        let (half, tile, token) = (row / (2 * TILE_TOKENS), row / TILE_TOKENS % 2, row % TILE_TOKENS);
        *sums = [0; TILE_ROWS];
        for (a, b) in step.a[half].as_chunks::<1024>().0.iter().zip(step.b[tile].as_chunks::<16>().0) {
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

/// Blocks along `k` of a step.
fn check(step: &Step) -> usize {
    let blocks = step.a[0].len() / 1024;
    assert!((1..=PANEL_BLOCKS).contains(&blocks), "{blocks} blocks of a step");
    assert!(step.a.iter().all(|a| a.len() == blocks * 1024) && step.b.iter().all(|b| b.len() == blocks * 16), "tiles of a step");
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
