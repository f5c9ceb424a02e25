//! Conditions on a run: `em >= 0.20`, and "no worse than before".

use std::fmt;
use std::str::FromStr;

use super::{Comparison, Difference};
use crate::summary::{METRICS, Metric, SetSummary, metric};

/// `[SET:][LANGUAGE.]METRIC OP NUMBER`, such as `em >= 0.20` or `santacoder-fim:python.em_line >
/// 0.1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub set: Option<String>,
    pub language: Option<String>,
    pub metric: &'static Metric,
    pub op: Op,
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// What is wrong with a condition.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConditionError {
    #[error("{0:?} is no condition: write METRIC >= NUMBER, for example \"em >= 0.20\"")]
    Shape(String),
    #[error("{0:?} is no metric: known are {known}", known = METRICS.map(|m| m.name).join(", "))]
    Metric(String),
    #[error("{0:?} is no number")]
    Number(String),
}

const OPS: [(&str, Op); 4] =
    [(">=", Op::AtLeast), ("<=", Op::AtMost), (">", Op::Above), ("<", Op::Below)];

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Condition, ConditionError> {
        let shape = || ConditionError::Shape(text.to_owned());
        let (left, op, right) = OPS
            .iter()
            .find_map(|(sign, op)| text.split_once(sign).map(|(l, r)| (l, *op, r)))
            .ok_or_else(shape)?;
        let (set, left) = match left.rsplit_once(':') {
            Some((set, left)) => (Some(set.trim().to_owned()), left),
            None => (None, left),
        };
        let (language, name) = match left.trim().split_once('.') {
            Some((language, name)) => (Some(language.to_owned()), name),
            None => (None, left.trim()),
        };
        if name.is_empty() {
            return Err(shape());
        }
        let metric = metric(name).ok_or_else(|| ConditionError::Metric(name.to_owned()))?;
        let right = right.trim();
        let value = right
            .parse::<f64>()
            .ok()
            .filter(|v| v.is_finite())
            .ok_or_else(|| ConditionError::Number(right.to_owned()))?;
        Ok(Condition { set, language, metric, op, value })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.set.as_ref().map(|s| format!("{s}:")).unwrap_or_default();
        let language = self.language.as_ref().map(|l| format!("{l}.")).unwrap_or_default();
        let sign = OPS.iter().find(|(_, op)| *op == self.op).map_or("", |(sign, _)| sign);
        write!(f, "{set}{language}{} {sign} {}", self.metric.name, self.value)
    }
}

impl Condition {
    /// The value that the condition speaks of, and whether it holds; `None` if the run has no such
    /// value (then nothing holds).
    ///
    /// `sets`: a run's, the one over everything last, which is meant where the condition names
    /// none.
    pub fn check(&self, sets: &[SetSummary], mode: &str) -> Option<(f64, bool)> {
        let set = match &self.set {
            Some(name) => sets.iter().find(|s| s.set == *name)?,
            None => sets.last()?,
        };
        let (dimension, value) =
            self.language.as_ref().map_or(("", ""), |l| ("language", l.as_str()));
        let value = set.line(dimension, value, mode)?.metrics.get(self.metric.name)?.mean;
        let holds = match self.op {
            Op::AtLeast => value >= self.value,
            Op::AtMost => value <= self.value,
            Op::Above => value > self.value,
            Op::Below => value < self.value,
        };
        Some((value, holds))
    }
}

/// Metrics that "no regression" is about.
const GUARDED: [&str; 5] = ["em", "em_line", "pass@1", "es", "id_f1"];

/// The differences, set by set, in which `b` is worse than `a` by more than `tolerance` (on the
/// metric's own scale of 0 to 1).
pub fn regressions(comparison: &Comparison, tolerance: f64) -> Vec<(&str, &Difference)> {
    let worse = |d: &&Difference| GUARDED.contains(&d.metric) && d.b - d.a < -tolerance - 1e-12;
    comparison
        .sets
        .iter()
        .flat_map(|set| set.metrics.iter().filter(worse).map(|d| (set.set.as_str(), d)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Condition, ConditionError> {
        text.parse()
    }

    #[test]
    fn conditions_are_read() {
        let c = parse("em >= 0.20").expect("a condition");
        assert_eq!(
            (c.metric.name, c.op, c.value, c.set, c.language),
            ("em", Op::AtLeast, 0.2, None, None)
        );
        let c = parse("santacoder-fim:python.em_line>0.1").expect("a condition");
        assert_eq!(
            (c.metric.name, c.op, c.set.as_deref(), c.language.as_deref()),
            ("em_line", Op::Above, Some("santacoder-fim"), Some("python"))
        );
        for text in ["em >= 0.2", "python.over <= 0.5", "a:b.es < 1", "pass@1 > 0"] {
            assert_eq!(parse(text).map(|c| c.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        assert!(matches!(parse("em"), Err(ConditionError::Shape(_))));
        assert!(matches!(parse(">= 1"), Err(ConditionError::Shape(_))));
        assert!(matches!(parse("emm >= 1"), Err(ConditionError::Metric(_))));
        assert!(matches!(parse("em >= x"), Err(ConditionError::Number(_))));
        assert!(matches!(parse("em >= nan"), Err(ConditionError::Number(_))));
        assert!(matches!(parse("em => 1"), Err(ConditionError::Metric(_))));
    }
}
