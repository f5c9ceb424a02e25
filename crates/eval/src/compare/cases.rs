//! The examples that one run got right and the other did not, with their texts.

use std::collections::HashMap;

use super::{off_in, scores};
use crate::Example;
use crate::generate::AnswerRow;
use crate::run::{ANSWERS, EXAMPLES, Run, RunError, SCORES, ScoreRow};

/// An example that came out differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub set: String,
    pub id: String,
    /// `b` did better.
    pub win: bool,
    pub scores: (f64, f64),
    pub middle: String,
    pub a: String,
    pub b: String,
}

/// An example that changed: by how much in the metric and in edit similarity, set, id, and the
/// metric in both runs.
type Change = (f64, f64, String, String, (f64, f64));

/// Up to `n` wins and `n` losses of `b` against `a` by `metric`, the largest differences first
/// (then by edit similarity).
pub fn cases(
    (a, a_mode): (&Run, &str),
    (b, b_mode): (&Run, &str),
    metric: &str,
    n: usize,
) -> Result<Vec<Case>, RunError> {
    let mut theirs: HashMap<(String, String), (f64, f64)> = HashMap::new();
    let both = |row: &ScoreRow, mode: &str| {
        let values = &scores(row, mode)?.values;
        Some((*values.get(metric)?, values.get("es").copied().unwrap_or(0.0)))
    };
    for row in a.rows::<ScoreRow>(SCORES, 0)? {
        let row = row?;
        if let Some(values) = both(&row, a_mode) {
            theirs.insert((row.set, row.id), values);
        }
    }
    let mut changed: Vec<Change> = Vec::new();
    let off = off_in((a, b))?;
    for row in b.rows::<ScoreRow>(SCORES, 0)? {
        let row = row?;
        let Some(ours) = both(&row, b_mode) else { continue };
        let key = (row.set, row.id);
        if off.contains(&key) {
            continue;
        }
        if let Some(theirs) = theirs.get(&key).filter(|t| t.0 != ours.0) {
            changed.push((ours.0 - theirs.0, ours.1 - theirs.1, key.0, key.1, (theirs.0, ours.0)));
        }
    }
    // Stable: examples of equal differences stay in the order of the set.
    changed.sort_by(|x, y| y.0.abs().total_cmp(&x.0.abs()).then(y.1.abs().total_cmp(&x.1.abs())));
    let pick = |win: bool| changed.iter().filter(move |c| (c.0 > 0.0) == win).take(n);
    let mut cases: Vec<Case> = pick(true)
        .chain(pick(false))
        .map(|(difference, _, set, id, scores)| Case {
            set: set.clone(),
            id: id.clone(),
            win: *difference > 0.0,
            scores: *scores,
            middle: String::new(),
            a: String::new(),
            b: String::new(),
        })
        .collect();
    fill(
        &mut cases,
        a,
        |case, example, text| (case.middle, case.a) = (example.middle, text),
        a_mode,
    )?;
    fill(&mut cases, b, |case, _, text| case.b = text, b_mode)?;
    Ok(cases)
}

fn fill(
    cases: &mut [Case],
    run: &Run,
    put: impl Fn(&mut Case, Example, String),
    mode: &str,
) -> Result<(), RunError> {
    let rows = run.rows::<Example>(EXAMPLES, 0)?.zip(run.rows::<AnswerRow>(ANSWERS, 0)?);
    for (example, row) in rows {
        let (example, row) = (example?, row?);
        if let Some(case) = cases.iter_mut().find(|c| c.id == example.id && c.set == example.set) {
            let answer = row.answers.into_iter().find(|a| a.mode == mode);
            put(case, example, answer.map(|a| a.text).unwrap_or_default());
        }
    }
    Ok(())
}
