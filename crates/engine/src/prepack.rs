//! Prepacking (arXiv 2404.09529): prompts of mixed length in one batch, evaluated and continued
//! together without padding.
//!
//! Start at [`prefill_packed`], [`generate_packed`] and [`score_packed`]; [`score_behind`] reads
//! several texts behind one prefix. Each prompt keeps its own cache, so that either may go on alone
//! later. On every kernel row but AMX a token has the same bits in any batch: the results are those
//! of one prompt after another. On AMX this holds for prompts that alone would have more than 16
//! tokens to compute; shorter ones agree as closely as a warm and a cold cache do. F32 models, the
//! reference, agree up to the order of their sums.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::batch::{Batch, CHUNK, Part};
use crate::cancel::Cancel;
use crate::device::{Active, Device, DeviceError, States, log_sum_exp};
use crate::draft::DraftStats;
use crate::error::{PromptError, Stopped};
use crate::forward;
use crate::generate::{Constraint, Finish, Generation, Times, Token, next_token};
use crate::kv::KvCache;
use crate::model::Model;
use crate::pass::Stops;
use crate::prefill::{PrefillStats, prefill};
use crate::route::{All, Router};
use crate::sample::{Random, Sampling};
use crate::sequence::Sequence;
use crate::workspace::{self, Workspace};

/// Sequences whose logits are held at once.
const HEADS: usize = 64;

/// Makes each cache hold exactly its prompt, as [`crate::prefill`] does one by one; all that is
/// missing is computed in passes over tokens of as many prompts as fit.
///
/// Errors: the first prompt that cannot be taken, or [`PromptError::Cancelled`]; every cache is
/// then as it was. Panics: not as many caches as prompts, or a cache of another model.
pub fn prefill_packed(
    model: &Model,
    caches: &mut [&mut KvCache],
    prompts: &[&[u32]],
    cancel: &Cancel,
) -> Result<Vec<PrefillStats>, PromptError> {
    assert_eq!(caches.len(), prompts.len(), "a cache for each prompt");
    for (kv, ids) in caches.iter().zip(prompts) {
        kv.check_model(model);
        forward::check_ids(model, ids)?;
        if ids.len() > kv.capacity() {
            return Err(PromptError::TooLong { tokens: ids.len(), capacity: kv.capacity() });
        }
    }
    let _working = cancel.enter();
    let (cached, mut branches): (Vec<usize>, Vec<Sequence>) = caches
        .iter()
        .zip(prompts)
        .map(|(kv, ids)| {
            let route = All.route(model.spec.layers(), ids);
            let cached = kv.sequence.usable(ids, &route, true);
            // Written to in place of the visible sequence, on the same blocks.
            (cached, Sequence { route, ..kv.sequence.branch(cached) })
        })
        .unzip();
    let mut w = workspace::borrow();
    let parts: Vec<&[u32]> = prompts.iter().zip(&cached).map(|(ids, n)| &ids[*n..]).collect();
    // The states of the last tokens, in the order of the prompts.
    let mut last = Rows::default();
    passes(model, &mut branches, &parts, cancel, &mut w, &mut |batch, x, _| {
        for Part { sequence, rows } in &batch.parts {
            if batch.positions[rows.end - 1] + 1 == prompts[*sequence].len() {
                last.push(x, rows.end - 1)?;
            }
        }
        Ok(())
    })?;
    let stats = prompts.iter().zip(&cached).map(|(ids, cached)| PrefillStats {
        cached: *cached,
        prefilled: ids.len() - cached,
        ..PrefillStats::default()
    });
    for ((kv, branch), (ids, n)) in caches.iter_mut().zip(branches).zip(prompts.iter().zip(&cached))
    {
        kv.sequence = branch;
        kv.drop_unfinished();
        ids[*n..].iter().for_each(|id| kv.push(*id, 0));
    }
    logits(model, caches, &last, &mut w.buffers)?;
    Ok(stats.collect())
}

/// Hears of every pass: its rows and their states.
type Seen<'a> = dyn FnMut(&Batch, &Rows, &mut Buffers) -> Result<(), PromptError> + 'a;
type Rows = <Active as Device>::States;
type Buffers = <Active as Device>::Buffers;

