//! INT4 products on every row against `reference::gemm_int4`, quantisation, and the file form.

use half::f16;
use lacuna_kernels::int4::{matmul_int4_with, round_to_int4};
use lacuna_kernels::isa::{Isa, row};
use lacuna_kernels::{
    Activations, Epilogue, Int4Error, Int4Matrix, matmul_quantized, matmul_swiglu, ops, reference,
};

use crate::random::{Guarded, LENGTHS, Random, nmse};

/// Random nibbles and scales in the file form; special groups where `special` says.
fn file_parts(random: &mut Random, n: usize, k: usize) -> (Vec<u8>, Vec<f16>) {
    let mut nibbles: Vec<u8> =
        (0..n * k.div_ceil(2)).map(|_| (random.uniform() * 256.0) as u8).collect();
    if !k.is_multiple_of(2) {
        // The unused nibble of an odd row is 8 by convention.
        nibbles
            .chunks_exact_mut(k.div_ceil(2))
            .for_each(|row| *row.last_mut().expect("k > 0") = row[row.len() - 1] & 15 | 0x80);
    }
    let mut scales: Vec<f16> =
        (0..n * k.div_ceil(32)).map(|_| f16::from_f32(random.normal() * 0.1)).collect();
    // An all-zero group and the largest scale.
    if scales.len() > 2 {
        scales[0] = f16::ZERO;
        scales[1] = f16::MAX;
    }
    (nibbles, scales)
}

fn check(isa: Isa, n: usize, k: usize, m: usize, random: &mut Random) {
    let row = row(isa).expect("available");
    let (nibbles, scales) = file_parts(random, n, k);
    let mut x = random.normals(m * k);
    // A group of zeros and one of tiny values.
    x[..k.min(32)].fill(0.0);
    if k > 64 {
        x[32..64].iter_mut().for_each(|v| *v *= 1e-20);
    }
    let matrix = Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("valid");
    let mut y = Guarded::new(m * n);
    matmul_int4_with(row, &matrix, &x, y.inner(), &mut Activations::new());
    let coarse = m > 16 && matches!(isa, Isa::Amx | Isa::AmxEmulated);
    let specification =
        if coarse { reference::gemm_int4_requantized } else { reference::gemm_int4 };
    let error = nmse(y.checked(), &specification(n, k, &nibbles, &scales, m, &x));
    assert!(error <= 1e-6, "{isa} n={n} k={k} m={m}: NMSE {error:.2e}");
}

/// Every row that this CPU runs, the emulated one among them.
fn rows() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().chain([Isa::AmxEmulated]).filter(|isa| isa.is_available())
}

#[test]
fn coarser_scales_cost_little() {
    let mut random = Random::new();
    for (n, k) in [(24, 512), (24, 896), (8, 4864)] {
        let weights = random.normals(n * k);
        let (nibbles, scales) =
            Int4Matrix::quantize(n, k, &weights).expect("finite").to_file_parts();
        let mut x = random.normals(20 * k);
        // One activation in a hundred is an outlier, as in trained models.
        x.iter_mut().step_by(101).for_each(|v| *v *= 20.0);
        let exact: Vec<f64> = (0..20 * n)
            .map(|i| {
                (0..k)
                    .map(|kk| f64::from(x[i / n * k + kk]) * f64::from(weights[i % n * k + kk]))
                    .sum()
            })
            .collect();
        let error =
            |y: Vec<f64>| nmse(&y.iter().map(|v| *v as f32).collect::<Vec<_>>(), &exact).sqrt();
        let fine = error(reference::gemm_int4(n, k, &nibbles, &scales, 20, &x));
        let coarse = error(reference::gemm_int4_requantized(n, k, &nibbles, &scales, 20, &x));
        println!(
            "k={k}: relative error {fine:.4} with groups of 32, {coarse:.4} with blocks of 512"
        );
        assert!(coarse < fine * 1.15, "k={k}: {coarse:.4} against {fine:.4}");
    }
}

#[test]
fn every_row_equals_the_specification() {
    let mut random = Random::new();
    let mut cases = 0;
    for isa in rows() {
        for length in LENGTHS {
            for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 33] {
                check(isa, 33, length, m, &mut random);
                cases += 1;
            }
            check(isa, length, 96, 3, &mut random);
            check(isa, length, 64, 1, &mut random);
            cases += 2;
        }
        check(isa, 17, 65, 129, &mut random);
        check(isa, 64, 1600, 70, &mut random);
        check(isa, 16, 1024, 32, &mut random);
    }
    println!("{cases} cases");
    assert!(cases >= 13 * LENGTHS.len(), "no cases ran");
}

