//! `int4.cu`: INT4 weights × INT8 activations of 1 to 8 tokens.

use half::f16;
use lacuna_kernels::reference;
use lacuna_ptxsim::{Counts, Fault, Launch, Memory, Module, Param};

use super::{bits, budget, module};
use crate::random::Random;

const GROUP: usize = 32;

/// A product: row-major weights as they lie in a file, tokens, and what is added.
pub struct Case {
    pub n: usize,
    pub k: usize,
    pub m: usize,
    pub nibbles: Vec<u8>,
    pub scales: Vec<f16>,
    pub x: Vec<f32>,
    pub bias: Option<Vec<f32>>,
    pub residual: Option<Vec<f32>>,
}

impl Case {
    pub fn draw(n: usize, k: usize, m: usize, seed: u64) -> Case {
        let mut random = Random::new(seed);
        let nibbles = (0..n * k / 2).map(|_| random.next() as u8).collect();
        let mut scales: Vec<_> = (0..n * k / GROUP)
            .map(|_| f16::from_f32(0.002 + 0.05 * random.unit() as f32))
            .collect();
        // An all-zero group and the largest scale.
        scales[0] = f16::ZERO;
        scales[1] = f16::from_f32(100.0);
        let mut x: Vec<f32> = (0..m * k).map(|_| random.normal()).collect();
        x[..GROUP].fill(0.0);
        let mut floats = |n: usize| (0..n).map(|_| random.normal()).collect::<Vec<_>>();
        let (bias, residual) = (floats(n), floats(m * n));
        Case {
            n,
            k,
            m,
            nibbles,
            scales,
            x,
            bias: seed.is_multiple_of(2).then_some(bias),
            residual: seed.is_multiple_of(3).then_some(residual),
        }
    }

    fn nibble(&self, row: usize, k: usize) -> u8 {
        self.nibbles[row * self.k / 2 + k / 2] >> (4 * (k % 2)) & 15
    }

    fn scale(&self, row: usize, group: usize) -> f32 {
        self.scales[row * self.k / GROUP + group].to_f32()
    }

    /// The layout that `int4.cu` describes: blocks of 16 rows × 64 k.
    fn packed(&self) -> (Vec<u8>, Vec<f16>) {
        let (mut words, mut scales) = (Vec::new(), Vec::new());
        for rows in (0..self.n).step_by(16) {
            for k in (0..self.k).step_by(64) {
                for lane in 0..32 {
                    let (g, t) = (lane / 4, lane % 4);
                    for word in 0..4 {
                        let (group, half) = (word / 2, word % 2);
                        for e in 0..4 {
                            let k = k + 32 * group + 8 * t + 4 * half + e;
                            words
                                .push(self.nibble(rows + g, k) | self.nibble(rows + g + 8, k) << 4);
                        }
                    }
                }
                for group in 0..2 {
                    scales.extend(
                        (0..16).map(|row| f16::from_f32(self.scale(rows + row, k / GROUP + group))),
                    );
                }
            }
        }
        (words, scales)
    }

    pub fn run(&self, module: &Module, kernel: &str) -> Result<(Vec<f32>, Counts), Box<Fault>> {
        let (words, scales) = self.packed();
        let groups = self.k / GROUP;
        let stride = if kernel == "int4_one" { 1 } else { 8 };
        let mut memory = Memory::default();
        // What belongs to tokens that are not there stays unwritten: to read it is a fault.
        let (xs, xb) = (
            memory.output::<f32>("xs", groups * stride),
            memory.output::<i32>("xb", groups * stride),
        );
        let mut xq = Vec::new();
        for (token, x) in self.x.chunks(self.k).enumerate() {
            let (q, s) = reference::quantize_activations(x);
            for group in 0..groups {
                let at = 4 * (group * stride + token) as u64;
                memory.write(xs.offset(at), &[s[group]]);
                memory.write(
                    xb.offset(at),
                    &[-8 * q[group * GROUP..][..GROUP].iter().map(|q| i32::from(*q)).sum::<i32>()],
                );
            }
            xq.extend(q);
        }
        let mut params: Vec<Param> = vec![
            memory.input("wq", &words).into(),
            memory.input("ws", &scales).into(),
            memory.input("xq", &xq).into(),
            xs.into(),
            xb.into(),
        ];
        for (name, added) in [("bias", &self.bias), ("residual", &self.residual)] {
            params.push(
                added.as_ref().map_or(Param::from(0u64), |added| memory.input(name, added).into()),
            );
        }
        let y = memory.output::<f32>("y", self.m * self.n);
        params.extend([y.into(), Param::from(self.n as u32), Param::from(self.k as u32)]);
        if kernel == "int4_few" {
            params.push(Param::from(self.m as u32));
        }
        let counts = module.kernel(kernel).unwrap().launch(
            &Launch::new(self.n as u32 / 16, 128).limit(1 << 20),
            &params,
            &mut memory,
        )?;
        Ok((memory.read(y), counts))
    }

