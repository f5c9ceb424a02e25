//! How long it took and what the cache saved: apart from the scores, because it is never the same
//! twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::generate::TimingRow;
use crate::run::{LATENCY, Run, RunError};
use crate::stats::quantile;

/// Times of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    pub lines: Vec<LatencyLine>,
}

/// One mode on one set. Milliseconds; quantiles by the nearest rank.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyLine {
    pub set: String,
    pub mode: String,
    pub n: usize,
    /// Examples that were completed together; more than one: a time is an example's share of its
    /// batch's.
    pub batch: usize,
    pub total_p50: f64,
    pub total_p95: f64,
    /// Until the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_p50: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_p95: Option<f64>,
    /// Means a completion.
    pub prefilled: f64,
    pub cached: f64,
    pub generated: f64,
}

#[derive(Default)]
struct Times {
    /// Eight bytes a completion: a million rows are 8 MB.
    total: Vec<f64>,
    first: Vec<f64>,
    batch: usize,
    prefilled: f64,
    cached: f64,
    generated: f64,
}

impl Latencies {
    /// Reads the run's times.
    pub fn of_run(run: &Run) -> Result<Latencies, RunError> {
        let mut times: BTreeMap<(String, String), Times> = BTreeMap::new();
        for row in run.rows::<TimingRow>(LATENCY, 0)? {
            let row = row?;
            for t in row.timings {
                let times = times.entry((row.set.clone(), t.mode)).or_default();
                times.total.push(t.total_ms);
                times.first.extend(t.first_ms);
                times.batch = times.batch.max(t.batch);
                times.prefilled += t.prefilled as f64;
                times.cached += t.cached as f64;
                times.generated += t.generated as f64;
            }
        }
        let lines = times.into_iter().map(|((set, mode), mut t)| {
            let n = t.total.len();
            let first = |p| (!t.first.is_empty()).then(|| quantile(&mut t.first.clone(), p));
            LatencyLine {
                set,
                mode,
                n,
                batch: t.batch,
                first_p50: first(0.5),
                first_p95: first(0.95),
                total_p50: quantile(&mut t.total, 0.5),
                total_p95: quantile(&mut t.total, 0.95),
                prefilled: t.prefilled / n as f64,
                cached: t.cached / n as f64,
                generated: t.generated / n as f64,
            }
        });
        Ok(Latencies { lines: lines.collect() })
    }

    pub fn line(&self, set: &str, mode: &str) -> Option<&LatencyLine> {
        self.lines.iter().find(|l| l.set == set && l.mode == mode)
    }
}
