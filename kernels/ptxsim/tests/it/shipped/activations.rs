//! `activations.cu`: norms, SwiGLU and quantisation on the way into a product.

use lacuna_kernels::cuda::launch::{self, Inputs};
use lacuna_kernels::cuda::{GpuError, Room};
use lacuna_kernels::reference;

use super::{Bench, bits, relative_l2};
use crate::random::Random;

const GROUP: usize = 32;

/// Levels `[m][k]`, scales and biases `[k/32][stride]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    pub m: usize,
    pub k: usize,
    pub levels: Vec<i8>,
    pub scales: Vec<f32>,
    pub biases: Vec<i32>,
}

/// Tokens that scales and biases have places for.
pub fn stride(m: usize) -> usize {
    if m == 1 { 1 } else { m.next_multiple_of(8) }
}

impl Quantized {
    pub fn read(bench: &Bench, inputs: &Inputs, m: usize, k: usize) -> Quantized {
        let ([levels, scales, biases], numbers) = (inputs.int8(), k / GROUP * stride(m));
        Quantized {
            m,
            k,
            levels: bench.read(levels, m * k),
            scales: bench.read(scales, numbers),
            biases: bench.read(biases, numbers),
        }
    }

    /// Of one token, each of `k/32`.
    pub fn scales_of(&self, token: usize) -> Vec<f32> {
        self.scales.iter().skip(token).step_by(stride(self.m)).copied().collect()
    }

    pub fn levels_of(&self, token: usize) -> &[i8] {
        &self.levels[token * self.k..][..self.k]
    }

    /// Levels lie within half a level (and a little) of the values, biases are their sums.
    pub fn near(&self, values: &[f64]) {
        for token in 0..self.m {
            let scales = self.scales_of(token);
            for (group, values) in values[token * self.k..][..self.k].chunks(GROUP).enumerate() {
                let (scale, levels) =
                    (f64::from(scales[group]), &self.levels_of(token)[group * GROUP..][..GROUP]);
                for (level, value) in levels.iter().zip(values) {
                    let error = (f64::from(*level) * scale - value).abs();
                    assert!(error <= 0.501 * scale + 1e-25, "{token}, {group}: {error} of {value}");
                }
                let largest = values.iter().fold(0f64, |a, v| a.max(v.abs()));
                assert!(
                    largest < 2e-30 || (scale * 127.0 / largest - 1.0).abs() < 3e-5,
                    "token {token}, {group}: {scale} for {largest}"
                );
                let sum: i32 = levels.iter().map(|q| i32::from(*q)).sum();
                assert_eq!(self.biases[group * stride(self.m) + token], -8 * sum);
            }
        }
    }

    /// Everything, for comparisons of bits.
    pub fn bits(&self) -> Vec<u32> {
        let levels = self.levels.iter().map(|q| *q as u32);
        let scales = self.scales.iter().map(|s| s.to_bits());
        levels.chain(scales).chain(self.biases.iter().map(|b| *b as u32)).collect()
    }
}

/// Which kernel, with what it needs beside `x`.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    Quantize,
    Norm { weight: &'a [f32], n: usize, eps: f32 },
    Silu,
}

fn launched(
    bench: &Bench,
    kind: Kind,
    x: &[f32],
    (m, k): (usize, usize),
    is_int8: bool,
) -> Result<Inputs, GpuError> {
    let mut out = Inputs::default();
    out.resize(&bench.gpu, m, k, is_int8)?;
    let (gpu, room) = (&*bench.gpu, bench.room(x));
    match kind {
        Kind::Quantize => launch::quantize(gpu, room.view(), &out)?,
        Kind::Norm { weight, n, eps } => {
            launch::rms_norm(gpu, room.view(), bench.room(weight).view(), n, eps, &out)?;
        }
        Kind::Silu => launch::silu_mul(gpu, room.view(), &out)?,
    }
    Ok(out)
}

pub fn run(
    bench: &Bench,
    kind: Kind,
    x: &[f32],
    shape: (usize, usize),
) -> Result<Quantized, GpuError> {
    let out = launched(bench, kind, x, shape, true)?;
    Ok(Quantized::read(bench, &out, shape.0, shape.1))
}

