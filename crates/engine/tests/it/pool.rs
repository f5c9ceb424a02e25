//! The pool of caches: the budget holds, running requests are not disturbed, the least recently
//! used goes first.

use std::sync::Arc;

use lacuna_engine::{
    Cancel, KvCache, KvDtype, KvPool, Model, Precision, PrefillOptions, prefill, prefill_with,
};

use crate::fixtures::{self, Random};

const VOCAB: usize = 96;

fn model() -> Arc<Model> {
    Arc::new(fixtures::load("llama-tied-gqa", Precision::Int4))
}

/// Bytes of one block in all layers.
fn block(model: &Model) -> usize {
    let mut kv = KvCache::new(model, 128);
    prefill(model, &mut kv, &[1], &Cancel::new()).expect("fits");
    kv.bytes() - size_of_val(kv.logits())
}

#[test]
fn the_budget_holds_whatever_happens() {
    let model = model();
    let block = block(&model);
    for seed in 0..20 {
        let mut random = Random(seed);
        let budget = block * (2 + random.below(5));
        let pool = KvPool::new(Arc::clone(&model), None, 128, budget);
        let mut refused = 0;
        let mut held = Vec::new();
        for step in 0..200 {
            let key = format!("file {}", random.below(12));
            match random.below(8) {
                0 => pool.remove(&key),
                1 => held.clear(),
                _ => {}
            }
            let Some(mut lease) = pool.try_lease(&key) else { continue };
            let shared = random.below(40);
            let mut ids = fixtures::ids(1, shared, VOCAB);
            let n = 1 + random.below(60);
            ids.extend(fixtures::ids(seed ^ step, n, VOCAB));
            if lease.reserve(&ids, 10).is_err() {
                refused += 1;
                continue;
            }
            let donors = if random.below(2) == 0 {
                pool.donors(|other| other != key, 3)
            } else {
                Vec::new()
            };
            let cancel = if random.below(3) == 0 {
                Cancel::new().at_check(random.below(3) as u32)
            } else {
                Cancel::new()
            };
            let options = PrefillOptions { donors: &donors, ..PrefillOptions::default() };
            if prefill_with(&model, &mut lease, &ids, &options, &cancel).is_ok() {
                let mut cold = KvCache::new(&model, 128);
                prefill(&model, &mut cold, &ids, &Cancel::new()).expect("fits");
                let difference = fixtures::relative_l2(lease.logits(), cold.logits());
                assert!(
                    difference <= if fixtures::cuts_matter() { 0.1 } else { 0.0 },
                    "seed {seed} step {step}: {difference}"
                );
            }
            drop(donors);
            assert!(pool.stats().bytes <= budget, "seed {seed} step {step}: {:?}", pool.stats());
            if random.below(4) == 0 && held.len() < 3 {
                held.push(lease);
            }
        }
        drop(held);
        let stats = pool.stats();
        assert!(
            stats.bytes <= budget && stats.hits > 0 && stats.misses > 0,
            "seed {seed}: {stats:?}"
        );
        assert!(refused > 0 || budget > 4 * block, "seed {seed}: a small budget refuses sometimes");
        for i in 0..12 {
            pool.remove(&format!("file {i}"));
        }
        assert_eq!(
            (pool.stats().bytes, pool.stats().caches),
            (0, 0),
            "seed {seed}: everything comes back"
        );
    }
}

#[test]
fn spare_caches_go_first_and_take_room_from_their_like_alone() {
    let model = model();
    let block = block(&model);
    let pool = KvPool::new(Arc::clone(&model), None, 128, 3 * block);
    let held = |key: &str| pool.snapshot(key).is_some();
    let spare = |key: &str| {
        let mut lease = pool.lease(key).spare();
        let ids = fixtures::ids(7, 20, VOCAB);
        let fits = lease.reserve(&ids, 0).is_ok();
        if fits {
            prefill(&model, &mut lease, &ids, &Cancel::new()).expect("fits");
        }
        fits
    };
    fill(&model, &pool, "a");
    fill(&model, &pool, "b");
    assert!(spare("a, spare"));
    // The oldest of all, but not spare.
    assert!(spare("b, spare") && held("a") && held("b") && !held("a, spare"));
    // Used last, but spare.
    assert!(held("b, spare"));
    fill(&model, &pool, "c");
    assert!(held("a") && held("b") && held("c") && !held("b, spare"));
    assert!(!spare("a, spare"), "no document makes room for it");
    assert!(held("a") && held("b") && held("c"));
    // Spare it stays, whoever takes it.
    pool.remove("a");
    assert!(spare("b, spare"));
    drop(pool.lease("b, spare"));
    fill(&model, &pool, "d");
    assert!(held("b") && held("c") && held("d") && !held("b, spare"));
    assert!(pool.stats().bytes <= 3 * block);
}

fn fill(model: &Model, pool: &Arc<KvPool>, key: &str) {
    let mut lease = pool.lease(key);
    let ids = fixtures::ids(key.len() as u64, 20, VOCAB);
    lease.reserve(&ids, 0).expect("room");
    prefill(model, &mut lease, &ids, &Cancel::new()).expect("fits");
}

#[test]
fn the_least_recently_used_goes_first_and_leased_ones_stay() {
    let model = model();
    let pool = KvPool::new(Arc::clone(&model), Some(KvDtype::Int8), 128, 3 * block(&model));
    for key in ["a", "bb", "ccc"] {
        fill(&model, &pool, key);
    }
    let a = pool.lease("a");
    drop(pool.lease("bb"));
    fill(&model, &pool, "dddd");
    let tokens = |key: &str| pool.lease(key).ids().len();
    assert_eq!((a.ids().len(), tokens("bb"), tokens("ccc"), tokens("dddd")), (20, 20, 0, 20));
    let stats = pool.stats();
    assert_eq!((stats.caches, stats.held, stats.evicted_bytes), (3, 1, block(&model) as u64));
    // What is leased cannot be taken: with everything held, a prompt is refused with a remedy.
    let leases: Vec<_> = ["bb", "dddd"].map(|key| pool.lease(key)).into();
    let mut lease = pool.lease("new");
    let error = lease.reserve(&[1, 2, 3], 4).expect_err("no room");
    assert!(error.to_string().contains("kv.budget_mb"), "{error}");
    assert!(leases.iter().all(|lease| lease.ids().len() == 20));
    drop(leases);
    lease.reserve(&[1, 2, 3], 4).expect("the others can go now");
}

#[test]
fn a_lease_waits_for_the_one_before_and_is_woken() {
    let model = model();
    let pool = KvPool::new(Arc::clone(&model), None, 128, usize::MAX);
    let mut first = pool.lease("file");
    assert!(pool.try_lease("file").is_none());
    let waiting = {
        let pool = Arc::clone(&pool);
        std::thread::spawn(move || pool.lease("file").ids().to_vec())
    };
    prefill(&model, &mut first, &[1, 2, 3], &Cancel::new()).expect("fits");
    drop(first);
    assert_eq!(waiting.join().expect("no panic"), [1, 2, 3]);
    // Removed while it is leased: the lease goes on, the next one begins anew.
    let lease = pool.lease("file");
    pool.remove("file");
    assert_eq!((lease.ids().len(), pool.lease("file").ids().len()), (3, 0));
    drop(lease);
    assert_eq!(pool.stats().bytes, 0);
}
