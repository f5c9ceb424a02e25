//! Models in GGUF files: the same numbers as from the directory that they were made of.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lacuna_engine::{Model, Precision, forward_all};
use lacuna_model::gguf::{self, Encoding, Options};

use crate::fixtures;

/// A checkpoint as a GGUF file in `dir`.
fn converted(name: &str, dir: &Path, matrices: Encoding) -> PathBuf {
    let out = dir.join(format!("{name}.gguf"));
    let (name, metadata) = (name.to_owned(), Vec::new());
    let options = Options { name: name.clone(), matrices, head: matrices, metadata };
    let from = fixtures::directory(&name);
    gguf::convert(&from, &out, &options, |_, _| ControlFlow::Continue(())).expect("converts");
    out
}

#[test]
fn every_family_computes_what_the_reference_does_from_a_gguf_file() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in fixtures::ALL {
        let file = converted(name, dir.path(), Encoding::F32);
        let model = Model::load(&file, Precision::F32).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (ids, expected) = fixtures::expected(name);
        let difference =
            fixtures::largest_difference(&forward_all(&model, &ids).expect("in range"), &expected);
        assert!(difference < 1e-3, "{name}: {difference}");
    }
}

#[test]
fn q4_0_is_taken_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in fixtures::ALL {
        let file = converted(name, dir.path(), Encoding::Q4_0);
        let load = |precision| Model::load(&file, precision).unwrap_or_else(|e| panic!("{e}"));
        let (int4, f32) = (load(Precision::Int4), load(Precision::F32));
        assert_eq!(int4.spec(), f32.spec());
        // The weights are the same numbers; what differs is the rounding of activations, and of
        // keys and values. Rows in another order would be as far off as noise.
        let (ids, _) = fixtures::expected(name);
        let logits = |model| forward_all(model, &ids).expect("in range");
        let difference = fixtures::relative_l2(&logits(&int4), &logits(&f32));
        assert!(difference < 0.05, "{name}: {difference}");
    }
}
