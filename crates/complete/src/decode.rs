//! Generation token by token behind a prompt: the likeliest one each time, or one drawn by chance,
//! until a rule says that the text has ended ([`StopRule`]).

use std::ops::ControlFlow;
use std::time::Instant;

use lacuna_engine::{
    Cancel, Constraint, Drafter, Finish, GenerateOptions, Generation, KvCache, Model,
    PrefillOptions, PromptError, Sampling, generate_with,
};
use lacuna_prompt::{Healing, Prompt, Tokenizer};

use crate::request::Flight;
use crate::stop::{StopRule, Written, valid_utf8, whole_words};

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
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub deadline: Option<Instant>,
    /// Raised by the client; `deadline` is not part of it.
    pub cancel: &'a Cancel,
    pub flight: Option<&'a Flight>,
}

impl Limits<'_> {
    /// Raised by the client, or by the clock.
    pub fn cancel(&self) -> Cancel {
        match self.deadline {
            Some(deadline) => self.cancel.clone().with_deadline(deadline),
            None => self.cancel.clone(),
        }
    }

    /// Whether the clock, not the client, has ended it.
    pub fn is_late(&self) -> bool {
        !self.cancel.is_cancelled() && self.deadline.is_some_and(|d| Instant::now() >= d)
    }
}

/// What came out, before any trimming against the suffix.
pub(crate) struct Decoded {
    /// Behind the cursor: of all that was generated what the rule keeps.
    pub text: String,
    pub generation: Generation,
    pub deadline_hit: bool,
}

impl Decoded {
    /// Whether the client, not the clock, has ended it.
    pub fn is_cancelled(&self) -> bool {
        self.generation.finish == Finish::Cancelled && !self.deadline_hit
    }
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
///
/// Errors: as [`lacuna_engine::generate`].
pub(crate) fn decode(
    engine: Engine<'_>,
    prompt: &Prompt,
    begun: &[u32],
    sampling: &Sampling,
    rule: &mut dyn StopRule,
    limits: &Limits<'_>,
) -> Result<Decoded, PromptError> {
    let Engine { model, kv, drafter, prefill, tokenizer, .. } = engine;
    let healed = prompt.healing.rolled_back().len();
    let mut heal = Heal::begun(prompt, tokenizer, begun);
    let mut bytes: Vec<u8> = tokenizer.decode(begun);
    let options = GenerateOptions { sampling, constraint: Some(&mut heal), drafter, prefill };
    let ids: Vec<u32> = prompt.ids.iter().chain(begun).copied().collect();
    let generation = generate_with(model, kv, &ids, options, &limits.cancel(), &mut |token| {
        let token = tokenizer.token_bytes(token.id);
        bytes.extend_from_slice(token);
        let written = Written { bytes: bytes.get(healed..).unwrap_or(&[]), token };
        if let Some(flight) = limits.flight {
            flight.note(written.text());
        }
        if rule.is_over(&written) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let deadline_hit = limits.is_late();
    // A model that stopped in the middle of a character, or was stopped there, leaves a cut
    // character: it is dropped.
    let all = valid_utf8(bytes.get(healed..).unwrap_or(&[]));
    let end = rule.end(all);
    let kept = &all[..end.len];
    let text = if deadline_hit && !end.reached { whole_words(kept) } else { kept }.to_owned();
    Ok(Decoded { text, generation, deadline_hit })
}
