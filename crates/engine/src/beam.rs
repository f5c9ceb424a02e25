//! Beam search: the likeliest continuation as a whole, instead of the token that is likeliest each time.
//!
//! A small model is often torn between several first tokens, and the likeliest one need not begin the likeliest line. `width`
//! hypotheses are evaluated in one pass a token; they share the blocks of the prompt and own what they have written.

use std::time::Instant;

use lacuna_kernels::ops;

use crate::cancel::Cancel;
use crate::draft::DraftStats;
use crate::error::PromptError;
use crate::forward::Cancelled;
use crate::generate::{Constraint, Finish, Generation, Times};
use crate::kv::KvCache;
use crate::model::Model;
use crate::prefill::{PrefillOptions, PrefillStats, prefill_in};
use crate::prepack;
use crate::sample;
use crate::workspace::{self, Workspace};

/// How the search goes.
pub struct Beam<'a, C> {
    /// Hypotheses that are followed at a time; 1 is greedy generation.
    pub width: usize,
    /// Tokens of a continuation at most.
    pub max_tokens: usize,
    /// Ids that end a continuation (they count for its probability, but are not among its ids).
    pub stops: &'a [u32],
    /// A rule over the first tokens; each hypothesis has its own.
    pub constraint: C,
    /// Whether a continuation is complete with its last id.
    pub ends: &'a dyn Fn(&[u32]) -> bool,
    pub prefill: PrefillOptions<'a>,
}

/// Prefills `prompt` and finds the likeliest continuation that ends. Its keys and values stay in the cache.
///
/// Ends with [`Finish::Stop`] or, where `ends` said so, [`Finish::Callback`]; otherwise with the likeliest hypothesis at that time:
/// [`Finish::Length`], [`Finish::Cancelled`]; with [`Finish::Constraint`] and no ids where nothing may follow. `on_best` hears of the
/// likeliest hypothesis after every pass: it may still be overtaken.
///
/// Errors: as [`crate::generate`].
pub fn likeliest<C: Constraint + Clone>(
    model: &Model,
    kv: &mut KvCache,
    prompt: &[u32],
    beam: Beam<C>,
    cancel: &Cancel,
    on_best: &mut dyn FnMut(&[u32]),
) -> Result<Generation, PromptError> {
    let start = Instant::now();
    let _working = cancel.enter();
    let mut workspace = workspace::borrow();
    let mut times = Times::default();
    let prefill = match prefill_in(model, kv, prompt, &beam.prefill, cancel, &mut workspace) {
        Ok(stats) => stats,
        Err(PromptError::Cancelled) => {
            times.prefill = start.elapsed();
            return Ok(generation(Vec::new(), Vec::new(), PrefillStats::default(), Finish::Cancelled, times));
        }
        Err(error) => return Err(error),
    };
    times.prefill = start.elapsed();
    cancel.begin_decoding();
    let decode = Instant::now();
    let (end, finish) = search(model, kv, beam, cancel, on_best, &mut workspace)?;
    kv.logits_mut(1).copy_from_slice(end.cache.logits());
    kv.sequence = end.cache.sequence;
    times.decode = decode.elapsed();
    Ok(generation(end.ids, end.logprobs, prefill, finish, times))
}

fn generation(ids: Vec<u32>, logprobs: Vec<f32>, prefill: PrefillStats, finish: Finish, times: Times) -> Generation {
    Generation { ids, logprobs, prefill, drafts: DraftStats::default(), finish, times }
}

/// A continuation and what follows it.
struct Hypothesis<C> {
    /// Prompt and continuation; of one that has ended, without an id that nothing follows.
    cache: KvCache,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    /// Log-probability of the continuation, its stop included.
    score: f32,
    constraint: C,
}

/// A hypothesis with one more token.
struct Candidate {
    parent: usize,
    id: u32,
    logprob: f32,
    score: f32,
}

impl<C: Constraint + Clone> Hypothesis<C> {
    /// On the same blocks, which are copied as either is written to.
    fn branch(&self) -> Hypothesis<C> {
        Hypothesis {
            cache: self.cache.fork(),
            ids: self.ids.clone(),
            logprobs: self.logprobs.clone(),
            score: self.score,
            constraint: self.constraint.clone(),
        }
    }

    /// `candidate` follows; it is not yet evaluated.
    fn append(&mut self, candidate: &Candidate) {
        self.ids.push(candidate.id);
        self.logprobs.push(candidate.logprob);
        self.score = candidate.score;
        if self.constraint.is_active() {
            self.constraint.push(candidate.id);
        }
    }
}

