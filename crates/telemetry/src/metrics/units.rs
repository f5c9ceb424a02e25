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
    /// What the rows of an installation with a number of [`Text::Arms`] go into: a place in
    /// `cells`; `None`: no part of the experiment.
    places: HashMap<(u32, u32), Option<usize>>,
    /// The one that was looked up last: an arm holds for many rows in a row.
    last_place: Option<((u32, u32), Option<usize>)>,
    /// Cells by installation, unit and variant.
    by_unit: BTreeMap<(u32, String, String), usize>,
    cells: Vec<Totals>,
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
            places: HashMap::new(),
            last_place: None,
            by_unit: BTreeMap::new(),
            cells: Vec::new(),
            before: HashMap::new(),
            first: None,
            last: None,
        }
    }

    pub fn add(&mut self, event: &Event, names: &Names) {
        let at = event.int(Int::At).unwrap_or(0);
        let key = (event.installation, event.text(Text::Arms));
        let place = match self.last_place {
            Some((last, place)) if last == key => place,
            _ => self.place(key, names),
        };
        self.last_place = Some((key, place));
        let Some(place) = place else {
            if at < self.started {
                self.before.entry(event.installation).or_default().add(event, &self.codes);
            }
            return;
        };
        self.first = self.first.into_iter().chain([at]).min();
        self.last = self.last.max(Some(at));
        self.cells[place].add(event, &self.codes);
    }

    /// Where rows of an installation with a number of [`Text::Arms`] go.
    fn place(&mut self, key: (u32, u32), names: &Names) -> Option<usize> {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let arm = parse_arms(names.text(key.1)).find(|a| a.experiment == self.experiment);
        let place = arm.map(|a| self.cell(key.0, a.unit, a.variant));
        self.places.insert(key, place);
        place
    }

    fn cell(&mut self, installation: u32, unit: &str, variant: &str) -> usize {
        let cells = &mut self.cells;
        *self.by_unit.entry((installation, unit.to_owned(), variant.to_owned())).or_insert_with(
            || {
                cells.push(Totals::default());
                cells.len() - 1
            },
        )
    }

    /// Takes the sums of another part of the same rows, in which installations have the same
    /// numbers.
    pub fn merge(&mut self, other: UnitCollector) {
        for ((installation, unit, variant), theirs) in other.by_unit {
            let mine = self.cell(installation, &unit, &variant);
            self.cells[mine].merge(&other.cells[theirs]);
        }
        for (installation, totals) in other.before {
            self.before.entry(installation).or_default().merge(&totals);
        }
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
    }

    pub fn finish(mut self) -> ArmTotals {
        let mut all = ArmTotals { first: self.first, last: self.last, ..ArmTotals::default() };
        // In the order of installations and units, which decides what a seeded bootstrap draws.
        let cells: Vec<_> = self.by_unit.into_iter().collect();
        for variants in
            cells.chunk_by(|((a, unit_a, _), _), ((b, unit_b, _), _)| (a, unit_a) == (b, unit_b))
        {
            let [((installation, _, variant), place)] = variants else {
                all.crossed += 1;
                continue;
            };
            let before = self.before.get(installation).cloned().unwrap_or_default();
            let totals = std::mem::take(&mut self.cells[*place]);
            all.arms.entry(variant.clone()).or_default().push(UnitTotals { totals, before });
        }
        all
    }
}

/// The units of an experiment among some rows.
pub fn collect_units(
    events: &[Event],
    names: &mut Names,
    experiment: &str,
    started: i64,
) -> ArmTotals {
    let mut collector = UnitCollector::new(experiment, started, names);
    events.iter().for_each(|e| collector.add(e, names));
    collector.finish()
}
