//! Charts as inline SVG: colours come from the page's style, so that they fit a light and a dark
//! page, and every mark is said in words.
//!
//! A chart is one stop of the Tab key; within it the page's script moves from mark to mark with the
//! arrow keys and reads `data-label` out. Each chart is drawn twice, for a broad and for a narrow
//! page: letters that shrink with the page cannot be read.

use std::fmt::Write;

use crate::axis::{linear, logarithmic};
use crate::svg::{escaped, grid, text as text_with};

/// Every chart is drawn for two widths of the page; its style shows the one that can be read.
const WIDTHS: [(f64, &str); 2] = [(680.0, "broad"), (340.0, "narrow")];
const LEFT: f64 = 52.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;

/// A chart in both widths.
fn both(draw: impl Fn(f64, &str) -> String) -> String {
    WIDTHS.iter().map(|(width, class)| draw(*width, class)).collect()
}

/// A named line over the same places.
pub struct Line<'a> {
    pub name: &'a str,
    /// 1 to 4: a colour of the page.
    pub colour: u8,
    /// `None`: a gap.
    pub values: Vec<Option<f64>>,
}

/// Lines over named places (days). Values are shown by `tell`.
pub fn lines(
    title: &str,
    places: &[&str],
    lines: &[Line<'_>],
    tell: impl Fn(f64) -> String,
) -> String {
    both(|width, class| lines_of_width(width, class, title, places, lines, &tell))
}

fn lines_of_width(
    page: f64,
    class: &str,
    title: &str,
    places: &[&str],
    lines: &[Line<'_>],
    tell: &dyn Fn(f64) -> String,
) -> String {
    let height = 220.0;
    let most = lines.iter().flat_map(|l| l.values.iter().flatten()).fold(0.0f64, |a, b| a.max(*b));
    let (mut out, y) = frame((page, class), title, height, most, tell);
    let x = |i: usize| {
        let room = page - LEFT - RIGHT;
        LEFT + if places.len() > 1 {
            room * i as f64 / (places.len() - 1) as f64
        } else {
            room / 2.0
        }
    };
    let every = places.len().div_ceil((page / 80.0) as usize).max(1);
    for (i, place) in places.iter().enumerate().filter(|(i, _)| i % every == 0) {
        // Years are said in the title.
        text(
            &mut out,
            x(i),
            height - 8.0,
            "middle",
            place.get(5..).filter(|_| place.len() == 10).unwrap_or(place),
        );
    }
    for (nth, line) in lines.iter().enumerate() {
        let mut path = String::new();
        let mut gap = true;
        for (i, value) in line.values.iter().enumerate() {
            match value {
                Some(v) => {
                    let _ = write!(path, "{}{:.1} {:.1}", if gap { "M" } else { "L" }, x(i), y(*v));
                    gap = false;
                }
                None => gap = true,
            }
        }
        let _ = write!(out, "<path class=\"line c{}\" d=\"{path}\"/>", line.colour);
        for (i, v) in line.values.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i, v))) {
            // Where points lie on each other, the first ones show around the last.
            let above = lines[nth + 1..].iter().filter_map(|other| *other.values.get(i)?);
            let radius =
                3.5 + 1.5 * above.filter(|other| (y(*other) - y(v)).abs() < 4.0).count() as f64;
            mark(&mut out, &format!("{}, {}: {}", places[i], line.name, tell(v)), |label| {
                format!(
                    "<circle class=\"mark f{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"{label}",
                    line.colour,
                    x(i),
                    y(v)
                )
            });
        }
    }
    out + "</svg>"
}

/// Bars of a distribution: (from, to, share), on a logarithmic axis of milliseconds.
pub fn distribution(title: &str, classes: &[(f64, f64, f64)]) -> String {
    both(|width, class| distribution_of_width(width, class, title, classes))
}

