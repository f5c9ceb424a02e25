//! `int4.cu` and `float.cu`: INT4 weights × INT8 activations of any number of tokens, and f32.

use half::f16;
use lacuna_kernels::cuda::launch::{self, Inputs, Output};
use lacuna_kernels::cuda::weights::{self, F32Weights, Int4Weights, Weights, padded};
use lacuna_kernels::cuda::{GpuError, View};
use lacuna_kernels::reference;

use super::activations::Quantized;
use super::{Bench, bits, relative_l2};
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
        let mut nibbles: Vec<u8> = (0..n * k.div_ceil(2)).map(|_| random.next() as u8).collect();
        if k % 2 == 1 {
            // What stands behind the last of an odd row.
            nibbles.chunks_mut(k.div_ceil(2)).for_each(|row| row[k / 2] |= 0xf0);
        }
        let mut scales: Vec<_> = (0..n * k.div_ceil(GROUP))
            .map(|_| f16::from_f32(0.002 + 0.05 * random.unit() as f32))
            .collect();
        // An all-zero group and the largest scale.
        scales[0] = f16::ZERO;
        *scales.last_mut().expect("a group") = f16::from_f32(100.0);
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

    /// With the first `m` tokens alone.
    fn first(&self, m: usize) -> Case {
        Case {
            m,
            nibbles: self.nibbles.clone(),
            scales: self.scales.clone(),
            x: self.x[..m * self.k].to_vec(),
            bias: self.bias.clone(),
            residual: self.residual.as_ref().map(|residual| residual[..m * self.n].to_vec()),
            ..*self
        }
    }

    fn nibble(&self, row: usize, k: usize) -> u8 {
        self.nibbles[row * self.k.div_ceil(2) + k / 2] >> (4 * (k % 2)) & 15
    }

    fn scale(&self, row: usize, group: usize) -> f32 {
        self.scales[row * self.k.div_ceil(GROUP) + group].to_f32()
    }

    fn weight(&self, row: usize, k: usize) -> f32 {
        (f32::from(self.nibble(row, k)) - 8.0) * self.scale(row, k / GROUP)
    }

    /// The tokens, filled up.
    fn rows(&self) -> Vec<f32> {
        let mut all = vec![0f32; self.m * padded(self.k)];
        for (to, from) in all.chunks_mut(padded(self.k)).zip(self.x.chunks(self.k)) {
            to[..self.k].copy_from_slice(from);
        }
        all
    }

    fn inputs(&self, bench: &Bench, is_int8: bool) -> Result<Inputs, GpuError> {
        let mut inputs = Inputs::default();
        inputs.resize(&bench.gpu, self.m, padded(self.k), is_int8)?;
        let rows = bench.room(&self.rows());
        if is_int8 {
            launch::quantize(&*bench.gpu, rows.view(), &inputs)?;
        } else {
            rows.view().copy(&*bench.gpu, inputs.f32(), 4 * self.m * padded(self.k))?;
        }
        Ok(inputs)
    }

    fn upload(&self, bench: &Bench, parts: &[usize]) -> Result<Weights, GpuError> {
        Int4Weights::upload(&bench.gpu, parts, self.k, &self.nibbles, &self.scales)
            .map(Weights::Int4)
    }

    pub fn run(&self, bench: &Bench) -> Result<Vec<f32>, GpuError> {
        self.multiply(bench, &self.upload(bench, &[self.n])?, &self.inputs(bench, true)?)
    }

    fn multiply(&self, bench: &Bench, w: &Weights, x: &Inputs) -> Result<Vec<f32>, GpuError> {
        let size = self.m * self.n;
        let bias = self.bias.as_ref().map(|bias| bench.room(bias));
        let residual = self.residual.as_ref().map(|residual| bench.room(residual));
        let y = bench.room(&vec![7f32; size]);
        let view = |room: &Option<lacuna_kernels::cuda::Room>| {
            room.as_ref().map_or(View::NONE, lacuna_kernels::cuda::Room::view)
        };
        let out =
            Output { bias: view(&bias), residual: view(&residual), y: y.view(), stride: self.n };
        launch::matmul(&*bench.gpu, w, x, out)?;
        Ok(bench.read(y.view(), size))
    }

    /// The weights as gate (the first half of the rows) and up.
    pub fn swiglu(&self, bench: &Bench) -> Result<Quantized, GpuError> {
        let width = self.n / 2;
        let (w, x) = (self.upload(bench, &[width, width])?, self.inputs(bench, true)?);
        let bias = self
            .bias
            .as_ref()
            .map(|bias| weights::vector(&bench.gpu, &[width, width], bias).expect("there is room"));
        let bias = bias.as_ref().map_or(View::NONE, lacuna_kernels::cuda::Room::view);
        let mut out = Inputs::default();
        out.resize(&bench.gpu, self.m, padded(width), true)?;
        launch::swiglu(&bench.gpu, &w, &x, bias, &out, &mut None)?;
        Ok(Quantized::read(bench, &out, self.m, padded(width)))
    }

    /// The product of the same weights in f32.
    pub fn run_f32(&self, bench: &Bench) -> Result<Vec<f32>, GpuError> {
        self.multiply(bench, &self.upload_f32(bench)?, &self.inputs(bench, false)?)
    }

    fn values(&self) -> Vec<f32> {
        (0..self.n * self.k).map(|i| self.weight(i / self.k, i % self.k)).collect()
    }

    fn upload_f32(&self, bench: &Bench) -> Result<Weights, GpuError> {
        F32Weights::upload(&bench.gpu, &[self.n], self.k, &self.values()).map(Weights::F32)
    }

    pub fn embed_f32(&self, bench: &Bench, ids: &[u32]) -> Result<Vec<f32>, GpuError> {
        self.embed_of(bench, &self.upload_f32(bench)?, ids)
    }

    pub fn embed(&self, bench: &Bench, ids: &[u32]) -> Result<Vec<f32>, GpuError> {
        self.embed_of(bench, &self.upload(bench, &[self.n])?, ids)
    }

    fn embed_of(&self, bench: &Bench, w: &Weights, ids: &[u32]) -> Result<Vec<f32>, GpuError> {
        let x = bench.room(&vec![7f32; ids.len() * padded(self.k)]);
        launch::embed(&*bench.gpu, w, bench.room(ids).view(), ids.len(), x.view())?;
        Ok(bench.read(x.view(), ids.len() * padded(self.k)))
    }

    /// The kernels' own order of sums, on exact integer sums of groups: equal to the bit.
    fn expected(&self) -> Vec<f32> {
        let blocks = padded(self.k) / 64;
        let part = |group: usize| (0..4).rfind(|p| blocks * p / 4 <= group / 2).expect("a part");
        let mut y = Vec::new();
        for (token, x) in self.x.chunks(self.k).enumerate() {
            let (q, s) = reference::quantize_activations(x);
            for row in 0..self.n {
                // By quarter of k and parity.
                let mut sums = [[0f32; 2]; 4];
                for group in 0..self.k.div_ceil(GROUP) {
                    let ks = group * GROUP..self.k.min((group + 1) * GROUP);
                    let dot: i32 =
                        ks.map(|k| (i32::from(self.nibble(row, k)) - 8) * i32::from(q[k])).sum();
                    let sum = &mut sums[part(group)][group % 2];
                    *sum = (self.scale(row, group) * s[group]).mul_add(dot as f32, *sum);
                }
                let total =
                    sums.iter().map(|[even, odd]| even + odd).reduce(|total, sum| total + sum);
                let mut total = total.expect("four parts");
                total += self.bias.as_ref().map_or(0.0, |bias| bias[row]);
                total +=
                    self.residual.as_ref().map_or(0.0, |residual| residual[token * self.n + row]);
                y.push(total);
            }
        }
        y
    }
}

