//! Totals by day, hour, language, model and node, in one pass over the rows.

use std::collections::{BTreeMap, HashMap};

use chrono::{Local, TimeZone, Timelike, Utc};

use super::totals::{Codes, Totals};
use crate::event::{Event, Int, Names, Text};

/// What rows are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grouping {
    Day,
    Hour,
    Language,
    Model,
    Node,
}

impl Grouping {
    pub const ALL: [Grouping; 5] = [Grouping::Day, Grouping::Hour, Grouping::Language, Grouping::Model, Grouping::Node];

    pub fn name(self) -> &'static str {
        match self {
            Grouping::Day => "day",
            Grouping::Hour => "hour",
            Grouping::Language => "language",
            Grouping::Model => "model",
            Grouping::Node => "node",
        }
    }
}

/// Totals of all rows and of their groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub all: Totals,
    /// By grouping and the group's name: `2026-11-25`, `09`, `python` …
    pub groups: BTreeMap<Grouping, BTreeMap<String, Totals>>,
    pub installations: usize,
}

/// Which calendar days and hours are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// This machine's.
    Local,
    Utc,
}

/// Time zones change their offset at quarters of an hour at most.
const QUARTER_MS: i64 = 900_000;

/// Sums rows up as they come. Cheap to make: one for each thread, merged at the end.
pub struct Summariser {
    codes: Codes,
    zone: Zone,
    quarters: Vec<Totals>,
    /// Where the totals of a quarter lie, and of the one that came last: rows come more or less in order.
    by_quarter: HashMap<i64, usize>,
    last_quarter: Option<(i64, usize)>,
    by_text: [Vec<Totals>; 3],
    installations: std::collections::BTreeSet<u32>,
}

const BY_TEXT: [(Text, Grouping); 3] = [(Text::Language, Grouping::Language), (Text::Model, Grouping::Model), (Text::Node, Grouping::Node)];

impl Summariser {
    pub fn new(names: &mut Names, zone: Zone) -> Summariser {
        Summariser {
            codes: Codes::of(names),
            zone,
            quarters: Vec::new(),
            by_quarter: HashMap::new(),
            last_quarter: None,
            by_text: Default::default(),
            installations: Default::default(),
        }
    }

    pub fn add(&mut self, event: &Event) {
        // Days, hours and the total are sums of quarters.
        let quarter = event.int(Int::At).unwrap_or(0).div_euclid(QUARTER_MS);
        let at = match self.last_quarter {
            Some((last, at)) if last == quarter => at,
            _ => self.place(quarter),
        };
        self.last_quarter = Some((quarter, at));
        self.quarters[at].add(event, &self.codes);
        for (groups, (column, _)) in self.by_text.iter_mut().zip(BY_TEXT) {
            let name = event.text(column) as usize;
            if groups.len() <= name {
                groups.resize_with(name + 1, Totals::default);
            }
            groups[name].add(event, &self.codes);
        }
        self.installations.insert(event.installation);
    }

    /// Where the totals of a quarter lie.
    fn place(&mut self, quarter: i64) -> usize {
        let quarters = &mut self.quarters;
        *self.by_quarter.entry(quarter).or_insert_with(|| {
            quarters.push(Totals::default());
            quarters.len() - 1
        })
    }

    /// Takes the sums of another part of the same rows. Its texts are numbered by `theirs`, ours by `mine`; installations have the
    /// same numbers in both.
    pub fn merge(&mut self, other: Summariser, theirs: &Names, mine: &mut Names) {
        for (quarter, theirs) in other.by_quarter {
            let at = self.place(quarter);
            self.quarters[at].merge(&other.quarters[theirs]);
        }
        for (groups, others) in self.by_text.iter_mut().zip(other.by_text) {
            for (number, totals) in others.iter().enumerate() {
                let number = mine.number(theirs.text(number as u32)) as usize;
                if groups.len() <= number {
                    groups.resize_with(number + 1, Totals::default);
                }
                groups[number].merge(totals);
            }
        }
        self.installations.extend(other.installations);
    }

    pub fn finish(self, names: &Names) -> Summary {
        let mut summary = Summary { installations: self.installations.len(), ..Summary::default() };
        let mut add = |grouping, name: String, totals: &Totals| {
            summary.groups.entry(grouping).or_default().entry(name).or_default().merge(totals);
        };
        // In order: sums of fractions depend on theirs, and the same rows shall give the same report.
        let quarters: BTreeMap<i64, &Totals> = self.by_quarter.iter().map(|(quarter, at)| (*quarter, &self.quarters[*at])).collect();
        for (quarter, totals) in &quarters {
            let (day, hour) = day_and_hour(quarter * QUARTER_MS, self.zone);
            add(Grouping::Day, day, totals);
            add(Grouping::Hour, format!("{hour:02}"), totals);
        }
        for (groups, (_, grouping)) in self.by_text.iter().zip(BY_TEXT) {
            for (number, totals) in groups.iter().enumerate().filter(|(_, t)| **t != Totals::default()) {
                let name = names.text(number as u32);
                // Rows of active time have neither a model nor a node: there is nothing to say of none.
                if name.is_empty() && totals.requests + totals.suggestions == 0 {
                    continue;
                }
                add(grouping, if name.is_empty() { "-".to_owned() } else { name.to_owned() }, totals);
            }
        }
        quarters.values().for_each(|t| summary.all.merge(t));
        summary
    }
}

/// Sums up some rows.
pub fn summarise(events: &[Event], names: &mut Names, zone: Zone) -> Summary {
    let mut summariser = Summariser::new(names, zone);
    events.iter().for_each(|e| summariser.add(e));
    summariser.finish(names)
}

fn day_and_hour(at: i64, zone: Zone) -> (String, u32) {
    fn tell<T: TimeZone>(time: Option<chrono::DateTime<T>>) -> (String, u32) {
        time.map_or_else(|| ("-".to_owned(), 0), |t| (t.date_naive().to_string(), t.hour()))
    }
    match zone {
        Zone::Local => tell(Local.timestamp_millis_opt(at).single()),
        Zone::Utc => tell(Utc.timestamp_millis_opt(at).single()),
    }
}
