//! Exact and near duplicates.
//!
//! Exact: equal after whitespace is normalised. Near: estimated Jaccard similarity of 5-word
//! shingles of at least 0.8, found by one-permutation MinHash with optimal densification by
//! rotation and banded locality-sensitive hashing. Of a pair the earlier document stays.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::Document;

/// Words in a shingle.
const SHINGLE: usize = 5;
/// Bins of a signature; 24 bands of 6 find a pair of similarity 0.8 with probability 0.999.
const BINS: usize = 144;
const BANDS: usize = 24;
const ROWS: usize = BINS / BANDS;
const THRESHOLD: f64 = 0.8;

/// A reason for every document that repeats an earlier one.
pub fn verdicts(documents: &[Document]) -> Vec<Option<&'static str>> {
    let facts: Vec<(u64, Box<[u32; BINS]>)> =
        documents.par_iter().map(|d| (exact_hash(&d.text), signature(&d.text))).collect();
    let mut seen = HashSet::new();
    let mut bands: Vec<HashMap<u64, Vec<u32>>> = vec![HashMap::new(); BANDS];
    let mut verdicts = Vec::with_capacity(documents.len());
    for (i, (hash, signature)) in facts.iter().enumerate() {
        if !seen.insert(*hash) {
            verdicts.push(Some("exact duplicate"));
            continue;
        }
        let keys: Vec<u64> = signature.chunks_exact(ROWS).map(band_key).collect();
        let near = keys.iter().enumerate().any(|(band, key)| {
            bands[band].get(key).is_some_and(|others| {
                others.iter().any(|&j| similarity(signature, &facts[j as usize].1) >= THRESHOLD)
            })
        });
        if near {
            verdicts.push(Some("near duplicate"));
            continue;
        }
        for (band, key) in keys.into_iter().enumerate() {
            let others = bands[band].entry(key).or_default();
            // A crowded bucket is boilerplate; its first members are enough to compare with.
            if others.len() < 32 {
                others.push(i as u32);
            }
        }
        verdicts.push(None);
    }
    verdicts
}

/// Hash of the text with every run of whitespace taken as one space.
pub fn exact_hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for word in text.split_whitespace() {
        hash = mix(hash ^ hash_bytes(word.as_bytes()));
    }
    hash
}

/// Words as the shingles see them: runs of letters, digits and `_`, and every other visible
/// character alone.
pub(super) fn word_hashes(text: &str) -> Vec<u64> {
    let bytes = text.as_bytes();
    let mut hashes = Vec::with_capacity(bytes.len() / 4);
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        if is_word(bytes[i]) {
            while i < bytes.len() && is_word(bytes[i]) {
                i += 1;
            }
        } else {
            i += 1;
            if bytes[start].is_ascii_whitespace() {
                continue;
            }
        }
        hashes.push(hash_bytes(&bytes[start..i]));
    }
    hashes
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// One-permutation MinHash: each shingle falls in one bin, each bin keeps its least hash, empty
/// bins borrow from the right.
fn signature(text: &str) -> Box<[u32; BINS]> {
    let words = word_hashes(text);
    let mut bins = Box::new([u32::MAX; BINS]);
    for window in words.windows(SHINGLE.min(words.len()).max(1)) {
        let hash = window.iter().fold(0u64, |h, w| mix(h.rotate_left(7) ^ w));
        let bin = (((hash >> 32) * BINS as u64) >> 32) as usize;
        bins[bin] = bins[bin].min(hash as u32 & 0x7fff_ffff);
    }
    let filled = *bins;
    if filled.iter().all(|&b| b == u32::MAX) {
        return bins;
    }
    for i in 0..BINS {
        let mut distance = 0;
        while filled[(i + distance) % BINS] == u32::MAX {
            distance += 1;
        }
        bins[i] =
            filled[(i + distance) % BINS].wrapping_add((distance as u32).wrapping_mul(0x9e37_79b9));
    }
    bins
}

fn similarity(a: &[u32; BINS], b: &[u32; BINS]) -> f64 {
    a.iter().zip(b).filter(|(x, y)| x == y).count() as f64 / BINS as f64
}

fn band_key(rows: &[u32]) -> u64 {
    rows.iter().fold(0u64, |h, &r| mix(h ^ u64::from(r)))
}

/// FNV-1a with a final mix: stable across runs and machines, which `std`'s hasher does not promise.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for &b in bytes {
        hash = (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}

/// The finaliser of SplitMix64.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
