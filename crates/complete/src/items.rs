//! From a prompt to items: by the search for the likeliest line, or token by token with
//! alternatives drawn by chance.
//!
//! Owns: which generations are made, in which order the rules see them, what is learned of their
//! cost. Does not own: the search (`search`), generation (`decode`), the rules (`show`), prompts
//! and caches (`completer`).

use std::time::Instant;

use lacuna_engine::{Drafter, Finish, KvCache, KvSnapshot, PrefillOptions, PromptError};
use lacuna_prompt::Prompt;

use crate::answer::{Answer, ms};
use crate::completer::Core;
use crate::decode::{Decoded, Engine, Extent, Limits, Place, decode, is_search, whole_words};
use crate::request::is_beginning;
use crate::search::{LIKELY_END, Line, Searched, Wanted, end_probability, ends_here, search};
use crate::show::{shown, text_after};
use crate::signs;
use crate::state::lock;
use crate::surroundings::may_be_finished;
use crate::wishes::Wishes;
use crate::{Asked, Caller, Considered, Generated, Item, Nearby, Reason, Request, Signs};

/// Most alternatives that one request may ask for.
const MAX_ALTERNATIVES: usize = 8;
/// Tokens of a line that shall be found before the deadline: a search that would be too slow for it
/// follows fewer hypotheses.
const TOKENS_OF_A_LINE: usize = 12;

/// What is generated for.
pub(crate) struct Ask<'a> {
    pub request: &'a Request<'a>,
    pub prompt: &'a Prompt,
    /// The prompt with the word at the cursor as it stands.
    pub unhealed: &'a dyn Fn() -> Prompt,
    pub place: Place<'a>,
    pub limits: Limits<'a>,
    pub donors: &'a [KvSnapshot],
    /// Alternatives, at least one.
    pub n: usize,
    /// Who asks, and what they do not want.
    pub caller: Caller<'a>,
}

/// The items, at least one, or why there is none.
pub(crate) type Items = Result<Vec<Item>, Reason>;

impl Core {
    /// Generates and chooses. The caller has checked that prompt and answer fit the cache.
    ///
    /// Errors: as [`lacuna_engine::generate`].
    pub fn items(
        &self,
        ask: &Ask<'_>,
        kv: &mut KvCache,
        drafter: &mut Drafter,
        answer: &mut Answer,
    ) -> Result<Items, PromptError> {
        let beam = self.beam(ask);
        if self.settings.fixed_tokens.is_none()
            && is_search(beam, &self.sampling(ask.place.extent, 0))
        {
            self.searched(ask, beam, kv, drafter, answer)
        } else {
            self.token_by_token(ask, kv, drafter, answer)
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

    fn engine<'a>(
        &'a self,
        ask: &'a Ask<'_>,
        beam: usize,
        kv: &'a mut KvCache,
        drafter: &'a mut Drafter,
    ) -> Engine<'a> {
        Engine {
            model: &self.model,
            kv,
            drafter: self.settings.drafts.then_some(drafter),
            beam,
            prefill: PrefillOptions { reuse: self.settings.reuse, donors: ask.donors },
            tokenizer: &self.tokenizer,
        }
    }

    /// Whether the client, not the clock, has ended it.
    fn is_cancelled(ask: &Ask<'_>) -> bool {
        ask.limits.cancel.is_cancelled()
    }

    fn nearby(&self, ask: &Ask<'_>) -> Nearby {
        let Request { document, cursor, excerpts, .. } = ask.request;
        let suffix = document.slice(*cursor..cursor.saturating_add(Nearby::reach(&self.tokenizer)));
        let excerpts: Vec<&str> = excerpts.iter().map(|excerpt| excerpt.text.as_str()).collect();
        Nearby::new(&self.tokenizer, ask.place.prefix, &suffix, &excerpts, ask.prompt)
    }