fn distribution_of_width(
    page: f64,
    class: &str,
    title: &str,
    classes: &[(f64, f64, f64)],
) -> String {
    let height = 200.0;
    let most = classes.iter().fold(0.0f64, |a, c| a.max(c.2));
    let (mut out, y) =
        frame((page, class), title, height, most, &|v| format!("{:.0} %", 100.0 * v));
    let (from, to) = classes.iter().fold((f64::MAX, 0.0f64), |(a, b), c| (a.min(c.0), b.max(c.1)));
    let x = |ms: f64| LEFT + (page - LEFT - RIGHT) * (ms / from).ln() / (to / from).ln();
    for (low, high, share) in classes {
        mark(&mut out, &format!("{low:.1} to {high:.1} ms: {:.1} %", 100.0 * share), |label| {
            let (left, top) = (x(*low), y(*share));
            let (width, tall) = ((x(*high) - left - 1.0).max(1.0), height - BOTTOM - top);
            format!(
                "<rect class=\"mark f1\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\"{label}"
            )
        });
    }
    for ms in logarithmic(from, to) {
        text(&mut out, x(ms), height - 8.0, "middle", &format!("{ms} ms"));
    }
    out + "</svg>"
}

/// A row of [`bars`]: name, value, the value in words.
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub told: String,
}

/// Horizontal bars.
pub fn bars(title: &str, rows: &[Bar]) -> String {
    both(|width, class| bars_of_width(width, class, title, rows))
}

fn bars_of_width(page: f64, class: &str, title: &str, rows: &[Bar]) -> String {
    // Names stand left of the bars where there is room for the longest, else above them.
    let told = rows.iter().map(|bar| width_of(&bar.told)).fold(0.0, f64::max);
    let names = rows.iter().map(|bar| width_of(&bar.name)).fold(0.0, f64::max) + 8.0;
    let (label, row) = if names + told + 140.0 <= page { (names, 24.0) } else { (0.0, 40.0) };
    let height = 8.0 + rows.len() as f64 * row;
    let most = rows.iter().fold(f64::MIN_POSITIVE, |a, b| a.max(b.value));
    let mut out = head(page, class, title, height);
    for (i, bar) in rows.iter().enumerate() {
        let y = 4.0 + i as f64 * row + (row - 24.0);
        if label > 0.0 {
            text(&mut out, label - 8.0, y + 15.0, "end", &bar.name);
        } else {
            text(&mut out, 0.0, y - 2.0, "start", &clipped(&bar.name, page));
        }
        let width = ((page - label - told - 12.0).max(20.0) * bar.value / most).max(1.0);
        mark(&mut out, &format!("{}: {}", bar.name, bar.told), |said| {
            format!(
                "<rect class=\"mark f1\" x=\"{label}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"18\" rx=\"2\"{said}",
                y + 2.0
            )
        });
        text(&mut out, label + width + 8.0, y + 15.0, "start", &bar.told);
    }
    out + "</svg>"
}

/// Width of a letter of 11 pixels in a wide font; a picture does not know which one the reader has.
const LETTER: f64 = 7.2;

/// About how wide a text is.
fn width_of(text: &str) -> f64 {
    LETTER * text.chars().count() as f64
}

/// As much of a text as has room, its beginning and its end.
fn clipped(text: &str, room: f64) -> String {
    let (n, most) = (text.chars().count(), (room / LETTER) as usize);
    if n <= most {
        return text.to_owned();
    }
    let half = most.saturating_sub(1) / 2;
    let (start, end) = (text.chars().take(half), text.chars().skip(n - half));
    start.chain(['…']).chain(end).collect()
}

/// A row of [`forest`]: an estimate with its interval, relative to the control (0.05: 5 % more).
pub struct Estimate {
    pub name: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub told: String,
}

/// Estimates with intervals around no change. Where an interval goes beyond the axis, an arrow says
/// so.
pub fn forest(title: &str, rows: &[Estimate]) -> String {
    both(|width, class| forest_of_width(width, class, title, rows))
}

