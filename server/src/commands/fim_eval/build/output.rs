//! Where the rows of a build go, and the report of what was left out.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use lacuna_engine::Cancel;
use lacuna_eval::build::{BuildError, Report, Sink};
use lacuna_eval::example::Writer;
use lacuna_eval::table::write_parquet;
use serde::Serialize;

use crate::Answer;

#[derive(ClapArgs)]
pub struct OutputArgs {
    /// File for the rows: JSON lines (.jsonl, .jsonl.gz, .jsonl.zst) or Parquet (.parquet)
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Also write what was left out, one JSON line each
    #[arg(long, value_name = "FILE")]
    pub skipped: Option<PathBuf>,
}

/// Rows on their way to a file, whatever its format. Dropped before [`Output::finish`], nothing is
/// written.
pub struct Output {
    rows: Writer,
    /// Parquet is made of the finished lines, which lie in this folder.
    parquet: Option<(PathBuf, tempfile::TempDir)>,
}

impl Output {
    pub fn create(path: &Path) -> anyhow::Result<Output> {
        if path.extension().is_none_or(|e| e != "parquet") {
            return Ok(Output { rows: Writer::create(path)?, parquet: None });
        }
        let folder = tempfile::Builder::new().prefix(".lacuna-").tempdir_in(
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?;
        let rows = Writer::create(&folder.path().join("rows.jsonl"))?;
        Ok(Output { rows, parquet: Some((path.to_owned(), folder)) })
    }

    pub fn write(&mut self, row: &impl Serialize) -> Result<(), lacuna_eval::example::WriteError> {
        self.rows.write(row)
    }

    /// The file gets its name; returns the number of rows.
    pub fn finish(self) -> anyhow::Result<u64> {
        let rows = self.rows.finish()?;
        if let Some((path, folder)) = &self.parquet {
            write_parquet(&folder.path().join("rows.jsonl"), path)?;
        }
        Ok(rows)
    }

    /// Runs a build into the file, with progress on a terminal, and prints its report. The answer
    /// is no when there are no rows.
    pub fn build(
        args: &OutputArgs,
        inputs: &str,
        build: impl FnOnce(&mut Report, &Cancel, &mut Sink) -> Result<(), BuildError>,
    ) -> anyhow::Result<Answer> {
        let mut output = Output::create(&args.out)?;
        let cancel = cancel_on_interrupt()?;
        let bar = ProgressBar::new_spinner()
            .with_style(ProgressStyle::with_template("{spinner} {pos} rows, {per_sec}")?);
        let mut report = Report::default();
        let result = build(&mut report, &cancel, &mut |example| {
            bar.inc(1);
            output.write(&example)
        });
        bar.finish_and_clear();
        result?;
        if let Some(path) = &args.skipped {
            let mut writer = Writer::create(path)?;
            for skipped in report.skipped() {
                writer.write(skipped)?;
            }
            writer.finish()?;
        }
        let mut out = std::io::stdout().lock();
        if report.rows == 0 {
            writeln!(
                out,
                "0 rows from {} {inputs}: {} is not written",
                report.inputs,
                args.out.display()
            )?;
        } else {
            output.finish()?;
            writeln!(
                out,
                "{} rows from {} {inputs}: {}",
                report.rows,
                report.inputs,
                args.out.display()
            )?;
        }
        print_reasons(&mut out, &report)?;
        Ok(if report.rows == 0 { Answer::No } else { Answer::Yes })
    }
}

/// The most frequent reason first.
pub fn print_reasons(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let mut reasons: Vec<(&String, &u64)> = report.reasons.iter().collect();
    reasons.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
    for (reason, count) in reasons {
        writeln!(out, "left out {count}: {reason}")?;
    }
    Ok(())
}

/// Raised by Ctrl-C.
pub fn cancel_on_interrupt() -> anyhow::Result<Cancel> {
    let cancel = Cancel::new();
    let raise = cancel.clone();
    ctrlc::set_handler(move || raise.cancel())?;
    Ok(cancel)
}
