//! The trim and show rules on one generated text.

use lacuna_context::cut_repeated_closers;

use crate::answer::Answer;
use crate::check::parses_worse;
use crate::ghost::{head, tail};
use crate::trim::{repeated_lines, repeated_rest_of_line};
use crate::{Filter, Generated, Reason, Request};

/// Bytes on either side of the cursor in which brackets are counted.
const BRACKET_WINDOW: usize = 8 << 10;

/// What an editor shows of a text that a model wrote at the request's cursor, or why nothing, and the rules that changed something: the last
/// step of [`crate::Completer::complete`], for texts that were kept.
pub fn post_process(request: &Request<'_>, generated: &Generated, min_confidence: f32) -> (Result<String, Reason>, Vec<Filter>) {
    let mut answer = Answer::new(true);
    let shown = shown(request, generated, min_confidence, &mut answer);
    (shown, answer.explanation.map(|e| e.filters).unwrap_or_default())
}

/// The rules on a whole generation.
pub(crate) fn shown(request: &Request<'_>, generated: &Generated, min_confidence: f32, answer: &mut Answer) -> Result<String, Reason> {
    let text = answer.filter("trailing-space", generated.text.clone(), |t| t.trim_end().to_owned());
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    show(request, text, generated.confidence, min_confidence, answer)
}

/// What of `text` is shown at the request's cursor, or why nothing. `confidence`: mean probability a token.
pub(crate) fn show(
    request: &Request<'_>,
    text: String,
    confidence: f32,
    min_confidence: f32,
    answer: &mut Answer,
) -> Result<String, Reason> {
    let document = request.document;
    let prefix = document.slice(request.cursor.saturating_sub(BRACKET_WINDOW)..request.cursor);
    let suffix = document.slice(request.cursor..request.cursor.saturating_add(BRACKET_WINDOW));
    let closers =
        |t: &str| t[..cut_repeated_closers(request.language, tail(&prefix, BRACKET_WINDOW), t, head(&suffix, BRACKET_WINDOW))].to_owned();
    let mut text = answer.filter("repeated-closers", text, closers);
    text = answer.filter("rest-of-line", text, |t| repeated_rest_of_line(t, &suffix).to_owned());
    text = answer.filter("following-lines", text, |t| repeated_lines(t, &suffix).to_owned());
    if text.trim().is_empty() {
        answer.dropped("repeats-suffix", &text);
        return Err(Reason::RepeatsSuffix);
    }
    if confidence < min_confidence {
        answer.dropped("low-confidence", &text);
        return Err(Reason::LowConfidence);
    }
    if parses_worse(request.tree, document, request.cursor, &text) {
        // A block that breaks the file may still begin with a good line.
        let first = text.lines().next().unwrap_or("").trim_end().to_owned();
        if first.trim().is_empty() || first == text || parses_worse(request.tree, document, request.cursor, &first) {
            answer.dropped("parses-worse", &text);
            return Err(Reason::ParsesWorse);
        }
        text = answer.filter("first-line-only", text, |_| first);
    }
    Ok(text)
}
