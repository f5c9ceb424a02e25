//! The KV cache: reuse gives the same logits as a cold start, cancelling changes nothing, limits
//! are errors.

use lacuna_engine::{
    Cancel, DEFAULT_KV, KvCache, KvDtype, Precision, PrefillStats, PromptError, prefill,
};

use crate::fixtures::{self, ALL};

/// Warm and cold logits may differ by this much in f32; in INT4 they have the same bits.
const WARM_COLD: f32 = 1e-4;
/// Relative L2 on the AMX row, which computes more than 16 tokens with coarser scales than fewer
/// (random weights: the worst case).
const WARM_COLD_AMX: f64 = 0.1;

/// Every precision with the type its caches have unless told otherwise, and INT4 with every type.
fn kinds() -> impl Iterator<Item = (Precision, KvDtype)> {
    KvDtype::ALL
        .into_iter()
        .map(|dtype| (Precision::Int4, dtype))
        .chain([(Precision::F32, KvDtype::F32)])
}

#[test]
fn a_warm_cache_gives_the_logits_of_a_cold_one() {
    for (precision, dtype) in kinds() {
        for name in ALL {
            let model = fixtures::load(name, precision);
            let (ids, _) = fixtures::expected(name);
            let mut warm = KvCache::with_dtype(&model, 64, dtype);
            // Grown a token or several at a time, cut in the middle, changed, cut to one token,
            // repeated.
            let mut edited = ids.clone();
            edited[ids.len() / 2] ^= 1;
            let script: Vec<&[u32]> = vec![
                &ids[..1],
                &ids[..2],
                &ids[..9],
                &ids[..10],
                &ids,
                &edited,
                &edited[..7],
                &ids,
                &ids,
                &ids[..1],
                &edited,
            ];
            for (step, prompt) in script.into_iter().enumerate() {
                let shared = warm.common_prefix(prompt).min(prompt.len() - 1);
                let stats = prefill(&model, &mut warm, prompt, &Cancel::new()).expect("fits");
                assert_eq!(
                    stats,
                    PrefillStats {
                        cached: shared,
                        prefilled: prompt.len() - shared,
                        ..PrefillStats::default()
                    },
                    "{name} step {step}"
                );
                assert_eq!(warm.ids(), prompt);
                let mut cold = KvCache::with_dtype(&model, 64, dtype);
                prefill(&model, &mut cold, prompt, &Cancel::new()).expect("fits");
                if precision == Precision::Int4 && fixtures::cuts_matter() {
                    let difference = fixtures::relative_l2(warm.logits(), cold.logits());
                    assert!(
                        difference <= WARM_COLD_AMX,
                        "{name} {precision:?} {dtype} step {step}: {difference}"
                    );
                    continue;
                }
                let difference = fixtures::largest_difference(warm.logits(), cold.logits());
                let bound = if precision == Precision::Int4 { 0.0 } else { WARM_COLD };
                assert!(
                    difference <= bound,
                    "{name} {precision:?} {dtype} step {step}: {difference}"
                );
            }
        }
    }
}

#[test]
fn cancelling_at_any_layer_leaves_the_cache_as_it_was() {
    for (precision, dtype) in kinds() {
        let model = fixtures::load("llama-tied-gqa", precision);
        // In f32, products of several tokens add in another order than those of one.
        let bound = if precision == Precision::Int4 { 0.0 } else { WARM_COLD };
        let (ids, _) = fixtures::expected("llama-tied-gqa");
        let mut other = ids.clone();
        other[5] ^= 1;
        let checks = 2 * model.spec().layers() as u32;
        for check in 0..checks {
            let mut kv = KvCache::with_dtype(&model, 64, dtype);
            prefill(&model, &mut kv, &ids, &Cancel::new()).expect("fits");
            let logits = kv.logits().to_vec();
            let result = prefill(&model, &mut kv, &other, &Cancel::new().at_check(check));
            assert_eq!(result, Err(PromptError::Cancelled), "two checks a layer");
            assert_eq!(kv.ids(), ids);
            assert_eq!(kv.logits(), logits);
            // The keys and values are those of before: going on from the last token gives what it
            // gave.
            prefill(&model, &mut kv, &ids, &Cancel::new()).expect("fits");
            let agree = |a: &[f32], b: &[f32]| {
                if precision == Precision::Int4 && fixtures::cuts_matter() {
                    assert!(
                        fixtures::relative_l2(a, b) <= WARM_COLD_AMX,
                        "{precision:?} {dtype} check {check}"
                    );
                } else {
                    assert!(
                        fixtures::largest_difference(a, b) <= bound,
                        "{precision:?} {dtype} check {check}"
                    );
                }
            };
            agree(kv.logits(), &logits);
            // And the cancelled prompt gives what it would have given.
            prefill(&model, &mut kv, &other, &Cancel::new().at_check(checks))
                .expect("no check more");
            let mut cold = KvCache::with_dtype(&model, 64, dtype);
            prefill(&model, &mut cold, &other, &Cancel::new()).expect("fits");
            agree(kv.logits(), cold.logits());
        }
    }
}