fn forest_of_width(page: f64, class: &str, title: &str, rows: &[Estimate]) -> String {
    let right = 30.0;
    let names = rows.iter().map(|r| width_of(&r.name)).fold(0.0, f64::max) + 12.0;
    let (label, row) = if names <= page / 2.0 { (names, 26.0) } else { (30.0, 42.0) };
    let height = 34.0 + rows.len() as f64 * row;
    let widest = axis(rows);
    let x =
        |v: f64| label + (page - label - right) * (v.clamp(-widest, widest) / widest + 1.0) / 2.0;
    let mut out = head(page, class, title, height);
    let bottom = height - 24.0;
    let _ = write!(out, "<path class=\"grid\" d=\"M{0:.1} 0V{bottom:.1}\"/>", x(0.0));
    for v in [-widest, -widest / 2.0, 0.0, widest / 2.0, widest] {
        text(&mut out, x(v), height - 8.0, "middle", &format!("{:+.0} %", 100.0 * v));
    }
    for (i, r) in rows.iter().enumerate() {
        let y = i as f64 * row + row - 12.0;
        if row > 26.0 {
            text(&mut out, 0.0, y - 14.0, "start", &clipped(&r.name, page));
        } else {
            text(&mut out, label - 12.0, y + 4.0, "end", &r.name);
        }
        let colour = if r.low > 0.0 || r.high < 0.0 { 2 } else { 1 };
        let (low, high) = (x(r.low), x(r.high));
        let _ = write!(out, "<path class=\"line c{colour}\" d=\"M{low:.1} {y}H{high:.1}\"/>");
        if r.low < -widest {
            let _ = write!(
                out,
                "<path class=\"line c{colour}\" d=\"M{:.1} {:.1}L{low:.1} {y}L{:.1} {:.1}\"/>",
                low + 6.0,
                y - 5.0,
                low + 6.0,
                y + 5.0
            );
        }
        if r.high > widest {
            let _ = write!(
                out,
                "<path class=\"line c{colour}\" d=\"M{:.1} {:.1}L{high:.1} {y}L{:.1} {:.1}\"/>",
                high - 6.0,
                y - 5.0,
                high - 6.0,
                y + 5.0
            );
        }
        mark(&mut out, &format!("{}: {}", r.name, r.told), |said| {
            format!(
                "<circle class=\"mark f{colour}\" cx=\"{:.1}\" cy=\"{y}\" r=\"5\"{said}",
                x(r.value)
            )
        });
    }
    out + "</svg>"
}

/// The end of the axis: it holds every interval, but for those that are many times as wide as most:
/// they would squeeze the rest.
fn axis(rows: &[Estimate]) -> f64 {
    let mut ends: Vec<f64> = rows
        .iter()
        .map(|r| r.value.abs().max(r.low.abs()).max(r.high.abs()))
        .filter(|v| v.is_finite())
        .collect();
    ends.sort_by(f64::total_cmp);
    let (middle, most) =
        (ends.get(ends.len() / 2).copied().unwrap_or(0.0), ends.last().copied().unwrap_or(0.0));
    let end = most.min(6.0 * middle).max(0.1);
    // To a number whose half is round as well: both are written on the axis.
    let power = 10f64.powf(end.log10().floor());
    let round = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]
        .into_iter()
        .find(|n| n * power >= end * 0.999)
        .unwrap_or(10.0);
    round * power
}

/// Head, grid and the place of a value.
fn frame(
    (page, class): (f64, &str),
    title: &str,
    height: f64,
    most: f64,
    tell: &dyn Fn(f64) -> String,
) -> (String, impl Fn(f64) -> f64 + use<>) {
    let places = linear(most, 4.0);
    let top = places[places.len() - 1];
    let y = move |v: f64| height - BOTTOM - (height - BOTTOM - TOP) * v / top;
    let mut out = head(page, class, title, height);
    for place in places {
        grid(&mut out, y(place), LEFT, page - RIGHT);
        text(&mut out, LEFT - 6.0, y(place) + 4.0, "end", &tell(place));
    }
    (out, y)
}

fn head(page: f64, class: &str, title: &str, height: f64) -> String {
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {page} {height:.0}\" role=\"group\" tabindex=\"0\" aria-label=\"{}. Arrow keys read the values.\">",
        escaped(title)
    )
}

