//! Generation with the stop rule applied while tokens arrive, so that no token is decoded that
//! would be cut afterwards.

use std::ops::ControlFlow;
use std::time::Instant;

use lacuna_context::{Language, SyntacticEnd, first_lines, syntactic_end};
use lacuna_engine::{
    Cancel, Constraint, Drafter, GenerateOptions, Generation, KvCache, Model, PrefillOptions,
    PromptError, Sampling, generate_with,
};
use lacuna_prompt::{Healing, Prompt, Tokenizer};

use crate::Flight;

/// How far a completion may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// To the end of the line.
    Line,
    /// To the end of the block that was opened at the cursor, `lines` lines at most.
    Block { lines: usize },
}

/// Where and in what language the completion grows.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub language: Language,
    pub prefix: &'a str,
    pub extent: Extent,
}

/// What generates.
pub(crate) struct Engine<'a> {
    pub model: &'a Model,
    pub kv: &'a mut KvCache,
    pub drafter: Option<&'a mut Drafter>,
    /// See [`crate::Settings::beam`].
    pub beam: usize,
    pub prefill: PrefillOptions<'a>,
    pub tokenizer: &'a Tokenizer,
}

/// What holds a generation up, or ends it.
pub(crate) struct Limits<'a> {
    pub deadline: Option<Instant>,
    /// Raised by the client; `deadline` is not part of it.
    pub cancel: &'a Cancel,
    /// Exactly so many tokens beyond the healed word, whatever they are.
    pub fixed_tokens: Option<usize>,
    pub flight: Option<&'a Flight>,
}

/// What came out, before any trimming against the suffix.
pub(crate) struct Decoded {
    pub text: String,
    pub generation: Generation,
    pub deadline_hit: bool,
}

/// Admits only tokens that restate what was taken back.
#[derive(Clone)]
pub(crate) struct Heal<'a> {
    healing: Healing,
    tokenizer: &'a Tokenizer,
}

