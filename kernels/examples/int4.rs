//! Times INT4 products, cold (weights cycled through more memory than the caches hold): `cargo run --release --example int4 [row]`.
use lacuna_kernels::isa::{Isa, best, row};
use lacuna_kernels::{Activations, Epilogue, Int4Matrix, matmul_quantized};
use std::time::Instant;

fn main() {
    let isa = std::env::args().nth(1).map_or(best(), |name| Isa::ALL.into_iter().find(|i| i.name() == name).expect("a row"));
    println!("{isa}, {} threads, {:?}", lacuna_kernels::threads::threads(), row(isa));
    for (n, k) in [(9728, 896), (896, 4864), (17920, 1536), (1536, 8960), (1152, 896)] {
        let copies = (400_000_000 / (n * k * 9 / 16)).max(1);
        let nibbles: Vec<u8> = (0..n * k / 2).map(|i| (i * 2654435761 >> 7) as u8).collect();
        let scales = vec![half::f16::from_f32(0.01); n * k / 32];
        let matrices: Vec<Int4Matrix> = (0..copies).map(|_| Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("valid")).collect();
        let mut one = 0.0;
        for m in [1, 2, 4, 8, 16, 64, 256] {
            let x: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            let mut y = vec![0f32; m * n];
            let mut a = Activations::new();
            a.quantize(&x, k);
            let rounds = if m > 16 { 1 } else { 5 };
            let used = if m > 16 { copies.min(4000 / m + 1) } else { copies };
            let mut times: Vec<f64> = (0..rounds)
                .map(|_| {
                    let start = Instant::now();
                    for w in &matrices[..used] {
                        matmul_quantized(w, &a, Epilogue::default(), &mut y);
                    }
                    start.elapsed().as_secs_f64() / used as f64
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let t = times[rounds / 2];
            if m == 1 {
                one = t;
            }
            println!(
                "{n:6} x {k:5} m {m:4}: {:9.1} us {:6.1} GB/s {:6.3} TOPS  {:.2} x m1",
                t * 1e6,
                matrices[0].bytes() as f64 / t / 1e9,
                2.0 * (m * n * k) as f64 / t / 1e12,
                t / one
            );
        }
    }
}
