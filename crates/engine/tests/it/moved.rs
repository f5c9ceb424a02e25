//! Text that has moved: what is found, how exact a moved key is, what repair brings back.

use std::collections::HashSet;

use lacuna_engine::{
    Cancel, KvCache, KvDtype, Model, Precision, PrefillOptions, PrefillStats, PromptError, Reuse,
    prefill, prefill_with,
};

use crate::fixtures;

fn cold(model: &Model, ids: &[u32], dtype: KvDtype) -> KvCache {
    let mut kv = KvCache::with_dtype(model, 2048, dtype);
    prefill(model, &mut kv, ids, &Cancel::new()).expect("fits");
    kv
}

fn with(model: &Model, kv: &mut KvCache, ids: &[u32], reuse: Reuse) -> PrefillStats {
    let stats =
        prefill_with(model, kv, ids, &PrefillOptions { reuse, donors: &[] }, &Cancel::new())
            .expect("fits");
    assert_eq!(
        stats.cached + stats.resumed + stats.shifted + stats.repaired + stats.prefilled,
        ids.len(),
        "{stats:?}"
    );
    assert_eq!(kv.ids(), ids);
    stats
}

/// Text that a trained model takes for text: its own.
fn text(model: &Model, seed: u64, n: usize) -> Vec<u32> {
    use lacuna_engine::{Sampling, generate};
    let sampling = Sampling { max_tokens: n, temperature: 1.0, seed, ..Sampling::default() };
    let mut kv = KvCache::new(model, n + 1);
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    generate(model, &mut kv, &[0], &sampling, None, &Cancel::new(), go_on).expect("generates").ids
}

/// `Σ p · log(p/q)` in nats.
fn divergence(exact: &[f32], approximate: &[f32]) -> f64 {
    let log_probs = |logits: &[f32]| -> Vec<f64> {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|l| (f64::from(*l) - largest).exp()).sum();
        logits.iter().map(|l| f64::from(*l) - largest - sum.ln()).collect()
    };
    log_probs(exact).iter().zip(log_probs(approximate)).map(|(p, q)| p.exp() * (p - q)).sum()
}

#[test]
fn several_runs_move_at_once_and_only_the_gaps_are_computed() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    // llama.cpp PR 9866: exact prefix, dropped text, moved run, dropped text, moved run, new text.
    let ids = |text: &str| -> Vec<u32> { text.bytes().map(|b| u32::from(b - b'a')).collect() };
    let (before, after) = (
        ids("aaaaabbbbbcccccccdddddeeeeeexffggggghhhhhhhxxxxxxxxx"),
        ids("aaaaaccccccceeeeeeffhhhhhhhyyyyyyyy"),
    );
    let mut kv = cold(&model, &before, KvDtype::Int8);
    let stats = with(&model, &mut kv, &after, Reuse::Shift { min_run: 3 });
    assert_eq!(
        stats,
        PrefillStats { cached: 5, shifted: 20, prefilled: 10, ..PrefillStats::default() }
    );
    assert_eq!(kv.exact(), 5);
    // Exact mode does not build on moved text.
    let stats = with(&model, &mut kv, &after, Reuse::Exact);
    assert_eq!((stats.cached, stats.prefilled), (5, after.len() - 5));
    assert_eq!(kv.exact(), after.len());
    let mut fresh = cold(&model, &after[..5], KvDtype::Int8);
    prefill(&model, &mut fresh, &after, &Cancel::new()).expect("fits");
    let difference = fixtures::relative_l2(kv.logits(), fresh.logits());
    assert!(difference <= if fixtures::cuts_matter() { 0.1 } else { 0.0 }, "{difference}");
    // Without a long enough run nothing is moved.
    let mut kv = cold(&model, &before, KvDtype::Int8);
    assert_eq!(with(&model, &mut kv, &after, Reuse::Shift { min_run: 8 }).shifted, 0);
    assert_eq!(kv.exact(), after.len());
}

