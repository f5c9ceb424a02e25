//! What rows mean: sums per group, and the metrics that are made of sums.
//!
//! Owns: the definition of every metric ([`Totals`]), grouping ([`Summary`]), units of an
//! experiment ([`UnitTotals`]). Does not own: where rows come from, statistics, how it is shown.
//! `docs/telemetry.md` has the same definitions as SQL; a test compares both.

mod histogram;
mod summary;
mod totals;
mod units;

pub use histogram::Histogram;
pub use summary::{Grouping, Summariser, Summary, Zone, summarise};
pub use totals::{COLUMNS, Codes, KEPT_PER_MILLE, Metric, Totals};
pub use units::{ArmTotals, UnitCollector, UnitTotals, collect_units};
