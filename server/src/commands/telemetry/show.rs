//! `lacuna telemetry show` and `purge`: what is stored, to the last column; and how to be rid of
//! it.

use std::io::Write;

use lacuna_telemetry::exchange::{Format, RowWriter};
use lacuna_telemetry::store::{Store, StoreError, Window};
use lacuna_telemetry::{Columns, Names, Text};

use super::given::{configuration, parse_time};
use crate::Answer;

/// What is stored on this machine: where, how much, and the newest rows in full
#[derive(clap::Args)]
pub struct Args {
    /// Rows to print, newest last; 0: none
    #[arg(short, default_value_t = 5, value_name = "N")]
    n: usize,
    /// Only what began since then: a date, a time, or an age such as 7d
    #[arg(long, value_name = "WHEN", value_parser = parse_time)]
    since: Option<i64>,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let config = configuration()?;
    let path = config.telemetry.store_path()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "store        {}", path.display())?;
    writeln!(
        out,
        "recording    {}",
        if config.telemetry.enabled {
            "on (telemetry.enabled = false switches it off)"
        } else {
            "off"
        }
    )?;
    let store = match Store::open_to_read(&path) {
        Err(StoreError::Missing { .. }) => {
            writeln!(out, "rows         none yet")?;
            return Ok(Answer::Yes);
        }
        opened => opened?,
    };
    let census = store.census()?;
    let kinds: Vec<String> = census.kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    writeln!(out, "rows         {} ({}), {} bytes", census.rows, kinds.join(", "), census.bytes)?;
    writeln!(out, "sessions     {}, {} changes lost", census.sessions, census.lost)?;
    writeln!(out, "kept for     {} days", config.telemetry.retention_days)?;
    if args.n > 0 {
        writeln!(out, "newest rows, all columns that are set:")?;
        let mut newest = std::collections::VecDeque::with_capacity(args.n.min(1 << 16));
        let (window, mut names) = (args.since.map_or(Window::ALL, Window::since), Names::default());
        store.scan(&(i64::MIN..i64::MAX), &window, &Columns::ALL, &mut names, |event, _| {
            if newest.len() == args.n {
                newest.pop_front();
            }
            newest.push_back(*event);
        })?;
        let mut writer = RowWriter::new(Vec::new(), Format::Jsonl, &[])?;
        newest.iter().try_for_each(|event| writer.add(event, &names))?;
        out.write_all(&writer.finish()?)?;
    }
    writeln!(
        out,
        "columns: {} and numbers; `docs/telemetry.md` says what each means",
        Text::ALL.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")
    )?;
    Ok(Answer::Yes)
}

/// Delete everything that is stored, experiments included
#[derive(clap::Args)]
pub struct PurgeArgs {
    /// Do it; without it only the number of rows is told
    #[arg(long)]
    yes: bool,
}

pub fn run_purge(args: &PurgeArgs) -> anyhow::Result<Answer> {
    let path = configuration()?.telemetry.store_path()?;
    let mut out = std::io::stdout().lock();
    if !path.exists() {
        writeln!(out, "nothing is stored at {}", path.display())?;
        return Ok(Answer::Yes);
    }
    if !args.yes {
        let rows = Store::open_to_read(&path)?.census()?.rows;
        writeln!(
            out,
            "{} holds {rows} rows: `lacuna telemetry purge --yes` deletes them",
            path.display()
        )?;
        return Ok(Answer::No);
    }
    let n = Store::open(&path)?.purge()?;
    writeln!(out, "deleted {n} rows from {}", path.display())?;
    Ok(Answer::Yes)
}
