//! `attention.cu`: rotation and appending, attention over the INT8 store by splits, and their
//! joining.

use lacuna_kernels::reference;
use lacuna_ptxsim::{Counts, Fault, Launch, Memory, Module, Param, Ptr};

use super::activations::Quantized;
use super::{bits, budget, module};
use crate::random::Random;

const GROUP: usize = 32;
const SPLIT: usize = 256;

/// Heads, sizes, and how many positions there are before the `m` tokens.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub d: usize,
    pub past: usize,
    pub m: usize,
    pub capacity: usize,
}

/// Levels and scales as the kernels keep them: all of the store, and the queries.
#[derive(Clone)]
pub struct Case {
    pub shape: Shape,
    q: (Vec<i8>, Vec<f32>),
    keys: (Vec<i8>, Vec<f32>),
    values: (Vec<i8>, Vec<f32>),
}

impl Case {
    pub fn draw(shape: Shape, seed: u64) -> Case {
        let Shape { heads, kv_heads, d, m, capacity, .. } = shape;
        let mut random = Random::new(seed);
        let mut levels = |n: usize| (0..n).map(|_| random.below(255) as i8).collect::<Vec<_>>();
        let (q, keys, values) = (
            levels(m * heads * d),
            levels(kv_heads * capacity * d),
            levels(kv_heads * capacity * d),
        );
        let mut scales =
            |n: usize| (0..n).map(|_| (0.005 + 0.02 * random.unit()) as f32).collect::<Vec<_>>();
        Case {
            shape,
            q: (q, scales(m * heads * d / GROUP)),
            keys: (keys, scales(kv_heads * capacity * d / GROUP)),
            values: (values, scales(kv_heads * capacity)),
        }
    }

    /// Token `i` alone, behind those before it.
    fn alone(&self, i: usize) -> Case {
        let Shape { heads, d, past, .. } = self.shape;
        let row = heads * d;
        let q = (
            self.q.0[i * row..][..row].to_vec(),
            self.q.1[i * row / GROUP..][..row / GROUP].to_vec(),
        );
        Case { shape: Shape { past: past + i, m: 1, ..self.shape }, q, ..self.clone() }
    }

    /// With values so small that what comes out is not quantised.
    pub fn tiny(mut self) -> Case {
        self.values.1.fill(1e-37);
        self
    }

    fn scale(&self) -> f32 {
        1.0 / (self.shape.d as f32).sqrt()
    }

    /// Both kernels; positions that are not there yet were never written.
    pub fn run(
        &self,
        module: &Module,
        stride: usize,
    ) -> Result<(Quantized, [Counts; 2]), Box<Fault>> {
        let Shape { heads, kv_heads, d, past, m, capacity } = self.shape;
        let splits = (past + m).div_ceil(SPLIT);
        let mut memory = Memory::default();
        let (q, q_scales) = (memory.input("q", &self.q.0), memory.input("q_scales", &self.q.1));
        let keys = memory.output::<i8>("keys", self.keys.0.len());
        let key_scales = memory.output::<f32>("key_scales", self.keys.1.len());
        let values = memory.output::<i8>("values", self.values.0.len());
        let value_scales = memory.output::<f32>("value_scales", self.values.1.len());
        for head in 0..kv_heads {
            let (first, n) = (head * capacity, past + m);
            memory.write(keys.offset((first * d) as u64), &self.keys.0[first * d..][..n * d]);
            memory.write(
                key_scales.offset((4 * first * d / GROUP) as u64),
                &self.keys.1[first * d / GROUP..][..n * d / GROUP],
            );
            memory.write(values.offset((first * d) as u64), &self.values.0[first * d..][..n * d]);
            memory.write(value_scales.offset(4 * first as u64), &self.values.1[first..][..n]);
        }
        let partial = memory.output::<f32>("partial", m * heads * splits * (d + 8));
        let mut params: Vec<Param> =
            [q, q_scales, keys, key_scales, values, value_scales, partial].map(Param::from).into();
        params.extend([kv_heads, past, capacity].map(|n| Param::from(n as u32)));
        params.push(self.scale().into());
        let grid = (splits as u32, heads as u32, m as u32);
        let kernel = module.kernel(&format!("attention_{d}")).unwrap();
        let attended =
            kernel.launch(&Launch::new(grid, 128).limit(1 << 22), &params, &mut memory)?;

        let groups = heads * d / GROUP;
        let xq = memory.output::<i8>("xq", m * heads * d);
        let (xs, xb) = (
            memory.output::<f32>("xs", groups * stride),
            memory.output::<i32>("xb", groups * stride),
        );
        let mut params: Vec<Param> = [partial, xq, xs, xb].map(Param::from).into();
        params.extend([splits, stride].map(|n| Param::from(n as u32)));
        let launch = Launch::new((heads as u32, m as u32), d as u32).limit(1 << 20);
        let joined =
            module.kernel("attention_join").unwrap().launch(&launch, &params, &mut memory)?;
        Ok(((memory.read(xq), memory.read(xs), memory.read(xb)), [attended, joined]))
    }

