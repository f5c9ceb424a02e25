//! Experiments: what is tried, on whom, and which arm a unit is in.
//!
//! Owns: definitions and their checks, assignment, the text form of arms ([`Arm`]) that rows carry.
//! Does not own: what the settings mean (the server lays them over its configuration), statistics.
//! Start at [`Definition`] and [`assign`].

mod arm;
mod assign;
mod definition;

pub use arm::{Arm, arms_text, parse_arms};
pub use assign::{assign, block_of, unit_of};
pub use definition::{Definition, DefinitionError, Guard, Primary, UnitKind, Variant};