    /// By the search; a block goes on from its first line, the likeliest token each time.
    fn searched(
        &self,
        ask: &Ask<'_>,
        beam: usize,
        kv: &mut KvCache,
        drafter: &mut Drafter,
        answer: &mut Answer,
    ) -> Result<Items, PromptError> {
        let sampling = self.sampling(ask.place.extent, 0);
        let n = ask.n.clamp(1, MAX_ALTERNATIVES);
        let evidence = self.settings.evidence;
        let wishes = evidence.scope.then(|| Wishes::of(ask.request)).flatten();
        let nearby = evidence.ngrams.then(|| self.nearby(ask));
        let after = text_after(ask.request.document, ask.request.cursor);
        let cold = ask.prompt.ids.len() - kv.warm(&ask.prompt.ids);
        let witness = self.witness(ask, (cold, TOKENS_OF_A_LINE));
        let wanted = Wanted {
            lines: n,
            margin: if witness.is_some() { self.settings.suffix.margin } else { 0.0 },
            max_tokens: sampling.max_tokens.min(self.settings.line_tokens),
            stops: &sampling.stops,
            closers: &self.closers,
            after: &after,
            wishes: wishes.as_ref(),
            nearby: nearby.as_ref(),
            flight: ask.limits.flight,
        };
        let cancel = match ask.limits.deadline {
            Some(deadline) => ask.limits.cancel.clone().with_deadline(deadline),
            None => ask.limits.cancel.clone(),
        };
        let mut best: Option<Generated> = None;
        let mut refused = None;
        let mut judge = |line: &Line| {
            if let (false, Some(reason)) = (evidence.others, refused) {
                return Err(reason);
            }
            best.get_or_insert_with(|| Generated {
                text: line.text.clone(),
                confidence: line.confidence(),
            });
            let shown = rules(ask, &line.text, answer);
            refused = shown.as_ref().err().copied();
            shown
        };
        let searched = search(
            self.engine(ask, beam, kv, drafter),
            ask.prompt,
            &ask.place,
            &wanted,
            &cancel,
            &mut judge,
        )?;
        let Searched { mut lines, reason, is_restated, rivals, unfinished, generation, passes } =
            searched;
        answer.count(&generation, true);
        if generation.finish != Finish::Cancelled {
            let mut costs = lock(&self.costs);
            costs.note_prefill(
                generation.prefill.prefilled + generation.prefill.repaired,
                generation.times.prefill,
            );
            costs.note_tokens(passes, generation.times.decode);
        }
        // What was generated is a good guess for the next request here, whatever becomes of it.
        drafter.remember(&generation.ids);
        if lines.is_empty() && Self::is_cancelled(ask) {
            return Ok(Err(Reason::Cancelled));
        }

        if is_restated
            && ends_here(
                self.engine(ask, 1, kv, drafter),
                &(ask.unhealed)(),
                &self.closers,
                &cancel,
            )?
        {
            return Ok(Err(Reason::Empty));
        }

        // Signs cost a look over the file, an end another pass of the model: not where nobody reads
        // them.
        let are_signs_read = self.settings.calibration.is_some() || answer.explanation.is_some();
        let is_unweighed =
            self.settings.calibration.is_none() && ask.request.asked == Asked::Automatically;
        let mut ends_here = None;
        let is_end_asked = are_signs_read || is_unweighed;
        if is_end_asked
            && !lines.is_empty()
            && ask.place.extent == Extent::Line
            && may_be_finished(ask.request, &after)
        {
            // On a branch: what the cache holds of the answer is worth more than the end of a line.
            let mut branch = kv.fork();
            let end = end_probability(
                self.engine(ask, 1, &mut branch, drafter),
                &(ask.unhealed)(),
                &self.closers,
                &cancel,
            )?;
            // A calibration weighs it among other signs.
            if is_unweighed && end >= LIKELY_END {
                // What was dismissed was better than what is left.
                return Ok(Err(reason
                    .filter(|reason| *reason == Reason::DismissedBefore)
                    .unwrap_or(Reason::Empty)));
            }
            ends_here = Some(end);
        }
        let signs = |line: &Line, rivals: [Option<&Line>; 2]| {
            let (wishes, nearby, extent) = (wishes.as_ref(), nearby.as_ref(), ask.place.extent);
            are_signs_read.then(|| {
                Signs::of(
                    ask.request,
                    &signs::Found { line, rivals, extent, ends_here, wishes, nearby },
                )
            })
        };

        if let Some(witness) = &witness {
            let begun = Instant::now();
            self.weigh(witness, &mut lines, ask.limits.deadline, &cancel);
            answer.ms.suffix += ms(begun);
        }
        if let Some(explanation) = &mut answer.explanation {
            let considered = |line: &Line| Considered {
                text: line.shown.clone(),
                score: line.score,
                suffix: line.suffix.clone().unwrap_or_default(),
            };
            explanation.lines = lines.iter().map(considered).collect();
        }
        lines.truncate(n);

        let mut items: Vec<Item> = Vec::new();
        let mut silence = reason;
        for (i, line) in lines.iter().enumerate() {
            // The best other line: the next one of the first, the first of all others.
            let other = lines.get(usize::from(i == 0)).or(rivals[0].as_ref());
            let signs = signs(line, [other, rivals[1].as_ref()]);
            let line_item = (line.clone(), line.text.clone());
            let (line, text) = match ask.place.extent {
                Extent::Line => line_item,
                Extent::Block { .. } => {
                    self.with_rest(ask, line, kv, drafter, answer)?.unwrap_or(line_item)
                }
            };
            match self.accept_line(ask, &line, text, signs, answer) {
                Ok(item) if items.iter().all(|other| !is_beginning(&other.text, &item.text)) => {
                    items.push(item)
                }
                Ok(_) => {}
                Err(reason) => drop(silence.get_or_insert(reason)),
            }
        }
        // The clock has stopped it in the middle; a line that is merely too long is shown as far as
        // it goes.
        let is_late = cancel.is_cancelled();
        let wanted = if lines.is_empty() && reason.is_none() {
            n
        } else if is_late {
            0
        } else {
            n.saturating_sub(lines.len())
        };
        for mut line in unfinished.into_iter().take(wanted) {
            if is_late {
                line.text = whole_words(&line.text).to_owned();
            }
            let text = line.text.clone();
            let signs = signs(&line, rivals.each_ref().map(Option::as_ref));
            match self.accept_line(ask, &line, text, signs, answer) {
                Ok(item) if items.iter().all(|other| !is_beginning(&other.text, &item.text)) => {
                    items.push(item)
                }
                Ok(_) => {}
                Err(Reason::Empty) if is_late => drop(silence.get_or_insert(Reason::Deadline)),
                Err(reason) => drop(silence.get_or_insert(reason)),
            }
        }
        if let (Some(explanation), Some(best)) = (&mut answer.explanation, best) {
            explanation.generated.get_or_insert(best);
        }
        Ok(if items.is_empty() { Err(silence.unwrap_or(Reason::Empty)) } else { Ok(items) })
    }

