//! Beam search: the likeliest continuation against all continuations, width 1 against greedy
//! generation, and what stays in the cache.

use std::ops::ControlFlow;

use lacuna_engine::{
    Beam, Cancel, Constraint, Continuation, Finish, Found, KvCache, MAX_ORDER, Model, Ngrams,
    Precision, PrefillOptions, PromptError, Rules, Sampling, Start, Texts, Verdict, Weights,
    generate, likeliest, log_probs, prefill,
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

/// Everything that has ended is fine.
struct Ends<'a>(&'a dyn Fn(&[u32]) -> bool);

impl Rules for Ends<'_> {
    fn ends(&self, ids: &[u32]) -> bool {
        (self.0)(ids)
    }
}

struct Search<'a> {
    width: usize,
    max_tokens: usize,
    stops: &'a [u32],
    even: usize,
    ends: &'a dyn Fn(&[u32]) -> bool,
}

/// One start, its best continuation.
fn beam<'a>(width: usize, max_tokens: usize, stops: &'a [u32], even: usize) -> Beam<'a, EvenFirst> {
    let starts = vec![Start { constraint: EvenFirst(even), width }];
    let prefill = PrefillOptions::default();
    Beam {
        starts,
        keep: width,
        wanted: 1,
        margin: 0.0,
        max_tokens,
        stops,
        closers: &[],
        texts: None,
        prefill,
    }
}

impl Search<'_> {
    fn run(
        &self,
        model: &Model,
        kv: &mut KvCache,
        prompt: &[u32],
        cancel: &Cancel,
    ) -> Result<Found, PromptError> {
        let Search { width, max_tokens, stops, even, ends } = *self;
        let beam = beam(width, max_tokens, stops, even);
        likeliest(model, kv, prompt, beam, &mut Ends(ends), cancel, &mut |ids| {
            assert!(!ids.is_empty())
        })
    }
}

fn models() -> [Model; 2] {
    let load = |precision| fixtures::load("llama-tied-gqa", precision);
    [load(Precision::F32), load(Precision::Int4)]
}

