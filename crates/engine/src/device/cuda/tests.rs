//! The device on a simulated GPU: by the suite of all devices, and whole models through everything
//! that serves them, beside the CPU.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use lacuna_kernels::cuda::{Gpu, GpuError};
use lacuna_ptxsim::Simulated;

use super::Cuda;
use crate::device::KvDtype;
use crate::device::conformance::{Bounds, check};
use crate::{
    Beam, Cancel, Constraint, Drafter, GenerateOptions, Generation, KvCache, KvPool, Lookup, Model,
    PackedRequest, Precision, PrefillOptions, PromptError, Reuse, Rules, Sampling, Start,
    forward_all, generate, generate_packed, likeliest, prefill, prefill_with,
};

fn simulated() -> Arc<dyn Gpu> {
    Arc::new(Simulated::default())
}

#[test]
fn a_gpu_conforms() {
    let bounds = Bounds { f32: 1e-4, int4: 0.05, f16: 2e-3, int8: 0.03, cut: 0.0 };
    check(&bounds, |spec, source, precision| Cuda::load(simulated(), spec, source, precision));
}

/// Checkpoints of the families that are served.
const MODELS: [&str; 5] =
    ["llama-tied-gqa", "llama-untied-sharded", "qwen2-bias", "llama3-rope", "qwen3-head-norms"];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The same model on the simulated GPU and on the CPU.
fn pair(name: &str, precision: Precision) -> [Model; 2] {
    let on_gpu = Model::on_gpu(simulated(), fixture(name), precision);
    let on_cpu = Model::load(fixture(name), precision);
    [on_gpu, on_cpu].map(|model| model.unwrap_or_else(|e| panic!("{name}: {e}")))
}

fn ids(seed: u64, n: usize) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % 96) as u32
    };
    (0..n).map(|_| next()).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn cold(model: &Model, ids: &[u32], dtype: KvDtype) -> KvCache {
    let mut kv = KvCache::with_dtype(model, 128, dtype);
    prefill(model, &mut kv, ids, &Cancel::new()).expect("fits");
    kv
}

#[test]
fn logits_are_those_of_the_cpu() {
    for name in MODELS {
        for precision in [Precision::F32, Precision::Int4] {
            let [gpu, cpu] = pair(name, precision);
            assert!(gpu.info().bytes >= cpu.info().bytes);
            let prompt = ids(1, 40);
            for dtype in [KvDtype::F32, KvDtype::F16] {
                let logits =
                    [&gpu, &cpu].map(|model| cold(model, &prompt, dtype).logits().to_vec());
                let worst = largest_difference(&logits[0], &logits[1]);
                assert!(worst <= 1e-3, "{name} {precision:?} {dtype}: {worst}");
            }
            // The CPU rounds the weights of attention over INT8 to 8 bits, a GPU does not.
            let logits =
                [&gpu, &cpu].map(|model| cold(model, &prompt, KvDtype::Int8).logits().to_vec());
            let worst = largest_difference(&logits[0], &logits[1]);
            let scale = logits[1].iter().fold(0f32, |a, v| a.max(v.abs()));
            assert!(worst <= 0.04 * scale, "{name} {precision:?}: {worst} of {scale}");
        }
    }
}

#[test]
fn a_warm_cache_has_the_bits_of_a_cold_one_and_a_cancelled_prefill_goes_on() {
    for name in ["llama-tied-gqa", "qwen2-bias"] {
        let [model, _] = pair(name, Precision::Int4);
        let prompt = ids(2, 60);
        let expected = cold(&model, &prompt, KvDtype::Int8).logits().to_vec();
        for cached in [1, 30, 59] {
            let mut kv = cold(&model, &prompt[..cached], KvDtype::Int8);
            let stats = prefill(&model, &mut kv, &prompt, &Cancel::new()).expect("fits");
            assert_eq!((stats.cached, kv.logits()), (cached, &expected[..]), "{name}");
        }
        let halves = 2 * model.spec().layers();
        for n in 0..halves {
            let mut kv = cold(&model, &ids(3, 20), KvDtype::Int8);
            let visible = kv.logits().to_vec();
            let cancelled = prefill(&model, &mut kv, &prompt, &Cancel::new().at_check(n as u32));
            assert_eq!(cancelled, Err(PromptError::Cancelled));
            assert_eq!(kv.logits(), visible);
            let left = Cancel::new().at_check((halves - n) as u32);
            let stats = prefill(&model, &mut kv, &prompt, &left).expect("what is left");
            assert_eq!(stats.resumed > 0, n > 0, "{name}: {n}");
            assert_eq!(kv.logits(), expected, "{name}: half {n}");
        }
        // A fork is copied as it is written to.
        let kv = cold(&model, &prompt[..50], KvDtype::Int8);
        let (mut a, mut b) = (kv.fork(), kv.fork());
        prefill(&model, &mut a, &ids(4, 55), &Cancel::new()).expect("fits");
        prefill(&model, &mut b, &prompt, &Cancel::new()).expect("fits");
        assert_eq!(b.logits(), expected);
    }
}

