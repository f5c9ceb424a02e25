//! Items by the search for the likeliest line: generate, choose and accept, a step each.
//!
//! Owns: what is asked of the model around the search, and in which order. Does not own: the search
//! (`search`), the witness right of the cursor (`suffix`), signs and their weights.

use std::time::Instant;

use lacuna_engine::{Cancel, PromptError};

use crate::answer::{Answer, ms};
use crate::core::Core;
use crate::items::{Ask, Items, TOKENS_OF_A_LINE, Tools, refused};
use crate::request::is_beginning;
use crate::search::{
    Hints, LIKELY_END, Line, Searched, Wanted, end_probability, ends_here, search,
};
use crate::show::text_after;
use crate::signs::{Found, Signs};
use crate::stop::{AtEnd, Extent, whole_words};
use crate::surroundings::may_be_finished;
use crate::wishes::Wishes;
use crate::{Asked, Considered, Generated, Item, Nearby, Reason, Request};

/// A search on its way.
pub(crate) struct Search<'a, 't> {
    pub core: &'a Core,
    pub ask: &'a Ask<'a>,
    pub hints: &'a Hints,
    /// Raised by the client, or by the clock.
    pub cancel: &'a Cancel,
    pub tools: &'a mut Tools<'t>,
}

impl Core {
    /// By the search; a block goes on from its first line, the likeliest token each time.
    pub fn by_search(&self, ask: &Ask<'_>, beam: usize, tools: &mut Tools<'_>) -> Items {
        let cold = ask.how.prompt.ids.len() - tools.kv.warm(&ask.how.prompt.ids);
        let witness = self.witness(ask, (cold, TOKENS_OF_A_LINE));
        let (hints, cancel) = (&self.hints(ask), &ask.how.limits.cancel());
        let mut search = Search { core: self, ask, hints, cancel, tools };

        let margin = if witness.is_some() { self.settings.suffix.margin } else { 0.0 };
        let (mut searched, best) = search.found(beam, margin).map_err(refused)?;
        if searched.lines.is_empty() && ask.is_cancelled() {
            return Err(Reason::Cancelled);
        }
        let ends_here = search.end_here(&searched)?;
        if let Some(witness) = &witness {
            let begun = Instant::now();
            self.weigh(witness, &mut searched.lines, ask.how.limits.deadline, cancel);
            search.tools.answer.ms.suffix += ms(begun);
        }
        if let Some(explanation) = &mut search.tools.answer.explanation {
            explanation.lines = searched.lines.iter().map(considered).collect();
        }
        searched.lines.truncate(ask.n());
        let items = search.accept(&searched, ends_here);
        if let (Some(explanation), Some(best)) = (&mut search.tools.answer.explanation, best) {
            explanation.generated.get_or_insert(best);
        }
        items
    }

    /// What the text at hand says, as far as it is asked.
    pub fn hints(&self, ask: &Ask<'_>) -> Hints {
        let Request { document, cursor, excerpts, .. } = *ask.request;
        let nearby = || {
            let reach = cursor.saturating_add(Nearby::reach(&self.tokenizer));
            let excerpts: Vec<&str> = excerpts.iter().map(|e| e.text.as_str()).collect();
            let suffix = document.slice(cursor..reach);
            Nearby::new(&self.tokenizer, ask.place.prefix, &suffix, &excerpts, ask.how.prompt)
        };
        let evidence = self.settings.evidence;
        Hints {
            wishes: evidence.scope.then(|| Wishes::of(ask.request)).flatten(),
            nearby: evidence.ngrams.then(nearby),
            after: text_after(document, cursor).into_owned(),
        }
    }
}

