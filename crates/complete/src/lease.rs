//! The first two steps of a completion: its prompt, and the cache with room for prompt and answer.
//!
//! Who waits gets as much context as the deadline leaves time for, and what is held for speed alone
//! gives way; work in the background takes what is free ([`Core::lease_free`]).

use std::time::{Duration, Instant};

use lacuna_engine::{KvLease, KvSnapshot, OverBudget, PrefillOptions, Reuse};
use lacuna_prompt::Prompt;

use crate::Request;
use crate::answer::{Answer, ms};
use crate::core::{Core, ahead_key, common, small_key};
use crate::kept::Kept;
use crate::prompting::{self, Prepared};
use crate::state::lock;

/// Other documents' caches in which text that has moved is looked for.
const DONORS: usize = 4;
/// Tokens that shall still be generated when the prompt has taken its time.
const LEAST_TOKENS: usize = 8;
/// A prompt that would take too long is made smaller in these steps; none gets below so many
/// tokens.
const SMALLER: [usize; 3] = [2, 4, 8];
const LEAST_PROMPT: usize = 64;

/// A prompt and the cache for it.
pub(crate) struct Leased {
    pub prepared: Prepared,
    /// Tokens that the prompt may have.
    pub budget: usize,
    pub lease: KvLease,
    pub donors: Vec<KvSnapshot>,
    /// Smaller than it should be: the deadline leaves no time for more.
    pub is_small: bool,
}

impl Core {
    /// How prompts are computed, with what may be taken from `donors`.
    pub fn prefill<'a>(&self, donors: &'a [KvSnapshot]) -> PrefillOptions<'a> {
        PrefillOptions { reuse: self.settings.reuse, donors }
    }

    /// For a request that is waited for: as much context as the deadline leaves time for. Room in
    /// the cache is [`Core::reserve`]'s.
    pub fn lease(
        &self,
        request: &Request<'_>,
        deadline: Option<Instant>,
        answer: &mut Answer,
    ) -> Leased {
        let begun = Instant::now();
        let mut leased = self.affordable(request, deadline);
        let Prepared { prompt, excerpts, context_time, .. } = &mut leased.prepared;
        answer.ms.context = context_time.as_secs_f64() * 1e3;
        answer.ms.prompt = ms(begun) - answer.ms.context;
        answer.tokens.prompt = prompt.ids.len();
        if let Some(explanation) = &mut answer.explanation {
            explanation.prompt = prompting::as_text(&self.tokenizer, prompt);
            explanation.excerpts = std::mem::take(excerpts);
        }
        leased
    }

    fn affordable(&self, request: &Request<'_>, deadline: Option<Instant>) -> Leased {
        let budget = self.settings.prompt_tokens;
        let prepared = self.prepare(request, budget, 0);
        let lease = self.pool.lease(request.key);
        let donors = self.donors(request, &prepared.prompt);
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if self.is_in_time(&prepared.prompt, &lease, &donors, left) {
            return Leased { prepared, budget, lease, donors, is_small: false };
        }
        // The full prompt's cache stays as it is: it is warmed for the next time.
        drop(lease);
        let lease = self.pool.lease(&small_key(request.key));
        let (mut prepared, mut smaller) = (prepared, budget);
        for share in SMALLER {
            smaller = (budget / share).max(LEAST_PROMPT.min(budget));
            prepared = self.prepare(request, smaller, 0);
            if self.is_in_time(&prepared.prompt, &lease, &[], left) {
                break;
            }
        }
        Leased { prepared, budget: smaller, lease, donors: Vec::new(), is_small: true }
    }

    /// For work in the background, with room for `more` tokens behind the prompt; `None` where
    /// somebody else has the cache, or there is no room without taking it from others.
    pub fn lease_free(&self, request: &Request<'_>, more: usize) -> Option<Leased> {
        let budget = self.settings.prompt_tokens;
        let prepared = self.prepare(request, budget, 0);
        let mut lease = self.pool.try_lease(request.key)?;
        lease.reserve(&prepared.prompt.ids, more).ok()?;
        Some(Leased { prepared, budget, lease, donors: Vec::new(), is_small: false })
    }

    /// [`KvLease::reserve`] for somebody who waits: where there is no room, what is held for speed
    /// alone gives way, the sequences to take text from and work in the background. So an answer
    /// does not depend on how far that work has come.
    pub fn reserve(
        &self,
        lease: &mut KvLease,
        donors: &mut Vec<KvSnapshot>,
        ids: &[u32],
        more: usize,
    ) -> Result<(), OverBudget> {
        if lease.reserve(ids, more).is_ok() {
            return Ok(());
        }
        donors.clear();
        let _alone = self.states.alone();
        lease.reserve(ids, more)
    }

    /// Whether what nobody holds of a prompt can be computed and a few tokens generated in the time
    /// that is left. What is not known is tried.
    fn is_in_time(
        &self,
        prompt: &Prompt,
        lease: &KvLease,
        donors: &[KvSnapshot],
        left: Option<Duration>,
    ) -> bool {
        let Some(left) = left else { return true };
        let donated = donors.iter().map(|donor| common(donor.ids(), &prompt.ids));
        let held = donated.fold(lease.warm(&prompt.ids), usize::max);
        let costs = lock(&self.costs);
        let Some(prefill) = costs.prefill(prompt.ids.len().saturating_sub(held)) else {
            return true;
        };
        prefill + costs.tokens(LEAST_TOKENS).unwrap_or_default() <= left
    }

    /// Sequences from which parts of a prompt may be taken: the window that was warmed ahead, and,
    /// where text may be moved, its excerpts and other files.
    fn donors(&self, request: &Request<'_>, prompt: &Prompt) -> Vec<KvSnapshot> {
        let mut donors = Vec::new();
        if let Some(ahead) = self.pool.try_lease(&ahead_key(request.key))
            && common(ahead.ids(), &prompt.ids) > 0
        {
            donors.push(ahead.snapshot());
        }
        if self.settings.reuse != Reuse::Exact {
            let excerpts = request
                .excerpts
                .iter()
                .map(|excerpt| Kept::of(&self.tokenizer, &self.sentinels, excerpt));
            donors.extend(excerpts.filter_map(|kept| self.pool.snapshot(&kept.key)));
            donors.extend(self.pool.donors(|key| key != request.key && !Kept::is_key(key), DONORS));
        }
        donors
    }
}
