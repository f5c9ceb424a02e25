//! From f32 weights to INT4: the choice of a scale a group.
//!
//! For each group of 32 a few scales around the largest weight are tried, each refitted by least
//! squares, and the one with the least squared error is kept (a plain `largest / -8` is one of the
//! candidates, so the result is not worse but for the rounding of the scale to f16). The same bits
//! come out on every machine: sums are taken in 16 lanes in a fixed order.

use half::f16;
use rayon::prelude::*;

use crate::reference::GROUP;

/// `[n,k]` row-major f32 to the file form. The weights are finite (the caller checked).
pub(crate) fn quantize_rows(n: usize, k: usize, weights: &[f32]) -> (Vec<u8>, Vec<f16>) {
    let (row_bytes, groups) = (k.div_ceil(2), k.div_ceil(GROUP));
    let mut nibbles = vec![0u8; n * row_bytes];
    let mut scales = vec![f16::ZERO; n * groups];
    let row = best_row();
    nibbles
        .par_chunks_mut(row_bytes)
        .zip(scales.par_chunks_mut(groups))
        .zip(weights.par_chunks(k))
        .for_each(
            // SAFETY: `best_row` chose it for this CPU.
            |((nibbles, scales), weights)| unsafe { row(weights, nibbles, scales) },
        );
    (nibbles, scales)
}

/// `[n,k]` row-major f32 to what the file form holds of it. The weights are finite (the caller
/// checked).
pub(crate) fn round_rows(k: usize, weights: &[f32], out: &mut [f32]) {
    let (row_bytes, groups) = (k.div_ceil(2), k.div_ceil(GROUP));
    let row = best_row();
    out.par_chunks_mut(k).zip(weights.par_chunks(k)).for_each_init(
        || (vec![0u8; row_bytes], vec![f16::ZERO; groups]),
        |(nibbles, scales), (out, weights)| {
            // SAFETY: `best_row` chose it for this CPU.
            unsafe { row(weights, nibbles, scales) };
            for (i, w) in out.iter_mut().enumerate() {
                *w = (f32::from(nibbles[i / 2] >> (i % 2 * 4) & 15) - 8.0)
                    * scales[i / GROUP].to_f32();
            }
        },
    );
}

/// Quantises one row: weights `[k]`, nibbles `[⌈k/2⌉]`, scales `[⌈k/32⌉]`.
type RowKernel = unsafe fn(&[f32], &mut [u8], &mut [f16]);

fn best_row() -> RowKernel {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2")]
        fn avx512(weights: &[f32], nibbles: &mut [u8], scales: &mut [f16]) {
            row_body(weights, nibbles, scales);
        }
        #[target_feature(enable = "avx2")]
        fn avx2(weights: &[f32], nibbles: &mut [u8], scales: &mut [f16]) {
            row_body(weights, nibbles, scales);
        }
        if super::avx512vnni::is_available() {
            return avx512;
        }
        if super::avx2::is_available() {
            return avx2;
        }
    }
    row_body
}

#[inline(always)]
fn row_body(weights: &[f32], nibbles: &mut [u8], scales: &mut [f16]) {
    for ((group, nibbles), scale) in
        weights.chunks(GROUP).zip(nibbles.chunks_mut(GROUP / 2)).zip(scales)
    {
        let mut padded = [0f32; GROUP];
        padded[..group.len()].copy_from_slice(group);
        let (fitted, levels) = quantize_group(&padded);
        *scale = fitted;
        for (byte, pair) in nibbles.iter_mut().zip(levels.as_chunks::<2>().0) {
            *byte = (pair[0] + 8.0) as u8 | ((pair[1] + 8.0) as u8) << 4;
        }
    }
}

/// Divisors of the largest weight that are tried: below 8 the largest is clipped less and small
/// ones are coarser.
const DIVISORS: [f32; 10] = [8.0, 7.0, 7.25, 7.5, 7.75, 8.25, 8.5, 9.0, 9.75, 10.5];

/// Scale and levels (−8 … 7) of a group; what is missing of a last group is weight 0.
#[inline(always)]
fn quantize_group(group: &[f32; GROUP]) -> (f16, [f32; GROUP]) {
    let largest = group.iter().fold(0f32, |a, w| if w.abs() > a.abs() { *w } else { a });
    // Least squares leave `Σ w² - cross² / square`, so the largest gain has the least error.
    let (mut most, mut best) = (f32::NEG_INFINITY, (0f32, [0f32; GROUP]));
    for divisor in DIVISORS {
        // Both signs: the code has one more negative step than positive ones.
        for sign in [-1.0, 1.0] {
            let scale = sign * largest / divisor;
            let inverse = if scale.abs() > 1e-30 { 1.0 / scale } else { 0.0 };
            let (levels, cross, square) = round_levels(group, inverse);
            let gain = if square > 0.0 { cross * (cross / square) } else { 0.0 };
            if gain > most {
                most = gain;
                best = (if square > 0.0 { cross / square } else { 0.0 }, levels);
            }
        }
    }
    (f16::from_f32(best.0.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())), best.1)
}

/// The levels at a scale, `Σ level · w` and `Σ level²`.
#[inline(always)]
fn round_levels(group: &[f32; GROUP], inverse: f32) -> ([f32; GROUP], f32, f32) {
    const LANES: usize = 16;
    let mut levels = [0f32; GROUP];
    let (mut cross, mut square) = ([0f32; LANES], [0f32; LANES]);
    for half in 0..GROUP / LANES {
        for lane in 0..LANES {
            let i = half * LANES + lane;
            let level = round(group[i] * inverse);
            let level = if level < -8.0 { -8.0 } else { level };
            let level = if level > 7.0 { 7.0 } else { level };
            levels[i] = level;
            cross[lane] += level * group[i];
            square[lane] += level * level;
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            cross[lane] += cross[lane + width];
            square[lane] += square[lane + width];
        }
        width /= 2;
    }
    (levels, cross[0], square[0])
}

/// Round half to even for `|x| < 2^22`, in two additions (a call to the C library on plain x86-64
/// otherwise).
#[inline(always)]
pub(crate) fn round(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}
