//! One request from cursor to answer.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use lacuna_context::{Excerpt, ExcerptKind, FileFacts, Language, SyntaxTree, cursor_facts, cut_repeated_closers, gather, rank};
use lacuna_engine::{Cancel, Finish, Generation, KvDtype, Model, Sampling};
use lacuna_prompt::{Input, Options, Order, Prompt, SectionKind, Sentinels, Tokenizer, build};
use lacuna_text::Document;

use crate::check::parses_worse;
use crate::decode::{Decoded, Extent, Place, decode};
use crate::ghost::{Ghost, head, tail};
use crate::slots::Slots;
use crate::trim::{repeated_lines, repeated_rest_of_line};
use crate::{Explanation, Filter, Item, Milliseconds, Outcome, Reason, Reply, Tokens};

/// What can be set from outside. The defaults are those of the embedded model.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub order: Order,
    /// Take back the last word before the cursor (see `lacuna_prompt::Healing`).
    pub heal: bool,
    /// Upper limit of the prompt in tokens.
    pub prompt_tokens: usize,
    /// Upper limit of one single-line completion, in tokens.
    pub line_tokens: usize,
    /// Upper limit of one block, in tokens.
    pub block_tokens: usize,
    /// Generation stops here and the best so far is returned; zero means no deadline.
    pub deadline: Duration,
    /// Mean probability a token below which nothing is shown; zero shows everything.
    pub min_confidence: f32,
    /// Larger files are not completed.
    pub max_file_bytes: usize,
    /// Documents whose KV cache is kept.
    pub warm_documents: usize,
    /// How keys and values are held; `None`: as the engine chooses for the model.
    pub kv_dtype: Option<KvDtype>,
    /// Temperature of the alternatives after the first, which is always greedy.
    pub temperature: f32,
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            order: Order::Spm,
            heal: true,
            prompt_tokens: 1024,
            line_tokens: 48,
            block_tokens: 160,
            deadline: Duration::ZERO,
            min_confidence: 0.0,
            max_file_bytes: 4 << 20,
            warm_documents: 8,
            kv_dtype: None,
            temperature: 0.8,
            seed: 0,
        }
    }
}

/// One cursor in one document.
pub struct Request<'a> {
    /// Identifies the document from request to request (its URI or path).
    pub key: &'a str,
    /// Path as the model shall see it; relative to the workspace.
    pub path: Option<&'a str>,
    pub language: Language,
    pub document: &'a Document,
    pub tree: &'a SyntaxTree,
    /// Byte offset of the cursor, on a character boundary.
    pub cursor: usize,
    /// Number of alternatives wanted; at least one.
    pub n: usize,
    pub explain: bool,
}

/// A model with everything that turns a cursor into a suggestion. Shared between threads; requests of one document wait for
/// each other, those of different documents do not.
pub struct Completer {
    model: Arc<Model>,
    tokenizer: Arc<Tokenizer>,
    sentinels: Sentinels,
    settings: Settings,
    slots: Slots,
}

/// Bytes that a token of code stands for, about: tells what the prefix window will leave out.
const BYTES_PER_TOKEN: usize = 3;
/// Most alternatives that one request may ask for.
const MAX_ALTERNATIVES: usize = 8;

