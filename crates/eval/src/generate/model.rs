//! Completions by a model of ours: as the editor asks for them, and raw (`packed`).

use std::sync::{Arc, Mutex, PoisonError};

use lacuna_complete::{Asked, Completer, Outcome, Request, excerpts};
use lacuna_context::{Excerpt, Language, ParseLimit, SyntaxTree};
use lacuna_engine::{Cancel, KvCache, Model, Precision, Sampling, alone, threads};
use lacuna_prompt::excerpts::{as_shown, other_files_bytes};
use lacuna_prompt::{Input, Options, Order, Sentinels, Tokenizer, build};
use lacuna_text::Document;
use sha2::{Digest, Sha256};

use super::{ContextMode, Generator, Interrupted, PromptRow, Timing, cross_file_excerpts};
use crate::Example;
use crate::example::Task;
use crate::example::stages::{Generation, Output, Prompt};
use crate::stats::hash_text;

/// Bytes that a token of code stands for, about.
const BYTES_PER_TOKEN: usize = 3;
/// Keys and values of one batch at most; large models get smaller batches.
const BATCH_BYTES: usize = 512 << 20;

/// How raw mode asks.
#[derive(Clone, Debug, PartialEq)]
pub struct RawSettings {
    pub order: Order,
    pub context: ContextMode,
    /// Most tokens of a prompt.
    pub prompt_tokens: usize,
    /// Most tokens of an answer, where the hole may be longer than a line.
    pub max_tokens: usize,
    /// Most tokens of an answer where the set says that the hole is one line or the rest of one.
    pub line_tokens: usize,
    pub samples: usize,
    /// 0: greedy.
    pub temperature: f32,
    pub top_p: f32,
    pub seed: u64,
    /// Examples that are completed together.
    pub batch: usize,
}

/// A model, with the editor's completer around it and without.
pub struct ModelGenerator {
    completer: Option<Completer>,
    pub(super) model: Arc<Model>,
    pub(super) tokenizer: Arc<Tokenizer>,
    sentinels: Sentinels,
    pub(super) settings: RawSettings,
    /// Whether to generate raw, and whether to score the true middle.
    pub(super) raw: bool,
    pub(super) gold: bool,
    /// The caches of a batch for each worker.
    caches: Vec<Mutex<Vec<KvCache>>>,
    /// Whether the workers are as many as the cores: then each computes on its own, and none waits
    /// for another.
    one_a_core: bool,
}

impl ModelGenerator {
    /// `completer`: for the editor's mode. `prompt_tokens` is lowered to what the model's context
    /// leaves beside an answer, `batch` to what memory holds.
    pub fn new(
        (model, tokenizer, sentinels): (Arc<Model>, Arc<Tokenizer>, Sentinels),
        completer: Option<Completer>,
        (raw, gold): (bool, bool),
        mut settings: RawSettings,
        workers: usize,
    ) -> ModelGenerator {
        let limit = model.spec().max_positions;
        settings.max_tokens = settings.max_tokens.min(limit / 2);
        settings.line_tokens = settings.line_tokens.min(settings.max_tokens);
        settings.prompt_tokens = settings.prompt_tokens.min(limit - settings.max_tokens - 1);
        let capacity = settings.prompt_tokens + settings.max_tokens + 1;
        settings.batch = settings.batch.min(BATCH_BYTES / cache_bytes(&model, capacity)).max(1);
        let batch = || (0..settings.batch).map(|_| KvCache::new(&model, capacity)).collect();
        let caches = (0..workers.max(1)).map(|_| Mutex::new(batch())).collect();
        let one_a_core = workers > 1 && workers >= threads();
        ModelGenerator {
            completer,
            model,
            tokenizer,
            sentinels,
            settings,
            raw,
            gold,
            caches,
            one_a_core,
        }
    }

    fn editor(
        &self,
        completer: &Completer,
        example: &Example,
        worker: usize,
        cancel: &Cancel,
    ) -> Result<(Output, Timing), Interrupted> {
        let document = Document::new(&format!("{}{}", example.prefix, example.suffix), 0);
        let tree =
            SyntaxTree::parse_within(example.syntax(), document.rope(), ParseLimit::REPEATABLE);
        let key = format!("eval-{worker}");
        // Cold every time: a warm cache of the example before would make results depend on the
        // order of work.
        completer.forget(&key);
        let path = path(example);
        let excerpts = self.cross_file(example);
        let request = Request {
            key: &key,
            path: (self.settings.context != ContextMode::None).then_some(path.as_str()),
            language: example.syntax(),
            document: &document,
            tree: &tree,
            cursor: example.prefix.len(),
            excerpts: &excerpts,
            n: 1,
            asked: Asked::Explicitly,
            explain: true,
        };
        let reply = completer.complete(&request, cancel);
        if cancel.is_cancelled() {
            return Err(Interrupted);
        }
        // What the rules make of it is the next stage's.
        let generated = reply.explanation.and_then(|e| e.generated);
        let silence = match &reply.outcome {
            Outcome::Silence(reason) if generated.is_none() => Some(reason.code().to_owned()),
            _ => None,
        };
        let (text, confidence) =
            generated.map_or_else(Default::default, |g| (g.text, Some(g.confidence)));
        let (mode, probability, tokens) =
            ("editor".to_owned(), reply.probability, reply.tokens.generated);
        let output =
            Output { mode, text, confidence, probability, silence, tokens, ..Output::default() };
        let timing = Timing {
            mode: output.mode.clone(),
            sample: 0,
            batch: 1,
            first_ms: None,
            total_ms: reply.ms.total,
            cached: reply.tokens.cached,
            prefilled: reply.tokens.prefilled,
            generated: reply.tokens.generated,
        };
        Ok((output, timing))
    }

