//! The product of INT4 weights and INT8 activations: how tiles and tokens are shared out, and what
//! becomes of the sums.
//!
//! Few tokens: each tile of 16 rows is read once and multiplied with chunks of at most eight
//! tokens, which is bound by reading the weights. Many tokens: all of them pass over panels of
//! unpacked weights ([`super::panel`]).

use std::ops::Range;

use super::activations::Activations;
use super::layout::TILE_ROWS;
use super::panel::{self, MOST_TILES, Sums};
use super::{FEW_TOKENS, Int4Matrix, MAX_TOKENS, few};
use crate::isa::{self, Row};
use crate::threads::{self, SharedOut};

const _: () = assert!(FEW_TOKENS == 2 * MAX_TOKENS, "`by_tiles` takes two chunks");

/// What is done with a product `p`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to every row, `[n]`.
    pub bias: Option<&'a [f32]>,
    /// `y += p` instead of `y = p`.
    pub add: bool,
}

/// `y[m,n] = x[m,k] · dequant(w)[k,n]`, activations quantised to INT8 per group of 32, accumulated
/// in f32.
///
/// Shapes: `x` `[m,k]` row-major f32, `m` taken from its length; `y` `[m,n]`, overwritten. A NaN or
/// infinity in a row of `x` makes that row of `y` NaN and no other. Panics: if a length does not
/// match its shape (always checked). A row of `y` has the same bits whatever the other rows are and
/// how many: a warm cache computes what a cold one does. Accuracy: NMSE ≤ 1e-6 against
/// `reference::gemm_int4`. The `amx` row differs for more than 16 tokens: those equal
/// `reference::gemm_int4_requantized`, one to another with the same bits, but not the bits of 16 or
/// fewer.
pub fn matmul_int4(w: &Int4Matrix, x: &[f32], y: &mut [f32], activations: &mut Activations) {
    matmul_int4_with(isa::active(), w, x, y, activations);
}

/// [`matmul_int4`] on a given row of the kernel table.
pub fn matmul_int4_with(
    row: &'static Row,
    w: &Int4Matrix,
    x: &[f32],
    y: &mut [f32],
    activations: &mut Activations,
) {
    activations.quantize_with(row, x, w.k);
    matmul_quantized(w, activations, Epilogue::default(), y);
}

/// [`matmul_int4`] for activations that are quantised already, with an [`Epilogue`].
///
/// Panics: the activations have not `w.k()` inputs, `y` is not `[m,n]`, the bias not `[n]`.
pub fn matmul_quantized(w: &Int4Matrix, x: &Activations, epilogue: Epilogue, y: &mut [f32]) {
    let (n, m) = (w.n, x.tokens());
    assert_eq!(x.k(), w.k, "inputs of a product");
    assert_eq!(y.len(), m * n, "y is not [{m},{n}]");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == n), "the bias is not [{n}]");
    if m == 0 {
        return;
    }
    let out = Out { y: SharedOut::new(y), n, epilogue };
    if let Some(some) = x.row().int4_few.filter(|some| some.takes(m)) {
        threads::split(n.div_ceil(TILE_ROWS), estimated_us(w, m), |tiles| {
            few::run(&some, w, x, tiles.clone(), &mut |tile, values| {
                let sums = Sums {
                    token: 0,
                    tile: 0,
                    tokens: values.len(),
                    n_tiles: 1,
                    values,
                    strides: [1, 1],
                };
                out.put(x, (tiles.start + tile) * TILE_ROWS, &sums);
            });
        });
    } else if m <= FEW_TOKENS {
        threads::split(n.div_ceil(TILE_ROWS), estimated_us(w, m), |tiles| {
            by_tiles(w, x, tiles, &out)
        });
    } else {
        let width = x.row().int4_panel.tiles;
        let panels = n.div_ceil(width * TILE_ROWS);
        let blocks = panel::token_blocks(w, m);
        threads::split(blocks * panels, estimated_us(w, m), |items| {
            for item in items {
                by_panel(
                    w,
                    x,
                    panel::tokens_of(m, item / panels, blocks),
                    item % panels,
                    width,
                    &out,
                );
            }
        });
    }
}

/// Microseconds of a product on one core. 60 multiply-adds a nanosecond when there is work for the
/// registers; one token is bound by reading and costs as much as four.
pub(super) fn estimated_us(w: &Int4Matrix, m: usize) -> u64 {
    w.n as u64 * w.k as u64 * (m as u64 + 3) / 60_000
}

/// The output, shared by threads that own different columns.
struct Out<'a> {
    y: SharedOut<f32>,
    n: usize,
    epilogue: Epilogue<'a>,
}