/// Evaluates the tokens of each part behind those of its sequence, in passes that are as full as
/// can be. Panics: the sequences have several routes.
fn passes(
    model: &Model,
    sequences: &mut [Sequence],
    parts: &[&[u32]],
    cancel: &Cancel,
    w: &mut Workspace,
    seen: &mut Seen<'_>,
) -> Result<(), PromptError> {
    let mut rest: Vec<(usize, usize, &[u32])> = sequences
        .iter()
        .zip(parts)
        .enumerate()
        .map(|(i, (sequence, part))| (i, sequence.ids.len(), *part))
        .filter(|(_, _, part)| !part.is_empty())
        .collect();
    rest.reverse();
    while !rest.is_empty() {
        let batch = w.pass.begin(Stops::Layers);
        while let Some((sequence, position, part)) = rest.pop() {
            let (now, later) = part.split_at(part.len().min(CHUNK - batch.len()));
            batch.push(sequence, (position..).zip(now.iter().copied()));
            if !later.is_empty() {
                rest.push((sequence, position + now.len(), later));
                break;
            }
            if batch.len() == CHUNK {
                break;
            }
        }
        together(model, sequences.iter_mut(), cancel, w)?;
        seen(&w.pass.batch, &w.pass.x, &mut w.buffers)?;
    }
    Ok(())
}

/// Runs all layers over the batch in the workspace. Panics: the sequences have several routes.
fn together<'a>(
    model: &Model,
    sequences: impl Iterator<Item = &'a mut Sequence>,
    cancel: &Cancel,
    w: &mut Workspace,
) -> Result<(), Stopped> {
    let (mut kv, routes): (Vec<_>, Vec<_>) =
        sequences.map(|sequence| (&mut sequence.kv, &sequence.route)).unzip();
    let route = routes[0];
    assert!(routes.iter().all(|other| *other == route), "sequences of one pass have one route");
    w.pass.run(&model.device, &mut kv, route, cancel, &mut w.buffers)
}

/// Log-probability of every token of each continuation after its prompt and the tokens before it:
/// [`crate::log_probs`] of many texts at once. Each cache then holds exactly its prompt, with its
/// logits; what it held of it before is not computed again.
///
/// Errors: as [`prefill_packed`], a continuation that does not fit its cache behind the prompt, or
/// logits that are not numbers. Panics: not as many caches or continuations as prompts.
pub fn score_packed(
    model: &Model,
    caches: &mut [&mut KvCache],
    prompts: &[&[u32]],
    continuations: &[&[u32]],
    cancel: &Cancel,
) -> Result<Vec<Vec<f32>>, PromptError> {
    assert_eq!(continuations.len(), prompts.len(), "a continuation for each prompt");
    for ((kv, prompt), ids) in
        caches.iter().zip(prompts).zip(continuations).filter(|(_, ids)| !ids.is_empty())
    {
        forward::check_ids(model, ids)?;
        let tokens = prompt.len() + ids.len();
        if tokens > kv.capacity() {
            return Err(PromptError::TooLong { tokens, capacity: kv.capacity() });
        }
    }
    prefill_packed(model, caches, prompts, cancel)?;
    let mut scores: Vec<Vec<f32>> = Vec::with_capacity(prompts.len());
    for (kv, ids) in caches.iter().zip(continuations) {
        scores.push(
            ids.first()
                .map(|id| log_probability(kv.logits(), *id))
                .transpose()?
                .into_iter()
                .collect(),
        );
    }
    // On branches: the caches keep their prompts and nothing else.
    let branches =
        caches.iter().zip(prompts).map(|(kv, prompt)| kv.sequence.branch(prompt.len())).collect();
    let read: Vec<Reading> = continuations.iter().map(|ids| Reading { ids, from: 1 }).collect();
    let rest = read_on(model, branches, &read, cancel)?;
    scores.iter_mut().zip(rest).for_each(|(scores, rest)| scores.extend(rest));
    Ok(scores)
}

/// A text behind what is held, and from which of its tokens on log-probabilities are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub ids: &'a [u32],
    /// At least 1: the first token is told by what stands before it.
    pub from: usize,
}

/// Log-probabilities of the last tokens of several texts, each behind `prefix`: all in one ragged
/// pass (or as few as hold them) on the keys and values of the prefix, which is computed first as
/// far as `kv` does not hold it. The cache then begins with the prefix; where it held all of it, it
/// is as it was.
///
/// The scores are those of each text alone, whether the prefix was warm or cold, as far as this
/// holds of [`prefill_packed`].
///
/// Errors: as [`crate::prefill`] (an empty prefix is none), a text that does not fit the cache
/// behind the prefix, or logits that are not numbers. Panics: a `from` of 0, or a cache of another
/// model.
pub fn score_behind(
    model: &Model,
    kv: &mut KvCache,
    prefix: &[u32],
    texts: &[Reading],
    cancel: &Cancel,
) -> Result<Vec<Vec<f32>>, PromptError> {
    kv.check_model(model);
    for Reading { ids, from } in texts.iter().filter(|text| !text.ids.is_empty()) {
        assert!(*from > 0, "nothing tells the first token");
        forward::check_ids(model, ids)?;
        let tokens = prefix.len() + ids.len();
        if tokens > kv.capacity() {
            return Err(PromptError::TooLong { tokens, capacity: kv.capacity() });
        }
    }
    // A prefill computes at least one token, for its logits: nobody wants them here.
    if kv.sequence.common_prefix(prefix, true) < prefix.len() {
        prefill(model, kv, prefix, cancel)?;
    }
    let branches = texts.iter().map(|_| kv.sequence.branch(prefix.len())).collect();
    read_on(model, branches, texts, cancel)
}

