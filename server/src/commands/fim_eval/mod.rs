//! `lacuna fim-eval`: sets of fill-in-the-middle examples, and scores with the completer that
//! serves editors.

mod args;
mod build;
mod compare;
mod confidence;
mod confined;
mod evidence;
mod generator;
mod progress;
mod report;
mod run;

use clap::{Args as ClapArgs, Subcommand};

use crate::Answer;

/// Measure fill-in-the-middle
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Build(build::Args),
    Run(Box<args::Args>),
    Compare(compare::Args),
    Report(report::Args),
    Confined(confined::Args),
    Confidence(confidence::Args),
    Evidence(evidence::Args),
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    match &args.command {
        Command::Build(args) => build::run(args),
        Command::Run(args) => run::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Report(args) => report::run(args),
        Command::Confined(args) => confined::run(args),
        Command::Confidence(args) => confidence::run(args),
        Command::Evidence(args) => evidence::run(args),
    }
}
