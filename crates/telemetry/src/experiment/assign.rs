//! Which variant a unit gets: a function of the salt, the experiment's name and the unit, so that
//! it is stable and needs no record.

use sha2::{Digest, Sha256};

use super::definition::{Definition, UnitKind};

/// Cycles of blocks longer than this are not balanced one by one.
const MAX_CYCLE: u32 = 64;
const MINUTE_MS: i64 = 60_000;

/// Number of the session block at `wall` (milliseconds since 1970).
pub fn block_of(definition: &Definition, wall: i64) -> i64 {
    wall.div_euclid(i64::from(definition.block_minutes.max(1)) * MINUTE_MS)
}

/// What is randomised, hashed: 16 hexadecimal digits that say nothing to who does not have the
/// salt.
pub fn unit_of(
    definition: &Definition,
    salt: &[u8],
    name: &str,
    document: &str,
    wall: i64,
) -> String {
    let unit = match definition.unit {
        UnitKind::Installation => String::new(),
        UnitKind::Block => block_of(definition, wall).to_string(),
        UnitKind::Document => document.to_owned(),
    };
    format!("{:016x}", hash(salt, &["unit", name, &unit]))
}

/// The variant of a unit.
///
/// Installations and documents: by a hash, in proportion to the weights. Blocks: within each run of
/// as many blocks as the weights add up to (in lowest terms), every variant gets its share, in an
/// order drawn by a hash; so a single user's few blocks are balanced.
pub fn assign<'a>(
    definition: &'a Definition,
    salt: &[u8],
    name: &str,
    document: &str,
    wall: i64,
) -> &'a str {
    let weights = definition.weights();
    let divisor = weights.iter().fold(0, |a, (_, w)| gcd(a, *w)).max(1);
    let cycle: u32 = weights.iter().map(|(_, w)| w / divisor).sum();
    if definition.unit == UnitKind::Block && cycle <= MAX_CYCLE {
        let block = block_of(definition, wall);
        let run = block.div_euclid(i64::from(cycle));
        let mut slots: Vec<&str> = weights
            .iter()
            .flat_map(|(v, w)| std::iter::repeat_n(*v, (w / divisor) as usize))
            .collect();
        // Fisher and Yates, each swap drawn by a hash of its own.
        for i in (1..slots.len()).rev() {
            let draw = hash(salt, &["swap", name, &run.to_string(), &i.to_string()]);
            slots.swap(i, (draw % (i as u64 + 1)) as usize);
        }
        return slots[block.rem_euclid(i64::from(cycle)) as usize];
    }
    let unit = unit_of(definition, salt, name, document, wall);
    let total: u64 = weights.iter().map(|(_, w)| u64::from(*w)).sum();
    let mut at = hash(salt, &["assign", name, &unit]) % total.max(1);
    for (variant, weight) in &weights {
        match at.checked_sub(u64::from(*weight)) {
            None => return variant,
            Some(rest) => at = rest,
        }
    }
    &definition.control
}

fn hash(salt: &[u8], parts: &[&str]) -> u64 {
    let mut hasher = Sha256::new().chain_update(salt);
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("SHA-256 has 32 bytes"))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sample_ratio;

    fn definition(unit: &str, weights: [u32; 2]) -> Definition {
        let variant =
            serde_json::json!({"control": {"weight": weights[0]}, "b": {"weight": weights[1]}});
        serde_json::from_value(serde_json::json!({"unit": unit, "variant": variant})).unwrap()
    }

    const BLOCK: i64 = 30 * MINUTE_MS;

    #[test]
    fn a_unit_keeps_its_variant_and_only_the_unit_counts() {
        let document = definition("document", [1, 1]);
        let at = |uri, wall| {
            (assign(&document, b"s", "x", uri, wall), unit_of(&document, b"s", "x", uri, wall))
        };
        assert_eq!(at("file:///a", 0), at("file:///a", 1 << 40));
        let block = definition("block", [1, 1]);
        let at = |uri, wall| {
            (assign(&block, b"s", "x", uri, wall), unit_of(&block, b"s", "x", uri, wall))
        };
        assert_eq!(at("file:///a", BLOCK), at("file:///b", 2 * BLOCK - 1));
        assert_ne!(at("file:///a", BLOCK).1, at("file:///a", 2 * BLOCK).1);
        let installation = definition("installation", [1, 1]);
        let at = |uri, wall| {
            (
                assign(&installation, b"s", "x", uri, wall),
                unit_of(&installation, b"s", "x", uri, wall),
            )
        };
        assert_eq!(at("file:///a", 0), at("file:///b", 1 << 40));
    }

    #[test]
    fn blocks_are_balanced_run_by_run_in_a_random_order() {
        let definition = definition("block", [2, 4]);
        let variants: Vec<&str> =
            (0..3000).map(|i| assign(&definition, b"salt", "x", "", i * BLOCK)).collect();
        let mut patterns = std::collections::BTreeSet::new();
        for run in variants.chunks(3) {
            assert_eq!(run.iter().filter(|v| **v == "control").count(), 1, "{run:?}");
            patterns.insert(run.to_vec());
        }
        assert_eq!(patterns.len(), 3);
        // Before 1970 too.
        assert_eq!(
            (-3..0)
                .filter(|i| assign(&definition, b"salt", "x", "", i * BLOCK) == "control")
                .count(),
            1
        );
    }

    #[test]
    fn documents_are_balanced_by_weight_and_independent_of_other_experiments() {
        let definition = definition("document", [1, 3]);
        let n = 20_000;
        let mut both = [0u64; 4];
        for i in 0..n {
            let uri = format!("file:///{i}");
            let of = |name| u8::from(assign(&definition, b"salt", name, &uri, 0) == "b") as usize;
            both[of("x") * 2 + of("y")] += 1;
        }
        assert!(sample_ratio(&both, &[1.0, 3.0, 3.0, 9.0]) > 0.001, "{both:?}");
    }

    #[test]
    fn salts_make_different_assignments() {
        let definition = definition("installation", [1, 1]);
        let counts = (0..1000u32)
            .filter(|i| assign(&definition, &i.to_le_bytes(), "x", "", 0) == "b")
            .count() as u64;
        assert!(sample_ratio(&[counts, 1000 - counts], &[1.0, 1.0]) > 0.001, "{counts}");
    }
}
