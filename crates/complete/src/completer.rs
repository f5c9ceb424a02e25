//! One request from cursor to answer.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use lacuna_engine::{Cancel, Class, Finish, Model, PoolStats, PromptError, Sampling, Scheduler};
use lacuna_prompt::{Sentinels, Tokenizer};

use crate::answer::{Answer, ms};
use crate::background::{Background, Job};
use crate::core::{Core, ahead_key, small_key, warm_key};
use crate::cost::Costs;
use crate::decode::{Limits, decode};
use crate::items::{Tools, likelihood};
use crate::lease::Leased;
use crate::opened::{Opened, is_closed};
use crate::outcome::{Item, Outcome, Reason, Reply};
use crate::request::{Caller, Request, Snapshot};
use crate::settings::Settings;
use crate::state::{DocumentState, lock};
use crate::stop::{Extent, StopRule};
use crate::suffix;
use crate::surroundings::nothing_to_guess;

/// A model with everything that turns a cursor into a suggestion. Shared between threads; requests
/// of one document wait for each other, those of different documents take turns layer by layer.
pub struct Completer {
    core: Arc<Core>,
    background: OnceLock<Background>,
}

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
        let core = Core::new(scheduler, model, tokenizer, sentinels, settings);
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
        let core = &self.core;
        let outcome = if request.document.len_bytes() > core.settings.max_file_bytes {
            Outcome::Silence(Reason::FileTooLarge)
        } else if let Some(reason) = nothing_to_guess(request) {
            Outcome::Silence(reason)
        } else {
            let (outcome, next) = core.outcome(request, caller, cancel, start, &mut answer);
            if core.settings.background {
                next.into_iter().for_each(|job| self.background().push(job));
            }
            outcome
        };
        reply(outcome, answer, start)
    }

    /// What the model writes at the cursor within the limits of `sampling` until the rule ends it,
    /// token by token, as it is: nothing comes from memory, is trimmed or held back. For measuring.
    pub fn write(
        &self,
        request: &Request<'_>,
        (sampling, rule): (&Sampling, &mut dyn StopRule),
        caller: Caller<'_>,
        cancel: &Cancel,
    ) -> Reply {
        let start = Instant::now();
        let mut answer = Answer::new(request.explain);
        let outcome = if request.document.len_bytes() > self.core.settings.max_file_bytes {
            Outcome::Silence(Reason::FileTooLarge)
        } else {
            self.core.written(request, (sampling, rule), caller, cancel, start, &mut answer)
        };
        reply(outcome, answer, start)
    }
}

fn reply(outcome: Outcome, mut answer: Answer, start: Instant) -> Reply {
    answer.ms.total = ms(start);
    let Answer { from_memory, probability, tokens, ms, explanation } = answer;
    Reply { outcome, from_memory, probability, tokens, ms, explanation }
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
        let is_asked = self.settings.lines > 1;
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
        let _requesting = self.states.request(request.key, &state);
        let mut drafter = lock(&state.drafter);
        if cancel.is_cancelled() {
            return (Outcome::Silence(Reason::Cancelled), Vec::new());
        }
        // The request that was waited for may have answered this one too.
        if let Some(items) = self.recall(&state, request, &caller, answer) {
            return (Outcome::Suggest(items), Vec::new());
        }

        let deadline = self.deadline(start);
        let mut leased = self.lease(request, deadline, answer);
        let mut jobs = Vec::new();
        if leased.is_small {
            jobs.push(Job::Warm(Box::new(snapshot(request))));
        }
        if let Err(reason) = self.make_room(&mut leased, self.longest()) {
            return (Outcome::Silence(reason), jobs);
        }
        let extent = leased.prepared.extent;
        let cancel = self.taking_turns(cancel, &caller);
        let limits = Limits { deadline, cancel: &cancel, flight: caller.flight };
        // What is found is looked at in previews of the text, each a parse: they end with the
        // request.
        let tree = request.tree.clone().until(deadline);
        let request = &Request { tree: &tree, ..*request };
        let items = match self.complete_in(leased, request, caller, limits, &mut drafter, answer) {
            Ok(Ok(items)) => self.within_lines(items),
            Ok(Err(reason)) => return (Outcome::Silence(reason), jobs),
            Err(error) => return (Outcome::Silence(refused(&error)), jobs),
        };
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

    /// See [`Completer::write`].
    fn written(
        &self,
        request: &Request<'_>,
        (sampling, rule): (&Sampling, &mut dyn StopRule),
        caller: Caller<'_>,
        cancel: &Cancel,
        start: Instant,
        answer: &mut Answer,
    ) -> Outcome {
        let state = self.states.of(request.key);
        let _requesting = self.states.request(request.key, &state);
        let mut drafter = lock(&state.drafter);
        let deadline = self.deadline(start);
        let mut leased = self.lease(request, deadline, answer);
        if let Err(reason) = self.make_room(&mut leased, sampling.max_tokens) {
            return Outcome::Silence(reason);
        }
        let cancel = self.taking_turns(cancel, &caller);
        let limits = Limits { deadline, cancel: &cancel, flight: caller.flight };
        let Leased { prepared, mut lease, donors, .. } = leased;
        let mut tools = Tools { kv: &mut lease, drafter: &mut drafter, answer };
        let engine = self.engine(tools.kv, tools.drafter, 1, self.prefill(&donors));
        let decoded = match decode(engine, &prepared.prompt, &[], sampling, rule, &limits) {
            Ok(decoded) => decoded,
            Err(error) => return Outcome::Silence(refused(&error)),
        };
        self.learn(&decoded.generation, true, &mut tools);
        if decoded.generation.finish == Finish::Cancelled && !decoded.deadline_hit {
            return Outcome::Silence(Reason::Cancelled);
        }
        let (logprob, mean) = likelihood(&decoded.generation.logprobs);
        Outcome::Suggest(vec![Item { text: decoded.text, logprob, mean, probability: None }])
    }

    fn deadline(&self, start: Instant) -> Option<Instant> {
        (!self.settings.deadline.is_zero()).then(|| start + self.settings.deadline)
    }

    /// The flag of somebody who waits, in turns with the other clients.
    fn taking_turns(&self, cancel: &Cancel, caller: &Caller<'_>) -> Cancel {
        cancel.clone().with_turn(self.scheduler.turn(Class::Prefill, caller.client))
    }

    fn make_room(&self, leased: &mut Leased, more: usize) -> Result<(), Reason> {
        let Leased { prepared, lease, donors, .. } = leased;
        self.reserve(lease, donors, &prepared.prompt.ids, more).map_err(|error| {
            tracing::warn!(%error, "no room for the prompt");
            Reason::OverBudget
        })
    }

    /// Where no line may be broken, what goes on on the next one is left out: behind an opener even
    /// a single line does.
    fn within_lines(&self, mut items: Vec<Item>) -> Vec<Item> {
        if self.settings.lines <= 1 {
            // A break at the end puts the closer that stands there on its own line.
            items.retain(|item| !item.text.trim_end().contains(['\n', '\r']));
        }
        items
    }

    /// What memory has for the request.
    fn recall(
        &self,
        state: &DocumentState,
        request: &Request<'_>,
        caller: &Caller<'_>,
        answer: &mut Answer,
    ) -> Option<Vec<Item>> {
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
}

/// The reason for an error that the log has.
fn refused(error: &PromptError) -> Reason {
    tracing::error!(%error, "prompt refused by the engine");
    Reason::PromptRefused
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
