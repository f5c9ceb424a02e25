//! One head's key and value of one position into a page: rounding, quantising, scattering into the
//! layout.

use half::f16;

use super::KvDtype;
use super::layout::{
    BLOCK, GROUP, Layout, Line, PAGE, TILE, bytes_mut, floats_mut, halves_mut, pair_source,
};

/// What one call stores.
pub(crate) struct Put<'a> {
    pub(crate) layout: &'a Layout,
    /// The head's lines of the block.
    pub(crate) lines: &'a mut [Line],
    /// Position in the block.
    pub(crate) lane: usize,
    /// `[d]`
    pub(crate) k: &'a [f32],
    /// `[d]`
    pub(crate) v: &'a [f32],
}

/// `x · 2^p` is an integer to f32's precision: adding it rounds half to even.
const MAGIC: f32 = 12_582_912.0;

/// Quantises a group: levels, scale, sum of the levels. Not finite: zeros with scale NaN; see
/// `reference::quantize_activations`.
#[inline(always)]
pub(crate) fn quantize_group<const N: usize>(x: &[f32; N]) -> ([i8; N], f32, i32) {
    // As integers, magnitudes order like floats and infinities and NaN come last.
    let largest_bits = x.iter().fold(0u32, |a, v| a.max(v.to_bits() & 0x7fff_ffff));
    let (scale, inverse) = scale_of(largest_bits);
    let mut q = [0i8; N];
    let mut sum = 0i32;
    for (q, v) in q.iter_mut().zip(x) {
        let level = level(*v, inverse);
        sum += level;
        *q = level as i8;
    }
    (q, scale, sum)
}

#[inline(always)]
fn scale_of(largest_bits: u32) -> (f32, f32) {
    let largest = f32::from_bits(largest_bits);
    if largest_bits >= 0x7f80_0000 {
        (f32::NAN, 0.0)
    } else if largest < 1e-30 {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    }
}

#[inline(always)]
fn level(v: f32, inverse: f32) -> i32 {
    let level =
        if inverse == 0.0 { 0 } else { (v * inverse + MAGIC).to_bits() as i32 - 0x4b40_0000 };
    level.clamp(-127, 127)
}

/// Group `g` of a head in pair order, zeros beyond its end.
#[inline(always)]
pub(crate) fn gather_group(x: &[f32], g: usize) -> [f32; GROUP] {
    let d = x.len();
    let mut out = [0f32; GROUP];
    if d.is_multiple_of(2 * GROUP) {
        let (a, b) = x.split_at(d / 2);
        let (a, b) = (&a.as_chunks::<{ GROUP / 2 }>().0[g], &b.as_chunks::<{ GROUP / 2 }>().0[g]);
        for (pair, (a, b)) in out.as_chunks_mut::<2>().0.iter_mut().zip(a.iter().zip(b)) {
            *pair = [*a, *b];
        }
    } else {
        for (i, out) in out.iter_mut().enumerate().take(d.saturating_sub(g * GROUP)) {
            *out = x[pair_source(d, g * GROUP + i)];
        }
    }
    out
}

#[inline(always)]
fn all_finite(x: &[f32]) -> bool {
    x.iter().fold(0u32, |a, v| a.max(v.to_bits() & 0x7fff_ffff)) < 0x7f80_0000
}

/// Body of every [`crate::ops::attention::Kernels::put`], compiled once per instruction set.
#[inline(always)]
pub(crate) fn put_body(put: &mut Put) {
    let Layout { dtype, head_dim: d, .. } = *put.layout;
    let layout = put.layout;
    assert!(
        put.lane < BLOCK
            && put.k.len() == d
            && put.v.len() == d
            && put.lines.len() == layout.head_lines()
    );
    let (_, values) = layout.page(put.lane / PAGE);
    let (keys, values) = put.lines[..values.end].split_at_mut(values.start);
    let tile = &mut keys[put.lane / TILE * layout.tile_lines()..][..layout.tile_lines()];
    let (tile_lane, lane) = (put.lane % TILE, put.lane % PAGE);
    // A fault anywhere sits in the key, where every query meets it; the value is finite, so that
    // weight 0 makes it 0.
    let sound = all_finite(put.k) && all_finite(put.v);
    match dtype {
        KvDtype::F32 => {
            for (place, k) in floats_mut(tile)[tile_lane..].iter_mut().step_by(TILE).zip(put.k) {
                *place = if sound { *k } else { f32::NAN };
            }
            let row = &mut floats_mut(values)[lane * layout.columns() * 16..][..d];
            if sound { row.copy_from_slice(put.v) } else { row.fill(0.0) }
        }
        KvDtype::F16 => {
            let fits = |x: &[f32]| x.iter().all(|v| f16::from_f32(*v).is_finite());
            let sound = sound && fits(put.k) && fits(put.v);
            for (place, k) in halves_mut(tile)[tile_lane..].iter_mut().step_by(TILE).zip(put.k) {
                *place = if sound { f16::from_f32(*k).to_bits() } else { f16::NAN.to_bits() };
            }
            let row = &mut halves_mut(values)[lane * layout.columns() * 16..][..d];
            for (place, v) in row.iter_mut().zip(put.v) {
                *place = if sound { f16::from_f32(*v).to_bits() } else { 0 };
            }
        }
        KvDtype::Int8 => {
            let (scales, quads) = tile.split_at_mut(layout.groups());
            let quads = &mut bytes_mut(quads).as_chunks_mut::<{ TILE * 4 }>().0[..layout.quads()];
            for (g, (scales, quads)) in floats_mut(scales)
                .as_chunks_mut::<TILE>()
                .0
                .iter_mut()
                .zip(quads.chunks_mut(GROUP / 4))
                .enumerate()
            {
                let (levels, scale, _) = quantize_group(&gather_group(put.k, g));
                scales[tile_lane] = if sound { scale } else { f32::NAN };
                for (quad, levels) in quads.iter_mut().zip(levels.as_chunks::<4>().0) {
                    quad.as_chunks_mut::<4>().0[tile_lane] = levels.map(|l| (l as u8) ^ 0x80);
                }
            }
            let (scales, levels) = values.split_at_mut(PAGE / 16);
            let largest_bits = put.v.iter().fold(0u32, |a, v| a.max(v.to_bits() & 0x7fff_ffff));
            let (scale, inverse) = if sound { scale_of(largest_bits) } else { (0.0, 0.0) };
            floats_mut(scales)[lane] = scale;
            let columns = bytes_mut(levels).as_chunks_mut::<{ PAGE / 4 * 64 }>().0;
            for (column, v) in columns.iter_mut().zip(put.v.chunks(16)) {
                let quad = &mut column.as_chunks_mut::<64>().0[lane / 4];
                for (place, v) in quad.as_chunks_mut::<4>().0.iter_mut().zip(v) {
                    place[lane % 4] = level(*v, inverse) as i8 as u8;
                }
            }
        }
    }
}