#[test]
fn a_product_large_enough_for_threads_equals_the_specification() {
    let mut random = Random::new();
    check(lacuna_kernels::isa::best(), 1000, 1024, 40, &mut random);
    // Tokens in several blocks; the last panel and the last tile of tokens are not full.
    for isa in rows().filter(|isa| *isa != Isa::Scalar) {
        check(isa, 150, 160, 517, &mut random);
        check(isa, 24, 640, 261, &mut random);
    }
}

#[test]
fn a_token_has_the_same_bits_in_every_batch() {
    let mut random = Random::new();
    let (n, k) = (48, 160);
    let (nibbles, scales) = file_parts(&mut random, n, k);
    let matrix = Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("valid");
    let x = random.normals(40 * k);
    for isa in rows() {
        let run = |x: &[f32]| {
            let mut y = vec![0f32; x.len() / k * n];
            matmul_int4_with(
                row(isa).expect("available"),
                &matrix,
                x,
                &mut y,
                &mut Activations::new(),
            );
            y
        };
        let together = run(&x);
        let one_by_one: Vec<f32> = x.chunks(k).flat_map(run).collect();
        // Coarse scales are for more than 16 tokens: among those, the bits are the same, and so
        // they are among fewer.
        let coarse = matches!(isa, Isa::Amx | Isa::AmxEmulated);
        for size in [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 20] {
            let apart: Vec<f32> = x.chunks(size * k).flat_map(run).collect();
            let expected = if coarse && size <= 16 { &one_by_one } else { &together };
            assert_eq!(&apart, expected, "{isa}, {size} at a time");
        }
    }
}

#[test]
fn a_nan_or_infinity_makes_its_own_row_nan() {
    let mut random = Random::new();
    let (n, k) = (20, 100);
    let (nibbles, scales) = file_parts(&mut random, n, k);
    let matrix = Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("valid");
    for (isa, m) in rows().flat_map(|isa| [(isa, 5), (isa, 19)]) {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for column in [0, 31, 32, 99] {
                let mut x = random.normals(m * k);
                x[2 * k + column] = bad;
                let mut y = vec![0f32; m * n];
                matmul_int4_with(
                    row(isa).expect("available"),
                    &matrix,
                    &x,
                    &mut y,
                    &mut Activations::new(),
                );
                for (i, row) in y.chunks_exact(n).enumerate() {
                    assert!(
                        row.iter().all(|v| v.is_nan() == (i == 2)),
                        "{isa}: {bad} at column {column}, row {i}"
                    );
                }
            }
        }
    }
}

#[test]
fn scratch_is_reused_between_shapes() {
    let mut random = Random::new();
    let mut scratch = Activations::new();
    for (n, k, m) in [(16, 64, 9), (5, 33, 2), (40, 300, 1), (16, 64, 8)] {
        let (nibbles, scales) = file_parts(&mut random, n, k);
        let x = random.normals(m * k);
        let matrix = Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("valid");
        let (mut reused, mut fresh) = (vec![0f32; m * n], vec![0f32; m * n]);
        lacuna_kernels::matmul_int4(&matrix, &x, &mut reused, &mut scratch);
        lacuna_kernels::matmul_int4(&matrix, &x, &mut fresh, &mut Activations::new());
        assert_eq!(reused, fresh);
    }
}

#[test]
fn the_file_form_survives_the_runtime_layout() {
    let mut random = Random::new();
    for n in [1, 15, 16, 17] {
        for k in LENGTHS {
            let (nibbles, scales) = file_parts(&mut random, n, k);
            let matrix = Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("valid");
            assert_eq!(matrix.to_file_parts(), (nibbles.clone(), scales.clone()), "n={n} k={k}");
            let mut got = vec![0f32; k];
            matrix.dequantize_row(n - 1, &mut got);
            for (kk, got) in got.iter().enumerate() {
                let byte = nibbles[(n - 1) * k.div_ceil(2) + kk / 2];
                let q = if kk % 2 == 0 { byte & 15 } else { byte >> 4 };
                let scale = scales[(n - 1) * k.div_ceil(32) + kk / 32].to_f32();
                assert_eq!(*got, (f32::from(q) - 8.0) * scale, "n={n} k={k} column {kk}");
            }
        }
    }
}

