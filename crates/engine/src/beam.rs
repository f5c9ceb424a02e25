//! Beam search: the likeliest continuations as wholes, instead of the token that is likeliest each
//! time.
//!
//! A small model is often torn between several first tokens, and the likeliest one need not begin
//! the likeliest line. Hypotheses are evaluated in one pass a token; they share the blocks of the
//! prompt and own what they have written. What has ended is kept, and handed to the caller's
//! [`Rules`] in order as soon as nothing can overtake it: a refused one makes room for the next,
//! and the search goes no further than it must. Start at [`likeliest`].

use std::time::Instant;

use crate::cancel::Cancel;
use crate::device;
use crate::error::PromptError;
use crate::generate::{Constraint, Finish, Times};
use crate::kv::KvCache;
use crate::model::Model;
use crate::ngrams::{Mixture, Ngrams, Weights};
use crate::prefill::{PrefillOptions, PrefillStats, prefill_in};
use crate::prepack;
use crate::sample;
use crate::sequence::Sequence;
use crate::workspace::{self, Workspace};

/// What the caller knows about continuations. Ids are those after the prompt.
pub trait Rules {
    /// Whether a continuation is complete with its last id.
    fn ends(&self, ids: &[u32]) -> bool;

    /// Whether [`Beam::closers`] end this one, all with the same result: their probabilities count
    /// together.
    fn closes(&self, _ids: &[u32]) -> bool {
        false
    }

    /// Whether it says anything. The end of one that does not counts only where the likeliest id
    /// each time leads to it: an unlikely beginning of a word is mostly its end, but says nothing
    /// about whether the word ends.
    fn is_new(&self, _ids: &[u32]) -> bool {
        true
    }

    /// Nats that are added to the log-probability of one that has ended.
    fn bonus(&self, _ids: &[u32]) -> f32 {
        0.0
    }

    /// The most that [`Rules::bonus`] ever gives.
    fn most(&self) -> f32 {
        0.0
    }

    /// What becomes of one that has ended. They come in the order of their scores, the best first,
    /// each once.
    fn judge(&mut self, _continuation: &Continuation) -> Verdict {
        Verdict::Accept
    }
}

/// What becomes of a continuation that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// The next one is asked for.
    Refuse,
    /// As good an answer as the accepted ones, but nothing to hand out: the search is over.
    Over,
}

/// Hypotheses of their own: they compete among themselves for their places, not with those of other
/// starts.
pub struct Start<C> {
    /// A rule over the first tokens; each hypothesis has its own. What it does not allow costs
    /// nothing: probabilities are the model's.
    pub constraint: C,
    /// Hypotheses that are followed at a time; 1 is greedy generation.
    pub width: usize,
}

/// How the search goes.
pub struct Beam<'a, C> {
    pub starts: Vec<Start<C>>,
    /// Continuations that have ended and are remembered; what is less likely than so many of them
    /// is dropped.
    pub keep: usize,
    /// Accepted continuations that are wanted, at most `keep`.
    pub wanted: usize,
    /// Nats: when there are as many as wanted, those that come so close to the best are looked for
    /// too.
    pub margin: f32,
    /// Tokens of a continuation at most.
    pub max_tokens: usize,
    /// Ids that end a continuation (they count for its probability, but are not among its ids).
    pub stops: &'a [u32],
    /// Ids that end a continuation where [`Rules::closes`] says so, in ascending order; they are
    /// not among its ids.
    pub closers: &'a [u32],
    /// What the texts at hand say; `None`: the model alone.
    pub texts: Option<Texts<'a>>,
    pub prefill: PrefillOptions<'a>,
}

/// Texts whose n-grams are mixed with the model's probabilities.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    pub ngrams: &'a Ngrams,
    pub weights: &'a Weights,
    /// The text that the continuations go on with: the last [`crate::MAX_ORDER`] ids of it, or
    /// more.
    pub context: &'a [u32],
}

impl Texts<'_> {
    fn after(&self, ids: &[u32], sureness: f32) -> Mixture {
        let context: Vec<u32> = self.context.iter().chain(ids).copied().collect();
        self.ngrams.after(&context, self.weights, sureness)
    }
}

/// Ids that may follow the prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    pub ids: Vec<u32>,
    /// One for each id, the model's alone; see [`crate::Token::logprob`].
    pub logprobs: Vec<f32>,
    /// Log-probability with the end and with what [`Beam::texts`] say, and [`Rules::bonus`].
    pub score: f32,
    /// Log-probability of its end by the model, where a closer ends it; 0 where its last id does;
    /// negative infinity of one that has not ended.
    pub end: f32,
    /// [`Finish::Stop`] or [`Finish::Callback`]; of one that has not ended, as [`Found::finish`].
    pub finish: Finish,
}

