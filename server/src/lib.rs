//! What the binary `lacuna` is made of: reads the command line, runs the command, turns errors into
//! one line and an exit code.
//!
//! Owns the command line, and the commands that are not crates of their own.

mod commands;
pub mod fuzz;
mod misuse;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lacuna_engine::DeviceChoice;
use lacuna_serving::say;

/// Private, instant code completion: an LSP server with its own inference engine and an embedded
/// model.
#[derive(Parser)]
#[command(name = "lacuna", version, about, propagate_version = true)]
struct Cli {
    /// What computes: auto, cpu, cuda or cuda:N [default: model.device]
    #[arg(long, global = true, value_name = "D")]
    device: Option<DeviceChoice>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Complete(commands::complete::Args),
    Lsp(lacuna_lsp::Args),
    Serve(lacuna_http::Args),
    Model(commands::model::Args),
    Finetune(commands::finetune::Args),
    FimEval(commands::fim_eval::Args),
    Telemetry(commands::telemetry::Args),
    Bench(lacuna_bench::Args),
    Config(commands::config::Args),
    Doctor(commands::doctor::Args),
    Completions(commands::shell::CompletionsArgs),
    Man(commands::shell::ManArgs),
}

/// What a command ended in, when it did not fail.
enum Answer {
    Yes,
    /// Ran, but the answer is no: a silence, an eval below its threshold, a failed verify.
    No,
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version` come this way too.
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            match misuse::told(&error) {
                Some(line) => say(&line),
                None => drop(error.print()),
            }
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("LACUNA_LOG")
                .unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would tell on standard error that standard error is closed, and panic.
        .log_internal_errors(false)
        .init();
    log_panics();
    if let Some(device) = cli.device {
        lacuna_config::set_device_flag(device);
    }
    let result = match cli.command {
        Command::Complete(args) => commands::complete::run(&args),
        Command::Lsp(args) => {
            lacuna_lsp::run(&args).map(|clean| if clean { Answer::Yes } else { Answer::No })
        }
        Command::Serve(args) => lacuna_http::run(&args).map(|()| Answer::Yes),
        Command::Model(args) => commands::model::run(&args),
        Command::Finetune(args) => commands::finetune::run(&args),
        Command::FimEval(args) => commands::fim_eval::run(&args),
        Command::Telemetry(args) => commands::telemetry::run(&args),
        Command::Bench(args) => lacuna_bench::run(&args).map(|()| Answer::Yes),
        Command::Config(args) => commands::config::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Completions(args) => commands::shell::run_completions(&args),
        Command::Man(args) => commands::shell::run_man(&args),
    };
    match result {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(&in_one_line(&error));
            ExitCode::from(2)
        }
    }
}

/// The chain of causes, outermost first. Some errors quote their cause: it is told once.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}

/// What catches a panic goes on; the log says where it was, beside the standard message.
fn log_panics() {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let place = panic.location().map(ToString::to_string);
        tracing::error!(thread, place, "panic");
        standard(panic);
    }));
}

/// Someone closed our output (`lacuna … | head`): not an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let io = || std::io::Error::from_raw_os_error(2);
        let quoted =
            anyhow::Error::new(io()).context(format!("a.db: {}", io())).context("the store");
        assert_eq!(in_one_line(&quoted), format!("the store: a.db: {}", io()));
        let plain = Err::<(), _>(io()).context("a.py cannot be read").unwrap_err();
        assert_eq!(in_one_line(&plain), format!("a.py cannot be read: {}", io()));
    }
}