#[test]
fn quantisation_is_better_than_the_largest_weight_rule_and_deterministic() {
    let mut random = Random::new();
    let (n, k) = (64, 256);
    let weights = random.normals(n * k);
    let matrix = Int4Matrix::quantize(n, k, &weights).expect("finite");
    assert_eq!(
        matrix.to_file_parts(),
        Int4Matrix::quantize(n, k, &weights).expect("finite").to_file_parts()
    );
    let (mut error, mut plain, mut power) = (0f64, 0f64, 0f64);
    let mut row = vec![0f32; k];
    for (i, weights) in weights.chunks_exact(k).enumerate() {
        matrix.dequantize_row(i, &mut row);
        for (group, got) in weights.chunks(32).zip(row.chunks(32)) {
            let largest =
                group.iter().copied().fold(0f32, |a, w| if w.abs() > a.abs() { w } else { a });
            let scale = f16::from_f32(largest / -8.0).to_f32();
            for (w, got) in group.iter().zip(got) {
                let simple = (w / scale).round().clamp(-8.0, 7.0) * scale;
                error += f64::from(w - got).powi(2);
                plain += f64::from(w - simple).powi(2);
                power += f64::from(*w).powi(2);
            }
        }
    }
    let (error, plain) = ((error / power).sqrt(), (plain / power).sqrt());
    println!("relative error of normal weights: {error:.4}, largest-weight rule {plain:.4}");
    assert!(error < 0.95 * plain && error < 0.085);
}

#[test]
fn rounding_gives_what_a_matrix_holds() {
    let mut random = Random::new();
    for n in [1, 17] {
        for k in LENGTHS {
            let weights = random.normals(n * k);
            let matrix = Int4Matrix::quantize(n, k, &weights).expect("finite");
            let (mut rounded, mut row) = (vec![f32::NAN; n * k], vec![0f32; k]);
            round_to_int4(n, k, &weights, &mut rounded).expect("finite");
            for (i, rounded) in rounded.chunks_exact(k).enumerate() {
                matrix.dequantize_row(i, &mut row);
                assert_eq!(rounded, row, "n={n} k={k} row {i}");
            }
        }
    }
    let mut out = [0.0; 2];
    assert!(matches!(
        round_to_int4(1, 2, &[1.0, f32::NAN], &mut out),
        Err(Int4Error::NotFinite { row: 0, column: 1 })
    ));
    assert!(matches!(
        round_to_int4(1, 3, &[1.0; 3], &mut out),
        Err(Int4Error::Length { expected: 3, got: 2, .. })
    ));
}

#[test]
fn quantisation_of_special_groups() {
    let check = |weights: &[f32], tolerance: f32| {
        let matrix = Int4Matrix::quantize(1, weights.len(), weights).expect("finite");
        let mut row = vec![f32::NAN; weights.len()];
        matrix.dequantize_row(0, &mut row);
        for (w, got) in weights.iter().zip(&row) {
            assert!((w - got).abs() <= tolerance, "{w} became {got}");
        }
    };
    check(&[0.0; 40], 0.0);
    check(&[0.25; 33], 0.25 * 1e-3);
    check(&[-8.0, 7.0, 1.0, 0.0], 0.0);
    check(&[8.0, -7.0, 1.0, 0.0], 0.0);
    check(&[1e-30; 32], 1e-29);
    // Beyond what an f16 scale can hold: saturated, still finite.
    let matrix = Int4Matrix::quantize(1, 2, &[1e30, -1e30]).expect("finite");
    assert!(matrix.to_file_parts().1.iter().all(|s| s.is_finite()));
    for bad in [f32::NAN, f32::INFINITY] {
        let error =
            Int4Matrix::quantize(2, 3, &[0.0, 0.0, 0.0, 0.0, bad, 0.0]).expect_err("not finite");
        assert_eq!(error, Int4Error::NotFinite { row: 1, column: 1 });
    }
}

#[test]
fn shapes_and_lengths_that_do_not_fit_are_errors() {
    assert!(matches!(Int4Matrix::quantize(0, 3, &[]), Err(Int4Error::Shape { .. })));
    assert!(matches!(
        Int4Matrix::quantize(usize::MAX, usize::MAX, &[]),
        Err(Int4Error::Shape { .. })
    ));
    assert!(matches!(Int4Matrix::quantize(2, 3, &[0.0; 5]), Err(Int4Error::Length { .. })));
    assert!(matches!(
        Int4Matrix::from_file_parts(2, 32, &[0; 31], &[f16::ONE; 2]),
        Err(Int4Error::Length { .. })
    ));
    assert!(matches!(
        Int4Matrix::from_file_parts(2, 32, &[0; 32], &[f16::ONE; 3]),
        Err(Int4Error::Length { .. })
    ));
    let scales = [f16::ONE, f16::NAN];
    let error = Int4Matrix::from_file_parts(2, 32, &[0; 32], &scales).expect_err("not finite");
    assert_eq!(error, Int4Error::ScaleNotFinite { row: 1, group: 0 });
}