/// The result of [`likeliest`].
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The best first.
    pub accepted: Vec<Continuation>,
    /// The best that has ended, whether accepted or not; where none has, the likeliest at that
    /// time.
    pub best: Continuation,
    /// The best that has ended and was not judged, and the best that was still followed: what an
    /// accepted one was chosen before.
    pub rivals: [Option<Continuation>; 2],
    /// What was still followed when the search was cut off, the likeliest first: by
    /// [`Beam::max_tokens`], or cancelled.
    pub unfinished: Vec<Continuation>,
    /// Why the search ended: [`Finish::Stop`] where it found what was wanted or there is nothing
    /// else; [`Finish::Length`], [`Finish::Cancelled`]; [`Finish::Constraint`] where nothing may
    /// follow.
    pub finish: Finish,
    pub prefill: PrefillStats,
    pub times: Times,
    /// Passes of the model over the hypotheses.
    pub passes: usize,
}

/// Prefills `prompt` and finds the likeliest continuations that end and that the rules accept. Keys
/// and values of the best, accepted or not, stay in the cache as far as they are there.
///
/// When the search is cut off, those that have ended are judged all the same. `on_best` hears of
/// the likeliest hypothesis after every pass: it may still be overtaken, or refused.
///
/// Errors: as [`crate::generate`]. Panics: no start.
pub fn likeliest<C: Constraint + Clone, R: Rules>(
    model: &Model,
    kv: &mut KvCache,
    prompt: &[u32],
    beam: Beam<C>,
    rules: &mut R,
    cancel: &Cancel,
    on_best: &mut dyn FnMut(&[u32]),
) -> Result<Found, PromptError> {
    assert!(!beam.starts.is_empty(), "a search begins somewhere");
    let start = Instant::now();
    let _working = cancel.enter();
    let mut workspace = workspace::borrow();
    let prefill = match prefill_in(model, kv, prompt, &beam.prefill, cancel, &mut workspace) {
        Ok(stats) => stats,
        Err(PromptError::Cancelled) => {
            let best = Continuation {
                ids: Vec::new(),
                logprobs: Vec::new(),
                score: 0.0,
                end: f32::NEG_INFINITY,
                finish: Finish::Cancelled,
            };
            let times = Times { prefill: start.elapsed(), ..Times::default() };
            let (accepted, unfinished, prefill) = (Vec::new(), Vec::new(), PrefillStats::default());
            return Ok(Found {
                accepted,
                best,
                rivals: [None, None],
                unfinished,
                finish: Finish::Cancelled,
                prefill,
                times,
                passes: 0,
            });
        }
        Err(error) => return Err(error),
    };
    let mut times = Times { prefill: start.elapsed(), ..Times::default() };
    cancel.begin_decoding();
    let decode = Instant::now();
    let mut search = Search::new(kv, &beam, rules);
    let finish = search.run(model, cancel, on_best, &mut workspace)?;
    let Concluded { accepted, best, rivals, unfinished, held, passes } = search.conclude(finish);
    kv.sequence = held.sequence;
    kv.logits_mut(1).copy_from_slice(&held.logits);
    times.decode = decode.elapsed();
    Ok(Found { accepted, best, rivals, unfinished, finish, prefill, times, passes })
}

/// A sequence with the logits of its last token.
struct Held {
    sequence: Sequence,
    logits: Vec<f32>,
}

impl Held {
    fn of(kv: &KvCache) -> Held {
        Held { sequence: kv.sequence.clone(), logits: kv.logits().to_vec() }
    }
}

/// A continuation that has not ended.
struct Hypothesis<C> {
    /// Index of its start.
    start: usize,
    /// Prompt and continuation.
    cache: KvCache,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    score: f32,
    /// Each of its ids was the likeliest at its place.
    is_greedy: bool,
    constraint: C,
}

/// What may follow a hypothesis.
struct Choice<'a> {
    logits: &'a [f32],
    normaliser: f32,
    /// No shares: the model alone.
    mixture: Mixture,
}

