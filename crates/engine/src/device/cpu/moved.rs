//! Moving keys and values to other positions, and choosing which moved tokens are computed again.
//!
//! Keys are held rotated to their positions (RoPE). A key at position `p` is moved by `δ` by
//! rotating it once more, `R(δ)·R(p) = R(p+δ)`, in f32, and rounding it to the store's type again.
//! INT8 keys keep rotation pairs in one group, so that the scale of a group hardly changes and the
//! error of a move is that of one more rounding; `runs::MAX_MOVES` bounds how many add up. Values
//! are not rotated. Holding keys unrotated instead would make moves free of rounding, but attention
//! would rotate every key at every token.
//!
//! Repair follows CacheBlend (arXiv 2405.16444): layer 0 is computed in full, at layer 1 the values
//! of moved tokens are compared with what was moved, and above only the tokens that deviate most go
//! on, beside those that were not moved at all.

use std::ops::Range;

use lacuna_kernels::ops;

use super::weights::Input;
use super::{Buffers, Cpu, Rows, Stores};
use crate::batch::Batch;
use crate::device::{DeviceError, MovedText, States, farthest};

impl MovedText for Cpu {
    fn move_run(
        &self,
        target: &mut Stores,
        at: usize,
        source: &Stores,
        run: Range<usize>,
    ) -> Result<(), DeviceError> {
        let width = self.attention.kv_width();
        let (mut k, mut v) = (vec![0f32; width], vec![0f32; width]);
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        let distance = at as i64 - run.start as i64;
        self.rope.fill_distance(distance, &mut cos, &mut sin);
        // A layer that a route leaves out holds nothing.
        let layers = target.0.iter_mut().zip(&source.0).filter(|(_, source)| source.tokens() > 0);
        for (target, source) in layers {
            target.grow(at + run.len());
            for (from, at) in run.clone().zip(at..) {
                source.read(from, &mut k, &mut v);
                if distance != 0 {
                    ops::rope(&mut k, &cos, &sin);
                }
                target.put(at, &k, &v);
            }
        }
        Ok(())
    }

    fn repair_half(
        &self,
        batch: &mut Batch,
        moves: &[u8],
        ratio: f32,
        kv: &mut Stores,
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), DeviceError> {
        let store = &mut kv.0[Self::CHECK_LAYER];
        self.project(Self::CHECK_LAYER, x, buffers);
        let (kv_width, width) = (self.attention.kv_width(), self.width());
        let (mut k, mut old) = (vec![0f32; kv_width], vec![0f32; kv_width]);
        let chosen = farthest(&batch.positions, moves, ratio, |row| {
            store.read(batch.positions[row], &mut k, &mut old);
            let new = &buffers.qkv[(row + 1) * width - kv_width..][..kv_width];
            new.iter().zip(&old).map(|(a, b)| (a - b) * (a - b)).sum()
        });
        self.put(store, &batch.positions, &buffers.qkv);
        batch.keep(&chosen);
        keep_rows(&mut x.values, self.hidden, &chosen);
        keep_rows(&mut buffers.qkv, self.width(), &chosen);
        buffers.attended.resize(x.rows() * self.attention.q_width(), 0.0);
        self.attend(store, &batch.positions, &buffers.qkv, &mut buffers.attended);
        let output = &self.layers[Self::CHECK_LAYER].output;
        output.add_to(Input::Plain(&buffers.attended), &mut x.values, &mut buffers.product);
        Ok(())
    }
}

/// Drops all rows of `width` elements but `rows` (ascending).
fn keep_rows(all: &mut Vec<f32>, width: usize, rows: &[usize]) {
    for (to, from) in rows.iter().enumerate() {
        all.copy_within(from * width..(from + 1) * width, to * width);
    }
    all.truncate(rows.len() * width);
}