const SHAPES: [(usize, usize); 7] =
    [(16, 64), (48, 128), (61, 70), (32, 448), (64, 896), (112, 575), (97, 32)];

#[test]
fn products_have_the_specified_bits_in_every_batch() {
    let mut cases = 0;
    for (seed, (n, k)) in (1u64..).zip(SHAPES) {
        let all = Case::draw(n, k, 71, seed);
        let expected = all.expected();
        for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 71] {
            let (bench, case) = (Bench::default(), all.first(m));
            let y = case.run(&bench).unwrap_or_else(|e| panic!("n {n} k {k} m {m}: {e}"));
            assert_eq!(bits(&y), bits(&expected[..m * n]), "n {n} k {k} m {m}");
            // Rows of other lengths begin in the midst of a sector.
            if n.is_multiple_of(8) {
                bench.budget();
            }
            cases += 1;
        }
        // Near the specification, which sums in f64.
        let specified = reference::gemm_int4(n, k, &all.nibbles, &all.scales, 71, &all.x);
        let error = relative_l2(&Case { bias: None, residual: None, ..all }.expected(), &specified);
        assert!(error <= 1e-6, "n {n} k {k}: {error}");
    }
    assert_eq!(cases, SHAPES.len() * 13);
}

#[test]
fn weights_are_read_once() {
    for m in [1, 8, 32] {
        let (bench, case) = (Bench::default(), Case::draw(128, 320, m, 1));
        let (w, x) = (case.upload(&bench, &[128]).unwrap(), case.inputs(&bench, true).unwrap());
        bench.costs();
        case.multiply(&bench, &w, &x).unwrap();
        let counts = &bench.costs()[0];
        // The levels are what was allocated first.
        let levels = &counts.buffers[0];
        assert_eq!((levels.asked, levels.needed), (128 * 320 / 64, 128 * 320 / 64), "{m} tokens");
    }
}

