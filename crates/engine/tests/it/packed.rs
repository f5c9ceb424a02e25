//! The packed file: round trip, determinism, and the ways to load it.

use lacuna_engine::{Model, Precision, forward_all};
use lacuna_model::{LoadError, PACKED_FORMAT, pack};

use crate::fixtures::{self, ALL};

#[test]
fn a_packed_model_computes_what_the_directory_quantised_at_load_computes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for name in ALL {
        let file = dir.path().join(format!("{name}.lacuna.safetensors"));
        pack(fixtures::directory(name), &file).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = std::fs::read(&file).expect("written");
        let (ids, _) = fixtures::expected(name);
        let direct = fixtures::load(name, Precision::Int4);
        let by_path = Model::load(&file, Precision::Int4).expect("loads");
        let in_memory = Model::from_packed(&bytes).expect("loads");
        let expected = forward_all(&direct, &ids).expect("in range");
        for model in [&by_path, &in_memory] {
            assert_eq!(model.spec(), direct.spec());
            assert_eq!(model.info(), direct.info());
            assert_eq!(forward_all(model, &ids).expect("in range"), expected, "{name}");
        }
        pack(fixtures::directory(name), &file).expect("replaces");
        assert_eq!(
            std::fs::read(&file).expect("written"),
            bytes,
            "{name}: the same bytes each time"
        );
    }
}

#[test]
fn a_directory_with_one_packed_file_loads() {
    let dir = tempfile::tempdir().expect("temporary directory");
    pack(fixtures::directory("qwen2-bias"), dir.path().join("q.lacuna.safetensors"))
        .expect("packs");
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("readable").count(),
        1,
        "no temporary file is left"
    );
    let model = Model::load(dir.path(), Precision::Int4).expect("loads");
    assert_eq!(model.info().precision, Precision::Int4);
    assert!(model.info().parameters > 20_000 && model.info().bytes > 10_000);
}

#[test]
fn a_failing_pack_leaves_an_existing_file_alone() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("m.lacuna.safetensors");
    std::fs::write(&out, b"precious").expect("written");
    let source = dir.path().join("source");
    std::fs::create_dir(&source).expect("created");
    std::fs::copy(
        fixtures::directory("qwen2-bias").join("config.json"),
        source.join("config.json"),
    )
    .expect("copied");
    // The weights of another model: tensors are missing.
    let other = fixtures::directory("llama-tied-gqa").join("model.safetensors");
    std::fs::copy(other, source.join("model.safetensors")).expect("copied");
    assert!(matches!(pack(&source, &out), Err(LoadError::MissingTensor { .. })));
    assert_eq!(std::fs::read(&out).expect("readable"), b"precious");
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("readable").count(),
        2,
        "no temporary file is left"
    );
}

#[test]
fn other_containers_and_other_formats_are_named_as_such() {
    let plain = std::fs::read(fixtures::directory("qwen2-bias").join("model.safetensors"))
        .expect("fixture");
    assert!(matches!(Model::from_packed(&plain), Err(LoadError::NotPacked { .. })));
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("m.lacuna.safetensors");
    pack(fixtures::directory("qwen2-bias"), &file).expect("packs");
    let mut bytes = std::fs::read(&file).expect("written");
    let at = bytes
        .windows(PACKED_FORMAT.len())
        .position(|w| w == PACKED_FORMAT.as_bytes())
        .expect("in the header");
    bytes[at + PACKED_FORMAT.len() - 1] = b'9';
    match Model::from_packed(&bytes) {
        Err(error @ LoadError::PackedFormat { .. }) => {
            assert!(error.to_string().contains("lacuna-int4-v9"), "{error}")
        }
        other => panic!("{other:?}"),
    }
}
