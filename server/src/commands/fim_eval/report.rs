//! `lacuna fim-eval report`: a run's result as Markdown, JSON or one HTML page.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args as ClapArgs;
use lacuna_eval::compare::mode_of;
use lacuna_eval::report::{html, markdown, worst_examples};
use lacuna_eval::run::Run;
use lacuna_eval::summary::{Latencies, Summary};
use lacuna_serving::write_file;

use super::run::pretty;
use crate::{Answer, say};

/// Report of a run: Markdown on standard output, or JSON, or one HTML page
#[derive(ClapArgs)]
pub struct Args {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// One self-contained page with graphs and the worst examples, written to report.html in the
    /// run's folder or to -o
    #[arg(long)]
    html: bool,
    /// The numbers as JSON
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Worst examples on the page
    #[arg(long, default_value_t = 20, value_name = "N")]
    worst: usize,
    /// Leave the times out of the Markdown: they say nothing if the machine was busy with other
    /// things
    #[arg(long, conflicts_with_all = ["html", "json"])]
    no_latency: bool,
    /// File to write to
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let run = Run::load(&args.run).with_context(|| {
        format!("{}: give the --out folder of a finished run", args.run.display())
    })?;
    let summary = Summary::of_run(&run)?;
    let latencies = Latencies::of_run(&run)?;
    let text = if args.html {
        let mode = mode_of(&run, None).unwrap_or_default();
        html(&summary, &latencies, &worst_examples(&run, &mode, args.worst)?).into_bytes()
    } else if args.json {
        pretty(&serde_json::json!({"summary": summary, "latency": latencies}))?
    } else {
        markdown(&summary, (!args.no_latency).then_some(&latencies)).into_bytes()
    };
    match (&args.output, args.html) {
        (None, false) => std::io::stdout().lock().write_all(&text)?,
        (path, _) => {
            let path = path.clone().unwrap_or_else(|| args.run.join("report.html"));
            write_file(&path, &text)?;
            say(&format!("{} written", path.display()));
        }
    }
    Ok(Answer::Yes)
}
