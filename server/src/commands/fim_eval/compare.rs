//! `lacuna fim-eval compare`: whether one run is better than another, and where.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use lacuna_eval::compare::{Condition, cases, compare, markdown, mode_of, regressions};
use lacuna_eval::run::Run;
use lacuna_eval::summary::{METRICS, Summary, metric};

use super::run::{conditions, pretty};
use crate::{Answer, say};

/// Compare runs: paired differences with intervals and tests, examples that changed
#[derive(ClapArgs)]
pub struct Args {
    /// Folders of runs; each further one is compared with the first
    #[arg(required = true, value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// Mode to look at in all runs [default: editor, else endpoint, else raw]
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// Compare with this mode of the first run instead
    #[arg(long, value_name = "MODE")]
    base_mode: Option<String>,
    /// Metric by which an example got better or worse
    #[arg(long, default_value = "em_line", value_name = "METRIC")]
    by: String,
    /// Examples to show on either side
    #[arg(long, default_value_t = 10, value_name = "N")]
    show: usize,
    /// Characters of a line of two texts side by side
    #[arg(long, default_value_t = 140, value_name = "N", value_parser = clap::value_parser!(u16).range(20..=1000))]
    width: u16,
    /// Print JSON (without the examples' texts)
    #[arg(long)]
    json: bool,
    /// Exit with 1 unless this holds for the last run, such as "em >= 0.20"
    #[arg(long, value_name = "CONDITION")]
    require: Vec<Condition>,
    /// Exit with 1 when a run is worse than the first by more than this (em, em_line, pass@1, es,
    /// id_f1; 0.01 is a percentage point)
    #[arg(long, value_name = "X")]
    no_regression: Option<f64>,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    if metric(&args.by).is_none() {
        bail!("--by {}: known metrics are {}", args.by, METRICS.map(|m| m.name).join(", "));
    }
    if args.no_regression.is_some_and(|x| !(0.0..=1.0).contains(&x)) {
        bail!("--no-regression wants a number from 0 to 1");
    }
    if args.runs.len() < 2 && (args.no_regression.is_some() || args.require.is_empty()) {
        bail!("one run is nothing to compare with: give two folders, or one and --require");
    }
    let runs: Vec<Run> = args
        .runs
        .iter()
        .map(|dir| {
            Run::load(dir).with_context(|| {
                format!("{}: give the --out folder of a finished run", dir.display())
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let mode = |run: &Run, wanted: Option<&str>| {
        mode_of(run, wanted).with_context(|| {
            format!("{} has no mode {}", run.folder.display(), wanted.unwrap_or(""))
        })
    };
    let Some((base, others)) = runs.split_first() else { bail!("no runs given") };
    let base_mode = mode(base, args.base_mode.as_deref().or(args.mode.as_deref()))?;
    let mut out = std::io::stdout().lock();
    let mut met = true;
    let mut all = Vec::new();
    for other in others {
        let other_mode = mode(other, args.mode.as_deref())?;
        let sides = ((base, base_mode.as_str()), (other, other_mode.as_str()));
        let comparison = compare(sides.0, sides.1)?;
        if comparison.pairs == 0 {
            bail!(
                "{} and {} have no examples in common",
                base.folder.display(),
                other.folder.display()
            );
        }
        if let Some(tolerance) = args.no_regression {
            for (set, d) in regressions(&comparison, tolerance) {
                say(&format!("worse: {set} {}: {:.4} → {:.4}", d.metric, d.a, d.b));
                met = false;
            }
        }
        if args.json {
            all.push(comparison);
        } else {
            let cases = cases(sides.0, sides.1, &args.by, args.show)?;
            out.write_all(markdown(&comparison, &cases, usize::from(args.width)).as_bytes())?;
        }
    }
    if args.json {
        out.write_all(&pretty(&all)?)?;
    }
    if let Some(last) = runs.last().filter(|_| !args.require.is_empty()) {
        let mode = mode(last, args.mode.as_deref())?;
        met &= conditions(&args.require, &Summary::of_run(last)?, &mode);
    }
    Ok(if met { Answer::Yes } else { Answer::No })
}