#[test]
fn gate_up_and_swiglu_are_one_in_every_batch() {
    // Widths that are filled up, with biases and without.
    for (seed, (width, k)) in (1u64..).zip([(64, 64), (37, 70), (96, 448), (130, 128)]) {
        let mut all = Case::draw(2 * width, k, 19, seed);
        all.residual = None;
        *all.scales.last_mut().expect("a scale") = f16::ONE;
        let bench = Bench::default();
        let together = all.swiglu(&bench).unwrap_or_else(|e| panic!("{e}"));
        let expected: Vec<f64> = all
            .expected()
            .chunks(2 * width)
            .flat_map(|y| {
                let mut row = reference::silu_mul(&y[..width], &y[width..]);
                row.resize(padded(width), 0.0);
                row
            })
            .collect();
        together.near(&expected);
        for m in [1, 2, 5, 8, 9] {
            let some = all.first(m).swiglu(&bench).unwrap_or_else(|e| panic!("{m}: {e}"));
            for token in 0..m {
                assert_eq!(some.levels_of(token), together.levels_of(token), "{m} tokens");
                assert_eq!(bits(&some.scales_of(token)), bits(&together.scales_of(token)));
            }
        }
        bench.budget();
    }
}

#[test]
fn embeddings_are_the_rows() {
    let bench = Bench::default();
    for (n, k) in [(97, 32), (61, 70), (64, 575)] {
        let case = Case::draw(n, k, 1, 8);
        let ids = [0, n as u32 - 1, 17, 8, 17];
        let values = case.values();
        let plain = case.embed_f32(&bench, &ids).unwrap_or_else(|e| panic!("{e}"));
        let got = case.embed(&bench, &ids).unwrap_or_else(|e| panic!("{e}"));
        for (row, id) in got.chunks(padded(k)).zip(ids) {
            let expected = &values[id as usize * k..][..k];
            assert_eq!(bits(&row[..k]), bits(expected));
            assert!(row[k..].iter().all(|v| *v == 0.0));
        }
        assert_eq!(plain, got);
    }
}

#[test]
fn f32_products_are_near_the_specification_and_the_same_in_any_batch() {
    for (seed, (n, k)) in (1u64..).zip([(16, 64), (61, 70), (37, 575)]) {
        let all = Case::draw(n, k, 11, seed);
        let bench = Bench::default();
        let mut expected = reference::matmul_f32(n, k, &all.values(), 11, &all.x);
        for (i, y) in expected.iter_mut().enumerate() {
            *y += f64::from(all.bias.as_ref().map_or(0.0, |bias| bias[i % n]));
            *y += f64::from(all.residual.as_ref().map_or(0.0, |residual| residual[i]));
        }
        let y = all.run_f32(&bench).unwrap_or_else(|e| panic!("{e}"));
        assert!(relative_l2(&y, &expected) < 1e-6);
        for m in [1, 8, 9] {
            let some = all.first(m).run_f32(&bench).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(bits(&some), bits(&y[..m * n]));
        }
    }
}

#[test]
fn a_token_with_a_nan_spoils_itself_alone() {
    let bench = Bench::default();
    let mut case = Case::draw(32, 128, 12, 4);
    let clean = case.run(&bench).unwrap();
    case.x[128 + 5] = f32::NAN;
    let y = case.run(&bench).unwrap();
    assert_eq!((bits(&y[..32]), bits(&y[64..])), (bits(&clean[..32]), bits(&clean[64..])));
    assert!(y[32..64].iter().all(|y| y.is_nan()));
}

#[test]
fn a_read_past_the_weights_is_found() {
    // The kernel is told of 64 k more than the weights have.
    let bench = Bench::default();
    let [short, long] = [128, 192].map(|k| Case::draw(32, k, 1, 5));
    let x = long.inputs(&bench, true).unwrap();
    let Weights::Int4(w) = short.upload(&bench, &[32]).unwrap() else { panic!("INT4") };
    let y = bench.room(&[0f32; 32]);
    let [xq, xs, xb] = x.int8().map(|view| lacuna_kernels::cuda::Arg::U64(view.of::<u8>(1)));
    use lacuna_kernels::cuda::{Arg, Launch};
    let [wq, ws] = [w.levels(), w.scales()].map(|view| Arg::U64(view.of::<u8>(1)));
    let y = Arg::U64(y.view().of::<f32>(32));
    let none = Arg::U64(0);
    let sizes = [32, 192, 1, 32].map(Arg::U32);
    let args = [&[wq, ws, xq, xs, xb, none, none, y][..], &sizes].concat();
    let launch = Launch { kernel: "int4_one", grid: [4, 1, 1], block: 128 };
    let fault = bench.gpu.launch(launch, &args).unwrap_err().to_string();
    assert!(fault.contains("device.cuh:") && fault.contains("out of bounds: byte 4096"), "{fault}");
}
