//! INT4 weights: the matrix type, its two forms (file and runtime), and the product with f32
//! activations.
//!
//! Weights are symmetric, `(q - 8) · scale`, one f16 scale for 32 weights along `k`. The file form
//! is row-major; at load it is repacked once into tiles that serve every instruction set and any
//! number of tokens ([`layout`]). Start at [`Int4Matrix`] and [`matmul_int4`].

mod activations;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx_few;
#[cfg(target_arch = "x86_64")]
mod avx256;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512vnni;
mod coarse;
mod few;
mod layout;
mod panel;
mod product;
mod quantize;
pub(crate) mod scalar;
mod swiglu;

use std::fmt;

use half::f16;

pub use activations::Activations;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx256::{avx2, avx2_quantize, avx512vl, avxvnni};
pub(crate) use coarse::Coarse;
pub(crate) use few::SomeTokens;
use layout::{BLOCK_K, Block, TILE_ROWS};
pub(crate) use panel::Panels;
pub use product::{Epilogue, matmul_int4, matmul_int4_with, matmul_quantized};
pub(crate) use product::{Finished, epilogue_body};
pub use swiglu::matmul_swiglu;
pub(crate) use swiglu::{Gated, gated_body};

use crate::pages::HugeSlice;
use crate::reference::GROUP;

/// Tokens that one call of a tile kernel handles at most.
pub(crate) const MAX_TOKENS: usize = 8;
/// Up to so many tokens, tiles are multiplied as they are streamed; above, panels are unpacked.
pub(crate) const FEW_TOKENS: usize = 16;

/// `out[t][r] = Σ x[t] · w[r]` for one tile of 16 rows and `tokens` ≤ 8 tokens; `blocks` = the tile
/// along `k`.
///
/// `x` is `[4·blocks·4][tokens][4]` i8, `scales` and `bias` `[2·blocks][tokens]`. Equal to
/// `reference::gemm_int4`.
pub(crate) type TileKernel = unsafe fn(
    blocks: &[Block],
    x: &[i8],
    scales: &[f32],
    bias: &[i32],
    tokens: usize,
    out: &mut [[f32; TILE_ROWS]; MAX_TOKENS],
);

/// Quantises one row of activations: `q` (padded, multiple of 32), one scale and one bias (`-8 Σ
/// q`) a group.
pub(crate) type QuantizeKernel =
    unsafe fn(x: &[f32], q: &mut [i8], scales: &mut [f32], bias: &mut [i32]);

/// Why weights could not be taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Int4Error {
    /// A slice does not have the length that the shape asks for.
    Length { what: &'static str, expected: usize, got: usize },
    /// `n` or `k` is zero, or `n · k` does not fit.
    Shape { n: usize, k: usize },
    /// A weight is NaN or infinite.
    NotFinite { row: usize, column: usize },
    /// A stored scale is NaN or infinite.
    ScaleNotFinite { row: usize, group: usize },
}

impl fmt::Display for Int4Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Int4Error::Length { what, expected, got } => {
                write!(f, "{what}: expected {expected} elements, got {got}")
            }
            Int4Error::Shape { n, k } => write!(f, "a matrix of {n} x {k} cannot be held"),
            Int4Error::NotFinite { row, column } => {
                write!(f, "the weight at row {row}, column {column} is not finite")
            }
            Int4Error::ScaleNotFinite { row, group } => {
                write!(f, "the scale of row {row}, group {group} is not finite")
            }
        }
    }
}

impl std::error::Error for Int4Error {}

/// A weight matrix of `n` outputs × `k` inputs in INT4, in the runtime layout.
#[derive(Clone)]
pub struct Int4Matrix {
    n: usize,
    k: usize,
    /// `[⌈n/16⌉][⌈k/64⌉]`, padding has scale 0.
    blocks: HugeSlice<Block>,
}

impl Int4Matrix {
    /// Quantises row-major f32 weights `[n,k]`; deterministic, least squared error over a small
    /// search a group.
    ///
    /// Errors: a shape that cannot be held, a length that does not match, a weight that is not
    /// finite.
    pub fn quantize(n: usize, k: usize, weights: &[f32]) -> Result<Self, Int4Error> {
        check_weights(n, k, weights)?;
        let (nibbles, scales) = quantize::quantize_rows(n, k, weights);
        Ok(Int4Matrix { n, k, blocks: layout::pack(n, k, &nibbles, &scales) })
    }