#[test]
fn width_one_is_greedy_generation() {
    for model in models() {
        let n_vocab = model.spec().n_vocab;
        for seed in 0..6 {
            let prompt = fixtures::ids(seed, 20, n_vocab);
            let stops: Vec<u32> = fixtures::ids(seed + 100, n_vocab / 12, n_vocab);
            let sampling = Sampling { max_tokens: 10, stops: stops.clone(), ..Sampling::default() };
            let mut rule = EvenFirst(2);
            let mut greedy_kv = KvCache::new(&model, 64);
            let end_of = |id: u32| id.is_multiple_of(11);
            let greedy = generate(
                &model,
                &mut greedy_kv,
                &prompt,
                &sampling,
                Some(&mut rule),
                &Cancel::new(),
                &mut |token| {
                    if end_of(token.id) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                },
            )
            .expect("generates");
            let ends = |ids: &[u32]| ids.last().is_some_and(|id| end_of(*id));
            let search = Search { width: 1, max_tokens: 10, stops: &stops, even: 2, ends: &ends };
            let mut kv = KvCache::new(&model, 64);
            let got = search.run(&model, &mut kv, &prompt, &Cancel::new()).expect("generates");
            assert_eq!(got.prefill, greedy.prefill);
            let got = got.best;
            assert_eq!((&got.ids, got.finish), (&greedy.ids, greedy.finish), "seed {seed}");
            assert!(
                got.ids.is_empty()
                    || fixtures::largest_difference(&got.logprobs, &greedy.logprobs) < 1e-3
            );
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
    let n_vocab = model.spec().n_vocab as u32;
    let stop = 7;
    for seed in 0..4 {
        let prompt = fixtures::ids(seed, 9, n_vocab as usize);
        // Everything of at most one token before the stop or an end: a multiple of 13 ends a
        // continuation of two tokens.
        let mut all: Vec<(f32, Vec<u32>)> =
            vec![(score(&model, &prompt, &[], Some(stop)), Vec::new())];
        for first in (0..n_vocab).filter(|id| *id != stop) {
            all.push((score(&model, &prompt, &[first], Some(stop)), vec![first]));
            all.extend(
                (0..n_vocab)
                    .step_by(13)
                    .map(|id| (score(&model, &prompt, &[first, id], None), vec![first, id])),
            );
        }
        let ends = |ids: &[u32]| ids.len() == 2 && ids[1].is_multiple_of(13);
        let search =
            Search { width: n_vocab as usize, max_tokens: 2, stops: &[stop], even: 0, ends: &ends };
        let found = search
            .run(&model, &mut KvCache::new(&model, 32), &prompt, &Cancel::new())
            .expect("generates");
        let got = found.best;
        assert_eq!(found.accepted, std::slice::from_ref(&got));
        let (most, ids) = all.iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("some");
        assert_eq!(&got.ids, ids, "seed {seed}");
        let end = (got.finish == Finish::Stop).then_some(stop);
        assert!((score(&model, &prompt, &got.ids, end) - most).abs() < 1e-3);
        assert!(matches!(got.finish, Finish::Stop | Finish::Callback));
    }
}

#[test]
fn what_the_texts_say_is_mixed_in_by_its_definition_and_finds_what_the_model_would_not() {
    const WEIGHTS: Weights =
        Weights { orders: [-1.0; MAX_ORDER], count: 1.0, fan_out: -1.0, confidence: -0.2 };
    let model = fixtures::load("llama-tied-gqa", Precision::F32);
    let n_vocab = model.spec().n_vocab;
    let probabilities = |ids: &[u32]| -> Vec<f32> {
        let mut kv = KvCache::new(&model, 32);
        prefill(&model, &mut kv, ids, &Cancel::new()).expect("prefills");
        let most = kv.logits().iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let all: f32 = kv.logits().iter().map(|logit| (logit - most).exp()).sum();
        kv.logits().iter().map(|logit| (logit - most).exp() / all).collect()
    };
    for seed in 0..4 {
        let prompt = fixtures::ids(seed, 9, n_vocab);
        let text = [
            &prompt[..],
            &fixtures::ids(seed + 50, 3, n_vocab),
            &prompt[4..],
            &fixtures::ids(seed + 60, 3, n_vocab),
        ]
        .concat();
        let ngrams = Ngrams::new(&[&text], &[]);
        let ends = |ids: &[u32]| ids.len() == 2;
        let find = |width, texts| {
            let beam = Beam { keep: 20, wanted: 20, texts, ..beam(width, 2, &[], 0) };
            likeliest(
                &model,
                &mut KvCache::new(&model, 32),
                &prompt,
                beam,
                &mut Ends(&ends),
                &Cancel::new(),
                &mut |_| (),
            )
            .expect("generates")
        };
        let texts = Texts { ngrams: &ngrams, weights: &WEIGHTS, context: &prompt };
        let found = find(n_vocab, Some(texts));
        for continuation in &found.accepted {
            let mut expected = 0.0;
            for (n, id) in continuation.ids.iter().enumerate() {
                let context = [&prompt[..], &continuation.ids[..n]].concat();
                let p = probabilities(&context);
                let sureness = p.iter().copied().fold(0.0, f32::max);
                expected +=
                    ngrams.after(&context, &WEIGHTS, sureness).of(*id, p[*id as usize]).ln();
                assert!(
                    (continuation.logprobs[n] - p[*id as usize].ln()).abs() < 1e-3,
                    "the model's own"
                );
            }
            assert!(
                (continuation.score - expected).abs() < 1e-3,
                "seed {seed}: {continuation:?} is not {expected}"
            );
        }
        // A random model knows nothing; the text has been here before.
        let before = &text[9..11];
        assert!(
            find(4, Some(texts)).accepted.iter().any(|found| found.ids == before),
            "seed {seed}"
        );
        assert!(find(4, None).accepted.iter().all(|found| found.ids != before), "seed {seed}");
    }
}

#[test]
fn the_wider_beam_is_not_less_likely_here_and_leaves_a_cache_that_goes_on() {
    for model in models() {
        let n_vocab = model.spec().n_vocab;
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
                let got =
                    search.run(&model, &mut kv, &prompt, &Cancel::new()).expect("generates").best;
                assert_eq!((got.ids.len(), got.finish, got.ids[0] % 2), (6, Finish::Callback, 0));
                // All but the last token, which nothing follows, lie in the cache as if computed
                // one by one.
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
    let prompt = fixtures::ids(1, 12, model.spec().n_vocab);
    let never = |_: &[u32]| false;
    let search = Search { width: 3, max_tokens: 5, stops: &[], even: 0, ends: &never };
    let mut kv = KvCache::new(&model, 64);
    let got = search.run(&model, &mut kv, &prompt, &Cancel::new()).expect("generates").best;
    assert_eq!((got.ids.len(), got.finish), (5, Finish::Length));
    // A cache that is nearly full.
    let got = search
        .run(&model, &mut KvCache::new(&model, 14), &prompt, &Cancel::new())
        .expect("generates")
        .best;
    assert_eq!((got.ids.len(), got.finish), (2, Finish::Length));
    let got = Search { max_tokens: 0, ..search }
        .run(&model, &mut kv, &prompt, &Cancel::new())
        .expect("generates")
        .best;
    assert_eq!((got.ids.len(), got.finish), (0, Finish::Length));

    let cancelled = Cancel::new();
    cancelled.cancel();
    let mut kv = KvCache::new(&model, 64);
    let got = search.run(&model, &mut kv, &prompt, &cancelled).expect("comes back").best;
    assert_eq!((got.ids.len(), got.finish), (0, Finish::Cancelled));
    // At any layer: in the prefill nothing changes, later the likeliest so far is there but for its
    // last token.
    let mut while_decoding = 0;
    for check in 0.. {
        let mut kv = KvCache::new(&model, 64);
        let got = search
            .run(&model, &mut kv, &prompt, &Cancel::new().at_check(check))
            .expect("comes back")
            .best;
        if got.finish != Finish::Cancelled {
            assert_eq!(got.finish, Finish::Length);
            break;
        }
        assert_eq!(got.ids.len(), got.logprobs.len());
        while_decoding += usize::from(!got.ids.is_empty());
        let whole: Vec<u32> = prompt.iter().chain(&got.ids).copied().collect();
        assert_eq!(
            kv.ids(),
            if got.ids.is_empty() { &[] } else { &whole[..whole.len() - 1] },
            "check {check}"
        );
    }
    assert!(while_decoding > 5);
    assert!(matches!(search.run(&model, &mut kv, &[], &Cancel::new()), Err(PromptError::Empty)));
}

/// A rule that notes what it is asked about, and what it thinks of it.
struct Picky<'a> {
    ends: &'a dyn Fn(&[u32]) -> bool,
    closes: bool,
    new: &'a dyn Fn(&[u32]) -> bool,
    bonus: &'a dyn Fn(&[u32]) -> f32,
    verdict: &'a dyn Fn(&[u32]) -> Verdict,
    asked: Vec<Continuation>,
}

impl Rules for Picky<'_> {
    fn ends(&self, ids: &[u32]) -> bool {
        (self.ends)(ids)
    }
    fn closes(&self, ids: &[u32]) -> bool {
        self.closes && !ids.is_empty()
    }
    fn is_new(&self, ids: &[u32]) -> bool {
        (self.new)(ids)
    }
    fn bonus(&self, ids: &[u32]) -> f32 {
        (self.bonus)(ids)
    }
    fn most(&self) -> f32 {
        3.0
    }
    fn judge(&mut self, continuation: &Continuation) -> Verdict {
        self.asked.push(continuation.clone());
        (self.verdict)(&continuation.ids)
    }
}

fn picky<'a>(
    ends: &'a dyn Fn(&[u32]) -> bool,
    verdict: &'a dyn Fn(&[u32]) -> Verdict,
) -> Picky<'a> {
    Picky { ends, closes: false, new: &|_| true, bonus: &|_| 0.0, verdict, asked: Vec::new() }
}

