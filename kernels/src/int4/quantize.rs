//! From f32 weights to INT4: the choice of a scale a group.
//!
//! For each group of 32 a few scales around the largest weight are tried, each refitted by least squares, and the one with
//! the least squared error is kept (a plain `largest / -8` is one of the candidates, so the result is never worse).

use half::f16;
use rayon::prelude::*;

use crate::reference::GROUP;

/// `[n,k]` row-major f32 to the file form. The weights are finite (the caller checked).
pub(crate) fn quantize_rows(n: usize, k: usize, weights: &[f32]) -> (Vec<u8>, Vec<f16>) {
    let (row_bytes, groups) = (k.div_ceil(2), k.div_ceil(GROUP));
    let mut nibbles = vec![0u8; n * row_bytes];
    let mut scales = vec![f16::ZERO; n * groups];
    nibbles.par_chunks_mut(row_bytes).zip(scales.par_chunks_mut(groups)).zip(weights.par_chunks(k)).for_each(
        |((nibbles, scales), weights)| {
            let mut group_q = [8u8; GROUP];
            for (g, group) in weights.chunks(GROUP).enumerate() {
                scales[g] = quantize_group(group, &mut group_q);
                for (b, pair) in group_q[..group.len().next_multiple_of(2)].chunks(2).enumerate() {
                    nibbles[g * GROUP / 2 + b] = pair[0] | pair[1] << 4;
                }
            }
        },
    );
    (nibbles, scales)
}

/// Divisors of the largest weight that are tried: below 8 the largest is clipped less and small ones are coarser.
const DIVISORS: [f32; 10] = [8.0, 7.0, 7.25, 7.5, 7.75, 8.25, 8.5, 9.0, 9.75, 10.5];

/// Quantises one group (up to 32 weights); unused places of `out` get 8 (weight zero).
fn quantize_group(group: &[f32], out: &mut [u8; GROUP]) -> f16 {
    out.fill(8);
    let mut padded = [0f32; GROUP];
    padded[..group.len()].copy_from_slice(group);
    let largest = group.iter().fold(0f32, |a, w| if w.abs() > a.abs() { *w } else { a });
    let mut best = (f32::INFINITY, 0f32, [0f32; GROUP]);
    for divisor in DIVISORS {
        // Both signs: the code has one more negative step than positive ones.
        for sign in [-1.0, 1.0] {
            try_scale(&padded, sign * largest / divisor, &mut best);
        }
    }
    let (_, scale, levels) = best;
    for (out, level) in out[..group.len()].iter_mut().zip(&levels) {
        *out = (level + 8.0) as u8;
    }
    f16::from_f32(scale)
}

/// Rounds with `scale`, refits the scale by least squares, and keeps the result if its error is the least so far.
fn try_scale(group: &[f32; GROUP], scale: f32, best: &mut (f32, f32, [f32; GROUP])) {
    let inverse = if scale.abs() > 1e-30 { 1.0 / scale } else { 0.0 };
    let mut levels = [0f32; GROUP];
    let (mut cross, mut square) = (0f32, 0f32);
    for (level, w) in levels.iter_mut().zip(group) {
        *level = round(w * inverse).clamp(-8.0, 7.0);
        cross += *level * w;
        square += *level * *level;
    }
    let fitted = if square > 0.0 { cross / square } else { 0.0 };
    for scale in [fitted, scale] {
        let scale = f16::from_f32(scale.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())).to_f32();
        let error = levels.iter().zip(group).map(|(l, w)| (l * scale - w).powi(2)).sum::<f32>();
        if error < best.0 {
            *best = (error, scale, levels);
        }
    }
}

/// Round half to even for `|x| < 2^22`, in two additions (a call to the C library on plain x86-64 otherwise).
#[inline(always)]
pub(crate) fn round(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}