impl Completer {
    pub fn new(model: Arc<Model>, tokenizer: Arc<Tokenizer>, sentinels: Sentinels, settings: Settings) -> Completer {
        let slots = Slots::new(settings.warm_documents, settings.kv_dtype);
        Completer { model, tokenizer, sentinels, settings, slots }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    pub fn sentinels(&self) -> &Sentinels {
        &self.sentinels
    }

    /// Drops the state of a closed document.
    pub fn forget(&self, key: &str) {
        self.slots.remove(key);
    }

    /// Completes at the cursor. Returns within one layer of the forward pass after `cancel` is raised.
    pub fn complete(&self, request: &Request<'_>, cancel: &Cancel) -> Reply {
        let start = Instant::now();
        let mut answer = Answer::new(request.explain);
        let outcome = if request.document.len_bytes() > self.settings.max_file_bytes {
            Outcome::Silence(Reason::FileTooLarge)
        } else {
            self.outcome(request, cancel, start, &mut answer)
        };
        answer.ms.total = ms(start);
        Reply { outcome, from_memory: answer.from_memory, tokens: answer.tokens, ms: answer.ms, explanation: answer.explanation }
    }

    fn outcome(&self, request: &Request<'_>, cancel: &Cancel, start: Instant, answer: &mut Answer) -> Outcome {
        let text = request.document.text();
        let (prefix, suffix) = text.split_at(request.cursor);
        let slot = self.slots.slot(request.key, &self.model, self.capacity());
        // A panic in an earlier request may have poisoned the lock; the KV cache is valid at every token, so it can go on.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if cancel.is_cancelled() {
            return Outcome::Silence(Reason::Cancelled);
        }
        if let Some(items) = slot.ghost.as_ref().and_then(|ghost| ghost.remainder(prefix, suffix))
            && items.len() >= request.n.min(2)
        {
            answer.from_memory = true;
            return Outcome::Suggest(items.into_iter().take(request.n.max(1)).collect());
        }

        let stage = Instant::now();
        let facts = cursor_facts(request.tree, request.document.rope(), request.cursor);
        let block = !facts.mid_line && (facts.opens_block || facts.in_empty_block);
        let extent = if block { Extent::Block } else { Extent::Line };
        let place = Place { language: request.language, prefix, extent };
        let excerpts = rank(self.excerpts(request, prefix.len()), self.settings.prompt_tokens / 2);
        answer.ms.context = ms(stage);

        let stage = Instant::now();
        let excerpt_texts: Vec<String> = excerpts.iter().map(|e| format!("{}\n", e.text)).collect();
        let excerpt_texts: Vec<&str> = excerpt_texts.iter().map(String::as_str).collect();
        let input = Input { path: request.path, excerpts: &excerpt_texts, prefix, suffix };
        let options = Options { order: self.settings.order, budget: self.settings.prompt_tokens, heal: self.settings.heal };
        let prompt = build(&self.tokenizer, &self.sentinels, &input, &options);
        answer.ms.prompt = ms(stage);
        answer.tokens.prompt = prompt.ids.len();
        if let Some(explanation) = &mut answer.explanation {
            explanation.prompt = self.prompt_as_text(&prompt);
            explanation.excerpts = excerpts.iter().map(|e| (e.text.clone(), e.score)).collect();
        }

        let deadline = (!self.settings.deadline.is_zero()).then(|| start + self.settings.deadline);
        let mut items: Vec<Item> = Vec::new();
        let mut silence = Reason::Empty;
        for i in 0..request.n.clamp(1, MAX_ALTERNATIVES) {
            let sampling = self.sampling(extent, i);
            let engine = (&*self.model, &mut slot.cache);
            let decoded = match decode(engine, &self.tokenizer, &prompt, &place, &sampling, deadline, cancel) {
                Ok(decoded) => decoded,
                Err(error) => {
                    tracing::error!(%error, "prompt refused by the engine");
                    return Outcome::Silence(Reason::PromptRefused);
                }
            };
            answer.count(&decoded.generation, i == 0);
            if matches!(decoded.generation.finish, Finish::Cancelled) {
                if items.is_empty() {
                    return Outcome::Silence(Reason::Cancelled);
                }
                break;
            }
            match self.accept(request, &place, suffix, decoded, answer) {
                Ok(item) if items.iter().all(|other| other.text != item.text) => items.push(item),
                Ok(_) => {}
                Err(reason) if i == 0 => silence = reason,
                Err(_) => {}
            }
        }
        if items.is_empty() {
            return Outcome::Silence(silence);
        }
        slot.ghost = Some(Ghost::new(prefix, suffix, items.clone()));
        Outcome::Suggest(items)
    }

    /// The stop, trim and show rules on one generation.
    fn accept(
        &self,
        request: &Request<'_>,
        place: &Place<'_>,
        suffix: &str,
        decoded: Decoded,
        answer: &mut Answer,
    ) -> Result<Item, Reason> {
        let Decoded { text, generation, deadline_hit } = decoded;
        let logprob: f32 = generation.logprobs.iter().sum();
        let mut text = answer.filter("trailing-space", text, |t| t.trim_end().to_owned());
        if text.is_empty() {
            let at_once = generation.finish == Finish::Stop || !deadline_hit;
            return Err(if at_once { Reason::Empty } else { Reason::Deadline });
        }
        let closers = |t: &str| {
            t[..cut_repeated_closers(request.language, tail(place.prefix, BRACKET_WINDOW), t, head(suffix, BRACKET_WINDOW))].to_owned()
        };
        text = answer.filter("repeated-closers", text, closers);
        text = answer.filter("rest-of-line", text, |t| repeated_rest_of_line(t, suffix).to_owned());
        text = answer.filter("following-lines", text, |t| repeated_lines(t, suffix).to_owned());
        if text.trim().is_empty() {
            answer.dropped("repeats-suffix", &text);
            return Err(Reason::RepeatsSuffix);
        }
        let confidence = (logprob / generation.logprobs.len().max(1) as f32).exp();
        if confidence < self.settings.min_confidence {
            answer.dropped("low-confidence", &text);
            return Err(Reason::LowConfidence);
        }
        if parses_worse(request.tree, request.document, request.cursor, &text) {
            // A block that breaks the file may still begin with a good line.
            let first = text.lines().next().unwrap_or("").trim_end().to_owned();
            if first.trim().is_empty() || first == text || parses_worse(request.tree, request.document, request.cursor, &first) {
                answer.dropped("parses-worse", &text);
                return Err(Reason::ParsesWorse);
            }
            text = answer.filter("first-line-only", text, |_| first);
        }
        Ok(Item { text, logprob })
    }