#[test]
fn repair_of_everything_is_a_cold_prefill_to_the_bit() {
    for (precision, dtype) in KvDtype::ALL
        .map(|dtype| (Precision::Int4, dtype))
        .into_iter()
        .chain([(Precision::F32, KvDtype::F32)])
    {
        for name in ["llama-tied-gqa", "qwen2-bias", "llama3-rope"] {
            let model = fixtures::load(name, precision);
            let before = fixtures::ids(1, 90, 96);
            let mut after = before[..10].to_vec();
            after.extend([1, 2, 3]);
            after.extend(&before[10..80]);
            after.extend([4, 5]);
            let mut exact = cold(&model, &before, dtype);
            let mut blended = exact.fork();
            prefill(&model, &mut exact, &after, &Cancel::new()).expect("fits");
            let stats = with(&model, &mut blended, &after, Reuse::Blend { min_run: 8, ratio: 1.0 });
            assert_eq!(
                (stats.cached, stats.repaired, stats.shifted, stats.prefilled),
                (10, 70, 0, 5)
            );
            assert_eq!(blended.logits(), exact.logits(), "{name} {precision:?} {dtype}");
        }
    }
}

#[test]
fn repair_brings_the_answer_nearer_to_the_cold_one() {
    let model = fixtures::embedded();
    let ratios = [0.0, 0.15, 0.3, 1.0];
    let mut sums = [0f64; 4];
    let (cases, answer) = (16, 12);
    for seed in 0..cases {
        // The text stood at the top of a file; now other text stands before it, so that all it
        // knows of its surroundings is wrong.
        let all = text(&model, seed, 200 + answer);
        let (before, rest) = all.split_at(200);
        let mut after = text(&model, 100 + seed, 200);
        after.extend(before);
        let base = cold(&model, before, KvDtype::Int8);
        let exact = answers(&model, cold(&model, &after, KvDtype::Int8), &after, rest);
        for (ratio, sum) in ratios.into_iter().zip(&mut sums) {
            let mut kv = base.fork();
            let stats = with(&model, &mut kv, &after, Reuse::Blend { min_run: 16, ratio });
            assert!(stats.shifted + stats.repaired >= 180, "{stats:?}");
            let got = answers(&model, kv, &after, rest);
            *sum += exact.iter().zip(&got).map(|(a, b)| divergence(a, b)).sum::<f64>()
                / (cases as usize * got.len()) as f64;
        }
    }
    eprintln!("KL to the cold answer at r = 0, 0.15, 0.3, 1: {sums:.5?}");
    assert!(sums[3] < 0.02, "r = 1: {sums:?}");
    assert!(sums[2] < sums[0] && sums[1] < sums[0], "repair helps: {sums:?}");
}

/// The logits after `prompt`, which `kv` holds, and after each token of `rest` behind it.
fn answers(model: &Model, mut kv: KvCache, prompt: &[u32], rest: &[u32]) -> Vec<Vec<f32>> {
    let mut ids = prompt.to_vec();
    let mut all = vec![kv.logits().to_vec()];
    for id in rest {
        ids.push(*id);
        let options = PrefillOptions { reuse: Reuse::Shift { min_run: ids.len() }, donors: &[] };
        let stats = prefill_with(model, &mut kv, &ids, &options, &Cancel::new()).expect("fits");
        assert_eq!(stats.prefilled, 1, "on moved text: {stats:?}");
        all.push(kv.logits().to_vec());
    }
    all
}

/// Whether no run of 16 tokens stands twice in a text.
fn is_new(ids: &[u32]) -> bool {
    let mut seen = HashSet::new();
    ids.windows(16).all(|run| seen.insert(run))
}

