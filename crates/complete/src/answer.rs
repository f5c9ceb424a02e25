//! What is noted while a request is answered.

use std::time::Instant;

use lacuna_engine::Generation;

use crate::{Explanation, Filter, Milliseconds, Tokens};

pub(crate) struct Answer {
    pub from_memory: bool,
    pub probability: Option<f32>,
    pub tokens: Tokens,
    pub ms: Milliseconds,
    pub explanation: Option<Explanation>,
    has_prefill: bool,
}

impl Answer {
    pub fn new(explain: bool) -> Answer {
        Answer {
            from_memory: false,
            probability: None,
            tokens: Tokens::default(),
            ms: Milliseconds::default(),
            explanation: explain.then(Explanation::default),
            has_prefill: false,
        }
    }

    /// A generation of the request; what became of the prompt is the first one's to say.
    pub fn count(&mut self, generation: &Generation) {
        if !std::mem::replace(&mut self.has_prefill, true) {
            let stats = generation.prefill;
            self.tokens.cached = stats.cached;
            self.tokens.resumed = stats.resumed;
            self.tokens.shifted = stats.shifted;
            self.tokens.repaired = stats.repaired;
            self.tokens.prefilled = stats.prefilled;
        }
        self.tokens.generated += generation.ids.len();
        self.tokens.drafted += generation.drafts.drafted;
        self.tokens.accepted += generation.drafts.accepted;
        self.ms.prefill += generation.times.prefill.as_secs_f64() * 1e3;
        self.ms.decode += generation.times.decode.as_secs_f64() * 1e3;
    }

    pub fn filter(
        &mut self,
        name: &'static str,
        before: String,
        rule: impl FnOnce(&str) -> String,
    ) -> String {
        let after = rule(&before);
        if after != before
            && let Some(explanation) = &mut self.explanation
        {
            explanation.filters.push(Filter { name, before, after: Some(after.clone()) });
        }
        after
    }

    pub fn dropped(&mut self, name: &'static str, text: &str) {
        if let Some(explanation) = &mut self.explanation {
            explanation.filters.push(Filter { name, before: text.to_owned(), after: None });
        }
    }
}

pub(crate) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
