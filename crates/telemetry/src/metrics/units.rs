//! The rows of one experiment, summed up by unit.

use std::collections::{BTreeMap, HashMap};

use super::totals::{Codes, Metric, Totals};
use crate::event::{Event, Int, Names, Text};
use crate::experiment::parse_arms;
use crate::stats::Unit;

/// One unit of randomisation: its rows, and what its installation did before the experiment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitTotals {
    pub totals: Totals,
    pub before: Totals,
}

/// The units of each variant, and what could not be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmTotals {
    pub arms: BTreeMap<String, Vec<UnitTotals>>,
    /// Units that met more than one variant: left out, and a sign that something is wrong.
    pub crossed: usize,
    /// Time of the first and the last row.
    pub first: Option<i64>,
    pub last: Option<i64>,
}

impl ArmTotals {
    /// Sums of a metric, by unit. A unit whose installation did nothing before has no past.
    pub fn units(&self, variant: &str, metric: Metric) -> Vec<Unit> {
        let unit = |u: &UnitTotals| {
            let (numerator, denominator) = metric.sums(&u.totals);
            let before = metric.sums(&u.before);
            Unit { numerator, denominator, before: (before.1 > 0.0).then_some(before) }
        };
        self.arms.get(variant).map(|units| units.iter().map(unit).collect()).unwrap_or_default()
    }

    pub fn total(&self, variant: &str) -> Totals {
        let mut total = Totals::default();
        self.arms.get(variant).into_iter().flatten().for_each(|u| total.merge(&u.totals));
        total
    }
}

/// Collects units as rows come.
pub struct UnitCollector {
    experiment: String,
    started: i64,
    codes: Codes,
    /// What a number of [`Text::Arms`] means for this experiment: variant and unit; `None`: nothing.
    arms: HashMap<u32, Option<(String, String)>>,
    units: HashMap<(u32, String), HashMap<String, Totals>>,
    before: HashMap<u32, Totals>,
    first: Option<i64>,
    last: Option<i64>,
}

impl UnitCollector {
    /// `started`: rows before it are the past that covariates come from.
    pub fn new(experiment: &str, started: i64, names: &mut Names) -> UnitCollector {
        UnitCollector {
            experiment: experiment.to_owned(),
            started,
            codes: Codes::of(names),
            arms: HashMap::new(),
            units: HashMap::new(),
            before: HashMap::new(),
            first: None,
            last: None,
        }
    }

    pub fn add(&mut self, event: &Event, names: &Names) {
        let at = event.int(Int::At).unwrap_or(0);
        let experiment = self.experiment.as_str();
        let arm = self.arms.entry(event.text(Text::Arms)).or_insert_with_key(|number| {
            let found = parse_arms(names.text(*number)).find(|a| a.experiment == experiment);
            found.map(|a| (a.variant.to_owned(), a.unit.to_owned()))
        });
        let Some((variant, unit)) = arm else {
            if at < self.started {
                self.before.entry(event.installation).or_default().add(event, &self.codes);
            }
            return;
        };
        self.first = self.first.into_iter().chain([at]).min();
        self.last = self.last.max(Some(at));
        let unit = self.units.entry((event.installation, unit.clone())).or_default();
        match unit.get_mut(variant) {
            Some(totals) => totals.add(event, &self.codes),
            None => unit.entry(variant.clone()).or_default().add(event, &self.codes),
        }
    }

    /// Takes the sums of another part of the same rows, in which installations have the same numbers.
    pub fn merge(&mut self, other: UnitCollector) {
        for (key, variants) in other.units {
            let mine = self.units.entry(key).or_default();
            for (variant, totals) in variants {
                mine.entry(variant).or_default().merge(&totals);
            }
        }
        for (installation, totals) in other.before {
            self.before.entry(installation).or_default().merge(&totals);
        }
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
    }

    pub fn finish(self) -> ArmTotals {
        let mut all = ArmTotals { first: self.first, last: self.last, ..ArmTotals::default() };
        let mut units: Vec<_> = self.units.into_iter().collect();
        // The order of units decides what a seeded bootstrap draws.
        units.sort_by(|a, b| a.0.cmp(&b.0));
        for ((installation, _), variants) in units {
            if variants.len() > 1 {
                all.crossed += 1;
                continue;
            }
            for (variant, totals) in variants {
                let before = self.before.get(&installation).cloned().unwrap_or_default();
                all.arms.entry(variant).or_default().push(UnitTotals { totals, before });
            }
        }
        all
    }
}

/// The units of an experiment among some rows.
pub fn collect_units(events: &[Event], names: &mut Names, experiment: &str, started: i64) -> ArmTotals {
    let mut collector = UnitCollector::new(experiment, started, names);
    events.iter().for_each(|e| collector.add(e, names));
    collector.finish()
}
