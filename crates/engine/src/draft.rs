//! Drafts: tokens guessed from text that is known already, checked in one pass of the model.
//!
//! A draft never changes what is generated: the token of every position is chosen from the model's
//! own logits, as without drafts (with the same random numbers), and a draft only saves a pass
//! where it guessed that token. How long drafts are follows from what was measured: how often
//! guesses of each [`Confidence`] come true (counted also for guesses that were not tried) and what
//! a pass over `m` tokens costs. Where no length pays, none is drafted.

use std::time::Duration;

/// Tokens of a draft at most: with the token before them, as many as kernels multiply at little
/// more than the cost of one.
pub const MAX_DRAFT: usize = 7;

/// How sure a source is of a guess: tokens are grouped by it to learn how often they come true. 0
/// (least) to [`Confidence::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confidence(pub u8);

impl Confidence {
    pub const MAX: Confidence = Confidence(5);
}

/// Where drafts come from. Token ids only.
pub trait DraftSource: Send {
    /// A generation after `prompt` begins.
    fn begin(&mut self, prompt: &[u32]);
    /// `id` was generated.
    fn push(&mut self, id: u32);
    /// Guesses up to `limit` tokens that come next, into `draft` (empty when called).
    fn propose(&self, limit: usize, draft: &mut Vec<u32>) -> Confidence;
    /// A text that is likely to come again: an accepted completion, an earlier ghost text.
    fn remember(&mut self, ids: &[u32]);
}

/// What drafting did in one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DraftStats {
    /// Tokens that were guessed and evaluated.
    pub drafted: usize,
    /// Those that came true.
    pub accepted: usize,
    /// Passes of the model after the prefill.
    pub passes: usize,
}

/// Guesses of one confidence that came true, and all, both fading.
#[derive(Debug, Clone, Copy)]
struct Rate {
    hits: f32,
    all: f32,
}

/// Each new guess lets older ones count for this much.
const FADING: f32 = 0.98;

impl Rate {
    fn note(&mut self, hit: bool) {
        self.hits = self.hits * FADING + f32::from(u8::from(hit));
        self.all = self.all * FADING + 1.0;
    }

    fn estimate(&self) -> f32 {
        self.hits / self.all
    }
}

/// Time of a pass over `m` tokens relative to one token, before anything is measured: a core bound
/// by reading weights.
const COST_BEFORE: [f32; MAX_DRAFT + 1] = [1.0, 1.15, 1.25, 1.3, 1.4, 1.45, 1.5, 1.6];
/// A measurement moves the estimate by this share.
const COST_STEP: f32 = 0.2;
/// The gain below which a draft is not worth its trouble.
const MIN_GAIN: f32 = 1.03;

/// Who decides how long drafts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Measured,
    Fixed(usize),
}

/// A source of drafts with what was learned about it. Lives from request to request; one for a
/// document.
pub struct Drafter {
    source: Box<dyn DraftSource>,
    length: Length,
    rates: [Rate; Confidence::MAX.0 as usize + 1],
    /// Seconds a pass over `m + 1` tokens; 0 = not measured.
    seconds: [f32; MAX_DRAFT + 1],
    /// The last guess, and how many of its tokens have come.
    guess: Vec<u32>,
    confidence: Confidence,
    seen: usize,
}

impl Drafter {
    /// Drafts as long as measurements say that they pay.
    pub fn new(source: impl DraftSource + 'static) -> Drafter {
        Self::with_length(Box::new(source), Length::Measured)
    }

    /// Always drafts `n` tokens (at most [`MAX_DRAFT`]) where the source has some: for tests and
    /// measurements.
    pub fn fixed(source: impl DraftSource + 'static, n: usize) -> Drafter {
        Self::with_length(Box::new(source), Length::Fixed(n.min(MAX_DRAFT)))
    }

    fn with_length(source: Box<dyn DraftSource>, length: Length) -> Drafter {
        // Longer matches are expected to do better; a few guesses override this.
        let rates = std::array::from_fn(|i| Rate { hits: 4.0 * (0.3 + 0.12 * i as f32), all: 4.0 });
        let seconds = [0.0; MAX_DRAFT + 1];
        let guess = Vec::with_capacity(MAX_DRAFT);
        Drafter { source, length, rates, seconds, guess, confidence: Confidence(0), seen: 0 }
    }

    /// See [`DraftSource::remember`].
    pub fn remember(&mut self, ids: &[u32]) {
        self.source.remember(ids);
    }

    pub(crate) fn begin(&mut self, prompt: &[u32]) {
        self.source.begin(prompt);
        self.guess.clear();
        self.seen = 0;
    }