/// The same unquantised.
pub fn run_f32(
    bench: &Bench,
    kind: Kind,
    x: &[f32],
    shape: (usize, usize),
) -> Result<Vec<f32>, GpuError> {
    let out = launched(bench, kind, x, shape, false)?;
    Ok(bench.read(out.f32(), shape.0 * shape.1))
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
    let bench = Bench::default();
    for (m, k) in [(1, 64), (1, 576), (3, 896), (8, 320), (17, 64)] {
        let mut x = rows(m, k, k as u64);
        if k > 64 {
            x[40] = f32::NAN;
            x[k - 1] = f32::NEG_INFINITY;
        }
        let got = run(&bench, Kind::Quantize, &x, (m, k)).unwrap_or_else(|e| panic!("{e}"));
        bench.budget();
        for (token, x) in x.chunks(k).enumerate() {
            let (levels, scales) = reference::quantize_activations(x);
            assert_eq!(got.levels_of(token), levels);
            for (group, (got, expected)) in got.scales_of(token).iter().zip(&scales).enumerate() {
                assert!(
                    got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()),
                    "{token}, {group}: {got} {expected}"
                );
            }
            for (group, levels) in levels.chunks(GROUP).enumerate() {
                let sum: i32 = levels.iter().map(|q| i32::from(*q)).sum();
                assert_eq!(got.biases[group * stride(m) + token], -8 * sum);
            }
        }
        for group in got.scales.chunks(stride(m)) {
            assert!(
                group[m..].iter().all(|scale| scale.to_bits() == 0xa5a5_a5a5),
                "tokens that are not there are not written"
            );
        }
    }
}

#[test]
fn norms_and_swiglu_are_near_the_specification_and_the_same_in_any_batch() {
    let bench = Bench::default();
    // `n` elements, zeros up to `k`.
    for (m, n, k) in [(1, 64, 64), (2, 576, 576), (8, 880, 896), (5, 2048, 2048), (9, 41, 64)] {
        let mut x = rows(m, k, 3 * k as u64);
        // Squares must stay finite.
        x.iter_mut().for_each(|v| *v = v.clamp(-1e3, 1e3));
        let mut random = Random::new(9);
        let mut weight: Vec<f32> = (0..k).map(|_| 1.0 + 0.3 * random.normal()).collect();
        weight[n..].fill(0.0);
        x.chunks_mut(k).for_each(|row| row[n..].fill(0.0));
        let norm = Kind::Norm { weight: &weight, n, eps: 1e-6 };
        let got = run(&bench, norm, &x, (m, k)).unwrap_or_else(|e| panic!("{e}"));
        let plain = run_f32(&bench, norm, &x, (m, k)).unwrap_or_else(|e| panic!("{e}"));
        bench.budget();
        let expected: Vec<f64> = x
            .chunks(k)
            .flat_map(|x| {
                let mut row = reference::rms_norm(&x[..n], &weight[..n], 1e-6);
                row.resize(k, 0.0);
                row
            })
            .collect();
        got.near(&expected);
        assert!(relative_l2(&plain, &expected) < 1e-6);

        let gate_up: Vec<f32> = (0..2 * m * k).map(|_| 4.0 * random.normal()).collect();
        let silu = run(&bench, Kind::Silu, &gate_up, (m, k)).unwrap_or_else(|e| panic!("{e}"));
        let plain = run_f32(&bench, Kind::Silu, &gate_up, (m, k)).unwrap_or_else(|e| panic!("{e}"));
        bench.budget();
        let expected: Vec<f64> =
            gate_up.chunks(2 * k).flat_map(|x| reference::silu_mul(&x[..k], &x[k..])).collect();
        silu.near(&expected);
        assert!(relative_l2(&plain, &expected) < 1e-6);

        // A token alone.
        let last = m - 1;
        let alone = run(&bench, norm, &x[last * k..], (1, k)).unwrap();
        assert_eq!(got.levels_of(last), alone.levels);
        assert_eq!(bits(&got.scales_of(last)), bits(&alone.scales));
    }
}

#[test]
fn what_has_no_room_is_refused() {
    let bench = Bench::of(lacuna_ptxsim::Simulated::limited(1000));
    let first = Room::new(&bench.gpu, 600).expect("there is room");
    let refused = Room::new(&bench.gpu, 600).map(|_| ()).unwrap_err();
    assert_eq!(refused, GpuError::OutOfMemory { wanted: 600, free: 400 });
    drop(first);
    assert!(Room::new(&bench.gpu, 600).is_ok());
    assert_eq!(bench.simulated.allocated(), 0);
}