    /// Excerpts of what the prefix window leaves out. The header is the prompt's own where the model has a file marker.
    fn excerpts(&self, request: &Request<'_>, prefix_len: usize) -> Vec<Excerpt> {
        let window_start = prefix_len.saturating_sub(self.settings.prompt_tokens * BYTES_PER_TOKEN);
        let file = FileFacts {
            path: request.path.unwrap_or(""),
            rope: request.document.rope(),
            tree: request.tree,
            cursor: request.cursor,
            window_start,
        };
        let has_header = self.sentinels.file.is_some() || request.path.is_none();
        gather(&file).into_iter().filter(|e| !(has_header && e.kind == ExcerptKind::Header)).collect()
    }

    fn sampling(&self, extent: Extent, alternative: usize) -> Sampling {
        let max_tokens = match extent {
            Extent::Line => self.settings.line_tokens,
            Extent::Block => self.settings.block_tokens,
        };
        Sampling {
            max_tokens,
            temperature: if alternative == 0 { 0.0 } else { self.settings.temperature },
            top_p: 0.95,
            top_k: 40,
            seed: self.settings.seed.wrapping_add(alternative as u64),
            stops: self.sentinels.stops.clone(),
        }
    }

    fn capacity(&self) -> usize {
        self.settings.prompt_tokens + self.settings.line_tokens.max(self.settings.block_tokens) + 1
    }

    /// Prompt text by section, markers by name, for `--explain`.
    fn prompt_as_text(&self, prompt: &Prompt) -> Vec<(String, String)> {
        let mut parts = Vec::new();
        let mut at = 0;
        let marker = |id: u32| (self.tokenizer.special_name(id).unwrap_or("?").to_owned(), String::new());
        for section in &prompt.sections {
            parts.extend(prompt.ids[at..section.tokens.start].iter().map(|&id| marker(id)));
            let name = match section.kind {
                SectionKind::Header => "header",
                SectionKind::Prefix => "prefix",
                SectionKind::Suffix => "suffix",
            };
            let bytes = self.tokenizer.decode(&prompt.ids[section.tokens.clone()]);
            parts.push((name.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
            at = section.tokens.end;
        }
        parts.extend(prompt.ids[at..].iter().map(|&id| marker(id)));
        if prompt.healing.is_active() {
            let bytes = String::from_utf8_lossy(prompt.healing.rolled_back()).into_owned();
            parts.push(("healed".to_owned(), bytes));
        }
        parts
    }
}

/// Bytes on either side of the cursor in which brackets are counted.
const BRACKET_WINDOW: usize = 8 << 10;

/// What is noted on the way.
struct Answer {
    from_memory: bool,
    tokens: Tokens,
    ms: Milliseconds,
    explanation: Option<Explanation>,
}

impl Answer {
    fn new(explain: bool) -> Answer {
        Answer {
            from_memory: false,
            tokens: Tokens::default(),
            ms: Milliseconds::default(),
            explanation: explain.then(Explanation::default),
        }
    }

    fn count(&mut self, generation: &Generation, first: bool) {
        if first {
            self.tokens.cached = generation.prefill.cached;
            self.tokens.prefilled = generation.prefill.prefilled;
        }
        self.tokens.generated += generation.ids.len();
        self.ms.prefill += generation.times.prefill.as_secs_f64() * 1e3;
        self.ms.decode += generation.times.decode.as_secs_f64() * 1e3;
    }

    fn filter(&mut self, name: &'static str, before: String, rule: impl FnOnce(&str) -> String) -> String {
        let after = rule(&before);
        if after != before
            && let Some(explanation) = &mut self.explanation
        {
            explanation.filters.push(Filter { name, before, after: Some(after.clone()) });
        }
        after
    }

    fn dropped(&mut self, name: &'static str, text: &str) {
        if let Some(explanation) = &mut self.explanation {
            explanation.filters.push(Filter { name, before: text.to_owned(), after: None });
        }
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
