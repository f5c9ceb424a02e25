//! `lacuna`: the one binary. Reads the command line, runs the command, turns errors into one line and an exit code.
//!
//! Owns: command line, configuration, LSP, HTTP. Everything that completes, trains or measures lives in the libraries.

mod commands;
mod config;
mod costs;
mod http;
mod lsp;
mod models;
mod raise;
mod trust;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Private, instant code completion: an LSP server with its own inference engine and an embedded model.
#[derive(Parser)]
#[command(name = "lacuna", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Complete(commands::complete::Args),
    Lsp(lsp::Args),
    Serve(http::Args),
    Model(commands::model::Args),
    Finetune(commands::finetune::Args),
    FimEval(commands::fim_eval::Args),
    Telemetry(commands::telemetry::Args),
    Bench(commands::bench::Args),
    Config(commands::config::Args),
    Doctor(commands::doctor::Args),
}

/// What a command ended in, when it did not fail.
enum Answer {
    Yes,
    /// Ran, but the answer is no: a silence, an eval below its threshold, a failed verify.
    No,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version` come this way too.
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or("").trim_start_matches("error: ");
            say(&format!("{first}; see --help"));
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("LACUNA_LOG").unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = match cli.command {
        Command::Complete(args) => commands::complete::run(&args),
        Command::Lsp(args) => lsp::run(&args),
        Command::Serve(args) => http::run(&args),
        Command::Model(args) => commands::model::run(&args),
        Command::Finetune(args) => commands::finetune::run(&args),
        Command::FimEval(args) => commands::fim_eval::run(&args),
        Command::Telemetry(args) => commands::telemetry::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Config(args) => commands::config::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
    };
    match result {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the chain of causes, outermost first.
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            say(&chain.join(": ").replace('\n', " "));
            ExitCode::from(2)
        }
    }
}

/// A line on standard error; nobody listening there is no reason to fail.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "lacuna: {message}");
}

/// Someone closed our output (`lacuna … | head`): not an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe))
}
