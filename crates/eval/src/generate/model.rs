//! Completions by a model of ours: as the editor shows them, and raw.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lacuna_complete::{Completer, Outcome, Request};
use lacuna_context::{ExcerptKind, FileFacts, Language, SyntaxTree, gather, rank};
use lacuna_engine::{Cancel, Finish, KvCache, Model, PromptError, Sampling, generate, prefill};
use lacuna_prompt::{Input, Options, Order, Sentinels, Tokenizer, build};
use lacuna_text::Document;
use sha2::{Digest, Sha256};

use super::{ContextMode, Generator, Interrupted, PromptRow, Timing, cross_file_excerpts};
use crate::example::Task;
use crate::example::stages::{Generation, Gold, Output, Prompt};
use crate::stats::hash_text;
use crate::{Example, PARSE_LIMIT};

/// Bytes that a token of code stands for, about.
const BYTES_PER_TOKEN: usize = 3;

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
}

/// A model, with the editor's completer around it and without.
pub struct ModelGenerator {
    completer: Option<Completer>,
    model: Arc<Model>,
    tokenizer: Arc<Tokenizer>,
    sentinels: Sentinels,
    settings: RawSettings,
    /// Whether to generate raw, and whether to score the true middle.
    raw: bool,
    gold: bool,
    /// One cache a worker.
    caches: Vec<Mutex<KvCache>>,
}

impl ModelGenerator {
    /// `completer`: for the editor's mode. `prompt_tokens` is lowered to what the model's context leaves beside an answer.
    pub fn new(
        (model, tokenizer, sentinels): (Arc<Model>, Arc<Tokenizer>, Sentinels),
        completer: Option<Completer>,
        (raw, gold): (bool, bool),
        mut settings: RawSettings,
        workers: usize,
    ) -> ModelGenerator {
        let limit = model.config().max_positions;
        settings.max_tokens = settings.max_tokens.min(limit / 2);
        settings.line_tokens = settings.line_tokens.min(settings.max_tokens);
        settings.prompt_tokens = settings.prompt_tokens.min(limit - settings.max_tokens - 1);
        let capacity = settings.prompt_tokens + settings.max_tokens + 1;
        let caches = (0..workers.max(1)).map(|_| Mutex::new(KvCache::new(&model, capacity))).collect();
        ModelGenerator { completer, model, tokenizer, sentinels, settings, raw, gold, caches }
    }

    fn editor(&self, completer: &Completer, example: &Example, worker: usize, cancel: &Cancel) -> Result<(Output, Timing), Interrupted> {
        let document = Document::new(&format!("{}{}", example.prefix, example.suffix), 0);
        let tree = SyntaxTree::parse_within(example.syntax(), document.rope(), PARSE_LIMIT);
        let key = format!("eval-{worker}");
        // Cold every time: a warm cache of the example before would make results depend on the order of work.
        completer.forget(&key);
        let path = path(example);
        let request = Request {
            key: &key,
            path: (self.settings.context != ContextMode::None).then_some(path.as_str()),
            language: example.syntax(),
            document: &document,
            tree: &tree,
            cursor: example.prefix.len(),
            n: 1,
            explain: true,
        };
        let reply = completer.complete(&request, cancel);
        if cancel.is_cancelled() {
            return Err(Interrupted);
        }
        let (text, silence) = match &reply.outcome {
            Outcome::Suggest(items) => (items.first().map(|i| i.text.clone()).unwrap_or_default(), None),
            Outcome::Silence(reason) => (String::new(), Some(reason.code().to_owned())),
        };
        let filters = reply.explanation.map(|e| e.filters).unwrap_or_default();
        let before_rules = filters.into_iter().next().map(|f| f.before).filter(|before| *before != text);
        let output = Output { mode: "editor".to_owned(), text, before_rules, silence, tokens: reply.tokens.generated, ..Output::default() };
        let timing = Timing {
            mode: output.mode.clone(),
            sample: 0,
            first_ms: None,
            total_ms: reply.ms.total,
            cached: reply.tokens.cached,
            prefilled: reply.tokens.prefilled,
            generated: reply.tokens.generated,
        };
        Ok((output, timing))
    }

    fn sampling(&self, example: &Example, sample: usize) -> Sampling {
        // One stream for each example and sample, whatever the order of work.
        let seed = self.settings.seed ^ hash_text(&format!("{}\0{}\0{sample}", example.set, example.id));
        let max_tokens = if example.task == Task::Line { self.settings.line_tokens } else { self.settings.max_tokens };
        let (temperature, top_p) = (self.settings.temperature, self.settings.top_p);
        Sampling { max_tokens, temperature, top_p, top_k: 0, seed, stops: self.sentinels.stops.clone() }
    }

    fn raw_sample(
        &self,
        example: &Example,
        ids: &[u32],
        sample: usize,
        cache: &mut KvCache,
        cancel: &Cancel,
    ) -> Result<(Output, Timing), Failure> {
        let start = Instant::now();
        let mut first_ms = None;
        let sampling = self.sampling(example, sample);
        let generation = generate(&self.model, cache, ids, &sampling, None, cancel, &mut |_| {
            first_ms.get_or_insert_with(|| ms(start));
            std::ops::ControlFlow::Continue(())
        })?;
        let finish = match generation.finish {
            Finish::Cancelled => return Err(Failure::Interrupted),
            Finish::Stop => "stop",
            _ => "length",
        };
        let text = String::from_utf8_lossy(&self.tokenizer.decode(&generation.ids)).into_owned();
        let tokens = generation.ids.len();
        let (cached, prefilled) = (generation.prefill.cached, generation.prefill.prefilled);
        let output = Output { mode: "raw".to_owned(), sample, text, finish: finish.to_owned(), tokens, ..Output::default() };
        let timing = Timing { mode: "raw".to_owned(), sample, first_ms, total_ms: ms(start), cached, prefilled, generated: tokens };
        Ok((output, timing))
    }

