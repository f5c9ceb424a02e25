//! A run over a set: every example goes through the completer, and through the baselines.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lacuna_complete::{Completer, Outcome, Reply, Request};
use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::Cancel;
use lacuna_text::Document;

use crate::{Example, close_bracket, copy_similar_line, edit_similarity, first_line, is_bracket_only, line_exact_match};

/// One example after the run.
#[derive(Clone, Debug)]
pub struct Scored {
    pub id: String,
    pub language: String,
    pub bracket_only: bool,
    pub middle: String,
    /// The line that counted; empty when nothing was suggested.
    pub prediction: String,
    /// Reason of a silence.
    pub silence: Option<&'static str>,
    pub hit: bool,
    pub edit_similarity: f64,
    pub copy_hit: bool,
    pub bracket_hit: bool,
    pub ms: f64,
}

/// Runs the examples on `jobs` threads. `progress` gets the number done; a raised `cancel` ends the run early.
///
/// The result is in the order of the examples and does not depend on `jobs`.
pub fn run(completer: &Completer, examples: &[Example], jobs: usize, cancel: &Cancel, progress: &(dyn Fn(usize) + Sync)) -> Vec<Scored> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Scored)>> = Mutex::new(Vec::with_capacity(examples.len()));
    std::thread::scope(|scope| {
        for worker in 0..jobs.max(1) {
            let (next, done) = (&next, &done);
            scope.spawn(move || {
                // One key a worker: its KV cache is reused for the next example where the prompts agree.
                let key = format!("eval-{worker}");
                while !cancel.is_cancelled() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(example) = examples.get(index) else { break };
                    let scored = score(example, &complete(completer, example, &key, cancel));
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push((index, scored));
                    progress(done.len());
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, scored)| scored).collect()
}

fn complete(completer: &Completer, example: &Example, key: &str, cancel: &Cancel) -> Reply {
    let document = Document::new(&format!("{}{}", example.prefix, example.suffix), 0);
    let language = example.syntax();
    let tree = SyntaxTree::parse(language, document.rope());
    let request = Request {
        key,
        path: Some(example.path.as_deref().unwrap_or(file_name(language))),
        language,
        document: &document,
        tree: &tree,
        cursor: example.prefix.len(),
        n: 1,
        explain: false,
    };
    completer.complete(&request, cancel)
}

/// For sets without paths: a neutral name tells the language, as an editor's file name would.
fn file_name(language: Language) -> &'static str {
    match language {
        Language::Python => "solution.py",
        Language::Java => "Solution.java",
        Language::JavaScript => "solution.js",
        _ => "solution.txt",
    }
}

fn score(example: &Example, reply: &Reply) -> Scored {
    let (text, silence) = match &reply.outcome {
        Outcome::Suggest(items) => (items[0].text.as_str(), None),
        Outcome::Silence(reason) => ("", Some(reason.code())),
    };
    Scored {
        id: example.id.clone(),
        language: example.language.clone(),
        bracket_only: is_bracket_only(&example.middle),
        middle: example.middle.clone(),
        prediction: first_line(text).to_owned(),
        silence,
        hit: line_exact_match(text, &example.middle),
        edit_similarity: edit_similarity(first_line(text), example.middle.trim()),
        copy_hit: line_exact_match(&copy_similar_line(example), &example.middle),
        bracket_hit: line_exact_match(&close_bracket(example), &example.middle),
        ms: reply.ms.total,
    }
}

/// Exact match in one group of examples, in counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub n: usize,
    pub hits: usize,
    pub copy_hits: usize,
    pub bracket_hits: usize,
    pub edit_similarity_sum: f64,
}

impl Score {
    /// Percentage of hits; 0 of nothing.
    pub fn percent(&self, hits: usize) -> f64 {
        100.0 * hits as f64 / self.n.max(1) as f64
    }
}

/// Scores of one language: all rows, rows with code in the middle, rows whose middle only closes brackets.
#[derive(Clone, Debug)]
pub struct Summary {
    pub language: String,
    pub all: Score,
    pub code: Score,
    pub brackets: Score,
    pub silences: usize,
    pub p50_ms: f64,
    pub p95_ms: f64,
}

/// One summary a language, in order of their names.
pub fn summarise(scored: &[Scored]) -> Vec<Summary> {
    let mut languages: Vec<String> = scored.iter().map(|s| s.language.clone()).collect();
    languages.sort_unstable();
    languages.dedup();
    languages
        .into_iter()
        .map(|language| {
            let rows = || scored.iter().filter(|s| s.language == language);
            let mut ms: Vec<f64> = rows().map(|s| s.ms).collect();
            ms.sort_by(f64::total_cmp);
            let quantile = |q: f64| ms[((ms.len() - 1) as f64 * q).round() as usize];
            Summary {
                language: language.clone(),
                all: total(rows()),
                code: total(rows().filter(|s| !s.bracket_only)),
                brackets: total(rows().filter(|s| s.bracket_only)),
                silences: rows().filter(|s| s.silence.is_some()).count(),
                p50_ms: quantile(0.5),
                p95_ms: quantile(0.95),
            }
        })
        .collect()
}

fn total<'a>(rows: impl Iterator<Item = &'a Scored>) -> Score {
    rows.fold(Score::default(), |score, row| Score {
        n: score.n + 1,
        hits: score.hits + usize::from(row.hit),
        copy_hits: score.copy_hits + usize::from(row.copy_hit),
        bracket_hits: score.bracket_hits + usize::from(row.bracket_hit),
        edit_similarity_sum: score.edit_similarity_sum + row.edit_similarity,
    })
}
