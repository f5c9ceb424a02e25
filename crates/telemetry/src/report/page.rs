//! The report as one page that needs nothing else: no network, no fonts, no scripts from anywhere.
//!
//! `lacuna telemetry report --html` writes it to a file, `lacuna serve` answers `/dashboard` with
//! it. It follows the reader's light or dark setting, can be read with the keyboard alone, and says
//! every number of its charts in a table too.

use std::fmt::Write;

use lacuna_plot::escaped;
use lacuna_plot::page::{Bar, Estimate, Line, bars, distribution, forest, lines};

use super::experiment::{ExperimentReport, GuardState, Outcome, VariantReport};
use super::{Report, date, p_value, place_name, relative, thousands, value};
use crate::metrics::{Grouping, Histogram, Metric, Totals};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the words of the page mean; docs/telemetry.md has the formulae.
const GLOSSARY: &str = "\
<section id=\"words\" tabindex=\"-1\">
<h2>Words</h2>
<dl>
<dt>read</dt><dd>A suggestion that stood there long enough to be noticed.</dd>
<dt>accepted</dt><dd>Taken over with a key, whole or in part; the share is of those read.</dd>
<dt>still there</dt><dd>Of what was accepted: the share of its characters that was in the file that much later.</dd>
<dt>kept an hour</dt><dd>Characters that were accepted and still there, for each hour in which something was typed.</dd>
<dt>share of code</dt><dd>Accepted characters among all that were written.</dd>
<dt>typed by hand</dt><dd>The suggestion was right, and was typed instead of accepted.</dd>
<dt>unit</dt><dd>What an experiment gives an arm to: an installation, a block of some minutes, or a file.</dd>
<dt>at any time</dt><dd>Holds however often one looks. If looked at once: narrower, and wrong for whoever stops when it looks good.</dd>
<dt>least change that is found</dt><dd>With as many units as there are, smaller changes would mostly go unnoticed.</dd>
<dt>-</dt><dd>Fewer than 10 suggestions, or less than a quarter of an active hour: too little to tell.</dd>
</dl>
</section>
";

/// The whole page.
pub fn to_page(report: &Report) -> String {
    let mut out = head("Skip to the figures");
    header(&mut out, report);
    out += "<main id=\"main\" tabindex=\"-1\">\n";
    tiles(&mut out, &report.summary.all);
    over_time(&mut out, report);
    by_group(&mut out, report, Grouping::Language, "language", "By language");
    latency(&mut out, &report.summary.all.latency);
    by_group(&mut out, report, Grouping::Hour, "hour", "By hour of the day");
    by_group(&mut out, report, Grouping::Node, "node", "By place in the code");
    by_group(&mut out, report, Grouping::Model, "model", "By model");
    report.experiments.iter().for_each(|e| experiment(&mut out, e));
    out += GLOSSARY;
    let _ = write!(
        out,
        "</main>\n<footer>Made {} by lacuna {} from data on this machine; nothing was sent anywhere.</footer>\n\
         <p id=\"said\" class=\"said\" role=\"status\" aria-live=\"polite\"></p>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        date(report.made),
        env!("CARGO_PKG_VERSION")
    );
    out
}

/// A page that says why there is no report.
pub fn to_message_page(title: &str, message: &str) -> String {
    let (title, message) = (escaped(title), escaped(message));
    head("Skip to the message")
        + &format!(
            "<main id=\"main\" tabindex=\"-1\">\n<h1>{title}</h1>\n<p>{message}</p>\n</main>\n</body>\n</html>\n"
        )
}

/// Up to the beginning of the body, with a link for the keyboard that skips what stands before the
/// main part.
fn head(skip: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>Lacuna: what was kept</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">{skip}</a>\n"
    )
}

