//! One request from cursor to answer.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use lacuna_engine::{Cancel, Class, Model, PoolStats, Sampling, Scheduler};
use lacuna_prompt::{Sentinels, Tokenizer};

use crate::answer::Answer;
use crate::background::{Background, Job};
use crate::core::{Core, ahead_key, small_key, warm_key};
use crate::decode::Limits;
use crate::items::{How, Items, Tools, refused};
use crate::lease::Leased;
use crate::opened::{Opened, is_closed};
use crate::search::likelihood;
use crate::state::{DocumentState, lock};
use crate::stop::Extent;
use crate::suffix;
use crate::surroundings::nothing_to_guess;
use crate::{Caller, Costs, Item, Outcome, Reason, Reply, Request, Settings, Snapshot, StopRule};

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
        let mut waiting = Waiting::new(request, cancel);
        let items = self.core.items(request, caller, &mut waiting);
        if self.core.settings.background {
            waiting.next.drain(..).for_each(|job| self.background().push(job));
        }
        waiting.reply(items)
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
        let mut waiting = Waiting::new(request, cancel);
        let items = self.core.written(request, (sampling, rule), caller, &mut waiting);
        waiting.reply(items)
    }
}

/// A request that is waited for.
struct Waiting<'a> {
    start: Instant,
    cancel: &'a Cancel,
    answer: Answer,
    /// What is worth preparing after it.
    next: Vec<Job>,
}

impl<'a> Waiting<'a> {
    fn new(request: &Request<'_>, cancel: &'a Cancel) -> Waiting<'a> {
        let (start, answer) = (Instant::now(), Answer::new(request.explain));
        Waiting { start, cancel, answer, next: Vec::new() }
    }

    fn reply(self, items: Items) -> Reply {
        let Answer { from_memory, probability, tokens, mut ms, explanation, .. } = self.answer;
        ms.total = crate::answer::ms(self.start);
        let outcome = items.map_or_else(Outcome::Silence, Outcome::Suggest);
        Reply { outcome, from_memory, probability, tokens, ms, explanation }
    }
}

impl Core {
    /// What is suggested: where a block is opened at the cursor, its body, begun on the line below.
    fn items(&self, request: &Request<'_>, caller: Caller<'_>, waiting: &mut Waiting<'_>) -> Items {
        if request.document.len_bytes() > self.settings.max_file_bytes {
            return Err(Reason::FileTooLarge);
        }
        if let Some(reason) = nothing_to_guess(request) {
            return Err(reason);
        }
        let is_asked = self.settings.lines > 1;
        let Some(opened) = is_asked.then(|| Opened::at(request)).flatten() else {
            return self.items_at(request, caller, waiting);
        };
        let state = self.states.of(request.key);
        if let Some(items) = self.recall(&state, request, &caller, &mut waiting.answer) {
            return Ok(items);
        }
        let refused: Vec<String> =
            caller.refused.iter().filter_map(|text| opened.body(text)).collect();
        // What is typed at the cursor says nothing of what is written on the line below it.
        let caller = Caller { flight: None, refused: &refused, ..caller };
        let items = self.items_at(&opened.request(request), caller, waiting);
        let explanation = &mut waiting.answer.explanation;
        if let Some(generated) = explanation.as_mut().and_then(|e| e.generated.as_mut()) {
            generated.text = opened.whole(&generated.text);
        }
        let mut items = items?;
        // A bracket that the body leaves open would be closed by the block's own.
        items.retain(|item| is_closed(request.language, &item.text));
        if items.is_empty() {
            explanation.iter_mut().for_each(|explanation| explanation.generated = None);
            return Err(Reason::ParsesWorse);
        }
        for item in &mut items {
            item.text = opened.whole(&item.text);
        }
        lock(&state.ghosts).add(request.document, request.cursor, items.clone());
        Ok(items)
    }

