//! `speed MODEL [pp|tg]`: prefill and decode speed of a model directory, for profiling; `lacuna bench decode` is the measurement.
use lacuna_engine::{Cancel, KvCache, Model, Precision, Sampling, generate, prefill};
use std::ops::ControlFlow;
use std::time::Instant;

fn main() {
    let path = std::env::args().nth(1).expect("a model directory");
    let start = Instant::now();
    let model = Model::load(&path, Precision::Int4).expect("a model");
    println!("loaded in {:.1} s, {} MB", start.elapsed().as_secs_f64(), model.info().bytes / 1_000_000);
    let cancel = Cancel::new();
    let ids: Vec<u32> = (0..4400u32).map(|i| i * 7919 % 30_000).collect();
    let only = std::env::args().nth(2);
    if only.as_deref() == Some("pp") {
        let mut kv = KvCache::new(&model, 8192);
        for _ in 0..6 {
            kv.truncate(0);
            let start = Instant::now();
            prefill(&model, &mut kv, &ids[..512], &cancel).expect("fits");
            println!("pp512: {:.1} tok/s", 512.0 / start.elapsed().as_secs_f64());
        }
        return;
    }
    if only.as_deref() == Some("tg") {
        let mut kv = KvCache::new(&model, 8192);
        for _ in 0..5 {
            let start = Instant::now();
            let sampling = Sampling { max_tokens: 100, ..Sampling::default() };
            generate(&model, &mut kv, &ids[..32], &sampling, None, &cancel, &mut |_| ControlFlow::Continue(())).expect("fits");
            println!("{:.3} ms a token", start.elapsed().as_secs_f64() * 10.0);
        }
        return;
    }
    for n in [16, 64, 512, 512] {
        let mut kv = KvCache::new(&model, 8192);
        prefill(&model, &mut kv, &ids[..8], &cancel).expect("fits");
        let start = Instant::now();
        prefill(&model, &mut kv, &ids[..8 + n], &cancel).expect("fits");
        println!("pp{n}: {:.1} tok/s", n as f64 / start.elapsed().as_secs_f64());
    }
    let mut kv = KvCache::new(&model, 8192);
    for (name, context) in [("short", 32), ("short", 32), ("4k", 4096)] {
        for m in [2, 4, 8, 16] {
            prefill(&model, &mut kv, &ids[..context], &cancel).expect("fits");
            let start = Instant::now();
            for i in 1..=8 {
                prefill(&model, &mut kv, &ids[..context + i * m], &cancel).expect("fits");
            }
            println!("{name} M={m}: {:.2} ms", start.elapsed().as_secs_f64() * 1e3 / 8.0);
        }
        let sampling = Sampling { max_tokens: 65, ..Sampling::default() };
        let mut first = None;
        generate(&model, &mut kv, &ids[..context], &sampling, None, &cancel, &mut |_| {
            first.get_or_insert_with(Instant::now);
            ControlFlow::Continue(())
        })
        .expect("fits");
        println!("{name} tg: {:.3} ms a token", first.expect("tokens").elapsed().as_secs_f64() * 1e3 / 64.0);
    }
}
