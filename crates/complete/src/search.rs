//! The search for a line: the likeliest lines as wholes, and among them the best that the rules let
//! pass.
//!
//! Owns: what a line is to the engine's beam search ([`lacuna_engine::likeliest`]), in which order
//! lines are judged and what their judgements mean for the search. Does not own: the judgement
//! itself (`show`), what follows the first line of a block (`lines`).

use lacuna_engine::{
    Beam, Cancel, Continuation, Generation, PromptError, Rules, Sampling, Start, Verdict,
    likeliest, prefill_with,
};
use lacuna_prompt::{Prompt, Tokenizer};

use crate::decode::{Engine, Heal};
use crate::request::is_beginning;
use crate::stop::{Extent, Place, valid_utf8};
use crate::trim::says_the_rest;
use crate::wishes::Wishes;
use crate::{Flight, Nearby, Reason};

/// Without a calibration nothing is shown unasked at the end of a line that parses as it stands
/// where an end has this probability.
pub(crate) const LIKELY_END: f32 = 0.25;
/// A start that the file asks for gets this part of the hypotheses.
const WIDTH_OF_A_START: usize = 4;

/// A line that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    /// What follows the cursor, cut where the line ends.
    pub text: String,
    pub ids: Vec<u32>,
    /// One for each id.
    pub logprobs: Vec<f32>,
    /// Log-probability of the whole line, its end included, less what the file asks for and the
    /// line does not give.
    pub score: f32,
    /// What is shown of it; of one that was not judged, nothing.
    pub shown: String,
    /// Log-probabilities of the tokens right of the cursor behind it (`suffix`), where they were
    /// asked.
    pub suffix: Option<Vec<f32>>,
    /// See [`lacuna_engine::Continuation`].
    pub end: f32,
    /// Lines that were judged before it.
    pub rank: usize,
}

impl Line {
    /// Log-probability of what follows it, as far as it counts.
    pub fn suffix_sum(&self) -> Option<f32> {
        self.suffix.as_ref().map(|tokens| tokens.iter().sum())
    }

    /// Geometric mean of the probabilities of its tokens.
    pub fn confidence(&self) -> f32 {
        likelihood(&self.logprobs).1
    }
}

/// The sum of log-probabilities, and the geometric mean of the probabilities.
pub(crate) fn likelihood(logprobs: &[f32]) -> (f32, f32) {
    let sum: f32 = logprobs.iter().sum();
    (sum, (sum / logprobs.len().max(1) as f32).exp())
}

/// What is searched for.
pub(crate) struct Wanted<'a> {
    /// Lines that are wanted.
    pub lines: usize,
    /// See [`lacuna_engine::Beam::margin`].
    pub margin: f32,
    pub max_tokens: usize,
    /// See [`lacuna_engine::Beam::stops`].
    pub stops: &'a [u32],
    /// Ids whose bytes begin with a line break, and `stops`; in ascending order.
    pub closers: &'a [u32],
    /// Whether the next likely one is wanted where the rules refuse the best.
    pub others: bool,
    pub hints: &'a Hints,
    pub flight: Option<&'a Flight>,
}

/// What speaks for a line beside the model.
pub(crate) struct Hints {
    /// What the file asks of the line.
    pub wishes: Option<Wishes>,
    /// What the text at hand says.
    pub nearby: Option<Nearby>,
    /// What stands right of and below the cursor.
    pub after: String,
}

/// Whether the likeliest line is looked for, or the likeliest token each time.
pub(crate) fn is_search(beam: usize, sampling: &Sampling) -> bool {
    beam > 1 && sampling.temperature <= 0.0
}

/// What the search came to.
pub(crate) struct Searched {
    /// Lines that the rules let pass, in the order of their scores.
    pub lines: Vec<Line>,
    /// Why the best one is not among them.
    pub reason: Option<Reason>,
    /// The best one restates the word at the cursor and says no more; whether nothing is missing is
    /// [`ends_here`]'s to say.
    pub is_restated: bool,
    /// The best beside them: see [`lacuna_engine::Found`].
    pub rivals: [Option<Line>; 2],
    /// What had not ended when the search was cut off, the likeliest first.
    pub unfinished: Vec<Line>,
    /// The first of `lines`, or else the best one, or else what had been written when the search
    /// was cut off.
    pub generation: Generation,
    /// Passes of the model.
    pub passes: usize,
}