impl Choice<'_> {
    fn of_model(&self, id: u32) -> f32 {
        self.logits.get(id as usize).map_or(f32::NEG_INFINITY, |logit| logit - self.normaliser)
    }

    /// Log-probability with what the texts say.
    fn mixed(&self, id: u32) -> f32 {
        let logprob = self.of_model(id);
        if self.mixture.shares.is_empty() {
            logprob
        } else {
            self.mixture.of(id, logprob.exp()).ln()
        }
    }

    /// The `n` likeliest of those that are admitted, the likeliest first, with their
    /// log-probabilities.
    fn likeliest(&self, n: usize, admitted: impl Fn(u32) -> bool) -> Vec<(u32, f32)> {
        let mut ids: Vec<u32> =
            sample::likeliest(self.logits, n, &admitted).into_iter().map(|(id, _)| id).collect();
        if self.mixture.shares.is_empty() {
            return ids.into_iter().map(|id| (id, self.of_model(id))).collect();
        }
        // What the model thinks little of may be in the texts.
        ids.extend(self.mixture.shares.iter().map(|(id, _)| *id).filter(|id| admitted(*id)));
        ids.sort_unstable();
        ids.dedup();
        let mut all: Vec<(u32, f32)> = ids.into_iter().map(|id| (id, self.mixed(id))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(n);
        all
    }
}

/// A hypothesis with one more token, or ended.
struct Candidate {
    parent: usize,
    /// `None`: closed.
    id: Option<u32>,
    logprob: f32,
    score: f32,
    /// Nothing that is allowed there is likelier.
    is_first: bool,
}

impl<C: Constraint + Clone> Hypothesis<C> {
    /// On the same blocks, which are copied as either is written to.
    fn branch(&self) -> Hypothesis<C> {
        Hypothesis {
            start: self.start,
            cache: self.cache.fork(),
            ids: self.ids.clone(),
            logprobs: self.logprobs.clone(),
            score: self.score,
            is_greedy: self.is_greedy,
            constraint: self.constraint.clone(),
        }
    }

    /// As it is, without an end.
    fn continuation(&self, finish: Finish) -> Continuation {
        let (ids, logprobs) = (self.ids.clone(), self.logprobs.clone());
        Continuation { ids, logprobs, score: self.score, end: f32::NEG_INFINITY, finish }
    }

    /// `id` follows; it is not yet evaluated.
    fn append(&mut self, id: u32, candidate: &Candidate) {
        self.ids.push(id);
        self.logprobs.push(candidate.logprob);
        self.score = candidate.score;
        self.is_greedy &= candidate.is_first;
        if self.constraint.is_active() {
            self.constraint.push(id);
        }
    }
}

/// The state of a search.
struct Search<'a, C, R> {
    rules: &'a mut R,
    widths: Vec<usize>,
    keep: usize,
    wanted: usize,
    margin: f32,
    max_tokens: usize,
    stops: &'a [u32],
    closers: &'a [u32],
    texts: Option<Texts<'a>>,
    /// In order of their scores.
    live: Vec<Hypothesis<C>>,
    /// Ended, the best first, and not judged yet.
    pending: Vec<Continuation>,
    accepted: Vec<Continuation>,
    n_judged: usize,
    /// The best that has ended, and what the cache holds of it.
    best: Option<(Continuation, Held)>,
    is_over: bool,
    is_cut_off: bool,
    passes: usize,
}