    /// The line and what follows it in its block, as the rules let it pass; `None` where that is
    /// not more than the line.
    fn with_rest(
        &self,
        ask: &Ask<'_>,
        line: &Line,
        kv: &mut KvCache,
        drafter: &mut Drafter,
        answer: &mut Answer,
    ) -> Result<Option<(Line, String)>, PromptError> {
        let mut sampling = self.sampling(ask.place.extent, 0);
        sampling.max_tokens = sampling.max_tokens.saturating_sub(line.ids.len());
        if sampling.max_tokens == 0 || Self::is_cancelled(ask) {
            return Ok(None);
        }
        let engine = self.engine(ask, 1, kv, drafter);
        let decoded = decode(engine, ask.prompt, &line.ids, &ask.place, &sampling, &ask.limits)?;
        answer.count(&decoded.generation, false);
        self.learn(&decoded);
        drafter.remember(&decoded.generation.ids);
        if decoded.text.trim_end().len() <= line.text.len() {
            return Ok(None);
        }
        let mut whole = line.clone();
        whole.ids.extend(&decoded.generation.ids);
        whole.logprobs.extend(&decoded.generation.logprobs);
        whole.score += decoded.generation.logprobs.iter().sum::<f32>();
        whole.text = decoded.text;
        let shown = rules(ask, &whole.text, answer);
        Ok(shown.is_ok().then(|| (whole.clone(), whole.text)))
    }

