//! Raw completions and the likelihood of true middles, of many examples at once: their prompts go
//! into ragged batches.
//!
//! A batch is a function of the rows alone, so a run gives the same bytes whoever works and
//! wherever it was taken up. One example is a batch of one: there is no second way.

use std::ops::ControlFlow;
use std::time::Instant;

use lacuna_engine::{
    Cancel, Finish, KvCache, PackedRequest, PromptError, Sampling, generate_packed, score_packed,
};

use super::model::ModelGenerator;
use super::{Interrupted, PromptRow, Timing};
use crate::Example;
use crate::example::stages::{Gold, Output};

/// What the model alone says of an example.
#[derive(Default)]
pub(super) struct Raw {
    pub outputs: Vec<Output>,
    pub timings: Vec<Timing>,
    pub gold: Option<Gold>,
}

impl ModelGenerator {
    /// One result an example. A prompt that the engine refuses is an error of its own: the others
    /// of the batch are completed without it.
    pub(super) fn raw(
        &self,
        batch: &[(Example, PromptRow)],
        caches: &mut [KvCache],
        cancel: &Cancel,
    ) -> Result<Vec<Result<Raw, PromptError>>, Interrupted> {
        match self.together(batch, caches, cancel) {
            Ok(all) => Ok(all.into_iter().map(Ok).collect()),
            Err(PromptError::Cancelled) => Err(Interrupted),
            Err(error) if batch.len() == 1 => Ok(vec![Err(error)]),
            Err(_) => {
                let mut all = Vec::with_capacity(batch.len());
                for one in batch {
                    all.extend(self.raw(std::slice::from_ref(one), caches, cancel)?);
                }
                Ok(all)
            }
        }
    }

    fn together(
        &self,
        batch: &[(Example, PromptRow)],
        caches: &mut [KvCache],
        cancel: &Cancel,
    ) -> Result<Vec<Raw>, PromptError> {
        let mut all: Vec<Raw> = batch.iter().map(|_| Raw::default()).collect();
        let prompts: Vec<&[u32]> = batch.iter().map(|(_, prompt)| &prompt.ids[..]).collect();
        let mut caches: Vec<&mut KvCache> = caches.iter_mut().take(batch.len()).collect();
        // Cold: what lies in a cache from earlier examples must not change anything.
        caches.iter_mut().for_each(|cache| cache.truncate(0));
        for sample in 0..if self.raw { self.settings.samples.max(1) } else { 0 } {
            self.sample(sample, batch, &prompts, &mut caches, &mut all, cancel)?;
        }
        if self.gold {
            let middle = |((example, prompt), cache): (&(Example, PromptRow), &&mut KvCache)| {
                let mut ids = self.tokenizer.encode(&example.middle);
                ids.truncate(cache.capacity().saturating_sub(prompt.ids.len()));
                ids
            };
            let middles: Vec<Vec<u32>> = batch.iter().zip(&caches).map(middle).collect();
            let continuations: Vec<&[u32]> = middles.iter().map(Vec::as_slice).collect();
            let scores = score_packed(&self.model, &mut caches, &prompts, &continuations, cancel)?;
            for ((raw, ids), scores) in
                all.iter_mut().zip(&middles).zip(scores).filter(|((_, ids), _)| !ids.is_empty())
            {
                let chars = String::from_utf8_lossy(&self.tokenizer.decode(ids)).chars().count();
                let log_likelihood = scores.iter().map(|lp| f64::from(*lp)).sum();
                raw.gold = Some(Gold { log_likelihood, tokens: ids.len(), chars });
            }
        }
        Ok(all)
    }

    /// The `sample`-th completion of every example.
    fn sample(
        &self,
        sample: usize,
        batch: &[(Example, PromptRow)],
        prompts: &[&[u32]],
        caches: &mut [&mut KvCache],
        all: &mut [Raw],
        cancel: &Cancel,
    ) -> Result<(), PromptError> {
        let start = Instant::now();
        let ms = || start.elapsed().as_secs_f64() * 1e3;
        let samplings: Vec<Sampling> =
            batch.iter().map(|(example, _)| self.sampling(example, sample)).collect();
        let mut requests: Vec<PackedRequest> = prompts
            .iter()
            .zip(&samplings)
            .map(|(prompt, sampling)| PackedRequest { prompt, sampling, constraint: None })
            .collect();
        let mut first_ms = None;
        let generations =
            generate_packed(&self.model, caches, &mut requests, cancel, &mut |_, _| {
                first_ms.get_or_insert_with(ms);
                ControlFlow::Continue(())
            })?;
        if generations.iter().any(|g| g.finish == Finish::Cancelled) {
            return Err(PromptError::Cancelled);
        }
        // Who waits for a batch waits for all of it: only its throughput means something.
        let (share, first_ms) = (ms() / batch.len() as f64, first_ms.filter(|_| batch.len() == 1));
        for (raw, generation) in all.iter_mut().zip(generations) {
            let text =
                String::from_utf8_lossy(&self.tokenizer.decode(&generation.ids)).into_owned();
            let finish =
                if generation.finish == Finish::Stop { "stop" } else { "length" }.to_owned();
            let (mode, tokens) = ("raw".to_owned(), generation.ids.len());
            raw.timings.push(Timing {
                mode: mode.clone(),
                sample,
                batch: batch.len(),
                first_ms,
                total_ms: share,
                cached: generation.prefill.cached,
                prefilled: generation.prefill.prefilled,
                generated: tokens,
            });
            raw.outputs.push(Output { mode, sample, text, finish, tokens, ..Output::default() });
        }
        Ok(())
    }
}