impl Search<'_, '_> {
    /// Lines that the rules let pass, and the first that they were asked about.
    pub fn found(
        &mut self,
        beam: usize,
        margin: f32,
    ) -> Result<(Searched, Option<Generated>), PromptError> {
        let Search { core, ask, hints, cancel, .. } = *self;
        let wanted = Wanted {
            lines: ask.n(),
            margin,
            max_tokens: ask.line_tokens,
            stops: &ask.sampling.stops,
            closers: &ask.closers,
            others: core.settings.evidence.others,
            hints,
            flight: ask.how.limits.flight,
        };
        let mut best: Option<Generated> = None;
        let Tools { kv, drafter, answer } = &mut *self.tools;
        let mut judge = |line: &Line| {
            best.get_or_insert_with(|| Generated {
                text: line.text.clone(),
                confidence: line.confidence(),
            });
            ask.rules(&line.text, answer)
        };
        let engine = core.engine(kv, drafter, beam, ask.how.prefill);
        let searched = search(engine, ask.how.prompt, &ask.place, &wanted, cancel, &mut judge)?;
        core.learn(&searched.generation, searched.passes, self.tools);
        Ok((searched, best))
    }

    /// Whether the best line restates the word at the cursor, which is whole.
    pub fn is_whole(&mut self, searched: &Searched) -> Result<bool, PromptError> {
        let Search { core, ask, cancel, .. } = *self;
        let engine = core.engine(self.tools.kv, self.tools.drafter, 1, ask.how.prefill);
        Ok(searched.is_restated && ends_here(engine, &(ask.unhealed)(), &ask.closers, cancel)?)
    }

    /// How likely it is that nothing is missing at the cursor, where that is asked; an error where
    /// nothing is.
    fn end_here(&mut self, searched: &Searched) -> Result<Option<f32>, Reason> {
        if self.is_whole(searched).map_err(refused)? {
            return Err(Reason::Empty);
        }
        let Search { core, ask, hints, cancel, .. } = *self;
        // An end costs another pass of the model: not where nobody reads it.
        let is_unweighed =
            core.settings.calibration.is_none() && ask.request.asked == Asked::Automatically;
        if !(is_unweighed || self.are_signs_read())
            || searched.lines.is_empty()
            || ask.place.extent != Extent::Line
            || !may_be_finished(ask.request, &hints.after)
        {
            return Ok(None);
        }
        // On a branch: what the cache holds of the answer is worth more than the end of a line.
        let mut branch = self.tools.kv.fork();
        let engine = core.engine(&mut branch, self.tools.drafter, 1, ask.how.prefill);
        let end = end_probability(engine, &(ask.unhealed)(), &ask.closers, cancel);
        let end = end.map_err(refused)?;
        // A calibration weighs it among other signs.
        if is_unweighed && end >= LIKELY_END {
            // What was dismissed was better than what is left.
            let dismissed = searched.reason.filter(|reason| *reason == Reason::DismissedBefore);
            return Err(dismissed.unwrap_or(Reason::Empty));
        }
        Ok(Some(end))
    }

    /// Signs cost a look over the file.
    fn are_signs_read(&self) -> bool {
        self.core.settings.calibration.is_some() || self.tools.answer.explanation.is_some()
    }

    /// The lines, then, as far as more are wanted, what had not ended when the search was cut off.
    fn accept(&mut self, searched: &Searched, ends_here: Option<f32>) -> Items {
        let Searched { lines, rivals: [ended, followed], unfinished, .. } = searched;
        let mut accepted = Accepted { items: Vec::new(), silence: searched.reason };
        for (i, line) in lines.iter().enumerate() {
            // The best other line: the next one of the first, the first of all others.
            let other = lines.get(usize::from(i == 0)).or(ended.as_ref());
            let whole = match self.ask.place.extent {
                Extent::Line => None,
                Extent::Block { .. } => self.with_rest(line)?,
            };
            let signs = self.signs(line, [other, followed.as_ref()], ends_here);
            accepted.add(self.accept_line(whole.as_ref().unwrap_or(line), signs));
        }
        // The clock has stopped it in the middle; a line that is merely too long is shown as far as
        // it goes.
        let is_late = self.cancel.is_cancelled();
        let wanted = match lines.len() {
            0 if searched.reason.is_none() => self.ask.n(),
            _ if is_late => 0,
            found => self.ask.n() - found,
        };
        for line in unfinished.iter().take(wanted) {
            let text = if is_late { whole_words(&line.text) } else { &line.text };
            let line = Line { text: text.to_owned(), ..line.clone() };
            let signs = self.signs(&line, [ended.as_ref(), followed.as_ref()], ends_here);
            accepted.add(self.accept_line(&line, signs).map_err(|reason| match reason {
                Reason::Empty if is_late => Reason::Deadline,
                reason => reason,
            }));
        }
        let Accepted { items, silence } = accepted;
        if items.is_empty() { Err(silence.unwrap_or(Reason::Empty)) } else { Ok(items) }
    }

