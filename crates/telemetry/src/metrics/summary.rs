//! Totals by day, hour, language, model and node, in one pass over the rows.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

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
    pub const ALL: [Grouping; 5] =
        [Grouping::Day, Grouping::Hour, Grouping::Language, Grouping::Model, Grouping::Node];

    pub fn name(self) -> &'static str {
        match self {
            Grouping::Day => "day",
            Grouping::Hour => "hour",
            Grouping::Language => "language",
            Grouping::Model => "model",
            Grouping::Node => "node",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Grouping::Day => "by day",
            Grouping::Hour => "by hour of the day",
            Grouping::Language => "by language",
            Grouping::Model => "by model",
            Grouping::Node => "by place in the code",
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

/// Totals by key. Rows come more or less in order, so the cell that was wanted last is often wanted
/// again.
struct Cells<K> {
    totals: Vec<Totals>,
    places: HashMap<K, usize>,
    last: Option<(K, usize)>,
}

impl<K> Default for Cells<K> {
    fn default() -> Cells<K> {
        Cells { totals: Vec::new(), places: HashMap::new(), last: None }
    }
}

impl<K: Copy + Ord + Hash> Cells<K> {
    fn at(&mut self, key: K) -> &mut Totals {
        let place = match self.last {
            Some((last, place)) if last == key => place,
            _ => *self.places.entry(key).or_insert(self.totals.len()),
        };
        if place == self.totals.len() {
            self.totals.push(Totals::default());
        }
        self.last = Some((key, place));
        &mut self.totals[place]
    }

    /// In the order of keys: sums of fractions depend on theirs, and the same rows shall give the
    /// same report.
    fn in_order(&self) -> impl Iterator<Item = (K, &Totals)> {
        let mut places: Vec<(K, usize)> =
            self.places.iter().map(|(key, place)| (*key, *place)).collect();
        places.sort_unstable();
        places.into_iter().map(|(key, place)| (key, &self.totals[place]))
    }
}

/// Sums rows up as they come. Cheap to make: one for each thread, merged at the end.
pub struct Summariser {
    codes: Codes,
    zone: Zone,
    /// Days, hours and the total are sums of quarters.
    by_quarter: Cells<i64>,
    /// By the numbers of the texts of [`BY_TEXT`] together: there are few combinations, and one sum
    /// a row is quicker than three.
    by_texts: Cells<[u32; 3]>,
    installations: std::collections::BTreeSet<u32>,
}

const BY_TEXT: [(Text, Grouping); 3] = [
    (Text::Language, Grouping::Language),
    (Text::Model, Grouping::Model),
    (Text::Node, Grouping::Node),
];

impl Summariser {
    pub fn new(names: &mut Names, zone: Zone) -> Summariser {
        Summariser {
            codes: Codes::of(names),
            zone,
            by_quarter: Cells::default(),
            by_texts: Cells::default(),
            installations: Default::default(),
        }
    }

    pub fn add(&mut self, event: &Event) {
        let quarter = event.int(Int::At).unwrap_or(0).div_euclid(QUARTER_MS);
        self.by_quarter.at(quarter).add(event, &self.codes);
        self.by_texts.at(BY_TEXT.map(|(column, _)| event.text(column))).add(event, &self.codes);
        self.installations.insert(event.installation);
    }

    /// Takes the sums of another part of the same rows. Its texts are numbered by `theirs`, ours by
    /// `mine`; installations have the same numbers in both.
    pub fn merge(&mut self, other: Summariser, theirs: &Names, mine: &mut Names) {
        for (quarter, totals) in other.by_quarter.in_order() {
            self.by_quarter.at(quarter).merge(totals);
        }
        for (texts, totals) in other.by_texts.in_order() {
            self.by_texts.at(texts.map(|number| mine.number(theirs.text(number)))).merge(totals);
        }
        self.installations.extend(other.installations);
    }

    pub fn finish(self, names: &Names) -> Summary {
        let mut summary = Summary { installations: self.installations.len(), ..Summary::default() };
        let mut add = |grouping, name: String, totals: &Totals| {
            summary.groups.entry(grouping).or_default().entry(name).or_default().merge(totals);
        };
        for (quarter, totals) in self.by_quarter.in_order() {
            let (day, hour) = day_and_hour(quarter * QUARTER_MS, self.zone);
            add(Grouping::Day, day, totals);
            add(Grouping::Hour, format!("{hour:02}"), totals);
        }
        for (texts, totals) in self.by_texts.in_order() {
            for (number, (_, grouping)) in texts.into_iter().zip(BY_TEXT) {
                let name = names.text(number);
                // Rows of active time have neither a model nor a node: there is nothing to say of
                // none.
                if name.is_empty() && totals.requests + totals.suggestions == 0 {
                    continue;
                }
                add(
                    grouping,
                    if name.is_empty() { "-".to_owned() } else { name.to_owned() },
                    totals,
                );
            }
        }
        self.by_quarter.in_order().for_each(|(_, totals)| summary.all.merge(totals));
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
