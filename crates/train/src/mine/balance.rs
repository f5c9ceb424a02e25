//! Caps: how many bytes a language and, within it, a package may give.
//!
//! Within a language the cap of a package is found by water-filling: the largest cap with which the
//! language keeps its target. So small packages stay whole and large ones are cut down to the same
//! size, which keeps the corpus diverse.

use std::collections::{BTreeMap, HashMap};

use super::dedupe::{hash_bytes, mix};
use super::{Document, Language, Split};

/// Targets in bytes.
#[derive(Debug, Clone)]
pub struct BalanceConfig {
    /// Bytes of all training documents, at most.
    pub total_bytes: u64,
    /// Share of each language in `total_bytes`; a language that is not named is left out.
    pub shares: Vec<(Language, f64)>,
    /// No package gives more than this share of `total_bytes`.
    pub package_share: f64,
    /// Bytes of validation documents, at most, shared as the training bytes are.
    pub validation_bytes: u64,
    /// Packages (`<ecosystem>/<package>`) that are visited more often than others, and how often.
    pub emphasis: BTreeMap<String, u32>,
}

impl Default for BalanceConfig {
    fn default() -> BalanceConfig {
        BalanceConfig {
            total_bytes: 1_000_000_000,
            shares: vec![
                (Language::Python, 0.56),
                (Language::JavaScript, 0.13),
                (Language::TypeScript, 0.06),
                (Language::Rust, 0.09),
                (Language::Java, 0.11),
                (Language::Go, 0.02),
                (Language::C, 0.02),
                (Language::Cpp, 0.01),
            ],
            package_share: 0.03,
            validation_bytes: 12_000_000,
            emphasis: BTreeMap::new(),
        }
    }
}

/// A reason for every document beyond its package's cap. Which documents of a package stay is drawn
/// by `seed`.
pub fn verdicts(
    documents: &[Document],
    config: &BalanceConfig,
    seed: u64,
) -> Vec<Option<&'static str>> {
    let mut verdicts = vec![Some("beyond the cap of its package or language"); documents.len()];
    let mut groups: BTreeMap<(Split, Language), BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for (i, d) in documents.iter().enumerate() {
        groups.entry((d.split, d.language)).or_default().entry(&d.package).or_default().push(i);
    }
    let shares: HashMap<Language, f64> = config.shares.iter().copied().collect();
    for ((split, language), packages) in groups {
        let total =
            if split == Split::Train { config.total_bytes } else { config.validation_bytes };
        let target = (total as f64 * shares.get(&language).copied().unwrap_or(0.0)) as u64;
        let sizes: Vec<u64> = packages
            .values()
            .map(|ids| ids.iter().map(|&i| documents[i].text.len() as u64).sum())
            .collect();
        let mut cap = water_level(&sizes, target);
        if split == Split::Train {
            cap = cap.min((config.total_bytes as f64 * config.package_share) as u64);
        }
        for ids in packages.into_values() {
            let mut order = ids;
            order.sort_by_key(|&i| (mix(hash_bytes(documents[i].path.as_bytes()) ^ seed), i));
            let mut used = 0;
            for i in order {
                let bytes = documents[i].text.len() as u64;
                if used + bytes <= cap {
                    used += bytes;
                    verdicts[i] = None;
                }
            }
        }
    }
    verdicts
}

/// The largest `cap` with `Σ min(size, cap) ≤ target`; `u64::MAX` when everything fits.
pub fn water_level(sizes: &[u64], target: u64) -> u64 {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    let mut left = target;
    for (i, &size) in sorted.iter().enumerate() {
        let level = left / (sorted.len() - i) as u64;
        if size > level {
            return level;
        }
        left -= size;
    }
    u64::MAX
}
