//! [`Collector`]: one pass over rows that feeds the summary and every experiment.

use std::ops::Range;
use std::path::Path;

use super::Report;
use super::experiment::{Experiment, ExperimentReport};
use crate::clock::system_ms;
use crate::event::{Event, Names, Text};
use crate::metrics::{COLUMNS, Summariser, UnitCollector, Zone};
use crate::simulate::SIMULATED;
use crate::stats::Plan;
use crate::store::{Store, StoreError, Window};

/// Threads that read one store: each has a part of the sessions.
pub const MAX_THREADS: usize = 4;

/// Takes rows and makes a report of them.
pub struct Collector {
    names: Names,
    summariser: Summariser,
    units: Vec<UnitCollector>,
    experiments: Vec<Experiment>,
    simulated: bool,
}

impl Collector {
    /// `names` are those of the rows that will come.
    pub fn new(mut names: Names, zone: Zone, experiments: &[Experiment]) -> Collector {
        let summariser = Summariser::new(&mut names, zone);
        let units = experiments
            .iter()
            .map(|e| UnitCollector::new(&e.name, e.started, &mut names))
            .collect();
        Collector { names, summariser, units, experiments: experiments.to_vec(), simulated: false }
    }

    /// A collector for rows whose texts are numbered by `names`, which may have grown.
    pub fn add(&mut self, event: &Event, names: &Names) {
        self.summariser.add(event);
        self.units.iter_mut().for_each(|u| u.add(event, names));
        self.simulated |= names.text(event.text(Text::Model)) == SIMULATED;
    }

    /// All rows that are given, numbered by the names this collector was made with.
    pub fn add_all<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        let names = std::mem::take(&mut self.names);
        events.into_iter().for_each(|event| self.add(event, &names));
        self.names = names;
    }

    /// Reads a whole store, in several threads.
    pub fn of_store(
        path: &Path,
        window: &Window,
        zone: Zone,
        experiments: &[Experiment],
    ) -> Result<Collector, StoreError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let parts = Store::open_to_read(path)?.parts(threads)?;
        let read = |ids: Range<i64>| -> Result<Collector, StoreError> {
            let store = Store::open_to_read(path)?;
            let mut collector = Collector::new(Names::default(), zone, experiments);
            // The installation comes next in each thread, so that its units meet when the parts are
            // merged.
            let mut names = std::mem::take(&mut collector.names);
            store.scan(&ids, window, &COLUMNS, &mut names, |event, names| {
                collector.add(event, names)
            })?;
            collector.names = names;
            Ok(collector)
        };
        let results: Vec<Result<Collector, StoreError>> = std::thread::scope(|scope| {
            let running: Vec<_> = parts.into_iter().map(|ids| scope.spawn(|| read(ids))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("reading does not panic"))
                .collect()
        });
        let mut merged: Option<Collector> = None;
        for part in results {
            let part = part?;
            match &mut merged {
                None => merged = Some(part),
                Some(all) => all.merge(part),
            }
        }
        Ok(merged.unwrap_or_else(|| Collector::new(Names::default(), zone, experiments)))
    }

    /// Takes the sums of another part of the same rows.
    fn merge(&mut self, other: Collector) {
        self.summariser.merge(other.summariser, &other.names, &mut self.names);
        self.units.iter_mut().zip(other.units).for_each(|(mine, theirs)| mine.merge(theirs));
        self.simulated |= other.simulated;
    }

    /// What is to be told. `since` is what was asked for: rows are not filtered here.
    pub fn report(self, since: Option<i64>, plan: &Plan) -> Report {
        let reports = self
            .experiments
            .iter()
            .zip(self.units)
            .map(|(e, units)| ExperimentReport::new(e, &units.finish(), plan, system_ms()));
        let experiments = reports.collect();
        Report {
            made: system_ms(),
            since,
            simulated: self.simulated,
            summary: self.summariser.finish(&self.names),
            experiments,
        }
    }
}
