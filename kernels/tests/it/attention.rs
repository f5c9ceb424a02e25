//! Attention over a KV store, every row and type against the specification; what quantising costs;
//! bits, faults, undo.

use lacuna_kernels::isa::{self, Isa, Row};
use lacuna_kernels::kv::{KvDtype, KvMemory, KvStore};
use lacuna_kernels::ops::{Attention, attention_at, attention_with};
use lacuna_kernels::{reference, threads};

use crate::random::{Guarded, Random, nmse};

fn rows() -> impl Iterator<Item = &'static Row> {
    Isa::ALL.into_iter().filter_map(isa::row)
}

/// Queries, keys and values of `m` tokens after `past`.
#[derive(Clone)]
struct Case {
    heads: usize,
    kv_heads: usize,
    d: usize,
    past: usize,
    m: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Elements between the queries of two tokens that are none.
const GAP: usize = 5;

impl Case {
    fn normal(
        random: &mut Random,
        (heads, kv_heads, d): (usize, usize, usize),
        past: usize,
        m: usize,
    ) -> Case {
        let (q_stride, kv_width) = (heads * d + GAP, kv_heads * d);
        let kv = (past + m) * kv_width;
        Case {
            heads,
            kv_heads,
            d,
            past,
            m,
            q: random.normals(m * q_stride),
            k: random.normals(kv),
            v: random.normals(kv),
        }
    }

    fn store(&self, row: &'static Row, dtype: KvDtype) -> KvStore {
        let mut kv = KvStore::new(dtype, self.kv_heads, self.d);
        kv.grow(self.past + self.m);
        kv.put_many_with(row, 0, self.past + self.m, &self.k, &self.v, self.kv_heads * self.d);
        kv
    }

    fn shape(&self) -> Attention {
        Attention { heads: self.heads, past: self.past, q_stride: self.heads * self.d + GAP }
    }

    fn run(&self, row: &'static Row, kv: &KvStore) -> Vec<f32> {
        let mut out = Guarded::new(self.m * self.heads * self.d);
        attention_with(row, &self.shape(), &self.q, kv, out.inner());
        out.checked().to_vec()
    }

    /// Head by head: `reference(q, k, v, m, past, d, scale)`.
    fn want(
        &self,
        reference: impl Fn(&[f32], &[f32], &[f32], usize, usize, usize, f32) -> Vec<f64>,
    ) -> Vec<f64> {
        let d = self.d;
        let pick = |x: &[f32], stride: usize, at: usize| -> Vec<f32> {
            x.chunks(stride)
                .filter(|row| row.len() >= at + d)
                .flat_map(|row| row[at..at + d].iter().copied())
                .collect()
        };
        let mut all = vec![0f64; self.m * self.heads * d];
        for head in 0..self.heads {
            let kv_at = head / (self.heads / self.kv_heads) * d;
            let (k, v) =
                (pick(&self.k, self.kv_heads * d, kv_at), pick(&self.v, self.kv_heads * d, kv_at));
            let q = pick(&self.q, self.heads * d + GAP, head * d);
            let out = reference(&q, &k, &v, self.m, self.past, d, 1.0 / (d as f32).sqrt());
            for (token, out) in out.chunks(d).enumerate() {
                all[(token * self.heads + head) * d..][..d].copy_from_slice(out);
            }
        }
        all
    }

