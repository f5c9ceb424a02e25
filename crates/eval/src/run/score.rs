//! The score of one example: every metric of every mode, and the buckets that it counts in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Execution, RunError};
use crate::Example;
use crate::example::stages::{Answer, Gold, Prompt, Scores};
use crate::metric::{
    Parsed, edit_similarity, exact_match, first_line, fuzz_ratio, is_bracket_only,
    line_exact_match, lines_exact_match, over_generated, pass_at_k, prefix_match_chars,
    whitespace_exact_match,
};
use crate::sandbox::{judge, judges};

/// What is known of an example when it has been scored. No text of the set is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    pub id: String,
    pub set: String,
    /// Key by which intervals are clustered.
    pub group: String,
    /// Value by dimension: `language`, `lines`, …
    pub buckets: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<GoldRow>,
    pub modes: Vec<ModeScores>,
    /// Its language is one in which an editor would show nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The likelihood of the true middle, as the generate stage left it.
pub type GoldRow = Gold;

/// One way of completing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModeScores {
    pub mode: String,
    /// Means over the samples.
    pub values: Scores,
    /// Editor only: why nothing is shown, or not to who has not asked (`low-confidence`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// Why the first sample that failed its test failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Why nothing is shown of what is withheld.
const WITHHELD: &str = "low-confidence";
/// Values of k for pass@k.
const KS: [usize; 3] = [1, 10, 100];
/// Modes whose outputs are executed: a baseline's one-liners would cost as much time as they tell
/// little.
const EXECUTED: [&str; 3] = ["editor", "raw", "endpoint"];

/// What the stages before have left of an example.
#[derive(Default)]
pub(super) struct Scored {
    pub example: Example,
    pub prompt: Prompt,
    pub answers: Vec<Answer>,
    pub gold: Option<Gold>,
    pub error: Option<String>,
}

/// Errors: the sandbox failed.
pub(super) fn score(
    scored: Scored,
    off: bool,
    execution: Option<Execution<'_>>,
) -> Result<ScoreRow, RunError> {
    let Scored { example, prompt, answers, gold, error } = &scored;
    let parsed = Parsed::new(example.syntax(), &example.prefix, &example.middle, &example.suffix);
    let mut by_mode: Vec<(&str, Vec<&Answer>)> = Vec::new();
    for answer in answers {
        match by_mode.iter_mut().find(|(mode, _)| *mode == answer.mode) {
            Some((_, answers)) => answers.push(answer),
            None => by_mode.push((&answer.mode, vec![answer])),
        }
    }
    // The same text passes or fails the same: greedy modes often agree.
    let mut verdicts: BTreeMap<&str, (bool, String)> = BTreeMap::new();
    let mut modes = Vec::new();
    for (mode, answers) in by_mode {
        let mut values = mean(answers.iter().map(|answer| values(&parsed, example, answer)));
        let silence = answers.first().and_then(|answer| {
            if answer.withheld { Some(WITHHELD.to_owned()) } else { answer.silence.clone() }
        });
        let mut failure = None;
        if let Some(execution) = execution.filter(|_| judges(example) && EXECUTED.contains(&mode)) {
            let mut passed = 0;
            for Answer { text, .. } in &answers {
                if !verdicts.contains_key(text.as_str()) {
                    let verdict = judge(execution.sandbox, execution.python, example, text)?;
                    verdicts.insert(text, (verdict.passed, verdict.reason));
                }
                let (pass, reason) = &verdicts[text.as_str()];
                passed += usize::from(*pass);
                if !pass && failure.is_none() {
                    failure = Some(reason.clone());
                }
            }
            for k in KS {
                if let Some(value) = pass_at_k(answers.len(), passed, k) {
                    values.insert(format!("pass@{k}"), rounded(value));
                }
            }
        }
        modes.push(ModeScores { mode: mode.to_owned(), values, silence, failure });
    }
    Ok(ScoreRow {
        id: example.id.clone(),
        set: example.set.clone(),
        group: example.cluster().to_owned(),
        buckets: buckets(example, prompt),
        gold: *gold,
        modes,
        off,
        error: error.clone(),
    })
}

