//! Telemetry that stays on the user's machine: what became of every suggestion, experiments, and
//! what can be concluded from them.
//!
//! Owns: the state machine per suggestion ([`track`]), the database ([`store`]), metrics,
//! experiments, statistics, reports, exports and the simulations that validate them. Does not own:
//! protocols, configuration files, sending anything anywhere. Source text is held in memory to
//! compare it, hashed with a secret to tell documents apart, and never stored.
//!
//! Start at [`Recorder`] for how rows come about, at [`metrics`] for what they mean.

mod clock;
mod event;
pub mod exchange;
pub mod experiment;
pub mod metrics;
mod recorder;
pub mod report;
pub mod simulate;
pub mod stats;
pub mod store;
pub mod track;

pub use clock::{Calendar, Clock, Moment, system_ms};
pub use event::{CHECKS, Columns, Draft, Event, Int, Ints, Label, Names, READ_MS, Text};
pub use recorder::{Glance, Options, Recorder};
