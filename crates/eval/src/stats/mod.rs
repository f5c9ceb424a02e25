//! Statistics: how far a mean may be off, and whether a difference can be chance.
//!
//! Owns: the clustered bootstrap, paired tests, quantiles, a seeded generator. Knows no metrics and
//! no examples. Everything is deterministic: the same values and seed give the same numbers on
//! every machine.

mod bootstrap;
mod paired;
mod quantile;
mod random;

pub use bootstrap::{Bootstrap, Estimate, Weights};
pub use paired::{permutation_test, sign_test};
pub use quantile::quantile;
pub use random::{Random, hash_text};
