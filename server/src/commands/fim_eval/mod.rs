//! `lacuna fim-eval`: sets of fill-in-the-middle examples, and scores with the completer that serves editors.

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
    Run(run::Args),
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    match &args.command {
        Command::Run(args) => run::run(args),
    }
}
