//! `activations.cu`: norms, SwiGLU and quantisation on the way into a product.

use lacuna_kernels::reference;
use lacuna_ptxsim::{Counts, Fault, Launch, Memory, Module, Param};

use super::{bits, budget, module};
use crate::random::Random;

const GROUP: usize = 32;

/// What a kernel leaves: `xq`, `xs`, `xb`.
pub type Quantized = (Vec<i8>, Vec<f32>, Vec<i32>);

/// Launches `kernel` on `m` tokens that become `k` values each; `weight`: of the norm.
pub fn run(
    module: &Module,
    kernel: &str,
    x: &[f32],
    weight: Option<(&[f32], f32)>,
    (m, k, stride): (usize, usize, usize),
) -> Result<(Quantized, Counts), Box<Fault>> {
    let mut memory = Memory::default();
    let mut params = vec![Param::from(memory.input("x", x))];
    params.extend(weight.map(|(weight, _)| Param::from(memory.input("weight", weight))));
    let (q, scales, biases) = (
        memory.output::<i8>("xq", m * k),
        memory.output::<f32>("xs", k / GROUP * stride),
        memory.output::<i32>("xb", k / GROUP * stride),
    );
    params.extend([
        q.into(),
        scales.into(),
        biases.into(),
        Param::from(k as u32),
        Param::from(stride as u32),
    ]);
    params.extend(weight.map(|(_, eps)| Param::from(eps)));
    let counts = module.kernel(kernel).unwrap().launch(
        &Launch::new(m as u32, 256).limit(1 << 20),
        &params,
        &mut memory,
    )?;
    Ok(((memory.read(q), memory.read(scales), memory.read(biases)), counts))
}

/// Draws rows with groups that are zero, tiny, huge, or no numbers.
pub fn rows(m: usize, k: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut x: Vec<f32> = (0..m * k).map(|_| random.normal()).collect();
    for (at, group) in x.chunks_mut(GROUP).enumerate() {
        match at % 11 {
            2 => group.fill(0.0),
            3 => group.iter_mut().for_each(|v| *v *= 1e-31),
            5 => group.iter_mut().for_each(|v| *v *= 1e30),
            7 => group[at % GROUP] = 100.0,
            _ => {}
        }
    }
    x
}

#[test]
fn quantisation_is_the_specified_one_to_the_bit() {
    let module = module("activations");
    for (m, k, stride) in [(1, 32, 1), (1, 576, 1), (3, 896, 8), (8, 320, 8), (2, 64, 3)] {
        let mut x = rows(m, k, k as u64);
        if k > 64 {
            x[40] = f32::NAN;
            x[k - 1] = f32::NEG_INFINITY;
        }
        let ((q, scales, biases), counts) =
            run(&module, "quantize", &x, None, (m, k, stride)).unwrap_or_else(|e| panic!("{e}"));
        budget(&counts);
        for token in 0..m {
            let (expected_q, expected_scales) =
                reference::quantize_activations(&x[token * k..][..k]);
            assert_eq!(q[token * k..][..k], expected_q);
            for group in 0..k / GROUP {
                let others = &scales[group * stride + m..(group + 1) * stride];
                assert!(
                    others.iter().all(|scale| scale.to_bits() == 0xa5a5_a5a5),
                    "tokens that are not there are not written"
                );
                let (got, expected) = (scales[group * stride + token], expected_scales[group]);
                assert!(
                    got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()),
                    "{got} {expected}"
                );
                let sum: i32 =
                    expected_q[group * GROUP..][..GROUP].iter().map(|q| i32::from(*q)).sum();
                assert_eq!(biases[group * stride + token], -8 * sum);
            }
        }
    }
}

/// Levels lie within half a level (and a little) of the values.
fn near(quantized: &Quantized, values: &[f64], (m, k, stride): (usize, usize, usize)) {
    for token in 0..m {
        for i in 0..k {
            let (scale, value) =
                (f64::from(quantized.1[i / GROUP * stride + token]), values[token * k + i]);
            let error = (f64::from(quantized.0[token * k + i]) * scale - value).abs();
            assert!(
                error <= 0.501 * scale + 1e-25,
                "token {token}, {i}: {error} of {value}, scale {scale}"
            );
            let largest = values[token * k + i / GROUP * GROUP..][..GROUP]
                .iter()
                .fold(0f64, |a, v| a.max(v.abs()));
            assert!(
                largest < 2e-30 || (scale * 127.0 / largest - 1.0).abs() < 1e-5,
                "token {token}, {i}: {scale} for {largest}"
            );
        }
    }
}

#[test]
fn norms_and_swiglu_are_near_the_specification_and_the_same_in_any_batch() {
    let module = module("activations");
    for (m, k, stride) in [(1, 64, 1), (2, 576, 8), (8, 896, 8), (5, 2048, 5)] {
        let mut x = rows(m, k, 3 * k as u64);
        // Squares must stay finite.
        x.iter_mut().for_each(|v| *v = v.clamp(-1e3, 1e3));
        let mut random = Random::new(9);
        let weight: Vec<f32> = (0..k).map(|_| 1.0 + 0.3 * random.normal()).collect();
        let (eps, shape) = (1e-6f32, (m, k, stride));
        let (norm, counts) = run(&module, "rms_norm_quantize", &x, Some((&weight, eps)), shape)
            .unwrap_or_else(|e| panic!("{e}"));
        budget(&counts);
        near(
            &norm,
            &x.chunks(k).flat_map(|x| reference::rms_norm(x, &weight, eps)).collect::<Vec<_>>(),
            shape,
        );

        let gate_up: Vec<f32> = (0..2 * m * k).map(|_| 4.0 * random.normal()).collect();
        let (silu, counts) = run(&module, "silu_mul_quantize", &gate_up, None, shape)
            .unwrap_or_else(|e| panic!("{e}"));
        budget(&counts);
        near(
            &silu,
            &gate_up
                .chunks(2 * k)
                .flat_map(|x| reference::silu_mul(&x[..k], &x[k..]))
                .collect::<Vec<_>>(),
            shape,
        );

        // A token alone.
        let last = m - 1;
        let (alone, _) =
            run(&module, "rms_norm_quantize", &x[last * k..], Some((&weight, eps)), (1, k, 1))
                .unwrap();
        assert_eq!(norm.0[last * k..], alone.0);
        assert_eq!(
            bits(&norm.1.iter().skip(last).step_by(stride).copied().collect::<Vec<_>>()),
            bits(&alone.1)
        );
    }
}
