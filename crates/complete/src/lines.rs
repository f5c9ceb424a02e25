//! Items by the search for the likeliest line: generate, choose and accept, a step each.
//!
//! Owns: what is asked of the model around the search, and in which order. Does not own: the search
//! (`search`), the witness right of the cursor (`suffix`), signs and their weights.

use std::time::Instant;

use lacuna_engine::{Cancel, PromptError};

use crate::answer::{Answer, ms};
use crate::core::Core;
use crate::decode::decode;
use crate::items::{Ask, Items, TOKENS_OF_A_LINE, Tools};
use crate::nearby::Nearby;
use crate::outcome::{Considered, Generated, Item, Reason};
use crate::request::{Asked, Request, is_beginning};
use crate::search::{
    Hints, LIKELY_END, Line, Searched, Wanted, end_probability, ends_here, search,
};
use crate::show::text_after;
use crate::signs::{Found, Signs};
use crate::stop::{AtEnd, Extent, whole_words};
use crate::surroundings::may_be_finished;
use crate::wishes::Wishes;

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

impl Core {
    /// By the search; a block goes on from its first line, the likeliest token each time.
    pub fn by_search(
        &self,
        ask: &Ask<'_>,
        beam: usize,
        tools: &mut Tools<'_>,
    ) -> Result<Items, PromptError> {
        let n = ask.n();
        let hints = self.hints(ask);
        let cold = ask.prompt.ids.len() - tools.kv.warm(&ask.prompt.ids);
        let witness = self.witness(ask, (cold, TOKENS_OF_A_LINE));
        let cancel = ask.limits.cancel();

        let margin = if witness.is_some() { self.settings.suffix.margin } else { 0.0 };
        let (mut searched, best) = self.found(ask, beam, margin, &hints, &cancel, tools)?;
        if searched.lines.is_empty() && ask.is_cancelled() {
            return Ok(Err(Reason::Cancelled));
        }
        let ends_here = match self.is_missing(ask, &searched, &hints, &cancel, tools)? {
            Ok(ends_here) => ends_here,
            Err(reason) => return Ok(Err(reason)),
        };

        if let Some(witness) = &witness {
            let begun = Instant::now();
            self.weigh(witness, &mut searched.lines, ask.limits.deadline, &cancel);
            tools.answer.ms.suffix += ms(begun);
        }
        if let Some(explanation) = &mut tools.answer.explanation {
            explanation.lines = searched.lines.iter().map(considered).collect();
        }
        searched.lines.truncate(n);

        let known = Known { ends_here, hints: &hints, rivals: &searched.rivals };
        let mut accepted = Accepted { items: Vec::new(), silence: searched.reason };
        self.accept_lines(ask, &searched.lines, &known, &mut accepted, tools)?;
        // The clock has stopped it in the middle; a line that is merely too long is shown as far as
        // it goes.
        let is_late = cancel.is_cancelled();
        let wanted = match searched.lines.len() {
            0 if searched.reason.is_none() => n,
            _ if is_late => 0,
            found => n - found,
        };
        let cut_off = searched.unfinished.iter().take(wanted);
        self.accept_cut_off(ask, cut_off, is_late, &known, &mut accepted, tools.answer);
        if let (Some(explanation), Some(best)) = (&mut tools.answer.explanation, best) {
            explanation.generated.get_or_insert(best);
        }
        let Accepted { items, silence } = accepted;
        Ok(if items.is_empty() { Err(silence.unwrap_or(Reason::Empty)) } else { Ok(items) })
    }

    /// What the text at hand says, as far as it is asked.
    pub fn hints(&self, ask: &Ask<'_>) -> Hints {
        let Request { document, cursor, excerpts, .. } = *ask.request;
        let nearby = || {
            let reach = cursor.saturating_add(Nearby::reach(&self.tokenizer));
            let excerpts: Vec<&str> = excerpts.iter().map(|e| e.text.as_str()).collect();
            let suffix = document.slice(cursor..reach);
            Nearby::new(&self.tokenizer, ask.place.prefix, &suffix, &excerpts, ask.prompt)
        };
        let evidence = self.settings.evidence;
        Hints {
            wishes: evidence.scope.then(|| Wishes::of(ask.request)).flatten(),
            nearby: evidence.ngrams.then(nearby),
            after: text_after(document, cursor).into_owned(),
        }
    }

