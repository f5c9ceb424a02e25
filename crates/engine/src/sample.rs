//! Choice of the next token from logits: greedy, temperature, top-k, top-p, all with a seed.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// How tokens are chosen and when generation ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Tokens to generate at most (a stop token is not counted and not returned).
    pub max_tokens: usize,
    /// 0 = greedy.
    pub temperature: f32,
    /// Smallest set of tokens with at least this probability; 1 = all.
    pub top_p: f32,
    /// So many most likely tokens; 0 = all.
    pub top_k: usize,
    pub seed: u64,
    /// Ids that end the generation.
    pub stops: Vec<u32>,
}

impl Sampling {
    /// Whether the most likely admitted token is taken.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature <= 0.0 || self.top_k == 1
    }
}

impl Default for Sampling {
    /// Greedy, 64 tokens, no stops.
    fn default() -> Self {
        Sampling {
            max_tokens: 64,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: 0,
            stops: Vec::new(),
        }
    }
}

/// The same seed gives the same choices on every machine.
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(SplitMix64::seed_from_u64(seed))
    }

    /// Uniform in `0..1`.
    fn uniform(&mut self) -> f32 {
        (self.0.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// The chosen id among those that `allows` admits, or `None` when it admits none. Ties go to the
/// smaller id.
pub(crate) fn choose(
    logits: &[f32],
    sampling: &Sampling,
    random: &mut Random,
    allows: Option<&dyn Fn(u32) -> bool>,
) -> Option<u32> {
    let admitted = |id: u32| allows.is_none_or(|allows| allows(id));
    if sampling.is_greedy() {
        return greedy(logits, admitted);
    }
    let mut candidates: Vec<(u32, f32)> =
        (0u32..).zip(logits.iter().copied()).filter(|(id, _)| admitted(*id)).collect();
    if sampling.top_k > 0 && sampling.top_k < candidates.len() {
        candidates.select_nth_unstable_by(sampling.top_k - 1, order);
        candidates.truncate(sampling.top_k);
    }
    candidates.sort_unstable_by(order);
    let largest = candidates.first()?.1;
    for (_, value) in &mut candidates {
        *value = ((*value - largest) / sampling.temperature).exp();
    }
    let total: f32 = candidates.iter().map(|c| c.1).sum();
    let mut kept = 0.0;
    let mut n_kept = 0;
    for (_, weight) in &candidates {
        kept += weight;
        n_kept += 1;
        if kept >= sampling.top_p * total {
            break;
        }
    }
    let mut at = random.uniform() * kept;
    for (id, weight) in &candidates[..n_kept] {
        at -= weight;
        if at < 0.0 {
            return Some(*id);
        }
    }
    // Rounding can leave a crumb of `at`.
    Some(candidates[n_kept - 1].0)
}

/// Larger logits first, then smaller ids.
fn order(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// The first largest logit that is admitted. `admitted` is asked only for logits above the best so
/// far.
fn greedy(logits: &[f32], admitted: impl Fn(u32) -> bool) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (id, logit) in (0u32..).zip(logits) {
        if best.is_none_or(|(_, b)| *logit > b) && admitted(id) {
            best = Some((id, *logit));
        }
    }
    best.map(|(id, _)| id)
}

/// The `n` largest logits that are admitted, largest first, ties by smaller id. `admitted` is asked
/// only for what would be among them.
pub(crate) fn likeliest(
    logits: &[f32],
    n: usize,
    admitted: impl Fn(u32) -> bool,
) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(n + 1);
    for (id, logit) in (0u32..).zip(logits) {
        let is_wanted = best.len() < n || best.last().is_some_and(|(_, least)| logit > least);
        if is_wanted && admitted(id) {
            let at = best.partition_point(|(_, other)| other >= logit);
            best.insert(at, (id, *logit));
            best.truncate(n);
        }
    }
    best
}
