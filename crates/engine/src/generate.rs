//! Generation: prefill, then one token after another until a stop, a limit, a cancellation or the
//! caller says enough.
//!
//! Tokens that a drafter guesses are evaluated together with the one before them. Each is still
//! chosen from its own logits, which have the same bits in any batch, so the result is the same
//! with and without a drafter.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::device::{self, Precision};
use crate::draft::{DraftStats, Drafter, MAX_DRAFT};
use crate::error::{PromptError, Stopped};
use crate::forward::extend;
use crate::kv::KvCache;
use crate::model::Model;
use crate::prefill::{PrefillOptions, PrefillStats, prefill_in};
use crate::sample::{self, Random, Sampling};
use crate::workspace;

/// A rule over the ids that may come next (token healing). Asked only while it is active.
pub trait Constraint {
    /// Whether `id` may come next.
    fn allows(&self, id: u32) -> bool;
    /// Whether the rule still restricts anything.
    fn is_active(&self) -> bool;
    /// `id` was chosen.
    fn push(&mut self, id: u32);
}

/// A generated token as it is handed to the caller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    pub id: u32,
    /// Natural logarithm of its probability in the full distribution (before temperature and
    /// constraint).
    pub logprob: f32,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A stop token came (it is not among the ids).
    Stop,
    /// `max_tokens`, or the cache is full.
    Length,
    /// The cancel flag or its deadline. What was generated until then is returned.
    Cancelled,
    /// The caller broke off (the token it broke off at is among the ids).
    Callback,
    /// The constraint allows no token.
    Constraint,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    pub prefill: Duration,
    /// From the end of the prefill to the end.
    pub decode: Duration,
}

/// The result of [`generate`].
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    pub ids: Vec<u32>,
    /// One for each id; see [`Token::logprob`].
    pub logprobs: Vec<f32>,
    pub prefill: PrefillStats,
    pub drafts: DraftStats,
    pub finish: Finish,
    pub times: Times,
}

/// How a generation is made.
pub struct GenerateOptions<'a> {
    pub sampling: &'a Sampling,
    /// A rule over the first tokens.
    pub constraint: Option<&'a mut dyn Constraint>,
    /// Where guesses come from; they change the time, never the result.
    pub drafter: Option<&'a mut Drafter>,
    pub prefill: PrefillOptions<'a>,
}

impl<'a> GenerateOptions<'a> {
    /// No constraint, no drafts, exact prefill.
    pub fn new(sampling: &'a Sampling) -> Self {
        GenerateOptions {
            sampling,
            constraint: None,
            drafter: None,
            prefill: PrefillOptions::default(),
        }
    }
}

/// Prefills `prompt` and generates after it. Keys and values of what was generated stay in the
/// cache.
///
/// Errors: a prompt that cannot be taken, or logits that are not numbers. Cancellation is not an
/// error: see [`Finish::Cancelled`].
pub fn generate<'a>(
    model: &Model,
    kv: &mut KvCache,
    prompt: &[u32],
    sampling: &'a Sampling,
    constraint: Option<&'a mut dyn Constraint>,
    cancel: &Cancel,
    on_token: &mut dyn FnMut(Token) -> ControlFlow<()>,
) -> Result<Generation, PromptError> {
    generate_with(
        model,
        kv,
        prompt,
        GenerateOptions { constraint, ..GenerateOptions::new(sampling) },
        cancel,
        on_token,
    )
}

/// [`generate`] with drafts and a choice of what the prefill may reuse.
///
/// Errors: as [`generate`].
pub fn generate_with(
    model: &Model,
    kv: &mut KvCache,
    prompt: &[u32],
    options: GenerateOptions,
    cancel: &Cancel,
    on_token: &mut dyn FnMut(Token) -> ControlFlow<()>,
) -> Result<Generation, PromptError> {
    let GenerateOptions { sampling, mut constraint, drafter, prefill } = options;
    let start = Instant::now();
    // What fits the cache is room enough; a token shall not allocate.
    let room = sampling.max_tokens.min(kv.capacity());
    let mut result = Generation {
        ids: Vec::with_capacity(room),
        logprobs: Vec::with_capacity(room),
        prefill: PrefillStats::default(),
        drafts: DraftStats::default(),
        finish: Finish::Cancelled,
        times: Times::default(),
    };
    let _working = cancel.enter();
    let mut workspace = workspace::borrow();
    match prefill_in(model, kv, prompt, &prefill, cancel, &mut workspace) {
        Ok(stats) => result.prefill = stats,
        Err(PromptError::Cancelled) => {
            result.times.prefill = start.elapsed();
            return Ok(result);
        }
        Err(error) => return Err(error),
    }
    result.times.prefill = start.elapsed();
    cancel.begin_decoding();
    let decode_start = Instant::now();
    let mut random = Random::new(sampling.seed);
    let mut passes = Passes::new(model, drafter, prompt);
    result.finish = loop {
        if result.ids.len() >= sampling.max_tokens {
            break Finish::Length;
        }
        // The last chosen token is evaluated only when another one is wanted.
        if let Some(last) = result.ids.last() {
            if kv.ids().len() >= kv.capacity() {
                break Finish::Length;
            }
            let wanted = sampling.max_tokens - result.ids.len();
            let constraint = constraint.as_deref().filter(|c| c.is_active());
            if let Err(stopped) =
                passes.evaluate(kv, *last, wanted, constraint, cancel, &mut workspace)
            {
                stopped.unless_cancelled()?;
                break Finish::Cancelled;
            }
        }
        let active = constraint.as_deref().filter(|c| c.is_active());
        let Some(token) = next_token(kv.logits(), sampling, active, &mut random)? else {
            break Finish::Constraint;
        };
        let id = token.id;
        passes.chosen(id);
        if sampling.stops.contains(&id) {
            break Finish::Stop;
        }
        result.ids.push(id);
        result.logprobs.push(token.logprob);
        if let Some(constraint) = constraint.as_deref_mut().filter(|c| c.is_active()) {
            constraint.push(id);
        }
        if on_token(token).is_break() {
            break Finish::Callback;
        }
    };
    result.drafts = passes.stats;
    result.times.decode = decode_start.elapsed();
    Ok(result)
}

