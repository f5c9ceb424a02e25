//! `lacuna telemetry demo`: a made-up team's two weeks, to see what a report looks like.

use std::path::PathBuf;

use lacuna_telemetry::exchange::Format;
use lacuna_telemetry::metrics::Zone;
use lacuna_telemetry::report::{Collector, Experiment};
use lacuna_telemetry::simulate::{Team, simulate_team};
use lacuna_telemetry::stats::Plan;

use super::export::write_events;
use super::report::deliver;
use crate::Answer;

/// Simulate a team that runs an experiment for two weeks, and report on it (all of it made up, and
/// marked so)
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write the page to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write the rows, as an export that `report` and `merge` take (.parquet, .jsonl, .csv)
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
    /// Another team
    #[arg(long, default_value_t = 43, value_name = "N")]
    seed: u64,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let team = simulate_team(&Team { seed: args.seed, ..Team::default() });
    let experiment = Experiment {
        name: team.experiment.to_owned(),
        definition: team.definition.clone(),
        started: team.started,
        stopped: Some(team.stopped),
    };
    if let Some(path) = &args.rows {
        let format = Format::of(path).ok_or_else(|| {
            anyhow::anyhow!(
                "--rows {}: the name must end in .parquet, .jsonl or .csv",
                path.display()
            )
        })?;
        write_events(path, format, std::slice::from_ref(&experiment), &team.events, &team.names)?;
        crate::say(&format!("wrote {} simulated rows to {}", team.events.len(), path.display()));
    }
    let mut collector = Collector::new(team.names, Zone::Utc, &[experiment]);
    collector.add_all(&team.events);
    deliver(&collector.report(None, &Plan::default()), args.json, args.html.as_deref())
}