#[test]
fn moved_text_can_be_moved_again_and_back_but_not_for_ever() {
    let model = fixtures::embedded();
    // Where text repeats itself, a run that was moved less often is found instead.
    let before = (7..40)
        .map(|seed| text(&model, seed, 300))
        .find(|ids| is_new(ids))
        .expect("a text that does not repeat itself");
    let mut inserted = before[..40].to_vec();
    inserted.extend([11, 12, 13]);
    inserted.extend(&before[40..]);
    let mut kv = cold(&model, &before, KvDtype::Int8);
    let exact = kv.logits().to_vec();
    let reuse = Reuse::Shift { min_run: 16 };
    let mut shifted = Vec::new();
    for step in 0..10 {
        let stats = with(&model, &mut kv, if step % 2 == 0 { &inserted } else { &before }, reuse);
        shifted.push(stats.shifted);
        if step == 1 {
            let there_and_back = divergence(&exact, kv.logits());
            eprintln!("KL after a move and back: {there_and_back:.6}");
            assert!(there_and_back < 0.01, "{there_and_back}");
        }
    }
    assert!(shifted[..8].iter().all(|n| *n > 200), "{shifted:?}");
    assert!(shifted[8] < 20, "keys that were rounded eight times are computed again: {shifted:?}");
}

#[test]
fn cancelling_keeps_what_was_seen_and_what_was_done_here_too() {
    let model = fixtures::embedded();
    // What the model writes differs from row to row. Where it repeats itself, moved text that is
    // looked for again behind the chunk in flight may be found at another place than before, which
    // is as good but not the same.
    let texts = |seed: u64| {
        let before = text(&model, seed, 700);
        let mut after = before[..300].to_vec();
        after.extend(text(&model, seed + 1, 280));
        after.extend(&before[300..690]);
        after.extend([5, 6, 7]);
        (is_new(&before) && is_new(&after)).then_some((before, after))
    };
    let (before, after) =
        (8..60).step_by(2).find_map(texts).expect("texts that do not repeat themselves");
    let base = cold(&model, &before, KvDtype::Int8);
    for reuse in [Reuse::Shift { min_run: 16 }, Reuse::Blend { min_run: 16, ratio: 0.3 }] {
        let mut whole = base.fork();
        let all = with(&model, &mut whole, &after, reuse);
        let options = PrefillOptions { reuse, donors: &[] };
        let mut n = 0;
        loop {
            let mut kv = base.fork();
            let first = prefill_with(&model, &mut kv, &after, &options, &Cancel::new().at_check(n));
            if first.is_ok() {
                break;
            }
            assert_eq!(first, Err(PromptError::Cancelled));
            assert_eq!(
                (kv.ids(), kv.logits(), kv.exact()),
                (base.ids(), base.logits(), 700),
                "{reuse:?} check {n}"
            );
            let stats = with(&model, &mut kv, &after, reuse);
            assert_eq!(
                kv.logits(),
                whole.logits(),
                "{reuse:?} cancelled at check {n}: {stats:?}, at once {all:?}"
            );
            n += 5;
        }
        assert!(n > 10, "{reuse:?} was cancelled at several layers");
    }
}

#[test]
fn an_excerpt_of_another_file_is_taken_from_its_cache() {
    let model = fixtures::embedded();
    let excerpt = text(&model, 20, 200);
    let other = {
        let mut ids = text(&model, 21, 50);
        ids.extend(&excerpt);
        cold(&model, &ids, KvDtype::Int8).snapshot()
    };
    let mut prompt = text(&model, 22, 30);
    prompt.extend(&excerpt);
    prompt.extend(text(&model, 23, 20));
    let exact = cold(&model, &prompt, KvDtype::Int8);
    let mut kv = KvCache::with_dtype(&model, 2048, KvDtype::Int8);
    let options =
        PrefillOptions { reuse: Reuse::Blend { min_run: 32, ratio: 0.15 }, donors: &[other] };
    let stats = prefill_with(&model, &mut kv, &prompt, &options, &Cancel::new()).expect("fits");
    assert_eq!((stats.shifted + stats.repaired, stats.repaired, stats.prefilled), (200, 30, 50));
    let kl = divergence(exact.logits(), kv.logits());
    eprintln!("KL with an excerpt from another file: {kl:.5}");
    assert!(kl < 1.0, "{kl}");
}
