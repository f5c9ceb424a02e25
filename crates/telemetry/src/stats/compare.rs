//! Two arms on one metric: everything a report says about them.

use super::bootstrap::{Interval, studentised_bootstrap};
use super::cuped::adjust;
use super::power::{detectable_effect, units_needed};
use super::ratio::{Difference, Ratio, Unit, difference, ratio};
use super::sequential::{MIN_UNITS, Sequential, always_valid};

/// How a comparison is made; fixed when an experiment starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub alpha: f64,
    pub power: f64,
    /// The relative effect that the experiment is to find, e.g. 0.05.
    pub effect: f64,
    /// Rounds of the bootstrap; 0: none.
    pub rounds: usize,
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { alpha: 0.05, power: 0.8, effect: 0.05, rounds: 2_000, seed: 7 }
    }
}

/// Draws of units in one bootstrap; with more units there are fewer rounds.
const MAX_DRAWS: usize = 20_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    pub control: Ratio,
    pub treatment: Ratio,
    /// By the delta method, with the covariate taken out if there was one.
    pub difference: Difference,
    /// Share of the variance that the covariate took away; `None`: there was none.
    pub explained: Option<f64>,
    /// May be looked at at any time. `None`: too few units as yet.
    pub sequential: Option<Sequential>,
    pub bootstrap: Option<Interval>,
    /// The smallest difference that the units of now would find with the plan's power.
    pub detectable: f64,
    /// Units in all that the plan's effect needs.
    pub needed: Option<u64>,
}

/// Compares two arms; `None` if one of them has no denominator.
pub fn compare(control: &[Unit], treatment: &[Unit], plan: &Plan) -> Option<Comparison> {
    let raw = (ratio(control)?, ratio(treatment)?);
    let adjusted = adjust(&[control, treatment]);
    let (of_control, of_treatment, explained) = match &adjusted {
        Some((arms, share)) => (ratio(&arms[0])?, ratio(&arms[1])?, Some(*share)),
        None => (raw.0, raw.1, None),
    };
    let difference = difference(of_control, of_treatment);
    let effect = plan.effect * raw.0.value.abs();
    let enough = control.len() >= MIN_UNITS && treatment.len() >= MIN_UNITS;
    let n = control.len() + treatment.len();
    let (a, b): (&[Unit], &[Unit]) = match &adjusted {
        Some((arms, _)) => (&arms[0], &arms[1]),
        None => (control, treatment),
    };
    Some(Comparison {
        control: raw.0,
        treatment: raw.1,
        difference,
        explained,
        sequential: enough.then(|| always_valid(&difference, effect, plan.alpha)),
        bootstrap: bootstrap_difference(a, b, plan),
        detectable: detectable_effect(difference.error, plan.alpha, plan.power),
        needed: units_needed(n, difference.error, effect, plan.alpha, plan.power),
    })
}

/// Studentised cluster bootstrap of treatment minus control.
pub fn bootstrap_difference(control: &[Unit], treatment: &[Unit], plan: &Plan) -> Option<Interval> {
    let n = (control.len(), treatment.len());
    let rounds = plan.rounds.min(MAX_DRAWS / (n.0 + n.1).max(1));
    let found = difference(ratio(control)?, ratio(treatment)?);
    let round = |a: &[u32], b: &[u32]| match (drawn(control, a), drawn(treatment, b)) {
        (Some(a), Some(b)) => (b.0 - a.0, (a.1 + b.1).sqrt()),
        _ => (f64::NAN, f64::NAN),
    };
    studentised_bootstrap(n, rounds, plan.alpha, plan.seed, (found.value, found.error), round)
}

/// Ratio and squared error of units that were drawn so many times each; as [`ratio`] of the units
/// repeated.
fn drawn(units: &[Unit], counts: &[u32]) -> Option<(f64, f64)> {
    let all = || units.iter().zip(counts).map(|(u, n)| (u, f64::from(*n)));
    let (y, x) =
        all().fold((0.0, 0.0), |(y, x), (u, n)| (y + n * u.numerator, x + n * u.denominator));
    let (value, n) = (y / x, units.len() as f64);
    let squares: f64 = all()
        .map(|(u, n)| n * ((u.numerator - value * u.denominator) / (x - u.denominator)).powi(2))
        .sum();
    (x > 0.0).then_some((value, (n - 1.0) / n * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(values: &[f64]) -> Vec<Unit> {
        values.iter().map(|v| Unit { numerator: *v, denominator: 10.0, before: None }).collect()
    }

    #[test]
    fn bootstrap_and_delta_method_agree() {
        let control = units(&(0..60).map(|i| f64::from(i % 7)).collect::<Vec<_>>());
        let treatment = units(&(0..60).map(|i| f64::from(i % 7) + 1.0).collect::<Vec<_>>());
        let c = compare(&control, &treatment, &Plan::default()).unwrap();
        let ((low, high), boot) = (c.difference.interval(0.05), c.bootstrap.unwrap());
        assert!(
            (boot.low - low).abs() < 0.012 && (boot.high - high).abs() < 0.012,
            "{boot:?} {low} {high}"
        );
        assert!(c.sequential.unwrap().low < low, "always-valid intervals are wider");
    }

    #[test]
    fn drawing_every_unit_once_changes_nothing() {
        let all = units(&[1.0, 4.0, 2.0]);
        let r = ratio(&all).unwrap();
        let (value, square) = drawn(&all, &[1, 1, 1]).unwrap();
        assert!((value - r.value).abs() < 1e-12 && (square.sqrt() - r.error).abs() < 1e-12);
        let twice = ratio(&[all[0], all[0], all[2]]).unwrap();
        let (value, square) = drawn(&all, &[2, 0, 1]).unwrap();
        assert!((value - twice.value).abs() < 1e-12 && (square.sqrt() - twice.error).abs() < 1e-12);
    }

    #[test]
    fn few_units_have_no_sequential_test_and_none_no_comparison() {
        let few = units(&[1.0, 2.0]);
        assert_eq!(compare(&few, &few, &Plan::default()).unwrap().sequential, None);
        assert_eq!(compare(&few, &[], &Plan::default()), None);
    }
}
