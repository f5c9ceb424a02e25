//! f32 operations on the row in use against the specification. `LACUNA_ISA` runs the same tests on
//! another row.

use lacuna_kernels::ops;
use lacuna_kernels::reference;

use crate::random::{Guarded, LENGTHS, Random, nmse};

#[test]
fn rms_norm_equals_the_specification() {
    let mut random = Random::new();
    for d in LENGTHS {
        let (x, weight) = (random.normals(3 * d), random.normals(d));
        let mut out = Guarded::new(3 * d);
        ops::rms_norm(&x, &weight, 1e-6, out.inner());
        let want: Vec<f64> =
            x.chunks(d).flat_map(|x| reference::rms_norm(x, &weight, 1e-6)).collect();
        assert!(nmse(out.checked(), &want) < 1e-12, "d={d}");
    }
    let mut zeros = [1f32; 16];
    ops::rms_norm(&[0.0; 16], &[1.0; 16], 1e-6, &mut zeros);
    assert_eq!(zeros, [0.0; 16]);
}

#[test]
fn swiglu_equals_the_specification_at_all_magnitudes() {
    let mut random = Random::new();
    for f in LENGTHS {
        for magnitude in [1e-3, 1.0, 30.0, 300.0] {
            let gate_up: Vec<f32> = random.normals(2 * f).iter().map(|v| v * magnitude).collect();
            let mut out = Guarded::new(f);
            ops::swiglu(&gate_up, f, out.inner());
            let want = reference::silu_mul(&gate_up[..f], &gate_up[f..]);
            for (got, want) in out.checked().iter().zip(want) {
                // Far below zero the gate is 0 in truth and below 1e-35 here.
                assert!(
                    (f64::from(*got) - want).abs() <= 1e-6 * want.abs() + 1e-30,
                    "f={f} magnitude {magnitude}: {got}, {want}"
                );
            }
        }
    }
    let mut out = [0f32; 2];
    ops::swiglu(&[f32::NAN, 1.0, 1.0, 1.0], 2, &mut out);
    assert!(out[0].is_nan() && !out[1].is_nan());
}

#[test]
fn softmax_and_log_sum_exp_equal_the_specification() {
    let mut random = Random::new();
    for n in LENGTHS {
        for magnitude in [0.1, 5.0, 100.0] {
            let x: Vec<f32> = random.normals(n).iter().map(|v| v * magnitude + 50.0).collect();
            let mut out = Guarded::new(n);
            out.inner().copy_from_slice(&x);
            ops::softmax(out.inner());
            let want = reference::softmax(&x);
            assert!(nmse(out.checked(), &want) < 1e-11, "n={n} magnitude {magnitude}");
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = x.iter().map(|v| f64::from(v - largest).exp()).sum();
            let want = f64::from(largest) + sum.ln();
            assert!(
                (f64::from(ops::log_sum_exp(&x)) - want).abs() < 1e-5 * want.abs(),
                "n={n} magnitude {magnitude}"
            );
        }
    }
    ops::softmax(&mut []);
    assert!(ops::log_sum_exp(&[0.0, f32::NAN, 1.0]).is_nan());
}

#[test]
fn rope_rotates_pairs() {
    let mut random = Random::new();
    let (half, heads) = (5, 3);
    let angles = random.normals(half);
    let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
    let x = random.normals(heads * 2 * half);
    let mut y = x.clone();
    ops::rope(&mut y, &cos, &sin);
    for h in 0..heads {
        for i in 0..half {
            let (a, b) = (h * 2 * half + i, h * 2 * half + half + i);
            assert!((y[a] - (x[a] * cos[i] - x[b] * sin[i])).abs() < 1e-6);
            assert!((y[b] - (x[b] * cos[i] + x[a] * sin[i])).abs() < 1e-6);
        }
    }
}

#[test]
fn f32_products_equal_the_specification() {
    let mut random = Random::new();
    for k in LENGTHS {
        for (n, m) in [(1, 1), (33, 1), (33, 3), (17, 4), (5, 9)] {
            let (w, x) = (random.normals(n * k), random.normals(m * k));
            let mut y = Guarded::new(m * n);
            ops::matmul_f32(n, k, &w, &x, y.inner());
            assert!(
                nmse(y.checked(), &reference::matmul_f32(n, k, &w, m, &x)) < 1e-11,
                "n={n} k={k} m={m}"
            );
        }
    }
}

#[test]
fn top_is_the_first_largest_and_the_normaliser() {
    let mut random = Random::new();
    for n in [1, 2, 31, 32, 33, 4095, 4096, 4097, 151_936, 300_001] {
        let mut x = random.normals(n);
        x.iter_mut().for_each(|v| *v *= 4.0);
        let want = (0..n).fold(0, |best, i| if x[i] > x[best] { i } else { best });
        let exact: f64 = x.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
        let top = ops::top(&x);
        assert_eq!((top.index, top.logit), (want, x[want]), "n={n}");
        assert!(
            (f64::from(top.log_sum_exp) - exact).abs() < 1e-4,
            "n={n}: {} {exact}",
            top.log_sum_exp
        );
        // A second one like it does not win; one of infinite distance changes nothing.
        let largest = x[want];
        x.push(largest);
        x.push(f32::NEG_INFINITY);
        assert_eq!(ops::top(&x).index, want, "n={n}");
        x[n / 2] = f32::NAN;
        assert!(ops::top(&x).log_sum_exp.is_nan(), "n={n}");
    }
    let mut x = vec![f32::NEG_INFINITY; 5000];
    assert!(!ops::top(&x).log_sum_exp.is_finite());
    x[4999] = 3.0;
    assert_eq!(ops::top(&x), ops::Top { index: 4999, logit: 3.0, log_sum_exp: 3.0 });
}
