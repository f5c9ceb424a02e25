//! How long a prefill goes on after it was cancelled: `cargo run --release -p lacuna-engine
//! --example cancel_latency MODEL [TOKENS] [ROUNDS]`.
//!
//! A prefill of random tokens is cancelled from another thread at random moments; beside the time until it returns stands the time of
//! one layer of the chunk in flight, which bounds it.

#![allow(clippy::print_stdout, reason = "the result of an example")]

use std::time::{Duration, Instant};

use lacuna_engine::{Cancel, KvCache, Model, Precision, PromptError, kernel_row, prefill, threads};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, rest @ ..] = args.as_slice() else { return Err("usage: cancel_latency MODEL [TOKENS] [ROUNDS]".into()) };
    let model = Model::load(path, Precision::Int4)?;
    let number = |i: usize, otherwise: usize| rest.get(i).map_or(Ok(otherwise), |n| n.parse());
    let n = number(0, 1024)?.min(model.config().max_positions);
    let rounds = number(1, 100)?.max(1);
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize
    };
    let ids: Vec<u32> = (0..n).map(|_| (next() % model.config().n_vocab) as u32).collect();
    let whole = {
        let mut kv = KvCache::new(&model, n);
        prefill(&model, &mut kv, &ids, &Cancel::new())?;
        let mut again = KvCache::new(&model, n);
        let start = Instant::now();
        prefill(&model, &mut again, &ids, &Cancel::new())?;
        start.elapsed()
    };
    let layer = whole / (n.div_ceil(256) * model.config().layers) as u32;
    let mut latencies: Vec<Duration> = Vec::new();
    while latencies.len() < rounds {
        let mut kv = KvCache::new(&model, n);
        let cancel = Cancel::new();
        let after = whole.mul_f64(next() as f64 / (1u64 << 31) as f64);
        let (cancelled, returned) = std::thread::scope(|scope| {
            let raised = scope.spawn(|| {
                std::thread::sleep(after);
                cancel.cancel();
                Instant::now()
            });
            let result = prefill(&model, &mut kv, &ids, &cancel);
            let returned = Instant::now();
            (result == Err(PromptError::Cancelled), returned - raised.join().unwrap_or(returned).min(returned))
        });
        if cancelled {
            latencies.push(returned);
        }
    }
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!(
        "{} threads, {}: {n} tokens in {:.1} ms, one layer of a chunk {:.2} ms on average; cancelled {rounds} times, returned after \
         p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
        threads(),
        kernel_row()?,
        whole.as_secs_f64() * 1e3,
        layer.as_secs_f64() * 1e3,
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}
