//! Graphs as small hand-written SVG files that read well on a light and on a dark page.

use std::fmt::Write;

use crate::axis::{linear, number};
use crate::svg::{escaped, grid, path, text as text_with};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 52.0;
const HEIGHT: f64 = 360.0;
/// Middle tones, so that they stand out from white and from black.
const COLOURS: [&str; 6] = ["#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#64748b"];

/// Numbers below this are drawn there: a logarithm has no zero.
const MIN_X: f64 = 1e-3;

/// A named line.
pub struct Series {
    pub name: String,
    /// Ascending in the first number, which is above 0.
    pub points: Vec<(f64, f64)>,
}

/// Lines over a logarithmic x axis; y starts at 0.
pub fn lines(title: &str, x_label: &str, y_label: &str, series: &[Series]) -> String {
    let all = || series.iter().flat_map(|s| &s.points);
    let (mut xs, most): (Vec<f64>, f64) =
        (all().map(|p| p.0).collect(), all().map(|p| p.1).fold(0.0, f64::max));
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let (first, last) = (xs.first().copied().unwrap_or(1.0), xs.last().copied().unwrap_or(1.0));
    let inner = WIDTH - LEFT - RIGHT;
    let x = |v: f64| {
        LEFT + if last > first {
            inner * (v / first).ln() / (last / first).ln()
        } else {
            inner / 2.0
        }
    };
    let places = linear(most, 5.0);
    let top = places[places.len() - 1];
    let y = |v: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * v / top;
    let mut out = head(title, HEIGHT);
    for v in places {
        grid(&mut out, y(v), LEFT, WIDTH - RIGHT);
        text(&mut out, LEFT - 6.0, y(v) + 4.0, "end", &number(v));
    }
    for v in &xs {
        text(&mut out, x(*v), HEIGHT - BOTTOM + 18.0, "middle", &number(*v));
    }
    text(&mut out, LEFT + inner / 2.0, HEIGHT - 14.0, "middle", x_label);
    text(&mut out, 8.0, TOP - 12.0, "start", y_label);
    let names: Vec<&str> = series.iter().map(|s| s.name.as_str()).collect();
    legend(&mut out, &names);
    for (s, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let path = path(s.points.iter().map(|p| (x(p.0), y(p.1))));
        let _ = write!(out, "<path class=\"line\" stroke=\"{colour}\" d=\"{path}\"/>");
        for p in &s.points {
            let _ = write!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(p.0),
                y(p.1)
            );
        }
    }
    out + "</svg>\n"
}

/// Shares (0 to 1, ascending) over a logarithmic x axis: cumulative distributions of any number of
/// points.
pub fn cumulative(title: &str, x_label: &str, series: &[Series]) -> String {
    let xs = || series.iter().flat_map(|s| &s.points).map(|p| p.0.max(MIN_X));
    let (first, last) = (xs().fold(f64::MAX, f64::min).min(1e9), xs().fold(MIN_X, f64::max));
    let (first, last) = if first < last { (first, last) } else { (last / 2.0, last * 2.0) };
    let inner = WIDTH - LEFT - RIGHT;
    let x = |v: f64| LEFT + inner * (v.max(MIN_X) / first).ln() / (last / first).ln();
    let y = |v: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * v;
    let mut out = head(title, HEIGHT);
    for share in [0.0, 0.25, 0.5, 0.75, 0.95, 1.0] {
        grid(&mut out, y(share), LEFT, WIDTH - RIGHT);
        text(&mut out, LEFT - 6.0, y(share) + 4.0, "end", &format!("{:.0} %", share * 100.0));
    }
    let mut tick = 10f64.powf(first.log10().floor());
    while tick <= last {
        for v in [tick, 2.0 * tick, 5.0 * tick].into_iter().filter(|v| (first..=last).contains(v)) {
            let _ =
                write!(out, "<path class=\"grid\" d=\"M{:.1} {TOP}V{}\"/>", x(v), HEIGHT - BOTTOM);
            text(&mut out, x(v), HEIGHT - BOTTOM + 18.0, "middle", &number(v));
        }
        tick *= 10.0;
    }
    text(&mut out, LEFT + inner / 2.0, HEIGHT - 14.0, "middle", x_label);
    let names: Vec<&str> = series.iter().map(|s| s.name.as_str()).collect();
    legend(&mut out, &names);
    for (s, colour) in
        series.iter().zip(COLOURS.iter().cycle()).filter(|(s, _)| !s.points.is_empty())
    {
        // More points than pixels say nothing.
        let step = (s.points.len() / 600).max(1);
        let kept = s.points.iter().step_by(step).chain(s.points.last());
        let path = path(kept.map(|p| (x(p.0), y(p.1))));
        let _ = write!(out, "<path class=\"line\" stroke=\"{colour}\" d=\"{path}\"/>");
    }
    out + "</svg>\n"
}

