//! INT8 activations in the order in which tile kernels read them.
//!
//! Tokens are taken in chunks of up to eight; in a chunk, quad `q` of all tokens lies together
//! (`[k/4][tokens][4]`), so that a kernel broadcasts four bytes of a token and multiplies them with
//! 16 rows. What comes before a product (RMSNorm, SwiGLU) is computed a token at a time on the way
//! in: its result never goes to memory as f32.

use std::cell::RefCell;
use std::ops::Range;

use super::coarse::{Coarse, CoarseRows};
use super::few::{SomeTokens, TokenRows};
use super::layout::BLOCK_K;
use super::{FEW_TOKENS, MAX_TOKENS};
use crate::isa::{self, Row};
use crate::reference::GROUP;
use crate::threads::{self, SharedOut};

/// Quantised inputs of a product, `m` tokens of `k`. The buffers are reused; fill it anew for every
/// product with other inputs.
#[derive(Default)]
pub struct Activations {
    /// The row whose kernels read it.
    row: Option<&'static Row>,
    q: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<i32>,
    tokens: usize,
    k: usize,
}

/// Up to eight tokens.
pub(crate) struct Chunk<'a> {
    pub(crate) first_token: usize,
    pub(crate) tokens: usize,
    /// `[padded_k/4][tokens][4]`
    pub(crate) q: &'a [i8],
    /// `[padded_k/32][tokens]`
    pub(crate) scales: &'a [f32],
    /// `[padded_k/32][tokens]`: `-8 Σ q`, which makes unsigned nibbles signed
    pub(crate) bias: &'a [i32],
}

/// Buffers of one token, a thread.
#[derive(Default)]
struct TokenBuffers {
    x: Vec<f32>,
    q: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<i32>,
}

thread_local! {
    static BUFFERS: RefCell<TokenBuffers> = RefCell::default();
}

impl Activations {
    /// Empty; the buffers grow with use.
    pub fn new() -> Self {
        Activations::default()
    }

    /// Tokens it holds.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Inputs a token.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Takes `x` `[m,k]`. Panics: `x` is not whole rows of `k`.
    pub fn quantize(&mut self, x: &[f32], k: usize) {
        self.quantize_with(isa::active(), x, k);
    }

    /// [`Activations::quantize`] for a given row of the kernel table.
    pub(crate) fn quantize_with(&mut self, row: &'static Row, x: &[f32], k: usize) {
        assert!(k > 0 && x.len().is_multiple_of(k), "x is not [m,{k}]");
        // A nanosecond for 8 elements.
        self.fill(row, x.len() / k, k, 8, |t, _, quantize| quantize(&x[t * k..(t + 1) * k]));
    }

    /// Takes `rms_norm(x, weight, eps)` for `x` `[m, weight.len()]`: the same bits as norm and
    /// quantise apart. Panics: lengths.
    pub fn quantize_rms_norm(&mut self, x: &[f32], weight: &[f32], eps: f32) {
        let k = weight.len();
        assert!(k > 0 && x.len().is_multiple_of(k), "x is not [m,{k}]");
        let row = isa::active();
        self.fill(row, x.len() / k, k, 6, |t, normed, quantize| {
            // SAFETY: the active row's instruction set was checked when it was chosen.
            unsafe { (row.ops.rms_norm)(&x[t * k..(t + 1) * k], weight, eps, normed) };
            quantize(normed);
        });
    }

    /// Takes `silu(gate) · up` where a row of `gate_up` `[m,2f]` holds `gate` then `up`. Panics:
    /// lengths.
    pub fn quantize_swiglu(&mut self, gate_up: &[f32], f: usize) {
        self.quantize_swiglu_with(isa::active(), gate_up, f);
    }

    /// [`Activations::quantize_swiglu`] for a given row of the kernel table.
    pub fn quantize_swiglu_with(&mut self, row: &'static Row, gate_up: &[f32], f: usize) {
        assert!(f > 0 && gate_up.len().is_multiple_of(2 * f), "gate_up is not [m,{}]", 2 * f);
        if gate_up.len() / (2 * f) <= MAX_TOKENS {
            return self.fill_columns(
                row,
                gate_up.len() / (2 * f),
                f,
                2,
                |t, columns, activated| {
                    let (gate, up) = gate_up[t * 2 * f..(t + 1) * 2 * f].split_at(f);
                    // SAFETY: the active row's instruction set was checked when it was chosen.
                    unsafe { (row.ops.silu_mul)(&gate[columns.clone()], &up[columns], activated) };
                },
            );
        }
        self.fill(row, gate_up.len() / (2 * f), f, 2, |t, activated, quantize| {
            let (gate, up) = gate_up[t * 2 * f..(t + 1) * 2 * f].split_at(f);
            // SAFETY: the active row's instruction set was checked when it was chosen.
            unsafe { (row.ops.silu_mul)(gate, up, activated) };
            quantize(activated);
        });
    }