    /// `[m][heads · d]`, by the specification on the dequantised store.
    fn expected(&self) -> Vec<f64> {
        let Shape { heads, kv_heads, d, past, m, capacity } = self.shape;
        let mut out = vec![0f64; m * heads * d];
        let grouped = |(levels, scales): &(Vec<i8>, Vec<f32>), row: usize| -> Vec<f32> {
            (0..d)
                .map(|i| f32::from(levels[row * d + i]) * scales[row * d / GROUP + i / GROUP])
                .collect()
        };
        for head in 0..heads {
            let store = head / (heads / kv_heads) * capacity;
            let q: Vec<f32> =
                (0..m).flat_map(|token| grouped(&self.q, token * heads + head)).collect();
            let k: Vec<f32> =
                (0..past + m).flat_map(|position| grouped(&self.keys, store + position)).collect();
            let v: Vec<f32> = (0..past + m)
                .flat_map(|position| (0..d).map(move |i| (store + position, i)))
                .map(|(row, i)| f32::from(self.values.0[row * d + i]) * self.values.1[row])
                .collect();
            let attended = reference::attention(&q, &k, &v, m, past, d, self.scale());
            for token in 0..m {
                out[(token * heads + head) * d..][..d].copy_from_slice(&attended[token * d..][..d]);
            }
        }
        out
    }
}

pub const SHAPES: [Shape; 6] = [
    Shape { heads: 4, kv_heads: 2, d: 64, past: 0, m: 1, capacity: 8 },
    Shape { heads: 2, kv_heads: 1, d: 64, past: 300, m: 3, capacity: 320 },
    // The first token sees one split, the second two.
    Shape { heads: 3, kv_heads: 3, d: 128, past: 255, m: 2, capacity: 257 },
    Shape { heads: 2, kv_heads: 2, d: 64, past: 255, m: 2, capacity: 260 },
    Shape { heads: 4, kv_heads: 1, d: 128, past: 40, m: 8, capacity: 64 },
    Shape { heads: 2, kv_heads: 2, d: 64, past: 700, m: 1, capacity: 704 },
];

#[test]
fn attention_is_near_the_specification_and_the_same_in_any_batch() {
    let module = module("attention");
    for (seed, shape) in (1u64..).zip(SHAPES) {
        let Shape { heads, d, m, .. } = shape;
        let k = heads * d;
        let case = Case::draw(shape, seed);
        let ((q, scales, biases), counts) =
            case.run(&module, 8).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
        counts.iter().for_each(budget);
        let expected = case.expected();
        for token in 0..m {
            for i in 0..k {
                let (scale, value) =
                    (f64::from(scales[i / GROUP * 8 + token]), expected[token * k + i]);
                let error = (f64::from(q[token * k + i]) * scale - value).abs();
                assert!(
                    error <= 0.501 * scale,
                    "{shape:?} token {token}, {i}: {error} of {value}, scale {scale}"
                );
                let largest = expected[token * k + i / GROUP * GROUP..][..GROUP]
                    .iter()
                    .fold(0f64, |a, v| a.max(v.abs()));
                assert!(
                    (scale * 127.0 / largest - 1.0).abs() < 2e-5,
                    "{shape:?} token {token}, {i}: {scale} for {largest}"
                );
            }
            for group in 0..k / GROUP {
                let sum: i32 =
                    q[token * k + group * GROUP..][..GROUP].iter().map(|q| i32::from(*q)).sum();
                assert_eq!(biases[group * 8 + token], -8 * sum);
            }
            let ((alone_q, alone_scales, _), _) =
                case.alone(token).run(&module, 1).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(q[token * k..][..k], alone_q, "{shape:?} token {token}");
            let own: Vec<f32> = scales.iter().skip(token).step_by(8).copied().collect();
            assert_eq!(bits(&own), bits(&alone_scales), "{shape:?} token {token}");
        }
    }
}

/// Runs `rope_append` on drawn projections; returns queries and store (levels, then scales), and
/// what was drawn.
pub struct Appended {
    pub q: (Vec<i8>, Vec<f32>),
    pub keys: (Vec<i8>, Vec<f32>),
    pub values: (Vec<i8>, Vec<f32>),
    pub counts: Counts,
    qkv: Vec<f32>,
    cos_sin: Vec<f32>,
}

