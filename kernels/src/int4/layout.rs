//! The runtime layout of INT4 weights, one for every instruction set, and the way from and to the
//! file form.
//!
//! A block holds 16 rows × 64 k: two groups of 32 k, each four vectors of 64 bytes. Vector `j` of a
//! group holds for each of the 16 rows the four weights of k-quad `j` (low nibbles) and of quad
//! `j + 4` (high nibbles). Unpacked, such a vector is the operand of `vpdpbusd` (16 rows × 4 k) and a
//! row of an AMX B tile.

use half::f16;
use rayon::prelude::*;

use crate::pages::{HugeSlice, Plain};
use crate::reference::GROUP;

/// Output rows of a block.
pub(crate) const TILE_ROWS: usize = 16;
/// Inputs of a block.
pub(crate) const BLOCK_K: usize = 64;

/// 16 rows × 64 k; nine cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Block {
    /// `[group][quad][row][k in quad]`
    pub(crate) nibbles: [u8; 512],
    /// f16 bits, `[group][row]`
    pub(crate) scales: [u16; 32],
}
const _: () = assert!(size_of::<Block>() == 576);
// SAFETY: bytes and 16-bit integers, 576 bytes of them without padding.
unsafe impl Plain for Block {}

/// Byte of a block and shift inside it for `row` (of 16) and `k` (of 64).
fn place(row: usize, k: usize) -> (usize, u32) {
    let (group, quad) = (k / GROUP, k % GROUP / 4);
    (group * 256 + quad % 4 * 64 + row * 4 + k % 4, if quad < 4 { 0 } else { 4 })
}

/// File form to blocks `[⌈n/16⌉][⌈k/64⌉]`; what is padded gets weight 0 (nibble 8) and scale 0.
pub(crate) fn pack(n: usize, k: usize, nibbles: &[u8], scales: &[f16]) -> HugeSlice<Block> {
    let (row_bytes, groups, per_tile) = (k.div_ceil(2), k.div_ceil(GROUP), k.div_ceil(BLOCK_K));
    let n_blocks = n.div_ceil(TILE_ROWS) * per_tile;
    let mut blocks = HugeSlice::<Block>::zeroed(n_blocks);
    blocks.par_chunks_mut(per_tile).with_min_len(16).enumerate().for_each(|(t, tile)| {
        tile.fill(Block { nibbles: [0x88; 512], scales: [0; 32] });
        for row in t * TILE_ROWS..n.min((t + 1) * TILE_ROWS) {
            let file_row = &nibbles[row * row_bytes..(row + 1) * row_bytes];
            for (g, scale) in scales[row * groups..(row + 1) * groups].iter().enumerate() {
                let block = &mut tile[g / 2];
                block.scales[g % 2 * TILE_ROWS + row % TILE_ROWS] = scale.to_bits();
                let file_group = &file_row[g * GROUP / 2..row_bytes.min((g + 1) * GROUP / 2)];
                // The unused half of a last odd byte, and what is missing of a last group, are
                // weight 0.
                let mut padded = [0x88; GROUP / 2];
                padded[..file_group.len()].copy_from_slice(file_group);
                if g + 1 == groups && !k.is_multiple_of(2) {
                    let last = &mut padded[file_group.len() - 1];
                    *last = *last & 15 | 0x80;
                }
                pack_group(&padded, g % 2, row % TILE_ROWS, block);
            }
        }
    });
    blocks
}

/// One group of one row: quads `j` and `j + 4` share bytes.
fn pack_group(file_group: &[u8; GROUP / 2], group: usize, row: usize, block: &mut Block) {
    let places = &mut block.nibbles[group * 256..(group + 1) * 256];
    for quad in 0..4 {
        let (low, high) =
            (&file_group[quad * 2..quad * 2 + 2], &file_group[quad * 2 + 8..quad * 2 + 10]);
        let place = &mut places[quad * 64 + row * 4..][..4];
        for pair in 0..2 {
            place[pair * 2] = low[pair] & 15 | high[pair] << 4;
            place[pair * 2 + 1] = low[pair] >> 4 | high[pair] & 0xf0;
        }
    }
}

/// Blocks to the file form.
pub(crate) fn unpack(n: usize, k: usize, blocks: &[Block]) -> (Vec<u8>, Vec<f16>) {
    let (row_bytes, groups, per_tile) = (k.div_ceil(2), k.div_ceil(GROUP), k.div_ceil(BLOCK_K));
    let mut nibbles = Vec::with_capacity(n * row_bytes);
    let mut scales = Vec::with_capacity(n * groups);
    for row in 0..n {
        let tile = &blocks[row / TILE_ROWS * per_tile..(row / TILE_ROWS + 1) * per_tile];
        let nibble = |kk: usize| {
            if kk >= k {
                return 8;
            }
            let (at, shift) = place(row % TILE_ROWS, kk % BLOCK_K);
            tile[kk / BLOCK_K].nibbles[at] >> shift & 15
        };
        nibbles.extend((0..row_bytes).map(|b| nibble(2 * b) | nibble(2 * b + 1) << 4));
        scales.extend(
            (0..groups)
                .map(|g| f16::from_bits(tile[g / 2].scales[g % 2 * TILE_ROWS + row % TILE_ROWS])),
        );
    }
    (nibbles, scales)
}

/// The weights of one row as f32.
pub(crate) fn dequantize_row(blocks: &[Block], per_tile: usize, row: usize, out: &mut [f32]) {
    let tile = &blocks[row / TILE_ROWS * per_tile..(row / TILE_ROWS + 1) * per_tile];
    let row = row % TILE_ROWS;
    for (block, out) in tile.iter().zip(out.chunks_mut(BLOCK_K)) {
        for (group, out) in out.chunks_mut(GROUP).enumerate() {
            let scale = f16::from_bits(block.scales[group * TILE_ROWS + row]).to_f32();
            for (kk, out) in out.iter_mut().enumerate() {
                let (at, shift) = place(row, group * GROUP + kk);
                *out = (f32::from(block.nibbles[at] >> shift & 15) - 8.0) * scale;
            }
        }
    }
}
