//! Beam search: the likeliest continuation against all continuations, width 1 against greedy generation, and what stays in the cache.

use std::ops::ControlFlow;

use lacuna_engine::{
    Beam, Cancel, Constraint, Finish, Generation, KvCache, Model, Precision, PrefillOptions, PromptError, Sampling, generate, likeliest,
    log_probs, prefill,
};

use crate::fixtures;

/// Allows everything, or only even ids for the first tokens.
#[derive(Clone)]
struct EvenFirst(usize);

impl Constraint for EvenFirst {
    fn allows(&self, id: u32) -> bool {
        assert!(self.is_active(), "asked while inactive");
        id.is_multiple_of(2)
    }
    fn is_active(&self) -> bool {
        self.0 > 0
    }
    fn push(&mut self, _: u32) {
        self.0 -= 1;
    }
}

struct Search<'a> {
    width: usize,
    max_tokens: usize,
    stops: &'a [u32],
    even: usize,
    ends: &'a dyn Fn(&[u32]) -> bool,
}

impl Search<'_> {
    fn run(&self, model: &Model, kv: &mut KvCache, prompt: &[u32], cancel: &Cancel) -> Result<Generation, PromptError> {
        let Search { width, max_tokens, stops, even, ends } = *self;
        let prefill = PrefillOptions::default();
        let beam = Beam { width, max_tokens, stops, constraint: EvenFirst(even), ends, prefill };
        likeliest(model, kv, prompt, beam, cancel, &mut |ids| assert!(!ids.is_empty()))
    }
}

fn models() -> [Model; 2] {
    let load = |precision| fixtures::load("llama-tied-gqa", precision);
    [load(Precision::F32), load(Precision::Int4)]
}

