//! Text that is moved: what a prefill takes over from other positions, and the repair of it.
//!
//! The one seam for it: the prefill asks for runs ([`take_over`]) and for the repair of a chunk
//! ([`repair`]); the pass does not know of either. Which runs there are is found in `runs`; how keys
//! are moved, and which tokens deviate most, is the device's ([`MovedText`]).

use crate::device::{Active, Device, DeviceError, MovedText};
use crate::model::Model;
use crate::pass::Pass;
use crate::runs::Run;
use crate::sequence::Sequence;

/// The half of a layer at which the moved tokens to repair are chosen.
pub(crate) const CHECK_HALF: usize = 2 * Active::CHECK_LAYER;

/// Copies keys and values of `runs` to their places in `target`; how many tokens those are.
pub(crate) fn take_over(
    model: &Model,
    target: &mut Sequence,
    runs: &[Run],
    donors: &[&Sequence],
) -> Result<usize, DeviceError> {
    if let Some(first) = runs.first() {
        target.exact = target.exact.min(first.at);
    }
    for run in runs {
        let source = donors[run.donor];
        move_run(model, target, source, run)?;
        for (moves, before) in
            target.moves[run.target()].iter_mut().zip(&source.moves[run.source()])
        {
            *moves = before + 1;
        }
    }
    Ok(runs.iter().map(|run| run.len).sum())
}

fn move_run(
    model: &Model,
    target: &mut Sequence,
    source: &Sequence,
    run: &Run,
) -> Result<(), DeviceError> {
    model.device.move_run(&mut target.kv, run.at, &source.kv, run.source())
}

/// Half [`CHECK_HALF`] of a pass over tokens of `sequence`, after which the share `ratio` of the
/// moved ones goes on; how many those are. They count as moved no longer.
pub(crate) fn repair(
    model: &Model,
    pass: &mut Pass<Active>,
    sequence: &mut Sequence,
    ratio: f32,
    buffers: &mut <Active as Device>::Buffers,
) -> Result<usize, DeviceError> {
    let Sequence { kv, moves, .. } = sequence;
    model.device.repair_half(&mut pass.batch, moves, ratio, kv, &mut pass.x, buffers)?;
    pass.half += 1;
    let repaired = pass.batch.positions.iter().filter(|position| moves[**position] > 0).count();
    pass.batch.positions.iter().for_each(|position| moves[*position] = 0);
    Ok(repaired)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::device::KvDtype;
    use crate::{Cancel, KvCache, Precision, prefill};

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
        let width = a.kv.stores()[layer].kv_heads() * a.kv.stores()[layer].head_dim();
        let read = |s: &Sequence, p: usize| {
            let (mut k, mut v) = (vec![0f32; width], vec![0f32; width]);
            s.kv.stores()[layer].read(p, &mut k, &mut v);
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
                    move_run(&model, &mut moved, &original, &there).expect("a CPU");
                    move_run(&model, &mut returned, &moved, &back).expect("a CPU");
                    for layer in 0..original.kv.stores().len() {
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
                            sequence.kv.stores()[0].read(p, k, v);
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