/// SwiGLU and RMSNorm on the way in are what they are apart: the same bits, for any number of
/// tokens.
#[test]
fn inputs_computed_on_the_way_in_have_the_bits_of_inputs_computed_before() {
    let mut random = Random::new();
    for (n, k) in [(20, 96), (16, 4864), (33, 333)] {
        let (nibbles, scales) = file_parts(&mut random, n, k);
        let matrix = Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("valid");
        for m in [1, 2, 7, 8, 9, 16, 17, 40] {
            let (gate_up, weight, eps) = (random.normals(m * 2 * k), random.normals(k), 1e-6);
            let (mut activated, mut normed) = (vec![0f32; m * k], vec![0f32; m * k]);
            ops::swiglu(&gate_up, k, &mut activated);
            let x = &gate_up[..m * k];
            ops::rms_norm(x, &weight, eps, &mut normed);
            let product = |fill: &dyn Fn(&mut Activations)| {
                let mut activations = Activations::new();
                fill(&mut activations);
                let mut y = vec![0f32; m * n];
                matmul_quantized(&matrix, &activations, Epilogue::default(), &mut y);
                y
            };
            let apart = product(&|a| a.quantize(&activated, k));
            assert!(
                product(&|a| a.quantize_swiglu(&gate_up, k)) == apart,
                "swiglu n={n} k={k} m={m}"
            );
            let apart = product(&|a| a.quantize(&normed, k));
            assert!(
                product(&|a| a.quantize_rms_norm(x, &weight, eps)) == apart,
                "rms_norm n={n} k={k} m={m}"
            );
        }
    }
}

/// Gate, up and SwiGLU in one go are what they are apart, on every row and for outputs that do and
/// do not fill tiles and blocks.
#[test]
fn a_product_into_swiglu_has_the_bits_of_one_after_the_other() {
    let mut random = Random::new();
    for (f, k) in [(16, 64), (48, 96), (33, 64), (192, 96), (528, 640), (1100, 128), (1024, 64)] {
        let (nibbles, scales) = file_parts(&mut random, 2 * f, k);
        let gate_up = Int4Matrix::from_file_parts(2 * f, k, &nibbles, &scales).expect("valid");
        let n = 18;
        let (nibbles, scales) = file_parts(&mut random, n, f);
        let down = Int4Matrix::from_file_parts(n, f, &nibbles, &scales).expect("valid");
        for (isa, m) in rows().flat_map(|isa| {
            [
                (isa, 1),
                (isa, 7),
                (isa, 16),
                (isa, 17),
                (isa, 45),
                (isa, if f == 48 { 300 } else { 20 }),
            ]
        }) {
            let mut x = random.normals(m * k);
            // The largest scale would make everything that follows infinite.
            x.iter_mut().for_each(|v| *v *= 1e-5);
            x[(m - 1) * k] = f32::NAN;
            let row = row(isa).expect("available");
            let (mut inputs, mut between, mut y) =
                (Activations::new(), vec![0f32; m * 2 * f], vec![0f32; m * n]);
            matmul_int4_with(row, &gate_up, &x, &mut between, &mut inputs);
            let mut activations = Activations::new();
            activations.quantize_swiglu_with(row, &between, f);
            matmul_quantized(&down, &activations, Epilogue::default(), &mut y);
            let (mut fused, mut z) = (Activations::new(), Guarded::new(m * n));
            matmul_swiglu(&gate_up, &inputs, &mut Vec::new(), &mut fused);
            matmul_quantized(&down, &fused, Epilogue::default(), z.inner());
            let bits = |y: &[f32]| {
                y.iter().map(|v| if v.is_nan() { 0 } else { v.to_bits() }).collect::<Vec<u32>>()
            };
            assert!(bits(z.checked()) == bits(&y), "{isa} f={f} k={k} m={m}");
            assert!(
                y[..(m - 1) * n].iter().all(|v| v.is_finite())
                    && y[(m - 1) * n..].iter().all(|v| v.is_nan()),
                "{isa} f={f} m={m}"
            );
        }
    }
}

#[test]
fn an_epilogue_adds_what_it_says() {
    let mut random = Random::new();
    let (n, k) = (45, 70);
    let (nibbles, scales) = file_parts(&mut random, n, k);
    let matrix = Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("valid");
    for m in [1, 3, 20] {
        let (x, bias, before) = (random.normals(m * k), random.normals(n), random.normals(m * n));
        let mut activations = Activations::new();
        activations.quantize(&x, k);
        let mut plain = vec![0f32; m * n];
        matmul_quantized(&matrix, &activations, Epilogue::default(), &mut plain);
        for (bias, add) in [(None, true), (Some(&bias), false), (Some(&bias), true)] {
            let mut y = Guarded::new(m * n);
            y.inner().copy_from_slice(&before);
            matmul_quantized(
                &matrix,
                &activations,
                Epilogue { bias: bias.map(|b| &b[..]), add },
                y.inner(),
            );
            for (i, y) in y.checked().iter().enumerate() {
                let p = plain[i] + bias.map_or(0.0, |b| b[i % n]);
                let want = if add { before[i] + p } else { p };
                assert!(
                    *y == want,
                    "m={m} add={add} bias={}: {y} at {i}, not {want}",
                    bias.is_some()
                );
            }
        }
    }
}
