//! Generation: prefill, then one token after another until a stop, a limit, a cancellation or the caller says enough.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use lacuna_kernels::ops;

use crate::cancel::Cancel;
use crate::error::PromptError;
use crate::forward::{Cancelled, PrefillStats, extend, prefill};
use crate::kv::KvCache;
use crate::model::Model;
use crate::sample::{self, Random, Sampling};

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
    /// Natural logarithm of its probability in the full distribution (before temperature and constraint).
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
    pub finish: Finish,
    pub times: Times,
}

/// Prefills `prompt` and generates after it. Keys and values of what was generated stay in the cache.
///
/// Errors: a prompt that cannot be taken, or logits that are not numbers. Cancellation is not an error: see [`Finish::Cancelled`].
pub fn generate(
    model: &Model,
    kv: &mut KvCache,
    prompt: &[u32],
    sampling: &Sampling,
    mut constraint: Option<&mut dyn Constraint>,
    cancel: &Cancel,
    on_token: &mut dyn FnMut(Token) -> ControlFlow<()>,
) -> Result<Generation, PromptError> {
    let start = Instant::now();
    // What fits the cache is room enough; a token shall not allocate.
    let room = sampling.max_tokens.min(kv.capacity());
    let mut result = Generation {
        ids: Vec::with_capacity(room),
        logprobs: Vec::with_capacity(room),
        prefill: PrefillStats::default(),
        finish: Finish::Cancelled,
        times: Times::default(),
    };
    match prefill(model, kv, prompt, cancel) {
        Ok(stats) => result.prefill = stats,
        Err(PromptError::Cancelled) => {
            result.times.prefill = start.elapsed();
            return Ok(result);
        }
        Err(error) => return Err(error),
    }
    result.times.prefill = start.elapsed();
    let decode_start = Instant::now();
    let mut random = Random::new(sampling.seed);
    result.finish = loop {
        if result.ids.len() >= sampling.max_tokens {
            break Finish::Length;
        }
        // The last chosen token is evaluated only when another one is wanted.
        if let Some(last) = result.ids.last() {
            if kv.ids().len() >= kv.capacity() {
                break Finish::Length;
            }
            if let Err(Cancelled) = extend(model, kv, *last, cancel) {
                break Finish::Cancelled;
            }
        }
        let top = ops::top(kv.logits());
        if !top.log_sum_exp.is_finite() {
            return Err(PromptError::NotFinite);
        }
        let active = constraint.as_deref().filter(|c| c.is_active());
        let greedy = sampling.is_greedy() && active.is_none_or(|c| c.allows(top.index as u32));
        let chosen = if greedy {
            Some(top.index as u32)
        } else {
            let allows = active.map(|c| move |id| c.allows(id));
            let allows = allows.as_ref().map(|f| f as &dyn Fn(u32) -> bool);
            sample::choose(kv.logits(), sampling, &mut random, allows)
        };
        let Some(id) = chosen else { break Finish::Constraint };
        if sampling.stops.contains(&id) {
            break Finish::Stop;
        }
        let token = Token { id, logprob: kv.logits()[id as usize] - top.log_sum_exp };
        result.ids.push(id);
        result.logprobs.push(token.logprob);
        if let Some(constraint) = constraint.as_deref_mut().filter(|c| c.is_active()) {
            constraint.push(id);
        }
        if on_token(token).is_break() {
            break Finish::Callback;
        }
    };
    result.times.decode = decode_start.elapsed();
    Ok(result)
}
