//! The portable row: tile product and activation quantisation in plain Rust.

use half::f16;

use super::MAX_TOKENS;
use super::activations::quantize_body;
use super::layout::{BLOCK_K, Block, TILE_ROWS};
use super::panel::{Done, Panel, Sums};

/// See [`super::TileKernel`].
pub(crate) fn tile(
    blocks: &[Block],
    x: &[i8],
    scales: &[f32],
    bias: &[i32],
    tokens: usize,
    out: &mut [[f32; TILE_ROWS]; MAX_TOKENS],
) {
    super::check_tile(blocks, x, scales, bias, tokens);
    for row in out.iter_mut().take(tokens) {
        row.fill(0.0);
    }
    for (b, block) in blocks.iter().enumerate() {
        for group in 0..2 {
            let quads = &block.nibbles[group * 256..(group + 1) * 256];
            for (t, out) in out.iter_mut().enumerate().take(tokens) {
                let at = (b * 2 + group) * tokens + t;
                let mut sums = [bias[at]; TILE_ROWS];
                for quad in 0..4 {
                    let quad_x = |q: usize| {
                        let at = (((b * 2 + group) * 8 + q) * tokens + t) * 4;
                        &x[at..at + 4]
                    };
                    let (low, high) = (quad_x(quad), quad_x(quad + 4));
                    for (row, sum) in sums.iter_mut().enumerate() {
                        for i in 0..4 {
                            let byte = quads[quad * 64 + row * 4 + i];
                            *sum += i32::from(byte & 15) * i32::from(low[i])
                                + i32::from(byte >> 4) * i32::from(high[i]);
                        }
                    }
                }
                for (row, sum) in sums.iter().enumerate() {
                    let scale = f16::from_bits(block.scales[group * TILE_ROWS + row]).to_f32();
                    out[row] += *sum as f32 * (scale * scales[at]);
                }
            }
        }
    }
}

/// See [`super::panel::PanelKernel`]: nothing is gained by unpacking here, each tile is done as for
/// few tokens.
pub(crate) fn panel(panel: &mut Panel, done: Done) {
    let k = panel.tiles[0].len() * BLOCK_K;
    for chunk in 0..panel.chunks {
        let groups = chunk * k / 4..(chunk + 1) * k / 4;
        let q = &panel.q[chunk * k * MAX_TOKENS..(chunk + 1) * k * MAX_TOKENS];
        for (i, blocks) in panel.tiles.iter().enumerate().take(panel.n_tiles) {
            let mut values = [[0f32; TILE_ROWS]; MAX_TOKENS];
            tile(
                blocks,
                q,
                &panel.x_scales[groups.clone()],
                &panel.bias[groups.clone()],
                MAX_TOKENS,
                &mut values,
            );
            done(Sums {
                token: chunk * MAX_TOKENS,
                tile: i,
                tokens: MAX_TOKENS,
                n_tiles: 1,
                values: &values,
                strides: [1, 1],
            });
        }
    }
}

/// See [`super::QuantizeKernel`].
pub(crate) fn quantize(x: &[f32], q: &mut [i8], scales: &mut [f32], bias: &mut [i32]) {
    quantize_body(x, q, scales, bias);
}
