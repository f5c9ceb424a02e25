//! Figures that others have published, for comparison: not measured here, and on the full sets, not
//! on parts of them.

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

const LINES: &str = "Qwen2.5-Coder Technical Report, arXiv 2409.12186, table 7 (HumanEval-FIM)";
const CROSS_FILE: &str = "Qwen2.5-Coder Technical Report, arXiv 2409.12186, table 8";

/// A line of the table of single-line infilling.
const fn line(model: &'static str, value: &'static str) -> Published {
    Published {
        set: "santacoder-fim",
        model,
        metric: "EM of the line, Python / Java / JavaScript, full set",
        value,
        source: LINES,
    }
}

/// A line of the table of CrossCodeEval.
const fn cross_file(model: &'static str, value: &'static str) -> Published {
    Published {
        set: "cceval",
        model,
        metric: "EM / ES, mean of four languages, full set, with retrieved files",
        value,
        source: CROSS_FILE,
    }
}

/// Only what a named source states is in here.
pub const PUBLISHED: [Published; 10] = [
    line("Qwen2.5-Coder-0.5B", "70.3 / 78.1 / 81.2 %"),
    line("DS-Coder-1.3B-Base", "72.8 / 84.3 / 81.7 %"),
    line("Qwen2.5-Coder-1.5B", "77.0 / 85.6 / 85.0 %"),
    line("StarCoder2-3B", "70.9 / 84.4 / 81.8 %"),
    line("Qwen2.5-Coder-7B", "79.7 / 88.5 / 87.6 %"),
    cross_file("Qwen2.5-Coder-0.5B", "24.6 % / 68.9"),
    cross_file("DS-Coder-1.3B-Base", "37.9 % / 76.8"),
    cross_file("Qwen2.5-Coder-1.5B", "40.2 % / 78.2"),
    cross_file("StarCoder2-3B", "9.9 % / 69.8"),
    cross_file("Qwen2.5-Coder-7B", "49.3 % / 83.1"),
];

/// The figures for a set.
pub fn published_for(set: &str) -> impl Iterator<Item = &'static Published> {
    PUBLISHED.iter().filter(move |p| p.set == set)
}
