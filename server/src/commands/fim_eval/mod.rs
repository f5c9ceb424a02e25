//! `lacuna fim-eval`: sets of fill-in-the-middle examples, and scores with the completer that serves editors.

mod build;
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
    Run(run::Args),
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    match &args.command {
        Command::Build(args) => build::run(args),
        Command::Run(args) => run::run(args),
    }
}
