//! What the model and the text at hand said: the rows that weights are fitted on, those of
//! [`lacuna_complete::Nearby`] before each token of true middles, those of
//! [`lacuna_complete::Suffix`] of each line that might have been shown.

use std::fmt::Write;
use std::sync::Arc;

use lacuna_complete::{Completer, Nearby, Request, Snapshot, WEIGHTS};
use lacuna_context::{ParseLimit, SyntaxTree};
use lacuna_engine::{Cancel, KvCache, Model, PromptError, prefill};
use lacuna_prompt::{Input, Options, Order, Sentinels, Tokenizer, build};
use lacuna_text::Document;

use super::path;
use crate::Example;
use crate::metric::line_exact_match;

/// Tokens of a middle that are looked at.
const MAX_TOKENS: usize = 48;

/// A line for each of the first tokens of the true middle, fields separated by tabs: its
/// probability and that of the likeliest token by the model; for each order from 1 how often the
/// context was seen, the ways it went on, and how often with this token; then its probability in
/// the mixture as it is served.
///
/// Errors: as [`lacuna_engine::prefill`].
pub fn evidence(
    (model, tokenizer, sentinels): (&Model, &Tokenizer, &Sentinels),
    (order, prompt_tokens): (Order, usize),
    example: &Example,
    cancel: &Cancel,
) -> Result<String, PromptError> {
    let path = path(example);
    let input = Input {
        path: Some(&path),
        excerpts: &[],
        prefix: &example.prefix,
        suffix: &example.suffix,
    };
    let prompt = build(
        tokenizer,
        sentinels,
        &input,
        &Options { order, budget: prompt_tokens, heal: false, seam: false, ahead: 0 },
    );
    let nearby = Nearby::new(tokenizer, &example.prefix, &example.suffix, &[], &prompt);
    let middle = tokenizer.encode(&example.middle);
    let mut kv = KvCache::new(model, prompt_tokens + MAX_TOKENS + 1);
    let (mut ids, mut context, mut rows) = (prompt.ids, nearby.context().to_vec(), String::new());
    for id in middle.into_iter().take(MAX_TOKENS) {
        prefill(model, &mut kv, &ids, cancel)?;
        let logits = kv.logits();
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let all: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
        let sureness = (1.0 / all) as f32;
        let p = (f64::from(logits[id as usize] - most).exp() / all) as f32;
        let counts = nearby.ngrams().counts(&context);
        let hits = counts
            .followers
            .iter()
            .find(|(next, _)| *next == id)
            .map(|(_, hits)| *hits)
            .unwrap_or_default();
        let _ = write!(rows, "{p:e}\t{sureness:e}");
        for (count, hits) in counts.orders.iter().zip(hits) {
            let _ = write!(rows, "\t{}\t{}\t{hits}", count.seen, count.ways);
        }
        let _ = writeln!(rows, "\t{:e}", counts.mixture(&WEIGHTS, sureness).of(id, p));
        ids.push(id);
        context.push(id);
    }
    Ok(rows)
}

/// A line for each line that the editor's search found and the rules let pass, the likeliest first,
/// fields separated by tabs: the example's group and language; its first line is right (1, or 0);
/// its score without the suffix; the log-probabilities of the tokens right of the cursor, separated
/// by commas. Where none was found, one with -inf in place of the score. `completer` must not weigh
/// lines by the suffix. And the milliseconds that asking took, where it was asked: as while typing,
/// on caches that the background has warmed.
pub fn lines_behind_suffix(
    completer: &Completer,
    example: &Example,
    cancel: &Cancel,
) -> (String, Option<f64>) {
    let document = Document::new(&format!("{}{}", example.prefix, example.suffix), 0);
    let tree = SyntaxTree::parse_within(example.syntax(), document.rope(), ParseLimit::REPEATABLE);
    let path = path(example);
    let (key, language, cursor) = ("evidence", example.syntax(), example.prefix.len());
    completer.forget(key);
    completer.edited(Snapshot {
        key: key.to_owned(),
        path: Some(path.clone()),
        language,
        document: document.clone(),
        tree: tree.clone(),
        cursor,
        excerpts: Arc::default(),
    });
    completer.settle();
    let (path, document, tree) = (Some(path.as_str()), &document, &tree);
    let request = Request { explain: true, ..Request::at(key, path, document, tree, cursor) };
    let reply = completer.complete(&request, cancel);
    completer.settle();
    let mut lines = reply.explanation.map(|explanation| explanation.lines).unwrap_or_default();
    lines.sort_by(|a, b| b.score.total_cmp(&a.score));
    let row = |is_right: bool, score: f32, suffix: &[f32]| {
        let suffix: Vec<String> = suffix.iter().map(|x| format!("{x:.4}")).collect();
        format!(
            "{}\t{}\t{}\t{score:.4}\t{}\n",
            example.group,
            example.language,
            u8::from(is_right),
            suffix.join(",")
        )
    };
    let mut rows: String = lines
        .iter()
        .map(|line| row(line_exact_match(&line.text, &example.middle), line.score, &line.suffix))
        .collect();
    if rows.is_empty() {
        rows = row(false, f32::NEG_INFINITY, &[]);
    }
    let is_asked = lines.iter().any(|line| !line.suffix.is_empty());
    (rows + "\n", is_asked.then_some(reply.ms.suffix))
}
