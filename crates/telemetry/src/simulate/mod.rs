//! Simulations: do the statistics keep what they promise ([`validate`]), and a made-up team for
//! demonstrations ([`team`]).
//!
//! Everything is drawn from seeded generators, so a figure can be had again. Nothing here is ever
//! mixed with recorded rows: simulated ones carry [`SIMULATED`] as their model.

mod drafts;
mod population;
mod team;
mod validate;

pub use drafts::Drafts;
pub use population::Population;
pub use team::{Team, TeamRows, simulate_team};
pub use validate::{Rate, Validation, validate};

/// The model's name in simulated rows; reports that meet it say so.
pub const SIMULATED: &str = "simulated";
