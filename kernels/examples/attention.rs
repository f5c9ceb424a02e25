//! Time of attention for one token (all layers of a model) over a long prefix, and for a chunk of a
//! prompt, by type.
//!
//! `cargo run --release -p lacuna-kernels --example attention`. Medians. Cold: between two tokens
//! 256 MB are read, as the weights of a large model would be; warm: nothing else is read, as with a
//! model that fits the cache.

use std::time::{Duration, Instant};

use lacuna_kernels::kv::{KvDtype, KvStore};
use lacuna_kernels::ops::{self, Attention};
use lacuna_kernels::{isa, threads};

struct Model {
    name: &'static str,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    prefix: usize,
}

const MODELS: [Model; 3] = [
    Model { name: "embedded", layers: 8, heads: 4, kv_heads: 2, head_dim: 64, prefix: 1024 },
    Model { name: "0.5b", layers: 24, heads: 14, kv_heads: 2, head_dim: 64, prefix: 4096 },
    Model { name: "1.5b", layers: 28, heads: 12, kv_heads: 2, head_dim: 128, prefix: 4096 },
];

/// Tokens of the chunk of a prompt.
const CHUNK: usize = 256;

fn main() {
    println!("kernels: {}", isa::active().isa());
    println!(
        "{:9} {:5} {:>7} {:>9} {:>9} {:>9} {:>18}",
        "model", "type", "threads", "cold ms", "GB/s", "warm ms", "ms/256 after 1024"
    );
    let weights = vec![1u64; 32 << 20];
    for model in &MODELS {
        let Model { name, layers, heads, head_dim, prefix, .. } = *model;
        for dtype in KvDtype::ALL {
            let mut stores: Vec<KvStore> = (0..layers).map(|_| filled(dtype, model)).collect();
            stores.iter_mut().for_each(|s| s.grow(prefix + CHUNK));
            let width = heads * head_dim;
            let q = noise(CHUNK * width, 3);
            let mut out = vec![0f32; CHUNK * width];
            for n in [1, 2] {
                threads::set_threads(n);
                let mut run = |past: usize, m: usize, repeats: usize, cold: bool| {
                    let shape = Attention { heads, past, q_stride: width };
                    median(repeats, || {
                        if cold {
                            std::hint::black_box(weights.iter().sum::<u64>());
                        }
                        let start = Instant::now();
                        for store in &stores {
                            ops::attention(&shape, &q, store, &mut out[..m * width]);
                        }
                        start.elapsed()
                    })
                };
                let (cold, warm) = (run(prefix - 1, 1, 31, true), run(prefix - 1, 1, 31, false));
                let chunk = run(1024, CHUNK, 5, false);
                // Keys and values of the prefix, of what the stores hold.
                let bytes = stores.iter().map(|s| s.bytes() * prefix / s.tokens()).sum::<usize>();
                let rate = bytes as f64 / cold.as_secs_f64() / 1e9;
                let ms = |time: Duration| time.as_secs_f64() * 1e3;
                println!(
                    "{name:9} {:5} {n:>7} {:>9.3} {rate:>9.1} {:>9.3} {:>18.2}",
                    dtype.name(),
                    ms(cold),
                    ms(warm),
                    ms(chunk)
                );
            }
        }
    }
}

fn filled(dtype: KvDtype, model: &Model) -> KvStore {
    let mut store = KvStore::new(dtype, model.kv_heads, model.head_dim);
    store.grow(model.prefix);
    let width = model.kv_heads * model.head_dim;
    let (k, v) = (noise(model.prefix * width, 1), noise(model.prefix * width, 2));
    store.put_many(0, model.prefix, &k, &v, width);
    store
}

/// About normal: the sum of four bytes of a generator.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32).to_le_bytes()[..4].iter().map(|b| f32::from(*b) - 127.5).sum::<f32>() / 148.0
    };
    (0..n).map(|_| next()).collect()
}

fn median(repeats: usize, mut run: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..=repeats).map(|_| run()).collect();
    times.remove(0);
    times.sort();
    times[times.len() / 2]
}