impl Out<'_> {
    /// Columns `first ..` of token `token`.
    ///
    /// # Safety
    /// As [`SharedOut::part`]: the calling thread owns these columns.
    #[inline(always)]
    unsafe fn write(&self, token: usize, first: usize, values: &[f32]) {
        // SAFETY: the caller's promise.
        let place = unsafe { self.y.part(token * self.n + first, values.len()) };
        for (i, (y, v)) in place.iter_mut().zip(values).enumerate() {
            *y = finish(*y, *v, self.epilogue.bias.map(|bias| bias[first + i]), self.epilogue.add);
        }
    }

    /// Some sums of the panel whose first row is `first_row`, which belongs to the calling thread.
    fn put(&self, x: &Activations, first_row: usize, sums: &Sums) {
        let first = first_row + sums.tile * TILE_ROWS;
        let columns = (sums.n_tiles * TILE_ROWS).min(self.n - first);
        let tokens = sums.tokens.min(x.tokens().saturating_sub(sums.token));
        if tokens == 0 {
            return;
        }
        let start = sums.token * self.n + first;
        assert!(
            start + (tokens - 1) * self.n + columns <= self.y.len(),
            "columns outside of the output"
        );
        let finished = Finished {
            // In bounds by the assertion; `wrapping_add` needs no promise.
            y: self.y.address().cast_mut().wrapping_add(start),
            stride: self.n,
            columns,
            tokens,
            sums: sums.values,
            strides: sums.strides,
            bias: self.epilogue.bias.map(|bias| &bias[first..]),
            add: self.epilogue.add,
        };
        // SAFETY: the places are inside of `y`, which outlives the split; each panel owns its
        // columns. The row's instruction set was checked when it was handed out.
        unsafe { (x.row().ops.epilogue)(&finished) };
    }

    /// Asks for `columns` columns of some tokens, which lie a row apart, to be near when the sums
    /// are done.
    #[cfg(target_arch = "x86_64")]
    fn prefetch(&self, tokens: Range<usize>, first: usize, columns: usize) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for token in tokens {
            let start = self.y.address().wrapping_add(token * self.n + first);
            for column in (0..columns + 15).step_by(16) {
                // SAFETY: a prefetch of any address is allowed.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(column).cast()) };
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn prefetch(&self, _tokens: Range<usize>, _first: usize, _columns: usize) {}
}

fn by_tiles(w: &Int4Matrix, x: &Activations, tiles: Range<usize>, out: &Out) {
    let per_tile = w.blocks_per_tile();
    let kernel = x.row().int4_tile;
    let mut sums = [[0f32; TILE_ROWS]; MAX_TOKENS];
    let mut chunks = x.chunks();
    let chunks = [chunks.next(), chunks.next()];
    for tile in tiles {
        let blocks = &w.blocks[tile * per_tile..(tile + 1) * per_tile];
        let first_row = tile * TILE_ROWS;
        let rows = TILE_ROWS.min(w.n - first_row);
        // The second chunk finds the tile in the cache.
        for chunk in chunks.iter().flatten() {
            // SAFETY: the row was checked for this CPU when it was handed out.
            unsafe { kernel(blocks, chunk.q, chunk.scales, chunk.bias, chunk.tokens, &mut sums) };
            for (t, values) in sums.iter().enumerate().take(chunk.tokens) {
                // SAFETY: `y` outlives the split; each tile owns its columns.
                unsafe { out.write(chunk.first_token + t, first_row, &values[..rows]) };
            }
        }
    }
}

/// Some tokens times a panel of `width` tiles.
fn by_panel(
    w: &Int4Matrix,
    x: &Activations,
    tokens: Range<usize>,
    panel: usize,
    width: usize,
    out: &Out,
) {
    let first = panel * width;
    let n_tiles = width.min(w.n.div_ceil(TILE_ROWS) - first);
    let tiles: [usize; 2 * MOST_TILES] = std::array::from_fn(|i| first + i);
    let (first_row, rows) = (first * TILE_ROWS, (n_tiles * TILE_ROWS).min(w.n - first * TILE_ROWS));
    out.prefetch(tokens.clone(), first_row, rows);
    panel::run(
        w,
        x,
        tokens.clone(),
        &tiles[..n_tiles],
        &tiles[width..2 * width],
        &mut |mut sums| {
            sums.token += tokens.start;
            out.put(x, first_row, &sums);
        },
    );
}

/// Sums on their way to the output, for [`epilogue_body`].
pub(crate) struct Finished<'a> {
    /// The place of the first token's first value, elements to that of the next token, and columns
    /// that exist.
    y: *mut f32,
    stride: usize,
    columns: usize,
    tokens: usize,
    /// As in [`Sums`].
    sums: &'a [[f32; TILE_ROWS]],
    strides: [usize; 2],
    /// From the first column on.
    bias: Option<&'a [f32]>,
    add: bool,
}

/// Applies the epilogue; compiled once per instruction set.
///
/// # Safety
/// `columns` elements at `tokens` places from `y` on, `stride` apart, are writable and belong to
/// the calling thread.
#[inline(always)]
pub(crate) unsafe fn epilogue_body(finished: &Finished) {
    let Finished { y, stride, columns, tokens, sums, strides, bias, add } = *finished;
    for token in 0..tokens {
        // SAFETY: the caller's promise.
        let y = unsafe { std::slice::from_raw_parts_mut(y.add(token * stride), columns) };
        let (tiles, rest) = y.as_chunks_mut::<TILE_ROWS>();
        // Whole tiles have a fixed size: a register each.
        for (i, y) in tiles.iter_mut().enumerate() {
            let sums = &sums[token * strides[0] + i * strides[1]];
            let bias = bias.map(|bias| {
                bias[i * TILE_ROWS..].first_chunk::<TILE_ROWS>().expect("a bias for each column")
            });
            for lane in 0..TILE_ROWS {
                y[lane] = finish(y[lane], sums[lane], bias.map(|bias| bias[lane]), add);
            }
        }
        if !rest.is_empty() {
            let (first, sums) =
                (tiles.len() * TILE_ROWS, &sums[token * strides[0] + tiles.len() * strides[1]]);
            for (lane, y) in rest.iter_mut().enumerate() {
                *y = finish(*y, sums[lane], bias.map(|bias| bias[first + lane]), add);
            }
        }
    }
}

/// An output's new value from its old one and the product.
#[inline(always)]
fn finish(y: f32, product: f32, bias: Option<f32>, add: bool) -> f32 {
    match (bias, add) {
        (None, false) => product,
        (None, true) => y + product,
        (Some(bias), false) => product + bias,
        (Some(bias), true) => y + (product + bias),
    }
}