    /// The item that a line becomes.
    fn accept_line(&mut self, line: &Line, signs: Option<Signs>) -> Result<Item, Reason> {
        // The rules have noted what they did when the line was judged.
        let text = self.ask.rules(&line.text, &mut Answer::new(false))?;
        let mean = line.confidence();
        let calibration = self.core.settings.calibration.as_ref();
        let probability =
            calibration.zip(signs.as_ref()).map(|(weights, signs)| weights.probability(signs));
        if let Some(explanation) = &mut self.tools.answer.explanation {
            let generated = Generated { text: line.text.clone(), confidence: mean };
            explanation.generated.get_or_insert(generated);
            explanation.signs = explanation.signs.take().or(signs);
        }
        Ok(Item { text, logprob: line.score, mean, probability })
    }

    /// The line and what follows it in its block, as the rules let it pass; `None` where that is
    /// not more than the line.
    fn with_rest(&mut self, line: &Line) -> Result<Option<Line>, Reason> {
        let Search { core, ask, .. } = *self;
        let mut sampling = ask.sampling.clone();
        sampling.max_tokens = sampling.max_tokens.saturating_sub(line.ids.len());
        if sampling.max_tokens == 0 || ask.is_cancelled() {
            return Ok(None);
        }
        let rule = &mut AtEnd::of(&ask.place);
        let decoded =
            core.write(&ask.how, &line.ids, &sampling, rule, self.tools).map_err(refused)?;
        if decoded.text.trim_end().len() <= line.text.len() {
            return Ok(None);
        }
        let mut whole = Line { text: decoded.text, ..line.clone() };
        whole.ids.extend(&decoded.generation.ids);
        whole.logprobs.extend(&decoded.generation.logprobs);
        whole.score += decoded.generation.logprobs.iter().sum::<f32>();
        Ok(ask.rules(&whole.text, self.tools.answer).is_ok().then_some(whole))
    }

    /// `rivals`: the best other lines, one that had ended and one that was still followed.
    fn signs(
        &self,
        line: &Line,
        rivals: [Option<&Line>; 2],
        ends_here: Option<f32>,
    ) -> Option<Signs> {
        let (wishes, nearby) = (self.hints.wishes.as_ref(), self.hints.nearby.as_ref());
        let extent = self.ask.place.extent;
        self.are_signs_read().then(|| {
            let found = Found { line, rivals, extent, ends_here, wishes, nearby };
            Signs::of(self.ask.request, &found)
        })
    }
}

/// Items as they are accepted: none is the beginning of another.
struct Accepted {
    items: Vec<Item>,
    /// Why the best is not among them.
    silence: Option<Reason>,
}

impl Accepted {
    fn add(&mut self, item: Result<Item, Reason>) {
        match item {
            Ok(item) if self.items.iter().all(|other| !is_beginning(&other.text, &item.text)) => {
                self.items.push(item)
            }
            Ok(_) => {}
            Err(reason) => drop(self.silence.get_or_insert(reason)),
        }
    }
}

fn considered(line: &Line) -> Considered {
    Considered {
        text: line.shown.clone(),
        score: line.score,
        suffix: line.suffix.clone().unwrap_or_default(),
    }
}
