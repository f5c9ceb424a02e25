//! Packed prompts give what each of them gives alone.

use std::ops::ControlFlow;

use lacuna_engine::{
    Cancel, Constraint, Finish, Generation, KvCache, Model, PackedRequest, Precision, PromptError,
    Reading, Sampling, generate, generate_packed, log_probs, prefill, prefill_packed, score_behind,
    score_packed,
};

use crate::fixtures::{self, ALL, Random};

/// F32 products of several rows add in another order than those of few.
const REFERENCE: f32 = 1e-4;
/// As for a warm and a cold cache: AMX computes more than 16 tokens with coarser scales than fewer
/// (random weights: the worst case).
const AMX: f64 = 0.1;

fn check_logits(precision: Precision, got: &KvCache, alone: &KvCache, what: &str) {
    assert_eq!(got.ids(), alone.ids(), "{what}");
    if precision == Precision::Int4 && fixtures::cuts_matter() {
        let difference = fixtures::relative_l2(got.logits(), alone.logits());
        assert!(difference <= AMX, "{what}: {difference}");
        return;
    }
    let bound = if precision == Precision::Int4 { 0.0 } else { REFERENCE };
    let difference = fixtures::largest_difference(got.logits(), alone.logits());
    assert!(difference <= bound, "{what}: {difference}");
}

fn pack(
    model: &Model,
    caches: &mut [KvCache],
    prompts: &[Vec<u32>],
    cancel: &Cancel,
) -> Result<Vec<usize>, PromptError> {
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let stats =
        prefill_packed(model, &mut caches.iter_mut().collect::<Vec<_>>(), &prompts, cancel)?;
    Ok(stats.iter().map(|s| s.cached).collect())
}

#[test]
fn packed_prefills_are_those_of_one_after_another() {
    for (round, precision) in [Precision::Int4, Precision::F32].into_iter().enumerate() {
        for name in ALL {
            let model = fixtures::load(name, precision);
            let n_vocab = model.spec().n_vocab;
            for seed in 0..12u64 {
                let mut random = Random(seed << 8 | round as u64);
                let n = 1 + random.below(9);
                // One token, a few, more than fit one block of the cache; some caches are warm with
                // a part or with something else.
                let prompts: Vec<Vec<u32>> = (0..n)
                    .map(|i| fixtures::ids(seed << 16 | i as u64, 1 + random.below(60), n_vocab))
                    .collect();
                let mut packed: Vec<KvCache> =
                    prompts.iter().map(|_| KvCache::new(&model, 64)).collect();
                let mut expected_cached = Vec::new();
                for (kv, prompt) in packed.iter_mut().zip(&prompts) {
                    let shared = match random.below(3) {
                        0 => 0,
                        1 => 1 + random.below(prompt.len()),
                        _ => prompt.len(),
                    };
                    if shared > 0 {
                        prefill(&model, kv, &prompt[..shared], &Cancel::new()).expect("fits");
                    }
                    expected_cached.push(shared.min(prompt.len() - 1));
                }
                let cached = pack(&model, &mut packed, &prompts, &Cancel::new()).expect("fits");
                assert_eq!(cached, expected_cached, "{name} seed {seed}");
                for (i, (kv, prompt)) in packed.iter_mut().zip(&prompts).enumerate() {
                    let mut alone = KvCache::new(&model, 64);
                    prefill(&model, &mut alone, prompt, &Cancel::new()).expect("fits");
                    check_logits(
                        precision,
                        kv,
                        &alone,
                        &format!("{name} {precision:?} seed {seed} prompt {i} of {n}"),
                    );
                    // Going on alone shows that all keys and values are right, not only the last
                    // state.
                    let longer: Vec<u32> = prompt.iter().copied().chain([1, 2]).collect();
                    prefill(&model, kv, &longer, &Cancel::new()).expect("fits");
                    prefill(&model, &mut alone, &longer, &Cancel::new()).expect("fits");
                    assert_eq!(kv.exact(), longer.len());
                    check_logits(
                        precision,
                        kv,
                        &alone,
                        &format!("{name} {precision:?} seed {seed} prompt {i} of {n}, longer"),
                    );
                }
            }
        }
    }
}