    /// Lines that the rules let pass, and the first that they were asked about.
    fn found(
        &self,
        ask: &Ask<'_>,
        beam: usize,
        margin: f32,
        hints: &Hints,
        cancel: &Cancel,
        tools: &mut Tools<'_>,
    ) -> Result<(Searched, Option<Generated>), PromptError> {
        let sampling = self.sampling(ask.place.extent, 0);
        let wanted = Wanted {
            lines: ask.n(),
            margin,
            max_tokens: sampling.max_tokens.min(self.settings.line_tokens),
            stops: &sampling.stops,
            closers: &self.closers,
            others: self.settings.evidence.others,
            hints,
            flight: ask.limits.flight,
        };
        let mut best: Option<Generated> = None;
        let Tools { kv, drafter, answer } = tools;
        let mut judge = |line: &Line| {
            best.get_or_insert_with(|| Generated {
                text: line.text.clone(),
                confidence: line.confidence(),
            });
            ask.rules(&line.text, answer)
        };
        let engine = self.engine(kv, drafter, beam, ask.prefill);
        let searched = search(engine, ask.prompt, &ask.place, &wanted, cancel, &mut judge)?;
        self.learn_of_passes(&searched.generation, searched.passes, true, tools);
        Ok((searched, best))
    }

    /// Whether something is missing at the cursor, as far as the model is asked: how likely it is
    /// that nothing is, or why nothing is shown.
    fn is_missing(
        &self,
        ask: &Ask<'_>,
        searched: &Searched,
        hints: &Hints,
        cancel: &Cancel,
        tools: &mut Tools<'_>,
    ) -> Result<Result<Option<f32>, Reason>, PromptError> {
        if self.is_restated(ask, searched, &self.closers, cancel, tools)? {
            return Ok(Err(Reason::Empty));
        }
        // An end costs another pass of the model: not where nobody reads it.
        let is_unweighed =
            self.settings.calibration.is_none() && ask.request.asked == Asked::Automatically;
        if !(is_unweighed || self.are_signs_read(tools.answer))
            || searched.lines.is_empty()
            || ask.place.extent != Extent::Line
            || !may_be_finished(ask.request, &hints.after)
        {
            return Ok(Ok(None));
        }
        // On a branch: what the cache holds of the answer is worth more than the end of a line.
        let mut branch = tools.kv.fork();
        let engine = self.engine(&mut branch, tools.drafter, 1, ask.prefill);
        let end = end_probability(engine, &(ask.unhealed)(), &self.closers, cancel)?;
        // A calibration weighs it among other signs.
        if is_unweighed && end >= LIKELY_END {
            // What was dismissed was better than what is left.
            let dismissed = searched.reason.filter(|reason| *reason == Reason::DismissedBefore);
            return Ok(Err(dismissed.unwrap_or(Reason::Empty)));
        }
        Ok(Ok(Some(end)))
    }

    /// Whether the best line restates the word at the cursor, and the word is whole.
    pub fn is_restated(
        &self,
        ask: &Ask<'_>,
        searched: &Searched,
        closers: &[u32],
        cancel: &Cancel,
        tools: &mut Tools<'_>,
    ) -> Result<bool, PromptError> {
        Ok(searched.is_restated
            && ends_here(self.engine_of(ask, 1, tools), &(ask.unhealed)(), closers, cancel)?)
    }

    /// Signs cost a look over the file.
    fn are_signs_read(&self, answer: &Answer) -> bool {
        self.settings.calibration.is_some() || answer.explanation.is_some()
    }

    fn accept_lines(
        &self,
        ask: &Ask<'_>,
        lines: &[Line],
        known: &Known<'_>,
        accepted: &mut Accepted,
        tools: &mut Tools<'_>,
    ) -> Result<(), PromptError> {
        for (i, line) in lines.iter().enumerate() {
            // The best other line: the next one of the first, the first of all others.
            let other = lines.get(usize::from(i == 0)).or(known.rivals[0].as_ref());
            let whole = match ask.place.extent {
                Extent::Line => None,
                Extent::Block { .. } => self.with_rest(ask, line, tools)?,
            };
            let signs = || known.signs(ask, line, other);
            let shown = whole.as_ref().unwrap_or(line);
            accepted.add(self.accept_line(ask, shown, signs, tools.answer));
        }
        Ok(())
    }

