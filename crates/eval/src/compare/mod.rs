//! Is one run better than another? Paired differences example by example, with intervals and tests,
//! and the examples that changed.
//!
//! Owns: pairing, differences, conditions (`--require`, `--no-regression`). Does not own: single
//! runs (`summary`). Holds a few numbers for each example of one run, never their texts. Start
//! reading at [`compare`].

mod cases;
mod condition;
mod text;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

pub use cases::{Case, cases};
pub use condition::{Condition, ConditionError, regressions};
pub use text::{markdown, side_by_side};

use crate::run::{ModeScores, Run, RunError, SCORES, ScoreRow};
use crate::stats::{Bootstrap, Weights, permutation_test, sign_test};
use crate::summary::{ALL_SETS, Interval, METRICS, Metric};

/// Two runs beside each other; differences are `b - a`.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub a: Side,
    pub b: Side,
    /// Examples in both runs.
    pub pairs: u64,
    /// Examples that only one of the runs has, or that failed in one.
    pub unpaired: u64,
    /// Examples of a language that is off in one of the runs or in both: they are in no other
    /// number.
    pub off: u64,
    pub sets: Vec<SetComparison>,
}

/// One of the two: a folder's name and the mode that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    pub name: String,
    pub mode: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct SetComparison {
    pub set: String,
    pub metrics: Vec<Difference>,
}

/// A metric in both runs over the same examples.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub metric: &'static str,
    pub n: u64,
    pub a: f64,
    pub b: f64,
    /// Of the mean difference, clustered by group.
    pub difference: Interval,
    /// Examples that got better and worse (more is not better for every metric).
    pub wins: u64,
    pub losses: u64,
    /// Exact, over examples.
    pub sign_test: f64,
    /// Over groups.
    pub permutation_test: f64,
}

/// What is kept of an example: its value of each of [`METRICS`], NaN where there is none.
type Values = [f64; METRICS.len()];

#[derive(Default)]
struct Paired {
    n: u64,
    sums: (f64, f64),
    differences: Bootstrap,
    wins: u64,
    losses: u64,
    by_group: BTreeMap<String, f64>,
}

/// The mode that stands for a run: the one asked for, or the first that it has of `editor`,
/// `endpoint`, `raw`, else its first.
pub fn mode_of(run: &Run, wanted: Option<&str>) -> Option<String> {
    let modes = &run.manifest.config.modes;
    let has = |mode: &str| modes.iter().any(|m| m == mode);
    match wanted {
        Some(mode) => has(mode).then(|| mode.to_owned()),
        None => ["editor", "endpoint", "raw"]
            .into_iter()
            .find(|m| has(m))
            .map(str::to_owned)
            .or_else(|| modes.first().cloned()),
    }
}

/// Compares a mode of `a` with a mode of `b`, over the examples that both have.
pub fn compare(
    (a, a_mode): (&Run, &str),
    (b, b_mode): (&Run, &str),
) -> Result<Comparison, RunError> {
    let seed = a.manifest.config.seed;
    let mut theirs: HashMap<(String, String), Values> = HashMap::new();
    let mut unpaired = 0;
    let off = off_in((a, b))?;
    for row in a.rows::<ScoreRow>(SCORES, 0)? {
        let row = row?;
        if off.contains(&(row.set.clone(), row.id.clone())) {
            continue;
        }
        match values(&row, a_mode) {
            Some(values) => drop(theirs.insert((row.set, row.id), values)),
            None => unpaired += 1,
        }
    }
    let mut sets: Vec<(String, Vec<Paired>)> = Vec::new();
    let empty = || METRICS.iter().map(|_| Paired::default()).collect::<Vec<_>>();
    let mut all = empty();
    let mut pairs = 0;
    for row in b.rows::<ScoreRow>(SCORES, 0)? {
        let row = row?;
        let key = (row.set.clone(), row.id.clone());
        if off.contains(&key) {
            continue;
        }
        let (Some(ours), Some(theirs)) = (values(&row, b_mode), theirs.remove(&key)) else {
            unpaired += 1;
            continue;
        };
        pairs += 1;
        let weights = Weights::of(seed, &row.group);
        let index = sets.iter().position(|(name, _)| *name == row.set).unwrap_or_else(|| {
            sets.push((row.set.clone(), empty()));
            sets.len() - 1
        });
        for (i, metric) in METRICS.iter().enumerate() {
            if !theirs[i].is_nan() && !ours[i].is_nan() {
                sets[index].1[i].add(metric, theirs[i], ours[i], &row.group, &weights);
                all[i].add(metric, theirs[i], ours[i], &row.group, &weights);
            }
        }
    }
    unpaired += theirs.len() as u64;
    if sets.len() > 1 {
        sets.push((ALL_SETS.to_owned(), all));
    }
    let sets = sets.into_iter().map(|(set, paired)| {
        let metrics = METRICS
            .iter()
            .zip(paired)
            .filter_map(|(metric, paired)| paired.finish(metric, seed))
            .collect();
        SetComparison { set, metrics }
    });
    Ok(Comparison {
        a: side(a, a_mode),
        b: side(b, b_mode),
        pairs,
        unpaired,
        off: off.len() as u64,
        sets: sets.collect(),
    })
}

/// Sets and ids of the examples whose language is off in one of the runs.
pub(crate) fn off_in((a, b): (&Run, &Run)) -> Result<HashSet<(String, String)>, RunError> {
    let mut off = HashSet::new();
    for run in [a, b] {
        for row in run.rows::<ScoreRow>(SCORES, 0)? {
            let row = row?;
            if row.off {
                off.insert((row.set, row.id));
            }
        }
    }
    Ok(off)
}

fn side(run: &Run, mode: &str) -> Side {
    let name =
        run.folder.file_name().unwrap_or(run.folder.as_os_str()).to_string_lossy().into_owned();
    Side { name, mode: mode.to_owned() }
}

/// The scores of an example in a mode; `None` if it failed or has no such mode.
pub(crate) fn scores<'a>(row: &'a ScoreRow, mode: &str) -> Option<&'a ModeScores> {
    row.modes.iter().find(|m| m.mode == mode)
}

fn values(row: &ScoreRow, mode: &str) -> Option<Values> {
    let scores = scores(row, mode)?;
    Some(METRICS.map(|m| scores.values.get(m.name).copied().unwrap_or(f64::NAN)))
}

impl Paired {
    fn add(&mut self, metric: &Metric, a: f64, b: f64, group: &str, weights: &Weights) {
        let difference = b - a;
        self.n += 1;
        self.sums = (self.sums.0 + a, self.sums.1 + b);
        self.differences.add(difference, weights);
        let better = if metric.higher_is_better { difference } else { -difference };
        self.wins += u64::from(better > 0.0);
        self.losses += u64::from(better < 0.0);
        *self.by_group.entry(group.to_owned()).or_default() += difference;
    }

    fn finish(self, metric: &Metric, seed: u64) -> Option<Difference> {
        let difference = self.differences.estimate()?.into();
        let groups: Vec<f64> = self.by_group.into_values().collect();
        Some(Difference {
            metric: metric.name,
            n: self.n,
            a: self.sums.0 / self.n as f64,
            b: self.sums.1 / self.n as f64,
            difference,
            wins: self.wins,
            losses: self.losses,
            sign_test: sign_test(self.wins, self.losses),
            permutation_test: permutation_test(&groups, seed),
        })
    }
}
