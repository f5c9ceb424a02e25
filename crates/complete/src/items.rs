//! The last three steps of a completion: generate, choose, accept. From a prompt to items, by the
//! search for the likeliest line (`lines`), or token by token with alternatives drawn by chance.
//!
//! Owns: which generations are made, in which order the rules see them, what is learned of their
//! cost. Does not own: generation (`decode`), the rules (`show`), prompts and caches (`lease`).

use std::borrow::Cow;
use std::time::Instant;

use lacuna_engine::{
    Drafter, Finish, Generation, KvCache, PrefillOptions, PrefillStats, PromptError, Sampling,
    Times,
};
use lacuna_prompt::Prompt;

use crate::answer::Answer;
use crate::core::Core;
use crate::decode::{Decoded, Limits, decode};
use crate::lease::Leased;
use crate::prompting::Prepared;
use crate::search::{is_search, likelihood};
use crate::show::shown;
use crate::state::lock;
use crate::stop::{AtEnd, Place};
use crate::{Caller, Generated, Item, Reason, Request, StopRule};

/// Most alternatives that one request may ask for.
pub(crate) const MAX_ALTERNATIVES: usize = 8;
/// Tokens of a line that shall be found before the deadline: a search that would be too slow for it
/// follows fewer hypotheses.
pub(crate) const TOKENS_OF_A_LINE: usize = 12;

/// Behind what it is generated, and what bounds it.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub prompt: &'a Prompt,
    pub limits: Limits<'a>,
    pub prefill: PrefillOptions<'a>,
}

/// What is generated for.
pub(crate) struct Ask<'a> {
    pub request: &'a Request<'a>,
    pub place: Place<'a>,
    pub how: How<'a>,
    /// The likeliest text, and tokens of its first line at most.
    pub sampling: Sampling,
    pub line_tokens: usize,
    /// See [`Wanted::closers`](crate::search::Wanted).
    pub closers: Cow<'a, [u32]>,
    /// The prompt with the word at the cursor as it stands.
    pub unhealed: &'a dyn Fn() -> Prompt,
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
        self.how.limits.cancel.is_cancelled()
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
    pub fn complete_in(
        &self,
        leased: Leased,
        request: &Request<'_>,
        caller: Caller<'_>,
        limits: Limits<'_>,
        drafter: &mut Drafter,
        answer: &mut Answer,
    ) -> Items {
        let Leased { prepared: Prepared { prompt, extent, .. }, budget, mut lease, donors, .. } =
            leased;
        let prefix = request.document.slice(0..request.cursor);
        let place = Place { language: request.language, prefix: &prefix, extent };
        let how = How { prompt: &prompt, limits, prefill: self.prefill(&donors) };
        let sampling = self.sampling(extent, 0);
        let ask = Ask {
            request,
            place,
            how,
            line_tokens: sampling.max_tokens.min(self.settings.line_tokens),
            sampling,
            closers: Cow::Borrowed(&self.closers),
            unhealed: &|| self.unhealed(request, budget),
            caller,
        };
        let mut tools = Tools { kv: &mut lease, drafter, answer };
        let beam = self.beam(&ask);
        if is_search(beam, &ask.sampling) {
            self.by_search(&ask, beam, &mut tools)
        } else {
            self.token_by_token(&ask, &mut tools)
        }
    }

    /// Hypotheses that are followed: as many as are set, as long as the deadline leaves time for
    /// them.
    fn beam(&self, ask: &Ask<'_>) -> usize {
        let Some(deadline) = ask.how.limits.deadline else { return self.settings.beam };
        let left = deadline.saturating_duration_since(Instant::now());
        match lock(&self.costs).tokens(TOKENS_OF_A_LINE) {
            // A pass over half the hypotheses is not twice as fast, but as fast as it gets.
            Some(needed) if needed > left => self.settings.beam.div_ceil(2),
            _ => self.settings.beam,
        }
    }

    /// The greedy generation, and alternatives that are drawn.
    fn token_by_token(&self, ask: &Ask<'_>, tools: &mut Tools<'_>) -> Items {
        let mut items: Vec<Item> = Vec::new();
        let mut silence = Reason::Empty;
        for i in 0..ask.n() {
            let (sampling, rule) = (self.sampling(ask.place.extent, i), &mut AtEnd::of(&ask.place));
            let decoded = self.write(&ask.how, &[], &sampling, rule, tools).map_err(refused)?;
            if decoded.is_cancelled() {
                silence = if items.is_empty() { Reason::Cancelled } else { silence };
                break;
            }
            match accept(ask, &decoded, tools.answer) {
                Ok(item) if items.iter().all(|other| other.text != item.text) => items.push(item),
                Ok(_) => {}
                Err(reason) if i == 0 => silence = reason,
                Err(_) => {}
            }
        }
        if items.is_empty() { Err(silence) } else { Ok(items) }
    }

    /// Generates behind the prompt and the ids that the answer has begun with, and learns of it.
    ///
    /// Errors: as [`lacuna_engine::generate`].
    pub fn write(
        &self,
        how: &How<'_>,
        begun: &[u32],
        sampling: &Sampling,
        rule: &mut dyn StopRule,
        tools: &mut Tools<'_>,
    ) -> Result<Decoded, PromptError> {
        let engine = self.engine(tools.kv, tools.drafter, 1, how.prefill);
        let decoded = decode(engine, how.prompt, begun, sampling, rule, &how.limits)?;
        // The first token comes from the prefill's logits.
        self.learn(&decoded.generation, decoded.generation.ids.len().saturating_sub(1), tools);
        Ok(decoded)
    }

    /// Counts a generation, and learns from it what passes of the model cost and what may be
    /// guessed next time.
    pub fn learn(&self, generation: &Generation, passes: usize, tools: &mut Tools<'_>) {
        tools.answer.count(generation);
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

/// The reason for an error of the engine's; the log has the rest.
pub(crate) fn refused(error: PromptError) -> Reason {
    tracing::error!(%error, "prompt refused by the engine");
    Reason::PromptRefused
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