    /// `token(t, buffer, quantize)` calls `quantize` with the `k` inputs of token `t`, for which it
    /// may use `buffer`. `per_ns`: elements that a core does in a nanosecond.
    fn fill(
        &mut self,
        row: &'static Row,
        m: usize,
        k: usize,
        per_ns: u64,
        token: impl Fn(usize, &mut [f32], &mut dyn FnMut(&[f32])) + Sync,
    ) {
        self.row = Some(row);
        (self.tokens, self.k) = (m, k);
        if let Some(coarse) = row.int4_coarse.filter(|_| m > FEW_TOKENS) {
            return self.fill_coarse(row, coarse, per_ns, token);
        }
        if let Some(some) = row.int4_few.filter(|some| some.takes(m)) {
            return self.fill_tokens(row, &some, per_ns, token);
        }
        let padded_k = k.next_multiple_of(BLOCK_K);
        let groups = padded_k / GROUP;
        let chunks = m.div_ceil(MAX_TOKENS);
        // Panels read whole chunks: what is missing in the last has scale and bias 0.
        let held = if m > FEW_TOKENS { chunks * MAX_TOKENS } else { m };
        self.q.resize(held * padded_k, 0);
        self.scales.resize(held * groups, 0.0);
        self.bias.resize(held * groups, 0);
        let (q, scales, bias) = (
            SharedOut::new(&mut self.q),
            SharedOut::new(&mut self.scales),
            SharedOut::new(&mut self.bias),
        );
        threads::split(chunks, (m * k) as u64 / (1_000 * per_ns), |range| {
            BUFFERS.with_borrow_mut(|buffers| {
                buffers.x.resize(k, 0.0);
                for chunk in range {
                    let first = chunk * MAX_TOKENS;
                    let width = MAX_TOKENS.min(held - first);
                    // SAFETY: the buffers outlive the split; a chunk belongs to one thread.
                    let (q, scales, bias) = unsafe {
                        (
                            q.part(first * padded_k, width * padded_k),
                            scales.part(first * groups, width * groups),
                            bias.part(first * groups, width * groups),
                        )
                    };
                    if width > m - first {
                        q.fill(0);
                        scales.fill(0.0);
                        bias.fill(0);
                    }
                    let TokenBuffers { x, q: row_q, scales: row_scales, bias: row_bias } = buffers;
                    for lane in 0..width.min(m - first) {
                        token(first + lane, x, &mut |x| {
                            assert_eq!(x.len(), k, "inputs of a token");
                            if width == 1 {
                                // SAFETY: `row` comes from `isa::row` or `isa::selected`, which
                                // checked the instruction set.
                                return unsafe { (row.quantize)(x, q, scales, bias) };
                            }
                            row_q.resize(padded_k, 0);
                            row_scales.resize(groups, 0.0);
                            row_bias.resize(groups, 0);
                            // SAFETY: as above.
                            unsafe { (row.quantize)(x, row_q, row_scales, row_bias) };
                            scatter(
                                q.as_chunks_mut::<4>().0,
                                row_q.as_chunks::<4>().0,
                                lane,
                                width,
                            );
                            scatter(scales, row_scales, lane, width);
                            scatter(bias, row_bias, lane, width);
                        });
                    }
                }
            });
        });
    }

    /// [`Activations::fill`] for a single chunk, split by columns: a few tokens with many inputs
    /// keep several threads busy. `part(t, columns, buffer)` writes these inputs of token `t`.
    fn fill_columns(
        &mut self,
        row: &'static Row,
        m: usize,
        k: usize,
        per_ns: u64,
        part: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
    ) {
        self.row = Some(row);
        (self.tokens, self.k) = (m, k);
        let padded_k = k.next_multiple_of(BLOCK_K);
        if let Some(some) = row.int4_few.filter(|some| some.takes(m)) {
            let rows = self.begin_several(row, &some, m, k);
            return split_columns(row, m, k, per_ns, part, |lane, first, row_q, row_scales, _| {
                // SAFETY: the buffers outlive the split; columns belong to one thread.
                unsafe { rows.put(lane, first, row_q, row_scales) };
            });
        }
        self.q.resize(m * padded_k, 0);
        self.scales.resize(m * padded_k / GROUP, 0.0);
        self.bias.resize(m * padded_k / GROUP, 0);
        let (q, scales, bias) = (
            SharedOut::new(&mut self.q),
            SharedOut::new(&mut self.scales),
            SharedOut::new(&mut self.bias),
        );
        split_columns(row, m, k, per_ns, part, |lane, first, row_q, row_scales, row_bias| {
            let (first_group, groups) = (first * BLOCK_K / GROUP, row_scales.len());
            // SAFETY: the buffers outlive the split; columns belong to one thread.
            let (q, scales, bias) = unsafe {
                (
                    q.part(first * BLOCK_K * m, row_q.len() * m),
                    scales.part(first_group * m, groups * m),
                    bias.part(first_group * m, groups * m),
                )
            };
            scatter(q.as_chunks_mut::<4>().0, row_q.as_chunks::<4>().0, lane, m);
            scatter(scales, row_scales, lane, m);
            scatter(bias, row_bias, lane, m);
        });
    }

