//! What the texts at hand say about the token that comes next: how they went on wherever the same
//! tokens stood before.
//!
//! A mixture of n-grams of the orders 1 to [`MAX_ORDER`] with the model (interpolated as by Witten
//! and Bell, with fitted weights): each order, the longest first, takes a share of what the longer
//! ones have left, the more the oftener its context was seen, the fewer ways it went on and the
//! less sure the model is. What no order takes is the model's. The counts are looked up in the text
//! itself, by the places of its tokens, so that nothing has to be kept up to date: a text that has
//! changed is indexed anew.

/// Tokens of a context at most.
pub const MAX_ORDER: usize = 8;
/// Places on either side of the cursor at which a context is looked for; the nearest.
const MAX_PLACES: usize = 256;
/// Stands between texts; no token has this id.
const BREAK: u32 = u32::MAX;
/// The most that a probability of the model counts for as certain.
const SURE: f32 = 0.999;

/// How much an order may take, in the logistic scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// One for each order, from 1.
    pub orders: [f32; MAX_ORDER],
    /// For the logarithm of how often the context was seen.
    pub count: f32,
    /// For the logarithm of how many ways it went on.
    pub fan_out: f32,
    /// For the log-odds of the model's likeliest token.
    pub confidence: f32,
}

/// Texts and an index of their tokens.
#[derive(Debug, Default)]
pub struct Ngrams {
    /// The texts before the cursor, the text after it, a [`BREAK`] behind each.
    ids: Vec<u32>,
    /// Where the text after the cursor begins.
    middle: u32,
    /// Where the places of each token begin in `places`, and where the last ends.
    starts: Vec<u32>,
    places: Vec<u32>,
}

/// What is known of one order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Times that the context was seen.
    pub seen: u32,
    /// Ways that it went on.
    pub ways: u32,
}

/// How a context went on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// One for each order, from 1.
    pub orders: [Count; MAX_ORDER],
    /// Tokens that followed, in ascending order, with how often by order.
    pub followers: Vec<(u32, [u32; MAX_ORDER])>,
}

/// Probabilities beside the model's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mixture {
    /// What is left to the model: its probabilities are multiplied by this.
    pub keep: f32,
    /// Tokens in ascending order, with the probability that is added.
    pub shares: Vec<(u32, f32)>,
}

impl Ngrams {
    /// The last text of `before` ends at the cursor, `after` begins there, or a little further off.
    /// Takes time and memory for each token once.
    pub fn new(before: &[&[u32]], after: &[u32]) -> Ngrams {
        let ids: Vec<u32> = before
            .iter()
            .chain([&after])
            .flat_map(|text| text.iter().chain([&BREAK]))
            .copied()
            .collect();
        let n = ids.iter().filter(|id| **id != BREAK).max().map_or(0, |most| *most as usize + 1);
        let mut starts = vec![0u32; n + 1];
        let tokens = || (0u32..).zip(&ids).filter(|(_, id)| **id != BREAK);
        tokens().for_each(|(_, id)| starts[*id as usize + 1] += 1);
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut places = vec![0u32; starts[n] as usize];
        for (place, id) in tokens() {
            let at = &mut next[*id as usize];
            places[*at as usize] = place;
            *at += 1;
        }
        Ngrams { middle: (ids.len() - after.len() - 1) as u32, ids, starts, places }
    }

    /// The nearest places of a token.
    fn places(&self, id: u32) -> impl Iterator<Item = usize> {
        let id = id as usize;
        let all = match (self.starts.get(id), self.starts.get(id + 1)) {
            (Some(from), Some(to)) => &self.places[*from as usize..*to as usize],
            _ => &[],
        };
        let (before, after) = all.split_at(all.partition_point(|place| *place < self.middle));
        before[before.len().saturating_sub(MAX_PLACES)..]
            .iter()
            .chain(&after[..after.len().min(MAX_PLACES)])
            .map(|place| *place as usize)
    }

    /// How the texts went on behind the end of `context`.
    pub fn counts(&self, context: &[u32]) -> Counts {
        let mut counts = Counts::default();
        let Some(last) = context.last() else { return counts };
        let context = &context[context.len().saturating_sub(MAX_ORDER)..];
        let mut found: Vec<(u32, usize)> = Vec::new();
        for place in self.places(*last) {
            let next = self.ids[place + 1];
            if next != BREAK {
                let order = self.ids[..=place]
                    .iter()
                    .rev()
                    .zip(context.iter().rev())
                    .take_while(|(a, b)| a == b)
                    .count();
                found.push((next, order));
            }
        }
        found.sort_unstable();
        for (next, order) in found {
            if counts.followers.last().is_none_or(|(id, _)| *id != next) {
                counts.followers.push((next, [0; MAX_ORDER]));
            }
            if let Some((_, by_order)) = counts.followers.last_mut() {
                by_order[..order].iter_mut().for_each(|n| *n += 1);
            }
        }
        for (_, by_order) in &counts.followers {
            for (order, n) in counts.orders.iter_mut().zip(by_order) {
                order.seen += n;
                order.ways += u32::from(*n > 0);
            }
        }
        counts
    }