#[test]
fn the_type_follows_the_precision_unless_it_is_given() {
    let exact = fixtures::load("qwen2-bias", Precision::F32);
    assert_eq!(KvCache::new(&exact, 8).dtype(), KvDtype::F32);
    let model = fixtures::load("qwen2-bias", Precision::Int4);
    assert_eq!(KvCache::new(&model, 8).dtype(), DEFAULT_KV);
    let (ids, _) = fixtures::expected("qwen2-bias");
    let of = |dtype| {
        let mut kv = KvCache::with_dtype(&model, 64, dtype);
        assert_eq!((kv.dtype(), kv.bytes()), (dtype, 0));
        prefill(&model, &mut kv, &ids, &Cancel::new()).expect("fits");
        (kv.logits().to_vec(), kv.bytes())
    };
    let (f32, most) = of(KvDtype::F32);
    // Random weights of width 32, heads of 8: a trained model loses far less.
    for (dtype, bound, share) in [(KvDtype::F16, 0.02, 0.55), (KvDtype::Int8, 0.05, 0.55)] {
        let (logits, bytes) = of(dtype);
        let error = fixtures::relative_l2(&logits, &f32);
        eprintln!("{dtype}: relative L2 error {error:.4}, {bytes} bytes");
        assert!(error > 0.0 && error <= bound, "{dtype}: relative L2 error {error:.4} > {bound}");
        assert!(
            bytes > 0 && bytes as f64 <= most as f64 * share,
            "{dtype}: {bytes} bytes of {most}"
        );
    }
}

#[test]
fn a_flag_set_before_and_a_deadline_in_the_past_cancel() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let mut kv = KvCache::new(&model, 8);
    let flag = Cancel::new();
    flag.clone().cancel();
    assert_eq!(prefill(&model, &mut kv, &[1, 2], &flag), Err(PromptError::Cancelled));
    let late = Cancel::new().with_deadline(std::time::Instant::now());
    assert_eq!(prefill(&model, &mut kv, &[1, 2], &late), Err(PromptError::Cancelled));
    assert!(kv.ids().is_empty() && kv.logits().is_empty());
}

#[test]
fn prompts_that_cannot_be_taken_are_errors_and_change_nothing() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let mut kv = KvCache::new(&model, 8);
    prefill(&model, &mut kv, &[1, 2, 3], &Cancel::new()).expect("fits");
    let mut check = |prompt: &[u32], expected: PromptError| {
        assert_eq!(prefill(&model, &mut kv, prompt, &Cancel::new()), Err(expected));
        assert_eq!(kv.ids(), [1, 2, 3]);
    };
    check(&[], PromptError::Empty);
    check(&[1; 9], PromptError::TooLong { tokens: 9, capacity: 8 });
    check(&[1, 96], PromptError::TokenOutOfRange { id: 96, n_vocab: 96 });
    check(&[u32::MAX], PromptError::TokenOutOfRange { id: u32::MAX, n_vocab: 96 });
}

#[test]
fn a_cache_holds_no_more_than_the_model_has_positions() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    assert_eq!(KvCache::new(&model, usize::MAX).capacity(), model.spec().max_positions);
}

#[test]
fn a_long_prompt_in_chunks_equals_the_same_prompt_token_by_token() {
    let model = fixtures::load("llama-tied-gqa", Precision::F32);
    let ids: Vec<u32> = (0..model.spec().max_positions as u32).map(|i| i * 7 % 96).collect();
    let mut at_once = KvCache::new(&model, 1024);
    prefill(&model, &mut at_once, &ids, &Cancel::new()).expect("fits");
    let mut step_by_step = KvCache::new(&model, 1024);
    for end in 1..=ids.len() {
        prefill(&model, &mut step_by_step, &ids[..end], &Cancel::new()).expect("fits");
    }
    assert!(fixtures::largest_difference(at_once.logits(), step_by_step.logits()) <= WARM_COLD);
}