fn sampling(max_tokens: usize) -> Sampling {
    Sampling { max_tokens, ..Sampling::default() }
}

fn greedy(model: &Model, prompt: &[u32]) -> Generation {
    let mut kv = KvCache::new(model, 128);
    let go_on = &mut |_| ControlFlow::Continue(());
    generate(model, &mut kv, prompt, &sampling(16), None, &Cancel::new(), go_on).expect("fits")
}

#[test]
fn drafts_and_packed_batches_change_nothing() {
    let [model, _] = pair("llama-tied-gqa", Precision::Int4);
    let prompts = [ids(5, 33), ids(6, 7), ids(7, 50)];
    let alone: Vec<Generation> = prompts.iter().map(|prompt| greedy(&model, prompt)).collect();
    // Text that repeats is guessed.
    let text: Vec<u32> = prompts[0].iter().chain(&alone[0].ids).copied().collect();
    let mut kv = KvCache::new(&model, 128);
    let mut drafter = Drafter::fixed(Lookup::new(), 4);
    drafter.remember(&text);
    let sampling = sampling(16);
    let options =
        GenerateOptions { drafter: Some(&mut drafter), ..GenerateOptions::new(&sampling) };
    let go_on = &mut |_| ControlFlow::Continue(());
    let drafted =
        crate::generate_with(&model, &mut kv, &prompts[0], options, &Cancel::new(), go_on)
            .expect("fits");
    assert_eq!((drafted.ids, drafted.logprobs), (alone[0].ids.clone(), alone[0].logprobs.clone()));

    let mut caches: Vec<KvCache> = prompts.iter().map(|_| KvCache::new(&model, 128)).collect();
    let mut caches: Vec<&mut KvCache> = caches.iter_mut().collect();
    let mut requests: Vec<PackedRequest> = prompts
        .iter()
        .map(|prompt| PackedRequest { prompt, sampling: &sampling, constraint: None })
        .collect();
    let go_on = &mut |_, _| ControlFlow::Continue(());
    let packed =
        generate_packed(&model, &mut caches, &mut requests, &Cancel::new(), go_on).expect("fits");
    for (packed, alone) in packed.iter().zip(&alone) {
        assert_eq!((&packed.ids, &packed.logprobs), (&alone.ids, &alone.logprobs));
    }
}

#[derive(Clone)]
struct Anything;

impl Constraint for Anything {
    fn allows(&self, _: u32) -> bool {
        true
    }
    fn is_active(&self) -> bool {
        false
    }
    fn push(&mut self, _: u32) {}
}

struct Ends;

impl Rules for Ends {
    fn ends(&self, ids: &[u32]) -> bool {
        ids.len() == 6
    }
}

#[test]
fn beams_share_their_prefix_and_find_what_the_cpu_finds() {
    let [gpu, cpu] = pair("qwen2-bias", Precision::Int4);
    let prompt = ids(8, 45);
    let found = [&gpu, &cpu].map(|model| {
        let mut kv = KvCache::with_dtype(model, 128, KvDtype::F16);
        let beam = Beam {
            starts: vec![Start { constraint: Anything, width: 4 }],
            keep: 4,
            wanted: 1,
            margin: 0.0,
            max_tokens: 8,
            stops: &[],
            closers: &[],
            texts: None,
            prefill: PrefillOptions::default(),
        };
        likeliest(model, &mut kv, &prompt, beam, &mut Ends, &Cancel::new(), &mut |_| {})
            .expect("fits")
    });
    assert_eq!(found[0].best.ids, found[1].best.ids);
    assert!((found[0].best.score - found[1].best.score).abs() < 1e-3);
}

