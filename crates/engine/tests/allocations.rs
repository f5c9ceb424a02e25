//! A token costs no allocation once the buffers have grown: counted over all threads, so this test
//! has a binary of its own.

#![allow(unsafe_code, reason = "an allocator that counts can only be written with it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use lacuna_engine::{
    Cancel, Drafter, GenerateOptions, KvCache, Lookup, Model, Precision, Sampling, generate_with,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations between the first and the last token of a generation of 40.
fn during_tokens(
    model: &Model,
    kv: &mut KvCache,
    prompt: &[u32],
    drafter: Option<&mut Drafter>,
) -> usize {
    let (mut first, mut last) = (0, 0);
    let mut tokens = 0;
    let sampling = Sampling { max_tokens: 40, ..Sampling::default() };
    let options = GenerateOptions { drafter, ..GenerateOptions::new(&sampling) };
    generate_with(model, kv, prompt, options, &Cancel::new(), &mut |_| {
        last = ALLOCATIONS.load(Ordering::Relaxed);
        first = if tokens == 0 { last } else { first };
        tokens += 1;
        ControlFlow::Continue(())
    })
    .expect("a generation");
    assert_eq!(tokens, 40);
    last - first
}

#[test]
fn a_token_allocates_nothing_after_the_first_generation() {
    let mut counted = 0;
    for fixture in ["llama-tied-gqa", "qwen2-bias"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
        for precision in [Precision::F32, Precision::Int4] {
            let model = Model::load(&path, precision).expect("the fixture loads");
            for drafted in [0, 3] {
                let mut kv = KvCache::new(&model, 256);
                let mut drafter = Drafter::fixed(Lookup::new(), drafted);
                let prompt = [3, 1, 4, 1, 5, 9, 2, 6];
                let mut count = || {
                    during_tokens(&model, &mut kv, &prompt, (drafted > 0).then_some(&mut drafter))
                };
                let cold = count();
                // The threads of the team have buffers of their own: a few rounds let each of them
                // take part once.
                let warm = (0..5).map(|_| count()).min().expect("rounds");
                assert_eq!(warm, 0, "{fixture} {precision:?}, {drafted} drafted ({cold} cold)");
                counted += cold;
            }
        }
    }
    assert!(counted > 0, "the allocator counts nothing");
}
