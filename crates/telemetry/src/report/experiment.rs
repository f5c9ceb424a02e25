//! What can be said about one experiment.

use serde::{Deserialize, Serialize};

use crate::experiment::{Definition, Primary};
use crate::metrics::{ArmTotals, Histogram, Metric, Totals, UnitTotals};
use crate::stats::{
    Comparison, Interval, Plan, SRM_ALARM, cluster_bootstrap, compare, sample_ratio,
};

/// An experiment and when it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    pub name: String,
    pub definition: Definition,
    /// Milliseconds since 1970.
    pub started: i64,
    pub stopped: Option<i64>,
}

impl Primary {
    pub fn metric(self) -> Metric {
        match self {
            Primary::RetainedPerHour => Metric::RetainedPerHour(3),
            Primary::AcceptanceRate => Metric::AcceptanceRate,
            Primary::PersistenceRate => Metric::PersistenceRate(3),
            Primary::CompletedRatio => Metric::CompletedRatio,
        }
    }
}

/// One variant beside the control.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantReport {
    pub name: String,
    pub units: usize,
    pub totals: Totals,
    /// For each metric; the control has none.
    pub comparisons: Vec<(Metric, Comparison)>,
    pub guards: Vec<GuardRail>,
    pub outcome: Outcome,
}

/// What the primary metric says so far; it may be read at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Control,
    Better,
    Worse,
    /// No difference is shown yet.
    Open,
    /// Fewer units than a sequential test needs.
    TooFewUnits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// The interval lies within what is tolerated.
    Holds,
    /// It lies beyond.
    Broken,
    Open,
}

/// Something that must not get worse.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardRail {
    pub name: &'static str,
    /// Relative change, and its interval.
    pub change: f64,
    pub interval: Option<Interval>,
    pub tolerated: f64,
    pub state: GuardState,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentReport {
    pub experiment: Experiment,
    pub plan: Plan,
    pub control: String,
    pub primary: Metric,
    /// In the order of the definition.
    pub variants: Vec<VariantReport>,
    /// p-value of the test that units came as the weights say.
    pub sample_ratio: f64,
    /// Units that met several variants.
    pub crossed: usize,
    /// Days from the first row to the last.
    pub days: f64,
    /// Further days that the primary metric's effect needs at the present rate of units; `None`:
    /// unknown, 0: enough.
    pub days_left: Option<f64>,
}

const DAY_MS: f64 = 86_400_000.0;

impl ExperimentReport {
    pub fn new(
        experiment: &Experiment,
        units: &ArmTotals,
        plan: &Plan,
        now: i64,
    ) -> ExperimentReport {
        let definition = &experiment.definition;
        let plan = Plan { effect: definition.effect, ..*plan };
        let (primary, control) = (definition.metric.metric(), definition.control.clone());
        let report_of = |name: &str| variant(name, &control, primary, units, &plan, definition);
        let variants: Vec<VariantReport> =
            definition.variant.keys().map(|name| report_of(name)).collect();
        let counts: Vec<u64> = variants.iter().map(|v| v.units as u64).collect();
        let weights: Vec<f64> = definition.weights().iter().map(|(_, w)| f64::from(*w)).collect();
        let (first, last) = (units.first.unwrap_or(now), units.last.unwrap_or(now));
        let days = ((last - first).max(0) as f64 / DAY_MS).max(1.0 / 24.0);
        let have: u64 = counts.iter().sum();
        let of_primary = |v: &VariantReport| {
            v.comparisons.iter().find(|(m, _)| *m == primary).and_then(|(_, c)| c.needed)
        };
        let needed = variants.iter().filter_map(of_primary).max();
        let days_left = needed
            .filter(|_| have > 0)
            .map(|needed| needed.saturating_sub(have) as f64 / (have as f64 / days));
        ExperimentReport {
            experiment: experiment.clone(),
            plan,
            control,
            primary,
            sample_ratio: sample_ratio(&counts, &weights),
            variants,
            crossed: units.crossed,
            days,
            days_left,
        }
    }

    /// What is still to be expected, in one sentence that does not contradict the outcome.
    pub fn outlook(&self) -> String {
        let effect = format!("{:.0} % on the deciding metric", 100.0 * self.plan.effect);
        let is_decided = self
            .variants
            .iter()
            .filter(|v| v.outcome != Outcome::Control)
            .all(|v| matches!(v.outcome, Outcome::Better | Outcome::Worse));
        let more = match self.days_left {
            Some(days) if days > 0.0 && days.ceil() == 1.0 => Some("1 more day".to_owned()),
            Some(days) if days > 0.0 => Some(format!("{:.0} more days", days.ceil())),
            _ => None,
        };
        match (is_decided, self.experiment.stopped.is_some(), more) {
            (true, true, _) => "decided, and stopped: nothing is left to do".to_owned(),
            (true, false, _) => format!(
                "decided: more days change the size of the effect, hardly its sign; `lacuna telemetry experiment stop {}` ends it",
                self.experiment.name
            ),
            (false, true, Some(more)) => {
                format!(
                    "stopped before it was decided: to be sure of an effect of {effect} it would have needed {more} at this rate"
                )
            }
            (false, true, None) => "stopped before it was decided".to_owned(),
            (false, false, Some(more)) => {
                format!("an effect of {effect} needs {more} at this rate")
            }
            (false, false, None) if self.days_left.is_some() => {
                format!("there are enough units for an effect of {effect}, and none is shown")
            }
            (false, false, None) => "how much longer it must run cannot be told yet".to_owned(),
        }
    }