    /// The greedy generation, and alternatives that are drawn.
    fn token_by_token(
        &self,
        ask: &Ask<'_>,
        kv: &mut KvCache,
        drafter: &mut Drafter,
        answer: &mut Answer,
    ) -> Result<Items, PromptError> {
        let mut items: Vec<Item> = Vec::new();
        let mut silence = Reason::Empty;
        for i in 0..ask.n.clamp(1, MAX_ALTERNATIVES) {
            let engine = self.engine(ask, 1, kv, drafter);
            let decoded = decode(
                engine,
                ask.prompt,
                &[],
                &ask.place,
                &self.sampling(ask.place.extent, i),
                &ask.limits,
            )?;
            answer.count(&decoded.generation, i == 0);
            self.learn(&decoded);
            drafter.remember(&decoded.generation.ids);
            if matches!(decoded.generation.finish, Finish::Cancelled) && !decoded.deadline_hit {
                if items.is_empty() {
                    return Ok(Err(Reason::Cancelled));
                }
                break;
            }
            match self.accept(ask, &decoded, answer) {
                Ok(item) if items.iter().all(|other| other.text != item.text) => items.push(item),
                Ok(_) => {}
                Err(reason) if i == 0 => silence = reason,
                Err(_) => {}
            }
        }
        Ok(if items.is_empty() { Err(silence) } else { Ok(items) })
    }

    fn learn(&self, decoded: &Decoded) {
        let generation = &decoded.generation;
        let mut costs = lock(&self.costs);
        if generation.finish != Finish::Cancelled {
            costs.note_prefill(
                generation.prefill.prefilled + generation.prefill.repaired,
                generation.times.prefill,
            );
            // The first token comes from the prefill's logits.
            costs.note_tokens(generation.ids.len().saturating_sub(1), generation.times.decode);
        }
    }

    /// The item that a found line becomes.
    fn accept_line(
        &self,
        ask: &Ask<'_>,
        line: &Line,
        text: String,
        signs: Option<Signs>,
        answer: &mut Answer,
    ) -> Result<Item, Reason> {
        // The rules have noted what they did when the line was judged.
        let shown = rules(ask, &text, &mut Answer::new(false))?;
        let mean = line.confidence();
        let probability = self
            .settings
            .calibration
            .as_ref()
            .zip(signs.as_ref())
            .map(|(weights, signs)| weights.probability(signs));
        if let Some(explanation) = &mut answer.explanation {
            explanation.generated.get_or_insert(Generated { text, confidence: mean });
            explanation.signs = explanation.signs.take().or(signs);
        }
        Ok(Item { text: shown, logprob: line.score, mean, probability })
    }

    /// The stop, trim and show rules on one generation.
    fn accept(
        &self,
        ask: &Ask<'_>,
        decoded: &Decoded,
        answer: &mut Answer,
    ) -> Result<Item, Reason> {
        let Decoded { text, generation, deadline_hit, .. } = decoded;
        let logprob: f32 = generation.logprobs.iter().sum();
        let mean = (logprob / generation.logprobs.len().max(1) as f32).exp();
        if self.settings.fixed_tokens.is_some() {
            return Ok(Item { text: text.clone(), logprob, mean, probability: None });
        }
        let shown = rules(ask, text, answer);
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
}

/// The text, unless the user has turned it down.
fn rules(ask: &Ask<'_>, text: &str, answer: &mut Answer) -> Result<String, Reason> {
    let text = shown(ask.request, text, answer)?;
    if ask.caller.refuses(&text) {
        answer.dropped("dismissed-before", &text);
        return Err(Reason::DismissedBefore);
    }
    Ok(text)
}