/// The wanted log-probabilities of each text behind its sequence.
fn read_on(
    model: &Model,
    mut sequences: Vec<Sequence>,
    texts: &[Reading],
    cancel: &Cancel,
) -> Result<Vec<Vec<f32>>, PromptError> {
    // The last token is predicted, but predicts nothing that is wanted; where nothing is wanted,
    // nothing is computed.
    let inputs = texts
        .iter()
        .map(|text| if text.from < text.ids.len() { &text.ids[..text.ids.len() - 1] } else { &[] });
    let starts: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
    let parts: Vec<&[u32]> = inputs.collect();
    let n_vocab = model.spec.n_vocab;
    let mut scores: Vec<Vec<f32>> = vec![Vec::new(); texts.len()];
    let (mut logits, mut states) = (Vec::new(), Rows::default());
    let _working = cancel.enter();
    passes(
        model,
        &mut sequences,
        &parts,
        cancel,
        &mut workspace::borrow(),
        &mut |batch, x, buffers| {
            // The head is the dearest part of a small model: only where it is wanted.
            let mut wanted: Vec<(usize, u32)> = Vec::new();
            states.truncate(0);
            for Part { sequence, rows } in &batch.parts {
                let text = &texts[*sequence];
                for row in rows.clone() {
                    let next = batch.positions[row] - starts[*sequence] + 1;
                    if next >= text.from {
                        wanted.push((*sequence, text.ids[next]));
                        states.push(x, row)?;
                    }
                }
            }
            for (i, wanted) in wanted.chunks(HEADS).enumerate() {
                logits.resize(wanted.len() * n_vocab, 0.0);
                let rows = i * HEADS..i * HEADS + wanted.len();
                model.device.head(&states, rows, &mut logits, buffers)?;
                for (logits, (sequence, next)) in logits.chunks_exact(n_vocab).zip(wanted) {
                    scores[*sequence].push(log_probability(logits, *next)?);
                }
            }
            Ok(())
        },
    )?;
    Ok(scores)
}

fn log_probability(logits: &[f32], id: u32) -> Result<f32, PromptError> {
    let normaliser = log_sum_exp(logits);
    if normaliser.is_finite() {
        Ok(logits[id as usize] - normaliser)
    } else {
        Err(PromptError::NotFinite)
    }
}

/// Appends one token to each cache and computes its logits; there is room. After a cancellation the
/// caches are as they were.
pub(crate) fn extend(
    model: &Model,
    caches: &mut [&mut KvCache],
    ids: &[u32],
    cancel: &Cancel,
    w: &mut Workspace,
) -> Result<(), Stopped> {
    let batch = w.pass.begin(Stops::Layers);
    for (sequence, (kv, id)) in caches.iter().zip(ids).enumerate() {
        batch.push(sequence, std::iter::once((kv.ids().len(), *id)));
    }
    together(model, caches.iter_mut().map(|kv| &mut kv.sequence), cancel, w)?;
    for (kv, id) in caches.iter_mut().zip(ids) {
        kv.push(*id, 0);
    }
    logits(model, caches, &w.pass.x, &mut w.buffers)?;
    Ok(())
}

/// Logits of the states, a row for each cache, into the caches.
fn logits(
    model: &Model,
    caches: &mut [&mut KvCache],
    states: &Rows,
    buffers: &mut Buffers,
) -> Result<(), DeviceError> {
    let n_vocab = model.spec.n_vocab;
    let mut all = Vec::new();
    for (i, caches) in caches.chunks_mut(HEADS).enumerate() {
        all.resize(caches.len() * n_vocab, 0.0);
        let rows = i * HEADS..i * HEADS + caches.len();
        let done = model.device.head(states, rows, &mut all, buffers);
        if let Err(error) = done {
            caches.iter_mut().for_each(|kv| kv.logits.clear());
            return Err(error);
        }
        for (kv, logits) in caches.iter_mut().zip(all.chunks_exact(n_vocab)) {
            kv.logits_mut(1).copy_from_slice(logits);
        }
    }
    Ok(())
}

