//! The report as Markdown.

use std::fmt::{self, Write};

use super::published_for;
use crate::run::Manifest;
use crate::summary::{
    ALL_SETS, Interval, Latencies, METRICS, Metric, OFF, SetSummary, Summary, is_model_mode,
};

/// Metrics of the bucket tables, as far as they are there.
const IN_BUCKETS: [&str; 5] = ["em_line", "em", "pass@1", "es", "id_f1"];

/// The whole report. `latencies`: without them it is the same bytes for the same run.
pub fn markdown(summary: &Summary, latencies: Option<&Latencies>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut out, summary, latencies, true);
    out
}

/// The report without the tables by bucket: for a screen.
pub fn overview(summary: &Summary, latencies: Option<&Latencies>) -> String {
    let mut out = String::new();
    let _ = write_report(&mut out, summary, latencies, false);
    out
}

fn write_report(
    out: &mut String,
    summary: &Summary,
    latencies: Option<&Latencies>,
    with_buckets: bool,
) -> fmt::Result {
    let m = &summary.manifest;
    let c = &m.config;
    writeln!(
        out,
        "Model: {} (sha256 {}), lacuna {}.",
        m.model.name,
        short(&m.model.sha256),
        m.code.version
    )?;
    writeln!(
        out,
        "Order {}, context {}, beam {}{}{} (editor), temperature {}, {} sample(s), seed {}, at most {} prompt tokens and {} tokens an answer ({} where the hole is a line). {}",
        c.order,
        serde_name(&c.context),
        c.beam,
        c.without.iter().map(|part| format!(" without {part}")).collect::<String>(),
        within(m),
        c.temperature,
        c.samples,
        c.seed,
        c.prompt_tokens,
        c.max_tokens,
        c.line_tokens,
        c.limit.map_or_else(|| "All rows.".to_owned(), |n| format!("A sample of about {n} rows.")),
    )?;
    writeln!(
        out,
        "In brackets: 95 % intervals, bootstrap clustered by repository or problem. Definitions: docs/fim-eval.md."
    )?;
    for set in &summary.sets {
        writeln!(out, "\n## {}\n", set.set)?;
        write!(out, "{} rows", set.rows)?;
        if set.failed > 0 {
            write!(out, ", of which {} failed and count in no mean", set.failed)?;
        }
        writeln!(out, ".\n")?;
        if set.off < set.rows {
            modes_table(out, summary, set)?;
        }
        silences(out, set, m)?;
        off_table(out, set, m)?;
        gold(out, set)?;
        latency(out, set, latencies)?;
        if with_buckets && set.set != ALL_SETS {
            for mode in set.modes(m).into_iter().filter(|mode| is_model_mode(mode)) {
                for (dimension, values) in
                    set.dimensions().into_iter().filter(|(dimension, _)| *dimension != OFF)
                {
                    bucket_table(out, set, mode, dimension, &values)?;
                }
            }
        }
        let mut published = published_for(&set.set).peekable();
        if published.peek().is_some() {
            writeln!(
                out,
                "\nPublished, not measured here:\n\n| model | metric | value | source |\n|---|---|---|---|"
            )?;
            for p in published {
                writeln!(out, "| {} | {} | {} | {} |", p.model, p.metric, p.value, p.source)?;
            }
        }
    }
    Ok(())
}

/// The time that a run had, where it had not all of it: then the machine is part of the result.
fn within(manifest: &Manifest) -> String {
    match manifest.config.deadline_ms {
        0 => String::new(),
        ms => format!(", {ms} ms an answer, one by one, kernels {}", manifest.code.isa),
    }
}

/// One row a metric, one column a mode.
fn modes_table(out: &mut String, summary: &Summary, set: &SetSummary) -> fmt::Result {
    let modes = set.modes(&summary.manifest);
    writeln!(out, "| metric | {} |\n|---|{}", modes.join(" | "), "---|".repeat(modes.len()))?;
    for metric in &METRICS {
        let cells: Vec<Option<String>> =
            modes.iter().map(|mode| cell(set, "", "", mode, metric, is_model_mode(mode))).collect();
        if cells.iter().any(Option::is_some) {
            let cells: Vec<String> =
                cells.into_iter().map(|c| c.unwrap_or_else(|| "–".to_owned())).collect();
            writeln!(out, "| {} | {} |", metric.title, cells.join(" | "))?;
        }
    }
    Ok(())
}

/// Why the editor shows nothing to who has not asked.
fn silences(out: &mut String, set: &SetSummary, manifest: &Manifest) -> fmt::Result {
    if set.silences.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> =
        set.silences.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    writeln!(
        out,
        "\nNot shown unasked, where {} is the least probability: {}.",
        manifest.config.min_confidence,
        reasons.join(", ")
    )
}

/// What is counted apart: languages in which an editor would show nothing.
fn off_table(out: &mut String, set: &SetSummary, manifest: &Manifest) -> fmt::Result {
    if set.off == 0 {
        return Ok(());
    }
    let dimensions = set.dimensions();
    let values =
        dimensions.iter().find(|(name, _)| *name == OFF).map_or(&[][..], |(_, values)| values);
    writeln!(
        out,
        "\nOff: {} of the rows, in {}. An editor shows nothing there (`show.languages`); they are in no other number.",
        set.off,
        values.join(", ")
    )?;
    for mode in manifest.config.modes.iter().filter(|mode| is_model_mode(mode)) {
        bucket_table(out, set, mode, OFF, values)?;
    }
    Ok(())
}

