//! Figures that others have published, for comparison: not measured here, and on the full sets, not on parts of them.

/// One published figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// Name of the set in our reports.
    pub set: &'static str,
    pub model: &'static str,
    pub metric: &'static str,
    /// In the metric's own words and unit.
    pub value: &'static str,
    pub source: &'static str,
}

/// Only what a named source states is in here.
pub const PUBLISHED: [Published; 1] = [Published {
    set: "santacoder-fim",
    model: "Qwen2.5-Coder-0.5B",
    metric: "EM of the line, Python, full set",
    value: "70.3 %",
    source: "Qwen2.5-Coder Technical Report, arXiv 2409.12186 (HumanEval-FIM)",
}];

/// The figures for a set.
pub fn published_for(set: &str) -> impl Iterator<Item = &'static Published> {
    PUBLISHED.iter().filter(move |p| p.set == set)
}
