//! INT8 activations in the order in which tile kernels read them.
//!
//! Tokens are taken in chunks of up to eight; in a chunk, quad `q` of all tokens lies together (`[k/4][tokens][4]`), so that a
//! kernel broadcasts four bytes of a token and multiplies them with 16 rows.

use super::MAX_TOKENS;
use crate::isa::Row;
use crate::reference::GROUP;

/// Buffers reused between products. One per thread that calls; nothing in it outlives a call.
#[derive(Default)]
pub struct Scratch {
    q: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<i32>,
    row_q: Vec<i8>,
    row_scales: Vec<f32>,
    row_bias: Vec<i32>,
    tokens: usize,
    padded_k: usize,
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

impl Scratch {
    /// Empty buffers; they grow with use.
    pub fn new() -> Self {
        Scratch::default()
    }

    /// Quantises `x` `[m,k]`; `padded_k` is a multiple of the block width.
    pub(crate) fn fill(&mut self, row: &'static Row, x: &[f32], k: usize, padded_k: usize) {
        let (m, groups) = (x.len() / k, padded_k / GROUP);
        self.tokens = m;
        self.padded_k = padded_k;
        self.q.resize(m * padded_k, 0);
        self.scales.resize(m * groups, 0.0);
        self.bias.resize(m * groups, 0);
        self.row_q.resize(padded_k, 0);
        self.row_scales.resize(groups, 0.0);
        self.row_bias.resize(groups, 0);
        for (t, x) in x.chunks_exact(k).enumerate() {
            // SAFETY: `row` comes from `isa::row` or `isa::selected`, which checked the instruction set.
            unsafe { (row.quantize)(x, &mut self.row_q, &mut self.row_scales, &mut self.row_bias) };
            let first = t / MAX_TOKENS * MAX_TOKENS;
            let (tokens, lane) = (MAX_TOKENS.min(m - first), t - first);
            let q = &mut self.q[first * padded_k..(first + tokens) * padded_k];
            let quads = self.row_q.as_chunks::<4>().0;
            for (to, quad) in q.as_chunks_mut::<4>().0[lane..].iter_mut().step_by(tokens).zip(quads) {
                *to = *quad;
            }
            let at = first * groups + lane;
            let end = (first + tokens) * groups;
            for (to, scale) in self.scales[at..end].iter_mut().step_by(tokens).zip(&self.row_scales) {
                *to = *scale;
            }
            for (to, bias) in self.bias[at..end].iter_mut().step_by(tokens).zip(&self.row_bias) {
                *to = *bias;
            }
        }
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        let (m, k, groups) = (self.tokens, self.padded_k, self.padded_k / GROUP);
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
}

/// Body of every [`super::QuantizeKernel`], compiled once per instruction set; equal to `reference::quantize_activations`.
#[inline(always)]
pub(crate) fn quantize_body(x: &[f32], q: &mut [i8], scales: &mut [f32], bias: &mut [i32]) {
    assert!(q.len() == scales.len() * GROUP && bias.len() == scales.len() && x.len() <= q.len());
    let mut padded = [0f32; GROUP];
    for (g, ((q, scale), bias)) in q.as_chunks_mut::<GROUP>().0.iter_mut().zip(scales).zip(bias).enumerate() {
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
            // The low bits of `x + 1.5·2^23` are x rounded half to even; NaN and out of range cannot occur: inverse is 0 then.
            let level = if inverse == 0.0 { 0 } else { (v * inverse + 12_582_912.0).to_bits() as i32 - 0x4b40_0000 };
            let level = level.clamp(-127, 127);
            sum += level;
            *q = level as i8;
        }
        *bias = -8 * sum;
    }
}
