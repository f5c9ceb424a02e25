//! One request from cursor to answer.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use lacuna_engine::{
    Cancel, Class, KvLease, KvPool, KvSnapshot, Model, OverBudget, PoolStats, Reuse, Sampling,
    Scheduler,
};
use lacuna_prompt::{Prompt, Sentinels, Tokenizer};

use crate::answer::{Answer, ms};
use crate::background::{Background, Job};
use crate::calibration::passes;
use crate::decode::{Extent, Limits, Place};
use crate::items::Ask;
use crate::kept::Kept;
use crate::opened::{Opened, is_closed};
use crate::prompting::{self, Prepared};
use crate::search::closers;
use crate::state::{DocumentState, States, lock};
use crate::suffix;
use crate::surroundings::nothing_to_guess;
use crate::{
    Asked, Caller, Costs, Eagerness, Item, Outcome, Reason, Reply, Request, Settings, Snapshot,
};

/// A model with everything that turns a cursor into a suggestion. Shared between threads; requests
/// of one document wait for each other, those of different documents take turns layer by layer.
pub struct Completer {
    core: Arc<Core>,
    background: OnceLock<Background>,
}

/// What requests and work in the background share.
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

/// Other documents' caches in which text that has moved is looked for.
const DONORS: usize = 4;
/// Tokens that shall still be generated when the prompt has taken its time.
const LEAST_TOKENS: usize = 8;
/// A prompt that would take too long is made smaller in these steps; none gets below so many
/// tokens.
const SMALLER: [usize; 3] = [2, 4, 8];
const LEAST_PROMPT: usize = 64;
/// Tokens that restate a word which was taken back, at most; see [`Settings::fixed_tokens`].
const HEALED: usize = 16;
/// More blanks right of the cursor are not looked over.
const MAX_BLANK: usize = 256;

impl Completer {
    pub fn new(
        model: Arc<Model>,
        tokenizer: Arc<Tokenizer>,
        sentinels: Sentinels,
        settings: Settings,
    ) -> Completer {
        Completer::sharing(Scheduler::new(), model, tokenizer, sentinels, settings)
    }

    /// As [`Completer::new`]; takes turns with every other completer of this scheduler.
    pub fn sharing(
        scheduler: Arc<Scheduler>,
        model: Arc<Model>,
        tokenizer: Arc<Tokenizer>,
        sentinels: Sentinels,
        settings: Settings,
    ) -> Completer {
        let capacity = settings.prompt_tokens + longest(&settings);
        let pool =
            KvPool::new(Arc::clone(&model), settings.kv_dtype, capacity, settings.kv_budget_bytes);
        let costs =
            if settings.costs.is_sound() { settings.costs.clone() } else { Costs::default() };
        let closers = closers(&tokenizer, &sentinels.stops);
        let (states, costs) = (States::default(), Mutex::new(costs));
        let core =
            Core { model, tokenizer, sentinels, closers, settings, pool, scheduler, states, costs };
        Completer { core: Arc::new(core), background: OnceLock::new() }
    }

    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    pub fn model(&self) -> &Model {
        &self.core.model
    }

    pub fn sentinels(&self) -> &Sentinels {
        &self.core.sentinels
    }

    /// What prefill and generation cost here, as learned so far; goes into [`Settings::costs`] of
    /// the next run.
    pub fn costs(&self) -> Costs {
        lock(&self.core.costs).clone()
    }

    /// Keys and values of all documents: bytes, hits, misses.
    pub fn kv(&self) -> PoolStats {
        self.core.pool.stats()
    }

    /// Drops the state of a closed document.
    pub fn forget(&self, key: &str) {
        self.core.states.remove(key);
        for key in
            [key.to_owned(), ahead_key(key), small_key(key), warm_key(key), suffix::key_of(key)]
        {
            self.core.pool.remove(&key);
        }
    }

    /// A document was opened or changed at `snapshot.cursor`: what a request there will need is
    /// computed now, if nobody waits for anything. Returns at once; does nothing unless
    /// [`Settings::background`] is on.
    pub fn edited(&self, snapshot: Snapshot) {
        if self.core.settings.background
            && snapshot.document.len_bytes() <= self.core.settings.max_file_bytes
        {
            self.background().push(Job::Warm(Box::new(snapshot)));
        }
    }