/// Finds lines. `shown` is what an editor would show of a text, or why nothing; it is asked about
/// the best ones in order.
pub(crate) fn search(
    engine: Engine<'_>,
    prompt: &Prompt,
    place: &Place<'_>,
    wanted: &Wanted<'_>,
    cancel: &Cancel,
    shown: &mut dyn FnMut(&Line) -> Result<String, Reason>,
) -> Result<Searched, PromptError> {
    let Engine { model, kv, beam, prefill, tokenizer, .. } = engine;
    let healed = prompt.healing.rolled_back().len();
    let first_line = Place { extent: Extent::Line, ..*place };
    let mut rules = Judge {
        place: &first_line,
        tokenizer,
        healed,
        is_begun: !place.prefix.rsplit('\n').next().unwrap_or("").trim().is_empty(),
        hints: wanted.hints,
        others: wanted.others,
        shown,
        is_restated: false,
        accepted: Vec::new(),
        n_judged: 0,
        reason: None,
    };
    let mut starts = vec![Start { constraint: Heal::new(prompt, tokenizer), width: beam }];
    let wishes = wanted.hints.wishes.as_ref();
    for start in wishes.map(Wishes::starts).unwrap_or_default() {
        starts.push(Start {
            constraint: Heal::starting(prompt, tokenizer, &start),
            width: beam.div_ceil(WIDTH_OF_A_START),
        });
    }
    let beam = Beam {
        starts,
        keep: beam.max(wanted.lines),
        wanted: wanted.lines,
        margin: wanted.margin,
        max_tokens: wanted.max_tokens,
        stops: wanted.stops,
        closers: wanted.closers,
        texts: wanted.hints.nearby.as_ref().map(Nearby::texts),
        prefill,
    };
    let found = likeliest(model, kv, &prompt.ids, beam, &mut rules, cancel, &mut |ids| {
        if let Some(flight) = wanted.flight {
            flight.note(valid_utf8(tokenizer.decode(ids).get(healed..).unwrap_or(&[])));
        }
    })?;
    let accepted = found.accepted.iter().zip(&rules.accepted);
    let accepted = accepted.map(|(continuation, (shown, rank))| Line {
        shown: shown.clone(),
        rank: *rank,
        ..rules.line(continuation)
    });
    let lines: Vec<Line> = accepted.collect();
    let rivals = found
        .rivals
        .each_ref()
        .map(|rival| rival.as_ref().map(|continuation| rules.line(continuation)));
    let unfinished: Vec<Line> =
        found.unfinished.iter().map(|continuation| rules.line(continuation)).collect();
    let (reason, is_restated) = (rules.reason, rules.is_restated);
    let chosen = found.accepted.into_iter().next();
    let Continuation { ids, logprobs, finish, .. } = chosen.unwrap_or(found.best);
    let generation = Generation {
        ids,
        logprobs,
        prefill: found.prefill,
        drafts: Default::default(),
        finish,
        times: found.times,
    };
    Ok(Searched {
        lines,
        reason,
        is_restated,
        rivals,
        unfinished,
        generation,
        passes: found.passes,
    })
}

/// Ids that begin with a line break, and `stops`: what ends a line that says something. In
/// ascending order.
pub(crate) fn closers(tokenizer: &Tokenizer, stops: &[u32]) -> Vec<u32> {
    let breaks = |id: &u32| {
        tokenizer.token_bytes(*id).first().is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    };
    let n_vocab = u32::try_from(tokenizer.n_vocab()).unwrap_or(u32::MAX);
    let mut closers: Vec<u32> = (0..n_vocab).filter(breaks).chain(stops.iter().copied()).collect();
    closers.sort_unstable();
    closers.dedup();
    closers
}

/// Whether nothing is missing at the cursor: an end is what most likely comes next there.
/// `unhealed` is the prompt with the word at the cursor as it stands: one that the model restates
/// itself it mostly takes for whole. Cut off, the answer is yes.
///
/// Errors: as [`lacuna_engine::prefill`].
pub(crate) fn ends_here(
    engine: Engine<'_>,
    unhealed: &Prompt,
    closers: &[u32],
    cancel: &Cancel,
) -> Result<bool, PromptError> {
    let Some(logits) = logits_behind(engine, unhealed, cancel)? else { return Ok(true) };
    let likeliest = (0u32..).zip(logits).max_by(|(_, a), (_, b)| a.total_cmp(b));
    Ok(likeliest.is_none_or(|(id, _)| closers.binary_search(&id).is_ok()))
}

/// How likely it is that nothing comes next at the cursor; `unhealed` as for [`ends_here`]. Cut
/// off, the answer is 1.
///
/// Errors: as [`lacuna_engine::prefill`].
pub(crate) fn end_probability(
    engine: Engine<'_>,
    unhealed: &Prompt,
    closers: &[u32],
    cancel: &Cancel,
) -> Result<f32, PromptError> {
    let Some(logits) = logits_behind(engine, unhealed, cancel)? else { return Ok(1.0) };
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| (logit - most).exp();
    let ends: f32 = closers.iter().filter_map(|id| logits.get(*id as usize)).map(weight).sum();
    Ok(ends / logits.iter().map(weight).sum::<f32>())
}

