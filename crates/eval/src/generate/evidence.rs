//! What the model and the text at hand said before each token of true middles: the rows that the weights of
//! [`lacuna_complete::Nearby`] are fitted on.

use std::fmt::Write;

use lacuna_complete::{Nearby, WEIGHTS};
use lacuna_engine::{Cancel, KvCache, Model, PromptError, prefill};
use lacuna_prompt::{Input, Options, Order, Sentinels, Tokenizer, build};

use super::path;
use crate::Example;

/// Tokens of a middle that are looked at.
const MAX_TOKENS: usize = 48;

/// A line for each of the first tokens of the true middle, fields separated by tabs: its probability and that of the likeliest token by
/// the model; for each order from 1 how often the context was seen, the ways it went on, and how often with this token; then its
/// probability in the mixture as it is served.
///
/// Errors: as [`lacuna_engine::prefill`].
pub fn evidence(
    (model, tokenizer, sentinels): (&Model, &Tokenizer, &Sentinels),
    (order, prompt_tokens): (Order, usize),
    example: &Example,
    cancel: &Cancel,
) -> Result<String, PromptError> {
    let path = path(example);
    let input = Input { path: Some(&path), excerpts: &[], prefix: &example.prefix, suffix: &example.suffix };
    let prompt = build(tokenizer, sentinels, &input, &Options { order, budget: prompt_tokens, heal: false, seam: false, ahead: 0 });
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
        let hits = counts.followers.iter().find(|(next, _)| *next == id).map(|(_, hits)| *hits).unwrap_or_default();
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
