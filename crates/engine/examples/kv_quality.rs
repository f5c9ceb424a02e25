//! What holding keys and values in f16 or INT8 costs: mean log-probability of given tokens, by
//! type.
//!
//! `cargo run --release -p lacuna-engine --example kv_quality MODEL IDS [TOKENS]`. `IDS` is a file
//! of token ids, a sequence a line, ids apart by spaces; of longer sequences the first `TOKENS`
//! count. Every token is computed alone, over the cache, as in decoding.

#![allow(clippy::print_stdout, reason = "the result of an example")]

use lacuna_engine::{Cancel, KvCache, KvDtype, Model, Precision, prefill};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, ids, rest @ ..] = args.as_slice() else {
        return Err("usage: kv_quality MODEL IDS [TOKENS]".into());
    };
    let model = Model::load(path, Precision::Int4)?;
    let limit = rest.first().map_or(Ok(usize::MAX), |n| n.parse())?.min(model.spec().max_positions);
    let parse = |line: &str| {
        line.split_whitespace().take(limit).map(str::parse).collect::<Result<Vec<u32>, _>>()
    };
    let sequences =
        std::fs::read_to_string(ids)?.lines().map(parse).collect::<Result<Vec<_>, _>>()?;
    let mut exact: Vec<f64> = Vec::new();
    for dtype in KvDtype::ALL {
        let mut all = Vec::new();
        for ids in sequences.iter().filter(|ids| ids.len() > 1) {
            let mut kv = KvCache::with_dtype(&model, ids.len(), dtype);
            for n in 1..ids.len() {
                prefill(&model, &mut kv, &ids[..n], &Cancel::new())?;
                let logits = kv.logits();
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
                all.push(f64::from(logits[ids[n] as usize] - largest) - sum.ln());
            }
        }
        if exact.is_empty() {
            exact.clone_from(&all);
        }
        let n = all.len() as f64;
        let mean = |x: &mut dyn Iterator<Item = f64>| x.sum::<f64>() / n;
        let of_all = mean(&mut all.iter().copied());
        let difference = mean(&mut all.iter().zip(&exact).map(|(a, b)| a - b));
        let spread =
            mean(&mut all.iter().zip(&exact).map(|(a, b)| (a - b - difference).powi(2))).sqrt();
        let error = spread / n.sqrt();
        let each = mean(&mut all.iter().zip(&exact).map(|(a, b)| (a - b).abs()));
        println!(
            "{:5} {of_all:.5} nats/token over {n} tokens; against f32 {difference:+.5} ± {error:.5}, {each:.5} a token in absolute value",
            dtype.name()
        );
    }
    Ok(())
}
