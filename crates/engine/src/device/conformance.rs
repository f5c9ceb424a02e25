//! What every device must do: each operation against plain scalar code, at odd sizes, in both
//! precisions and with every type of keys and values; a pass that is cancelled and goes on, warm
//! caches, shared ones, routes. For a new device: call [`check`] in a test of it, with what loads a model.

use std::collections::BTreeMap;

use half::f16;
use lacuna_kernels::reference;
use lacuna_model::{
    AttentionSpec, BlockSpec, FAMILIES, Head, Int4Parts, LoadError, MlpSpec, ModelSpec, Role,
    RopeScaling, RopeSpec, TensorSpec, WeightSource,
};

use super::{Device, KeysValues, KvDtype, Precision, States, log_sum_exp, top};
use crate::cancel::Cancel;
use crate::pass::{Pass, Stops};
use crate::route::{All, Route, Router};

/// How far a device may be from the scalar code, as relative L2 error of the logits.
pub(crate) struct Bounds {
    /// f32 weights with f32 keys and values.
    pub(crate) f32: f64,
    /// What INT4 weights add.
    pub(crate) int4: f64,
    /// What f16 and INT8 keys and values add.
    pub(crate) f16: f64,
    pub(crate) int8: f64,
    /// Between a batch at once and the same tokens in several, with f32 keys and values.
    pub(crate) cut: f64,
}

/// Panics: the device does not conform.
pub(crate) fn check<D: Device>(
    bounds: &Bounds,
    load: impl Fn(&ModelSpec, &mut dyn WeightSource, Precision) -> Result<D, LoadError>,
) {
    let mut n_cases = 0;
    for (seed, spec) in specs().into_iter().enumerate() {
        let mut weights = Drawn::new(&spec, seed as u64);
        for precision in [Precision::F32, Precision::Int4] {
            let device = load(&spec, &mut weights, precision).expect("the weights are there");
            assert_eq!(device.layers(), spec.layers());
            assert!(device.bytes() > 0);
            for dtype in KvDtype::ALL {
                let of_weights = if precision == Precision::Int4 { bounds.int4 } else { 0.0 };
                let of_kv = match dtype {
                    KvDtype::F32 => 0.0,
                    KvDtype::F16 => bounds.f16,
                    KvDtype::Int8 => bounds.int8,
                };
                let case = Case {
                    device: &device,
                    spec: &spec,
                    weights: &weights,
                    dtype,
                    bound: bounds.f32 + of_weights + of_kv,
                    cut: bounds.cut + of_kv,
                    name: format!("{precision:?} {dtype} {:?}", spec.blocks[0]),
                };
                case.halves();
                case.batches();
                case.shared_and_rewritten();
                case.cancelled();
                case.routes();
                n_cases += 1;
            }
        }
    }
    assert!(n_cases > 20, "{n_cases} cases");
}

/// Shapes that share no factors: heads of their own and shared ones, biases, norms of heads, own
/// and tied heads, widths and vocabularies that are no multiple of anything.
fn specs() -> Vec<ModelSpec> {
    let shape = |heads, kv_heads, head_dim, hidden, width, n_vocab, is_rich: bool| {
        let attention = AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            qkv_bias: is_rich,
            output_bias: is_rich,
            qk_norm: is_rich,
        };
        let mlp = MlpSpec { width, bias: is_rich };
        ModelSpec {
            family: FAMILIES[0],
            n_vocab,
            hidden,
            blocks: vec![BlockSpec { attention, mlp }; 3],
            head: if is_rich { Head::Own } else { Head::Tied },
            rope: RopeSpec { theta: 10_000.0, scaling: RopeScaling::None },
            max_positions: 256,
            norm_eps: 1e-5,
            code_languages: None,
            suffix_weight: 0.0,
            confidence: None,
        }
    };
    vec![
        shape(1, 1, 8, 32, 64, 97, false),
        shape(4, 4, 8, 32, 37, 61, true),
        shape(6, 2, 6, 41, 33, 131, false),
        shape(7, 1, 10, 70, 95, 67, true),
    ]
}

/// Weights on the grid of INT4, so that both precisions hold the same.
struct Drawn(BTreeMap<String, Tensor>);

enum Tensor {
    /// `(q − 8) · scale`, row by row.
    Matrix {
        q: Vec<u8>,
        scale: f16,
    },
    Vector(Vec<f32>),
}