fn gold(out: &mut String, set: &SetSummary) -> fmt::Result {
    let Some(g) = &set.gold else { return Ok(()) };
    let i = &g.nats_per_token;
    writeln!(
        out,
        "\nTrue middle: {:.3} nats a token [{:.3}, {:.3}], perplexity {:.2}, {:.3} bits a character ({} tokens).",
        i.mean, i.low, i.high, g.perplexity, g.bits_per_char, g.tokens
    )
}

fn latency(out: &mut String, set: &SetSummary, latencies: Option<&Latencies>) -> fmt::Result {
    let lines: Vec<_> =
        latencies.into_iter().flat_map(|l| &l.lines).filter(|l| l.set == set.set).collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| mode | total p50 / p95 ms | first token p50 / p95 ms | prompt tokens prefilled | cached | generated |\n|---|---|---|---|---|---|"
    )?;
    for l in lines {
        let first = match (l.first_p50, l.first_p95) {
            (Some(a), Some(b)) => format!("{a:.1} / {b:.1}"),
            _ => "–".to_owned(),
        };
        writeln!(
            out,
            "| {} | {:.1} / {:.1} | {first} | {:.0} | {:.0} | {:.1} |",
            if l.batch > 1 {
                format!("{}, share of a batch of {}", l.mode, l.batch)
            } else {
                l.mode.clone()
            },
            l.total_p50,
            l.total_p95,
            l.prefilled,
            l.cached,
            l.generated
        )?;
    }
    Ok(())
}

fn bucket_table(
    out: &mut String,
    set: &SetSummary,
    mode: &str,
    dimension: &str,
    values: &[&str],
) -> fmt::Result {
    let metrics: Vec<&Metric> = METRICS
        .iter()
        .filter(|m| IN_BUCKETS.contains(&m.name))
        .filter(|m| values.iter().any(|v| cell(set, dimension, v, mode, m, false).is_some()))
        .collect();
    let titles: Vec<&str> = metrics.iter().map(|m| m.title).collect();
    writeln!(
        out,
        "\n| {mode}, by {dimension} | n | {} |\n|---|---|{}",
        titles.join(" | "),
        "---|".repeat(metrics.len())
    )?;
    for value in values {
        let Some(line) = set.line(dimension, value, mode) else { continue };
        let cells: Vec<String> = metrics
            .iter()
            .map(|m| cell(set, dimension, value, mode, m, true).unwrap_or_else(|| "–".to_owned()))
            .collect();
        writeln!(out, "| {value} | {} | {} |", line.rows, cells.join(" | "))?;
    }
    Ok(())
}

fn cell(
    set: &SetSummary,
    dimension: &str,
    value: &str,
    mode: &str,
    metric: &Metric,
    with_interval: bool,
) -> Option<String> {
    let interval = set.line(dimension, value, mode)?.metrics.get(metric.name)?;
    Some(if with_interval { with_ends(interval, metric) } else { metric.format(interval.mean) })
}

fn with_ends(i: &Interval, metric: &Metric) -> String {
    let bare = |x: f64| metric.format(x).trim_end_matches(" %").to_owned();
    format!("{} [{}, {}]", metric.format(i.mean), bare(i.low), bare(i.high))
}

/// SantaCoder-FIM as the model card has it: by language, with code and brackets apart, beside two
/// baselines.
pub fn legacy_table(summary: &Summary, latencies: &Latencies) -> Option<String> {
    let set = summary.set("santacoder-fim")?;
    let mode =
        ["editor", "endpoint", "raw"].into_iter().find(|mode| set.line("", "", mode).is_some())?;
    let mut out = format!(
        "model: {}; exact match of the first line; edit similarity beside it\n",
        summary.manifest.model.name
    );
    out.push_str("| language | rows | n | model | edit similarity | copy similar line | close bracket |\n|---|---|---|---|---|---|---|\n");
    let mut languages: Vec<&str> =
        set.lines.iter().filter(|l| l.dimension == "language").map(|l| l.value.as_str()).collect();
    languages.sort_unstable();
    languages.dedup();
    for language in languages {
        for rows in ["all", "code", "brackets only"] {
            let joint = format!("{language}, {rows}");
            let (dimension, value) = if rows == "all" {
                ("language", language)
            } else {
                ("language, middle", joint.as_str())
            };
            let Some(line) = set.line(dimension, value, mode) else { continue };
            let percent = |mode: &str| {
                let hit = set.line(dimension, value, mode).and_then(|l| l.metrics.get("em_line"));
                hit.map_or_else(|| "–".to_owned(), |i| format!("{:.1} %", 100.0 * i.mean))
            };
            let similarity = line.metrics.get("es_line").map_or(0.0, |i| i.mean);
            let _ = writeln!(
                out,
                "| {language} | {rows} | {} | {} | {similarity:.3} | {} | {} |",
                line.rows,
                percent(mode),
                percent("copy-line"),
                percent("close-bracket")
            );
        }
    }
    if let Some(l) = latencies.line(&set.set, mode) {
        let silent =
            set.line("", "", mode).and_then(|l| l.metrics.get("silent")).map_or(0.0, |i| i.mean);
        let silences = (silent * set.rows as f64).round();
        let _ = writeln!(
            out,
            "{silences} silences; p50 {:.0} ms, p95 {:.0} ms, cold",
            l.total_p50, l.total_p95
        );
    }
    Some(out)
}

fn short(sha256: &str) -> &str {
    if sha256.is_empty() { "unknown" } else { &sha256[..sha256.len().min(12)] }
}

fn serde_name(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
