//! The report as one self-contained HTML page: no script, no font, nothing loaded from anywhere.

use std::fmt::{self, Write};

use lacuna_plot::escaped;
use lacuna_plot::study::{Point, lines, scatter};
use similar::{ChangeTag, TextDiff};

use super::published_for;
use super::worst::Shown;
use crate::summary::{Latencies, METRICS, OFF, SetSummary, Summary, is_model_mode};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1e293b;background:#fff}\
h1{font-size:1.5rem}h2{margin-top:2.5rem;border-bottom:1px solid #cbd5e1}table{border-collapse:collapse;margin:1rem 0;font-size:.9rem}\
td,th{border:1px solid #cbd5e1;padding:.2rem .6rem;text-align:right}td:first-child,th:first-child{text-align:left}th{background:#f1f5f9}\
small{color:#64748b}svg{max-width:36rem;width:100%;height:auto}td small{white-space:nowrap}.x{overflow-x:auto}.k{list-style:none;padding:0;font-size:.85rem}\
.t{font-size:13px}svg{fill:#475569}.g{stroke:#e2e8f0}\
pre{background:#f8fafc;border:1px solid #e2e8f0;padding:.6rem;overflow-x:auto;white-space:pre-wrap;word-break:break-word;font-size:.82rem}\
.c{color:#94a3b8}.d{background:#fecaca}.i{background:#bbf7d0}.two{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem}\
@media(prefers-color-scheme:dark){body{background:#0f172a;color:#e2e8f0}th{background:#1e293b}pre{background:#1e293b;border-color:#334155}\
td,th{border-color:#334155}svg{fill:#94a3b8}.g{stroke:#334155}.d{background:#7f1d1d}.i{background:#14532d}}\
@media(max-width:40rem){body{margin:1rem auto;padding:0 .6rem}td,th{padding:.2rem .4rem}.two{grid-template-columns:minmax(0,1fr)}\
p,h1,h3{overflow-wrap:anywhere}}";

/// The page. `worst`: examples to show with their texts.
pub fn html(summary: &Summary, latencies: &Latencies, worst: &[Shown]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = page(&mut out, summary, latencies, worst);
    out
}

fn page(
    out: &mut String,
    summary: &Summary,
    latencies: &Latencies,
    worst: &[Shown],
) -> fmt::Result {
    let m = &summary.manifest;
    let title = format!("fim-eval: {}", m.model.name);
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{t}</title><style>{STYLE}</style></head><body><h1>{t}</h1>",
        t = escaped(&title)
    )?;
    let sets: Vec<String> = m.sets.iter().map(|s| escaped(&s.file)).collect();
    write!(
        out,
        "<p><small>lacuna {}, model sha256 {}, order {}, seed {}, {} sample(s) at temperature {}; sets: {}. Small figures are 95 % intervals, \
         bootstrap clustered by repository or problem.</small></p>",
        escaped(&m.code.version),
        escaped(if m.model.sha256.is_empty() { "unknown" } else { &m.model.sha256 }),
        escaped(&m.config.order),
        m.config.seed,
        m.config.samples,
        m.config.temperature,
        sets.join(", ")
    )?;
    graphs(out, summary, latencies)?;
    for set in &summary.sets {
        write!(
            out,
            "<h2>{}</h2><p>{} rows, {} failed.</p>",
            escaped(&set.set),
            set.rows,
            set.failed
        )?;
        if set.off < set.rows {
            modes_table(out, summary, set)?;
        }
        if let Some(g) = &set.gold {
            write!(
                out,
                "<p>True middle: {:.3} nats a token, perplexity {:.2}, {:.3} bits a character.</p>",
                g.nats_per_token.mean, g.perplexity, g.bits_per_char
            )?;
        }
        for p in published_for(&set.set) {
            write!(
                out,
                "<p><small>Published, not measured here: {} {} ({}); {}.</small></p>",
                escaped(p.model),
                escaped(p.value),
                escaped(p.metric),
                escaped(p.source)
            )?;
        }
        for (dimension, values) in set.dimensions() {
            if dimension == OFF {
                write!(
                    out,
                    "<p>Off: {} of the rows. An editor shows nothing there (<code>show.languages</code>); they are in no other number.</p>",
                    set.off
                )?;
            }
            buckets(out, summary, set, dimension, &values)?;
        }
    }
    if !worst.is_empty() {
        out.push_str("<h2>Worst examples</h2><p>Red: missing or other in the answer. Green: only in the answer.</p>");
        worst.iter().try_for_each(|shown| example(out, shown))?;
    }
    out.push_str("</body></html>\n");
    Ok(())
}

fn graphs(out: &mut String, summary: &Summary, latencies: &Latencies) -> fmt::Result {
    let mut points = Vec::new();
    for set in &summary.sets {
        for mode in set.modes(&summary.manifest) {
            let time = latencies.line(&set.set, mode);
            let quality = set.line("", "", mode).and_then(|l| l.metrics.get("em_line"));
            if let (Some(time), Some(q)) = (time, quality) {
                let batch = if time.batch > 1 {
                    format!(" (batches of {})", time.batch)
                } else {
                    String::new()
                };
                points.push(Point {
                    label: format!("{} {mode}{batch}", set.set),
                    ms: time.total_p50,
                    quality: q.mean,
                    low: q.low,
                    high: q.high,
                });
            }
        }
    }
    if !points.is_empty() {
        write!(
            out,
            "<h2>Quality against latency</h2>{}",
            scatter(&points, "exact match of the first line")
        )?;
    }
    for set in &summary.sets {
        let dimensions = set.dimensions();
        let Some((_, values)) = dimensions.iter().find(|(name, _)| *name == "lines") else {
            continue;
        };
        let series: Vec<(String, Vec<Option<f64>>)> = set
            .modes(&summary.manifest)
            .into_iter()
            .filter(|mode| is_model_mode(mode))
            .map(|mode| {
                let value = |v: &&str| {
                    set.line("lines", v, mode).and_then(|l| l.metrics.get("em")).map(|i| i.mean)
                };
                (mode.to_owned(), values.iter().map(value).collect())
            })
            .collect();
        let graph =
            lines(values, &series, "exact match of the whole middle", "lines of the middle");
        write!(out, "<h2>Exact match by length: {}</h2>{graph}", escaped(&set.set))?;
    }
    Ok(())
}

fn modes_table(out: &mut String, summary: &Summary, set: &SetSummary) -> fmt::Result {
    let modes = set.modes(&summary.manifest);
    out.push_str("<div class=\"x\"><table><tr><th>metric</th>");
    modes.iter().try_for_each(|mode| write!(out, "<th>{}</th>", escaped(mode)))?;
    out.push_str("</tr>");
    for metric in &METRICS {
        let cell = |mode: &&str| set.line("", "", mode).and_then(|l| l.metrics.get(metric.name));
        if modes.iter().all(|mode| cell(mode).is_none()) {
            continue;
        }
        write!(out, "<tr><td>{}</td>", escaped(metric.title))?;
        for mode in &modes {
            match cell(mode) {
                Some(i) => write!(
                    out,
                    "<td>{}<br><small>{} – {}</small></td>",
                    metric.format(i.mean),
                    metric.format(i.low),
                    metric.format(i.high)
                )?,
                None => out.push_str("<td>–</td>"),
            }
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
    Ok(())
}

fn buckets(
    out: &mut String,
    summary: &Summary,
    set: &SetSummary,
    dimension: &str,
    values: &[&str],
) -> fmt::Result {
    let modes: Vec<&str> =
        set.modes(&summary.manifest).into_iter().filter(|mode| is_model_mode(mode)).collect();
    write!(out, "<div class=\"x\"><table><tr><th>{}</th><th>n</th>", escaped(dimension))?;
    for mode in &modes {
        write!(out, "<th>{m} EM first line</th><th>{m} ES</th>", m = escaped(mode))?;
    }
    out.push_str("</tr>");
    for value in values {
        let rows =
            modes.iter().find_map(|mode| set.line(dimension, value, mode)).map_or(0, |l| l.rows);
        write!(out, "<tr><td>{}</td><td>{rows}</td>", escaped(value))?;
        for mode in &modes {
            let cell =
                |name: &str| set.line(dimension, value, mode).and_then(|l| l.metrics.get(name));
            let em = cell("em_line")
                .map_or_else(|| "–".to_owned(), |i| format!("{:.1} %", 100.0 * i.mean));
            let es = cell("es").map_or_else(|| "–".to_owned(), |i| format!("{:.3}", i.mean));
            write!(out, "<td>{em}</td><td>{es}</td>")?;
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
    Ok(())
}

fn example(out: &mut String, shown: &Shown) -> fmt::Result {
    write!(
        out,
        "<h3>{}</h3><p><small>{}, {}{}; edit similarity {:.3}{}</small></p>",
        escaped(&shown.id),
        escaped(&shown.set),
        escaped(&shown.language),
        shown.path.as_deref().map(|p| format!(", {}", escaped(p))).unwrap_or_default(),
        shown.edit_similarity,
        shown.failure.as_deref().map(|f| format!("; test: {}", escaped(f))).unwrap_or_default(),
    )?;
    let diff = TextDiff::from_words(&shown.middle, &shown.answer);
    let side = |keep: ChangeTag, class: &str| -> String {
        diff.iter_all_changes()
            .filter_map(|change| match change.tag() {
                ChangeTag::Equal => Some(escaped(change.value())),
                tag if tag == keep => {
                    Some(format!("<span class=\"{class}\">{}</span>", escaped(change.value())))
                }
                _ => None,
            })
            .collect()
    };
    let around = |text: String| {
        let (before, after) = (escaped(&shown.before), escaped(&shown.after));
        format!(
            "<pre><span class=\"c\">{before}</span>{text}<span class=\"c\">{after}</span></pre>"
        )
    };
    let answer = match &shown.silence {
        Some(reason) => format!("<p>silent: {}</p>", escaped(reason)),
        None => around(side(ChangeTag::Insert, "i")),
    };
    write!(
        out,
        "<div class=\"two\"><div><small>true</small>{}</div><div><small>answer</small>{answer}</div></div>",
        around(side(ChangeTag::Delete, "d"))
    )
}