    /// The kernels' own order of sums, on exact integer sums of groups: equal to the bit.
    fn expected(&self) -> Vec<f32> {
        let mut y = Vec::new();
        for (token, x) in self.x.chunks(self.k).enumerate() {
            let (q, s) = reference::quantize_activations(x);
            for row in 0..self.n {
                // By warp and parity.
                let mut sums = [[0f32; 2]; 4];
                for group in 0..self.k / GROUP {
                    let ks = group * GROUP..(group + 1) * GROUP;
                    let dot: i32 =
                        ks.map(|k| (i32::from(self.nibble(row, k)) - 8) * i32::from(q[k])).sum();
                    let sum = &mut sums[group / 2 % 4][group % 2];
                    *sum = (self.scale(row, group) * s[group]).mul_add(dot as f32, *sum);
                }
                let mut total = sums
                    .iter()
                    .map(|[even, odd]| even + odd)
                    .reduce(|total, sum| total + sum)
                    .unwrap_or(0.0);
                total += self.bias.as_ref().map_or(0.0, |bias| bias[row]);
                total +=
                    self.residual.as_ref().map_or(0.0, |residual| residual[token * self.n + row]);
                y.push(total);
            }
        }
        y
    }
}

const SHAPES: [(usize, usize); 6] =
    [(16, 64), (48, 128), (16, 320), (32, 448), (64, 896), (112, 576)];

#[test]
fn products_have_the_specified_bits_in_every_batch() {
    let module = module("int4");
    let mut cases = 0;
    for (seed, (n, k)) in (1u64..).zip(SHAPES) {
        for m in 1..=8 {
            let case = Case::draw(n, k, m, seed);
            let expected = case.expected();
            let check = |kernel: &str| {
                let (y, counts) = case
                    .run(&module, kernel)
                    .unwrap_or_else(|e| panic!("{kernel} n {n} k {k} m {m}: {e}"));
                assert_eq!(bits(&y), bits(&expected), "{kernel} n {n} k {k} m {m}");
                budget(&counts);
                let weights = counts.buffer("wq").unwrap();
                assert_eq!(
                    (weights.asked, weights.needed),
                    ((n * k / 64) as u64, (n * k / 64) as u64),
                    "weights are read once"
                );
            };
            check("int4_few");
            if m == 1 {
                check("int4_one");
            }
            // Near the specification, which sums in f64.
            let specified = reference::gemm_int4(n, k, &case.nibbles, &case.scales, m, &case.x);
            let plain = Case { bias: None, residual: None, ..case }.expected();
            let (error, size) =
                plain.iter().zip(&specified).fold((0f64, 0f64), |(error, size), (y, s)| {
                    (error + (f64::from(*y) - s).powi(2), size + s * s)
                });
            assert!(error <= 1e-12 * size, "n {n} k {k} m {m}: NMSE {}", error / size);
            cases += 1;
        }
    }
    assert_eq!(cases, SHAPES.len() * 8);
}

#[test]
fn a_token_with_a_nan_spoils_itself_alone() {
    let module = module("int4");
    let mut case = Case::draw(32, 128, 3, 4);
    let (clean, _) = case.run(&module, "int4_few").unwrap();
    case.x[128 + 5] = f32::NAN;
    let (y, _) = case.run(&module, "int4_few").unwrap();
    assert_eq!((bits(&y[..32]), bits(&y[64..])), (bits(&clean[..32]), bits(&clean[64..])));
    assert!(y[32..64].iter().all(|y| y.is_nan()));
}

#[test]
fn a_read_past_the_weights_is_found() {
    let module = module("int4");
    let mut case = Case::draw(32, 128, 1, 5);
    // The kernel is told of 64 k more than the weights have.
    case.k += 64;
    case.x = vec![1.0; case.k];
    let short = Case::draw(32, 128, 1, 5);
    (case.nibbles, case.scales) = (vec![0; 32 * case.k / 2], vec![f16::ONE; 32 * case.k / GROUP]);
    let fault = {
        let (words, scales) = short.packed();
        let mut memory = Memory::default();
        let zeros = vec![0u8; 4 * case.k];
        let params = [
            memory.input("wq", &words).into(),
            memory.input("ws", &scales).into(),
            memory.input("xq", &zeros).into(),
            memory.input("xs", &zeros).into(),
            memory.input("xb", &zeros).into(),
            Param::from(0u64),
            Param::from(0u64),
            memory.output::<f32>("y", 32).into(),
            Param::from(32u32),
            Param::from(case.k as u32),
        ];
        module
            .kernel("int4_one")
            .unwrap()
            .launch(&Launch::new(2, 128), &params, &mut memory)
            .unwrap_err()
            .to_string()
    };
    assert!(
        fault.contains("device.cuh:")
            && fault.contains("out of bounds: byte 2048 of `wq` (of 2048), 16 bytes"),
        "{fault}"
    );
}
