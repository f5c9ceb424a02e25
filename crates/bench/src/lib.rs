//! `lacuna bench`: how fast the kernels and the whole engine are on this machine, beside what the
//! machine can do and beside llama.cpp.
//!
//! [`kernels`], [`decode`] and [`replay`] measure and print or write one record ([`record`]);
//! [`report`] turns records into tables and graphs; [`kv_quality`] measures what approximations of
//! the KV cache cost. Every record says where and how it was made ([`machine`]) and holds the
//! limits that were measured in the same run.

mod decode;
mod kernels;
mod kv_quality;
mod machine;
mod ours;
mod peer;
mod prepack;
mod record;
pub mod replay;
mod report;
mod svg;
mod tables;
pub mod telemetry;
mod timing;
mod weights;

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use lacuna_kernels::isa::{self, Isa};

use lacuna_serving::say;
use record::Record;

/// Measure the kernels and the engine on this machine
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Kernels(kernels::Args),
    Decode(decode::Args),
    Prepack(prepack::Args),
    Replay(replay::Args),
    KvQuality(kv_quality::Args),
    Report(report::Args),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::Kernels(args) => kernels::run(args),
        Command::Decode(args) => decode::run(args),
        Command::Prepack(args) => prepack::run(args),
        Command::Replay(args) => replay::run(args),
        Command::KvQuality(args) => kv_quality::run(args),
        Command::Report(args) => report::run(args),
    }
}

/// What `--isa` takes: a row that this machine can run.
fn parse_isa(name: &str) -> Result<Isa, String> {
    isa::choose(Some(name))
        .map(|row| row.isa())
        .map_err(|error| error.to_string().replace(isa::ISA_VARIABLE, "--isa"))
}

/// Writes a record to `output` (through a temporary file), or prints it: as JSON or as tables.
fn deliver(record: &Record, output: Option<&Path>, json: bool) -> anyhow::Result<()> {
    if let Some(path) = output {
        write(path, &format!("{}\n", serde_json::to_string_pretty(record)?))?;
        say(&format!("wrote {}", path.display()));
    }
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(record)?)?;
    } else {
        write!(out, "{}", tables::of(record))?;
    }
    Ok(())
}

/// Replaces a file, or leaves it as it was.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut stage = path.as_os_str().to_owned();
    stage.push(format!(".{}.tmp", std::process::id()));
    let written = std::fs::write(&stage, text).and_then(|()| std::fs::rename(&stage, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&stage);
    }
    written.with_context(|| {
        format!("{} cannot be written: check that its folder exists", path.display())
    })
}

/// Progress on standard error.
fn note(text: &str) {
    say(&format!("bench: {text}"));
}