    /// Waits until nothing is left to do in the background.
    pub fn settle(&self) {
        if let Some(background) = self.background.get() {
            background.settle();
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    fn background(&self) -> &Background {
        self.background.get_or_init(|| Background::start(Arc::clone(&self.core)))
    }

    /// Completes at the cursor. Returns within one layer of the forward pass after `cancel` is
    /// raised.
    pub fn complete(&self, request: &Request<'_>, cancel: &Cancel) -> Reply {
        self.complete_for(request, Caller::default(), cancel)
    }

    /// As [`Completer::complete`], with what is known of who asks.
    pub fn complete_for(
        &self,
        request: &Request<'_>,
        caller: Caller<'_>,
        cancel: &Cancel,
    ) -> Reply {
        let start = Instant::now();
        let mut answer = Answer::new(request.explain);
        let outcome = if request.document.len_bytes() > self.core.settings.max_file_bytes {
            Outcome::Silence(Reason::FileTooLarge)
        } else if let Some(reason) = self.core.nothing_to_guess(request) {
            Outcome::Silence(reason)
        } else {
            let (outcome, next) = self.core.outcome(request, caller, cancel, start, &mut answer);
            if self.core.settings.background {
                next.into_iter().for_each(|job| self.background().push(job));
            }
            outcome
        };
        answer.ms.total = ms(start);
        let Answer { from_memory, probability, tokens, ms, explanation } = answer;
        Reply { outcome, from_memory, probability, tokens, ms, explanation }
    }
}

impl Core {
    /// The answer, and what is worth preparing after it.
    fn outcome(
        &self,
        request: &Request<'_>,
        caller: Caller<'_>,
        cancel: &Cancel,
        start: Instant,
        answer: &mut Answer,
    ) -> (Outcome, Vec<Job>) {
        let is_asked = self.settings.lines > 1 && self.settings.fixed_tokens.is_none();
        let Some(opened) = is_asked.then(|| Opened::at(request)).flatten() else {
            return self.outcome_at(request, caller, cancel, start, answer);
        };
        let state = self.states.of(request.key);
        if let Some(items) = self.recall(&state, request, &caller, answer) {
            return (Outcome::Suggest(items), Vec::new());
        }
        let refused: Vec<String> =
            caller.refused.iter().filter_map(|text| opened.body(text)).collect();
        // What is typed at the cursor says nothing of what is written on the line below it.
        let caller = Caller { flight: None, refused: &refused, ..caller };
        let (outcome, jobs) =
            self.outcome_at(&opened.request(request), caller, cancel, start, answer);
        if let Some(generated) =
            answer.explanation.as_mut().and_then(|explanation| explanation.generated.as_mut())
        {
            generated.text = opened.whole(&generated.text);
        }
        let Outcome::Suggest(mut items) = outcome else { return (outcome, jobs) };
        // A bracket that the body leaves open would be closed by the block's own.
        items.retain(|item| is_closed(request.language, &item.text));
        if items.is_empty() {
            if let Some(explanation) = &mut answer.explanation {
                explanation.generated = None;
            }
            return (Outcome::Silence(Reason::ParsesWorse), jobs);
        }
        for item in &mut items {
            item.text = opened.whole(&item.text);
        }
        lock(&state.ghosts).add(request.document, request.cursor, items.clone());
        (Outcome::Suggest(items), jobs)
    }

    /// The answer at the place itself.
    fn outcome_at(
        &self,
        request: &Request<'_>,
        caller: Caller<'_>,
        cancel: &Cancel,
        start: Instant,
        answer: &mut Answer,
    ) -> (Outcome, Vec<Job>) {
        let state = self.states.of(request.key);
        if let Some(items) = self.recall(&state, request, &caller, answer) {
            return (Outcome::Suggest(items), Vec::new());
        }
        let _requesting = state.request();
        let mut drafter = lock(&state.drafter);
        if cancel.is_cancelled() {
            return (Outcome::Silence(Reason::Cancelled), Vec::new());
        }
        // The request that was waited for may have answered this one too.
        if let Some(items) = self.recall(&state, request, &caller, answer) {
            return (Outcome::Suggest(items), Vec::new());
        }

        let stage = Instant::now();
        let deadline = (!self.settings.deadline.is_zero()).then(|| start + self.settings.deadline);
        let Planned { prepared, budget, mut lease, mut donors, is_small } =
            self.plan(request, deadline);
        let Prepared { prompt, extent, excerpts, context_time } = prepared;
        answer.ms.context = context_time.as_secs_f64() * 1e3;
        answer.ms.prompt = ms(stage) - answer.ms.context;
        answer.tokens.prompt = prompt.ids.len();
        if let Some(explanation) = &mut answer.explanation {
            explanation.prompt = prompting::as_text(&self.tokenizer, &prompt);
            explanation.excerpts = excerpts;
        }
        let mut jobs = Vec::new();
        if is_small {
            jobs.push(Job::Warm(Box::new(snapshot(request))));
        }
        if let Err(error) = self.reserve(&mut lease, &mut donors, &prompt.ids, self.longest()) {
            tracing::warn!(%error, "no room for the prompt");
            return (Outcome::Silence(Reason::OverBudget), jobs);
        }

        let prefix = request.document.slice(0..request.cursor);
        let place = Place { language: request.language, prefix: &prefix, extent };
        let cancel = cancel.clone().with_turn(self.scheduler.turn(Class::Prefill, caller.client));
        let limits = Limits {
            deadline,
            cancel: &cancel,
            fixed_tokens: self.settings.fixed_tokens,
            flight: caller.flight,
        };
        // What is found is looked at in previews of the text, each a parse: they end with the
        // request.
        let tree = request.tree.clone().until(deadline);
        let request = &Request { tree: &tree, ..*request };
        let unhealed = || {
            prompting::unhealed(&self.tokenizer, &self.sentinels, &self.settings, request, budget)
        };
        let ask = Ask {
            request,
            prompt: &prompt,
            unhealed: &unhealed,
            place,
            limits,
            donors: &donors,
            n: request.n,
            caller,
        };
        let items = match self.items(&ask, &mut lease, &mut drafter, answer) {
            Ok(Ok(items)) => items,
            Ok(Err(reason)) => return (Outcome::Silence(reason), jobs),
            Err(error) => {
                tracing::error!(%error, "prompt refused by the engine");
                return (Outcome::Silence(Reason::PromptRefused), jobs);
            }
        };
        let items = self.within_lines(items);
        if items.is_empty() {
            return (Outcome::Silence(Reason::Empty), jobs);
        }
        answer.probability = items[0].probability;
        if !self.is_wanted(request, &items, caller.eagerness) {
            answer.dropped("low-confidence", &items[0].text);
            return (Outcome::Silence(Reason::LowConfidence), jobs);
        }
        lock(&state.ghosts).add(request.document, request.cursor, items.clone());
        jobs.extend(next_line(request, extent, &items[0]));
        (Outcome::Suggest(items), jobs)
    }

    /// Where no line may be broken, what goes on on the next one is left out: behind an opener even
    /// a single line does.
    fn within_lines(&self, mut items: Vec<Item>) -> Vec<Item> {
        if self.settings.lines <= 1 && self.settings.fixed_tokens.is_none() {
            // A break at the end puts the closer that stands there on its own line.
            items.retain(|item| !item.text.trim_end().contains(['\n', '\r']));
        }
        items
    }

    /// Whether the first item is sure enough to be shown: to who has asked for it, always.
    pub fn is_wanted(&self, request: &Request<'_>, items: &[Item], eagerness: Eagerness) -> bool {
        let is_sure = |item: &Item| passes(item.confidence(), self.settings.least(item, eagerness));
        request.asked == Asked::Explicitly
            || self.settings.fixed_tokens.is_some()
            || items.first().is_none_or(is_sure)
    }

    /// Why the model is not asked, if it is not.
    fn nothing_to_guess(&self, request: &Request<'_>) -> Option<Reason> {
        self.settings.fixed_tokens.is_none().then(|| nothing_to_guess(request))?
    }

    /// What memory has for the request.
    fn recall(
        &self,
        state: &DocumentState,
        request: &Request<'_>,
        caller: &Caller<'_>,
        answer: &mut Answer,
    ) -> Option<Vec<Item>> {
        if self.settings.fixed_tokens.is_some() {
            return None;
        }
        let mut items = lock(&state.ghosts).recall(request.document, request.cursor)?;
        items.retain(|item| !caller.refuses(&item.text));
        if items.len() < request.n.clamp(1, 2) {
            return None;
        }
        answer.from_memory = true;
        items.truncate(request.n.max(1));
        answer.probability = items[0].probability;
        Some(items)
    }

    /// The prompt and the cache for it: as much context as the deadline leaves time for.
    fn plan(&self, request: &Request<'_>, deadline: Option<Instant>) -> Planned {
        let prepare = |budget| {
            prompting::prepare(&self.tokenizer, &self.sentinels, &self.settings, request, budget, 0)
        };
        let prepared = prepare(self.settings.prompt_tokens);
        let lease = self.pool.lease(request.key);
        let donors = self.donors(request, &prepared.prompt);
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let in_time = |prompt: &Prompt, lease: &KvLease, donors: &[KvSnapshot]| {
            let held = donors
                .iter()
                .map(|d| common(d.ids(), &prompt.ids))
                .max()
                .unwrap_or(0)
                .max(lease.warm(&prompt.ids));
            self.is_affordable(prompt.ids.len() - held.min(prompt.ids.len()), left)
        };
        if in_time(&prepared.prompt, &lease, &donors) {
            return Planned {
                prepared,
                budget: self.settings.prompt_tokens,
                lease,
                donors,
                is_small: false,
            };
        }
        // The full prompt's cache stays as it is: it is warmed for the next time.
        drop(lease);
        let lease = self.pool.lease(&small_key(request.key));
        let mut smallest = None;
        let mut budget = self.settings.prompt_tokens;
        for share in SMALLER {
            budget = (self.settings.prompt_tokens / share)
                .max(LEAST_PROMPT.min(self.settings.prompt_tokens));
            let prepared = prepare(budget);
            let fits = in_time(&prepared.prompt, &lease, &[]);
            smallest = Some(prepared);
            if fits {
                break;
            }
        }
        Planned {
            prepared: smallest.unwrap_or(prepared),
            budget,
            lease,
            donors: Vec::new(),
            is_small: true,
        }
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

    /// Whether so many tokens can be prefilled and a few generated in the time that is left. What
    /// is not known is tried.
    fn is_affordable(&self, tokens: usize, left: Option<Duration>) -> bool {
        let Some(left) = left else { return true };
        let costs = lock(&self.costs);
        let Some(prefill) = costs.prefill(tokens) else { return true };
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

    pub fn sampling(&self, extent: Extent, alternative: usize) -> Sampling {
        let max_tokens = match (self.settings.fixed_tokens, extent) {
            (Some(n), _) => n + HEALED,
            (None, Extent::Line) => self.settings.line_tokens,
            (None, Extent::Block { .. }) => self.settings.block_tokens,
        };
        Sampling {
            max_tokens,
            temperature: if alternative == 0 { 0.0 } else { self.settings.temperature },
            top_p: 0.95,
            top_k: 40,
            seed: self.settings.seed.wrapping_add(alternative as u64),
            stops: if self.settings.fixed_tokens.is_some() {
                Vec::new()
            } else {
                self.sentinels.stops.clone()
            },
        }
    }

    pub fn longest(&self) -> usize {
        longest(&self.settings)
    }
}

/// Tokens of the longest answer, and one.
fn longest(settings: &Settings) -> usize {
    settings
        .fixed_tokens
        .map_or(0, |n| n + HEALED)
        .max(settings.line_tokens)
        .max(settings.block_tokens)
        + 1
}

/// What [`Core::plan`] decides.
struct Planned {
    prepared: Prepared,
    /// Tokens that the prompt may have.
    budget: usize,
    lease: KvLease,
    donors: Vec<KvSnapshot>,
    /// Smaller than it should be: the deadline leaves no time for more.
    is_small: bool,
}

/// Where the window that comes next is warmed.
pub(crate) fn ahead_key(key: &str) -> String {
    format!("{key}#ahead")
}

/// Where a caller of [`Completer::fill`] warms beginnings of prompts.
pub(crate) fn warm_key(key: &str) -> String {
    format!("{key}#warm")
}

fn small_key(key: &str) -> String {
    format!("{key}#small")
}

/// Leading tokens that are equal.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The work of preparing the line behind a suggestion that ends its line: the document as it is
/// once it has been accepted and the line broken. Its prompt begins with the one that is warm,
/// accepted text included.
fn next_line(request: &Request<'_>, extent: Extent, item: &Item) -> Option<Job> {
    let mut next = snapshot(request);
    let rest = request.document.slice(request.cursor..request.cursor.saturating_add(MAX_BLANK));
    let line_break = match rest.trim_start_matches([' ', '\t']) {
        "" | "\n" => "\n",
        rest if rest.starts_with("\r\n") => "\r\n",
        rest if rest.starts_with('\n') => "\n",
        _ => return None,
    };
    if extent != Extent::Line {
        return None;
    }
    let edit =
        next.document.splice(request.cursor..request.cursor, &format!("{}{line_break}", item.text));
    next.tree.edit(&edit);
    next.tree.reparse(next.document.rope());
    next.cursor = edit.new_end_byte;
    Some(Job::NextLine(Box::new(next)))
}

fn snapshot(request: &Request<'_>) -> Snapshot {
    Snapshot {
        key: request.key.to_owned(),
        path: request.path.map(str::to_owned),
        language: request.language,
        document: request.document.clone(),
        tree: request.tree.clone().until(None),
        cursor: request.cursor,
        excerpts: request.excerpts.into(),
    }
}
