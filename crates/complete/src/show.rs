//! The trim and show rules on one generated text.

use std::borrow::Cow;

use lacuna_context::cut_repeated_closers;
use lacuna_text::Document;

use crate::answer::Answer;
use crate::check::parses_worse;
use crate::ghost::{head, tail};
use crate::indent::as_the_file;
use crate::loops::before_loop;
use crate::surroundings::{closer_on_own_line, is_idle_mark};
use crate::trim::{
    before_opener_below, begins_as_the_rest, doubled_blanks, line_above_again, repeated_lines,
    repeated_rest_of_line,
};
use crate::unseen::before_unseen;
use crate::word::before_word;
use crate::{Filter, Reason, Request};

/// Bytes on either side of the cursor in which brackets are counted.
const BRACKET_WINDOW: usize = 8 << 10;
/// Bytes of a character.
const MAX_CHAR: usize = 4;

/// What an editor shows of a text that a model wrote at the request's cursor, or why nothing, and
/// the rules that changed something: the last step of [`crate::Completer::complete`], for texts
/// that were kept.
pub fn post_process(request: &Request<'_>, text: &str) -> (Result<String, Reason>, Vec<Filter>) {
    let mut answer = Answer::new(true);
    let shown = shown(request, text, &mut answer);
    (shown, answer.explanation.map(|e| e.filters).unwrap_or_default())
}

/// The rules on a whole generation.
pub(crate) fn shown(
    request: &Request<'_>,
    text: &str,
    answer: &mut Answer,
) -> Result<String, Reason> {
    let next = request
        .document
        .slice(request.cursor..request.cursor.saturating_add(MAX_CHAR))
        .chars()
        .next();
    let is_before_word = next.is_some_and(|c| request.language.is_word_char(c));
    let text = answer.filter("trailing-space", text.to_owned(), |t| {
        let text = t.trim_end();
        // `not |header`: the blank is what keeps two words apart.
        let blank = if is_before_word && t[text.len()..].starts_with(' ') { " " } else { "" };
        format!("{text}{blank}")
    });
    if text.trim().is_empty() {
        return Err(Reason::Empty);
    }
    show(request, text, answer)
}

/// What stands right of and below the cursor, as far as rules look at it.
pub(crate) fn text_after(document: &Document, cursor: usize) -> Cow<'_, str> {
    document.slice(cursor..cursor.saturating_add(BRACKET_WINDOW))
}

/// What of `text` is shown at the request's cursor, or why nothing.
///
/// First what may not be shown is cut, then it is asked whether what is left may stand there. Lines
/// are compared with the file's when they have the file's indentation.
pub(crate) fn show(
    request: &Request<'_>,
    text: String,
    answer: &mut Answer,
) -> Result<String, Reason> {
    let Request { document, language, tree, cursor, .. } = *request;
    let before = document.slice(cursor.saturating_sub(BRACKET_WINDOW)..cursor);
    let after = text_after(document, cursor);
    let (prefix, suffix) = (tail(&before, BRACKET_WINDOW), head(&after, BRACKET_WINDOW));
    let text = answer.filter("unseen", text, |t| before_unseen(prefix, t).to_owned());
    if text.trim().is_empty() {
        answer.dropped("unseen", &text);
        return Err(Reason::Empty);
    }
    let mut text = answer.filter("loop", text, |t| before_loop(prefix, t).to_owned());
    if text.trim().is_empty() {
        answer.dropped("loop", &text);
        return Err(Reason::Repetition);
    }
    text = answer.filter("doubled-blanks", text, |t| doubled_blanks(prefix, t).to_owned());
    text = answer.filter("word", text, |t| {
        before_word(language, prefix, t, suffix).unwrap_or("").to_owned()
    });
    text = answer.filter("repeated-closers", text, |t| {
        t[..cut_repeated_closers(language, prefix, t, suffix)].to_owned()
    });
    text = answer.filter("rest-of-line", text, |t| repeated_rest_of_line(t, suffix).to_owned());
    text = answer.filter("indentation", text, |t| as_the_file(prefix, t, suffix));
    text = answer.filter("following-lines", text, |t| repeated_lines(prefix, t, suffix).to_owned());
    text = answer.filter("opener-below", text, |t| before_opener_below(t, suffix).to_owned());
    text = answer.filter("line-above", text, |t| line_above_again(prefix, t).to_owned());
    if text.trim().is_empty() || begins_as_the_rest(&text, suffix) {
        answer.dropped("repeats-suffix", &text);
        return Err(Reason::RepeatsSuffix);
    }
    if is_idle_mark(tree, document, cursor, &text, suffix.lines().next().unwrap_or("")) {
        answer.dropped("idle-mark", &text);
        return Err(Reason::Empty);
    }
    text = answer.filter("closer-on-own-line", text, |t| {
        closer_on_own_line(language, prefix, t.to_owned(), suffix)
    });
    if parses_worse(tree, document, cursor, &text) {
        // A block that breaks the file may still begin with a good line.
        let first = text.lines().next().unwrap_or("").trim_end().to_owned();
        let first = closer_on_own_line(language, prefix, first, suffix);
        if first.trim().is_empty() || first == text || parses_worse(tree, document, cursor, &first)
        {
            answer.dropped("parses-worse", &text);
            return Err(Reason::ParsesWorse);
        }
        text = answer.filter("first-line-only", text, |_| first);
    }
    Ok(text)
}