    /// Something sorted units into arms other than the assignment did.
    pub fn is_unbalanced(&self) -> bool {
        self.sample_ratio < SRM_ALARM
    }
}

fn variant(
    name: &str,
    control: &str,
    primary: Metric,
    units: &ArmTotals,
    plan: &Plan,
    definition: &Definition,
) -> VariantReport {
    let n = units.arms.get(name).map_or(0, Vec::len);
    let mut report = VariantReport {
        name: name.to_owned(),
        units: n,
        totals: units.total(name),
        comparisons: Vec::new(),
        guards: Vec::new(),
        outcome: Outcome::Control,
    };
    if name == control {
        return report;
    }
    for metric in Metric::SHOWN {
        if let Some(comparison) =
            compare(&units.units(control, metric), &units.units(name, metric), plan)
        {
            report.comparisons.push((metric, comparison));
        }
    }
    let none = Vec::new();
    let arm = |name: &str| units.arms.get(name).unwrap_or(&none);
    report.guards = vec![
        latency_guard(arm(control), arm(name), definition.guard.latency_p90, plan),
        dismissal_guard(arm(control), arm(name), definition.guard.dismissals, plan),
    ];
    let decided = report
        .comparisons
        .iter()
        .find(|(m, _)| *m == primary)
        .and_then(|(_, c)| c.sequential.map(|s| (s, c.difference.value)));
    report.outcome = match decided {
        None => Outcome::TooFewUnits,
        Some((sequential, difference)) if sequential.p < plan.alpha => {
            if difference > 0.0 {
                Outcome::Better
            } else {
                Outcome::Worse
            }
        }
        Some(_) => Outcome::Open,
    };
    report
}

/// Rounds for statistics that merge a histogram for every unit.
const GUARD_ROUNDS: usize = 400;
const MAX_MERGES: usize = 2_000_000;

fn latency_guard(
    control: &[UnitTotals],
    treatment: &[UnitTotals],
    tolerated: f64,
    plan: &Plan,
) -> GuardRail {
    let p90 = |counts: &[u32], units: &[UnitTotals]| {
        let mut all = Histogram::default();
        counts
            .iter()
            .zip(units)
            .filter(|(n, _)| **n > 0)
            .for_each(|(n, u)| all.merge_times(&u.totals.latency, u64::from(*n)));
        all.quantile_ms(0.9).unwrap_or(f64::NAN)
    };
    guard("latency p90", control, treatment, tolerated, plan, p90)
}

fn dismissal_guard(
    control: &[UnitTotals],
    treatment: &[UnitTotals],
    tolerated: f64,
    plan: &Plan,
) -> GuardRail {
    let share = |counts: &[u32], units: &[UnitTotals]| {
        let (y, x) = counts.iter().zip(units).fold((0.0, 0.0), |(y, x), (n, u)| {
            let (numerator, denominator) = Metric::DismissalRate.sums(&u.totals);
            (y + f64::from(*n) * numerator, x + f64::from(*n) * denominator)
        });
        y / x
    };
    guard("dismissals", control, treatment, tolerated, plan, share)
}

fn guard(
    name: &'static str,
    control: &[UnitTotals],
    treatment: &[UnitTotals],
    tolerated: f64,
    plan: &Plan,
    of: impl Fn(&[u32], &[UnitTotals]) -> f64,
) -> GuardRail {
    let change = |a: &[u32], b: &[u32]| of(b, treatment) / of(a, control) - 1.0;
    let rounds = GUARD_ROUNDS.min(MAX_MERGES / (control.len() + treatment.len()).max(1));
    let interval =
        cluster_bootstrap((control.len(), treatment.len()), rounds, plan.alpha, plan.seed, change);
    let state = match interval {
        Some(i) if i.high <= tolerated => GuardState::Holds,
        Some(i) if i.low > tolerated => GuardState::Broken,
        _ => GuardState::Open,
    };
    GuardRail {
        name,
        change: change(&vec![1; control.len()], &vec![1; treatment.len()]),
        interval,
        tolerated,
        state,
    }
}

impl Outcome {
    pub fn text(self) -> &'static str {
        match self {
            Outcome::Control => "control",
            Outcome::Better => "better",
            Outcome::Worse => "worse",
            Outcome::Open => "no difference shown yet",
            Outcome::TooFewUnits => "too few units to say",
        }
    }
}

impl GuardState {
    pub fn text(self) -> &'static str {
        match self {
            GuardState::Holds => "holds",
            GuardState::Broken => "BROKEN",
            GuardState::Open => "not decided yet",
        }
    }
}