fn header(out: &mut String, report: &Report) {
    let all = &report.summary.all;
    let days = report.summary.groups.get(&Grouping::Day);
    let period =
        days.and_then(|d| Some(format!("{} to {}", d.keys().next()?, d.keys().next_back()?)));
    let _ = writeln!(
        out,
        "<header>\n<h1>What was kept</h1>\n<p>{} · {} installation{} · {} requests · {} suggestions · {} active hours</p>",
        period.unwrap_or_else(|| "no rows".to_owned()),
        report.summary.installations,
        if report.summary.installations == 1 { "" } else { "s" },
        thousands(all.requests),
        thousands(all.suggestions),
        hours(all.active_ms)
    );
    if report.simulated {
        *out += "<p class=\"simulated\"><strong>Simulated.</strong> These rows were made up by <code>lacuna telemetry demo</code>; nobody typed them.</p>\n";
    }
    *out += "<nav aria-label=\"Sections\"><a href=\"#time\">Over time</a> <a href=\"#language\">Languages</a> <a href=\"#latency\">Latency</a> <a href=\"#hour\">Hours</a> <a href=\"#node\">Places</a> <a href=\"#model\">Models</a> <a href=\"#words\">Words</a>";
    for e in &report.experiments {
        let name = escaped(&e.experiment.name);
        let _ = write!(out, " <a href=\"#experiment-{name}\">Experiment {name}</a>");
    }
    *out += "</nav>\n</header>\n";
}

fn tiles(out: &mut String, all: &Totals) {
    *out += "<section aria-label=\"In short\" class=\"tiles\">\n";
    let shown = [
        (Metric::RetainedPerHour(3), "characters kept an active hour, after 10 min"),
        (Metric::AcceptanceRate, "accepted of those read"),
        (Metric::PersistenceRate(3), "still there after 10 min"),
        (Metric::CompletedRatio, "of the code came from suggestions"),
    ];
    for (metric, label) in shown {
        let _ = writeln!(out, "<div><b>{}</b><span>{label}</span></div>", tile(metric, all));
    }
    let p =
        |p: f64| all.latency.quantile_ms(p).map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
    let _ = writeln!(
        out,
        "<div><b>{} ms</b><span>until a suggestion comes, median; nine in ten within {} ms, 99 in 100 within {} ms</span></div>\n</section>",
        p(0.5),
        p(0.9),
        p(0.99)
    );
}

/// A figure, or why there is none yet.
fn tile(metric: Metric, all: &Totals) -> String {
    match metric.value_of_enough(all) {
        None if metric.value(all).is_some() => "too few yet".to_owned(),
        None => "none yet".to_owned(),
        told => value(metric, told),
    }
}

/// What somebody typed for some minutes is not nothing.
fn hours(active_ms: u64) -> String {
    match active_ms as f64 / 3_600_000.0 {
        hours if active_ms > 0 && hours < 0.1 => "under 0.1".to_owned(),
        hours => format!("{hours:.1}"),
    }
}

fn over_time(out: &mut String, report: &Report) {
    let Some(days) = report.summary.groups.get(&Grouping::Day) else { return };
    let places: Vec<&str> = days.keys().map(String::as_str).collect();
    let line = |name, colour, metric: Metric| Line {
        name,
        colour,
        values: days.values().map(|t| metric.value_of_enough(t)).collect(),
    };
    *out += "<section id=\"time\" tabindex=\"-1\">\n<h2>Over time</h2>\n<figure>\n<figcaption>Shares by day: <span class=\"key k1\">accepted of read</span> <span class=\"key k2\">still there after 10 min</span> <span class=\"key k3\">completed of all code</span></figcaption>\n";
    let shares = [
        line("accepted of read", 1, Metric::AcceptanceRate),
        line("still there after 10 min", 2, Metric::PersistenceRate(3)),
        line("completed of all code", 3, Metric::CompletedRatio),
    ];
    if shares.iter().flat_map(|line| &line.values).all(Option::is_none) {
        *out += "<p>No day tells them yet: that takes ten suggestions.</p>\n";
    } else {
        *out += &lines("Acceptance and retention by day", &places, &shares, |v| {
            format!("{:.0} %", 100.0 * v)
        });
    }
    *out += "</figure>\n<figure>\n<figcaption>Characters kept an active hour, after 10 minutes</figcaption>\n";
    let kept = [line("kept characters an hour", 1, Metric::RetainedPerHour(3))];
    if kept[0].values.iter().all(Option::is_none) {
        *out += "<p>No day tells it yet: that takes ten suggestions, a quarter of an hour of typing, and ten minutes after them.</p>\n";
    } else {
        *out += &lines("Kept characters an active hour by day", &places, &kept, |v| {
            thousands(v.round().max(0.0) as u64)
        });
    }
    *out += "</figure>\n";
    group_table(out, "Day by day", Grouping::Day, days);
    *out += "</section>\n";
}