    /// Log-likelihood of the true middle, token by token after the prompt that the cache holds already.
    fn gold(&self, example: &Example, ids: &[u32], cache: &mut KvCache, cancel: &Cancel) -> Result<Gold, Failure> {
        let mut middle = self.tokenizer.encode(&example.middle);
        middle.truncate(cache.capacity() - ids.len());
        let mut all = ids.to_vec();
        let mut log_likelihood = 0.0;
        for &id in &middle {
            prefill(&self.model, cache, &all, cancel)?;
            log_likelihood += log_probability(cache.logits(), id);
            all.push(id);
        }
        let chars = String::from_utf8_lossy(&self.tokenizer.decode(&middle)).chars().count();
        Ok(Gold { log_likelihood, tokens: middle.len(), chars })
    }

    fn excerpts(&self, example: &Example) -> Vec<String> {
        if self.settings.context == ContextMode::None {
            return Vec::new();
        }
        let document = Document::new(&format!("{}{}", example.prefix, example.suffix), 0);
        let tree = SyntaxTree::parse_within(example.syntax(), document.rope(), PARSE_LIMIT);
        let path = path(example);
        let file = FileFacts {
            path: &path,
            rope: document.rope(),
            tree: &tree,
            cursor: example.prefix.len(),
            window_start: example.prefix.len().saturating_sub(self.settings.prompt_tokens * BYTES_PER_TOKEN),
        };
        let has_header = self.sentinels.file.is_some();
        let own = gather(&file).into_iter().filter(|e| !(has_header && e.kind == ExcerptKind::Header)).collect();
        let own = rank(own, self.settings.prompt_tokens / 2).into_iter().map(|e| format!("{}\n", e.text));
        let mut excerpts = if self.settings.context == ContextMode::Cross {
            // An eighth of the prompt, so that the file's own excerpts still fit into the quarter that excerpts get.
            cross_file_excerpts(example, self.settings.prompt_tokens * BYTES_PER_TOKEN / 8)
        } else {
            Vec::new()
        };
        excerpts.extend(own);
        excerpts
    }
}

/// Why there is no completion.
enum Failure {
    Interrupted,
    Prompt(PromptError),
}

impl From<PromptError> for Failure {
    fn from(error: PromptError) -> Failure {
        match error {
            PromptError::Cancelled => Failure::Interrupted,
            error => Failure::Prompt(error),
        }
    }
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
        let options = Options { order: self.settings.order, budget: self.settings.prompt_tokens, heal: false, seam: false, ahead: 0 };
        let ids = build(&self.tokenizer, &self.sentinels, &input, &options).ids;
        let mut hash = Sha256::new();
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        let prompt = Prompt { tokens: ids.len(), sha256: hex(&hash.finalize()) };
        PromptRow { id: example.id.clone(), prompt, ids }
    }

    fn generate(
        &self,
        example: &Example,
        prompt: &PromptRow,
        worker: usize,
        cancel: &Cancel,
    ) -> Result<(Generation, Vec<Timing>), Interrupted> {
        let mut generation = Generation::default();
        let mut timings = Vec::new();
        if let Some(completer) = &self.completer {
            let (output, timing) = self.editor(completer, example, worker, cancel)?;
            generation.outputs.push(output);
            timings.push(timing);
        }
        if !self.raw && !self.gold {
            return Ok((generation, timings));
        }
        let mut cache = self.caches[worker % self.caches.len()].lock().unwrap_or_else(PoisonError::into_inner);
        cache.truncate(0);
        let mut all = || -> Result<(), Failure> {
            for sample in 0..if self.raw { self.settings.samples.max(1) } else { 0 } {
                let (output, timing) = self.raw_sample(example, &prompt.ids, sample, &mut cache, cancel)?;
                generation.outputs.push(output);
                timings.push(timing);
            }
            if self.gold && !example.middle.is_empty() {
                generation.gold = Some(self.gold(example, &prompt.ids, &mut cache, cancel)?);
            }
            Ok(())
        };
        match all() {
            Ok(()) => {}
            Err(Failure::Interrupted) => return Err(Interrupted),
            Err(Failure::Prompt(error)) => generation.error = Some(error.to_string()),
        }
        Ok((generation, timings))
    }
}

/// `logits[id] - log Σ exp(logits)`, summed in f64.
fn log_probability(logits: &[f32], id: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    f64::from(logits[id as usize] - largest) - sum.ln()
}

/// The path that a model is shown: the example's, or a neutral name that tells the language, as an editor's file name would.
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

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_sum_to_one() {
        let logits = [0.5, -1.0, 3.0, 80.0];
        let sum: f64 = (0..4).map(|id| log_probability(&logits, id).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert!((log_probability(&[1.0, 1.0], 0) + std::f64::consts::LN_2).abs() < 1e-12);
    }
}