/// A labelled group of bars, one for each name; what is missing has no bar.
pub struct Bars {
    pub label: String,
    /// Length (shares of the longest of all groups, or of 1) and what stands behind the bar.
    pub bars: Vec<Option<(f64, String)>>,
}

/// Horizontal bars in groups. `full`: the length that fills the width, with a line there; `None`:
/// the longest.
pub fn bars(title: &str, names: &[&str], groups: &[Bars], full: Option<f64>) -> String {
    let (bar, gap, label_width, value_width) = (16.0, 14.0, 120.0, 150.0);
    let rows: usize = groups.iter().map(|g| g.bars.len()).sum();
    let height = TOP + rows as f64 * bar + groups.len() as f64 * gap + 12.0;
    let longest = groups
        .iter()
        .flat_map(|g| g.bars.iter().flatten())
        .map(|b| b.0)
        .fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - label_width - value_width) / longest.max(full.unwrap_or(0.0));
    let mut out = head(title, height);
    legend(&mut out, names);
    let mut y = TOP;
    for group in groups {
        text(
            &mut out,
            label_width - 8.0,
            y + bar * group.bars.len() as f64 / 2.0 + 4.0,
            "end",
            &group.label,
        );
        for (value, colour) in group.bars.iter().zip(COLOURS.iter().cycle()) {
            if let Some((length, label)) = value {
                let width = (length * scale).max(1.0);
                let _ = write!(
                    out,
                    "<rect x=\"{label_width}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                    bar - 2.0
                );
                text(&mut out, label_width + width + 6.0, y + bar - 5.0, "start", label);
            }
            y += bar;
        }
        y += gap;
    }
    if let Some(full) = full {
        let at = label_width + full * scale;
        let _ = write!(out, "<path class=\"mark\" d=\"M{at:.1} {TOP}V{:.1}\"/>", height - 12.0);
    }
    out + "</svg>\n"
}

fn head(title: &str, height: f64) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\">\
         <style>text{{font:12px system-ui,sans-serif;fill:#1f2937}}.title{{font-size:15px;font-weight:600}}\
         .grid{{stroke:#9ca3af;stroke-opacity:.35}}.mark{{stroke:#9ca3af;stroke-dasharray:4 3}}.line{{fill:none;stroke-width:2}}\
         @media(prefers-color-scheme:dark){{text{{fill:#e5e7eb}}}}</style><title>{0}</title>",
        escaped(title)
    );
    let _ = write!(out, "<text class=\"title\" x=\"8\" y=\"20\">{}</text>", escaped(title));
    out
}

fn legend(out: &mut String, names: &[&str]) {
    let mut x = 8.0;
    for (name, colour) in names.iter().zip(COLOURS.iter().cycle()) {
        let _ = write!(
            out,
            "<rect x=\"{x:.1}\" y=\"30\" width=\"10\" height=\"10\" fill=\"{colour}\"/>"
        );
        text(out, x + 14.0, 39.0, "start", name);
        x += 30.0 + 6.6 * name.chars().count() as f64;
    }
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    text_with(out, (x, y), anchor, text, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(svg: &str) {
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        crate::svg::check(svg);
    }

    #[test]
    fn graphs_are_well_formed_whatever_the_data() {
        let series = |points: &[(f64, f64)]| Series {
            name: "a < \"b\" & c".to_owned(),
            points: points.to_vec(),
        };
        for points in [&[][..], &[(1.0, 0.0)], &[(1.0, 2.5), (8.0, 1e4), (512.0, 3.0)]] {
            let svg = lines("title & more", "x", "y", &[series(points), series(points)]);
            check(&svg);
            assert_eq!(svg.matches("<circle").count(), 2 * points.len());
        }
        for points in [&[][..], &[(0.0, 1.0)], &[(0.2, 0.5), (900.0, 1.0)]] {
            let svg = cumulative("title", "ms", &[series(points), series(points)]);
            check(&svg);
            assert_eq!(
                svg.matches("class=\"line\"").count(),
                if points.is_empty() { 0 } else { 2 }
            );
        }
        let group = |bars| Bars { label: "pp<1>".to_owned(), bars };
        let svg = bars(
            "title",
            &["a", "b"],
            &[group(vec![Some((1.0, "one".to_owned())), None]), group(vec![])],
            Some(1.0),
        );
        check(&svg);
        check(&bars("title", &[], &[], None));
        assert!(svg.contains(">one<"));
    }
}