    /// What is suggested at the place itself.
    fn items_at(
        &self,
        request: &Request<'_>,
        caller: Caller<'_>,
        waiting: &mut Waiting<'_>,
    ) -> Items {
        let state = self.states.of(request.key);
        if let Some(items) = self.recall(&state, request, &caller, &mut waiting.answer) {
            return Ok(items);
        }
        let _requesting = self.states.request(request.key, &state);
        let mut drafter = lock(&state.drafter);
        if waiting.cancel.is_cancelled() {
            return Err(Reason::Cancelled);
        }
        // The request that was waited for may have answered this one too.
        if let Some(items) = self.recall(&state, request, &caller, &mut waiting.answer) {
            return Ok(items);
        }
        let deadline = self.deadline(waiting);
        let leased = self.lease_for(request, deadline, self.longest(), waiting)?;
        let extent = leased.prepared.extent;
        let cancel = self.taking_turns(waiting.cancel, &caller);
        let limits = Limits { deadline, cancel: &cancel, flight: caller.flight };
        // What is found is looked at in previews of the text, each a parse: they end with the
        // request.
        let tree = request.tree.clone().until(deadline);
        let request = &Request { tree: &tree, ..*request };
        let answer = &mut waiting.answer;
        let items = self.complete_in(leased, request, caller, limits, &mut drafter, answer)?;
        let items = self.within_lines(items);
        let best = items.first().ok_or(Reason::Empty)?;
        answer.probability = best.probability;
        if !self.is_wanted(request, &items, caller.eagerness) {
            answer.dropped("low-confidence", &best.text);
            return Err(Reason::LowConfidence);
        }
        lock(&state.ghosts).add(request.document, request.cursor, items.clone());
        waiting.next.extend(next_line(request, extent, best));
        Ok(items)
    }

    /// See [`Completer::write`].
    fn written(
        &self,
        request: &Request<'_>,
        (sampling, rule): (&Sampling, &mut dyn StopRule),
        caller: Caller<'_>,
        waiting: &mut Waiting<'_>,
    ) -> Items {
        let state = self.states.of(request.key);
        let _requesting = self.states.request(request.key, &state);
        let mut drafter = lock(&state.drafter);
        let deadline = self.deadline(waiting);
        let leased = self.lease_for(request, deadline, sampling.max_tokens, waiting)?;
        let Leased { prepared, mut lease, donors, .. } = leased;
        let cancel = self.taking_turns(waiting.cancel, &caller);
        let limits = Limits { deadline, cancel: &cancel, flight: caller.flight };
        let how = How { prompt: &prepared.prompt, limits, prefill: self.prefill(&donors) };
        let answer = &mut waiting.answer;
        let tools = &mut Tools { kv: &mut lease, drafter: &mut drafter, answer };
        let decoded = self.write(&how, &[], sampling, rule, tools).map_err(refused)?;
        if decoded.is_cancelled() {
            return Err(Reason::Cancelled);
        }
        let (logprob, mean) = likelihood(&decoded.generation.logprobs);
        Ok(vec![Item { text: decoded.text, logprob, mean, probability: None }])
    }

    fn deadline(&self, waiting: &Waiting<'_>) -> Option<Instant> {
        (!self.settings.deadline.is_zero()).then(|| waiting.start + self.settings.deadline)
    }

    /// The flag of somebody who waits, in turns with the other clients.
    fn taking_turns(&self, cancel: &Cancel, caller: &Caller<'_>) -> Cancel {
        cancel.clone().with_turn(self.scheduler.turn(Class::Prefill, caller.client))
    }

    /// [`Core::lease`] with room for `more` tokens behind the prompt.
    fn lease_for(
        &self,
        request: &Request<'_>,
        deadline: Option<Instant>,
        more: usize,
        waiting: &mut Waiting<'_>,
    ) -> Result<Leased, Reason> {
        let mut leased = self.lease(request, deadline, &mut waiting.answer);
        if leased.is_small {
            waiting.next.push(Job::Warm(Box::new(snapshot(request))));
        }
        let Leased { prepared, lease, donors, .. } = &mut leased;
        self.reserve(lease, donors, &prepared.prompt.ids, more).map_err(|error| {
            tracing::warn!(%error, "no room for the prompt");
            Reason::OverBudget
        })?;
        Ok(leased)
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