/// `special`: heads of the first token that are zeros but for their first element.
pub fn append(
    module: &Module,
    shape: Shape,
    seed: u64,
    special: &[f32],
) -> Result<Appended, Box<Fault>> {
    let Shape { heads, kv_heads, d, past, m, capacity } = shape;
    let mut random = Random::new(seed);
    let mut qkv: Vec<f32> = (0..m * (heads + 2 * kv_heads) * d).map(|_| random.normal()).collect();
    // A key and a value of zeros.
    qkv[heads * d..][..d].fill(0.0);
    qkv[(heads + kv_heads) * d..][..d].fill(0.0);
    for (head, value) in special.iter().enumerate() {
        qkv[head * d..][..d].fill(0.0);
        qkv[head * d] = *value;
    }
    let angle =
        |position: usize, pair: usize| position as f64 * 1e4f64.powf(-2.0 * pair as f64 / d as f64);
    let angles =
        (0..past + m).flat_map(|position| (0..d / 2).map(move |pair| angle(position, pair)));
    let cos_sin: Vec<f32> =
        angles.flat_map(|angle| [angle.cos() as f32, angle.sin() as f32]).collect();
    let mut memory = Memory::default();
    let inputs = [memory.input("qkv", &qkv), memory.input("cos_sin", &cos_sin)];
    let mut store = |name: &str, levels: usize, scales: usize| -> (Ptr, Ptr) {
        // A pattern shows what was left alone.
        (
            memory.inout(name, &vec![77i8; levels]),
            memory.inout(&format!("{name}_scales"), &vec![77f32; scales]),
        )
    };
    let rows = kv_heads * capacity;
    let (q, keys, values) = (
        store("q", m * heads * d, m * heads * d / GROUP),
        store("keys", rows * d, rows * d / GROUP),
        store("values", rows * d, rows),
    );
    let mut params: Vec<Param> = inputs
        .into_iter()
        .chain([q.0, q.1, keys.0, keys.1, values.0, values.1])
        .map(Param::from)
        .collect();
    params.extend([heads, kv_heads, d, past, capacity].map(|n| Param::from(n as u32)));
    let launch = Launch::new((m as u32, (heads + 2 * kv_heads) as u32), 32).limit(1 << 20);
    let counts = module.kernel("rope_append").unwrap().launch(&launch, &params, &mut memory)?;
    let read = |(levels, scales): (Ptr, Ptr)| (memory.read(levels), memory.read(scales));
    Ok(Appended { q: read(q), keys: read(keys), values: read(values), counts, qkv, cos_sin })
}

#[test]
fn rotated_keys_and_values_are_appended_and_the_rest_is_left_alone() {
    let module = module("attention");
    for (seed, shape) in (1u64..).zip([
        Shape { heads: 4, kv_heads: 2, d: 64, past: 0, m: 1, capacity: 3 },
        Shape { heads: 2, kv_heads: 1, d: 128, past: 5, m: 3, capacity: 9 },
        Shape { heads: 3, kv_heads: 3, d: 64, past: 11, m: 8, capacity: 19 },
    ]) {
        let Shape { heads, kv_heads, d, past, m, capacity } = shape;
        let got = append(&module, shape, seed, &[]).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
        budget(&got.counts);
        let of = |token: usize, head: usize| {
            &got.qkv[(token * (heads + 2 * kv_heads) + head) * d..][..d]
        };
        let rotated = |token: usize, head: usize| -> Vec<f32> {
            let (x, half) = (of(token, head), d / 2);
            let cs = |pair: usize| {
                let at = 2 * ((past + token) * half + pair);
                (f64::from(got.cos_sin[at]), f64::from(got.cos_sin[at + 1]))
            };
            let turn = |i: usize| {
                let ((cos, sin), a, b) =
                    (cs(i % half), f64::from(x[i % half]), f64::from(x[i % half + half]));
                if i < half { a * cos - b * sin } else { b * cos + a * sin }
            };
            (0..d).map(|i| turn(i) as f32).collect()
        };
        // Levels may differ by one where the last bit of a rotation decides.
        let near = |levels: &[i8],
                    scales: &[f32],
                    (expected, expected_scales): (Vec<i8>, Vec<f32>)| {
            assert!(levels.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1), "{shape:?}");
            assert!(levels.iter().zip(&expected).filter(|(a, b)| a != b).count() <= 1, "{shape:?}");
            assert!(
                scales.iter().zip(&expected_scales).all(|(a, b)| (a - b).abs() <= 1e-6 * b),
                "{shape:?}"
            );
        };
        let mut untouched = vec![true; kv_heads * capacity];
        for token in 0..m {
            for head in 0..heads {
                let row = token * heads + head;
                near(
                    &got.q.0[row * d..][..d],
                    &got.q.1[row * d / GROUP..][..d / GROUP],
                    reference::quantize_key(&rotated(token, head)),
                );
            }
            for head in 0..kv_heads {
                let row = head * capacity + past + token;
                untouched[row] = false;
                let key = reference::quantize_key(&rotated(token, heads + head));
                near(&got.keys.0[row * d..][..d], &got.keys.1[row * d / GROUP..][..d / GROUP], key);
                let (levels, scale) = reference::quantize_value(of(token, heads + kv_heads + head));
                assert_eq!(
                    (&got.values.0[row * d..][..d], got.values.1[row].to_bits()),
                    (levels.as_slice(), scale.to_bits())
                );
            }
        }
        for row in (0..untouched.len()).filter(|row| untouched[*row]) {
            assert!(
                got.keys.0[row * d..][..d]
                    .iter()
                    .chain(&got.values.0[row * d..][..d])
                    .all(|level| *level == 77),
                "row {row}"
            );
        }
    }
}