/// A mark that says what it is; `shape` is given the attributes and opens an element without
/// closing its tag.
fn mark(out: &mut String, label: &str, shape: impl Fn(&str) -> String) {
    let label = escaped(label);
    let attributes = format!(" role=\"img\" aria-label=\"{label}\" data-label=\"{label}\"");
    let shape = shape(&attributes);
    let element = shape.trim_start_matches('<').split(' ').next().unwrap_or("g").to_owned();
    let _ = write!(out, "{shape}><title>{label}</title></{element}>");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    // Marks say what stands in the picture.
    text_with(out, (x, y), anchor, text, " aria-hidden=\"true\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(svg: &str) {
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"), "{svg}");
        assert_eq!(svg.matches("<svg ").count(), 2, "{svg}");
        crate::svg::check(svg);
    }

    #[test]
    fn long_names_have_room_and_intervals_are_drawn_as_wide_as_they_are() {
        let name = "embedded 10x512x32768 d5a2c1 (batches of eight, greedy)";
        let svg = bars(
            "b",
            &[Bar { name: name.into(), value: 0.5, told: "50.0 % of 1,234 read".into() }],
        );
        assert!(
            svg.contains(&format!(
                "<text aria-hidden=\"true\" x=\"0.0\" y=\"18.0\" text-anchor=\"start\">{name}"
            )),
            "above its bar: {svg}"
        );
        assert_eq!(clipped("abcdefghij", 36.0), "ab…ij");
        // A name that ends at its bar begins within the picture.
        let short = bars("b", &[Bar { name: "python".into(), value: 0.5, told: "50.0 %".into() }]);
        assert!(short.contains("text-anchor=\"end\">python"));
        let row = |low: f64, high: f64| Estimate {
            name: "n".into(),
            value: (low + high) / 2.0,
            low,
            high,
            told: "t".into(),
        };
        assert_eq!(axis(&[row(-0.1, 0.49), row(0.0, 0.3)]), 0.5);
        assert_eq!(axis(&[row(-0.02, 0.09)]), 0.1);
        let wide = axis(&[row(-0.02, 0.09), row(-0.02, 0.05), row(-40.0, 40.0)]);
        assert!((wide - 0.6).abs() < 1e-9, "one that is much wider is cut, with an arrow");
        assert_eq!(
            forest("f", &[row(-0.02, 0.09), row(-0.02, 0.05), row(-40.0, 40.0)])
                .matches('L')
                .count(),
            2 * 4
        );
    }

    #[test]
    fn points_that_lie_on_each_other_are_all_seen() {
        let line = |name| Line { name, colour: 1, values: vec![Some(1.0)] };
        let svg = lines("l", &["a"], &[line("under"), line("over")], |v| format!("{v}"));
        assert!(svg.contains("r=\"5\"") && svg.contains("r=\"3.5\""), "{svg}");
    }

    #[test]
    fn charts_are_well_formed_whatever_the_data() {
        let tell = |v: f64| format!("{v:.1}");
        for values in [vec![], vec![Some(0.0)], vec![Some(1.0), None, Some(1e7)]] {
            let places: Vec<&str> = ["2026-11-01", "<b>", "c"][..values.len()].to_vec();
            let marks = values.iter().flatten().count();
            let svg =
                lines("a < \"b\"", &places, &[Line { name: "x & y", colour: 1, values }], tell);
            check(&svg);
            assert_eq!(svg.matches("data-label").count(), 2 * marks, "in two widths");
        }
        check(&distribution("d", &[]));
        check(&distribution("d", &[(1.0, 2.0, 0.5), (2.0, 400.0, 0.5)]));
        check(&bars("b", &[]));
        check(&bars("b", &[Bar { name: "<n>".into(), value: 0.0, told: "'0'".into() }]));
        let wide =
            Estimate { name: "n".into(), value: 0.1, low: -1e9, high: 1e9, told: "t".into() };
        check(&forest("f", &[wide]));
        let endless = Estimate {
            name: "n".into(),
            value: 0.1,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            told: "t".into(),
        };
        check(&forest("f", &[endless]));
        check(&forest("f", &[]));
    }
}