    /// [`Activations::fill`] for the kernel of several tokens.
    fn fill_tokens(
        &mut self,
        row: &'static Row,
        some: &SomeTokens,
        per_ns: u64,
        token: impl Fn(usize, &mut [f32], &mut dyn FnMut(&[f32])) + Sync,
    ) {
        let (m, k) = (self.tokens, self.k);
        let padded_k = k.next_multiple_of(BLOCK_K);
        let rows = self.begin_several(row, some, m, k);
        threads::split(m, (m * k) as u64 / (1_000 * per_ns), |tokens| {
            BUFFERS.with_borrow_mut(|TokenBuffers { x, q, scales, bias }| {
                x.resize(k, 0.0);
                q.resize(padded_k, 0);
                scales.resize(padded_k / GROUP, 0.0);
                bias.resize(padded_k / GROUP, 0);
                for i in tokens {
                    token(i, x, &mut |x| {
                        assert_eq!(x.len(), k, "inputs of a token");
                        // SAFETY: the row's instruction set was checked when it was handed out; a
                        // token belongs to one thread.
                        unsafe {
                            (row.quantize)(x, q, scales, bias);
                            rows.put(i, 0, q, scales);
                        }
                    });
                }
            });
        });
    }

    /// [`Activations::fill`] for panels of tile products.
    fn fill_coarse(
        &mut self,
        row: &'static Row,
        coarse: Coarse,
        per_ns: u64,
        token: impl Fn(usize, &mut [f32], &mut dyn FnMut(&[f32])) + Sync,
    ) {
        let (m, k) = (self.tokens, self.k);
        let rows = self.begin_coarse(row, coarse, m, k);
        let tile = coarse.tile_tokens;
        threads::split(m.div_ceil(tile), (m * k) as u64 / (1_000 * per_ns), |tiles| {
            BUFFERS.with_borrow_mut(|TokenBuffers { x, .. }| {
                x.resize(k, 0.0);
                for i in tiles.start * tile..m.min(tiles.end * tile) {
                    token(i, x, &mut |x| {
                        assert_eq!(x.len(), k, "inputs of a token");
                        for block in 0..rows.parts() {
                            // SAFETY: a tile belongs to one thread. The row's instruction set was
                            // checked when it was handed out.
                            unsafe { rows.put(i, block, &x[rows.inputs(block)]) };
                        }
                    });
                }
            });
        });
    }

    /// Makes it hold `m` tokens of `k` for the row's kernel of several tokens, to be filled block
    /// by block.
    pub(super) fn begin_several(
        &mut self,
        row: &'static Row,
        some: &SomeTokens,
        m: usize,
        k: usize,
    ) -> TokenRows<'_> {
        self.row = Some(row);
        (self.tokens, self.k) = (m, k);
        TokenRows::new(some, m, k.next_multiple_of(BLOCK_K), &mut self.q, &mut self.scales)
    }

    /// Makes it hold `m` tokens of `k` for the row's panels, to be filled block by block.
    pub(super) fn begin_coarse(
        &mut self,
        row: &'static Row,
        coarse: Coarse,
        m: usize,
        k: usize,
    ) -> CoarseRows<'_> {
        self.row = Some(row);
        (self.tokens, self.k) = (m, k);
        CoarseRows::new(coarse, m, k, &mut self.q, &mut self.scales)
    }

    pub(crate) fn row(&self) -> &'static Row {
        self.row.unwrap_or_else(isa::active)
    }

    /// The tokens in chunks of at most eight.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        let k = self.k.next_multiple_of(BLOCK_K);
        let (m, groups) = (self.tokens, k / GROUP);
        (0..m).step_by(MAX_TOKENS).map(move |first| {
            let end = (first + MAX_TOKENS).min(m);
            Chunk {
                first_token: first,
                tokens: end - first,
                q: &self.q[first * k..end * k],
                scales: &self.scales[first * groups..end * groups],
                bias: &self.bias[first * groups..end * groups],
            }
        })
    }

    /// `q` and scales as the kernel of several tokens reads them: see `few.rs`.
    pub(super) fn token_rows(&self) -> (&[i8], &[f32]) {
        (&self.q, &self.scales)
    }

    /// Some tokens, from a multiple of 16 on, as panels read them, if there are more than
    /// [`FEW_TOKENS`] in all: chunks of eight tokens (padded), `q`, scales, bias.
    pub(crate) fn whole_chunks(&self, tokens: Range<usize>) -> (usize, &[i8], &[f32], &[i32]) {
        debug_assert!(self.tokens > FEW_TOKENS);
        let k = self.k.next_multiple_of(BLOCK_K);
        let (together, per_token, has_bias) = match self.row().int4_coarse {
            Some(coarse) => (coarse.tile_tokens, k.div_ceil(coarse.block), false),
            None => (MAX_TOKENS, k / GROUP, true),
        };
        let (start, end) = (tokens.start, tokens.end.next_multiple_of(together));
        let scales = start * per_token..end * per_token;
        let bias = if has_bias { &self.bias[scales.clone()] } else { &[] };
        ((end - start) / MAX_TOKENS, &self.q[start * k..end * k], &self.scales[scales], bias)
    }
}