#[test]
fn moved_text_is_what_it_is_on_the_cpu() {
    let [gpu, cpu] = pair("llama-tied-gqa", Precision::Int4);
    let (before, mut after) = (ids(9, 60), ids(10, 5));
    after.extend(&before[10..50]);
    after.extend(ids(11, 4));
    for reuse in [Reuse::Shift { min_run: 8 }, Reuse::Blend { min_run: 8, ratio: 0.3 }] {
        let done = [&gpu, &cpu].map(|model| {
            let mut kv = cold(model, &before, KvDtype::F32);
            let options = PrefillOptions { reuse, donors: &[] };
            let stats =
                prefill_with(model, &mut kv, &after, &options, &Cancel::new()).expect("fits");
            (stats, kv.logits().to_vec())
        });
        assert_eq!(done[0].0, done[1].0);
        assert!(done[0].0.shifted > 0);
        let worst = largest_difference(&done[0].1, &done[1].1);
        assert!(worst <= 1e-3, "{reuse:?}: {worst}");
    }
}

#[test]
fn models_of_both_devices_take_turns() {
    let [gpu, cpu] = pair("llama-tied-gqa", Precision::Int4);
    let prompt = ids(12, 9);
    let first = [&gpu, &cpu].map(|model| forward_all(model, &prompt).expect("fits"));
    for _ in 0..2 {
        for (model, first) in [&cpu, &gpu].into_iter().zip([&first[1], &first[0]]) {
            assert_eq!(&forward_all(model, &prompt).expect("fits"), first);
        }
    }
}

#[test]
fn a_pool_counts_what_lies_on_the_gpu_and_everything_is_given_back() {
    let simulated = Arc::new(Simulated::default());
    let gpu: Arc<dyn Gpu> = Arc::<Simulated>::clone(&simulated);
    let model = Model::on_gpu(gpu, fixture("llama-tied-gqa"), Precision::Int4).expect("loads");
    let model = Arc::new(model);
    let pool = KvPool::new(Arc::clone(&model), None, 128, 1 << 30);
    let mut lease = pool.lease("a");
    prefill(&model, &mut lease, &ids(13, 20), &Cancel::new()).expect("fits");
    assert_eq!(pool.stats().bytes, lease.bytes() - size_of_val(lease.logits()));
    drop(lease);
    pool.remove("a");
    assert_eq!(pool.stats().bytes, 0);
}

#[test]
fn a_full_gpu_is_an_error_that_says_so_and_passes() {
    let simulated = Arc::new(Simulated::default());
    let gpu: Arc<dyn Gpu> = Arc::<Simulated>::clone(&simulated);
    let model = Model::on_gpu(gpu, fixture("llama-tied-gqa"), Precision::Int4).expect("loads");
    let prompt = ids(14, 40);
    let expected = cold(&model, &prompt, KvDtype::Int8).logits().to_vec();
    let mut kv = cold(&model, &prompt[..10], KvDtype::Int8);
    let held = kv.logits().to_vec();
    simulated.set_limit(simulated.allocated());
    // The rows of the pass have room from before; the block that is shared with what is visible
    // cannot be copied.
    let refused = prefill(&model, &mut kv, &prompt, &Cancel::new());
    let Err(PromptError::Device(GpuError::OutOfMemory { .. })) = refused else {
        panic!("{refused:?}")
    };
    assert!(refused.unwrap_err().to_string().contains("kv.budget_mb"));
    assert_eq!((kv.ids(), kv.logits()), (&prompt[..10], &held[..]));
    simulated.set_limit(usize::MAX);
    prefill(&model, &mut kv, &prompt, &Cancel::new()).expect("there is room again");
    assert_eq!(kv.logits(), expected);
    // A model that does not fit is refused while it is loaded.
    let small: Arc<dyn Gpu> = Arc::new(Simulated::limited(4096));
    let refused = Model::on_gpu(small, fixture("llama-tied-gqa"), Precision::Int4);
    assert!(matches!(refused, Err(lacuna_model::LoadError::Gpu(GpuError::OutOfMemory { .. }))));
}

#[test]
fn a_gpu_is_compared_with_the_specification_before_it_is_trusted() {
    lacuna_kernels::cuda::verify(&simulated()).expect("the simulator computes what it should");
}
