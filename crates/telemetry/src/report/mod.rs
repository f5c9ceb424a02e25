//! Reports: from rows to what is told, once, and its three forms: a terminal table, JSON and a
//! page.
//!
//! Owns: [`Report`] and how it looks. Does not own: what metrics are (`metrics`), what follows from
//! them (`stats`), where a page is served. Start at [`Collector`], which takes rows from anywhere,
//! and [`Collector::report`].

mod collect;
mod experiment;
mod json;
mod page;
mod table;

pub use collect::{Collector, MAX_THREADS};
pub use experiment::{Experiment, ExperimentReport, GuardRail, GuardState, Outcome, VariantReport};
pub use json::to_json;
pub use page::{to_message_page, to_page};
pub use table::{experiment_table, to_table};

use crate::metrics::Summary;

/// Everything a report tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Milliseconds since 1970.
    pub made: i64,
    /// Start of the period asked for, if one was.
    pub since: Option<i64>,
    /// Some of the rows come from a simulation.
    pub simulated: bool,
    pub summary: Summary,
    pub experiments: Vec<ExperimentReport>,
}

/// `1,234,567`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 unit`, `2 units`.
fn units(n: usize) -> String {
    format!("{} unit{}", thousands(n as u64), if n == 1 { "" } else { "s" })
}

/// What a group is called where people read it: kinds of places in words, everything else as it is.
fn place_name(grouping: crate::metrics::Grouping, name: &str) -> String {
    match grouping {
        crate::metrics::Grouping::Node => name.replace('_', " "),
        _ => name.to_owned(),
    }
}

/// A metric's value for people; `-` where there is none.
fn value(metric: crate::metrics::Metric, value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if metric.is_share() => format!("{:.1} %", 100.0 * v),
        Some(v) if v.abs() >= 100.0 => thousands(v.round().max(0.0) as u64),
        Some(v) => format!("{v:.1}"),
    }
}

/// `+4.2 %` of the control's value; `-` where that is nothing.
fn relative(difference: f64, of: f64) -> String {
    let share = 100.0 * difference / of;
    if share.is_finite() { format!("{share:+.1} %") } else { "-".to_owned() }
}

fn p_value(p: f64) -> String {
    if p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
}

fn date(at: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .map_or_else(|| "-".to_owned(), |t| t.date_naive().to_string())
}
