//! `lacuna telemetry export` and `merge`: rows for other tools, and several installations' rows as
//! one.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lacuna_serving::write_file_with;
use lacuna_telemetry::exchange::{Format, Merged, RowWriter};
use lacuna_telemetry::report::Experiment;
use lacuna_telemetry::store::{Store, Window};
use lacuna_telemetry::{Columns, Event, Names};

use super::given::{configuration, parse_time};
use super::otlp;
use crate::Answer;

/// Write what was recorded for other tools (DuckDB, Postgres, ClickHouse), or send it to a
/// collector that you run
#[derive(clap::Args)]
pub struct ExportArgs {
    #[arg(long, value_enum, default_value = "parquet")]
    format: Kind,
    /// Only what began since then: a date, a time, or an age such as 7d
    #[arg(long, value_name = "WHEN", value_parser = parse_time)]
    since: Option<i64>,
    /// File to write [default: standard output, for jsonl and csv]
    #[arg(short, long, value_name = "FILE", conflicts_with = "to")]
    output: Option<PathBuf>,
    /// For otlp: address of the collector, e.g. http://127.0.0.1:4318
    #[arg(long, value_name = "URL")]
    to: Option<String>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Kind {
    Parquet,
    Jsonl,
    Csv,
    Otlp,
}

pub fn run_export(args: &ExportArgs) -> anyhow::Result<Answer> {
    let path = configuration()?.telemetry.store_path()?;
    let store = Store::open_to_read(&path)?;
    let window = args.since.map_or(Window::ALL, Window::since);
    if args.to.is_some() && args.format != Kind::Otlp {
        bail!("--to sends to a collector: use it with --format otlp");
    }
    let format = match (args.format, &args.to) {
        (Kind::Otlp, None) => bail!(
            "--format otlp needs --to: the address of a collector that you run, e.g. http://127.0.0.1:4318"
        ),
        (Kind::Otlp, Some(url)) => {
            let n = otlp::send(&store, &window, url)?;
            crate::say(&format!("sent {n} rows to {url}"));
            return Ok(Answer::Yes);
        }
        (Kind::Parquet, _) => Format::Parquet,
        (Kind::Jsonl, _) => Format::Jsonl,
        (Kind::Csv, _) => Format::Csv,
    };
    let experiments = lacuna_serving::store::experiments(&store)?;
    match &args.output {
        Some(output) => {
            let mut n = 0;
            write_file_with(output, |file| {
                n = write_rows(file, format, &experiments, |add| {
                    let mut result = Ok(());
                    store.scan(
                        &(i64::MIN..i64::MAX),
                        &window,
                        &Columns::ALL,
                        &mut Names::default(),
                        |event, names| {
                            if result.is_ok() {
                                result = add(event, names);
                            }
                        },
                    )?;
                    result
                })?;
                Ok(())
            })?;
            crate::say(&format!("wrote {n} rows to {}", output.display()));
        }
        None if format == Format::Parquet => {
            bail!("a Parquet file is not for a terminal: give --output FILE.parquet")
        }
        None => {
            write_rows(std::io::stdout(), format, &experiments, |add| {
                let mut result = Ok(());
                store.scan(
                    &(i64::MIN..i64::MAX),
                    &window,
                    &Columns::ALL,
                    &mut Names::default(),
                    |event, names| {
                        if result.is_ok() {
                            result = add(event, names);
                        }
                    },
                )?;
                result
            })?;
        }
    }
    Ok(Answer::Yes)
}

type Add<'a> = dyn FnMut(&Event, &Names) -> anyhow::Result<()> + 'a;

/// Writes the rows that `rows` gives; returns how many.
fn write_rows(
    out: impl Write + Send,
    format: Format,
    experiments: &[Experiment],
    rows: impl FnOnce(&mut Add<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut writer = RowWriter::new(BufWriter::new(out), format, experiments)?;
    let mut n = 0;
    rows(&mut |event, names| {
        n += 1;
        Ok(writer.add(event, names)?)
    })?;
    writer.finish()?.flush()?;
    Ok(n)
}

/// Put the exports of several installations, or of several weeks, into one file; rows that are in
/// several count once
#[derive(clap::Args)]
pub struct MergeArgs {
    /// Exports (.parquet, .jsonl, .csv); of rows that are in several, the last file's count
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// File to write; its name tells the format
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub fn run_merge(args: &MergeArgs) -> anyhow::Result<Answer> {
    let format = Format::of(&args.output).with_context(|| {
        format!("--output {}: the name must end in .parquet, .jsonl or .csv", args.output.display())
    })?;
    let mut merged = Merged::default();
    for file in &args.files {
        merged.add_file(file)?;
    }
    save(&args.output, format, &merged)?;
    crate::say(&format!(
        "wrote {} rows to {} ({} were in several files)",
        merged.events.len(),
        args.output.display(),
        merged.repeated
    ));
    Ok(Answer::Yes)
}

fn save(path: &Path, format: Format, merged: &Merged) -> anyhow::Result<()> {
    write_events(path, format, &merged.experiments, &merged.events, &merged.names)
}

/// Writes rows that are in memory.
pub fn write_events(
    path: &Path,
    format: Format,
    experiments: &[Experiment],
    events: &[Event],
    names: &Names,
) -> anyhow::Result<()> {
    write_file_with(path, |file| {
        write_rows(file, format, experiments, |add| {
            events.iter().try_for_each(|event| add(event, names))
        })?;
        Ok(())
    })
}