    /// The mixture behind the end of `context`. `sureness`: probability of the model's likeliest
    /// token there.
    pub fn after(&self, context: &[u32], weights: &Weights, sureness: f32) -> Mixture {
        self.counts(context).mixture(weights, sureness)
    }
}

impl Counts {
    /// See [`Ngrams::after`].
    pub fn mixture(&self, weights: &Weights, sureness: f32) -> Mixture {
        let sureness = sureness.clamp(1.0 - SURE, SURE);
        let odds = weights.confidence * (sureness / (1.0 - sureness)).ln();
        let mut mixture = Mixture {
            keep: 1.0,
            shares: self.followers.iter().map(|(id, _)| (*id, 0.0)).collect(),
        };
        for (k, (Count { seen, ways }, weight)) in
            self.orders.iter().zip(weights.orders).enumerate().rev()
        {
            if *seen == 0 {
                continue;
            }
            let x = weight
                + weights.count * (*seen as f32).ln()
                + weights.fan_out * (*ways as f32).ln()
                + odds;
            let taken = mixture.keep / (1.0 + (-x).exp());
            mixture.keep -= taken;
            for ((_, share), (_, by_order)) in mixture.shares.iter_mut().zip(&self.followers) {
                *share += taken * by_order[k] as f32 / *seen as f32;
            }
        }
        mixture
    }
}

impl Mixture {
    /// The probability of a token to which the model gives `p`.
    pub fn of(&self, id: u32, p: f32) -> f32 {
        let share = self
            .shares
            .binary_search_by_key(&id, |(id, _)| *id)
            .map_or(0.0, |at| self.shares[at].1);
        self.keep * p + share
    }
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::SplitMix64;
    use rand_xoshiro::rand_core::{RngCore, SeedableRng};

    use super::*;

    fn ids(text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    const WEIGHTS: Weights = Weights {
        orders: [-3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0],
        count: 0.5,
        fan_out: -1.0,
        confidence: -0.3,
    };

    /// By its definition: every place of every text is looked at.
    fn naive(texts: &[&[u32]], context: &[u32]) -> Counts {
        let mut all = std::collections::BTreeMap::<u32, [u32; MAX_ORDER]>::new();
        for text in texts {
            for at in 1..text.len() {
                for order in 1..=MAX_ORDER.min(at).min(context.len()) {
                    if text[at - order..at] == context[context.len() - order..] {
                        all.entry(text[at]).or_default()[order - 1] += 1;
                    }
                }
            }
        }
        let orders = std::array::from_fn(|k| Count {
            seen: all.values().map(|n| n[k]).sum(),
            ways: all.values().filter(|n| n[k] > 0).count() as u32,
        });
        Counts { orders, followers: all.into_iter().collect() }
    }

    #[test]
    fn counts_are_those_of_the_definition() {
        let mut random = SplitMix64::seed_from_u64(7);
        let mut draw = |n: u64| random.next_u64() % n;
        for round in 0..200 {
            let letters = 2 + round % 5;
            let mut text =
                |n: u64| (0..draw(n)).map(|_| draw(letters) as u32).collect::<Vec<u32>>();
            let (before, after, context) = (text(200), text(200), text(12));
            let ngrams = Ngrams::new(&[&after, &before], &after);
            assert_eq!(
                ngrams.counts(&context),
                naive(&[&after, &before, &after], &context),
                "round {round}"
            );
        }
    }

    #[test]
    fn what_follows_the_longest_context_gets_most_and_all_is_one() {
        let ngrams = Ngrams::new(
            &[&ids("let total = price; let count = number; let total = ")],
            &ids("price; return total;"),
        );
        let mixture = ngrams.after(&ids("let total = "), &WEIGHTS, 0.3);
        let sum: f32 = mixture.keep + mixture.shares.iter().map(|(_, p)| p).sum::<f32>();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        let p = |letter: char| mixture.of(letter as u32, 0.0);
        assert!(p('p') > 0.5 && p('p') > 5.0 * p('n'), "{mixture:?}");
        assert_eq!(p('z'), 0.0);
        assert!(mixture.of('z' as u32, 0.5) < 0.5);
        assert_eq!(
            ngrams.after(&ids("Q"), &WEIGHTS, 0.3),
            Mixture { keep: 1.0, shares: Vec::new() }
        );
        assert_eq!(ngrams.after(&[], &WEIGHTS, 0.3).keep, 1.0);
        // A surer model keeps more.
        assert!(ngrams.after(&ids("let total = "), &WEIGHTS, 0.99).keep > mixture.keep);
        assert!(ngrams.after(&ids("let total = "), &WEIGHTS, 1.0).keep.is_finite());
    }

    #[test]
    fn nothing_is_counted_across_the_cursor_and_little_of_a_long_text() {
        let ngrams = Ngrams::new(&[&ids("ab")], &ids("cab"));
        assert_eq!(ngrams.counts(&ids("b")).followers, []);
        assert_eq!(ngrams.counts(&ids("c")).followers.len(), 1);
        let long = ids("xy").repeat(100_000);
        assert_eq!(
            Ngrams::new(&[&long], &long).counts(&ids("x")).orders[0].seen as usize,
            2 * MAX_PLACES
        );
        assert_eq!(Ngrams::new(&[], &[]).counts(&ids("x")), Counts::default());
    }
}