/// Quantises `m` tokens of `k`, split by columns. `part(t, columns, buffer)` writes these inputs of
/// token `t`, `put(t, first block, q, scales, bias)` takes what became of them.
fn split_columns(
    row: &'static Row,
    m: usize,
    k: usize,
    per_ns: u64,
    part: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
    put: impl Fn(usize, usize, &[i8], &[f32], &[i32]) + Sync,
) {
    threads::split(k.div_ceil(BLOCK_K), (m * k) as u64 / (1_000 * per_ns), |blocks| {
        let (first, width) = (blocks.start * BLOCK_K, blocks.len() * BLOCK_K);
        let columns = first..k.min(first + width);
        BUFFERS.with_borrow_mut(|TokenBuffers { x, q, scales, bias }| {
            x.resize(columns.len(), 0.0);
            q.resize(width, 0);
            scales.resize(width / GROUP, 0.0);
            bias.resize(width / GROUP, 0);
            for lane in 0..m {
                part(lane, columns.clone(), x);
                // SAFETY: `row` comes from `isa::row` or `isa::selected`, which checked the
                // instruction set.
                unsafe { (row.quantize)(x, q, scales, bias) };
                put(lane, blocks.start, q, scales, bias);
            }
        });
    });
}

/// `to[i·stride + lane] = from[i]`
fn scatter<T: Copy>(to: &mut [T], from: &[T], lane: usize, stride: usize) {
    for (to, from) in to[lane..].iter_mut().step_by(stride).zip(from) {
        *to = *from;
    }
}

/// Body of every [`super::QuantizeKernel`], compiled once per instruction set; equal to
/// `reference::quantize_activations`.
#[inline(always)]
pub(crate) fn quantize_body(x: &[f32], q: &mut [i8], scales: &mut [f32], bias: &mut [i32]) {
    assert!(q.len() == scales.len() * GROUP && bias.len() == scales.len() && x.len() <= q.len());
    let mut padded = [0f32; GROUP];
    for (g, ((q, scale), bias)) in
        q.as_chunks_mut::<GROUP>().0.iter_mut().zip(scales).zip(bias).enumerate()
    {
        let rest = x.get(g * GROUP..).unwrap_or(&[]);
        let group = rest.first_chunk::<GROUP>().unwrap_or_else(|| {
            padded.fill(0.0);
            padded[..rest.len()].copy_from_slice(rest);
            &padded
        });
        // As integers, magnitudes order like floats and infinities and NaN come last.
        let largest_bits = group.iter().fold(0u32, |a, v| a.max(v.to_bits() & 0x7fff_ffff));
        let largest = f32::from_bits(largest_bits);
        let inverse;
        (*scale, inverse) = if largest_bits >= 0x7f80_0000 {
            (f32::NAN, 0.0)
        } else if largest < 1e-30 {
            (0.0, 0.0)
        } else {
            (largest / 127.0, 127.0 / largest)
        };
        let mut sum = 0i32;
        for (q, v) in q.iter_mut().zip(group) {
            // The low bits of `x + 1.5·2^23` are x rounded half to even; NaN and out of range
            // cannot occur: inverse is 0 then.
            let level = if inverse == 0.0 {
                0
            } else {
                (v * inverse + 12_582_912.0).to_bits() as i32 - 0x4b40_0000
            };
            let level = level.clamp(-127, 127);
            sum += level;
            *q = level as i8;
        }
        *bias = -8 * sum;
    }
}
