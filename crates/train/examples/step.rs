//! Speed of a training step on random tokens, for several numbers of rows a pass.
//!
//! `cargo run --release -p lacuna-train --example step [ROUNDS] [ROWS A PASS…]`: tokens a second
//! (median of alternating rounds), and the arithmetic of the products in GFLOP/s.

#![allow(clippy::print_stdout, reason = "the result of an example")]

use std::time::Instant;

use lacuna_train::markers::Markers;
use lacuna_train::trainer::{
    Batch, Layout, Model, Optimizer, OptimizerConfig, Row, Shape, TrainError,
};

const THREADS: usize = 2;
const ROWS: usize = 8;
const ROW_TOKENS: usize = 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|n| n.parse::<usize>());
    let rounds = arguments.next().transpose()?.unwrap_or(9);
    let mut passes = arguments.collect::<Result<Vec<_>, _>>()?;
    if passes.is_empty() {
        passes = vec![1, 2, 4, 8];
    }
    let (shape, row) = (Shape::default(), Row::choose());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build()?;
    let mut model = Model::new(&shape, row, ROW_TOKENS)?;
    let layout = Layout::new(&shape);
    let n = layout.n_parameters();
    let (mut parameters, mut gradient, mut optimizer) =
        (layout.initial(0.02, 1), vec![0.0; n], Optimizer::new(n));
    let rows = rows(shape.vocab);
    let markers = Markers::default();
    let mut times = vec![Vec::new(); passes.len()];
    let mut tokens = 0;
    for _ in 0..rounds {
        for (rows_per_pass, times) in passes.iter().zip(&mut times) {
            let start = Instant::now();
            tokens = pool.install(|| {
                gradient.fill(0.0);
                let mut tokens = 0;
                for rows in rows.chunks(*rows_per_pass) {
                    let mut batch = Batch::default();
                    rows.iter().for_each(|row| batch.push_row(row, markers, 3.0));
                    tokens +=
                        model.losses_and_gradient(&parameters, &batch, 1e4, &mut gradient)?.tokens;
                }
                optimizer.step(
                    &layout.tensors,
                    &mut parameters,
                    &gradient,
                    &OptimizerConfig::muon(),
                    1.0,
                    row,
                );
                Ok::<_, TrainError>(tokens)
            })?;
            times.push(start.elapsed().as_secs_f64());
        }
    }
    // Forward, and twice as much backward; scores of attention are left out.
    let flop = 6.0 * n as f64 * tokens as f64;
    println!("{n} parameters, {tokens} tokens a step, {row}, {THREADS} threads, {rounds} rounds");
    for (rows_per_pass, mut times) in passes.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!(
            "{rows_per_pass} rows a pass: {:6.0} tokens/s, {:5.0} GFLOP/s",
            tokens as f64 / median,
            flop / median / 1e9
        );
    }
    Ok(())
}

/// Rows of documents of 32 to 700 tokens, the second half of each its middle.
fn rows(vocab: usize) -> Vec<Vec<u16>> {
    let markers = Markers::default();
    let mut state = 1u64;
    let mut random = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut row = || {
        let mut row = Vec::with_capacity(ROW_TOKENS);
        while row.len() < ROW_TOKENS {
            let length = (32 + random(668)).min(ROW_TOKENS - row.len());
            let first = row.len();
            row.extend((0..length).map(|_| (16 + random(vocab - 16)) as u16));
            row[first + length / 2] = markers.middle;
            row[first + length - 1] = markers.end;
        }
        row
    };
    (0..ROWS).map(|_| row()).collect()
}
