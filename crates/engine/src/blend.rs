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

use lacuna_kernels::kv::KvStore;
use lacuna_kernels::ops;

use crate::kv::Sequence;
use crate::model::Model;
use crate::runs::Run;
use crate::workspace::Workspace;

/// The layer at which moved tokens are compared: the keys and values of layer 0 depend on the token
/// and its position only.
pub(crate) const CHECK_LAYER: usize = 1;

/// Copies a run of `source` to its place in `target`, in all layers. The target is grown as needed.
pub(crate) fn move_run(model: &Model, target: &mut Sequence, source: &Sequence, run: &Run) {
    let width = model.spec.kv_width();
    let (mut k, mut v) = (vec![0f32; width], vec![0f32; width]);
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    let distance = run.at as i64 - run.from as i64;
    model.rope.fill_distance(distance, &mut cos, &mut sin);
    for (target, source) in target.layers.iter_mut().zip(&source.layers) {
        target.grow(run.target().end);
        for (from, at) in run.source().zip(run.target()) {
            source.read(from, &mut k, &mut v);
            if distance != 0 {
                ops::rope(&mut k, &cos, &sin);
            }
            target.put(at, &k, &v);
        }
    }
}

/// Rows to go on with: all that were not moved (`moves` is 0 at their position) and the share
/// `ratio` of the others whose values in `w.qkv` are farthest, in squares, from those in the store.
pub(crate) fn choose(
    model: &Model,
    kv: &KvStore,
    positions: &[usize],
    moves: &[u8],
    ratio: f32,
    w: &Workspace,
) -> Vec<usize> {
    let (q_width, kv_width) = (model.spec.q_width(), model.spec.kv_width());
    let width = q_width + 2 * kv_width;
    let (mut k, mut old) = (vec![0f32; kv_width], vec![0f32; kv_width]);
    let (moved, mut chosen): (Vec<usize>, Vec<usize>) =
        (0..positions.len()).partition(|row| moves[positions[*row]] > 0);
    let mut by_deviation: Vec<(f32, usize)> = Vec::with_capacity(moved.len());
    for row in moved {
        kv.read(positions[row], &mut k, &mut old);
        let new = &w.qkv[row * width + q_width + kv_width..][..kv_width];
        by_deviation.push((new.iter().zip(&old).map(|(a, b)| (a - b) * (a - b)).sum(), row));
    }
    by_deviation.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    // Rounded up, but for what rounding of the product adds.
    let n = (ratio * by_deviation.len() as f32 - 1e-3).ceil() as usize;
    chosen.extend(by_deviation.iter().take(n).map(|(_, row)| row));
    chosen.sort_unstable();
    chosen
}

/// Drops all rows of `w.x` and `w.qkv` but `rows` (ascending).
pub(crate) fn keep_rows(model: &Model, rows: &[usize], w: &mut Workspace) {
    let keep = |all: &mut Vec<f32>, width: usize| {
        for (to, from) in rows.iter().enumerate() {
            all.copy_within(from * width..(from + 1) * width, to * width);
        }
        all.truncate(rows.len() * width);
    };
    keep(&mut w.x, model.spec.hidden);
    keep(&mut w.qkv, model.spec.q_width() + 2 * model.spec.kv_width());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Cancel, KvCache, KvDtype, Precision, prefill};

    fn model(name: &str) -> Model {
        Model::load(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name),
            Precision::Int4,
        )
        .expect("the fixture loads")
    }

    /// Largest difference of the keys and of the values of a layer, relative to the largest of
    /// each.
    fn difference(a: &Sequence, b: &Sequence, layer: usize, n: usize) -> (f32, f32) {
        let width = a.layers[layer].kv_heads() * a.layers[layer].head_dim();
        let read = |s: &Sequence, p: usize| {
            let (mut k, mut v) = (vec![0f32; width], vec![0f32; width]);
            s.layers[layer].read(p, &mut k, &mut v);
            [k, v]
        };
        let (mut worst, mut largest) = ([0f32; 2], [0f32; 2]);
        for p in 0..n {
            let (a, b) = (read(a, p), read(b, p));
            for part in 0..2 {
                for (a, b) in a[part].iter().zip(&b[part]) {
                    worst[part] = worst[part].max((a - b).abs());
                    largest[part] = largest[part].max(b.abs());
                }
            }
        }
        (worst[0] / largest[0], worst[1] / largest[1])
    }

    /// What one rounding may cost, relative to the largest element.
    fn rounding(dtype: KvDtype) -> f32 {
        match dtype {
            KvDtype::F32 => 2e-5,
            KvDtype::F16 => 1.5e-3,
            KvDtype::Int8 => 1.5 / 127.0,
        }
    }

    #[test]
    fn a_key_moved_there_and_back_is_the_key_and_one_moved_is_the_one_computed_there() {
        for name in ["llama-tied-gqa", "qwen2-bias", "llama3-rope"] {
            let model = model(name);
            let ids: Vec<u32> = (0..50).map(|i| i * 37 % 96).collect();
            for dtype in KvDtype::ALL {
                let mut kv = KvCache::with_dtype(&model, 128, dtype);
                prefill(&model, &mut kv, &ids, &Cancel::new()).expect("fits");
                let original = kv.sequence.clone();
                for distance in [1usize, 2, 7, 33, 70] {
                    let there = Run { at: distance, donor: 0, from: 0, len: 50 };
                    let back = Run { at: 0, donor: 0, from: distance, len: 50 };
                    let (mut moved, mut returned) = (original.clone(), original.clone());
                    move_run(&model, &mut moved, &original, &there);
                    move_run(&model, &mut returned, &moved, &back);
                    for layer in 0..original.layers.len() {
                        let (k, v) = difference(&returned, &original, layer, 50);
                        assert!(
                            k <= 2.0 * rounding(dtype) && v <= 1e-6,
                            "{name} {dtype} by {distance}, layer {layer}: {k} {v}"
                        );
                    }
                    // The keys of layer 0 depend on the token and its position only: computed at
                    // the new place they are the same.
                    let mut later = vec![5; distance];
                    later.extend(&ids);
                    let mut fresh = KvCache::with_dtype(&model, 128, dtype);
                    prefill(&model, &mut fresh, &later, &Cancel::new()).expect("fits");
                    let (mut a, mut b) = (Vec::new(), Vec::new());
                    let width = model.spec.kv_width();
                    let mut worst = 0f32;
                    let mut largest = 0f32;
                    for p in distance..distance + 50 {
                        for (sequence, out) in [(&moved, &mut a), (&fresh.sequence, &mut b)] {
                            out.resize(2 * width, 0.0);
                            let (k, v) = out.split_at_mut(width);
                            sequence.layers[0].read(p, k, v);
                        }
                        for (a, b) in a.iter().zip(&b) {
                            worst = worst.max((a - b).abs());
                            largest = largest.max(b.abs());
                        }
                    }
                    // On the AMX row the product itself depends on how many tokens it has.
                    let bound = 2.0 * rounding(dtype)
                        + 0.02
                            * f32::from(u8::from(
                                crate::kernel_row().expect("a row").starts_with("amx"),
                            ));
                    assert!(
                        worst <= bound * largest,
                        "{name} {dtype} by {distance}: {worst} of {largest}"
                    );
                }
            }
        }
    }
}
