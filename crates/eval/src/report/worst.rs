//! The examples that went worst, with their texts.

use std::collections::{BTreeMap, BTreeSet};

use crate::Example;
use crate::generate::AnswerRow;
use crate::run::{ANSWERS, EXAMPLES, Run, RunError, SCORES, ScoreRow};

/// An example with everything that a reader needs to see why it went as it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub id: String,
    pub set: String,
    pub language: String,
    pub path: Option<String>,
    /// Lines just before and after the hole.
    pub before: String,
    pub after: String,
    pub middle: String,
    pub answer: String,
    pub silence: Option<String>,
    pub edit_similarity: f64,
    pub failure: Option<String>,
}

/// Lines shown on either side of the hole.
const LINES: usize = 6;
/// Longer texts are cut: a page shall stay a page.
const MAX_CHARS: usize = 2_000;

/// The `n` examples with the lowest edit similarity in `mode`, at most a third of them silences
/// (which are all equally bad and tell nothing), worst first. None of a language that is off: an
/// editor shows nothing there.
pub fn worst_examples(run: &Run, mode: &str, n: usize) -> Result<Vec<Shown>, RunError> {
    // The n worst of each kind so far, by (similarity, row).
    let mut kinds: [BTreeMap<(u64, u64), ScoreRow>; 2] = Default::default();
    for (row, scored) in (0u64..).zip(run.rows::<ScoreRow>(SCORES, 0)?) {
        let scored = scored?;
        if scored.off {
            continue;
        }
        let Some(scores) = scored.modes.iter().find(|m| m.mode == mode) else { continue };
        let value = |name: &str| scores.values.get(name).copied().unwrap_or(0.0);
        let silent = value("silent") > 0.5;
        let worst = &mut kinds[usize::from(silent)];
        worst.insert(((value("es") * 1e6) as u64, row), scored);
        if worst.len() > if silent { n / 3 } else { n } {
            worst.pop_last();
        }
    }
    let [spoken, silent] = kinds;
    let room = n - silent.len();
    let mut chosen: BTreeMap<(u64, u64), ScoreRow> = spoken.into_iter().take(room).collect();
    chosen.extend(silent);
    let rows: BTreeSet<u64> = chosen.keys().map(|(_, row)| *row).collect();
    let mut texts: BTreeMap<u64, (Example, AnswerRow)> = BTreeMap::new();
    let (examples, answers) =
        (run.rows::<Example>(EXAMPLES, 0)?, run.rows::<AnswerRow>(ANSWERS, 0)?);
    for (row, pair) in (0u64..).zip(examples.zip(answers)) {
        if rows.contains(&row) {
            texts.insert(row, (pair.0?, pair.1?));
        }
    }
    let shown = chosen.into_iter().filter_map(|((_, row), scored)| {
        let (example, row) = texts.remove(&row)?;
        let answer = row.answers.into_iter().find(|a| a.mode == mode)?;
        let scores = scored.modes.iter().find(|m| m.mode == mode)?;
        let before: Vec<&str> = example.prefix.split_inclusive('\n').rev().take(LINES).collect();
        Some(Shown {
            id: example.id.clone(),
            set: example.set.clone(),
            language: example.language.clone(),
            path: example.path.clone(),
            before: cut(&before.into_iter().rev().collect::<String>()),
            after: cut(&example.suffix.split_inclusive('\n').take(LINES).collect::<String>()),
            middle: cut(&example.middle),
            answer: cut(&answer.text),
            silence: answer.silence,
            edit_similarity: scores.values.get("es").copied().unwrap_or(0.0),
            failure: scores.failure.clone(),
        })
    });
    Ok(shown.collect())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}