/// The logits behind a prompt; `None` where the client or the clock was faster.
fn logits_behind<'a>(
    engine: Engine<'a>,
    prompt: &Prompt,
    cancel: &Cancel,
) -> Result<Option<&'a [f32]>, PromptError> {
    match prefill_with(engine.model, engine.kv, &prompt.ids, &engine.prefill, cancel) {
        Ok(_) => Ok(Some(engine.kv.logits())),
        Err(PromptError::Cancelled) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the search is told about lines.
struct Judge<'a> {
    place: &'a Place<'a>,
    tokenizer: &'a Tokenizer,
    /// Bytes at the start that restate what stands before the cursor.
    healed: usize,
    /// The cursor's line has something before the cursor.
    is_begun: bool,
    hints: &'a Hints,
    /// See [`Wanted::others`].
    others: bool,
    shown: &'a mut dyn FnMut(&Line) -> Result<String, Reason>,
    /// See [`Searched::is_restated`].
    is_restated: bool,
    /// What would be shown of each accepted line, and how many were judged before it.
    accepted: Vec<(String, usize)>,
    /// How many were judged in all.
    n_judged: usize,
    /// Why the best line is not shown.
    reason: Option<Reason>,
}

impl Judge<'_> {
    fn bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut bytes = self.tokenizer.decode(ids);
        bytes.drain(..self.healed.min(bytes.len()));
        bytes
    }

    fn line(&self, continuation: &Continuation) -> Line {
        let bytes = self.bytes(&continuation.ids);
        let raw = valid_utf8(&bytes);
        let Continuation { ids, logprobs, score, end: ending, .. } = continuation;
        Line {
            text: raw[..self.place.end(raw).len].to_owned(),
            ids: ids.clone(),
            logprobs: logprobs.clone(),
            score: *score,
            end: *ending,
            rank: self.n_judged,
            ..Line::default()
        }
    }
}

impl Rules for Judge<'_> {
    /// The same rule as token by token: a line ends in a token with a newline, or with the one
    /// after it.
    fn ends(&self, ids: &[u32]) -> bool {
        let look =
            ids.iter().rev().take(2).any(|id| self.tokenizer.token_bytes(*id).contains(&b'\n'));
        look && {
            let bytes = self.bytes(ids);
            !bytes.is_empty() && self.place.end(valid_utf8(&bytes)).reached
        }
    }

    fn closes(&self, ids: &[u32]) -> bool {
        let bytes = self.bytes(ids);
        let text = valid_utf8(&bytes);
        !text.trim().is_empty() || self.place.end(&format!("{text}\n")).reached
    }

    fn is_new(&self, ids: &[u32]) -> bool {
        !valid_utf8(&self.bytes(ids)).trim().is_empty()
    }

    fn bonus(&self, ids: &[u32]) -> f32 {
        let bonus = |wishes: &Wishes| wishes.bonus(valid_utf8(&self.bytes(ids)));
        self.hints.wishes.as_ref().map_or(0.0, bonus)
    }

    fn judge(&mut self, continuation: &Continuation) -> Verdict {
        let line = self.line(continuation);
        self.n_judged += 1;
        // Nothing is missing on a line that has something; a line that has nothing is still to be
        // written.
        if line.text.trim().is_empty() && self.is_begun {
            if self.healed == 0 {
                self.reason.get_or_insert(Reason::Empty);
                return Verdict::Over;
            }
            self.is_restated |= self.accepted.is_empty() && self.reason.is_none();
            return Verdict::Refuse;
        }
        // As good as an end: what stands there is likelier than anything that is refused before it.
        if says_the_rest(self.place.language, &line.text, &self.hints.after) {
            self.reason.get_or_insert(Reason::RepeatsSuffix);
            return Verdict::Over;
        }
        if !self.others && self.reason.is_some() {
            return Verdict::Refuse;
        }
        match (self.shown)(&line) {
            // One that another begins with says less or no more.
            Ok(text) if self.accepted.iter().any(|(other, _)| is_beginning(other, &text)) => {
                Verdict::Refuse
            }
            Ok(text) => {
                self.accepted.push((text, line.rank));
                Verdict::Accept
            }
            Err(reason) => {
                self.reason.get_or_insert(reason);
                // A mark that ends the line and need not be there is its end.
                if reason == Reason::Empty && self.is_begun {
                    Verdict::Over
                } else {
                    Verdict::Refuse
                }
            }
        }
    }
}
