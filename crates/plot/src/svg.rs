//! What all charts are written with.

use std::fmt::Write;

/// For text and attributes of HTML and SVG.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A text at a place. `anchor`: which part of it stands there. `more`: attributes, each with a
/// space before it.
pub(crate) fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, text: &str, more: &str) {
    let _ = write!(
        out,
        "<text{more} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(text)
    );
}

/// A horizontal line of the grid.
pub(crate) fn grid(out: &mut String, y: f64, from: f64, to: f64) {
    let _ = write!(out, "<path class=\"grid\" d=\"M{from} {y:.1}H{to}\"/>");
}

/// The path through points.
pub(crate) fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let points: Vec<String> = points.into_iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    format!("M{}", points.join("L"))
}

/// Every tag is closed, in order, and every number is one.
#[cfg(test)]
pub(crate) fn check(svg: &str) {
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let inside = tag.split('>').next().expect("a tag");
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{svg}");
        } else if !inside.ends_with('/') {
            open.push(inside.split(' ').next().expect("a name").to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
