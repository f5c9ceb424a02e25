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
mod made;
mod ours;
mod output;
mod peer;
mod plan;
mod prepack;
mod record;
pub mod replay;
mod report;
mod tables;
pub mod telemetry;
mod timing;
mod weights;

use clap::{Args as ClapArgs, Subcommand};

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
