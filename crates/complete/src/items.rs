//! The last three steps of a completion: generate, choose, accept. From a prompt to items, by the
//! search for the likeliest line (`lines`), or token by token with alternatives drawn by chance.
//!
//! Owns: which generations are made, in which order the rules see them, what is learned of their
//! cost. Does not own: generation (`decode`), the rules (`show`), prompts and caches (`lease`).

use std::time::Instant;

use lacuna_engine::{
    Drafter, Finish, Generation, KvCache, PrefillOptions, PrefillStats, PromptError, Times,
};
use lacuna_prompt::Prompt;

use crate::answer::Answer;
use crate::core::Core;
use crate::decode::{Decoded, Engine, Limits, decode};
use crate::lease::Leased;
use crate::outcome::{Generated, Item, Reason};
use crate::prompting::Prepared;
use crate::request::{Caller, Request};
use crate::search::is_search;
use crate::show::shown;
use crate::state::lock;
use crate::stop::{AtEnd, Place};

/// Most alternatives that one request may ask for.
pub(crate) const MAX_ALTERNATIVES: usize = 8;
/// Tokens of a line that shall be found before the deadline: a search that would be too slow for it
/// follows fewer hypotheses.
pub(crate) const TOKENS_OF_A_LINE: usize = 12;

/// What is generated for.
pub(crate) struct Ask<'a> {
    pub request: &'a Request<'a>,
    pub prompt: &'a Prompt,
    /// The prompt with the word at the cursor as it stands.
    pub unhealed: &'a dyn Fn() -> Prompt,
    pub place: Place<'a>,
    pub limits: Limits<'a>,
    pub prefill: PrefillOptions<'a>,
    /// Who asks, and what they do not want.
    pub caller: Caller<'a>,
}

impl Ask<'_> {
    /// Alternatives that are wanted.
    pub fn n(&self) -> usize {
        self.request.n.clamp(1, MAX_ALTERNATIVES)
    }

    /// Whether the client, not the clock, has ended it.
    pub fn is_cancelled(&self) -> bool {
        self.limits.cancel.is_cancelled()
    }

    /// The text as an editor shows it, unless the user has turned it down.
    pub fn rules(&self, text: &str, answer: &mut Answer) -> Result<String, Reason> {
        let text = shown(self.request, text, answer)?;
        if self.caller.refuses(&text) {
            answer.dropped("dismissed-before", &text);
            return Err(Reason::DismissedBefore);
        }
        Ok(text)
    }
}

/// What it is generated with.
pub(crate) struct Tools<'a> {
    pub kv: &'a mut KvCache,
    pub drafter: &'a mut Drafter,
    pub answer: &'a mut Answer,
}

/// The items, at least one, or why there is none.
pub(crate) type Items = Result<Vec<Item>, Reason>;

impl Core {
    /// What is shown at the request's place, with a prompt and a cache that has room for the
    /// answer.
    ///
    /// Errors: as [`lacuna_engine::generate`].
    pub fn complete_in(
        &self,
        leased: Leased,
        request: &Request<'_>,
        caller: Caller<'_>,
        limits: Limits<'_>,
        drafter: &mut Drafter,
        answer: &mut Answer,
    ) -> Result<Items, PromptError> {
        let Leased { prepared: Prepared { prompt, extent, .. }, budget, mut lease, donors, .. } =
            leased;
        let prefix = request.document.slice(0..request.cursor);
        let ask = Ask {
            request,
            prompt: &prompt,
            unhealed: &|| self.unhealed(request, budget),
            place: Place { language: request.language, prefix: &prefix, extent },
            limits,
            prefill: self.prefill(&donors),
            caller,
        };
        self.items(&ask, &mut Tools { kv: &mut lease, drafter, answer })
    }

    /// Generates, chooses and accepts. The caller has checked that prompt and answer fit the cache.
    ///
    /// Errors: as [`lacuna_engine::generate`].
    fn items(&self, ask: &Ask<'_>, tools: &mut Tools<'_>) -> Result<Items, PromptError> {
        let beam = self.beam(ask);
        if is_search(beam, &self.sampling(ask.place.extent, 0)) {
            self.by_search(ask, beam, tools)
        } else {
            self.token_by_token(ask, tools)
        }
    }

