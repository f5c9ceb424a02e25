//! Statistics of experiments on ratio metrics whose units are clusters.
//!
//! Owns: estimates, intervals, tests, power. Does not own: which rows make a unit's sums
//! (`metrics`), how it is told (`report`). A metric is a ratio of two sums (accepted / read,
//! characters / hours), and what is randomised (an installation, a block of minutes, a document)
//! holds many rows that resemble each other; so everything here counts units, never rows. Start at
//! [`compare`].
//!
//! `simulate` shows that the promised error rates hold; `tests/telemetry/statistics.py` compares
//! every number with SciPy's.

mod balance;
mod bootstrap;
mod compare;
mod cuped;
mod power;
mod ratio;
mod sequential;

pub use balance::{SRM_ALARM, sample_ratio};
pub use bootstrap::{Interval, cluster_bootstrap, studentised_bootstrap};
pub use compare::{Comparison, Plan, bootstrap_difference, compare};
pub use cuped::adjust;
pub use power::{detectable_effect, power, units_needed};
pub use ratio::{Difference, Ratio, Unit, difference, ratio};
pub use sequential::{MIN_UNITS, Sequential, always_valid};

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

fn normal() -> Normal {
    Normal::standard()
}

/// Two-sided p-value of a standardised difference with `df` degrees of freedom. 1 if it is not a
/// number.
pub fn two_sided(t: f64, df: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, df) {
        Ok(distribution) if t.is_finite() => (2.0 * distribution.cdf(-t.abs())).min(1.0),
        _ => 1.0,
    }
}

/// The quantile that a two-sided interval of confidence `1 - alpha` reaches to. Infinite without
/// degrees of freedom.
pub fn critical(alpha: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::INFINITY, |t| t.inverse_cdf(1.0 - alpha / 2.0))
}