fn by_group(out: &mut String, report: &Report, grouping: Grouping, id: &str, title: &str) {
    let Some(groups) = report.summary.groups.get(&grouping) else { return };
    let metric = Metric::AcceptanceRate;
    let rows: Vec<Bar> = groups
        .iter()
        .filter_map(|(name, t)| {
            let share = metric.value_of_enough(t)?;
            Some(Bar {
                name: place_name(grouping, name),
                value: share,
                told: format!("{:.1} % of {} read", 100.0 * share, thousands(t.read)),
            })
        })
        .collect();
    let _ = writeln!(out, "<section id=\"{id}\" tabindex=\"-1\">\n<h2>{title}</h2>");
    if rows.is_empty() {
        *out += "<p>Fewer than 10 suggestions were read in each: too few for a share.</p>\n";
    } else {
        *out += "<figure>\n<figcaption>Accepted of those read</figcaption>\n";
        *out += &bars(title, &rows);
        *out += "</figure>\n";
    }
    group_table(out, "All figures", grouping, groups);
    *out += "</section>\n";
}

fn group_table(
    out: &mut String,
    title: &str,
    grouping: Grouping,
    groups: &std::collections::BTreeMap<String, Totals>,
) {
    let columns = [
        ("accepted", Metric::AcceptanceRate),
        ("accepted, by characters", Metric::WeightedAcceptanceRate),
        ("still there 30 s", Metric::PersistenceRate(0)),
        ("still there 10 min", Metric::PersistenceRate(3)),
        ("kept an hour", Metric::RetainedPerHour(3)),
        ("share of code", Metric::CompletedRatio),
        ("in part", Metric::PartialRate),
        ("typed by hand", Metric::TypedThroughRate),
        ("dismissed", Metric::DismissalRate),
    ];
    let _ = write!(
        out,
        "<details><summary>{title}</summary><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\"><table><thead><tr><th scope=\"col\"></th><th scope=\"col\">suggested</th><th scope=\"col\">read</th>"
    );
    columns.iter().for_each(|(name, _)| {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    });
    *out += "<th scope=\"col\">median ms</th></tr></thead><tbody>";
    for (name, t) in groups {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td>",
            escaped(&place_name(grouping, name)),
            thousands(t.suggestions),
            thousands(t.read)
        );
        columns.iter().for_each(|(_, metric)| {
            let _ = write!(out, "<td>{}</td>", value(*metric, metric.value_of_enough(t)));
        });
        let p50 =
            t.latency.quantile_ms(0.5).map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        let _ = write!(out, "<td>{p50}</td></tr>");
    }
    *out += "</tbody></table></div></details>\n";
}

/// Classes of a histogram that are shown as one bar.
const BARS: f64 = 24.0;

fn latency(out: &mut String, histogram: &Histogram) {
    if histogram.n() == 0 {
        return;
    }
    // What lies outside all but a thousandth at each end would only squeeze the rest.
    let (from, to) =
        (histogram.quantile_ms(0.001).unwrap_or(0.1), histogram.quantile_ms(0.999).unwrap_or(1e3));
    let width = ((to / from).ln() / BARS).max(0.02);
    let mut classes: Vec<(f64, f64, f64)> = Vec::new();
    for (low, high, n) in histogram.classes() {
        let middle = (low * high).sqrt().clamp(from, to);
        let bar = ((middle / from).ln() / width).floor().min(BARS - 1.0);
        let edges = (from * (bar * width).exp(), from * ((bar + 1.0) * width).exp());
        let share = n as f64 / histogram.n() as f64;
        match classes.iter_mut().find(|c| c.0 == edges.0) {
            Some(class) => class.2 += share,
            None => classes.push((edges.0, edges.1, share)),
        }
    }
    *out += "<section id=\"latency\" tabindex=\"-1\">\n<h2>Latency</h2>\n<figure>\n<figcaption>From request to suggestion</figcaption>\n";
    *out += &distribution("Latency from request to suggestion", &classes);
    *out += "</figure>\n</section>\n";
}

