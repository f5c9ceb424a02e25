//! Generation with the stop rule applied while tokens arrive, so that no token is decoded that would be cut afterwards.

use std::ops::ControlFlow;
use std::time::Instant;

use lacuna_context::{Language, SyntacticEnd, syntactic_end};
use lacuna_engine::{Cancel, Constraint, Generation, KvCache, Model, PromptError, Sampling, generate};
use lacuna_prompt::{Healing, Prompt, Tokenizer};

/// How far a completion may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// To the end of the line.
    Line,
    /// To the end of the block that was opened at the cursor.
    Block,
}

/// Where and in what language the completion grows.
pub(crate) struct Place<'a> {
    pub language: Language,
    pub prefix: &'a str,
    pub extent: Extent,
}

/// What came out, before any trimming against the suffix.
pub(crate) struct Decoded {
    pub text: String,
    pub generation: Generation,
    pub deadline_hit: bool,
}

struct Heal<'a> {
    healing: Healing,
    tokenizer: &'a Tokenizer,
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

/// Runs the model. The caller has checked that prompt and answer fit the cache.
pub(crate) fn decode(
    engine: (&Model, &mut KvCache),
    tokenizer: &Tokenizer,
    prompt: &Prompt,
    place: &Place<'_>,
    sampling: &Sampling,
    deadline: Option<Instant>,
    cancel: &Cancel,
) -> Result<Decoded, PromptError> {
    let (model, cache) = engine;
    let healed = prompt.healing.rolled_back().len();
    let mut heal = Heal { healing: prompt.healing.clone(), tokenizer };
    let mut bytes: Vec<u8> = Vec::new();
    let (mut deadline_hit, mut after_line_end) = (false, false);
    let generation = generate(model, cache, &prompt.ids, sampling, Some(&mut heal), cancel, &mut |token| {
        let piece = tokenizer.token_bytes(token.id);
        bytes.extend_from_slice(piece);
        if deadline.is_some_and(|d| Instant::now() >= d) {
            deadline_hit = true;
            return ControlFlow::Break(());
        }
        // The rule need not run at every token: a line ends in a token with a newline, a dedent shows in the one after it.
        let line_end = piece.contains(&b'\n');
        let look = line_end || after_line_end;
        after_line_end = line_end;
        if look && bytes.len() > healed && end(place, valid_utf8(&bytes[healed..])).reached {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    // A model that stopped in the middle of a character, or was stopped there, leaves a cut character: it is dropped.
    let text = valid_utf8(bytes.get(healed..).unwrap_or(&[]));
    let text = text[..end(place, text).len].to_owned();
    Ok(Decoded { text, generation, deadline_hit })
}

fn end(place: &Place<'_>, text: &str) -> SyntacticEnd {
    syntactic_end(place.language, place.prefix, text, place.extent == Extent::Block)
}

/// The longest valid beginning.
fn valid_utf8(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // `valid_up_to` is by definition a valid length.
        Err(e) => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or(""),
    }
}
