//! Drafts change the time, never the result.

use std::ops::ControlFlow;

use lacuna_engine::{
    Cancel, Confidence, Constraint, DraftSource, Drafter, GenerateOptions, Generation, KvCache,
    Lookup, MAX_DRAFT, Model, Precision, Sampling, generate_with,
};

use crate::fixtures::{self, Random};

/// Knows the answer, but errs now and then.
struct Oracle {
    answer: Vec<u32>,
    at: usize,
    seed: u64,
    /// Of eight guesses, so many are wrong.
    wrong: usize,
}

impl DraftSource for Oracle {
    fn begin(&mut self, _: &[u32]) {
        self.at = 0;
    }
    fn push(&mut self, _: u32) {
        self.at += 1;
    }
    fn propose(&self, limit: usize, draft: &mut Vec<u32>) -> Confidence {
        let mut random = Random(self.seed ^ self.at as u64);
        for id in self.answer.iter().skip(self.at).take(limit) {
            draft.push(if random.below(8) < self.wrong { *id ^ 1 } else { *id });
        }
        Confidence(3)
    }
    fn remember(&mut self, _: &[u32]) {}
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

struct Case {
    prompt: Vec<u32>,
    capacity: usize,
    sampling: Sampling,
    even: usize,
    break_after: usize,
}

fn run(
    model: &Model,
    case: &Case,
    drafter: Option<&mut Drafter>,
) -> (Generation, Vec<u32>, Vec<f32>) {
    let mut kv = KvCache::new(model, case.capacity);
    let mut even = Even(case.even);
    let options = GenerateOptions {
        constraint: Some(&mut even),
        drafter,
        ..GenerateOptions::new(&case.sampling)
    };
    let mut seen = 0;
    let result = generate_with(model, &mut kv, &case.prompt, options, &Cancel::new(), &mut |_| {
        seen += 1;
        if seen == case.break_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (result.expect("generates"), kv.ids().to_vec(), kv.logits().to_vec())
}

#[test]
fn the_result_has_the_same_bits_with_any_drafts() {
    let mut random = Random(1);
    let mut accepted = 0;
    for (name, precision) in [
        ("llama-tied-gqa", Precision::Int4),
        ("qwen2-bias", Precision::Int4),
        ("llama3-rope", Precision::F32),
    ] {
        let model = fixtures::load(name, precision);
        for round in 0..60 {
            let n = 1 + random.below(20);
            let max_tokens = 1 + random.below(30);
            let case = Case {
                prompt: fixtures::ids(round, n, 96),
                // Sometimes full before the tokens are there.
                capacity: n + random.below(40),
                sampling: Sampling {
                    max_tokens,
                    temperature: [0.0, 0.0, 0.7][random.below(3)],
                    top_k: [0, 5][random.below(2)],
                    seed: round,
                    stops: vec![random.below(96) as u32],
                    ..Sampling::default()
                },
                even: random.below(4),
                break_after: [0, 1, 5][random.below(3)],
            };
            let (plain, ids, logits) = run(&model, &case, None);
            let wrong = random.below(8);
            for k in 0..=MAX_DRAFT {
                let oracle = Oracle { answer: plain.ids.clone(), at: 0, seed: round, wrong };
                let mut drafters = [
                    Drafter::fixed(oracle, k),
                    Drafter::fixed(Lookup::new(), k),
                    Drafter::new(Lookup::new()),
                ];
                for (d, drafter) in drafters.iter_mut().enumerate() {
                    let (drafted, drafted_ids, drafted_logits) = run(&model, &case, Some(drafter));
                    let what = format!("{name} round {round}, {k} drafted by {d}");
                    assert_eq!(
                        (&drafted.ids, drafted.finish),
                        (&plain.ids, plain.finish),
                        "{what}"
                    );
                    assert_eq!(drafted.logprobs, plain.logprobs, "{what}");
                    assert_eq!(drafted_ids, ids, "{what}");
                    assert_eq!(drafted_logits, logits, "{what}");
                    let stats = drafted.drafts;
                    assert!(stats.accepted <= stats.drafted, "{what}: {stats:?}");
                    assert_eq!(
                        stats.accepted + stats.passes,
                        plain.drafts.passes,
                        "{what}: every token costs a pass or was guessed"
                    );
                    accepted += stats.accepted;
                }
            }
        }
    }
    assert!(accepted > 1000, "{accepted} accepted: the drafts were never right");
}

#[test]
fn a_right_draft_saves_passes() {
    let model = fixtures::load("qwen2-bias", Precision::Int4);
    let sampling = Sampling { max_tokens: 33, ..Sampling::default() };
    let case = Case { prompt: vec![5, 6, 7], capacity: 64, sampling, even: 0, break_after: 0 };
    let (plain, ..) = run(&model, &case, None);
    assert_eq!(plain.drafts.passes, 32, "the first token needs none");
    for k in 1..=MAX_DRAFT {
        let oracle = Oracle { answer: plain.ids.clone(), at: 0, seed: 0, wrong: 0 };
        let (drafted, ..) = run(&model, &case, Some(&mut Drafter::fixed(oracle, k)));
        assert_eq!(drafted.drafts.passes, 32usize.div_ceil(k + 1), "{k} drafted");
        assert_eq!(drafted.drafts.accepted, 32 - drafted.drafts.passes);
    }
}

#[test]
fn what_was_generated_before_is_remembered() {
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let sampling = Sampling { max_tokens: 24, ..Sampling::default() };
    let case = Case { prompt: vec![9, 8, 7, 6], capacity: 64, sampling, even: 0, break_after: 0 };
    let mut drafter = Drafter::fixed(Lookup::new(), 4);
    let (first, ..) = run(&model, &case, Some(&mut drafter));
    let mut text = case.prompt.clone();
    text.extend(&first.ids);
    drafter.remember(&text);
    let (second, ..) = run(&model, &case, Some(&mut drafter));
    assert_eq!(second.ids, first.ids);
    assert!(
        second.drafts.passes < first.drafts.passes.min(10),
        "{:?} after {:?}",
        second.drafts,
        first.drafts
    );
}

#[test]
fn hostile_drafts_are_harmless() {
    struct Wild;
    impl DraftSource for Wild {
        fn begin(&mut self, _: &[u32]) {}
        fn push(&mut self, _: u32) {}
        fn propose(&self, limit: usize, draft: &mut Vec<u32>) -> Confidence {
            draft.extend((0..limit as u32 + 9).map(|i| if i == 1 { u32::MAX } else { i }));
            Confidence(255)
        }
        fn remember(&mut self, _: &[u32]) {}
    }
    let model = fixtures::load("llama-tied-gqa", Precision::Int4);
    let sampling = Sampling { max_tokens: 9, ..Sampling::default() };
    let case = Case { prompt: vec![1, 2], capacity: 12, sampling, even: 0, break_after: 0 };
    let (plain, ..) = run(&model, &case, None);
    let (drafted, ..) = run(&model, &case, Some(&mut Drafter::fixed(Wild, MAX_DRAFT)));
    assert_eq!((drafted.ids, drafted.logprobs), (plain.ids, plain.logprobs));
}