/// One of the generations that run together.
pub struct PackedRequest<'a> {
    pub prompt: &'a [u32],
    pub sampling: &'a Sampling,
    /// A rule over the first tokens.
    pub constraint: Option<&'a mut dyn Constraint>,
}

/// What one request has come to.
struct Running {
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    random: Random,
    finish: Option<Finish>,
}

/// [`crate::generate`] for several prompts at once: packed prefill, then a token of every
/// unfinished one in each pass.
///
/// `on_token` gets the index of the request; a break ends that request only. Every request draws
/// its own random numbers, so its result is that of a run alone (see the module's comment). The
/// times are those of the whole batch.
///
/// Errors: as [`prefill_packed`], or logits that are not numbers. Cancellation is not an error: see
/// [`Finish::Cancelled`]. Panics: not as many caches as requests.
pub fn generate_packed(
    model: &Model,
    caches: &mut [&mut KvCache],
    requests: &mut [PackedRequest],
    cancel: &Cancel,
    on_token: &mut dyn FnMut(usize, Token) -> ControlFlow<()>,
) -> Result<Vec<Generation>, PromptError> {
    let start = Instant::now();
    let prompts: Vec<&[u32]> = requests.iter().map(|r| r.prompt).collect();
    let fresh = |r: &PackedRequest| Running {
        ids: Vec::new(),
        logprobs: Vec::new(),
        random: Random::new(r.sampling.seed),
        finish: None,
    };
    let mut running: Vec<Running> = requests.iter().map(fresh).collect();
    let prefills = match prefill_packed(model, caches, &prompts, cancel) {
        Ok(stats) => stats,
        Err(PromptError::Cancelled) => {
            let times = Times { prefill: start.elapsed(), ..Times::default() };
            return Ok(running
                .into_iter()
                .map(|r| r.generation(PrefillStats::default(), times))
                .collect());
        }
        Err(error) => return Err(error),
    };
    let mut times = Times { prefill: start.elapsed(), ..Times::default() };
    let decode = Instant::now();
    let _working = cancel.enter();
    cancel.begin_decoding();
    let mut w = workspace::borrow();
    loop {
        for (i, (run, request)) in running
            .iter_mut()
            .zip(&mut *requests)
            .enumerate()
            .filter(|(_, (run, _))| run.finish.is_none())
        {
            run.finish = run.choose(caches[i], request, &mut |token| on_token(i, token))?;
        }
        let (mut going, mut ids): (Vec<&mut KvCache>, Vec<u32>) = (Vec::new(), Vec::new());
        for (kv, run) in caches.iter_mut().zip(&running) {
            if let (None, Some(id)) = (run.finish, run.ids.last()) {
                going.push(kv);
                ids.push(*id);
            }
        }
        if going.is_empty() {
            break;
        }
        if let Err(stopped) = extend(model, &mut going, &ids, cancel, &mut w) {
            stopped.unless_cancelled()?;
            break;
        }
    }
    times.decode = decode.elapsed();
    Ok(running
        .into_iter()
        .zip(prefills)
        .map(|(run, prefill)| run.generation(prefill, times))
        .collect())
}

impl Running {
    /// Takes the next token from the cache's logits; why the request ends, if it does.
    fn choose(
        &mut self,
        kv: &KvCache,
        request: &mut PackedRequest,
        on_token: &mut dyn FnMut(Token) -> ControlFlow<()>,
    ) -> Result<Option<Finish>, PromptError> {
        let sampling = request.sampling;
        if self.ids.len() >= sampling.max_tokens {
            return Ok(Some(Finish::Length));
        }
        let active = request.constraint.as_deref().filter(|c| c.is_active());
        let Some(token) = next_token(kv.logits(), sampling, active, &mut self.random)? else {
            return Ok(Some(Finish::Constraint));
        };
        if sampling.stops.contains(&token.id) {
            return Ok(Some(Finish::Stop));
        }
        self.ids.push(token.id);
        self.logprobs.push(token.logprob);
        if let Some(constraint) = request.constraint.as_deref_mut().filter(|c| c.is_active()) {
            constraint.push(token.id);
        }
        if on_token(token).is_break() {
            return Ok(Some(Finish::Callback));
        }
        // The token is evaluated only when another one is wanted, and has a place.
        let is_full = self.ids.len() >= sampling.max_tokens || kv.ids().len() >= kv.capacity();
        Ok(is_full.then_some(Finish::Length))
    }

    /// Unfinished means cancelled.
    fn generation(self, prefill: PrefillStats, times: Times) -> Generation {
        let finish = self.finish.unwrap_or(Finish::Cancelled);
        Generation {
            ids: self.ids,
            logprobs: self.logprobs,
            prefill,
            drafts: DraftStats::default(),
            finish,
            times,
        }
    }
}