#[test]
fn prompts_longer_than_a_pass_are_cut_and_still_the_same() {
    let model = fixtures::random();
    let n_vocab = model.spec().n_vocab;
    let prompts: Vec<Vec<u32>> = [700, 3, 511, 1, 30]
        .iter()
        .enumerate()
        .map(|(i, n)| fixtures::ids(i as u64, *n, n_vocab))
        .collect();
    let mut packed: Vec<KvCache> = prompts.iter().map(|_| KvCache::new(&model, 1024)).collect();
    pack(&model, &mut packed, &prompts, &Cancel::new()).expect("fits");
    for (kv, prompt) in packed.iter().zip(&prompts) {
        let mut alone = KvCache::new(&model, 1024);
        prefill(&model, &mut alone, prompt, &Cancel::new()).expect("fits");
        check_logits(Precision::Int4, kv, &alone, &format!("{} tokens", prompt.len()));
    }
}

#[test]
fn cancelling_at_any_layer_leaves_every_cache_as_it_was() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let n_vocab = model.spec().n_vocab;
    let old: Vec<Vec<u32>> = (0..3).map(|i| fixtures::ids(i, 20, n_vocab)).collect();
    let new: Vec<Vec<u32>> = old.iter().map(|ids| [&ids[..10], &[7, 8, 9][..]].concat()).collect();
    for layer in 0..model.spec().layers() as u32 {
        let mut caches: Vec<KvCache> = old.iter().map(|_| KvCache::new(&model, 64)).collect();
        pack(&model, &mut caches, &old, &Cancel::new()).expect("fits");
        let before: Vec<Vec<f32>> = caches.iter().map(|kv| kv.logits().to_vec()).collect();
        assert_eq!(
            pack(&model, &mut caches, &new, &Cancel::new().at_check(layer)),
            Err(PromptError::Cancelled)
        );
        for ((kv, ids), logits) in caches.iter_mut().zip(&old).zip(&before) {
            assert_eq!((kv.ids(), kv.logits()), (&ids[..], &logits[..]));
            // The keys and values too: the last token again gives what it gave.
            kv.truncate(ids.len() - 1);
            prefill(&model, kv, ids, &Cancel::new()).expect("fits");
            if !fixtures::cuts_matter() {
                assert_eq!(kv.logits(), logits);
            }
        }
    }
}

#[test]
fn prompts_that_cannot_be_taken_are_errors_and_change_nothing() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let n_vocab = model.spec().n_vocab;
    let mut caches = vec![KvCache::new(&model, 8), KvCache::new(&model, 8)];
    let mut error = |second: Vec<u32>| {
        pack(&model, &mut caches, &[vec![1, 2], second], &Cancel::new()).unwrap_err()
    };
    assert_eq!(error(vec![]), PromptError::Empty);
    assert_eq!(error(vec![1; 9]), PromptError::TooLong { tokens: 9, capacity: 8 });
    assert_eq!(
        error(vec![n_vocab as u32]),
        PromptError::TokenOutOfRange { id: n_vocab as u32, n_vocab }
    );
    assert!(caches.iter().all(|kv| kv.ids().is_empty()));
    assert_eq!(pack(&model, &mut [], &[], &Cancel::new()), Ok(vec![]));
}

/// The first tokens are even.
struct Even(usize);

impl Constraint for Even {
    fn allows(&self, id: u32) -> bool {
        id.is_multiple_of(2)
    }
    fn is_active(&self) -> bool {
        self.0 > 0
    }
    fn push(&mut self, _: u32) {
        self.0 -= 1;
    }
}