/// The token that comes next; `None` when the constraint allows none.
///
/// Errors: logits that are not numbers.
pub(crate) fn next_token(
    logits: &[f32],
    sampling: &Sampling,
    active: Option<&dyn Constraint>,
    random: &mut Random,
) -> Result<Option<Token>, PromptError> {
    let top = device::top(logits);
    if !top.log_sum_exp.is_finite() {
        return Err(PromptError::NotFinite);
    }
    let id = if sampling.is_greedy() && active.is_none_or(|c| c.allows(top.index as u32)) {
        Some(top.index as u32)
    } else {
        let allows = active.map(|c| move |id| c.allows(id));
        let allows = allows.as_ref().map(|f| f as &dyn Fn(u32) -> bool);
        sample::choose(logits, sampling, random, allows)
    };
    Ok(id.map(|id| Token { id, logprob: logits[id as usize] - top.log_sum_exp }))
}

/// The passes of the model after the prefill: a token each, or a token with a draft behind it.
struct Passes<'a> {
    model: &'a Model,
    drafter: Option<&'a mut Drafter>,
    /// Tokens of the last pass: the chosen one, then the draft.
    ids: [u32; MAX_DRAFT + 1],
    n: usize,
    /// How many of them have turned out to be right.
    used: usize,
    max_draft: usize,
    stats: DraftStats,
}

impl<'a> Passes<'a> {
    fn new(model: &'a Model, mut drafter: Option<&'a mut Drafter>, prompt: &[u32]) -> Self {
        if let Some(drafter) = &mut drafter {
            drafter.begin(prompt);
        }
        // The reference's products of four tokens and more add in another order than those of one.
        let max_draft = match model.info().precision {
            Precision::Int4 => MAX_DRAFT,
            Precision::F32 => 2,
        };
        Passes {
            model,
            drafter,
            ids: [0; MAX_DRAFT + 1],
            n: 0,
            used: 0,
            max_draft,
            stats: DraftStats::default(),
        }
    }

    /// Makes `last`, the token chosen last, the last one of the cache, with its logits. `wanted`
    /// tokens are still wanted.
    fn evaluate(
        &mut self,
        kv: &mut KvCache,
        last: u32,
        wanted: usize,
        constraint: Option<&dyn Constraint>,
        cancel: &Cancel,
        w: &mut workspace::Workspace,
    ) -> Result<(), Stopped> {
        if self.used < self.n && self.ids[self.used] == last {
            kv.push(last, self.used);
            self.stats.accepted += 1;
            self.used += 1;
            return Ok(());
        }
        (self.n, self.used) = (1, 1);
        self.ids[0] = last;
        if let Some(drafter) = &mut self.drafter {
            let limit = self.max_draft.min(wanted - 1).min(kv.capacity() - kv.ids().len() - 1);
            let draft = drafter.draft(limit);
            let known = self.model.spec.n_vocab;
            let allowed = draft
                .first()
                .is_some_and(|id| constraint.is_none_or(|constraint| constraint.allows(*id)));
            for id in draft.iter().take_while(|id| allowed && (**id as usize) < known) {
                self.ids[self.n] = *id;
                self.n += 1;
            }
        }
        let start = Instant::now();
        extend(self.model, kv, &self.ids[..self.n], cancel, w)?;
        if let Some(drafter) = &mut self.drafter {
            drafter.measured(self.n, start.elapsed());
        }
        kv.push(last, 0);
        self.stats.drafted += self.n - 1;
        self.stats.passes += 1;
        Ok(())
    }

    /// `id` was chosen to come next.
    fn chosen(&mut self, id: u32) {
        if let Some(drafter) = &mut self.drafter {
            drafter.push(id);
        }
    }
}