impl<'a> Heal<'a> {
    pub fn new(prompt: &Prompt, tokenizer: &'a Tokenizer) -> Heal<'a> {
        Heal { healing: prompt.healing.clone(), tokenizer }
    }

    /// With a text that the answer begins with.
    pub fn starting(prompt: &Prompt, tokenizer: &'a Tokenizer, text: &str) -> Heal<'a> {
        Heal { healing: prompt.healing.followed_by(text), tokenizer }
    }

    /// Behind ids that restate what was taken back, or begin to.
    pub fn begun(prompt: &Prompt, tokenizer: &'a Tokenizer, begun: &[u32]) -> Heal<'a> {
        let mut heal = Heal::new(prompt, tokenizer);
        begun.iter().for_each(|id| heal.push(*id));
        heal
    }
}

impl Constraint for Heal<'_> {
    fn is_active(&self) -> bool {
        self.healing.is_active()
    }
    fn allows(&self, id: u32) -> bool {
        self.healing.allows(self.tokenizer.token_bytes(id))
    }
    fn push(&mut self, id: u32) {
        self.healing.push(self.tokenizer.token_bytes(id));
    }
}

/// Runs the model, behind the prompt and the ids that the answer has begun with. The caller has
/// checked that prompt and answer fit the cache.
pub(crate) fn decode(
    engine: Engine<'_>,
    prompt: &Prompt,
    begun: &[u32],
    place: &Place<'_>,
    sampling: &Sampling,
    limits: &Limits<'_>,
) -> Result<Decoded, PromptError> {
    let cancel = match limits.deadline {
        Some(deadline) => limits.cancel.clone().with_deadline(deadline),
        None => limits.cancel.clone(),
    };
    let healed = prompt.healing.rolled_back().len();
    let tokenizer = engine.tokenizer;
    let generation = token_by_token(engine, prompt, begun, place, sampling, limits, &cancel)?;
    let deadline_hit =
        !limits.cancel.is_cancelled() && limits.deadline.is_some_and(|d| Instant::now() >= d);
    // A model that stopped in the middle of a character, or was stopped there, leaves a cut
    // character: it is dropped.
    let bytes = tokenizer.decode(&[begun, &generation.ids].concat());
    let raw = valid_utf8(bytes.get(healed..).unwrap_or(&[]));
    let text = match limits.fixed_tokens {
        Some(_) => raw.to_owned(),
        None => {
            let cut = end(place, raw);
            let text = &raw[..cut.len];
            if deadline_hit && !cut.reached {
                whole_words(text).to_owned()
            } else {
                text.to_owned()
            }
        }
    };
    Ok(Decoded { text, generation, deadline_hit })
}

/// Whether the likeliest line is looked for.
pub(crate) fn is_search(beam: usize, sampling: &Sampling) -> bool {
    beam > 1 && sampling.temperature <= 0.0
}

/// The likeliest token each time (or one drawn by chance).
fn token_by_token(
    engine: Engine<'_>,
    prompt: &Prompt,
    begun: &[u32],
    place: &Place<'_>,
    sampling: &Sampling,
    limits: &Limits<'_>,
    cancel: &Cancel,
) -> Result<Generation, PromptError> {
    let Engine { model, kv, drafter, prefill, tokenizer, .. } = engine;
    let healed = prompt.healing.rolled_back().len();
    let mut heal = Heal::begun(prompt, tokenizer, begun);
    let mut bytes: Vec<u8> = tokenizer.decode(begun);
    let (mut after_line_end, mut beyond_word) = (false, 0);
    let options = GenerateOptions { sampling, constraint: Some(&mut heal), drafter, prefill };
    let ids: Vec<u32> = prompt.ids.iter().chain(begun).copied().collect();
    generate_with(model, kv, &ids, options, cancel, &mut |token| {
        let piece = tokenizer.token_bytes(token.id);
        bytes.extend_from_slice(piece);
        beyond_word += usize::from(bytes.len() > healed || piece.is_empty());
        if let Some(flight) = limits.flight {
            flight.note(valid_utf8(bytes.get(healed..).unwrap_or(&[])));
        }
        if let Some(n) = limits.fixed_tokens {
            return if beyond_word >= n {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            };
        }
        if limits.deadline.is_some_and(|d| Instant::now() >= d) {
            return ControlFlow::Break(());
        }
        // The rule need not run at every token: a line ends in a token with a newline, a dedent
        // shows in the one after it.
        let line_end = piece.contains(&b'\n');
        let look = line_end || after_line_end;
        after_line_end = line_end;
        if look && bytes.len() > healed && end(place, valid_utf8(&bytes[healed..])).reached {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })
}

pub(crate) fn end(place: &Place<'_>, text: &str) -> SyntacticEnd {
    let Extent::Block { lines } = place.extent else {
        return syntactic_end(place.language, place.prefix, text, false);
    };
    let end = syntactic_end(place.language, place.prefix, text, true);
    let len = first_lines(place.language, place.prefix, &text[..end.len], lines);
    SyntacticEnd { len, reached: end.reached || len < end.len }
}

/// A text that was stopped by the clock, cut where it can stand: after its last whole line if it
/// has several, else after a word.
pub(crate) fn whole_words(text: &str) -> &str {
    if let Some(at) = text.trim_end_matches('\n').rfind('\n')
        && !text[..at].trim().is_empty()
    {
        return &text[..at];
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    // The word at the end may go on; what stands before it does not.
    text.trim_end_matches(is_word)
}

/// The longest valid beginning.
pub(crate) fn valid_utf8(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // `valid_up_to` is by definition a valid length.
        Err(e) => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::whole_words;

    #[test]
    fn the_clock_cuts_between_words_and_lines() {
        for (text, kept) in [
            ("return valu", "return "),
            ("f(a, b)", "f(a, b)"),
            ("if x:\n    y = 1\n    z", "if x:\n    y = 1"),
            ("name", ""),
            ("\n    na", "\n    "),
            ("", ""),
        ] {
            assert_eq!(whole_words(text), kept, "{text:?}");
        }
    }
}