    /// What had not ended when the search was cut off, by its length or by the clock.
    fn accept_cut_off<'a>(
        &self,
        ask: &Ask<'_>,
        lines: impl Iterator<Item = &'a Line>,
        is_late: bool,
        known: &Known<'_>,
        accepted: &mut Accepted,
        answer: &mut Answer,
    ) {
        for line in lines {
            let mut line = line.clone();
            if is_late {
                line.text = whole_words(&line.text).to_owned();
            }
            let signs = || known.signs(ask, &line, known.rivals[0].as_ref());
            accepted.add(self.accept_line(ask, &line, signs, answer).map_err(
                |reason| match reason {
                    Reason::Empty if is_late => Reason::Deadline,
                    reason => reason,
                },
            ));
        }
    }

    /// The item that a line becomes.
    fn accept_line(
        &self,
        ask: &Ask<'_>,
        line: &Line,
        signs: impl FnOnce() -> Signs,
        answer: &mut Answer,
    ) -> Result<Item, Reason> {
        // The rules have noted what they did when the line was judged.
        let text = ask.rules(&line.text, &mut Answer::new(false))?;
        let signs = self.are_signs_read(answer).then(signs);
        let mean = line.confidence();
        let calibration = self.settings.calibration.as_ref();
        let probability =
            calibration.zip(signs.as_ref()).map(|(weights, signs)| weights.probability(signs));
        if let Some(explanation) = &mut answer.explanation {
            let generated = Generated { text: line.text.clone(), confidence: mean };
            explanation.generated.get_or_insert(generated);
            explanation.signs = explanation.signs.take().or(signs);
        }
        Ok(Item { text, logprob: line.score, mean, probability })
    }

    /// The line and what follows it in its block, as the rules let it pass; `None` where that is
    /// not more than the line.
    fn with_rest(
        &self,
        ask: &Ask<'_>,
        line: &Line,
        tools: &mut Tools<'_>,
    ) -> Result<Option<Line>, PromptError> {
        let mut sampling = self.sampling(ask.place.extent, 0);
        sampling.max_tokens = sampling.max_tokens.saturating_sub(line.ids.len());
        if sampling.max_tokens == 0 || ask.is_cancelled() {
            return Ok(None);
        }
        let (engine, rule) = (self.engine_of(ask, 1, tools), &mut AtEnd::of(&ask.place));
        let decoded = decode(engine, ask.prompt, &line.ids, &sampling, rule, &ask.limits)?;
        self.learn(&decoded.generation, false, tools);
        if decoded.text.trim_end().len() <= line.text.len() {
            return Ok(None);
        }
        let mut whole = Line { text: decoded.text, ..line.clone() };
        whole.ids.extend(&decoded.generation.ids);
        whole.logprobs.extend(&decoded.generation.logprobs);
        whole.score += decoded.generation.logprobs.iter().sum::<f32>();
        Ok(ask.rules(&whole.text, tools.answer).is_ok().then_some(whole))
    }
}

/// What is known of lines when they are accepted.
struct Known<'a> {
    /// See [`Signs::ends_here`].
    ends_here: Option<f32>,
    hints: &'a Hints,
    /// See [`Searched::rivals`].
    rivals: &'a [Option<Line>; 2],
}

impl Known<'_> {
    /// The signs of a line; `other`: the best other one that had ended.
    fn signs(&self, ask: &Ask<'_>, line: &Line, other: Option<&Line>) -> Signs {
        let found = Found {
            line,
            rivals: [other, self.rivals[1].as_ref()],
            extent: ask.place.extent,
            ends_here: self.ends_here,
            wishes: self.hints.wishes.as_ref(),
            nearby: self.hints.nearby.as_ref(),
        };
        Signs::of(ask.request, &found)
    }
}

fn considered(line: &Line) -> Considered {
    Considered {
        text: line.shown.clone(),
        score: line.score,
        suffix: line.suffix.clone().unwrap_or_default(),
    }
}
