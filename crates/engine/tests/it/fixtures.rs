//! Where the committed checkpoints are, the logits expected of them, and small measures.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lacuna_engine::{Model, Precision};
use lacuna_model::{LoadError, synth};
use safetensors::SafeTensors;
use serde_json::Value;

/// Every committed checkpoint; see `fixtures/make.py`.
pub const ALL: [&str; 5] =
    ["llama-tied-gqa", "llama-untied-sharded", "qwen2-bias", "llama3-rope", "qwen3-head-norms"];

pub fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn load(name: &str, precision: Precision) -> Model {
    Model::load(directory(name), precision).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The model that comes with the product: trained, with 2,048 positions.
pub fn embedded() -> Model {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../datasets/embedded/model.lacuna.safetensors");
    Model::load(path, Precision::Int4).expect("the embedded model loads")
}

/// Random weights in the embedded model's shape, which another training does not change: for what
/// depends on the values.
pub fn random() -> Model {
    let dir = tempfile::tempdir().expect("a directory");
    let shape = synth::shape("embedded").expect("a shape of the table");
    synth::write(shape, 1, dir.path(), |_, _| ControlFlow::Continue(())).expect("weights");
    Model::load(dir.path(), Precision::Int4).expect("a model")
}

/// `n` ids that look like nothing: the same for the same seed.
pub fn ids(seed: u64, n: usize, n_vocab: usize) -> Vec<u32> {
    let mut random = Random(seed);
    (0..n).map(|_| random.below(n_vocab) as u32).collect()
}

/// A generator for test cases; a failure names its seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Whether kernels compute more than 16 tokens with coarser scales than fewer: then only passes cut
/// alike have the same bits.
pub fn cuts_matter() -> bool {
    lacuna_engine::kernel_row().expect("a row").starts_with("amx")
}

/// A copy of a checkpoint that a test changes.
pub struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    pub fn of(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        for entry in std::fs::read_dir(directory(name)).expect("fixture") {
            let path = entry.expect("fixture").path();
            if path.file_name().is_some_and(|n| n != "expected.safetensors") {
                std::fs::copy(&path, dir.path().join(path.file_name().expect("a file")))
                    .expect("copied");
            }
        }
        Copy { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn load(&self) -> Result<Model, LoadError> {
        Model::load(self.path(), Precision::Int4)
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path().join(file)).expect("readable")
    }

    pub fn write(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(file), bytes).expect("written");
    }

    pub fn edit_config(&self, edit: impl FnOnce(&mut Value)) {
        let mut config: Value = serde_json::from_slice(&self.read("config.json")).expect("JSON");
        edit(&mut config);
        self.write("config.json", config.to_string().as_bytes());
    }
}

/// Token ids and the logits that the reference library computed for them.
pub fn expected(name: &str) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(directory(name).join("expected.safetensors")).expect("fixture");
    let file = SafeTensors::deserialize(&bytes).expect("fixture");
    let ids = file
        .tensor("ids")
        .expect("ids")
        .data()
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| u64::from_le_bytes(*b) as u32)
        .collect();
    let logits = file
        .tensor("logits")
        .expect("logits")
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    (ids, logits)
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(!a.is_empty(), "nothing compared");
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |a, d| if d > a || d.is_nan() { d } else { a })
}

/// `‖a − b‖ / ‖b‖`
pub fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |v: f64| v * v;
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    (error / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}
