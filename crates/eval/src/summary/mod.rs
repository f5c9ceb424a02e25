//! From score rows to tables: means with intervals by set, bucket, mode and metric, in one pass
//! over the rows.
//!
//! Owns: which metrics exist and which are shown in which bucket. Does not own: how it looks
//! (`report`). Memory grows with the number of sets, buckets, modes and metrics, not with that of
//! the rows. Start reading at [`Summary::of_run`].

mod latency;
mod metrics;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use latency::{Latencies, LatencyLine};
pub use metrics::{METRICS, Metric, is_model_mode, metric};

use crate::run::{Manifest, Run, RunError, SCORES, ScoreRow};
use crate::stats::{Bootstrap, Estimate, Weights};

/// Values of a dimension that are told apart; further ones are counted as [`OTHERS`].
const MAX_VALUES: usize = 24;
const OTHERS: &str = "others";
/// Name of the table over all sets of a run.
pub const ALL_SETS: &str = "all sets";

/// The dimension of what is counted apart, by language.
pub const OFF: &str = "language that is off";

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The result of a run. The same run has the same bytes: no time is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub manifest: Manifest,
    pub sets: Vec<SetSummary>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetSummary {
    pub set: String,
    pub rows: u64,
    /// Examples of which the model said nothing because something failed; they are in no mean.
    pub failed: u64,
    /// Examples in languages in which an editor would show nothing; they are in no mean but those
    /// of the dimension [`OFF`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub off: u64,
    pub lines: Vec<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<GoldSummary>,
    /// In the editor's mode, unasked: how often nothing is shown, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub silences: BTreeMap<String, u64>,
}

/// One mode in one bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Empty for all rows of the set.
    pub dimension: String,
    pub value: String,
    pub mode: String,
    pub rows: u64,
    pub metrics: BTreeMap<String, Interval>,
}

/// A mean and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    pub n: u64,
}

impl From<Estimate> for Interval {
    fn from(e: Estimate) -> Interval {
        let rounded = |x: f64| (x * 1e6).round() / 1e6;
        Interval { mean: rounded(e.mean), low: rounded(e.low), high: rounded(e.high), n: e.n }
    }
}

/// How likely the model finds the true middles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldSummary {
    /// Nats a token, and its exponential.
    pub nats_per_token: Interval,
    pub perplexity: f64,
    /// Comparable between tokenizers.
    pub bits_per_char: f64,
    pub tokens: u64,
}

#[derive(Default)]
struct Accumulator {
    rows: u64,
    failed: u64,
    off: u64,
    /// By (dimension, value, mode).
    lines: BTreeMap<(String, String, String), Running>,
    /// Values seen of each dimension.
    values: BTreeMap<String, Vec<String>>,
    gold: Gold,
    silences: BTreeMap<String, u64>,
}

/// A line of a table while rows come in.
#[derive(Default)]
struct Running {
    rows: u64,
    metrics: BTreeMap<String, Bootstrap>,
}

#[derive(Default)]
struct Gold {
    nats: Bootstrap,
    log_likelihood: f64,
    tokens: u64,
    chars: u64,
}

impl Summary {
    /// Reads the run's scores.
    pub fn of_run(run: &Run) -> Result<Summary, RunError> {
        let seed = run.manifest.config.seed;
        let mut sets: Vec<(String, Accumulator)> = Vec::new();
        let mut all = Accumulator::default();
        for row in run.rows::<ScoreRow>(SCORES, 0)? {
            let row = row?;
            // A group of one name in two sets (a HumanEval problem) is one group over all sets.
            let weights = Weights::of(seed, &row.group);
            let index = sets.iter().position(|(name, _)| *name == row.set).unwrap_or_else(|| {
                sets.push((row.set.clone(), Accumulator::default()));
                sets.len() - 1
            });
            sets[index].1.add(&row, &weights, true);
            all.add(&row, &weights, false);
        }
        if sets.len() > 1 {
            sets.push((ALL_SETS.to_owned(), all));
        }
        let sets = sets.into_iter().map(|(name, accumulator)| accumulator.finish(name)).collect();
        Ok(Summary { manifest: run.manifest.clone(), sets })
    }

    pub fn set(&self, name: &str) -> Option<&SetSummary> {
        self.sets.iter().find(|s| s.set == name)
    }

    /// The table over everything: the last one.
    pub fn whole(&self) -> Option<&SetSummary> {
        self.sets.last()
    }
}

impl SetSummary {
    /// The line of a mode in a bucket; empty `dimension` and `value`: all rows.
    pub fn line(&self, dimension: &str, value: &str, mode: &str) -> Option<&Line> {
        self.lines.iter().find(|l| l.dimension == dimension && l.value == value && l.mode == mode)
    }

