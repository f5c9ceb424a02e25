//! `fim-eval build import` and `export`: published formats to ours and back, JSON lines and
//! Parquet.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args as ClapArgs;
use lacuna_eval::build::Report;
use lacuna_eval::example::ReadError;
use lacuna_eval::format::{self, Format};

use super::output::{Output, cancel_on_interrupt, print_reasons};
use crate::Answer;

/// Bad rows that are named; a file of another kind has nothing else.
const MAX_TOLD: usize = 20;

/// Read sets in any known format and write them as one in ours
///
/// Known: HumanEval-Infilling, SantaCoder-FIM, CrossCodeEval, SAFIM, our own. Each row tells its
/// format.
#[derive(ClapArgs)]
pub struct ImportArgs {
    /// JSON lines (plain, gzip, zstd) or Parquet
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// File for the rows: .jsonl, .jsonl.gz, .jsonl.zst or .parquet
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Name of the set in the rows [default: each format's own]
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
}

/// Write a set in a published format
#[derive(ClapArgs)]
pub struct ExportArgs {
    /// A set in any known format
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Format to write
    #[arg(long, value_name = "FORMAT", value_parser = writable)]
    format: Format,
    /// File for the rows: .jsonl, .jsonl.gz, .jsonl.zst or .parquet
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub fn import(args: &ImportArgs) -> anyhow::Result<Answer> {
    convert(&args.files, &args.out, Format::Lacuna, args.set.as_deref())
}

pub fn export(args: &ExportArgs) -> anyhow::Result<Answer> {
    convert(std::slice::from_ref(&args.file), &args.out, args.format, None)
}

fn convert(files: &[PathBuf], out: &Path, to: Format, set: Option<&str>) -> anyhow::Result<Answer> {
    let cancel = cancel_on_interrupt()?;
    let mut output = Output::create(out)?;
    let mut report = Report::default();
    let mut told = 0;
    for file in files {
        for example in format::open(file)? {
            if cancel.is_cancelled() {
                bail!("interrupted after {} rows; {} is as it was", report.rows, out.display());
            }
            report.inputs += 1;
            let mut example = match example {
                Ok(example) => example,
                Err(ReadError::Row(bad)) => {
                    told += 1;
                    if told <= MAX_TOLD {
                        crate::say(&format!("left out: {bad}"));
                    }
                    report.skip(format!("{}:{}", bad.path.display(), bad.line), "not a usable row");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(set) = set {
                set.clone_into(&mut example.set);
            }
            match to.export(&example) {
                Ok(row) => output.write(&row)?,
                Err(missing) => {
                    report.skip(example.id, format!("{} needs {}", to.name(), missing.0));
                    continue;
                }
            }
            report.rows += 1;
        }
    }
    let mut stdout = std::io::stdout().lock();
    if report.rows == 0 {
        writeln!(stdout, "0 rows from {} rows: {} is not written", report.inputs, out.display())?;
    } else {
        output.finish()?;
        writeln!(stdout, "{} rows from {} rows: {}", report.rows, report.inputs, out.display())?;
    }
    print_reasons(&mut stdout, &report)?;
    Ok(if report.rows == 0 { Answer::No } else { Answer::Yes })
}

fn writable(text: &str) -> Result<Format, String> {
    let formats = || Format::ALL.into_iter().filter(|f| *f != Format::Projects);
    let known = || formats().map(Format::name).collect::<Vec<_>>().join(", ");
    formats().find(|f| f.name() == text).ok_or_else(|| format!("known are {}", known()))
}
