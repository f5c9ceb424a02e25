//! Packing and shards: whole documents in rows, every document ends, files say what they hold.

use std::sync::atomic::{AtomicBool, Ordering};

use lacuna_train::markers::Markers;
use lacuna_train::mine::rng::Rng;
use lacuna_train::pack::{Index, PackError, ShardConfig, build, rows, write};
use sha2::{Digest, Sha256};

use crate::corpus;

fn made_up(n: usize, longest: usize) -> Vec<Vec<u16>> {
    let mut rng = Rng::new(5);
    (0..n)
        .map(|i| {
            let mut d: Vec<u16> =
                (0..rng.below(longest)).map(|_| 16 + rng.below(1000) as u16).collect();
            d.push(16 + (i % 1000) as u16);
            d.push(0);
            d
        })
        .collect()
}

/// The documents of a row as the trainer sees them.
fn split(row: &[u16]) -> Vec<Vec<u16>> {
    let mut found = Vec::new();
    let mut rest = row;
    while let Some(end) = rest.iter().position(|t| *t == 0) {
        found.push(rest[..=end].to_vec());
        rest = &rest[end + 1..];
    }
    assert!(rest.iter().all(|t| *t == 4), "what follows the last document is padding");
    found
}

#[test]
fn rows_hold_every_document_once_and_whole() {
    let documents = made_up(3000, 250);
    let packed = rows(&documents, 256, Markers::default(), 1).unwrap();
    assert!(packed.iter().all(|r| r.len() == 256));
    let mut back: Vec<Vec<u16>> = packed.iter().flat_map(|r| split(r)).collect();
    let mut expected = documents.clone();
    back.sort();
    expected.sort();
    assert_eq!(back, expected);
    let tokens: usize = documents.iter().map(Vec::len).sum();
    let padding = 1.0 - tokens as f64 / (packed.len() * 256) as f64;
    assert!(padding < 0.02, "{padding}");
}

#[test]
fn the_order_of_rows_is_the_seed_s() {
    let documents = made_up(500, 250);
    assert_eq!(
        rows(&documents, 256, Markers::default(), 1).unwrap(),
        rows(&documents, 256, Markers::default(), 1).unwrap()
    );
    assert_ne!(
        rows(&documents, 256, Markers::default(), 1).unwrap(),
        rows(&documents, 256, Markers::default(), 2).unwrap()
    );
}

#[test]
fn documents_that_cannot_be_packed_are_named() {
    assert!(matches!(
        rows(&[vec![20, 0], vec![20; 300]], 256, Markers::default(), 1),
        Err(PackError::TooLong { index: 1, len: 300, seq_len: 256 })
    ));
    for bad in [vec![], vec![20], vec![20, 0, 20, 0], vec![0, 20]] {
        assert!(matches!(
            rows(&[vec![20, 0], bad], 256, Markers::default(), 1),
            Err(PackError::BadEnd { index: 1 })
        ));
    }
}

#[test]
fn files_are_what_the_index_says() {
    let folder = tempfile::tempdir().unwrap();
    let packed = rows(&made_up(300, 60), 64, Markers::default(), 1).unwrap();
    let shards = write(folder.path(), "train", &packed, 50).unwrap();
    assert_eq!(shards.iter().map(|s| s.rows).sum::<usize>(), packed.len());
    let mut back = Vec::new();
    for shard in &shards {
        let bytes = std::fs::read(folder.path().join(&shard.name)).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&bytes)), shard.sha256);
        let raw = zstd::decode_all(bytes.as_slice()).unwrap();
        assert_eq!(raw.len(), shard.rows * 64 * 2);
        back.extend(raw.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])));
    }
    assert_eq!(back, packed.concat());
}

#[test]
fn a_folder_of_shards_is_built_and_repeats() {
    let config = ShardConfig {
        train_tokens: 60_000,
        validation_tokens: 6_000,
        rows_per_file: 16,
        ..Default::default()
    };
    let stop = AtomicBool::new(false);
    let mut indexes = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let summary = build(
            &corpus::documents(),
            corpus::tokenizer_json(),
            &config,
            folder.path(),
            &|_, _| {},
            &stop,
        )
        .unwrap();
        assert!((40_000..80_000).contains(&summary.train.tokens), "{summary:?}");
        assert!((3_000..9_000).contains(&summary.validation.tokens), "{summary:?}");
        let index: Index =
            serde_json::from_slice(&std::fs::read(folder.path().join("shards.json")).unwrap())
                .unwrap();
        assert_eq!((index.seq_len, index.n_vocab, index.n_rows), (1024, 420, summary.train.rows));
        assert_eq!(
            index.tokenizer_sha256,
            hex::encode(Sha256::digest(
                std::fs::read(folder.path().join("tokenizer.json")).unwrap()
            ))
        );
        indexes.push(index);
    }
    assert_eq!(indexes[0], indexes[1]);
    let folder = tempfile::tempdir().unwrap();
    stop.store(true, Ordering::Relaxed);
    let cancelled = build(
        &corpus::documents(),
        corpus::tokenizer_json(),
        &config,
        folder.path(),
        &|_, _| {},
        &stop,
    );
    assert!(matches!(cancelled, Err(PackError::Cancelled)));
    assert!(!folder.path().join("shards.json").exists());
}