    /// Modes in the order in which they were run.
    pub fn modes<'a>(&self, manifest: &'a Manifest) -> Vec<&'a str> {
        let there = |mode: &&str| self.line("", "", mode).is_some();
        manifest.config.modes.iter().map(String::as_str).filter(there).collect()
    }

    /// Dimensions that tell rows of this set apart, each with its values in order.
    pub fn dimensions(&self) -> Vec<(&str, Vec<&str>)> {
        let mut dimensions: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in self.lines.iter().filter(|l| !l.dimension.is_empty()) {
            match dimensions.iter_mut().find(|(name, _)| *name == line.dimension) {
                Some((_, values)) if values.contains(&line.value.as_str()) => {}
                Some((_, values)) => values.push(&line.value),
                None => dimensions.push((&line.dimension, vec![&line.value])),
            }
        }
        for (_, values) in &mut dimensions {
            values.sort_by_key(|value| (first_number(value), *value));
        }
        // Where every language has one kind of middle the joint dimension says nothing new.
        let languages = dimensions
            .iter()
            .find(|(name, _)| *name == "language")
            .map_or(0, |(_, values)| values.len());
        dimensions.retain(|(name, values)| {
            *name == OFF || values.len() > if *name == "language, middle" { languages } else { 1 }
        });
        dimensions
    }
}

/// Ranges are ordered by where they start: `<128` before `128–255` before `16+` is not what text
/// order gives.
fn first_number(value: &str) -> (u64, bool) {
    let digits: String = value
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    (digits.parse().unwrap_or(u64::MAX), !value.starts_with('<'))
}

impl Accumulator {
    fn add(&mut self, row: &ScoreRow, weights: &Weights, with_buckets: bool) {
        self.rows += 1;
        self.failed += u64::from(row.error.is_some());
        self.off += u64::from(row.off);
        if let Some(gold) = row.gold.filter(|g| g.tokens > 0 && !row.off) {
            self.gold.nats.add_ratio(-gold.log_likelihood, gold.tokens as f64, weights);
            self.gold.log_likelihood += gold.log_likelihood;
            self.gold.tokens += gold.tokens as u64;
            self.gold.chars += gold.chars as u64;
        }
        let language = row.buckets.get("language").map_or("?", String::as_str);
        let mut keys = if row.off {
            vec![(OFF.to_owned(), self.known(OFF, language))]
        } else {
            vec![(String::new(), String::new())]
        };
        if with_buckets && !row.off {
            for (dimension, value) in &row.buckets {
                keys.push((dimension.clone(), self.known(dimension, value)));
            }
            // SantaCoder-FIM is reported so.
            if let (Some(language), Some(middle)) =
                (row.buckets.get("language"), row.buckets.get("middle"))
            {
                keys.push((
                    "language, middle".to_owned(),
                    self.known("language, middle", &format!("{language}, {middle}")),
                ));
            }
        }
        for mode in &row.modes {
            if let Some(reason) = mode.silence.as_ref().filter(|_| !row.off) {
                *self.silences.entry(reason.clone()).or_default() += 1;
            }
            for (dimension, value) in &keys {
                let line = self
                    .lines
                    .entry((dimension.clone(), value.clone(), mode.mode.clone()))
                    .or_default();
                line.rows += 1;
                for (name, value) in &mode.values {
                    if metric(name).is_some_and(|m| m.kept(dimension)) {
                        line.metrics.entry(name.clone()).or_default().add(*value, weights);
                    }
                }
            }
        }
    }

    fn known(&mut self, dimension: &str, value: &str) -> String {
        let values = self.values.entry(dimension.to_owned()).or_default();
        if !values.iter().any(|v| v == value) {
            if values.len() >= MAX_VALUES {
                return OTHERS.to_owned();
            }
            values.push(value.to_owned());
        }
        value.to_owned()
    }

    fn finish(self, set: String) -> SetSummary {
        let lines =
            self.lines.into_iter().map(|((dimension, value, mode), Running { rows, metrics })| {
                let metrics = metrics
                    .into_iter()
                    .filter_map(|(name, b)| Some((name, b.estimate()?.into())))
                    .collect();
                Line { dimension, value, mode, rows, metrics }
            });
        let gold = self.gold.nats.estimate().map(|nats| GoldSummary {
            nats_per_token: nats.into(),
            perplexity: (nats.mean.exp() * 1e4).round() / 1e4,
            bits_per_char: (-self.gold.log_likelihood
                / self.gold.chars.max(1) as f64
                / std::f64::consts::LN_2
                * 1e6)
                .round()
                / 1e6,
            tokens: self.gold.tokens,
        });
        SetSummary {
            set,
            rows: self.rows,
            failed: self.failed,
            off: self.off,
            lines: lines.collect(),
            gold,
            silences: self.silences,
        }
    }
}