/// The generation of one prompt alone, broken off after `after` tokens.
fn alone(
    model: &Model,
    prompt: &[u32],
    sampling: &Sampling,
    even: usize,
    after: usize,
) -> Generation {
    let mut kv = KvCache::new(model, 40);
    let mut rule = Even(even);
    let mut n = 0;
    let mut stop = |_| {
        n += 1;
        if n == after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    generate(model, &mut kv, prompt, sampling, Some(&mut rule), &Cancel::new(), &mut stop)
        .expect("fits")
}

#[test]
fn generations_together_are_those_of_each_alone() {
    let model = fixtures::load("qwen2-bias", Precision::Int4);
    let n_vocab = model.spec().n_vocab;
    let mut finishes = std::collections::HashSet::new();
    for seed in 0..20u64 {
        let mut random = Random(seed);
        let n = 1 + random.below(8);
        let prompts: Vec<Vec<u32>> = (0..n)
            .map(|i| fixtures::ids(seed << 16 | i as u64, 17 + random.below(20), n_vocab))
            .collect();
        let even: Vec<usize> = prompts.iter().map(|_| random.below(4)).collect();
        let after: Vec<usize> = prompts.iter().map(|_| 1 + random.below(12)).collect();
        let temperature = if seed % 2 == 0 { 0.0 } else { 0.9 };
        let stops = (0..n_vocab as u32).filter(|id| id % 11 == 3).collect();
        let sampling = Sampling { max_tokens: 9, temperature, seed, stops, ..Sampling::default() };
        let mut rules: Vec<Even> = even.iter().map(|n| Even(*n)).collect();
        let mut requests: Vec<PackedRequest> = prompts
            .iter()
            .zip(&mut rules)
            .map(|(prompt, rule)| PackedRequest {
                prompt,
                sampling: &sampling,
                constraint: Some(rule),
            })
            .collect();
        let mut caches: Vec<KvCache> = prompts.iter().map(|_| KvCache::new(&model, 40)).collect();
        let mut told = vec![0; n];
        let got = generate_packed(
            &model,
            &mut caches.iter_mut().collect::<Vec<_>>(),
            &mut requests,
            &Cancel::new(),
            &mut |i, _| {
                told[i] += 1;
                if told[i] == after[i] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )
        .expect("fits");
        for i in 0..n {
            let expected = alone(&model, &prompts[i], &sampling, even[i], after[i]);
            assert_eq!(
                (&got[i].ids, got[i].finish),
                (&expected.ids, expected.finish),
                "seed {seed} request {i}"
            );
            assert_eq!(got[i].logprobs, expected.logprobs, "seed {seed} request {i}");
            assert_eq!(told[i], got[i].ids.len());
            finishes.insert(got[i].finish as u8);
        }
    }
    assert!(finishes.len() >= 3, "stops, lengths and breaks were seen: {finishes:?}");
}

#[test]
fn a_cancelled_batch_keeps_what_it_has() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let layers = model.spec().layers() as u32;
    let prompts = [vec![1, 2, 3], vec![4, 5]];
    let run = |checks: u32| {
        let sampling = Sampling { max_tokens: 5, ..Sampling::default() };
        let mut requests: Vec<PackedRequest> = prompts
            .iter()
            .map(|prompt| PackedRequest { prompt, sampling: &sampling, constraint: None })
            .collect();
        let mut caches: Vec<KvCache> = prompts.iter().map(|_| KvCache::new(&model, 40)).collect();
        let cancel = Cancel::new().at_check(checks);
        let got = generate_packed(
            &model,
            &mut caches.iter_mut().collect::<Vec<_>>(),
            &mut requests,
            &cancel,
            &mut |_, _| ControlFlow::Continue(()),
        );
        (got.expect("fits"), caches.iter().map(|kv| kv.ids().len()).collect::<Vec<_>>())
    };
    let (in_prefill, held) = run(0);
    assert!(in_prefill.iter().all(|g| g.finish == Finish::Cancelled && g.ids.is_empty()));
    assert_eq!(held, [0, 0]);
    // The prefill, one token's pass, and half of the next.
    let (in_decode, held) = run(2 * layers + 1);
    assert!(in_decode.iter().all(|g| g.finish == Finish::Cancelled && g.ids.len() == 2));
    assert_eq!(held, [4, 3]);
}

#[test]
fn continuations_scored_together_have_the_log_probabilities_of_each_alone() {
    for (precision, names) in [(Precision::Int4, &ALL[..]), (Precision::F32, &ALL[..1])] {
        for name in names {
            let model = fixtures::load(name, precision);
            let n_vocab = model.spec().n_vocab;
            for seed in 0..8u64 {
                let mut random = Random(seed);
                let n = 1 + random.below(7);
                let texts: Vec<Vec<u32>> = (0..n)
                    .map(|i| fixtures::ids(seed << 16 | i as u64, 2 + random.below(60), n_vocab))
                    .collect();
                // A continuation of no token, of one, of nearly everything.
                let cuts: Vec<usize> =
                    texts.iter().map(|ids| 1 + random.below(ids.len())).collect();
                let mut caches: Vec<KvCache> =
                    texts.iter().map(|_| KvCache::new(&model, 64)).collect();
                let (prompts, rest): (Vec<&[u32]>, Vec<&[u32]>) =
                    texts.iter().zip(&cuts).map(|(ids, cut)| ids.split_at(*cut)).unzip();
                let got = score_packed(
                    &model,
                    &mut caches.iter_mut().collect::<Vec<_>>(),
                    &prompts,
                    &rest,
                    &Cancel::new(),
                )
                .expect("fits");
                for (i, (ids, cut)) in texts.iter().zip(&cuts).enumerate() {
                    let all = log_probs(&model, ids, &Cancel::new()).expect("fits");
                    assert_eq!(got[i].len(), ids.len() - cut);
                    let bound = if precision == Precision::Int4 && fixtures::cuts_matter() {
                        0.3
                    } else {
                        2e-4
                    };
                    for (got, expected) in got[i].iter().zip(&all[cut - 1..]) {
                        assert!(
                            (got - expected).abs() <= bound,
                            "{name} seed {seed} text {i}: {got} is not {expected}"
                        );
                    }
                    // The caches hold the prompts, as if nothing had been scored.
                    let mut alone = KvCache::new(&model, 64);
                    prefill(&model, &mut alone, &ids[..*cut], &Cancel::new()).expect("fits");
                    check_logits(
                        precision,
                        &caches[i],
                        &alone,
                        &format!("{name} {precision:?} seed {seed} text {i}"),
                    );
                }
            }
        }
    }
}

#[test]
fn continuations_that_cannot_be_scored_are_errors() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let n_vocab = model.spec().n_vocab;
    let mut caches = [KvCache::new(&model, 8)];
    let mut score = |prompt: &[u32], rest: &[u32], cancel: &Cancel| {
        score_packed(&model, &mut caches.iter_mut().collect::<Vec<_>>(), &[prompt], &[rest], cancel)
    };
    assert_eq!(
        score(&[1, 2], &[3; 7], &Cancel::new()),
        Err(PromptError::TooLong { tokens: 9, capacity: 8 })
    );
    assert_eq!(
        score(&[1], &[n_vocab as u32], &Cancel::new()),
        Err(PromptError::TokenOutOfRange { id: n_vocab as u32, n_vocab })
    );
    assert_eq!(score(&[], &[1], &Cancel::new()), Err(PromptError::Empty));
    let layers = model.spec().layers() as u32;
    assert_eq!(
        score(&[1, 2], &[3, 4], &Cancel::new().at_check(layers + 1)),
        Err(PromptError::Cancelled)
    );
    assert_eq!(score(&[1, 2], &[], &Cancel::new()), Ok(vec![vec![]]));
    assert_eq!(score(&[1, 2], &[3; 6], &Cancel::new()).map(|s| s[0].len()), Ok(6));
}

