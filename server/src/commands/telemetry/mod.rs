//! `lacuna telemetry`: what was recorded on this machine, and what follows from it.
//!
//! Owns: the command line over `lacuna_telemetry`, where the store lies, sending an export to a
//! collector that the user names. Does not own: metrics, statistics, formats.

mod compare;
mod demo;
mod experiment;
mod export;
mod given;
mod otlp;
mod report;
mod show;
mod simulate;

use clap::{Args as ClapArgs, Subcommand};

use crate::Answer;

/// What became of suggestions: reports, experiments, exports. Nothing leaves this machine unless
/// you export it
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Report(report::Args),
    Experiment(experiment::Args),
    Export(export::ExportArgs),
    Merge(export::MergeArgs),
    Show(show::Args),
    Purge(show::PurgeArgs),
    Demo(demo::Args),
    Simulate(simulate::Args),
    Compare(compare::Args),
    Bench(lacuna_bench::telemetry::Args),
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    match &args.command {
        Command::Report(args) => report::run(args),
        Command::Experiment(args) => experiment::run(args),
        Command::Export(args) => export::run_export(args),
        Command::Merge(args) => export::run_merge(args),
        Command::Show(args) => show::run(args),
        Command::Purge(args) => show::run_purge(args),
        Command::Demo(args) => demo::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Bench(args) => lacuna_bench::telemetry::run(args).map(|()| Answer::Yes),
    }
}