fn find(model: &Model, prompt: &[u32], beam: Beam<EvenFirst>, rules: &mut Picky) -> Found {
    likeliest(model, &mut KvCache::new(model, 64), prompt, beam, rules, &Cancel::new(), &mut |_| ())
        .expect("generates")
}

#[test]
fn a_refused_continuation_makes_room_for_the_next_best_of_all() {
    let model = fixtures::load("llama-tied-gqa", Precision::F32);
    let n_vocab = model.spec().n_vocab;
    let ends = |ids: &[u32]| ids.len() == 2;
    for seed in 0..4 {
        let prompt = fixtures::ids(seed, 9, n_vocab);
        let mut all: Vec<(f32, Vec<u32>)> = Vec::new();
        for first in 0..n_vocab as u32 {
            all.extend(
                (0..n_vocab as u32)
                    .map(|id| (score(&model, &prompt, &[first, id], None), vec![first, id])),
            );
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        // The best three are refused, five of the rest are wanted.
        let refused: Vec<Vec<u32>> = all[..3].iter().map(|(_, ids)| ids.clone()).collect();
        let verdict = |ids: &[u32]| {
            if refused.iter().any(|r| r == ids) { Verdict::Refuse } else { Verdict::Accept }
        };
        let mut rules = picky(&ends, &verdict);
        let wide = Beam { wanted: 5, ..beam(n_vocab, 2, &[], 0) };
        let found = find(&model, &prompt, wide, &mut rules);
        let texts = |list: &[Continuation]| list.iter().map(|c| c.ids.clone()).collect::<Vec<_>>();
        let of_all = |range: std::ops::Range<usize>| {
            all[range].iter().map(|(_, ids)| ids.clone()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&found.accepted), of_all(3..8), "seed {seed}");
        assert_eq!(
            texts(&rules.asked),
            of_all(0..8),
            "no more than must be are asked about, in order"
        );
        assert_eq!(found.best.ids, all[0].1, "the best, though refused");

        // No room for the next: all that is kept is refused.
        let narrow = Beam { keep: 2, ..beam(n_vocab, 2, &[], 0) };
        let mut rules = picky(&ends, &verdict);
        let found = find(&model, &prompt, narrow, &mut rules);
        assert_eq!((found.accepted.len(), rules.asked.len()), (0, 2));

        // "Nothing is missing" is an answer.
        let over = |ids: &[u32]| if ids == all[1].1 { Verdict::Over } else { Verdict::Accept };
        let mut rules = picky(&ends, &over);
        let found =
            find(&model, &prompt, Beam { wanted: 5, ..beam(n_vocab, 2, &[], 0) }, &mut rules);
        assert_eq!(texts(&found.accepted), of_all(0..1));
    }
}

#[test]
fn a_bonus_is_worth_what_it_says_and_a_margin_brings_who_comes_close() {
    let model = fixtures::load("llama-tied-gqa", Precision::F32);
    let n_vocab = model.spec().n_vocab;
    let ends = |ids: &[u32]| ids.len() == 2;
    let accept = |_: &[u32]| Verdict::Accept;
    for seed in 0..4 {
        let prompt = fixtures::ids(seed, 9, n_vocab);
        let bonus = |ids: &[u32]| if ids[1].is_multiple_of(7) { 3.0 } else { -1.0 };
        let mut all: Vec<(f32, Vec<u32>)> = Vec::new();
        for first in 0..n_vocab as u32 {
            all.extend((0..n_vocab as u32).map(|id| {
                (score(&model, &prompt, &[first, id], None) + bonus(&[first, id]), vec![first, id])
            }));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut rules = Picky { bonus: &bonus, ..picky(&ends, &accept) };
        let found = find(
            &model,
            &prompt,
            Beam { keep: 1000, margin: 0.25, ..beam(n_vocab, 2, &[], 0) },
            &mut rules,
        );
        let close: Vec<&Vec<u32>> =
            all.iter().filter(|(score, _)| *score > all[0].0 - 0.25).map(|(_, ids)| ids).collect();
        let got: Vec<&Vec<u32>> = found.accepted.iter().map(|c| &c.ids).collect();
        assert_eq!(got, close, "seed {seed}");
        assert!((found.accepted[0].score - all[0].0).abs() < 1e-3);
    }
}

#[test]
fn closers_count_together_and_an_end_that_says_nothing_only_where_it_is_likeliest() {
    let model = fixtures::load("llama-tied-gqa", Precision::F32);
    let n_vocab = model.spec().n_vocab as u32;
    let never = |_: &[u32]| false;
    let accept = |_: &[u32]| Verdict::Accept;
    let closers: Vec<u32> = (0..n_vocab).step_by(3).collect();
    for seed in 0..6 {
        let prompt = fixtures::ids(seed, 9, n_vocab as usize);
        let search = || Beam {
            keep: 500,
            wanted: 500,
            closers: &closers,
            ..beam(n_vocab as usize, 2, &[], 0)
        };
        let mut rules = Picky { closes: true, ..picky(&never, &accept) };
        let found = find(&model, &prompt, search(), &mut rules);
        assert!(found.accepted.len() > 20);
        for Continuation { ids, score: got, .. } in &found.accepted {
            assert_eq!(
                ids.len(),
                1,
                "closers end nothing at once, as the rule says, and are not among the ids"
            );
            let total: f32 =
                closers.iter().map(|id| score(&model, &prompt, ids, Some(*id)).exp()).sum();
            assert!((total.ln() - got).abs() < 1e-3, "seed {seed}: {} and {got}", total.ln());
        }
        // Where nothing is said, an end counts only if the likeliest id each time leads to it.
        let mut rules = Picky { closes: true, new: &|_| false, ..picky(&never, &accept) };
        let found = find(&model, &prompt, search(), &mut rules);
        let likeliest = |ids: &[u32]| {
            let mut kv = KvCache::new(&model, 64);
            let whole: Vec<u32> = prompt.iter().chain(ids).copied().collect();
            prefill(&model, &mut kv, &whole, &Cancel::new()).expect("prefills");
            (0..n_vocab)
                .max_by(|a, b| kv.logits()[*a as usize].total_cmp(&kv.logits()[*b as usize]))
                .expect("some")
        };
        let first = likeliest(&[]);
        for Continuation { ids, .. } in &found.accepted {
            assert_eq!(ids, &[first], "seed {seed}");
            assert!(likeliest(ids).is_multiple_of(3));
        }
    }
}

#[test]
fn starts_do_not_compete_for_places() {
    let model = fixtures::load("llama-tied-gqa", Precision::F32);
    let n_vocab = model.spec().n_vocab;
    let ends = |ids: &[u32]| ids.len() == 3;
    let accept = |_: &[u32]| Verdict::Accept;
    let prompt = fixtures::ids(3, 9, n_vocab);
    let alone = |even| {
        let found = find(
            &model,
            &prompt,
            Beam { keep: 1, ..beam(2, 3, &[], even) },
            &mut picky(&ends, &accept),
        );
        found.best
    };
    let (free, forced) = (alone(0), alone(3));
    assert_ne!(free.ids, forced.ids, "another seed is needed");
    let starts = vec![
        Start { constraint: EvenFirst(0), width: 2 },
        Start { constraint: EvenFirst(3), width: 2 },
    ];
    let both = Beam { starts, keep: 50, wanted: 50, ..beam(2, 3, &[], 0) };
    let found = find(&model, &prompt, both, &mut picky(&ends, &accept));
    for wanted in [&free, &forced] {
        assert!(
            found
                .accepted
                .iter()
                .any(|c| c.ids == wanted.ids && (c.score - wanted.score).abs() < 1e-3)
        );
    }
    assert_eq!(
        found.accepted[0].ids,
        if free.score >= forced.score { free.ids } else { forced.ids }
    );
}

#[test]
fn cut_off_what_has_ended_counts() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let n_vocab = model.spec().n_vocab;
    let prompt = fixtures::ids(1, 12, n_vocab);
    // Some continuations end early, most go on for long.
    let ends = |ids: &[u32]| ids.last().is_some_and(|id| id.is_multiple_of(3));
    let accept = |_: &[u32]| Verdict::Accept;
    let mut cut = 0;
    for check in 0.. {
        let mut rules = picky(&ends, &accept);
        let mut kv = KvCache::new(&model, 64);
        let beam = Beam { keep: 8, wanted: 8, ..beam(3, 30, &[], 0) };
        let cancel = Cancel::new().at_check(check);
        let found = likeliest(&model, &mut kv, &prompt, beam, &mut rules, &cancel, &mut |_| ())
            .expect("comes back");
        if found.finish != Finish::Cancelled {
            break;
        }
        if !found.accepted.is_empty() {
            cut += 1;
            assert_eq!(found.accepted[0], found.best);
            assert!(found.accepted.iter().all(|c| ends(&c.ids)));
            assert!(found.accepted.is_sorted_by(|a, b| a.score >= b.score));
        }
    }
    assert!(cut > 3, "{cut}");
}
