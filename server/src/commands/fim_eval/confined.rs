//! `lacuna fim-eval confined`: becomes another program that can do no harm. The evaluation starts
//! itself through this; see `lacuna_eval::sandbox`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args as ClapArgs;
use lacuna_eval::sandbox::{Limits, confine_and_exec};

use crate::Answer;

/// Run a program in the sandbox of pass@k: no files written, no network, no other processes
#[derive(ClapArgs)]
#[command(hide = true)]
pub struct Args {
    /// CPU time
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    cpu_seconds: u64,
    /// Address space
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 20..))]
    memory_bytes: u64,
    /// Path of the program, then its arguments
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let limits = Limits {
        cpu: Duration::from_secs(args.cpu_seconds),
        memory_bytes: args.memory_bytes,
        ..Limits::default()
    };
    match confine_and_exec(&limits, &args.program)? {}
}