/// Texts of any lengths behind one prefix, with any of their tokens wanted; together they may be
/// longer than a pass.
#[test]
fn texts_behind_one_prefix_have_the_scores_of_each_alone_warm_or_cold() {
    for (precision, names) in [(Precision::Int4, &ALL[..]), (Precision::F32, &ALL[..1])] {
        for name in names {
            let model = fixtures::load(name, precision);
            let n_vocab = model.spec().n_vocab;
            for seed in 0..8u64 {
                let mut random = Random(seed << 4);
                let prefix = fixtures::ids(seed, random.below(40), n_vocab);
                let n = if seed == 0 { 40 } else { 1 + random.below(8) };
                let texts: Vec<Vec<u32>> = (0..n)
                    .map(|i| fixtures::ids(seed << 16 | i as u64, 1 + random.below(24), n_vocab))
                    .collect();
                let from: Vec<usize> =
                    texts.iter().map(|ids| 1 + random.below(ids.len())).collect();
                let readings: Vec<Reading> = texts
                    .iter()
                    .zip(&from)
                    .map(|(ids, from)| Reading { ids, from: *from })
                    .collect();

                let mut cold = KvCache::new(&model, 64);
                let got = score_behind(&model, &mut cold, &prefix, &readings, &Cancel::new())
                    .expect("fits");
                assert_eq!(cold.ids(), prefix);
                // Warm with part of the prefix, with all of it, with more and with something else
                // behind a part.
                let longer = [&prefix[..], &fixtures::ids(99, 5, n_vocab)].concat();
                let part = &prefix[..random.below(prefix.len() + 1)];
                let other = [part, &fixtures::ids(77, 3, n_vocab)].concat();
                for held in [part, &prefix, &longer, &other] {
                    let mut warm = KvCache::new(&model, 64);
                    if !held.is_empty() {
                        prefill(&model, &mut warm, held, &Cancel::new()).expect("fits");
                    }
                    let again = score_behind(&model, &mut warm, &prefix, &readings, &Cancel::new())
                        .expect("fits");
                    let is_whole = held.starts_with(&prefix);
                    assert_eq!(
                        warm.ids(),
                        if is_whole { held } else { &prefix[..] },
                        "{name} seed {seed}"
                    );
                    assert_close(
                        precision,
                        &got,
                        &again,
                        0.0,
                        &format!("{name} seed {seed} warm with {}", held.len()),
                    );
                }
                for (i, (ids, from)) in texts.iter().zip(&from).enumerate() {
                    let what = format!("{name} seed {seed} text {i}");
                    let one = score_behind(
                        &model,
                        &mut KvCache::new(&model, 64),
                        &prefix,
                        &readings[i..=i],
                        &Cancel::new(),
                    )
                    .expect("fits");
                    assert_close(precision, &got[i..=i], &one, 0.0, &what);
                    // The reference: the whole text, token by token.
                    let all = log_probs(&model, &[&prefix[..], ids].concat(), &Cancel::new())
                        .expect("fits");
                    assert_close(
                        precision,
                        &got[i..=i],
                        &[all[prefix.len() + from - 1..].to_vec()],
                        2e-4,
                        &what,
                    );
                }
            }
        }
    }
}