impl Drawn {
    fn new(spec: &ModelSpec, seed: u64) -> Drawn {
        let mut random = Random(seed);
        let mut draw = |tensor: &TensorSpec| match tensor.columns {
            Some(columns) => Tensor::Matrix {
                q: (0..tensor.elements()).map(|_| random.below(16) as u8).collect(),
                // Sums over a row keep the size of what is summed.
                scale: f16::from_f32((1.0 / columns as f32).sqrt() / 4.6),
            },
            None => {
                let from = if tensor.is_bias { -0.5 } else { 0.5 };
                let value = |_| from + random.below(1000) as f32 / 1000.0;
                Tensor::Vector((0..tensor.rows).map(value).collect())
            }
        };
        Drawn(spec.tensors().iter().map(|tensor| (tensor.name.clone(), draw(tensor))).collect())
    }

    fn values(&self, name: &str) -> Vec<f32> {
        match &self.0[name] {
            Tensor::Vector(values) => values.clone(),
            Tensor::Matrix { q, scale } => {
                q.iter().map(|q| (f32::from(*q) - 8.0) * scale.to_f32()).collect()
            }
        }
    }
}

impl WeightSource for Drawn {
    fn file(&self) -> &str {
        "drawn weights"
    }

    fn expect(&self, tensor: &TensorSpec) -> Result<(), LoadError> {
        assert!(self.0.contains_key(&tensor.name), "{tensor:?}");
        Ok(())
    }

    fn append_values(&mut self, tensor: &TensorSpec, out: &mut Vec<f32>) -> Result<(), LoadError> {
        out.extend(self.values(&tensor.name));
        Ok(())
    }

    fn append_int4(&mut self, matrix: &TensorSpec, out: &mut Int4Parts) -> Result<bool, LoadError> {
        let columns = matrix.columns.expect("a matrix");
        let Tensor::Matrix { q, scale } = &self.0[&matrix.name] else { panic!("{matrix:?}") };
        for row in q.chunks_exact(columns) {
            let pair = |pair: &[u8]| pair[0] | pair.get(1).copied().unwrap_or(8) << 4;
            out.nibbles.extend(row.chunks(2).map(pair));
            out.scales.extend(row.chunks(32).map(|_| *scale));
        }
        Ok(true)
    }

    fn finish(&mut self, _: &ModelSpec) -> Result<(), LoadError> {
        Ok(())
    }
}

/// A device with a model, and the same model in scalar code.
struct Case<'a, D> {
    device: &'a D,
    spec: &'a ModelSpec,
    weights: &'a Drawn,
    dtype: KvDtype,
    bound: f64,
    cut: f64,
    name: String,
}

/// Tokens of a sequence from a position on.
type Tokens<'a> = (usize, &'a [u32]);

