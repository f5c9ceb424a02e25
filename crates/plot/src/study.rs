//! Two graphs as SVG: quality against latency, and exact match by length of the middle. Text and
//! shapes only, no script. What a colour stands for is told below the graph, where names may
//! be long. Letters are so large that they can be read on a telephone.

use std::fmt::Write;

use crate::svg::{escaped, text as text_with};

/// A point of the scatter.
pub struct Point {
    pub label: String,
    pub ms: f64,
    /// 0 to 1, with its interval.
    pub quality: f64,
    pub low: f64,
    pub high: f64,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 58.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 20.0;
const RIGHT: f64 = 26.0;
const COLOURS: [&str; 6] = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#475569"];

fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

/// Quality upwards, milliseconds to the right on a logarithmic axis. A number at each point says
/// which name of the legend is its.
pub fn scatter(points: &[Point], y_title: &str) -> String {
    let (least, most) =
        points.iter().fold((f64::MAX, 1.0f64), |(a, b), p| (a.min(p.ms), b.max(p.ms)));
    let (first, last) = (least.max(0.1).log10().floor(), most.log10().ceil());
    let last = if last > first { last } else { first + 1.0 };
    let top = ceiling(points.iter().map(|p| p.high).fold(0.0, f64::max));
    let x =
        |ms: f64| LEFT + (ms.max(0.1).log10() - first) / (last - first) * (WIDTH - LEFT - RIGHT);
    let mut out = open(y_title, "median milliseconds to the whole completion", top);
    let mut decade = first;
    while decade <= last {
        let (at, label) = (x(10f64.powf(decade)), 10f64.powf(decade));
        text(&mut out, (at, HEIGHT - BOTTOM + 16.0), "middle", &label.to_string());
        decade += 1.0;
    }
    let mut numbers = Vec::new();
    for (i, p) in points.iter().enumerate() {
        let (cx, cy, c) = (x(p.ms), y(p.quality, top), colour(i));
        let (y1, y2) = (y(p.low, top), y(p.high, top));
        let (tx, ty) = room_beside((cx, cy), &numbers);
        numbers.push((tx, ty));
        let _ = write!(
            out,
            r#"<line x1="{cx:.1}" x2="{cx:.1}" y1="{y1:.1}" y2="{y2:.1}" stroke="{c}"/><circle cx="{cx:.1}" cy="{cy:.1}" r="4" fill="{c}"><title>{t}: {ms:.1} ms, {q:.3}</title></circle>"#,
            t = escaped(&p.label),
            ms = p.ms,
            q = p.quality,
        );
        let coloured = format!(" class=\"t\" fill=\"{c}\"");
        text_with(&mut out, (tx, ty), "middle", &(i + 1).to_string(), &coloured);
    }
    let names = points
        .iter()
        .enumerate()
        .map(|(i, p)| format!("{} {}: {:.1} ms, {:.1} %", i + 1, p.label, p.ms, 100.0 * p.quality));
    close(out, names)
}

/// Where a point's number stands: beside it, inside of the graph, and not on another number.
fn room_beside((cx, cy): (f64, f64), numbers: &[(f64, f64)]) -> (f64, f64) {
    const NUMBER: (f64, f64) = (16.0, 13.0);
    let free = |(x, y): (f64, f64)| {
        x > LEFT
            && x < WIDTH
            && numbers.iter().all(|(a, b)| (a - x).abs() >= NUMBER.0 || (b - y).abs() >= NUMBER.1)
    };
    let rows =
        (0..8).flat_map(|row| [-1.0, 1.0].map(|side| cy + 4.0 + side * f64::from(row) * NUMBER.1));
    rows.flat_map(|y| [(cx + 11.0, y), (cx - 11.0, y)])
        .find(|at| free(*at))
        .unwrap_or((cx + 11.0, cy))
}

/// One line a series over the same categories; `None`: nothing there.
pub fn lines(
    categories: &[&str],
    series: &[(String, Vec<Option<f64>>)],
    y_title: &str,
    x_title: &str,
) -> String {
    let top = ceiling(
        series.iter().flat_map(|(_, values)| values.iter().flatten().copied()).fold(0.0, f64::max),
    );
    let step = (WIDTH - LEFT - RIGHT) / categories.len().max(1) as f64;
    let x = |i: usize| LEFT + (i as f64 + 0.5) * step;
    let mut out = open(y_title, x_title, top);
    for (i, name) in categories.iter().enumerate() {
        text(&mut out, (x(i), HEIGHT - BOTTOM + 16.0), "middle", name);
    }
    for (s, (_, values)) in series.iter().enumerate() {
        let there: Vec<(usize, f64)> =
            values.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?))).collect();
        let path: Vec<String> =
            there.iter().map(|(i, v)| format!("{:.1},{:.1}", x(*i), y(*v, top))).collect();
        // Where lines run together, the first ones show beside the last.
        let under = (series.len() - 1 - s).min(3) as f64;
        let _ = write!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"/>"#,
            path.join(" "),
            colour(s),
            2.0 + 3.0 * under
        );
        for (i, v) in &there {
            let _ = write!(
                out,
                r#"<circle cx="{:.1}" cy="{:.1}" r="{}" fill="{}"/>"#,
                x(*i),
                y(*v, top),
                3.0 + 2.0 * under,
                colour(s)
            );
        }
    }
    close(out, series.iter().map(|(label, _)| label.clone()))
}

/// The end of a graph, and its legend: a name for each colour.
fn close(mut out: String, names: impl Iterator<Item = String>) -> String {
    out.push_str("</svg><ul class=\"k\">");
    for (i, name) in names.enumerate() {
        let _ =
            write!(out, "<li><span style=\"color:{}\">●</span> {}</li>", colour(i), escaped(&name));
    }
    out + "</ul>"
}

/// The next tenth.
fn ceiling(value: f64) -> f64 {
    ((value * 10.0).ceil() / 10.0).clamp(0.1, 1.0)
}

fn y(quality: f64, top: f64) -> f64 {
    TOP + (1.0 - (quality / top).clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM)
}

fn open(y_title: &str, x_title: &str, top: f64) -> String {
    let mut out = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#);
    for i in 0..=4 {
        let value = top * f64::from(i) / 4.0;
        let at = y(value, top);
        let end = WIDTH - RIGHT;
        let _ =
            write!(out, r#"<line class="g" x1="{LEFT}" x2="{end:.1}" y1="{at:.1}" y2="{at:.1}"/>"#);
        text(&mut out, (LEFT - 5.0, at + 4.0), "end", &format!("{:.1} %", 100.0 * value));
    }
    text(&mut out, (LEFT, 12.0), "start", y_title);
    text(&mut out, (WIDTH - RIGHT, HEIGHT - 8.0), "end", x_title);
    out
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, text: &str) {
    text_with(out, at, anchor, text, " class=\"t\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_points_stand_beside_each_other() {
        for at in [(LEFT + 1.0, 100.0), (200.0, 60.0), (WIDTH - RIGHT, 200.0)] {
            let mut numbers = Vec::new();
            for _ in 0..12 {
                let (x, y) = room_beside(at, &numbers);
                assert!(x > LEFT && x < WIDTH, "{x}");
                let near = |(a, b): &(f64, f64)| (a - x).abs() < 16.0 && (b - y).abs() < 13.0;
                assert!(!numbers.iter().any(near), "{numbers:?}: {x}, {y}");
                numbers.push((x, y));
            }
        }
    }
}