impl<'a, C: Constraint + Clone, R: Rules> Search<'a, C, R> {
    fn new(kv: &KvCache, beam: &Beam<'a, C>, rules: &'a mut R) -> Search<'a, C, R> {
        let hypothesis = |(start, Start { constraint, .. }): (usize, &Start<C>)| Hypothesis {
            start,
            cache: kv.fork(),
            ids: Vec::new(),
            logprobs: Vec::new(),
            score: 0.0,
            is_greedy: true,
            constraint: constraint.clone(),
        };
        let keep = beam.keep.max(1);
        Search {
            rules,
            widths: beam.starts.iter().map(|start| start.width.max(1)).collect(),
            keep,
            wanted: beam.wanted.clamp(1, keep),
            margin: beam.margin.max(0.0),
            max_tokens: beam.max_tokens.min(kv.capacity() - kv.ids().len()),
            stops: beam.stops,
            closers: beam.closers,
            texts: beam.texts,
            live: beam.starts.iter().enumerate().map(hypothesis).collect(),
            pending: Vec::new(),
            accepted: Vec::new(),
            n_judged: 0,
            best: None,
            is_over: false,
            is_cut_off: false,
            passes: 0,
        }
    }

    fn run(
        &mut self,
        model: &Model,
        cancel: &Cancel,
        on_best: &mut dyn FnMut(&[u32]),
        w: &mut Workspace,
    ) -> Result<Finish, PromptError> {
        loop {
            if self.live.first().is_none_or(|hypothesis| hypothesis.ids.len() >= self.max_tokens) {
                self.judge(f32::NEG_INFINITY);
                self.is_cut_off = true;
                return Ok(if self.best.is_some() { Finish::Stop } else { Finish::Length });
            }
            let next = self.advance()?;
            self.judge(
                next.first()
                    .map_or(f32::NEG_INFINITY, |candidate| candidate.score + self.rules.most()),
            );
            if self.is_over || next.is_empty() {
                return Ok(if self.best.is_some() { Finish::Stop } else { Finish::Constraint });
            }
            self.grow(&next);
            let ids: Vec<u32> = next.iter().filter_map(|candidate| candidate.id).collect();
            let mut caches: Vec<&mut KvCache> =
                self.live.iter_mut().map(|hypothesis| &mut hypothesis.cache).collect();
            if let Err(stopped) = prepack::extend(model, &mut caches, &ids, cancel, w) {
                stopped.unless_cancelled()?;
                self.judge(f32::NEG_INFINITY);
                self.is_cut_off = true;
                return Ok(Finish::Cancelled);
            }
            self.passes += 1;
            on_best(&self.live[0].ids);
        }
    }

    /// Takes what ends now from the candidates for the next tokens; those that go on, the likeliest
    /// first.
    fn advance(&mut self) -> Result<Vec<Candidate>, PromptError> {
        let mut next: Vec<Candidate> = Vec::new();
        let mut places = self.widths.clone();
        let mut candidates = self.candidates()?;
        candidates.sort_by(|a, b| {
            b.score.total_cmp(&a.score).then((a.parent, a.id).cmp(&(b.parent, b.id)))
        });
        let most = self.rules.most();
        for candidate in candidates {
            // They come in order, and nothing becomes likelier by going on.
            if candidate.score + most <= self.floor() {
                break;
            }
            let parent = &self.live[candidate.parent];
            // What is behind the places that there are is as good as gone.
            if places[parent.start] == 0 {
                continue;
            }
            match candidate.id.filter(|id| !self.stops.contains(id)) {
                None if candidate.is_first && parent.is_greedy
                    || self.rules.is_new(&parent.ids) =>
                {
                    self.end(&candidate, Finish::Stop)
                }
                None => {}
                Some(id) => {
                    let ids: Vec<u32> = parent.ids.iter().copied().chain([id]).collect();
                    if self.rules.ends(&ids) {
                        self.end(&candidate, Finish::Callback);
                    } else {
                        places[parent.start] -= 1;
                        next.push(candidate);
                    }
                }
            }
        }
        Ok(next)
    }

    /// A score that what is still looked for must exceed.
    fn floor(&self) -> f32 {
        let of_accepted = match self.accepted.first() {
            Some(best) if self.accepted.len() >= self.wanted => best.score - self.margin,
            _ => f32::NEG_INFINITY,
        };
        let places = self.keep.saturating_sub(self.n_judged);
        let of_pending = if places == 0 {
            f32::INFINITY
        } else {
            self.pending.get(places - 1).map_or(f32::NEG_INFINITY, |c| c.score)
        };
        of_accepted.max(of_pending)
    }

    /// `candidate` ends its hypothesis.
    fn end(&mut self, candidate: &Candidate, finish: Finish) {
        let parent = &self.live[candidate.parent];
        let (mut ids, mut logprobs) = (parent.ids.clone(), parent.logprobs.clone());
        if let (Finish::Callback, Some(id)) = (finish, candidate.id) {
            ids.push(id);
            logprobs.push(candidate.logprob);
        }
        let score = candidate.score + self.rules.bonus(&ids);
        let end = if finish == Finish::Callback { 0.0 } else { candidate.logprob };
        let ended = Continuation { ids, logprobs, score, end, finish };
        if self.best.as_ref().is_none_or(|(best, _)| score > best.score) {
            self.best = Some((ended.clone(), Held::of(&parent.cache)));
        }
        let at = self.pending.partition_point(|other| other.score >= score);
        self.pending.insert(at, ended);
        self.pending.truncate(self.keep);
    }

    /// Judges what nothing that still lives can overtake: `ceiling` is the best that it may come
    /// to.
    fn judge(&mut self, ceiling: f32) {
        while !self.is_over && self.pending.first().is_some_and(|first| first.score >= ceiling) {
            let enough = match self.accepted.first() {
                Some(best) => {
                    self.accepted.len() >= self.wanted
                        && self.pending[0].score <= best.score - self.margin
                }
                None => false,
            };
            if enough || self.n_judged >= self.keep {
                self.is_over = true;
                return;
            }
            let continuation = self.pending.remove(0);
            self.n_judged += 1;
            match self.rules.judge(&continuation) {
                Verdict::Accept => self.accepted.push(continuation),
                Verdict::Refuse => {}
                Verdict::Over => self.is_over = true,
            }
        }
        self.is_over |=
            self.accepted.len() >= self.wanted && self.accepted[0].score - self.margin >= ceiling;
        self.is_over |= self.n_judged >= self.keep;
    }

    /// What may follow each hypothesis, in no order.
    ///
    /// Errors: logits that are not numbers.
    fn candidates(&self) -> Result<Vec<Candidate>, PromptError> {
        let mut all = Vec::new();
        for (parent, hypothesis) in self.live.iter().enumerate() {
            let logits = hypothesis.cache.logits();
            let normaliser = device::log_sum_exp(logits);
            if !normaliser.is_finite() {
                return Err(PromptError::NotFinite);
            }
            let is_restricted = hypothesis.constraint.is_active();
            let closes = !is_restricted && self.rules.closes(&hypothesis.ids);
            let is_closer = |id: u32| closes && self.closers.binary_search(&id).is_ok();
            let admitted =
                |id| !is_closer(id) && (!is_restricted || hypothesis.constraint.allows(id));
            let sureness =
                || (logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) - normaliser).exp();
            let mixture = self
                .texts
                .map(|texts| texts.after(&hypothesis.ids, sureness()))
                .unwrap_or_default();
            let choice = Choice { logits, normaliser, mixture };
            let n = self.widths[hypothesis.start] + self.stops.len();
            let likeliest = choice.likeliest(n, admitted);
            let most = likeliest.first().map_or(f32::NEG_INFINITY, |(_, logprob)| *logprob);
            let of = |id, logprob: f32, mixed: f32, is_first| Candidate {
                parent,
                id,
                logprob,
                score: hypothesis.score + mixed,
                is_first,
            };
            let mut most_closing = f32::NEG_INFINITY;
            if closes {
                let ends: Vec<f32> = self.closers.iter().map(|id| choice.mixed(*id)).collect();
                let together =
                    if ends.is_empty() { f32::NEG_INFINITY } else { device::log_sum_exp(&ends) };
                if together.is_finite() {
                    most_closing = ends.iter().copied().fold(most_closing, f32::max);
                    all.push(of(None, together, together, most_closing >= most));
                }
            }
            let going_on = likeliest.into_iter().enumerate();
            all.extend(going_on.map(|(i, (id, mixed))| {
                of(Some(id), choice.of_model(id), mixed, i == 0 && mixed > most_closing)
            }));
        }
        Ok(all)
    }

    /// The hypotheses that go on, each with its token. The last child of a hypothesis takes it
    /// over, the others branch.
    fn grow(&mut self, next: &[Candidate]) {
        let mut live: Vec<Option<Hypothesis<C>>> =
            std::mem::take(&mut self.live).into_iter().map(Some).collect();
        for (i, candidate) in next.iter().enumerate() {
            let parent = &mut live[candidate.parent];
            let has_more = next[i + 1..].iter().any(|c| c.parent == candidate.parent);
            let child =
                if has_more { parent.as_ref().map(Hypothesis::branch) } else { parent.take() };
            if let (Some(mut child), Some(id)) = (child, candidate.id) {
                child.append(id, candidate);
                self.live.push(child);
            }
        }
    }

    fn conclude(mut self, finish: Finish) -> Concluded {
        let (best, held) = match self.best.take() {
            Some(best) => best,
            None => (self.live[0].continuation(finish), Held::of(&self.live[0].cache)),
        };
        let live = || self.live.iter().map(|hypothesis| hypothesis.continuation(Finish::Length));
        // What an accepted one has come from is not beside it.
        let is_beside = |other: &Continuation| {
            !self.accepted.iter().any(|accepted| accepted.ids.starts_with(&other.ids))
        };
        let followed = live().filter(is_beside).max_by(|a, b| a.score.total_cmp(&b.score));
        let unfinished = live().filter(|_| self.is_cut_off).collect();
        let rivals = [self.pending.into_iter().next(), followed];
        Concluded { accepted: self.accepted, best, rivals, unfinished, held, passes: self.passes }
    }
}

/// What a search leaves: see [`Found`].
struct Concluded {
    accepted: Vec<Continuation>,
    best: Continuation,
    rivals: [Option<Continuation>; 2],
    unfinished: Vec<Continuation>,
    /// What the cache holds of the best.
    held: Held,
    passes: usize,
}