fn experiment(out: &mut String, report: &ExperimentReport) {
    let name = escaped(&report.experiment.name);
    let state = report
        .experiment
        .stopped
        .map_or_else(|| "still running".to_owned(), |at| format!("stopped {}", date(at)));
    let _ = writeln!(
        out,
        "<section id=\"experiment-{name}\" tabindex=\"-1\">\n<h2>Experiment {name}</h2>\n<p>Started {}, {state}; {:.1} days of rows.</p>",
        date(report.experiment.started),
        report.days
    );
    if report.is_unbalanced() {
        let _ = writeln!(
            out,
            "<p class=\"alarm\"><strong>Do not trust this:</strong> units are not split as the weights say (p = {:.1e}).</p>",
            report.sample_ratio
        );
    }
    if report.crossed > 0 {
        let _ = writeln!(
            out,
            "<p class=\"alarm\">{} met more than one variant and are left out.</p>",
            super::units(report.crossed)
        );
    }
    for variant in report.variants.iter().filter(|v| v.outcome != Outcome::Control) {
        variant_section(out, report, variant);
    }
    let _ = writeln!(out, "<p>Outlook: {}.</p>\n</section>", escaped(&report.outlook()));
}

fn variant_section(out: &mut String, report: &ExperimentReport, variant: &VariantReport) {
    let of = |name: &str| report.variants.iter().find(|v| v.name == name).map_or(0, |v| v.units);
    let class = match variant.outcome {
        Outcome::Better => "better",
        Outcome::Worse => "worse",
        _ => "open",
    };
    let (name, control) = (escaped(&variant.name), escaped(&report.control));
    let _ = writeln!(
        out,
        "<h3>{name} against {control}: <span class=\"verdict {class}\">{}</span></h3>\n<p>{} and {}. Decided by “{}”; intervals and p-values hold however often they are looked at.</p>",
        variant.outcome.text(),
        variant.units,
        super::units(of(&report.control)),
        report.primary.title()
    );
    let mut rows = Vec::new();
    for (metric, c) in &variant.comparisons {
        let of = c.control.value;
        if let Some(s) = c.sequential.filter(|_| of != 0.0) {
            let told = format!(
                "{} to {}, {} ({} to {})",
                value(*metric, Some(of)),
                value(*metric, Some(c.treatment.value)),
                relative(c.difference.value, of),
                relative(s.low, of),
                relative(s.high, of)
            );
            rows.push(Estimate {
                name: metric.title().to_owned(),
                value: c.difference.value / of,
                low: s.low / of,
                high: s.high / of,
                told,
            });
        }
    }
    if !rows.is_empty() {
        *out += "<figure>\n<figcaption>Change against the control, with 95 % intervals for any time: <span class=\"key k2\">a difference is shown</span> <span class=\"key k1\">none is shown yet</span>. An arrow: the interval goes on.</figcaption>\n";
        *out += &forest(&format!("{} against {}", variant.name, report.control), &rows);
        *out += "</figure>\n";
    }
    comparison_table(out, report, variant);
    *out += "<ul class=\"guards\">";
    for g in &variant.guards {
        let mark = match g.state {
            GuardState::Holds => "better",
            GuardState::Broken => "worse",
            GuardState::Open => "open",
        };
        let _ = write!(
            out,
            "<li>Guard-rail {}: {} (up to {} tolerated): <span class=\"verdict {mark}\">{}</span></li>",
            g.name,
            relative(g.change, 1.0),
            relative(g.tolerated, 1.0),
            g.state.text()
        );
    }
    *out += "</ul>\n";
}

fn comparison_table(out: &mut String, report: &ExperimentReport, variant: &VariantReport) {
    *out += "<details open><summary>All figures</summary><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"All figures of the experiment\"><table><thead><tr><th scope=\"col\">metric</th><th scope=\"col\">control</th><th scope=\"col\">variant</th><th scope=\"col\">change</th><th scope=\"col\">95 % at any time</th><th scope=\"col\">p at any time</th><th scope=\"col\">95 % if looked at once</th><th scope=\"col\">least change that is found</th></tr></thead><tbody>";
    for (metric, c) in &variant.comparisons {
        let of = c.control.value;
        let span = |low: f64, high: f64| format!("{} to {}", relative(low, of), relative(high, of));
        let _ = write!(
            out,
            "<tr{}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            if *metric == report.primary { " class=\"primary\"" } else { "" },
            metric.title(),
            value(*metric, Some(of)),
            value(*metric, Some(c.treatment.value)),
            relative(c.difference.value, of),
            c.sequential.map_or_else(|| "-".to_owned(), |s| span(s.low, s.high)),
            c.sequential.map_or_else(|| "-".to_owned(), |s| escaped(&p_value(s.p))),
            c.bootstrap.map_or_else(|| "-".to_owned(), |b| span(b.low, b.high)),
            relative(c.detectable, of)
        );
    }
    *out += "</tbody></table></div></details>\n";
}