    /// Takes the file form: `nibbles` `[n, ⌈k/2⌉]` (low nibble = even k), `scales` `[n, ⌈k/32⌉]`.
    ///
    /// Errors: a shape that cannot be held, lengths that do not match, a scale that is not finite.
    pub fn from_file_parts(
        n: usize,
        k: usize,
        nibbles: &[u8],
        scales: &[f16],
    ) -> Result<Self, Int4Error> {
        check_shape(n, k)?;
        check_length("nibbles", n * k.div_ceil(2), nibbles.len())?;
        check_length("scales", n * k.div_ceil(GROUP), scales.len())?;
        if let Some(i) = scales.iter().position(|s| !s.is_finite()) {
            let groups = k.div_ceil(GROUP);
            return Err(Int4Error::ScaleNotFinite { row: i / groups, group: i % groups });
        }
        Ok(Int4Matrix { n, k, blocks: layout::pack(n, k, nibbles, scales) })
    }

    /// The file form, byte for byte what [`Int4Matrix::from_file_parts`] was given (unused nibbles
    /// of a last odd column are 8).
    pub fn to_file_parts(&self) -> (Vec<u8>, Vec<f16>) {
        layout::unpack(self.n, self.k, &self.blocks)
    }

    /// Outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(&*self.blocks)
    }

    /// Writes the weights of `row` as f32 to `out` (`k` elements). Panics: `row >= n` or a wrong
    /// length.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n, "row {row} of {}", self.n);
        assert_eq!(out.len(), self.k, "output of one row");
        layout::dequantize_row(&self.blocks, self.blocks_per_tile(), row, out);
    }

    fn blocks_per_tile(&self) -> usize {
        self.k.div_ceil(BLOCK_K)
    }
}

/// Writes to `out` what an [`Int4Matrix`] holds of row-major f32 weights `[n,k]`: training with
/// rounded weights sees what is served.
///
/// Errors: a shape that cannot be held, a length that does not match, a weight that is not finite.
pub fn round_to_int4(
    n: usize,
    k: usize,
    weights: &[f32],
    out: &mut [f32],
) -> Result<(), Int4Error> {
    check_weights(n, k, weights)?;
    check_length("rounded weights", n * k, out.len())?;
    quantize::round_rows(k, weights, out);
    Ok(())
}

fn check_weights(n: usize, k: usize, weights: &[f32]) -> Result<(), Int4Error> {
    check_shape(n, k)?;
    check_length("weights", n * k, weights.len())?;
    match weights.iter().position(|w| !w.is_finite()) {
        Some(i) => Err(Int4Error::NotFinite { row: i / k, column: i % k }),
        None => Ok(()),
    }
}

impl fmt::Debug for Int4Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Int4Matrix({} x {})", self.n, self.k)
    }
}

fn check_shape(n: usize, k: usize) -> Result<(), Int4Error> {
    let padded = n.checked_next_multiple_of(TILE_ROWS).zip(k.checked_next_multiple_of(BLOCK_K));
    let fits =
        padded.and_then(|(n, k)| n.checked_mul(k)).is_some_and(|cells| cells < isize::MAX as usize);
    if n == 0 || k == 0 || !fits { Err(Int4Error::Shape { n, k }) } else { Ok(()) }
}

fn check_length(what: &'static str, expected: usize, got: usize) -> Result<(), Int4Error> {
    if expected == got { Ok(()) } else { Err(Int4Error::Length { what, expected, got }) }
}

/// The lengths every [`TileKernel`] relies on.
#[inline(always)]
fn check_tile(blocks: &[Block], x: &[i8], scales: &[f32], bias: &[i32], tokens: usize) {
    assert!((1..=MAX_TOKENS).contains(&tokens), "{tokens} tokens in a tile call");
    assert_eq!(x.len(), blocks.len() * BLOCK_K * tokens, "activations of a tile call");
    assert_eq!(scales.len(), blocks.len() * 2 * tokens, "scales of a tile call");
    assert_eq!(bias.len(), scales.len(), "bias of a tile call");
}

/// Bytes ahead that streaming kernels ask for, into the second-level cache (best of five distances
/// for one to sixteen tokens).
#[cfg(target_arch = "x86_64")]
const PREFETCH: usize = 16 * size_of::<Block>();

/// Asks for a line of the block [`PREFETCH`] bytes on; past the end of the weights this does
/// nothing.
///
/// A kernel spreads the nine over its work on a block: together they fill the core's buffers for
/// misses and hold up the loads behind them, for a tenth of the time of one token and a sixth of
/// that of four.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch(block: &Block, line: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    let ahead = std::ptr::from_ref(block).cast::<i8>().wrapping_add(PREFETCH + line * 64);
    // SAFETY: a prefetch of any address is allowed.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(ahead) };
}
