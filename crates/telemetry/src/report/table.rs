//! The report for a terminal.

use std::fmt::Write;

use super::experiment::{ExperimentReport, VariantReport};
use super::{Report, date, p_value, place_name, relative, thousands, units, value};
use crate::metrics::{Grouping, Metric, Totals};

/// The whole report as text.
pub fn to_table(report: &Report) -> String {
    let mut out = String::new();
    let all = &report.summary.all;
    if report.simulated {
        out +=
            "SIMULATED: these rows were made up by `lacuna telemetry demo`, nobody typed them\n\n";
    }
    let days = report.summary.groups.get(&Grouping::Day);
    let period =
        days.and_then(|d| Some(format!("{} to {}", d.keys().next()?, d.keys().next_back()?)));
    let _ = writeln!(
        out,
        "{} · {} requests, {} suggestions, {:.1} active hours, {} installation{}",
        period.unwrap_or_else(|| "no rows".to_owned()),
        thousands(all.requests),
        thousands(all.suggestions),
        all.active_ms as f64 / 3_600_000.0,
        report.summary.installations,
        if report.summary.installations == 1 { "" } else { "s" },
    );
    out.push('\n');
    for metric in Metric::SHOWN {
        let (numerator, denominator) = metric.sums(all);
        let mut parts = if metric.is_share() {
            format!("{} of {}", thousands(numerator as u64), thousands(denominator as u64))
        } else {
            String::new()
        };
        let told = metric.value_of_enough(all);
        if told.is_none() && metric.value(all).is_some() {
            parts = format!(
                "{parts}{}too little to tell yet",
                if parts.is_empty() { "" } else { ": " }
            );
        }
        let _ = writeln!(out, "  {:<38} {:>9}   {parts}", metric.title(), value(metric, told));
    }
    let _ = writeln!(
        out,
        "  {:<38} {:>9}   nine in ten within {}, 99 in 100 within {}",
        "time to a suggestion, median",
        latency(all, 0.5),
        latency(all, 0.9),
        latency(all, 0.99)
    );
    for grouping in
        [Grouping::Language, Grouping::Model, Grouping::Node, Grouping::Day, Grouping::Hour]
    {
        group_table(&mut out, report, grouping);
    }
    out += "\n  accepted: of those that stood there long enough to be read. kept 10min: of what was accepted and still there then. of code: share of the\n  written characters that were suggested. -: fewer than 10 suggestions or a quarter of an hour. docs/telemetry.md has a glossary.\n";
    for experiment in &report.experiments {
        out.push('\n');
        out += &experiment_table(experiment);
    }
    out
}

fn latency(totals: &Totals, p: f64) -> String {
    totals.latency.quantile_ms(p).map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
}

fn group_table(out: &mut String, report: &Report, grouping: Grouping) {
    let Some(groups) = report.summary.groups.get(&grouping) else { return };
    let _ = writeln!(
        out,
        "\n  {:<28} {:>10} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10}",
        grouping.title(),
        "suggested",
        "read",
        "accepted",
        "kept 10min",
        "kept/hour",
        "of code",
        "median"
    );
    for (name, totals) in groups {
        let of = |metric: Metric| value(metric, metric.value_of_enough(totals));
        let _ = writeln!(
            out,
            "  {:<28} {:>10} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10}",
            place_name(grouping, name),
            thousands(totals.suggestions),
            thousands(totals.read),
            of(Metric::AcceptanceRate),
            of(Metric::PersistenceRate(3)),
            of(Metric::RetainedPerHour(3)),
            of(Metric::CompletedRatio),
            latency(totals, 0.5)
        );
    }
}

/// One experiment as text.
pub fn experiment_table(report: &ExperimentReport) -> String {
    let mut out = String::new();
    let experiment = &report.experiment;
    let state = experiment
        .stopped
        .map_or_else(|| "running".to_owned(), |at| format!("stopped {}", date(at)));
    let _ = writeln!(
        out,
        "experiment {} · started {}, {state}, {:.1} days of rows",
        experiment.name,
        date(experiment.started),
        report.days
    );
    if report.is_unbalanced() {
        let counts: Vec<String> =
            report.variants.iter().map(|v| format!("{} {}", v.units, v.name)).collect();
        let _ = writeln!(
            out,
            "  DO NOT TRUST THIS: units are not split as the weights say ({}; p = {:.1e})",
            counts.join(", "),
            report.sample_ratio
        );
    }
    if report.crossed > 0 {
        let _ =
            writeln!(out, "  {} met more than one variant and are left out", units(report.crossed));
    }
    for variant in &report.variants {
        variant_table(&mut out, report, variant);
    }
    let _ = writeln!(out, "  {}", report.outlook());
    out
}

fn variant_table(out: &mut String, report: &ExperimentReport, variant: &VariantReport) {
    let _ =
        writeln!(out, "  {} · {} · {}", variant.name, units(variant.units), variant.outcome.text());
    if variant.comparisons.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "    {:<38} {:>10} {:>10} {:>9} {:>21} {:>8} {:>10} {:>9}",
        "", "control", "variant", "change", "95 % at any time", "p", "p if once", "findable"
    );
    for (metric, c) in &variant.comparisons {
        let of = c.control.value;
        let (interval, p) = match &c.sequential {
            Some(s) => {
                (format!("{} to {}", relative(s.low, of), relative(s.high, of)), p_value(s.p))
            }
            None => ("-".to_owned(), "-".to_owned()),
        };
        let mark = if *metric == report.primary { "*" } else { " " };
        let _ = writeln!(
            out,
            "   {mark}{:<38} {:>10} {:>10} {:>9} {interval:>21} {p:>8} {:>10} {:>9}",
            metric.title(),
            value(*metric, Some(of)),
            value(*metric, Some(c.treatment.value)),
            relative(c.difference.value, of),
            p_value(c.difference.p),
            relative(c.detectable, of),
        );
    }
    let explained = variant
        .comparisons
        .iter()
        .find(|(m, _)| *m == report.primary)
        .and_then(|(_, c)| c.explained);
    let _ = writeln!(
        out,
        "    * decides. p and interval hold however often they are looked at; p if once: had this been the only look. findable: the least change\n    that {:.0} % of such experiments would find. Explained by what the units did before, and taken out: {}",
        100.0 * report.plan.power,
        explained.map_or_else(
            || "nothing".to_owned(),
            |share| format!("{:.0} % of the variance", 100.0 * share)
        ),
    );
    for guard in &variant.guards {
        let interval = guard.interval.map_or_else(
            || "-".to_owned(),
            |i| format!("{} to {}", relative(i.low, 1.0), relative(i.high, 1.0)),
        );
        let change = relative(guard.change, 1.0);
        let _ = writeln!(
            out,
            "    guard-rail {:<14} {change:>9} ({interval}), up to {} tolerated: {}",
            guard.name,
            relative(guard.tolerated, 1.0),
            guard.state.text()
        );
    }
}
