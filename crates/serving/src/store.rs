//! What was recorded on this machine, read for people.

use anyhow::Context;
use lacuna_config::Config;
use lacuna_telemetry::metrics::Zone;
use lacuna_telemetry::report::{Collector, Experiment, Report};
use lacuna_telemetry::stats::Plan;
use lacuna_telemetry::store::{Store, Window};

/// The report on this machine's store.
pub fn report(config: &Config, since: Option<i64>, zone: Zone) -> anyhow::Result<Report> {
    let path = config.telemetry.store_path()?;
    let experiments = experiments(&Store::open_to_read(&path)?)?;
    let window = since.map_or(Window::ALL, Window::since);
    Ok(Collector::of_store(&path, &window, zone, &experiments)?.report(since, &Plan::default()))
}

/// The experiments of a store with their definitions.
pub fn experiments(store: &Store) -> anyhow::Result<Vec<Experiment>> {
    let read = |e: lacuna_telemetry::store::StoredExperiment| {
        let definition = serde_json::from_str(&e.definition)
            .with_context(|| format!("experiment {} in the store", e.name))?;
        Ok(Experiment { name: e.name, definition, started: e.started, stopped: e.stopped })
    };
    store.experiments()?.into_iter().map(read).collect()
}