impl<D: Device> Case<'_, D> {
    /// Embedding and head, then one half of a layer between them.
    fn halves(&self) {
        for n in [1, 17] {
            let ids = self.ids(n as u64, n);
            let (mut x, mut buffers) = (D::States::default(), D::Buffers::default());
            self.device.embed(&ids, &mut x).expect("there is room");
            assert_eq!(x.rows(), n);
            let logits = self.head(&x, &mut buffers);
            self.near(&logits, &self.reference(&ids, |_| false), "embedding and head");
            for logits in logits.chunks_exact(self.spec.n_vocab) {
                let sum: f64 = logits.iter().map(|v| f64::from(*v).exp()).sum();
                let best = top(logits);
                assert!((f64::from(log_sum_exp(logits)) - sum.ln()).abs() < 1e-4);
                assert!((f64::from(best.log_sum_exp) - sum.ln()).abs() < 1e-4);
                assert!(logits.iter().all(|logit| *logit <= best.logit));
            }
            self.device.feed_forward_half(0, &mut x, &mut buffers).expect("there is room");
            let got = self.head(&x, &mut buffers);
            self.near(&got, &self.reference(&ids, |half| half == 1), "feed-forward half");
            let mut kv = self.kv();
            let got = self.up_to(1, &mut [&mut kv], &[(0, &ids)]);
            self.near(&got, &self.reference(&ids, |half| half == 0), "attention half");
            assert!(kv.dtype() == self.dtype && kv.bytes() > 0);
        }
    }

    /// Several sequences in one batch, warm and cold, and tokens that do not stand side by side.
    fn batches(&self) {
        let (long, short) = (self.ids(3, 22), self.ids(4, 1));
        let (mut a, mut b, mut cold) = (self.kv(), self.kv(), self.kv());
        self.all(&mut [&mut a], &[(0, &long[..5])]);
        let got = self.all(&mut [&mut a, &mut b], &[(5, &long[5..]), (0, &short)]);
        let n_vocab = self.spec.n_vocab;
        let expected = self.reference(&long, |_| true);
        self.near(&got[..17 * n_vocab], &expected[5 * n_vocab..], "17 rows behind 5");
        self.near(&got[17 * n_vocab..], &self.reference(&short, |_| true), "a row beside them");
        let at_once = self.all(&mut [&mut cold], &[(0, &long)]);
        self.same(&got[..17 * n_vocab], &at_once[5 * n_vocab..], "warm and cold");
        let mut one_by_one = self.kv();
        for (i, id) in long.iter().enumerate() {
            let got = self.all(&mut [&mut one_by_one], &[(i, &[*id])]);
            self.same(&got, &at_once[i * n_vocab..][..n_vocab], "one by one");
        }
        let scattered = [1, 2, 9, 21];
        let mut pass = Pass::<D>::default();
        pass.begin(Stops::Layers).push(0, scattered.iter().map(|at| (*at, long[*at])));
        let buffers = &mut D::Buffers::default();
        let run =
            pass.run(self.device, &mut [&mut cold], &Route::default(), &Cancel::new(), buffers);
        run.expect("nobody cancels");
        let got = self.head(&pass.x, buffers);
        for (got, at) in got.chunks_exact(n_vocab).zip(scattered) {
            self.same(got, &at_once[at * n_vocab..][..n_vocab], "scattered");
        }
        // What a caller keeps of the states.
        let mut kept = D::States::default();
        for row in [3, 0] {
            kept.push(&pass.x, row).expect("there is room");
        }
        pass.x.truncate(1);
        let both = self.head(&kept, buffers);
        self.same(&both[..n_vocab], &at_once[21 * n_vocab..], "a kept state");
        let first = self.head(&pass.x, buffers);
        self.same(&both[n_vocab..], &first, "a state alone");
    }

    /// Copies share what was there before and nothing after; what is given up can be written anew.
    fn shared_and_rewritten(&self) {
        let (ids, other) = (self.ids(5, 17), self.ids(6, 3));
        let mut kv = self.kv();
        self.all(&mut [&mut kv], &[(0, &ids[..14])]);
        let mut copy = kv.clone();
        let on_copy = self.all(&mut [&mut copy], &[(14, &other)]);
        let on_first = self.all(&mut [&mut kv], &[(14, &ids[14..])]);
        let behind =
            |n: usize, ids: &[u32]| self.reference(ids, |_| true).split_off(n * self.spec.n_vocab);
        let joined = [&ids[..14], &other].concat();
        self.near(&on_copy, &behind(14, &joined), "the copy");
        self.near(&on_first, &behind(14, &ids), "the first");
        kv.rewrite(7);
        kv.shrink(7);
        let again = self.all(&mut [&mut kv], &[(7, &other)]);
        self.near(&again, &behind(7, &[&ids[..7], &other].concat()), "rewritten");
        kv.shrink(0);
        assert_eq!(kv.bytes(), 0);
        assert_eq!(kv.layers(), self.spec.layers());
        let (positions, bytes) = kv.block();
        assert!(positions > 0 && copy.bytes() == bytes * 17usize.div_ceil(positions));
    }

    /// Stopped before any half and taken up again, a pass computes what it would have.
    fn cancelled(&self) {
        let ids = self.ids(7, 17);
        let expected = self.all(&mut [&mut self.kv()], &[(0, &ids)]);
        for n in 0..2 * self.spec.layers() {
            let (mut pass, mut kv) = (Pass::<D>::default(), self.kv());
            let buffers = &mut D::Buffers::default();
            pass.begin(Stops::Halves).push(0, ids.iter().copied().enumerate());
            let mut run = |cancel: &Cancel, buffers: &mut D::Buffers| {
                let run = pass.run(self.device, &mut [&mut kv], &Route::default(), cancel, buffers);
                (run.is_ok(), pass.half)
            };
            assert_eq!(run(&Cancel::new().at_check(n as u32), buffers), (false, n));
            // Another pass may have used the buffers meanwhile.
            let buffers = &mut D::Buffers::default();
            assert_eq!(run(&Cancel::new(), buffers), (true, 2 * self.spec.layers()));
            assert_eq!(self.head(&pass.x, buffers), expected, "{}: half {n}", self.name);
        }
    }

    /// A route computes the model without the layers that it leaves out.
    fn routes(&self) {
        struct Without<'a>(&'a [usize]);
        impl Router for Without<'_> {
            fn decide(&self, layer: usize, _: &[u32]) -> bool {
                !self.0.contains(&layer)
            }
        }
        let ids = self.ids(8, 17);
        for left_out in [&[0][..], &[1], &[0, 2], &[0, 1, 2]] {
            let route = Without(left_out).route(self.spec.layers(), &ids);
            let (mut pass, mut kv) = (Pass::<D>::default(), self.kv());
            let buffers = &mut D::Buffers::default();
            pass.begin(Stops::Halves).push(0, ids.iter().copied().enumerate());
            pass.run(self.device, &mut [&mut kv], &route, &Cancel::new(), buffers)
                .expect("nobody cancels");
            let expected = self.reference(&ids, |half| !left_out.contains(&(half / 2)));
            self.near(&self.head(&pass.x, buffers), &expected, &format!("without {left_out:?}"));
        }
    }

    fn kv(&self) -> D::Kv {
        self.device.new_kv(self.dtype, &Default::default())
    }

    fn ids(&self, seed: u64, n: usize) -> Vec<u32> {
        let mut random = Random(seed);
        (0..n).map(|_| random.below(self.spec.n_vocab) as u32).collect()
    }

    /// Logits of the tokens, one list for each sequence, after all layers.
    fn all(&self, kv: &mut [&mut D::Kv], tokens: &[Tokens]) -> Vec<f32> {
        self.up_to(2 * self.spec.layers(), kv, tokens)
    }

    /// Logits after the first halves of layers.
    fn up_to(&self, until: usize, kv: &mut [&mut D::Kv], tokens: &[Tokens]) -> Vec<f32> {
        let (mut pass, buffers) = (Pass::<D>::default(), &mut D::Buffers::default());
        let batch = pass.begin(Stops::Layers);
        for (sequence, (start, ids)) in tokens.iter().enumerate() {
            batch.push(sequence, (*start..).zip(ids.iter().copied()));
        }
        let route = All.route(self.spec.layers(), &[]);
        pass.advance(self.device, kv, &route, until, &Cancel::new(), buffers)
            .expect("nobody cancels");
        self.head(&pass.x, buffers)
    }

    fn head(&self, x: &D::States, buffers: &mut D::Buffers) -> Vec<f32> {
        let mut logits = vec![0.0; x.rows() * self.spec.n_vocab];
        self.device.head(x, 0..x.rows(), &mut logits, buffers).expect("there is room");
        logits
    }

    fn near(&self, got: &[f32], expected: &[f32], what: &str) {
        let error = relative_l2(got, expected);
        assert!(error <= self.bound, "{}: {what}: {error:.2e} > {:.2e}", self.name, self.bound);
    }

    fn same(&self, got: &[f32], expected: &[f32], what: &str) {
        let error = relative_l2(got, expected);
        assert!(error <= self.cut, "{}: {what}: {error:.2e} > {:.2e}", self.name, self.cut);
    }

    /// Logits of the tokens of one sequence in scalar code, through the halves of layers that are
    /// taken.
    fn reference(&self, ids: &[u32], takes: impl Fn(usize) -> bool) -> Vec<f32> {
        let table = self.weight(Role::Embedding, None);
        let d = self.spec.hidden;
        let mut x: Vec<f32> =
            ids.iter().flat_map(|id| &table[*id as usize * d..][..d]).copied().collect();
        for layer in 0..self.spec.layers() {
            if takes(2 * layer) {
                self.reference_attention(layer, &mut x);
            }
            if takes(2 * layer + 1) {
                let normed = self.reference_norm(Role::MlpNorm, Some(layer), &x);
                let gate = self.reference_product(Role::Gate, layer, &normed);
                let up = self.reference_product(Role::Up, layer, &normed);
                let inner = narrow(reference::silu_mul(&gate, &up));
                add(&mut x, &self.reference_product(Role::Down, layer, &inner));
            }
        }
        let normed = self.reference_norm(Role::FinalNorm, None, &x);
        let head = match self.spec.head {
            Head::Tied => table,
            Head::Own => self.weight(Role::Head, None),
        };
        narrow(reference::matmul_f32(self.spec.n_vocab, d, &head, ids.len(), &normed))
    }

    fn reference_attention(&self, layer: usize, x: &mut [f32]) {
        let AttentionSpec { heads, kv_heads, head_dim: d, qk_norm, .. } = *self.spec.attention();
        let n = x.len() / self.spec.hidden;
        let normed = self.reference_norm(Role::AttentionNorm, Some(layer), x);
        let project = |role, norm, heads| {
            let rows = self.reference_product(role, layer, &normed);
            let rows = match norm {
                Some(role) if qk_norm => self.reference_norm(role, Some(layer), &rows),
                _ => rows,
            };
            let rotated = if norm.is_some() { self.rotated(rows, heads) } else { rows };
            by_head(&rotated, heads, d)
        };
        let q = project(Role::Query, Some(Role::QueryNorm), heads);
        let k = project(Role::Key, Some(Role::KeyNorm), kv_heads);
        let v = project(Role::Value, None, kv_heads);
        let mut attended = vec![0f32; n * heads * d];
        for (head, q) in q.iter().enumerate() {
            let shared = head / (heads / kv_heads);
            let scale = 1.0 / (d as f32).sqrt();
            let out = reference::attention(q, &k[shared], &v[shared], n, 0, d, scale);
            for (i, out) in out.chunks_exact(d).enumerate() {
                let place = &mut attended[(i * heads + head) * d..][..d];
                place.copy_from_slice(&narrow(out.to_vec()));
            }
        }
        add(x, &self.reference_product(Role::Output, layer, &attended));
    }

    /// Rows of heads turned by their positions, from 0 on.
    fn rotated(&self, mut rows: Vec<f32>, heads: usize) -> Vec<f32> {
        let d = self.spec.attention().head_dim;
        let frequencies = self.spec.rope.inverse_frequencies(d);
        for (i, head) in rows.chunks_exact_mut(d).enumerate() {
            let (a, b) = head.split_at_mut(d / 2);
            for ((a, b), frequency) in a.iter_mut().zip(b).zip(&frequencies) {
                let (sin, cos) = (f64::from(*frequency) * (i / heads) as f64).sin_cos();
                let (x, y) = (f64::from(*a), f64::from(*b));
                (*a, *b) = ((x * cos - y * sin) as f32, (y * cos + x * sin) as f32);
            }
        }
        rows
    }

    /// RMSNorm of rows as wide as the weight.
    fn reference_norm(&self, role: Role, layer: Option<usize>, x: &[f32]) -> Vec<f32> {
        let weight = self.weight(role, layer);
        let norm = |row| narrow(reference::rms_norm(row, &weight, self.spec.norm_eps));
        x.chunks_exact(weight.len()).flat_map(norm).collect()
    }

    fn reference_product(&self, role: Role, layer: usize, x: &[f32]) -> Vec<f32> {
        let is_it = |t: &&TensorSpec| (t.role, t.layer) == (role, Some(layer));
        let tensors = self.spec.tensors();
        let parts: Vec<&TensorSpec> = tensors.iter().filter(is_it).collect();
        let (n, k) = (parts[0].rows, parts[0].columns.expect("a matrix"));
        let weight = self.weights.values(&parts[0].name);
        let mut y = narrow(reference::matmul_f32(n, k, &weight, x.len() / k, x));
        if let Some(bias) = parts.get(1) {
            let bias = self.weights.values(&bias.name);
            y.chunks_exact_mut(n).for_each(|y| add(y, &bias));
        }
        y
    }

    fn weight(&self, role: Role, layer: Option<usize>) -> Vec<f32> {
        self.weights.values(&format!("{}.weight", role.module(layer)))
    }
}

/// `[rows, heads · d]` as `[rows, d]` of each head.
fn by_head(rows: &[f32], heads: usize, d: usize) -> Vec<Vec<f32>> {
    let of = |head: usize| rows.chunks_exact(d).skip(head).step_by(heads).flatten().copied();
    (0..heads).map(|head| of(head).collect()).collect()
}

fn narrow(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// `‖a − b‖ / ‖b‖`
fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |v: f64| v * v;
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    (error / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

/// The same draws for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}
