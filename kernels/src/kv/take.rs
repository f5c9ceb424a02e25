//! One head's key and value of one position out of a page, as f32: the way back of `put`, for
//! moving positions. Plain Rust in every row: it is a small part of what it saves.

use half::f16;

use super::KvDtype;
use super::layout::{GROUP, Layout, Line, PAGE, TILE, bytes, floats, halves, pair_source};

/// Key and value `[d]` at place `lane` of a block, from the head's lines of that block.
pub(super) fn take(layout: &Layout, lines: &[Line], lane: usize, k: &mut [f32], v: &mut [f32]) {
    let d = layout.head_dim;
    let (keys, values) = layout.page(lane / PAGE);
    let (keys, values) = (&lines[keys], &lines[values]);
    let n_lines = layout.tile_lines();
    let tile = &keys[lane % PAGE / TILE * n_lines..][..n_lines];
    let (tile_lane, lane) = (lane % TILE, lane % PAGE);
    let row = lane * layout.columns() * 16;
    match layout.dtype {
        KvDtype::F32 => {
            for (k, place) in k.iter_mut().zip(floats(tile)[tile_lane..].iter().step_by(TILE)) {
                *k = *place;
            }
            v.copy_from_slice(&floats(values)[row..][..d]);
        }
        KvDtype::F16 => {
            for (k, place) in k.iter_mut().zip(halves(tile)[tile_lane..].iter().step_by(TILE)) {
                *k = f16::from_bits(*place).to_f32();
            }
            for (v, place) in v.iter_mut().zip(&halves(values)[row..]) {
                *v = f16::from_bits(*place).to_f32();
            }
        }
        KvDtype::Int8 => {
            let (scales, quads) = tile.split_at(layout.groups());
            let quads = bytes(quads).as_chunks::<4>().0;
            for i in 0..d {
                let scale = floats(scales)[i / GROUP * TILE + tile_lane];
                let level = quads[i / 4 * TILE + tile_lane][i % 4] ^ 0x80;
                k[pair_source(d, i)] = f32::from(level as i8) * scale;
            }
            let (scales, levels) = values.split_at(PAGE / 16);
            let scale = floats(scales)[lane];
            let levels = bytes(levels).as_chunks::<4>().0;
            for (i, v) in v.iter_mut().enumerate() {
                let level = levels[(i / 16 * (PAGE / 4) + lane / 4) * 16 + i % 16][lane % 4];
                *v = f32::from(level as i8) * scale;
            }
        }
    }
}
