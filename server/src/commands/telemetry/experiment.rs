//! `lacuna telemetry experiment`: start, stop, look.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::bail;
use clap::Subcommand;
use lacuna_serving::store;
use lacuna_telemetry::experiment::{Definition, parse_arms};
use lacuna_telemetry::metrics::Zone;
use lacuna_telemetry::report::{experiment_table, to_json};
use lacuna_telemetry::store::Store;

use super::given::{configured, resolved};
use crate::Answer;

/// A/B tests on this machine: [experiment.NAME] in lacuna.toml says what is tried
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Begin to assign arms; running servers take part within seconds
    Start { name: String },
    /// Stop assigning; what was recorded stays
    Stop { name: String },
    /// What runs, and how many units each arm has met
    Status {
        /// Only this one
        name: Option<String>,
    },
    /// What the experiment shows so far; may be read at any time
    Report {
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let lacuna_config::Resolved { config, untrusted, .. } = resolved()?;
    match &args.command {
        Command::Start { name } => {
            match untrusted.filter(|told| told.contains(&format!("experiment.{name} "))) {
                Some(told) => bail!("experiment {name}: {told}"),
                None => start(&config, name),
            }
        }
        Command::Stop { name } => stop(&config, name),
        Command::Status { name } => status(&config, name.as_deref()),
        Command::Report { name, json } => report(&config, name, *json),
    }
}

fn start(config: &lacuna_config::Config, name: &str) -> anyhow::Result<Answer> {
    let definition = configured(config, name)?;
    if !config.telemetry.enabled {
        bail!("telemetry.enabled is false: nothing would be recorded; switch it on first");
    }
    let mut store = Store::open(&config.telemetry.store_path()?)?;
    store.start_experiment(
        name,
        &serde_json::to_string(definition)?,
        lacuna_telemetry::system_ms(),
    )?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "started {name}: {}; running editors take part within seconds",
        variants(definition)
    )?;
    Ok(Answer::Yes)
}

fn variants(definition: &Definition) -> String {
    let one = |(name, v): (&String, &lacuna_telemetry::experiment::Variant)| {
        let settings: Vec<String> =
            v.settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let settings =
            if settings.is_empty() { "as configured".to_owned() } else { settings.join(", ") };
        format!("{name} ({settings}; weight {})", v.weight)
    };
    definition.variant.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn stop(config: &lacuna_config::Config, name: &str) -> anyhow::Result<Answer> {
    let mut store = Store::open(&config.telemetry.store_path()?)?;
    if store.stop_experiment(name, lacuna_telemetry::system_ms())? {
        writeln!(
            std::io::stdout().lock(),
            "stopped {name}; `lacuna telemetry experiment report {name}` tells what it showed"
        )?;
        return Ok(Answer::Yes);
    }
    match store.experiment(name)? {
        Some(_) => bail!("experiment {name} was stopped before"),
        None => bail!("experiment {name} was never started"),
    }
}

fn status(config: &lacuna_config::Config, name: Option<&str>) -> anyhow::Result<Answer> {
    let mut out = std::io::stdout().lock();
    let path = config.telemetry.store_path()?;
    let store = if path.exists() { Some(Store::open_to_read(&path)?) } else { None };
    let started = store.as_ref().map(store::experiments).transpose()?.unwrap_or_default();
    let mut units: BTreeMap<(String, String), std::collections::BTreeSet<String>> = BTreeMap::new();
    for exposure in store.map(|s| s.exposures()).transpose()?.unwrap_or_default() {
        for arm in parse_arms(&exposure.arms) {
            units
                .entry((arm.experiment.to_owned(), arm.variant.to_owned()))
                .or_default()
                .insert(arm.unit.to_owned());
        }
    }
    let wanted = |n: &str| name.is_none_or(|name| name == n);
    let mut any = false;
    for e in started.iter().filter(|e| wanted(&e.name)) {
        any = true;
        writeln!(out, "{}  {}", e.name, if e.stopped.is_some() { "stopped" } else { "running" })?;
        for (variant, _) in e.definition.weights() {
            let n = units.get(&(e.name.clone(), variant.to_owned())).map_or(0, |u| u.len());
            writeln!(out, "  {variant:<24} {n} unit{}", if n == 1 { "" } else { "s" })?;
        }
        if config.experiment.get(&e.name).is_some_and(|d| *d != e.definition) {
            writeln!(
                out,
                "  lacuna.toml says something else by now: what holds is what was started"
            )?;
        }
    }
    for configured in
        config.experiment.keys().filter(|n| wanted(n) && !started.iter().any(|e| e.name == **n))
    {
        any = true;
        writeln!(
            out,
            "{configured}  configured, not started: `lacuna telemetry experiment start {configured}`"
        )?;
    }
    match name {
        Some(name) if !any => bail!("experiment {name} is neither configured nor started"),
        _ if !any => writeln!(out, "no experiments: add [experiment.NAME] to lacuna.toml")?,
        _ => {}
    }
    Ok(Answer::Yes)
}

fn report(config: &lacuna_config::Config, name: &str, json: bool) -> anyhow::Result<Answer> {
    let report = store::report(config, None, Zone::Local)?;
    let Some(found) = report.experiments.iter().find(|e| e.experiment.name == name) else {
        bail!("experiment {name} was never started: `lacuna telemetry experiment start {name}`");
    };
    let mut out = std::io::stdout().lock();
    if json {
        let all = to_json(&report);
        let one = all["experiments"].as_array().into_iter().flatten().find(|e| e["name"] == name);
        writeln!(out, "{}", one.unwrap_or(&serde_json::Value::Null))?;
    } else {
        write!(out, "{}", experiment_table(found))?;
    }
    Ok(Answer::Yes)
}
