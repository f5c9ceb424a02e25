//! Generation: determinism, sampling limits, constraints, stops, and what stays in the cache.

use std::ops::ControlFlow;

use lacuna_engine::{
    Cancel, Constraint, Finish, Generation, KvCache, Model, Precision, PromptError, Sampling,
    forward_all, generate,
};

use crate::fixtures;

fn model() -> Model {
    fixtures::load("llama-tied-gqa", Precision::F32)
}

fn run(model: &Model, prompt: &[u32], sampling: &Sampling) -> Generation {
    let mut kv = KvCache::new(model, 128);
    generate(model, &mut kv, prompt, sampling, None, &Cancel::new(), &mut |_| {
        ControlFlow::Continue(())
    })
    .expect("generates")
}

#[test]
fn greedy_takes_the_largest_logit_each_time() {
    let model = model();
    let sampling = Sampling { max_tokens: 12, ..Sampling::default() };
    let result = run(&model, &[3, 1, 4], &sampling);
    assert_eq!((result.ids.len(), result.finish), (12, Finish::Length));
    let mut sequence = vec![3, 1, 4];
    for (id, logprob) in result.ids.iter().zip(&result.logprobs) {
        let all = forward_all(&model, &sequence).expect("in range");
        let logits = &all[all.len() - 96..];
        let best = (0..96).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("not empty");
        assert_eq!(*id as usize, best);
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        assert!((logprob - (logits[best] - sum.ln())).abs() < 1e-4);
        sequence.push(*id);
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
    let model = model();
    let sampling = Sampling { max_tokens: 40, temperature: 1.0, seed: 7, ..Sampling::default() };
    let first = run(&model, &[1, 2], &sampling);
    assert_eq!(first.ids, run(&model, &[1, 2], &sampling).ids);
    assert_ne!(first.ids, run(&model, &[1, 2], &Sampling { seed: 8, ..sampling }).ids);
}

#[test]
fn sampling_stays_inside_top_k_and_top_p() {
    let model = model();
    let prompt = [5, 6, 7];
    let all = forward_all(&model, &prompt).expect("in range");
    let logits = &all[all.len() - 96..];
    let mut order: Vec<usize> = (0..96).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let draw = |sampling: Sampling| -> Vec<usize> {
        (0..200)
            .map(|seed| {
                run(&model, &prompt, &Sampling { max_tokens: 1, seed, ..sampling.clone() }).ids[0]
                    as usize
            })
            .collect()
    };

    let hot = Sampling { temperature: 3.0, ..Sampling::default() };
    let drawn = draw(Sampling { top_k: 4, ..hot.clone() });
    assert!(drawn.iter().all(|id| order[..4].contains(id)));
    assert!(
        order[..4].iter().all(|id| drawn.contains(id)),
        "all four occur in 200 draws at temperature 3"
    );
    assert!(
        draw(hot.clone()).iter().any(|id| !order[..4].contains(id)),
        "without top-k others occur"
    );

    // The nucleus of the distribution at this temperature.
    let weights: Vec<f32> =
        order.iter().map(|id| ((logits[*id] - logits[order[0]]) / 3.0).exp()).collect();
    let total: f32 = weights.iter().sum();
    let mut cumulated = 0.0;
    let nucleus = 1 + weights
        .iter()
        .take_while(|w| {
            cumulated += **w;
            cumulated < 0.5 * total
        })
        .count();
    let drawn = draw(Sampling { top_p: 0.5, ..hot.clone() });
    assert!(drawn.iter().all(|id| order[..nucleus].contains(id)));
    assert!(
        draw(Sampling { top_p: 0.0, ..hot }).iter().all(|id| *id == order[0]),
        "top_p 0 is greedy"
    );
}

/// Only even ids, for the first two tokens.
struct EvenTwice {
    left: usize,
    pushed: Vec<u32>,
}

impl Constraint for EvenTwice {
    fn allows(&self, id: u32) -> bool {
        assert!(self.is_active(), "asked while inactive");
        id.is_multiple_of(2)
    }
    fn is_active(&self) -> bool {
        self.left > 0
    }
    fn push(&mut self, id: u32) {
        self.left -= 1;
        self.pushed.push(id);
    }
}

#[test]
fn a_constraint_is_respected_while_active_and_not_asked_afterwards() {
    let model = model();
    let mut saw_odd = false;
    for seed in 0..20 {
        for temperature in [0.0, 1.0] {
            let sampling = Sampling { max_tokens: 6, temperature, seed, ..Sampling::default() };
            let mut rule = EvenTwice { left: 2, pushed: Vec::new() };
            let mut kv = KvCache::new(&model, 64);
            let go_on = &mut |_| ControlFlow::Continue(());
            let result =
                generate(&model, &mut kv, &[9], &sampling, Some(&mut rule), &Cancel::new(), go_on)
                    .expect("generates");
            assert_eq!(rule.pushed, result.ids[..2]);
            assert!(result.ids[..2].iter().all(|id| id % 2 == 0));
            saw_odd |= result.ids[2..].iter().any(|id| id % 2 == 1);
        }
    }
    assert!(saw_odd, "the constraint ends");
}

struct Nothing;

impl Constraint for Nothing {
    fn allows(&self, _: u32) -> bool {
        false
    }
    fn is_active(&self) -> bool {
        true
    }
    fn push(&mut self, _: u32) {}
}

#[test]
fn a_constraint_that_allows_nothing_ends_the_generation() {
    let model = model();
    for temperature in [0.0, 1.0] {
        let mut kv = KvCache::new(&model, 64);
        let sampling = Sampling { temperature, ..Sampling::default() };
        let go_on = &mut |_| ControlFlow::Continue(());
        let result =
            generate(&model, &mut kv, &[9], &sampling, Some(&mut Nothing), &Cancel::new(), go_on)
                .expect("generates");
        assert_eq!((result.finish, result.ids.len()), (Finish::Constraint, 0));
    }
}

#[test]
fn stops_callbacks_cancellation_and_a_full_cache_end_it() {
    let model = model();
    let plain = Sampling { max_tokens: 10, ..Sampling::default() };
    let free = run(&model, &[1, 2, 3], &plain);

    let third = free.ids[2];
    let first_at = free.ids.iter().position(|id| *id == third).expect("it is there");
    let stopped = run(&model, &[1, 2, 3], &Sampling { stops: vec![third], ..plain.clone() });
    assert_eq!((stopped.finish, &stopped.ids[..]), (Finish::Stop, &free.ids[..first_at]));

    let mut kv = KvCache::new(&model, 64);
    let mut seen = 0;
    let broken_off =
        generate(&model, &mut kv, &[1, 2, 3], &plain, None, &Cancel::new(), &mut |_| {
            seen += 1;
            if seen == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    let broken_off = broken_off.expect("generates");
    assert_eq!((broken_off.finish, &broken_off.ids[..]), (Finish::Callback, &free.ids[..4]));

    let cancel = Cancel::new();
    let mut kv = KvCache::new(&model, 64);
    let mut seen = 0;
    let cancelled = generate(&model, &mut kv, &[1, 2, 3], &plain, None, &cancel, &mut |_| {
        seen += 1;
        if seen == 3 {
            cancel.cancel();
        }
        ControlFlow::Continue(())
    });
    let cancelled = cancelled.expect("not an error");
    assert_eq!((cancelled.finish, &cancelled.ids[..]), (Finish::Cancelled, &free.ids[..3]));

    let mut small = KvCache::new(&model, 5);
    let go_on = &mut |_| ControlFlow::Continue(());
    let full = generate(&model, &mut small, &[1, 2, 3], &plain, None, &Cancel::new(), go_on)
        .expect("generates");
    assert_eq!(
        (full.finish, &full.ids[..]),
        (Finish::Length, &free.ids[..3]),
        "two are evaluated, a third is known"
    );

    let too_long = generate(&model, &mut small, &[1; 6], &plain, None, &Cancel::new(), &mut |_| {
        ControlFlow::Continue(())
    });
    assert_eq!(too_long, Err(PromptError::TooLong { tokens: 6, capacity: 5 }));
}

#[test]
fn a_prompt_that_extends_what_was_generated_reuses_it() {
    let model = model();
    let mut kv = KvCache::new(&model, 64);
    let sampling = Sampling { max_tokens: 8, ..Sampling::default() };
    let mut go_on = |_| ControlFlow::Continue(());
    let first = generate(&model, &mut kv, &[1, 2, 3], &sampling, None, &Cancel::new(), &mut go_on)
        .expect("generates");
    let mut prompt = vec![1, 2, 3];
    prompt.extend(&first.ids);
    let second = generate(&model, &mut kv, &prompt, &sampling, None, &Cancel::new(), &mut go_on)
        .expect("generates");
    assert_eq!(
        (second.prefill.cached, second.prefill.prefilled),
        (10, 1),
        "all but the last generated token is held"
    );
    assert_eq!(second.ids, run(&model, &prompt, &sampling).ids);
}
