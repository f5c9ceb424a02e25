//! Logits against the reference library, and INT4 against f32.

use std::ops::ControlFlow;

use lacuna_engine::{Model, Precision, forward_all, log_probs};
use lacuna_model::{pack, synth};

use crate::fixtures::{self, ALL};

#[test]
fn f32_logits_agree_with_the_reference_library() {
    for name in ALL {
        let model = fixtures::load(name, Precision::F32);
        let (ids, expected) = fixtures::expected(name);
        let logits = forward_all(&model, &ids).expect("in range");
        let difference = fixtures::largest_difference(&logits, &expected);
        eprintln!("{name}: max |Δ| = {difference:.2e}");
        assert!(difference <= 1e-3, "{name}: max |Δ| = {difference}");
    }
}

/// What quantising weights costs. The fixtures are the worst case: random weights, width 32; a
/// trained model loses far less.
#[test]
fn int4_logits_are_near_f32() {
    const BOUND: f64 = 0.40;
    for name in ALL {
        let (ids, expected) = fixtures::expected(name);
        let logits = forward_all(&fixtures::load(name, Precision::Int4), &ids).expect("in range");
        let error = fixtures::relative_l2(&logits, &expected);
        eprintln!("{name}: relative L2 error {error:.3}");
        assert!(error <= BOUND, "{name}: relative L2 error {error:.3} > {BOUND}");
    }
}

/// What the kernels cost beyond the weights: INT8 activations against the same (dequantised)
/// weights in f32.
#[test]
fn int4_kernels_are_near_their_own_weights_in_f32() {
    const BOUND: f64 = 0.04;
    let dir = tempfile::tempdir().expect("temporary directory");
    for name in ALL {
        let file = dir.path().join("model.lacuna.safetensors");
        pack(fixtures::directory(name), &file).expect("packs");
        let load = |precision| Model::load(&file, precision).expect("loads");
        let (ids, _) = fixtures::expected(name);
        let int4 = forward_all(&load(Precision::Int4), &ids).expect("in range");
        let f32 = forward_all(&load(Precision::F32), &ids).expect("in range");
        let error = fixtures::relative_l2(&int4, &f32);
        eprintln!("{name}: relative L2 error {error:.4}");
        assert!(error <= BOUND, "{name}: relative L2 error {error:.4} > {BOUND}");
    }
}

/// Random weights are made so that activations keep their size: logits are neither flat nor
/// one-hot.
#[test]
fn random_weights_behave_like_trained_ones() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let shape = synth::shape("tiny").expect("a shape of the table");
    synth::write(shape, 1, dir.path(), |_, _| ControlFlow::Continue(())).expect("written");
    let model = Model::load(dir.path(), Precision::F32).expect("loads");
    let logits = forward_all(&model, &[1, 5, 900, 44]).expect("in range");
    let row = &logits[logits.len() - shape.n_vocab..];
    let deviation = (row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32).sqrt();
    assert!((0.5..2.0).contains(&deviation), "{deviation}");
}

#[test]
fn log_probs_are_the_log_softmax_of_the_logits() {
    let name = "qwen2-bias";
    let model = fixtures::load(name, Precision::F32);
    let (ids, expected) = fixtures::expected(name);
    let got = log_probs(&model, &ids, &lacuna_engine::Cancel::new()).expect("in range");
    assert_eq!(got.len(), ids.len() - 1);
    let n_vocab = model.spec().n_vocab;
    for (i, got) in got.iter().enumerate() {
        let row = &expected[i * n_vocab..(i + 1) * n_vocab];
        let sum: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
        let want = f64::from(row[ids[i + 1] as usize]) - sum.ln();
        assert!((f64::from(*got) - want).abs() < 1e-3, "position {i}: {got} against {want}");
    }
}