fn assert_close(
    precision: Precision,
    got: &[Vec<f32>],
    expected: &[Vec<f32>],
    bound: f32,
    what: &str,
) {
    let bound = match precision {
        Precision::F32 => REFERENCE.max(bound),
        Precision::Int4 if fixtures::cuts_matter() => 0.3,
        Precision::Int4 => bound,
    };
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        assert_eq!(got.len(), expected.len(), "{what}");
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() <= bound, "{what}: {got} is not {expected}");
        }
    }
}

#[test]
fn reading_that_is_cancelled_or_refused_leaves_the_cache_usable() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let n_vocab = model.spec().n_vocab;
    let (prefix, text) = (fixtures::ids(1, 10, n_vocab), fixtures::ids(2, 6, n_vocab));
    let read = |kv: &mut KvCache, text: &[u32], from, cancel: &Cancel| {
        score_behind(
            &model,
            kv,
            &prefix,
            &[Reading { ids: text, from }, Reading { ids: text, from: from + 1 }],
            cancel,
        )
    };
    let mut kv = KvCache::new(&model, 16);
    let expected = read(&mut kv, &text, 2, &Cancel::new()).expect("fits");
    let layers = model.spec().layers() as u32;
    // Warm: a check a layer. Cold: also one for each half of a layer of the prefix.
    for check in 0..3 * layers {
        let cancel = || Cancel::new().at_check(check);
        let mut cold = KvCache::new(&model, 16);
        assert_eq!(read(&mut cold, &text, 2, &cancel()), Err(PromptError::Cancelled));
        assert!(cold.ids().is_empty() || cold.ids() == prefix);
        assert_eq!(
            read(&mut cold, &text, 2, &Cancel::new()).as_ref(),
            Ok(&expected),
            "taken up after check {check}"
        );
        if check < layers {
            assert_eq!(read(&mut kv, &text, 2, &cancel()), Err(PromptError::Cancelled));
            assert_eq!(kv.ids(), prefix);
        }
    }
    assert_eq!(
        read(&mut kv, &[3; 7], 1, &Cancel::new()),
        Err(PromptError::TooLong { tokens: 17, capacity: 16 })
    );
    assert_eq!(
        read(&mut kv, &[n_vocab as u32], 1, &Cancel::new()),
        Err(PromptError::TokenOutOfRange { id: n_vocab as u32, n_vocab })
    );
    // Nothing that is wanted is computed from nothing.
    assert_eq!(read(&mut kv, &text, 6, &Cancel::new().at_check(0)), Ok(vec![vec![], vec![]]));
    assert_eq!(read(&mut kv, &text, 2, &Cancel::new()), Ok(expected));
}