fn values(parsed: &Parsed<'_>, example: &Example, answer: &Answer) -> Scores {
    let (middle, text) = (example.middle.as_str(), answer.text.as_str());
    let syntax = parsed.score(text);
    let right = prefix_match_chars(text, middle);
    let flag = |b: bool| f64::from(u8::from(b));
    let mut values = vec![
        ("em", flag(exact_match(text, middle))),
        ("em_ws", flag(whitespace_exact_match(text, middle))),
        ("em_lines", flag(lines_exact_match(text, middle))),
        ("em_line", flag(line_exact_match(text, middle))),
        ("es", edit_similarity(text.trim(), middle.trim())),
        ("es_ratio", fuzz_ratio(text.trim(), middle.trim())),
        ("es_line", edit_similarity(first_line(text), first_line(middle))),
        ("id_em", flag(syntax.identifier_exact_match)),
        ("id_f1", syntax.identifier_f1),
        ("over", flag(over_generated(text, middle))),
        ("prefix_chars", right as f64),
        ("prefix", right as f64 / middle.chars().count().max(1) as f64),
        ("silent", flag(text.trim().is_empty())),
    ];
    if answer.mode == "editor" {
        let (is_shown, is_right) =
            (!answer.withheld && !text.trim().is_empty(), line_exact_match(text, middle));
        values.push(("unasked", flag(is_shown)));
        values.push(("unasked_em_line", flag(is_shown && is_right)));
        if is_shown {
            values.push(("unasked_precision", flag(is_right)));
        }
    }
    if let Some(clean) = syntax.parse_clean {
        values.push(("parse_clean", flag(clean)));
    }
    values.into_iter().map(|(name, value)| (name.to_owned(), rounded(value))).collect()
}

/// Means by name; a value that some samples lack is the mean of those that have it.
fn mean(samples: impl Iterator<Item = Scores>) -> Scores {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (name, value) in samples.flatten() {
        let entry = sums.entry(name).or_default();
        *entry = (entry.0 + value, entry.1 + 1.0);
    }
    sums.into_iter().map(|(name, (sum, n))| (name, rounded(sum / n))).collect()
}

/// To a millionth: what is printed is what is read back.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn buckets(example: &Example, prompt: &Prompt) -> BTreeMap<String, String> {
    let mut buckets = BTreeMap::new();
    let mut put = |name: &str, value: &str| buckets.insert(name.to_owned(), value.to_owned());
    put("language", &example.language);
    put("middle", if is_bracket_only(&example.middle) { "brackets only" } else { "code" });
    let lines = example
        .n_lines
        .map_or_else(|| example.middle.trim_end_matches('\n').split('\n').count(), |n| n as usize);
    put("lines", range(lines, &[(1, "1"), (3, "2–3"), (7, "4–7"), (15, "8–15")], "16+"));
    put("task", task(example));
    if let Some(kind) = &example.node_kind {
        put("node", kind);
    }
    if prompt.tokens > 0 {
        put(
            "prompt tokens",
            range(
                prompt.tokens,
                &[(127, "<128"), (255, "128–255"), (511, "256–511"), (767, "512–767")],
                "768+",
            ),
        );
    }
    // Some sets say whether the middle uses names of other files; for the others, whether there are
    // other files to look at.
    let names = example
        .extra
        .get("cross_file_names_in_middle")
        .and_then(|v| v.as_array())
        .map(|names| !names.is_empty());
    put("cross-file", if names.unwrap_or(!example.context.is_empty()) { "yes" } else { "no" });
    buckets
}

fn task(example: &Example) -> &'static str {
    use crate::example::Task;
    match example.task {
        Task::Line => "line",
        Task::Multi => "multi-line",
        Task::Span => "span",
        Task::Block => "block",
    }
}

/// The name of the first range whose end is not below `n`.
fn range(n: usize, ends: &[(usize, &'static str)], beyond: &'static str) -> &'static str {
    ends.iter().find(|(end, _)| n <= *end).map_or(beyond, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, sample: usize) -> Answer {
        Answer { mode: "raw".to_owned(), text: text.to_owned(), sample, ..Answer::default() }
    }

    #[test]
    fn values_are_means_over_samples() {
        let example = Example {
            id: "1".to_owned(),
            language: "python".to_owned(),
            prefix: "x = ".to_owned(),
            middle: "f(a)".to_owned(),
            suffix: "\n".to_owned(),
            ..Example::default()
        };
        let answers = vec![answer("f(a)", 0), answer("g(a", 1)];
        let row = score(Scored { example, answers, ..Scored::default() }, false, None)
            .expect("no sandbox");
        let values = &row.modes[0].values;
        assert_eq!(row.modes.len(), 1);
        for (name, value) in [
            ("em", 0.5),
            ("parse_clean", 0.5),
            ("id_f1", 0.75),
            ("es", 0.75),
            ("prefix_chars", 2.0),
            ("silent", 0.0),
        ] {
            assert_eq!(values[name], value, "{name} of {values:?}");
        }
        assert!(!values.contains_key("pass@1"));
        assert_eq!(row.group, "1");
        let buckets: Vec<(&str, &str)> =
            row.buckets.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            buckets,
            [
                ("cross-file", "no"),
                ("language", "python"),
                ("lines", "1"),
                ("middle", "code"),
                ("task", "span")
            ]
        );
    }

    #[test]
    fn ranges_end_where_they_say() {
        let name = |n| range(n, &[(1, "1"), (3, "2–3")], "4+");
        assert_eq!([1, 2, 3, 4].map(name), ["1", "2–3", "2–3", "4+"]);
    }
}
