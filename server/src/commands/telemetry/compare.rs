//! `lacuna telemetry compare`: the statistics of experiments on units of one's own, from a CSV file.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use lacuna_telemetry::stats::{Plan, Unit, compare, power, sample_ratio};
use serde::Deserialize;
use serde_json::json;

use crate::Answer;

/// Compare the arms of any experiment: a CSV file with one line for each unit of randomisation
#[derive(clap::Args)]
pub struct Args {
    /// Columns variant, numerator, denominator; before_numerator and before_denominator if there is a covariate
    file: PathBuf,
    /// Variant that the others are compared with
    #[arg(long, default_value = "control", value_name = "NAME")]
    control: String,
    /// Relative effect that is to be found
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    effect: f64,
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    alpha: f64,
}

#[derive(Deserialize)]
struct Row {
    variant: String,
    numerator: f64,
    denominator: f64,
    before_numerator: Option<f64>,
    before_denominator: Option<f64>,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    for (name, value, most) in [("--effect", args.effect, 10.0), ("--alpha", args.alpha, 0.5)] {
        if !(value > 0.0 && value <= most) {
            bail!("{name} {value} is out of range: use a number above 0, {most} at most");
        }
    }
    let name = || format!("{}", args.file.display());
    let mut arms: BTreeMap<String, Vec<Unit>> = BTreeMap::new();
    for (i, row) in csv::Reader::from_path(&args.file).with_context(name)?.deserialize::<Row>().enumerate() {
        let row = row.with_context(|| format!("{}, line {}", name(), i + 2))?;
        let before = row.before_numerator.zip(row.before_denominator).filter(|(_, denominator)| *denominator > 0.0);
        let unit = Unit { numerator: row.numerator, denominator: row.denominator, before };
        if !unit.numerator.is_finite() || !unit.denominator.is_finite() || unit.denominator < 0.0 {
            bail!("{}, line {}: numerator and denominator must be finite, the denominator not negative", name(), i + 2);
        }
        arms.entry(row.variant).or_default().push(unit);
    }
    let control = arms.get(&args.control).with_context(|| format!("{} has no variant {}: see --control", name(), args.control))?;
    let plan = Plan { effect: args.effect, alpha: args.alpha, ..Plan::default() };
    let mut told = serde_json::Map::new();
    for (variant, units) in arms.iter().filter(|(v, _)| **v != args.control) {
        let Some(c) = compare(control, units, &plan) else {
            bail!("{}: variant {variant} or {} has a denominator of 0 in all", name(), args.control);
        };
        let (low, high) = c.difference.interval(plan.alpha);
        let value = json!({
            "control": c.control.value, "control_error": c.control.error,
            "treatment": c.treatment.value, "treatment_error": c.treatment.error,
            "difference": c.difference.value, "error": c.difference.error, "df": c.difference.df,
            "one_look": {"p": c.difference.p, "low": low, "high": high},
            "any_time": c.sequential.map(|s| json!({"p": s.p, "low": s.low, "high": s.high})),
            "bootstrap": c.bootstrap.map(|b| json!({"low": b.low, "high": b.high})),
            "variance_explained": c.explained, "detectable": c.detectable, "units_needed": c.needed,
            "power": power(plan.effect * c.control.value, c.difference.error, plan.alpha),
        });
        told.insert(variant.clone(), value);
    }
    let counts: Vec<u64> = arms.values().map(|units| units.len() as u64).collect();
    let even = vec![1.0; counts.len()];
    let all = json!({"variants": told, "units": counts, "sample_ratio_p": sample_ratio(&counts, &even)});
    writeln!(std::io::stdout().lock(), "{all}")?;
    Ok(Answer::Yes)
}
