//! A cancelled prefill changes nothing that is seen and loses nothing that was done.

use lacuna_engine::{
    Cancel, KvCache, KvDtype, Model, Precision, PrefillStats, PromptError, prefill,
};

use crate::fixtures;

/// Tokens that the engine evaluates at once.
const CHUNK: usize = 512;
/// Three chunks.
const TOKENS: usize = 2 * CHUNK + 18;
const CHUNKS: usize = 3;
/// Relative L2 where passes are cut differently on the AMX row.
const AMX: f64 = 0.1;

fn held(model: &Model, ids: &[u32], dtype: KvDtype) -> KvCache {
    let mut kv = KvCache::with_dtype(model, 2048, dtype);
    prefill(model, &mut kv, ids, &Cancel::new()).expect("fits");
    kv
}

/// Attention and feed-forward of each layer.
fn checks_of_a_chunk(model: &Model) -> usize {
    2 * model.spec().layers()
}

#[test]
fn cancelled_at_any_layer_of_any_chunk_it_goes_on_from_there() {
    let model = fixtures::embedded();
    let checks = checks_of_a_chunk(&model);
    let n_vocab = model.spec().n_vocab;
    // Something visible that shares its beginning with the prompt.
    let before = fixtures::ids(1, 300, n_vocab);
    let mut prompt = before[..20].to_vec();
    prompt.extend(fixtures::ids(2, TOKENS, n_vocab));
    let dtype = KvDtype::Int8;
    let base = held(&model, &before, dtype);
    let mut uncancelled = base.fork();
    prefill(&model, &mut uncancelled, &prompt, &Cancel::new()).expect("fits");
    let total = CHUNKS * checks;
    for n in 0..total {
        let mut kv = base.fork();
        let visible = kv.logits().to_vec();
        assert_eq!(
            prefill(&model, &mut kv, &prompt, &Cancel::new().at_check(n as u32)),
            Err(PromptError::Cancelled)
        );
        assert_eq!((kv.ids(), kv.logits()), (&before[..], &visible[..]), "cancelled at check {n}");
        let done = n / checks * CHUNK;
        assert_eq!(kv.warm(&prompt), 20 + done);
        // Exactly the halves of layers that are left are computed.
        let stats = prefill(&model, &mut kv, &prompt, &Cancel::new().at_check((total - n) as u32))
            .expect("no more than what is left");
        let in_flight = if n % checks == 0 { 0 } else { (TOKENS - done).min(CHUNK) };
        let prefilled = TOKENS - done - in_flight;
        assert_eq!(
            stats,
            PrefillStats {
                cached: 20,
                resumed: done + in_flight,
                prefilled,
                ..PrefillStats::default()
            },
            "check {n}"
        );
        assert_eq!(kv.ids(), prompt);
        assert_eq!(kv.logits(), uncancelled.logits(), "cancelled at check {n}");
    }
}

#[test]
fn half_a_layer_at_a_time_it_comes_to_an_end_and_the_old_prompt_stays_usable() {
    for (precision, dtype) in [
        (Precision::Int4, KvDtype::Int8),
        (Precision::Int4, KvDtype::F16),
        (Precision::F32, KvDtype::F32),
    ] {
        let model = fixtures::load("qwen2-bias", precision);
        let before = fixtures::ids(3, 40, 96);
        let mut prompt = before[..7].to_vec();
        prompt.extend(fixtures::ids(4, 90, 96));
        let mut cold = held(&model, &before, dtype);
        prefill(&model, &mut cold, &prompt, &Cancel::new()).expect("fits");
        let mut kv = held(&model, &before, dtype);
        let mut rounds = 0;
        while prefill(&model, &mut kv, &prompt, &Cancel::new().at_check(1)).is_err() {
            rounds += 1;
            assert!(rounds <= checks_of_a_chunk(&model), "no progress");
            assert_eq!(kv.ids(), before);
        }
        assert_eq!(rounds, checks_of_a_chunk(&model) - 1);
        assert_eq!(kv.logits(), cold.logits(), "{precision:?} {dtype}");
    }
}

#[test]
fn a_prompt_that_differs_later_takes_up_the_part_that_agrees() {
    let model = fixtures::random();
    let n_vocab = model.spec().n_vocab;
    let of_a_chunk = checks_of_a_chunk(&model) as u32;
    let first = fixtures::ids(5, TOKENS, n_vocab);
    // Where the next prompt leaves the first one, and how many checks that one got.
    for (agree, checks) in [
        (700, 3),
        (700, of_a_chunk + 3),
        (CHUNK - 1, of_a_chunk),
        (CHUNK, of_a_chunk),
        (CHUNK + 1, of_a_chunk + 1),
        (1, 3),
        (0, 6),
        (TOKENS - 1, 2 * of_a_chunk + 6),
    ] {
        let mut next = first[..agree].to_vec();
        next.extend(fixtures::ids(6 + agree as u64, 100, n_vocab));
        let mut kv = KvCache::new(&model, 2048);
        prefill(&model, &mut kv, &first, &Cancel::new().at_check(checks)).expect_err("cancelled");
        let stats = prefill(&model, &mut kv, &next, &Cancel::new()).expect("fits");
        let reached = checks.div_ceil(of_a_chunk) as usize * CHUNK;
        assert_eq!(
            (stats.resumed, stats.cached),
            (agree.min(reached), 0),
            "{agree} agree, {checks} checks"
        );
        assert_eq!(stats.prefilled, next.len() - stats.resumed);
        let cold = held(&model, &next, kv.dtype());
        if fixtures::cuts_matter() {
            let difference = fixtures::relative_l2(kv.logits(), cold.logits());
            assert!(difference <= AMX, "{agree} agree, {checks} checks: {difference}");
        } else {
            assert_eq!(kv.logits(), cold.logits(), "{agree} agree, {checks} checks");
        }
    }
}