fn search<C: Constraint + Clone>(
    model: &Model,
    kv: &KvCache,
    beam: Beam<C>,
    cancel: &Cancel,
    on_best: &mut dyn FnMut(&[u32]),
    w: &mut Workspace,
) -> Result<(Hypothesis<C>, Finish), PromptError> {
    let Beam { width, max_tokens, stops, constraint, ends, .. } = beam;
    let width = width.max(1);
    let prompt = kv.ids().len();
    let max_tokens = max_tokens.min(kv.capacity() - prompt);
    let mut live = vec![Hypothesis { cache: kv.fork(), ids: Vec::new(), logprobs: Vec::new(), score: 0.0, constraint }];
    // The likeliest that has ended.
    let mut best: Option<(Hypothesis<C>, Finish)> = None;
    loop {
        if live[0].ids.len() >= max_tokens {
            return Ok(best.unwrap_or_else(|| (live.swap_remove(0), Finish::Length)));
        }
        let mut next: Vec<Candidate> = Vec::with_capacity(width);
        for candidate in candidates(&live, width + stops.len())? {
            // They come in order, and nothing becomes likelier by going on.
            if next.len() == width || best.as_ref().is_some_and(|(best, _)| best.score >= candidate.score) {
                break;
            }
            let is_stop = stops.contains(&candidate.id);
            let ids: Vec<u32> = live[candidate.parent].ids.iter().copied().chain([candidate.id]).collect();
            if !is_stop && !ends(&ids) {
                next.push(candidate);
                continue;
            }
            let mut ended = live[candidate.parent].branch();
            if !is_stop {
                ended.append(&candidate);
            }
            ended.score = candidate.score;
            best = Some((ended, if is_stop { Finish::Stop } else { Finish::Callback }));
        }
        if next.is_empty() {
            return Ok(best.unwrap_or_else(|| (live.swap_remove(0), Finish::Constraint)));
        }
        live = grow(live, &next);
        let ids: Vec<u32> = next.iter().map(|candidate| candidate.id).collect();
        let mut caches: Vec<&mut KvCache> = live.iter_mut().map(|hypothesis| &mut hypothesis.cache).collect();
        if let Err(Cancelled) = prepack::extend(model, &mut caches, &ids, cancel, w) {
            let (end, _) = best.unwrap_or_else(|| (live.swap_remove(0), Finish::Cancelled));
            return Ok((end, Finish::Cancelled));
        }
        on_best(&live[0].ids);
    }
}

/// What may follow the hypotheses: at most `n` of each, the likeliest first. Ties go to the earlier hypothesis and the smaller id.
///
/// Errors: logits that are not numbers.
fn candidates<C: Constraint>(live: &[Hypothesis<C>], n: usize) -> Result<Vec<Candidate>, PromptError> {
    let mut all = Vec::with_capacity(live.len() * n);
    for (parent, hypothesis) in live.iter().enumerate() {
        let normaliser = ops::log_sum_exp(hypothesis.cache.logits());
        if !normaliser.is_finite() {
            return Err(PromptError::NotFinite);
        }
        let is_restricted = hypothesis.constraint.is_active();
        let admitted = |id| !is_restricted || hypothesis.constraint.allows(id);
        all.extend(sample::likeliest(hypothesis.cache.logits(), n, admitted).into_iter().map(|(id, logit)| {
            let logprob = logit - normaliser;
            Candidate { parent, id, logprob, score: hypothesis.score + logprob }
        }));
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.parent, a.id).cmp(&(b.parent, b.id))));
    Ok(all)
}

/// The hypotheses that go on, each with its token. The last child of a hypothesis takes it over, the others branch.
fn grow<C: Constraint + Clone>(live: Vec<Hypothesis<C>>, next: &[Candidate]) -> Vec<Hypothesis<C>> {
    let mut live: Vec<Option<Hypothesis<C>>> = live.into_iter().map(Some).collect();
    let mut grown: Vec<Hypothesis<C>> = Vec::with_capacity(next.len());
    for (i, candidate) in next.iter().enumerate() {
        let parent = &mut live[candidate.parent];
        let has_more = next[i + 1..].iter().any(|c| c.parent == candidate.parent);
        let child = if has_more { parent.as_ref().map(Hypothesis::branch) } else { parent.take() };
        grown.extend(child.map(|mut child| {
            child.append(candidate);
            child
        }));
    }
    grown
}
