//! The report as JSON: the same numbers under stable names.

use serde_json::{Map, Value, json};

use super::Report;
use super::experiment::{ExperimentReport, VariantReport};
use crate::metrics::{Metric, Totals};

/// One object; see `docs/telemetry.md` for its keys.
pub fn to_json(report: &Report) -> Value {
    let groups: Map<String, Value> = report
        .summary
        .groups
        .iter()
        .map(|(grouping, groups)| {
            let groups: Map<String, Value> =
                groups.iter().map(|(name, t)| (name.clone(), totals(t))).collect();
            (format!("by_{}", grouping.name()), Value::Object(groups))
        })
        .collect();
    let mut all = totals(&report.summary.all);
    all["installations"] = report.summary.installations.into();
    json!({
        "made": report.made,
        "since": report.since,
        "simulated": report.simulated,
        "all": all,
        "groups": groups,
        "experiments": report.experiments.iter().map(experiment).collect::<Vec<_>>(),
    })
}

fn totals(t: &Totals) -> Value {
    let metrics: Map<String, Value> =
        Metric::SHOWN.iter().map(|m| (m.key().to_owned(), json!(m.value(t)))).collect();
    json!({
        "requests": t.requests, "answered": t.answered, "suggestions": t.suggestions, "shown": t.shown, "read": t.read,
        "accepted": t.accepted, "partly": t.partly, "typed_through": t.typed_through, "dismissed": t.dismissed,
        "superseded": t.superseded, "accepted_chars": t.accepted_chars, "active_ms": t.active_ms,
        "latency_ms": {"p50": t.latency.quantile_ms(0.5), "p90": t.latency.quantile_ms(0.9), "p99": t.latency.quantile_ms(0.99)},
        "metrics": metrics,
    })
}

fn experiment(report: &ExperimentReport) -> Value {
    json!({
        "name": report.experiment.name,
        "started": report.experiment.started,
        "stopped": report.experiment.stopped,
        "control": report.control,
        "metric": report.primary.key(),
        "effect": report.plan.effect,
        "alpha": report.plan.alpha,
        "power": report.plan.power,
        "sample_ratio_p": report.sample_ratio,
        "unbalanced": report.is_unbalanced(),
        "crossed_units": report.crossed,
        "days": report.days,
        "days_left": report.days_left,
        "variants": report.variants.iter().map(variant).collect::<Vec<_>>(),
    })
}

fn variant(v: &VariantReport) -> Value {
    let comparison = |(metric, c): &(Metric, crate::stats::Comparison)| {
        let (low, high) = c.difference.interval(0.05);
        let value = json!({
            "control": c.control.value, "treatment": c.treatment.value, "difference": c.difference.value, "error": c.difference.error,
            "one_look": {"p": c.difference.p, "low": low, "high": high},
            "any_time": c.sequential.map(|s| json!({"p": s.p, "low": s.low, "high": s.high})),
            "bootstrap": c.bootstrap.map(|b| json!({"low": b.low, "high": b.high})),
            "variance_explained": c.explained, "detectable": c.detectable, "units_needed": c.needed,
        });
        (metric.key().to_owned(), value)
    };
    let guards = v.guards.iter().map(|g| {
        let interval = g.interval.map(|i| json!({"low": i.low, "high": i.high}));
        json!({"name": g.name, "change": g.change, "interval": interval, "tolerated": g.tolerated, "state": g.state.text()})
    });
    json!({
        "name": v.name, "units": v.units, "outcome": v.outcome.text(), "totals": totals(&v.totals),
        "comparisons": v.comparisons.iter().map(comparison).collect::<Map<_, _>>(),
        "guards": guards.collect::<Vec<_>>(),
    })
}
