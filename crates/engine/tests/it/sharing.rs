//! Several clients on one model at a time: everyone gets the answer that he would get alone, and
//! memory stays under the budget.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

use lacuna_engine::{
    Cancel, Class, Drafter, GenerateOptions, Generation, KvCache, KvPool, Lookup, Model, Precision,
    Sampling, Scheduler, generate_with, prefill,
};

use crate::fixtures::{self, Random};

fn answer(
    model: &Model,
    kv: &mut KvCache,
    prompt: &[u32],
    drafter: Option<&mut Drafter>,
    cancel: &Cancel,
) -> Generation {
    let sampling = Sampling { max_tokens: 12, ..Sampling::default() };
    let options = GenerateOptions { drafter, ..GenerateOptions::new(&sampling) };
    generate_with(model, kv, prompt, options, cancel, &mut |_| ControlFlow::Continue(()))
        .expect("generates")
}

#[test]
fn clients_and_warming_share_a_model_by_turns_and_do_not_change_each_others_answers() {
    let model = Arc::new(fixtures::load("qwen2-bias", Precision::Int4));
    let scheduler = Scheduler::new();
    let clients: Vec<_> = (0..3u64)
        .map(|client| {
            let (model, scheduler) = (Arc::clone(&model), Arc::clone(&scheduler));
            thread::spawn(move || {
                let mut kv = KvCache::new(&model, 128);
                let mut drafter = Drafter::new(Lookup::new());
                for round in 0..12 {
                    let prompt = fixtures::ids(client * 100 + round, 20 + round as usize, 96);
                    let turn = scheduler.turn(Class::Prefill, client);
                    let got = answer(
                        &model,
                        &mut kv,
                        &prompt,
                        Some(&mut drafter),
                        &Cancel::new().with_turn(turn),
                    );
                    let alone = answer(
                        &model,
                        &mut KvCache::new(&model, 128),
                        &prompt,
                        None,
                        &Cancel::new(),
                    );
                    // Prompts of one client have nothing in common but by chance.
                    if got.prefill.cached == 0 || !fixtures::cuts_matter() {
                        assert_eq!(
                            (&got.ids, got.finish),
                            (&alone.ids, alone.finish),
                            "client {client} round {round}"
                        );
                    }
                    assert_eq!(got.ids.len(), 12);
                }
            })
        })
        .collect();
    let warming = {
        let (model, scheduler) = (Arc::clone(&model), Arc::clone(&scheduler));
        thread::spawn(move || {
            for round in 0..12 {
                let cancel = Cancel::new().with_turn(scheduler.turn(Class::Warm, 9));
                prefill(
                    &model,
                    &mut KvCache::new(&model, 128),
                    &fixtures::ids(round, 100, 96),
                    &cancel,
                )
                .expect("comes to its turn");
            }
        })
    };
    for client in clients {
        client.join().expect("a client's answers");
    }
    warming.join().expect("warming");
    assert_eq!(scheduler.waiting(), 0);
}

#[test]
fn the_budget_holds_under_load() {
    let model = Arc::new(fixtures::load("llama-tied-gqa", Precision::Int4));
    let block = {
        let mut kv = KvCache::new(&model, 128);
        prefill(&model, &mut kv, &[1], &Cancel::new()).expect("fits");
        kv.bytes() - size_of_val(kv.logits())
    };
    let budget = 6 * block;
    let pool = KvPool::new(Arc::clone(&model), None, 128, budget);
    let workers: Vec<_> = (0..4u64)
        .map(|worker| {
            let (model, pool) = (Arc::clone(&model), Arc::clone(&pool));
            thread::spawn(move || {
                let mut random = Random(worker);
                let mut answered = 0;
                for round in 0..60 {
                    let mut lease = pool.lease(&format!("file {}", random.below(9)));
                    let n = 1 + random.below(60);
                    let ids = fixtures::ids(random.below(1000) as u64, n, 96);
                    if lease.reserve(&ids, 12).is_err() {
                        continue;
                    }
                    let got = answer(&model, &mut lease, &ids, None, &Cancel::new());
                    assert!(
                        pool.stats().bytes <= budget,
                        "worker {worker} round {round}: {:?}",
                        pool.stats()
                    );
                    assert_eq!(got.prefill.cached + got.prefill.prefilled, n);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let answered: usize = workers.into_iter().map(|worker| worker.join().expect("a worker")).sum();
    // A block each and what it replaces, promised before it is taken: most find room.
    assert!(answered > 60, "{answered} of 240");
    assert!(pool.stats().bytes <= budget);
}
