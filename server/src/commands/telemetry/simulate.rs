//! `lacuna telemetry simulate`: do the statistics keep their promises? The A/A table.

use std::io::Write;

use lacuna_telemetry::simulate::validate;

use crate::Answer;

/// Count the error rates of the statistics over simulated experiments; exits with 1 if one breaks
/// its promise
#[derive(clap::Args)]
pub struct Args {
    /// Simulated experiments behind each figure
    #[arg(short, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    n: u32,
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let validation = validate(args.n as usize, args.seed);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&validation)?)?;
    } else {
        writeln!(
            out,
            "| simulated {} times each, seed {} | found | promised | kept |\n|---|---|---|---|",
            args.n, args.seed
        )?;
        for rate in &validation.rates {
            let promised = match rate {
                r if r.for_comparison => "-".to_owned(),
                r if r.above_only => format!("≤ {:.1} %", 100.0 * r.promised),
                r => format!("{:.1} ± {:.1} %", 100.0 * r.promised, 100.0 * r.tolerance),
            };
            let kept = match rate {
                r if r.for_comparison => "for comparison",
                r if r.is_kept() => "yes",
                _ => "NO",
            };
            writeln!(out, "| {} | {:.1} % | {promised} | {kept} |", rate.name, 100.0 * rate.share)?;
        }
    }
    Ok(if validation.rates.iter().all(|r| r.is_kept()) { Answer::Yes } else { Answer::No })
}
