//! How long a prefill goes on after it was cancelled: `cargo run --release -p lacuna-engine
//! --example cancel_latency MODEL [TOKENS] [ROUNDS] [THREADS]`.
//!
//! A prefill of random tokens is cancelled from another thread at random moments; the time until it
//! returns is compared with what a layer of the chunk in flight takes, which bounds it. Where all
//! cores compute, the thread that cancels takes time from one of them.

#![allow(clippy::print_stdout, reason = "the result of an example")]

use std::time::{Duration, Instant};

use lacuna_engine::{
    Cancel, KvCache, Model, Precision, PromptError, kernel_row, prefill, set_threads, threads,
};

/// Tokens that a prefill evaluates at once.
const CHUNK: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, rest @ ..] = args.as_slice() else {
        return Err("usage: cancel_latency MODEL [TOKENS] [ROUNDS]".into());
    };
    let model = Model::load(path, Precision::Int4)?;
    let number = |i: usize, otherwise: usize| rest.get(i).map_or(Ok(otherwise), |n| n.parse());
    let n = number(0, 1024)?.min(model.spec().max_positions);
    let rounds = number(1, 100)?.max(1);
    set_threads(number(2, 0)?);
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize
    };
    let ids: Vec<u32> = (0..n).map(|_| (next() % model.spec().n_vocab) as u32).collect();
    // When each chunk is done, from the start: the median of a few runs.
    let mut ends: Vec<Duration> = Vec::new();
    for end in (CHUNK..n).step_by(CHUNK).chain([n]) {
        let run = |_| -> Result<Duration, PromptError> {
            let mut kv = KvCache::new(&model, n);
            let start = Instant::now();
            prefill(&model, &mut kv, &ids[..end], &Cancel::new())?;
            Ok(start.elapsed())
        };
        let mut times = (0..7).map(run).collect::<Result<Vec<_>, _>>()?;
        times.sort_unstable();
        ends.push(times[times.len() / 2].max(ends.last().copied().unwrap_or_default()));
    }
    let whole = *ends.last().ok_or("no tokens")?;
    let layers = model.spec().layers() as u32;
    // What a layer takes in the chunk that is in flight after so long.
    let layer_at = |after: Duration| {
        let chunk = ends.iter().position(|end| after < *end).unwrap_or(ends.len() - 1);
        let start = chunk.checked_sub(1).map_or(Duration::ZERO, |before| ends[before]);
        (ends[chunk] - start) / layers
    };
    let mut latencies: Vec<(f64, Duration)> = Vec::new();
    while latencies.len() < rounds {
        let mut kv = KvCache::new(&model, n);
        let cancel = Cancel::new();
        let after = whole.mul_f64(next() as f64 / (1u64 << 31) as f64);
        let start = Instant::now();
        let (cancelled, raised, returned) = std::thread::scope(|scope| {
            let raised = scope.spawn(|| {
                std::thread::sleep(after);
                cancel.cancel();
                Instant::now()
            });
            let result = prefill(&model, &mut kv, &ids, &cancel);
            let returned = Instant::now();
            (result == Err(PromptError::Cancelled), raised.join().unwrap_or(returned), returned)
        });
        if cancelled {
            let latency = returned.saturating_duration_since(raised);
            latencies
                .push((latency.as_secs_f64() / layer_at(raised - start).as_secs_f64(), latency));
        }
    }
    let of = |share: f64, value: &dyn Fn(&(f64, Duration)) -> f64| {
        let mut all: Vec<f64> = latencies.iter().map(value).collect();
        all.sort_by(f64::total_cmp);
        all[((all.len() - 1) as f64 * share).round() as usize]
    };
    let line = |name: &str, unit: &str, value: &dyn Fn(&(f64, Duration)) -> f64| {
        println!(
            "{name}: p50 {:.2}{unit}, p99 {:.2}{unit}, at most {:.2}{unit}",
            of(0.5, value),
            of(0.99, value),
            of(1.0, value)
        );
    };
    println!(
        "{} threads, {}: {n} tokens in {:.1} ms; a layer takes {:.2} ms in the first chunk of {CHUNK}, {:.2} ms in the last; cancelled {rounds} times",
        threads(),
        kernel_row()?,
        whole.as_secs_f64() * 1e3,
        layer_at(Duration::ZERO).as_secs_f64() * 1e3,
        layer_at(whole).as_secs_f64() * 1e3,
    );
    line("returned after", " ms", &|(_, latency)| latency.as_secs_f64() * 1e3);
    line("in layers of the chunk in flight", "", &|(layers, _)| *layers);
    Ok(())
}