#[test]
fn a_prompt_that_is_the_beginning_of_a_cancelled_one_is_answered_too() {
    let model = fixtures::random();
    let of_a_chunk = checks_of_a_chunk(&model) as u32;
    let long = fixtures::ids(7, TOKENS, model.spec().n_vocab);
    for n in [1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 600] {
        let mut kv = KvCache::new(&model, 2048);
        prefill(&model, &mut kv, &long, &Cancel::new().at_check(of_a_chunk + 4))
            .expect_err("cancelled");
        let stats = prefill(&model, &mut kv, &long[..n], &Cancel::new()).expect("fits");
        assert_eq!(stats.cached + stats.resumed + stats.prefilled, n);
        assert_eq!(
            stats.prefilled,
            usize::from(n <= CHUNK),
            "{n}: only the last token of a finished chunk"
        );
        assert_eq!(kv.ids(), &long[..n]);
        let difference =
            fixtures::relative_l2(kv.logits(), held(&model, &long[..n], kv.dtype()).logits());
        assert!(difference <= if fixtures::cuts_matter() { AMX } else { 0.0 }, "{n}: {difference}");
    }
}

#[test]
fn warming_interrupted_by_requests_is_taken_up_again() {
    let model = fixtures::embedded();
    let of_a_chunk = checks_of_a_chunk(&model) as u32;
    let n_vocab = model.spec().n_vocab;
    let (visible, warming) = (fixtures::ids(8, 60, n_vocab), fixtures::ids(9, TOKENS, n_vocab));
    let mut kv = held(&model, &visible, KvDtype::Int8);
    prefill(&model, &mut kv, &warming, &Cancel::new().at_check(of_a_chunk + 2))
        .expect_err("cancelled");
    // Requests go on on the visible text: one is answered, one is cancelled, one is answered.
    let mut typed = visible.clone();
    for (i, id) in fixtures::ids(10, 3, n_vocab).into_iter().enumerate() {
        typed.push(id);
        let result = prefill(
            &model,
            &mut kv,
            &typed,
            &if i == 1 { Cancel::new().at_check(2) } else { Cancel::new() },
        );
        assert_eq!(result.is_ok(), i != 1);
    }
    let stats = prefill(&model, &mut kv, &warming, &Cancel::new()).expect("fits");
    assert_eq!((stats.resumed, stats.prefilled), (2 * CHUNK, TOKENS - 2 * CHUNK));
    assert_eq!(kv.logits(), held(&model, &warming, KvDtype::Int8).logits());
    let (bytes, tokens) = (kv.bytes(), kv.ids().to_vec());
    kv.drop_unfinished();
    assert!(kv.bytes() <= bytes && kv.ids() == tokens);
}

#[test]
fn forks_and_donors_share_and_do_not_disturb_each_other() {
    let model = fixtures::embedded();
    let n_vocab = model.spec().n_vocab;
    let common = fixtures::ids(11, 520, n_vocab);
    let with = |tail: u64| {
        let mut ids = common.clone();
        ids.extend(fixtures::ids(tail, 30, n_vocab));
        ids
    };
    let (a, b) = (with(12), with(13));
    let mut kv = held(&model, &common, KvDtype::Int8);
    let mut other = kv.fork();
    assert_eq!((other.ids(), other.logits()), (kv.ids(), kv.logits()));
    let stats = prefill(&model, &mut kv, &a, &Cancel::new()).expect("fits");
    assert_eq!(stats.cached, 520);
    assert_eq!(prefill(&model, &mut other, &b, &Cancel::new()).expect("fits").cached, 520);
    let again = held(&model, &common, KvDtype::Int8);
    for (warm, ids) in [(&kv, &a), (&other, &b)] {
        let mut fresh = again.fork();
        prefill(&model, &mut fresh, ids, &Cancel::new()).expect("fits");
        assert_eq!(warm.logits(), fresh.logits());
    }
    // A third cache takes the prefix from a snapshot, also when that cache has moved on since.
    let snapshot = kv.snapshot();
    prefill(&model, &mut kv, &fixtures::ids(14, 40, n_vocab), &Cancel::new()).expect("fits");
    let mut third = KvCache::with_dtype(&model, 2048, KvDtype::Int8);
    let options = lacuna_engine::PrefillOptions { donors: &[snapshot], ..Default::default() };
    let stats = lacuna_engine::prefill_with(&model, &mut third, &b, &options, &Cancel::new())
        .expect("fits");
    assert_eq!((stats.cached, stats.prefilled), (520, 30));
    assert_eq!(third.logits(), other.logits());
}