    /// Hypotheses that are followed: as many as are set, as long as the deadline leaves time for
    /// them.
    fn beam(&self, ask: &Ask<'_>) -> usize {
        let Some(deadline) = ask.limits.deadline else { return self.settings.beam };
        let left = deadline.saturating_duration_since(Instant::now());
        match lock(&self.costs).tokens(TOKENS_OF_A_LINE) {
            // A pass over half the hypotheses is not twice as fast, but as fast as it gets.
            Some(needed) if needed > left => self.settings.beam.div_ceil(2),
            _ => self.settings.beam,
        }
    }

    /// The engine for an ask; its own cache and drafter.
    pub fn engine_of<'a>(
        &'a self,
        ask: &Ask<'a>,
        beam: usize,
        tools: &'a mut Tools<'_>,
    ) -> Engine<'a> {
        self.engine(tools.kv, tools.drafter, beam, ask.prefill)
    }

    /// The greedy generation, and alternatives that are drawn.
    fn token_by_token(&self, ask: &Ask<'_>, tools: &mut Tools<'_>) -> Result<Items, PromptError> {
        let mut items: Vec<Item> = Vec::new();
        let mut silence = Reason::Empty;
        for i in 0..ask.n() {
            let sampling = self.sampling(ask.place.extent, i);
            let (engine, rule) = (self.engine_of(ask, 1, tools), &mut AtEnd::of(&ask.place));
            let decoded = decode(engine, ask.prompt, &[], &sampling, rule, &ask.limits)?;
            self.learn(&decoded.generation, i == 0, tools);
            if matches!(decoded.generation.finish, Finish::Cancelled) && !decoded.deadline_hit {
                if items.is_empty() {
                    return Ok(Err(Reason::Cancelled));
                }
                break;
            }
            match accept(ask, &decoded, tools.answer) {
                Ok(item) if items.iter().all(|other| other.text != item.text) => items.push(item),
                Ok(_) => {}
                Err(reason) if i == 0 => silence = reason,
                Err(_) => {}
            }
        }
        Ok(if items.is_empty() { Err(silence) } else { Ok(items) })
    }

    /// Counts a generation token by token, the first of its request or a later one, and learns from
    /// it what tokens cost and what may be guessed next time.
    pub fn learn(&self, generation: &Generation, first: bool, tools: &mut Tools<'_>) {
        // The first token comes from the prefill's logits.
        self.learn_of_passes(generation, generation.ids.len().saturating_sub(1), first, tools);
    }

    /// [`Core::learn`] of a generation that took so many passes of the model.
    pub fn learn_of_passes(
        &self,
        generation: &Generation,
        passes: usize,
        first: bool,
        tools: &mut Tools<'_>,
    ) {
        tools.answer.count(generation, first);
        if generation.finish != Finish::Cancelled {
            let PrefillStats { prefilled, repaired, .. } = generation.prefill;
            let Times { prefill, decode } = generation.times;
            let mut costs = lock(&self.costs);
            costs.note_prefill(prefilled + repaired, prefill);
            costs.note_tokens(passes, decode);
        }
        // What was generated is a good guess for the next request here, whatever becomes of it.
        tools.drafter.remember(&generation.ids);
    }
}

/// The stop, trim and show rules on one generation.
fn accept(ask: &Ask<'_>, decoded: &Decoded, answer: &mut Answer) -> Result<Item, Reason> {
    let Decoded { text, generation, deadline_hit } = decoded;
    let (logprob, mean) = likelihood(&generation.logprobs);
    let shown = ask.rules(text, answer);
    if let Some(explanation) = &mut answer.explanation {
        explanation.generated.get_or_insert(Generated { text: text.clone(), confidence: mean });
    }
    let text = shown.map_err(|reason| match reason {
        // Nothing but what the clock left no time for.
        Reason::Empty if *deadline_hit && generation.finish != Finish::Stop => Reason::Deadline,
        reason => reason,
    })?;
    Ok(Item { text, logprob, mean, probability: None })
}

/// The sum of log-probabilities, and the geometric mean of the probabilities.
pub(crate) fn likelihood(logprobs: &[f32]) -> (f32, f32) {
    let sum: f32 = logprobs.iter().sum();
    (sum, (sum / logprobs.len().max(1) as f32).exp())
}
