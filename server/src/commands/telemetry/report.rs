//! `lacuna telemetry report`: the table, JSON, or the page.

use std::io::Write;
use std::path::PathBuf;

use lacuna_serving::store::report;
use lacuna_serving::write_file;
use lacuna_telemetry::exchange::Merged;
use lacuna_telemetry::experiment::parse_arms;
use lacuna_telemetry::metrics::Zone;
use lacuna_telemetry::report::{Collector, Experiment, Report, to_json, to_page, to_table};
use lacuna_telemetry::stats::Plan;

use lacuna_telemetry::{Int, Text};

use super::given::{configuration, parse_time};
use crate::Answer;

/// What was shown, accepted and kept: this machine's, or that of exported files
#[derive(clap::Args)]
pub struct Args {
    /// Exports to report on instead of this machine's store (.parquet, .jsonl, .csv; rows that are
    /// in several count once)
    files: Vec<PathBuf>,
    /// Only what began since then: a date, a time, or an age such as 7d
    #[arg(long, value_name = "WHEN", value_parser = parse_time)]
    since: Option<i64>,
    /// Print one JSON object
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write a page that needs no network to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Tell days and hours in UTC instead of this machine's time zone
    #[arg(long)]
    utc: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let zone = if args.utc { Zone::Utc } else { Zone::Local };
    let config = configuration()?;
    let report = if args.files.is_empty() {
        report(&config, args.since, zone)?
    } else {
        of_files(&config, &args.files, args.since, zone)?
    };
    deliver(&report, args.json, args.html.as_deref())
}

/// Prints a report, or writes its page.
pub fn deliver(
    report: &Report,
    json: bool,
    html: Option<&std::path::Path>,
) -> anyhow::Result<Answer> {
    if let Some(path) = html {
        write_file(path, to_page(report).as_bytes())?;
        crate::say(&format!("wrote {}", path.display()));
        return Ok(Answer::Yes);
    }
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", to_json(report))?;
    } else {
        write!(out, "{}", to_table(report))?;
    }
    Ok(Answer::Yes)
}

/// The report on exports. Experiments whose definition did not come with them are looked up in the
/// configuration.
pub fn of_files(
    config: &lacuna_config::Config,
    files: &[PathBuf],
    since: Option<i64>,
    zone: Zone,
) -> anyhow::Result<Report> {
    let mut merged = Merged::default();
    for file in files {
        merged.add_file(file)?;
    }
    let mut experiments = std::mem::take(&mut merged.experiments);
    let arms =
        merged.events.iter().map(|e| e.text(Text::Arms)).collect::<std::collections::BTreeSet<_>>();
    for arm in arms.iter().flat_map(|number| parse_arms(merged.names.text(*number))) {
        if !experiments.iter().any(|e| e.name == arm.experiment)
            && let Some(definition) = config.experiment.get(arm.experiment)
        {
            // The files do not say when it started: with its first row.
            let rows = merged.events.iter().filter(|e| {
                parse_arms(merged.names.text(e.text(Text::Arms)))
                    .any(|a| a.experiment == arm.experiment)
            });
            let started = rows.filter_map(|e| e.int(Int::At)).min().unwrap_or(0);
            experiments.push(Experiment {
                name: arm.experiment.to_owned(),
                definition: definition.clone(),
                started,
                stopped: None,
            });
        }
    }
    let mut collector = Collector::new(merged.names, zone, &experiments);
    collector.add_all(
        merged.events.iter().filter(|e| e.int(Int::At).unwrap_or(0) >= since.unwrap_or(i64::MIN)),
    );
    Ok(collector.report(since, &Plan::default()))
}