    pub(super) fn sampling(&self, example: &Example, sample: usize) -> Sampling {
        // One stream for each example and sample, whatever the order of work.
        let seed =
            self.settings.seed ^ hash_text(&format!("{}\0{}\0{sample}", example.set, example.id));
        let max_tokens = if example.task == Task::Line {
            self.settings.line_tokens
        } else {
            self.settings.max_tokens
        };
        let (temperature, top_p) = (self.settings.temperature, self.settings.top_p);
        Sampling {
            max_tokens,
            temperature,
            top_p,
            top_k: 0,
            seed,
            stops: self.sentinels.stops.clone(),
        }
    }

    fn excerpts(&self, example: &Example) -> Vec<String> {
        if self.settings.context == ContextMode::None {
            return Vec::new();
        }
        let document = Document::new(&format!("{}{}", example.prefix, example.suffix), 0);
        let tree =
            SyntaxTree::parse_within(example.syntax(), document.rope(), ParseLimit::REPEATABLE);
        let (path, cross, cursor) = (path(example), self.cross_file(example), example.prefix.len());
        let request =
            Request { excerpts: &cross, ..Request::at("", Some(&path), &document, &tree, cursor) };
        let budget = self.settings.prompt_tokens;
        let window_start = cursor.saturating_sub(budget * BYTES_PER_TOKEN);
        let shown = excerpts(&self.sentinels, &request, window_start, budget);
        shown.iter().map(|excerpt| as_shown(&excerpt.text)).collect()
    }

    /// Parts of the example's other files, where prompts may show them.
    fn cross_file(&self, example: &Example) -> Vec<Excerpt> {
        match self.settings.context {
            ContextMode::Cross => {
                cross_file_excerpts(example, other_files_bytes(self.settings.prompt_tokens))
            }
            ContextMode::None | ContextMode::File => Vec::new(),
        }
    }

    fn batch_of(
        &self,
        examples: &[(Example, PromptRow)],
        worker: usize,
        cancel: &Cancel,
    ) -> Result<Vec<(Generation, Vec<Timing>)>, Interrupted> {
        let mut results: Vec<(Generation, Vec<Timing>)> =
            examples.iter().map(|_| Default::default()).collect();
        if let Some(completer) = &self.completer {
            for ((example, _), (generation, timings)) in examples.iter().zip(&mut results) {
                let (output, timing) = self.editor(completer, example, worker, cancel)?;
                generation.outputs.push(output);
                timings.push(timing);
            }
        }
        if !self.raw && !self.gold {
            return Ok(results);
        }
        let mut caches =
            self.caches[worker % self.caches.len()].lock().unwrap_or_else(PoisonError::into_inner);
        let raw = self.raw(examples, &mut caches, cancel)?;
        for ((generation, timings), raw) in results.iter_mut().zip(raw) {
            match raw {
                Ok(raw) => {
                    generation.outputs.extend(raw.outputs);
                    timings.extend(raw.timings);
                    generation.gold = raw.gold;
                }
                Err(error) => generation.error = Some(error.to_string()),
            }
        }
        Ok(results)
    }
}

/// Bytes of a full cache, about: INT8 with its scales, or f32.
fn cache_bytes(model: &Model, tokens: usize) -> usize {
    let spec = model.spec();
    let elements = 2 * tokens * spec.layers() * spec.kv_width();
    match model.info().precision {
        Precision::Int4 => elements * 5 / 4,
        Precision::F32 => elements * 4,
    }
    .max(1)
}

impl Generator for ModelGenerator {
    fn prompt(&self, example: &Example) -> PromptRow {
        let excerpts = self.excerpts(example);
        let excerpts: Vec<&str> = excerpts.iter().map(String::as_str).collect();
        let path = path(example);
        let input = Input {
            path: (self.settings.context != ContextMode::None).then_some(path.as_str()),
            excerpts: &excerpts,
            prefix: &example.prefix,
            suffix: &example.suffix,
        };
        let options = Options {
            order: self.settings.order,
            budget: self.settings.prompt_tokens,
            heal: false,
            seam: false,
            ahead: 0,
        };
        let ids = build(&self.tokenizer, &self.sentinels, &input, &options).ids;
        let mut hash = Sha256::new();
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        let prompt = Prompt { tokens: ids.len(), sha256: hex::encode(hash.finalize()) };
        PromptRow { id: example.id.clone(), prompt, ids }
    }

    fn batch(&self) -> usize {
        self.settings.batch
    }

    fn generate(
        &self,
        examples: &[(Example, PromptRow)],
        worker: usize,
        cancel: &Cancel,
    ) -> Result<Vec<(Generation, Vec<Timing>)>, Interrupted> {
        let work = || self.batch_of(examples, worker, cancel);
        if self.one_a_core { alone(work) } else { work() }
    }
}

/// The path that a model is shown: the example's, or a neutral name that tells the language, as an
/// editor's file name would.
pub fn path(example: &Example) -> String {
    if let Some(path) = &example.path {
        return path.clone();
    }
    let name = match example.syntax() {
        Language::Python => "solution.py",
        Language::Java => "Solution.java",
        Language::JavaScript => "solution.js",
        Language::TypeScript => "solution.ts",
        Language::Tsx => "solution.tsx",
        Language::Rust => "solution.rs",
        Language::Go => "solution.go",
        Language::C => "solution.c",
        Language::Cpp => "solution.cpp",
        Language::Text => match example.language.as_str() {
            "csharp" => "Solution.cs",
            _ => "solution.txt",
        },
    };
    name.to_owned()
}