#[test]
fn width_one_is_greedy_generation() {
    for model in models() {
        let n_vocab = model.config().n_vocab;
        for seed in 0..6 {
            let prompt = fixtures::ids(seed, 20, n_vocab);
            let stops: Vec<u32> = fixtures::ids(seed + 100, n_vocab / 12, n_vocab);
            let sampling = Sampling { max_tokens: 10, stops: stops.clone(), ..Sampling::default() };
            let mut rule = EvenFirst(2);
            let mut greedy_kv = KvCache::new(&model, 64);
            let end_of = |id: u32| id.is_multiple_of(11);
            let greedy = generate(&model, &mut greedy_kv, &prompt, &sampling, Some(&mut rule), &Cancel::new(), &mut |token| {
                if end_of(token.id) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .expect("generates");
            let ends = |ids: &[u32]| ids.last().is_some_and(|id| end_of(*id));
            let search = Search { width: 1, max_tokens: 10, stops: &stops, even: 2, ends: &ends };
            let mut kv = KvCache::new(&model, 64);
            let got = search.run(&model, &mut kv, &prompt, &Cancel::new()).expect("generates");
            assert_eq!((&got.ids, got.finish), (&greedy.ids, greedy.finish), "seed {seed}");
            assert_eq!(got.prefill, greedy.prefill);
            assert!(got.ids.is_empty() || fixtures::largest_difference(&got.logprobs, &greedy.logprobs) < 1e-3);
        }
    }
}

/// Log-probability of `ids` and then `end` after `prompt`.
fn score(model: &Model, prompt: &[u32], ids: &[u32], end: Option<u32>) -> f32 {
    let all: Vec<u32> = prompt.iter().chain(ids).copied().chain(end).collect();
    log_probs(model, &all, &Cancel::new()).expect("in range")[prompt.len() - 1..].iter().sum()
}

#[test]
fn a_wide_beam_finds_the_likeliest_of_all_continuations() {
    let model = fixtures::load("llama-tied-gqa", Precision::F32);
    let n_vocab = model.config().n_vocab as u32;
    let stop = 7;
    for seed in 0..4 {
        let prompt = fixtures::ids(seed, 9, n_vocab as usize);
        // Everything of at most one token before the stop or an end: a multiple of 13 ends a continuation of two tokens.
        let mut all: Vec<(f32, Vec<u32>)> = vec![(score(&model, &prompt, &[], Some(stop)), Vec::new())];
        for first in (0..n_vocab).filter(|id| *id != stop) {
            all.push((score(&model, &prompt, &[first], Some(stop)), vec![first]));
            all.extend((0..n_vocab).step_by(13).map(|id| (score(&model, &prompt, &[first, id], None), vec![first, id])));
        }
        let ends = |ids: &[u32]| ids.len() == 2 && ids[1].is_multiple_of(13);
        let search = Search { width: n_vocab as usize, max_tokens: 2, stops: &[stop], even: 0, ends: &ends };
        let got = search.run(&model, &mut KvCache::new(&model, 32), &prompt, &Cancel::new()).expect("generates");
        let (most, ids) = all.iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("some");
        assert_eq!(&got.ids, ids, "seed {seed}");
        let end = (got.finish == Finish::Stop).then_some(stop);
        assert!((score(&model, &prompt, &got.ids, end) - most).abs() < 1e-3);
        assert!(matches!(got.finish, Finish::Stop | Finish::Callback));
    }
}

#[test]
fn the_wider_beam_is_not_less_likely_here_and_leaves_a_cache_that_goes_on() {
    for model in models() {
        let n_vocab = model.config().n_vocab;
        let (mut likelier, mut scores) = (0, [0.0; 2]);
        for seed in 0..12 {
            let prompt = fixtures::ids(seed, 70, n_vocab);
            let ends = |ids: &[u32]| ids.len() == 6;
            let found = [1, 4].map(|width| {
                let search = Search { width, max_tokens: 6, stops: &[], even: 1, ends: &ends };
                let mut kv = KvCache::new(&model, 96);
                // What was there before is shared with the hypotheses and comes out unharmed.
                prefill(&model, &mut kv, &prompt[..50], &Cancel::new()).expect("prefills");
                let before = kv.fork();
                let got = search.run(&model, &mut kv, &prompt, &Cancel::new()).expect("generates");
                assert_eq!((got.ids.len(), got.finish, got.ids[0] % 2), (6, Finish::Callback, 0));
                // All but the last token, which nothing follows, lie in the cache as if computed one by one.
                let whole: Vec<u32> = prompt.iter().chain(&got.ids).copied().collect();
                assert_eq!(kv.ids(), &whole[..75]);
                let mut cold = KvCache::new(&model, 96);
                for n in prompt.len()..=75 {
                    prefill(&model, &mut cold, &whole[..n], &Cancel::new()).expect("prefills");
                }
                assert!(fixtures::relative_l2(kv.logits(), cold.logits()) < 0.02);
                let mut old = before;
                prefill(&model, &mut old, &prompt[..60], &Cancel::new()).expect("prefills");
                let mut fresh = KvCache::new(&model, 96);
                prefill(&model, &mut fresh, &prompt[..50], &Cancel::new()).expect("prefills");
                prefill(&model, &mut fresh, &prompt[..60], &Cancel::new()).expect("prefills");
                assert_eq!(old.logits(), fresh.logits());
                got.logprobs.iter().sum::<f32>()
            });
            likelier += usize::from(found[1] > found[0] + 1e-3);
            scores = [scores[0] + found[0], scores[1] + found[1]];
        }
        assert!(likelier > 0 && scores[1] > scores[0], "{likelier} of 12, {scores:?}");
    }
}

#[test]
fn limits_constraints_and_cancellation_end_it() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let prompt = fixtures::ids(1, 12, model.config().n_vocab);
    let never = |_: &[u32]| false;
    let search = Search { width: 3, max_tokens: 5, stops: &[], even: 0, ends: &never };
    let mut kv = KvCache::new(&model, 64);
    let got = search.run(&model, &mut kv, &prompt, &Cancel::new()).expect("generates");
    assert_eq!((got.ids.len(), got.finish), (5, Finish::Length));
    // A cache that is nearly full.
    let got = search.run(&model, &mut KvCache::new(&model, 14), &prompt, &Cancel::new()).expect("generates");
    assert_eq!((got.ids.len(), got.finish), (2, Finish::Length));
    let got = Search { max_tokens: 0, ..search }.run(&model, &mut kv, &prompt, &Cancel::new()).expect("generates");
    assert_eq!((got.ids.len(), got.finish), (0, Finish::Length));

    let cancelled = Cancel::new();
    cancelled.cancel();
    let mut kv = KvCache::new(&model, 64);
    let got = search.run(&model, &mut kv, &prompt, &cancelled).expect("comes back");
    assert_eq!((got.ids.len(), got.finish), (0, Finish::Cancelled));
    // At any layer: in the prefill nothing changes, later the likeliest so far is there but for its last token.
    let mut while_decoding = 0;
    for check in 0.. {
        let mut kv = KvCache::new(&model, 64);
        let got = search.run(&model, &mut kv, &prompt, &Cancel::new().at_check(check)).expect("comes back");
        if got.finish != Finish::Cancelled {
            assert_eq!(got.finish, Finish::Length);
            break;
        }
        assert_eq!(got.ids.len(), got.logprobs.len());
        while_decoding += usize::from(!got.ids.is_empty());
        let whole: Vec<u32> = prompt.iter().chain(&got.ids).copied().collect();
        assert_eq!(kv.ids(), if got.ids.is_empty() { &[] } else { &whole[..whole.len() - 1] }, "check {check}");
    }
    assert!(while_decoding > 5);
    assert!(matches!(search.run(&model, &mut kv, &[], &Cancel::new()), Err(PromptError::Empty)));
}
