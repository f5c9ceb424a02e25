//! `lacuna telemetry compare`: the statistics of experiments on units of one's own, from a CSV
//! file.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use lacuna_telemetry::stats::{Comparison, Plan, SRM_ALARM, Unit, compare, power, sample_ratio};
use serde::Deserialize;
use serde_json::json;

use crate::Answer;

/// Compare the arms of any experiment: a CSV file with one line for each unit of randomisation
#[derive(clap::Args)]
pub struct Args {
    /// Columns variant, numerator, denominator; before_numerator and before_denominator if there is
    /// a covariate
    file: PathBuf,
    /// Variant that the others are compared with
    #[arg(long, default_value = "control", value_name = "NAME")]
    control: String,
    /// Relative effect that is to be found
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    effect: f64,
    /// Share of experiments without an effect that may be taken to show one
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    alpha: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
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
    for (i, row) in
        csv::Reader::from_path(&args.file).with_context(name)?.deserialize::<Row>().enumerate()
    {
        let row = row.with_context(|| format!("{}, line {}", name(), i + 2))?;
        let before = row
            .before_numerator
            .zip(row.before_denominator)
            .filter(|(_, denominator)| *denominator > 0.0);
        let unit = Unit { numerator: row.numerator, denominator: row.denominator, before };
        if !unit.numerator.is_finite() || !unit.denominator.is_finite() || unit.denominator < 0.0 {
            bail!(
                "{}, line {}: numerator and denominator must be finite, the denominator not negative",
                name(),
                i + 2
            );
        }
        arms.entry(row.variant).or_default().push(unit);
    }
    let control = arms
        .get(&args.control)
        .with_context(|| format!("{} has no variant {}: see --control", name(), args.control))?;
    let plan = Plan { effect: args.effect, alpha: args.alpha, ..Plan::default() };
    let mut compared = Vec::new();
    for (variant, units) in arms.iter().filter(|(v, _)| **v != args.control) {
        let Some(c) = compare(control, units, &plan) else {
            bail!(
                "{}: variant {variant} or {} has a denominator of 0 in all",
                name(),
                args.control
            );
        };
        compared.push((variant.as_str(), c));
    }
    let counts: Vec<u64> = arms.values().map(|units| units.len() as u64).collect();
    let even = vec![1.0; counts.len()];
    let balance = sample_ratio(&counts, &even);
    let mut out = std::io::stdout().lock();
    if args.json {
        let told: serde_json::Map<_, _> =
            compared.iter().map(|(name, c)| ((*name).to_owned(), as_json(c, &plan))).collect();
        writeln!(out, "{}", json!({"variants": told, "units": counts, "sample_ratio_p": balance}))?;
    } else {
        let arms: Vec<(&str, usize)> =
            arms.iter().map(|(name, units)| (name.as_str(), units.len())).collect();
        write!(out, "{}", as_table(&args.control, &arms, &compared, balance, &plan))?;
    }
    Ok(Answer::Yes)
}

fn as_json(c: &Comparison, plan: &Plan) -> serde_json::Value {
    let (low, high) = c.difference.interval(plan.alpha);
    json!({
        "control": c.control.value, "control_error": c.control.error,
        "treatment": c.treatment.value, "treatment_error": c.treatment.error,
        "difference": c.difference.value, "error": c.difference.error, "df": c.difference.df,
        "one_look": {"p": c.difference.p, "low": low, "high": high},
        "any_time": c.sequential.map(|s| json!({"p": s.p, "low": s.low, "high": s.high})),
        "bootstrap": c.bootstrap.map(|b| json!({"low": b.low, "high": b.high})),
        "variance_explained": c.explained, "detectable": c.detectable, "units_needed": c.needed,
        "power": power(plan.effect * c.control.value, c.difference.error, plan.alpha),
    })
}

/// The same for people: a line for each fact, changes relative to the control.
fn as_table(
    control: &str,
    arms: &[(&str, usize)],
    compared: &[(&str, Comparison)],
    balance: f64,
    plan: &Plan,
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, told: String| text += &format!("{name:<34} {told}\n");
    let counts: Vec<String> = arms.iter().map(|(name, n)| format!("{n} of {name}")).collect();
    line("units", counts.join(", "));
    if balance < SRM_ALARM {
        line(
            "DO NOT TRUST THIS",
            format!(
                "units are not split evenly (p = {balance:.1e}); if that was not meant, something sorted them"
            ),
        );
    }
    let confidence = format!("{:.0} %", 100.0 * (1.0 - plan.alpha));
    for (variant, c) in compared {
        let of = c.control.value;
        let share = |v: f64| {
            if of == 0.0 { format!("{v:+.4}") } else { format!("{:+.1} %", 100.0 * v / of) }
        };
        let span = |low: f64, high: f64| format!("{} to {}", share(low), share(high));
        let (low, high) = c.difference.interval(plan.alpha);
        line("", String::new());
        line(&format!("{variant} against {control}"), share(c.difference.value));
        line("  value", format!("{:.4} against {of:.4}", c.treatment.value));
        match c.sequential {
            Some(s) => line(
                &format!("  {confidence} interval, at any time"),
                format!("{} (p = {:.4})", span(s.low, s.high), s.p),
            ),
            None => line(
                &format!("  {confidence} interval, at any time"),
                "too few units to say".to_owned(),
            ),
        }
        line(
            &format!("  {confidence} interval, if looked at once"),
            format!("{} (p = {:.4})", span(low, high), c.difference.p),
        );
        if let Some(b) = c.bootstrap {
            line(&format!("  {confidence} interval, by resampling"), span(b.low, b.high));
        }
        line(
            "  least change that is found",
            format!("{} in {:.0} % of such experiments", share(c.detectable), 100.0 * plan.power),
        );
        if let Some(needed) = c.needed {
            line(
                &format!("  units for a change of {:.0} %", 100.0 * plan.effect),
                needed.to_string(),
            );
        }
        if let Some(explained) = c.explained {
            line(
                "  explained by what was before",
                format!("{:.0} % of the variance, taken out", 100.0 * explained),
            );
        }
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