    /// What the store of this type is specified to give.
    fn specified(&self, dtype: KvDtype) -> Vec<f64> {
        match dtype {
            KvDtype::F32 => self.want(reference::attention),
            KvDtype::Int8 => self.want(reference::attention_int8),
            KvDtype::F16 => {
                let round =
                    |x: &[f32]| x.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
                Case { k: round(&self.k), v: round(&self.v), ..self.clone() }
                    .want(reference::attention)
            }
        }
    }
}

/// NMSE against the specification of a type. INT8: f32 and f64 may round a weight to neighbouring
/// units; the fewer the elements, the more of the output that is.
fn bound(dtype: KvDtype, d: usize) -> f64 {
    match dtype {
        KvDtype::F32 | KvDtype::F16 => 1e-10,
        KvDtype::Int8 if d < 32 => 1e-4,
        KvDtype::Int8 => 1e-5,
    }
}

#[test]
fn attention_equals_the_specification_on_every_row_in_every_type() {
    let mut random = Random::new();
    let shapes = [
        (1, 1, 1),
        (1, 1, 2),
        (4, 2, 8),
        (4, 2, 64),
        (3, 1, 40),
        (6, 2, 33),
        (7, 1, 16),
        (14, 2, 64),
        (12, 2, 128),
        (8, 1, 31),
        (2, 2, 100),
    ];
    let places = [
        (0, 1),
        (0, 2),
        (5, 1),
        (15, 1),
        (16, 1),
        (17, 3),
        (0, 33),
        (31, 65),
        (63, 1),
        (64, 1),
        (129, 7),
        (255, 2),
        (256, 1),
        (600, 5),
    ];
    let mut cases = 0;
    for shape in shapes {
        for (past, m) in places {
            let case = Case::normal(&mut random, shape, past, m);
            for dtype in KvDtype::ALL {
                let want = case.specified(dtype);
                for row in rows() {
                    let error = nmse(&case.run(row, &case.store(row, dtype)), &want);
                    assert!(
                        error <= bound(dtype, case.d),
                        "{row:?} {dtype} {shape:?} {past}+{m}: {error:.2e}"
                    );
                    cases += 1;
                }
            }
        }
    }
    assert!(cases >= shapes.len() * places.len() * 3, "{cases} cases");
}

#[test]
fn every_length_of_prefix_works() {
    let mut random = Random::new();
    let all = Case::normal(&mut random, (6, 2, 12), 0, 1023);
    for dtype in KvDtype::ALL {
        for row in rows() {
            let kv = all.store(row, dtype);
            let whole = all.run(row, &kv);
            let error = nmse(&whole, &all.specified(dtype));
            assert!(error <= bound(dtype, all.d), "{row:?} {dtype}: {error:.2e}");
            // A token at a time, each over its own prefix.
            let width = all.heads * all.d;
            for past in 0..all.m {
                let one = Case {
                    past,
                    m: 1,
                    q: all.q[past * (width + GAP)..(past + 1) * (width + GAP)].to_vec(),
                    ..all.clone()
                };
                assert_eq!(
                    one.run(row, &kv),
                    whole[past * width..(past + 1) * width],
                    "{row:?} {dtype} {past}"
                );
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_batch_or_the_threads() {
    let mut random = Random::new();
    for shape in [(4, 2, 40), (7, 1, 64), (3, 3, 16)] {
        let case = Case::normal(&mut random, shape, 900, 70);
        let width = case.heads * case.d;
        let stride = width + GAP;
        for dtype in KvDtype::ALL {
            for row in rows() {
                let kv = case.store(row, dtype);
                threads::set_threads(1);
                let together = case.run(row, &kv);
                for n_threads in [1, 2, 3, 5] {
                    threads::set_threads(n_threads);
                    for size in [1, 2, 3, 7, 32, 70] {
                        for first in (0..case.m).step_by(size) {
                            let m = size.min(case.m - first);
                            let q = case.q[first * stride..(first + m) * stride].to_vec();
                            let part = Case { past: case.past + first, m, q, ..case.clone() };
                            let want = &together[first * width..(first + m) * width];
                            assert_eq!(
                                part.run(row, &kv),
                                want,
                                "{row:?} {dtype} {shape:?} {n_threads} threads, {m} from {first}"
                            );
                        }
                    }
                }
                threads::set_threads(0);
            }
        }
    }
}

/// Relative L2 error against exact attention, the price of the type: of a store, and with queries
/// and weights exact.
fn price(case: &Case, dtype: KvDtype) -> (f64, f64) {
    let exact = case.want(reference::attention);
    let row = isa::active();
    let got = case.run(row, &case.store(row, dtype));
    let d = case.d;
    // Only keys and values rounded: what no arithmetic can win back.
    let mut rounded = case.clone();
    match dtype {
        KvDtype::F32 => {}
        KvDtype::F16 => {
            for x in rounded.k.iter_mut().chain(&mut rounded.v) {
                *x = half::f16::from_f32(*x).to_f32();
            }
        }
        KvDtype::Int8 => {
            for k in rounded.k.chunks_mut(d) {
                let (levels, scales) = reference::quantize_key(k);
                for (i, level) in levels.iter().enumerate() {
                    k[i / 2 + i % 2 * (d / 2)] = f32::from(*level) * scales[i / 32];
                }
            }
            for v in rounded.v.chunks_mut(d) {
                let (levels, scale) = reference::quantize_value(v);
                v.iter_mut().zip(levels).for_each(|(v, level)| *v = f32::from(level) * scale);
            }
        }
    }
    let stored: Vec<f32> = rounded.want(reference::attention).iter().map(|v| *v as f32).collect();
    (nmse(&got, &exact).sqrt(), nmse(&stored, &exact).sqrt())
}

/// What each type may cost on data of several kinds: relative L2 error of the output.
#[test]
fn the_price_of_a_type_is_bounded() {
    let mut random = Random::new();
    let shape = (14, 2, 64);
    let normal = Case::normal(&mut random, shape, 1000, 8);
    let mut outliers = normal.clone();
    // As in Qwen2.5: a few channels of every key, pairs of slow rotation, far from zero; the
    // queries are large there too.
    for k in outliers.k.chunks_mut(64) {
        for (channel, size) in [(30, 25.0), (31, -40.0), (62, 18.0), (63, 30.0)] {
            k[channel] += size;
        }
    }
    let mut peaked = normal.clone();
    // Each query looks for one of the keys before it.
    for (i, q) in peaked.q.chunks_mut(14 * 64 + GAP).filter(|q| q.len() >= 14 * 64).enumerate() {
        for (head, q) in q[..14 * 64].chunks_mut(64).enumerate() {
            let position = (i * 131 + head * 61) % 1000;
            let k = &peaked.k[(position * 2 + head / 7) * 64..][..64];
            q.iter_mut().zip(k).for_each(|(q, k)| *q = q.mul_add(0.5, 1.5 * k));
        }
    }
    let mut resting = normal.clone();
    // Most of the attention rests at position 0, whose value is next to nothing; early tokens, so
    // that few others share a page.
    resting.past = 40;
    resting.k.truncate(48 * 128);
    resting.v.truncate(48 * 128);
    resting.k[..128].copy_from_slice(&[4.0; 128]);
    resting.v[..128].iter_mut().for_each(|v| *v *= 0.01);
    resting.q.iter_mut().for_each(|q| *q = *q * 0.3 + 0.2);
    for (name, case, bounds) in [
        ("resting", &resting, [1e-5, 1e-3, 0.03]),
        ("normal", &normal, [1e-5, 1e-3, 0.02]),
        ("outliers", &outliers, [1e-5, 2e-2, 0.2]),
        ("peaked", &peaked, [1e-5, 1e-3, 0.02]),
    ] {
        for (dtype, bound) in KvDtype::ALL.into_iter().zip(bounds) {
            let (error, of_storing) = price(case, dtype);
            println!(
                "{name:9} {dtype:5} relative L2 error {error:.2e}, of which storing alone {of_storing:.2e}"
            );
            assert!(error <= bound, "{name} {dtype}: {error:.2e} > {bound:.0e}");
        }
    }
}

#[test]
fn a_fault_reaches_those_who_see_it_and_nobody_else() {
    let mut random = Random::new();
    let (heads, kv_heads, d, past, m) = (4, 2, 40, 300, 20);
    let case = Case::normal(&mut random, (heads, kv_heads, d), past, m);
    for dtype in KvDtype::ALL {
        for row in rows() {
            let sound = case.run(row, &case.store(row, dtype));
            for fault in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                // A query: token 3, head 1.
                let mut faulty = case.clone();
                faulty.q[3 * (heads * d + GAP) + d + 7] = fault;
                check(&faulty.run(row, &case.store(row, dtype)), &sound, d, |head| {
                    head == 3 * heads + 1
                });
                // Key or value of head 1 at position 310, seen by the query heads 2 and 3 from
                // token 10 on.
                for values in [false, true] {
                    let mut faulty = case.clone();
                    let place = (310 * kv_heads + 1) * d + 39;
                    if values {
                        faulty.v[place] = fault
                    } else {
                        faulty.k[place] = fault
                    }
                    let out = faulty.run(row, &faulty.store(row, dtype));
                    check(&out, &sound, d, |head| head / heads >= 10 && head % heads >= 2);
                }
            }
        }
    }
}

/// Heads of tokens for which `broken` is true are NaN, the others have the bits of `sound`.
fn check(out: &[f32], sound: &[f32], d: usize, broken: impl Fn(usize) -> bool) {
    let mut n_broken = 0;
    for (head, (out, sound)) in out.chunks(d).zip(sound.chunks(d)).enumerate() {
        if broken(head) {
            assert!(out.iter().all(|v| v.is_nan()), "head {head} should be NaN");
            n_broken += 1;
        } else {
            assert_eq!(out, sound, "head {head}");
        }
    }
    assert!(n_broken > 0);
}

#[test]
fn extremes_are_no_faults() {
    for dtype in KvDtype::ALL {
        for row in rows() {
            let run = |q: f32, k: f32, v: f32| {
                let (heads, kv_heads, d, past, m) = (2, 1, 16, 70, 1);
                let n = (past + m) * d;
                let case = Case {
                    heads,
                    kv_heads,
                    d,
                    past,
                    m,
                    q: vec![q; m * (2 * d + GAP)],
                    k: vec![k; n],
                    v: vec![v; n],
                };
                case.run(row, &case.store(row, dtype))
            };
            assert_eq!(run(0.0, 0.0, 0.0), [0.0; 32], "{row:?} {dtype}: zeros");
            for (q, k, v) in [
                (1e-20, 1e-20, 1.0),
                (100.0, 100.0, 1.0),
                (100.0, -100.0, -1000.0),
                (0.0, 3.0, 60_000.0),
                (1.0, 1.0, 1e-4),
            ] {
                let out = run(q, k, v);
                assert!(
                    out.iter().all(|o| (o - v).abs() <= v.abs() * 2e-3),
                    "{row:?} {dtype}: q {q} k {k} v {v} gives {}",
                    out[0]
                );
            }
            // Beyond f16 is a fault there, and only there.
            assert_eq!(run(1.0, 1.0, 1e6)[0].is_nan(), dtype == KvDtype::F16, "{row:?} {dtype}");
        }
    }
}

#[test]
fn rows_store_the_same_bits() {
    let mut random = Random::new();
    let case = Case::normal(&mut random, (2, 2, 44), 90, 3);
    for dtype in KvDtype::ALL {
        let by_scalar = case
            .run(isa::active(), &case.store(isa::row(Isa::Scalar).expect("always there"), dtype));
        for row in rows() {
            assert_eq!(
                case.run(isa::active(), &case.store(row, dtype)),
                by_scalar,
                "{row:?} {dtype}"
            );
        }
    }
}

#[test]
fn a_clone_keeps_what_the_other_overwrites_and_growing_keeps_it_too() {
    let mut random = Random::new();
    let (total, width) = (1100, 2 * 24);
    let case = Case::normal(&mut random, (4, 2, 24), total - 1, 1);
    for dtype in KvDtype::ALL {
        let row = isa::active();
        let store = case.store(row, dtype);
        let before = case.run(row, &store);
        for start in [0, 1, 63, 64, 500, 511, 512, 600, total - 1, total] {
            for prepared in [false, true] {
                let mut other = store.clone();
                if prepared {
                    other.rewrite(start);
                }
                let n = total - start + 1;
                let noise = random.normals(n * width);
                other.grow(3000);
                other.put_many(start, n, &noise, &noise, width);
                assert!(
                    start == total || case.run(row, &other) != before,
                    "{dtype} from {start}: nothing was written"
                );
                assert_eq!(case.run(row, &store), before, "{dtype} from {start}");
                // What stands before the first written position is the same in both.
                if start > 0 {
                    let short = Case { past: start - 1, ..case.clone() };
                    assert_eq!(
                        short.run(row, &other),
                        short.run(row, &store),
                        "{dtype} before {start}"
                    );
                }
            }
        }
        let mut one_by_one = KvStore::new(dtype, 2, 24);
        let mut sizes = vec![];
        for (position, (k, v)) in case.k.chunks(width).zip(case.v.chunks(width)).enumerate() {
            one_by_one.grow(position + 1);
            one_by_one.put(position, k, v);
            sizes.push(one_by_one.bytes());
        }
        assert_eq!(case.run(row, &one_by_one), before, "{dtype} one by one");
        sizes.dedup();
        assert!(sizes.len() <= 3, "{dtype}: memory in steps, {sizes:?}");
    }
}

#[test]
fn memory_counts_a_shared_block_once() {
    let memory = KvMemory::default();
    let mut a = KvStore::counted(KvDtype::Int8, 1, 8, &memory);
    a.grow(1025);
    let (block, positions) = a.block_size();
    assert_eq!((memory.bytes(), a.bytes(), a.tokens()), (3 * block, 3 * block, 3 * positions));
    let mut b = a.clone();
    assert_eq!((memory.bytes(), b.bytes()), (3 * block, 3 * block));
    b.put(600, &[1.0; 8], &[1.0; 8]);
    assert_eq!(memory.bytes(), 4 * block, "the middle block was copied");
    b.shrink(512);
    assert_eq!((memory.bytes(), b.tokens()), (3 * block, 512));
    drop(a);
    assert_eq!(memory.bytes(), block);
    drop(b);
    assert_eq!(memory.bytes(), 0);
}

#[test]
fn what_is_read_back_is_what_the_type_holds_and_stores_the_same_again() {
    let mut random = Random::new();
    for d in [1, 2, 5, 24, 44, 64, 128] {
        let case = Case::normal(&mut random, (2, 2, d), 130, 1);
        let (width, row) = (2 * d, isa::active());
        for dtype in KvDtype::ALL {
            let store = case.store(row, dtype);
            let mut again = KvStore::new(dtype, 2, d);
            again.grow(131);
            let (mut k, mut v) = (vec![0f32; width], vec![0f32; width]);
            for position in 0..131 {
                store.read(position, &mut k, &mut v);
                let bound = match dtype {
                    KvDtype::F32 => 0.0,
                    KvDtype::F16 => 1e-3,
                    KvDtype::Int8 => 0.5 / 127.0 + 1e-6,
                };
                for (got, want) in [(&k, &case.k), (&v, &case.v)] {
                    let want = &want[position * width..][..width];
                    let largest = want.iter().fold(0f32, |a, x| a.max(x.abs()));
                    for (got, want) in got.iter().zip(want) {
                        assert!(
                            (got - want).abs() <= bound * largest,
                            "{dtype} d {d} position {position}: {got} for {want}"
                        );
                    }
                }
                again.put(position, &k, &v);
            }
            let (a, b) = (case.run(row, &again), case.run(row, &store));
            let error = nmse(&a, &b.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
            assert!(error <= 1e-12, "{dtype} d {d}: {error:e}");
        }
    }
}

#[test]
fn scattered_tokens_have_the_bits_of_those_in_line() {
    let mut random = Random::new();
    let m = 70;
    let case = Case::normal(&mut random, (4, 2, 24), 530, m);
    for dtype in KvDtype::ALL {
        let kv = case.store(isa::active(), dtype);
        let (width, stride) = (4 * 24, 4 * 24 + GAP);
        let all = case.run(isa::active(), &kv);
        for step in [1, 2, 9, 33, 69] {
            let tokens: Vec<usize> = (0..m).step_by(step).collect();
            let positions: Vec<usize> = tokens.iter().map(|t| 530 + t).collect();
            let q: Vec<f32> = tokens
                .iter()
                .flat_map(|t| case.q[t * stride..(t + 1) * stride].iter().copied())
                .collect();
            let mut out = vec![0f32; tokens.len() * width];
            attention_at(&case.shape(), &positions, &q, &kv, &mut out);
            for (token, out) in tokens.iter().zip(out.chunks(width)) {
                assert_eq!(
                    out,
                    &all[token * width..(token + 1) * width],
                    "{dtype} every {step}, token {token}"
                );
            }
        }
    }
}

#[test]
#[should_panic(expected = "in room for 512")]
fn a_position_without_room_is_refused() {
    let mut kv = KvStore::new(KvDtype::Int8, 1, 4);
    kv.grow(1);
    kv.put(512, &[0.0; 4], &[0.0; 4]);
}
