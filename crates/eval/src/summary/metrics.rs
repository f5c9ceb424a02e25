//! The list of metrics: name in files, name in tables, how it is written, where it is kept.

/// A metric as tables show it. Formulae and sources: `docs/fim-eval.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    /// Also kept for buckets, not only for the whole set.
    pub in_buckets: bool,
    /// More is better; where it is not, less is.
    pub higher_is_better: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share, written in per cent.
    Percent,
    /// A similarity from 0 to 1.
    Ratio,
    Chars,
}

const fn metric_of(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    in_buckets: bool,
    higher_is_better: bool,
) -> Metric {
    Metric { name, title, unit, in_buckets, higher_is_better }
}

/// In the order of tables.
pub const METRICS: [Metric; 20] = [
    metric_of("em_line", "EM first line", Unit::Percent, true, true),
    metric_of("em", "EM", Unit::Percent, true, true),
    metric_of("em_ws", "EM but white space", Unit::Percent, false, true),
    metric_of("em_lines", "EM lines (CCEval)", Unit::Percent, false, true),
    metric_of("pass@1", "pass@1", Unit::Percent, true, true),
    metric_of("pass@10", "pass@10", Unit::Percent, true, true),
    metric_of("pass@100", "pass@100", Unit::Percent, true, true),
    metric_of("es", "ES", Unit::Ratio, true, true),
    metric_of("es_line", "ES first line", Unit::Ratio, true, true),
    metric_of("es_ratio", "ES (CCEval)", Unit::Ratio, false, true),
    metric_of("id_em", "names EM", Unit::Percent, false, true),
    metric_of("id_f1", "names F1", Unit::Ratio, true, true),
    metric_of("parse_clean", "parses clean", Unit::Percent, false, true),
    metric_of("over", "over-generates", Unit::Percent, false, false),
    metric_of("prefix", "right start", Unit::Percent, false, true),
    metric_of("prefix_chars", "right start, chars", Unit::Chars, false, true),
    metric_of("silent", "silent", Unit::Percent, false, false),
    metric_of("unasked", "shown unasked", Unit::Percent, true, true),
    metric_of("unasked_precision", "… of which right", Unit::Percent, true, true),
    metric_of("unasked_em_line", "EM first line, unasked", Unit::Percent, true, true),
];

/// The metric of that name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|m| m.name == name)
}

/// Whether a mode is a model's: the others are baselines.
pub fn is_model_mode(mode: &str) -> bool {
    matches!(mode, "editor" | "raw" | "endpoint")
}

impl Metric {
    pub(super) fn kept(&self, dimension: &str) -> bool {
        dimension.is_empty() || self.in_buckets
    }

    /// The value as tables write it.
    pub fn format(&self, value: f64) -> String {
        match self.unit {
            Unit::Percent => format!("{:.1} %", 100.0 * value),
            Unit::Ratio => format!("{value:.3}"),
            Unit::Chars => format!("{value:.1}"),
        }
    }
}
