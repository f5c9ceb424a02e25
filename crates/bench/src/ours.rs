//! Our side of `bench decode`: the engine as completion uses it, in this process.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::Context;
use lacuna_engine::{Cancel, KvCache, KvDtype, Model, Sampling, generate, prefill};

use super::plan::Plan;
use super::weights::Random;

/// A model, a cache for the longest test, and ids to feed it with.
pub struct Ours {
    model: Model,
    kv: KvCache,
    random: Random,
}

impl Ours {
    pub fn new(model: Model, dtype: KvDtype, capacity: usize) -> Ours {
        let kv = KvCache::with_dtype(&model, capacity, dtype);
        Ours { model, kv, random: Random(47) }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Milliseconds of each of `repeats` runs of a test, after one that does not count.
    ///
    /// Prompts: one prefill of all tokens, logits of the last one. Generation: greedy, choosing the
    /// tokens included.
    pub fn run(&mut self, plan: &Plan, repeats: usize) -> anyhow::Result<Vec<f64>> {
        let context: Vec<u32> =
            (0..plan.depth).map(|i| (i * 7919 % self.model.spec().n_vocab) as u32).collect();
        if !context.is_empty() {
            prefill(&self.model, &mut self.kv, &context, &Cancel::new())?;
        }
        let mut times = Vec::new();
        for repeat in 0..=repeats {
            let ms = if plan.generate {
                self.generate(&context, plan.tokens)
            } else {
                self.prompt(&context, plan.tokens)
            };
            let ms = ms.with_context(|| format!("the engine on {}", plan.name()))?;
            if repeat > 0 {
                times.push(ms);
            }
        }
        Ok(times)
    }

    fn prompt(&mut self, context: &[u32], tokens: usize) -> anyhow::Result<f64> {
        self.kv.truncate(context.len());
        let ids: Vec<u32> = context.iter().copied().chain(self.fresh(tokens)).collect();
        let start = Instant::now();
        prefill(&self.model, &mut self.kv, &ids, &Cancel::new())?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    fn generate(&mut self, context: &[u32], tokens: usize) -> anyhow::Result<f64> {
        let prompt = if context.is_empty() { self.fresh(1) } else { context.to_vec() };
        // The first token is chosen from the prompt's logits: one more is asked for than is
        // evaluated.
        let sampling = Sampling { max_tokens: tokens + 1, ..Sampling::default() };
        let done = generate(
            &self.model,
            &mut self.kv,
            &prompt,
            &sampling,
            None,
            &Cancel::new(),
            &mut |_| ControlFlow::Continue(()),
        )?;
        anyhow::ensure!(
            done.ids.len() == tokens + 1,
            "it generated {} tokens instead of {}",
            done.ids.len(),
            tokens + 1
        );
        Ok(done.times.decode.as_secs_f64() * 1e3)
    }

    fn fresh(&mut self, n: usize) -> Vec<u32> {
        let n_vocab = self.model.spec().n_vocab as u64;
        (0..n).map(|_| (self.random.next() % n_vocab) as u32).collect()
    }
}