    /// Up to `limit` tokens to evaluate with the next one.
    pub(crate) fn draft(&mut self, limit: usize) -> &[u32] {
        self.guess.clear();
        self.seen = 0;
        self.confidence = self.source.propose(MAX_DRAFT, &mut self.guess);
        self.confidence.0 = self.confidence.0.min(Confidence::MAX.0);
        self.guess.truncate(MAX_DRAFT);
        let n = match self.length {
            Length::Fixed(n) => n,
            Length::Measured => self.best_length(),
        };
        &self.guess[..n.min(limit).min(self.guess.len())]
    }

    /// `id` came next.
    pub(crate) fn push(&mut self, id: u32) {
        if let Some(guessed) = self.guess.get(self.seen) {
            let hit = *guessed == id;
            self.rates[usize::from(self.confidence.0)].note(hit);
            if hit { self.seen += 1 } else { self.guess.clear() }
        }
        self.source.push(id);
    }

    /// A pass over `m` tokens took this long.
    pub(crate) fn measured(&mut self, m: usize, time: Duration) {
        let Some(seconds) = self.seconds.get_mut(m - 1) else { return };
        let new = time.as_secs_f32();
        // A pass that was interrupted says little: no single measurement moves the estimate far.
        *seconds = if *seconds == 0.0 {
            new
        } else {
            *seconds + COST_STEP * (new - *seconds).clamp(-*seconds, *seconds)
        };
    }

    /// The length that makes the most tokens a second; 0 if drafting does not pay.
    fn best_length(&self) -> usize {
        let p = self.rates[usize::from(self.confidence.0)].estimate();
        let gain = |n: usize| {
            let tokens: f32 = (0..=n).map(|i| p.powi(i as i32)).sum();
            tokens / self.cost(n)
        };
        let best = (1..=self.guess.len()).max_by(|a, b| gain(*a).total_cmp(&gain(*b)));
        best.filter(|n| gain(*n) >= MIN_GAIN).unwrap_or(0)
    }

    /// Time of a pass with `n` drafted tokens, relative to one without.
    fn cost(&self, n: usize) -> f32 {
        let (one, many) = (self.seconds[0], self.seconds[n]);
        if one > 0.0 && many > 0.0 { many / one } else { COST_BEFORE[n] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always guesses the same.
    struct Same(u8);

    impl DraftSource for Same {
        fn begin(&mut self, _: &[u32]) {}
        fn push(&mut self, _: u32) {}
        fn propose(&self, limit: usize, draft: &mut Vec<u32>) -> Confidence {
            draft.extend(std::iter::repeat_n(7, limit));
            Confidence(self.0)
        }
        fn remember(&mut self, _: &[u32]) {}
    }

    fn after(guesses: usize, true_each: usize, confidence: u8) -> Drafter {
        let mut drafter = Drafter::new(Same(confidence));
        drafter.begin(&[]);
        for i in 0..guesses {
            drafter.draft(MAX_DRAFT);
            drafter.push(if i % true_each == 0 { 7 } else { 8 });
        }
        drafter
    }

    #[test]
    fn drafts_grow_where_guesses_come_true_and_stop_where_they_do_not() {
        assert_eq!(after(200, 1, 3).draft(MAX_DRAFT).len(), MAX_DRAFT);
        let half = after(200, 2, 3).draft(MAX_DRAFT).len();
        assert!((1..=3).contains(&half), "{half}");
        let mut never = after(200, 200, 3);
        assert_eq!(never.draft(MAX_DRAFT).len(), 0);
        // Guesses are still compared with what comes, so that it starts again by itself.
        for _ in 0..100 {
            never.draft(MAX_DRAFT);
            never.push(7);
        }
        assert!(!never.draft(MAX_DRAFT).is_empty());
        assert_eq!(after(200, 1, 3).draft(2).len(), 2, "the limit holds");
    }

    #[test]
    fn what_passes_cost_decides_too() {
        let mut dear = after(200, 2, 3);
        let mut cheap = after(200, 2, 3);
        for m in 1..=MAX_DRAFT + 1 {
            dear.measured(m, Duration::from_millis(10 * m as u64));
            cheap.measured(m, Duration::from_millis(10));
        }
        assert_eq!(dear.draft(MAX_DRAFT).len(), 0, "a draft costs what a token costs");
        assert_eq!(cheap.draft(MAX_DRAFT).len(), MAX_DRAFT, "a draft costs nothing");
        // One interrupted pass at most doubles nothing for long.
        for _ in 0..2 {
            cheap.measured(4, Duration::from_secs(5));
        }
        assert!(cheap.seconds[3] < 0.02);
    }

    #[test]
    fn confidences_are_learned_apart() {
        let mut drafter = after(200, 200, 1);
        assert_eq!(drafter.draft(MAX_DRAFT).len(), 0);
        drafter.source = Box::new(Same(4));
        assert!(!drafter.draft(MAX_DRAFT).is_empty());
        drafter.source = Box::new(Same(200));
        assert!(
            !drafter.draft(MAX_DRAFT).is_empty(),
            "a confidence beyond the last counts as the last"
        );
    }
}
