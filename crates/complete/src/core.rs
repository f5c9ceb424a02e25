//! What requests and work in the background share: the model, the caches, what is known of
//! documents and of this machine.

use std::sync::{Arc, Mutex};

use lacuna_engine::{Drafter, KvCache, KvPool, Model, PrefillOptions, Sampling, Scheduler};
use lacuna_prompt::{Sentinels, Tokenizer};

use crate::calibration::passes;
use crate::decode::Engine;
use crate::search::closers;
use crate::state::States;
use crate::stop::Extent;
use crate::{Asked, Costs, Eagerness, Item, Request, Settings};

/// See the module.
pub(crate) struct Core {
    pub model: Arc<Model>,
    pub tokenizer: Arc<Tokenizer>,
    pub sentinels: Sentinels,
    /// See [`Wanted::closers`](crate::search::Wanted).
    pub closers: Vec<u32>,
    pub settings: Settings,
    pub pool: Arc<KvPool>,
    pub scheduler: Arc<Scheduler>,
    pub states: States,
    pub costs: Mutex<Costs>,
}

impl Core {
    pub fn new(
        scheduler: Arc<Scheduler>,
        model: Arc<Model>,
        tokenizer: Arc<Tokenizer>,
        sentinels: Sentinels,
        settings: Settings,
    ) -> Core {
        let capacity = settings.prompt_tokens + longest(&settings);
        let pool =
            KvPool::new(Arc::clone(&model), settings.kv_dtype, capacity, settings.kv_budget_bytes);
        let costs =
            if settings.costs.is_sound() { settings.costs.clone() } else { Costs::default() };
        let closers = closers(&tokenizer, &sentinels.stops);
        let (states, costs) = (States::default(), Mutex::new(costs));
        Core { model, tokenizer, sentinels, closers, settings, pool, scheduler, states, costs }
    }

    /// What generates in a cache. `beam`: see [`crate::Settings::beam`].
    pub fn engine<'a>(
        &'a self,
        kv: &'a mut KvCache,
        drafter: &'a mut Drafter,
        beam: usize,
        prefill: PrefillOptions<'a>,
    ) -> Engine<'a> {
        Engine {
            model: &self.model,
            kv,
            drafter: self.settings.drafts.then_some(drafter),
            beam,
            prefill,
            tokenizer: &self.tokenizer,
        }
    }

    pub fn sampling(&self, extent: Extent, alternative: usize) -> Sampling {
        Sampling {
            max_tokens: match extent {
                Extent::Line => self.settings.line_tokens,
                Extent::Block { .. } => self.settings.block_tokens,
            },
            temperature: if alternative == 0 { 0.0 } else { self.settings.temperature },
            top_p: 0.95,
            top_k: 40,
            seed: self.settings.seed.wrapping_add(alternative as u64),
            stops: self.sentinels.stops.clone(),
        }
    }

    /// Tokens of the longest answer, and one.
    pub fn longest(&self) -> usize {
        longest(&self.settings)
    }

    /// Whether the first item is sure enough to be shown: to who has asked for it, always.
    pub fn is_wanted(&self, request: &Request<'_>, items: &[Item], eagerness: Eagerness) -> bool {
        let is_sure = |item: &Item| passes(item.confidence(), self.settings.least(item, eagerness));
        request.asked == Asked::Explicitly || items.first().is_none_or(is_sure)
    }
}

fn longest(settings: &Settings) -> usize {
    settings.line_tokens.max(settings.block_tokens) + 1
}

/// Where the window that comes next is warmed.
pub(crate) fn ahead_key(key: &str) -> String {
    format!("{key}#ahead")
}

/// Where a caller of [`crate::Completer::fill`] warms beginnings of prompts.
pub(crate) fn warm_key(key: &str) -> String {
    format!("{key}#warm")
}

pub(crate) fn small_key(key: &str) -> String {
    format!("{key}#small")
}

/// Leading tokens that are equal.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
