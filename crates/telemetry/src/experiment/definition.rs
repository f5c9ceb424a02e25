//! What `[experiment.NAME]` says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One experiment. The first variant by name is not special: `control` names the one that others
/// are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What is randomised.
    #[serde(default)]
    pub unit: UnitKind,
    /// Length of a session block in minutes.
    #[serde(default = "default_block_minutes")]
    pub block_minutes: u32,
    /// The variant that others are compared with.
    #[serde(default = "default_control")]
    pub control: String,
    /// The metric that decides.
    #[serde(default)]
    pub metric: Primary,
    /// The relative effect that is to be found.
    #[serde(default = "default_effect")]
    pub effect: f64,
    /// What must not get worse.
    #[serde(default)]
    pub guard: Guard,
    pub variant: BTreeMap<String, Variant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// Each installation keeps its arm: for teams.
    Installation,
    /// The arm is fixed for some minutes, then drawn again: for one user (a switch-back design).
    #[default]
    Block,
    /// Each document keeps its arm.
    Document,
}

/// The metrics an experiment can be decided by; see `metrics` for what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Primary {
    #[default]
    RetainedPerHour,
    AcceptanceRate,
    PersistenceRate,
    CompletedRatio,
}

/// Relative worsening that a guard-rail tolerates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// Of the 90th percentile of latency.
    pub latency_p90: f64,
    /// Of the share of suggestions that are dismissed.
    pub dismissals: f64,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard { latency_p90: 0.10, dismissals: 0.10 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Variant {
    /// Share of the units, relative to the other variants'.
    #[serde(default = "one")]
    pub weight: u32,
    /// Settings that are laid over the configuration: `area.key` with a value, as `lacuna doctor`
    /// lists them.
    pub settings: BTreeMap<String, serde_json::Value>,
}

fn one() -> u32 {
    1
}

fn default_block_minutes() -> u32 {
    30
}

fn default_control() -> String {
    "control".to_owned()
}

fn default_effect() -> f64 {
    0.05
}

/// What is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DefinitionError {
    #[error("experiment {name}: a name has letters, digits, - and _ only, 64 at most")]
    Name { name: String },
    #[error(
        "experiment {name}: variant {variant:?}: a name has letters, digits, - and _ only, 64 at most"
    )]
    VariantName { name: String, variant: String },
    #[error("experiment {name}: there are {n} variants, 2 to 16 are needed")]
    Variants { name: String, n: usize },
    #[error("experiment {name}: control = {control:?} is not one of its variants")]
    Control { name: String, control: String },
    #[error(
        "experiment {name}: variant {variant}: weight = {weight} is out of range: use 1 to 1000"
    )]
    Weight { name: String, variant: String, weight: u32 },
    #[error(
        "experiment {name}: block_minutes = {minutes} is out of range: use a multiple of 5 from 5 to 1440"
    )]
    Block { name: String, minutes: u32 },
    #[error("experiment {name}: {key} = {value} is out of range: use {range}")]
    Number { name: String, key: &'static str, value: f64, range: &'static str },
}

impl Definition {
    pub fn check(&self, name: &str) -> Result<(), DefinitionError> {
        let owned = || name.to_owned();
        if !is_name(name) {
            return Err(DefinitionError::Name { name: owned() });
        }
        if !(2..=16).contains(&self.variant.len()) {
            return Err(DefinitionError::Variants { name: owned(), n: self.variant.len() });
        }
        for (variant, Variant { weight, .. }) in &self.variant {
            if !is_name(variant) {
                return Err(DefinitionError::VariantName {
                    name: owned(),
                    variant: variant.clone(),
                });
            }
            if !(1..=1000).contains(weight) {
                return Err(DefinitionError::Weight {
                    name: owned(),
                    variant: variant.clone(),
                    weight: *weight,
                });
            }
        }
        if !self.variant.contains_key(&self.control) {
            return Err(DefinitionError::Control { name: owned(), control: self.control.clone() });
        }
        // Rows of active time cover five minutes: an arm must not change within one.
        if !self.block_minutes.is_multiple_of(5) || !(5..=1440).contains(&self.block_minutes) {
            return Err(DefinitionError::Block { name: owned(), minutes: self.block_minutes });
        }
        let numbers = [
            ("effect", self.effect, 0.001, 10.0, "0.001 to 10"),
            ("guard.latency_p90", self.guard.latency_p90, 0.0, 10.0, "0 to 10"),
            ("guard.dismissals", self.guard.dismissals, 0.0, 10.0, "0 to 10"),
        ];
        for (key, value, least, most, range) in numbers {
            if !(least..=most).contains(&value) {
                return Err(DefinitionError::Number { name: owned(), key, value, range });
            }
        }
        Ok(())
    }

    /// Variants with their weights, in the order that assignment uses.
    pub fn weights(&self) -> Vec<(&str, u32)> {
        self.variant.iter().map(|(name, v)| (name.as_str(), v.weight)).collect()
    }
}

/// Names go into the text form of arms, so they have none of its marks.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), String> {
        let mut value = serde_json::json!({"variant": {"control": {}, "b": {"weight": 2, "settings": {"model.order": "psm"}}}});
        change(&mut value);
        let definition: Definition = serde_json::from_value(value).map_err(|e| e.to_string())?;
        definition.check("order").map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_enough() {
        definition(|_| ()).unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        for (key, value, told) in [
            ("unit", serde_json::json!("user"), "user"),
            ("block_minutes", 7.into(), "multiple of 5"),
            ("block_minutes", 0.into(), "multiple of 5"),
            ("control", "c".into(), "not one of its variants"),
            ("effect", 0.0.into(), "effect = 0"),
            ("variant", serde_json::json!({"control": {}}), "2 to 16"),
            ("variant", serde_json::json!({"control": {}, "a=b": {}}), "a=b"),
            ("variant", serde_json::json!({"control": {"weight": 0}, "b": {}}), "weight = 0"),
            ("variant", serde_json::json!({"control": {"wieght": 1}, "b": {}}), "wieght"),
            ("guard", serde_json::json!({"latency_p90": -1.0}), "guard.latency_p90"),
        ] {
            let error = definition(|d| d[key] = value.clone()).unwrap_err();
            assert!(error.contains(told), "{key} = {value}: {error}");
        }
        let definition: Definition =
            serde_json::from_value(serde_json::json!({"variant": {"control": {}, "b": {}}}))
                .unwrap();
        for name in ["", "a b", "a;b", "ä", &"x".repeat(65)] {
            assert!(definition.check(name).is_err(), "{name}");
        }
    }
}
