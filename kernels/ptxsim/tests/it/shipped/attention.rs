//! `attention.cu`: keys and values come into the store, queries are attended over it.

use half::f16;
use lacuna_kernels::cuda::launch::{self, HeadNorms, Heads, Inputs, Places, Queries, Splits};
use lacuna_kernels::cuda::store::{BLOCK, Layout};
use lacuna_kernels::cuda::weights::padded;
use lacuna_kernels::cuda::{GpuError, Room, View};
use lacuna_kernels::kv::KvDtype;
use lacuna_kernels::reference;

use super::activations::Quantized;
use super::{Bench, relative_l2};
use crate::random::Random;

const GROUP: usize = 32;
/// Layers of a block; what happens is in the last one.
const LAYERS: usize = 2;

/// Heads, and how many positions each sequence has.
#[derive(Clone, Debug)]
pub struct Shape {
    pub dtype: KvDtype,
    pub heads: usize,
    pub kv_heads: usize,
    pub d: usize,
    /// The first sequences share the first block, where both have as much.
    pub lengths: Vec<usize>,
    pub has_norms: bool,
}

impl Shape {
    fn layout(&self) -> Layout {
        Layout { dtype: self.dtype, kv_heads: self.kv_heads, d: self.d }
    }

    fn stride(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.d
    }
}

/// Sequences with their store.
pub struct Case {
    pub shape: Shape,
    /// A row for each position: sequence by sequence.
    qkv: Vec<Vec<f32>>,
    norms: [Vec<f32>; 2],
    blocks: Vec<Vec<std::sync::Arc<Room>>>,
}

/// Rows on the device.
struct Uploaded {
    positions: Room,
    tables: Room,
    row_tables: Room,
    cos_sin: Room,
    qkv: Room,
    norms: [Room; 2],
    m: usize,
    last: usize,
}

impl Uploaded {
    fn places(&self) -> Places {
        Places {
            m: self.m,
            last: self.last,
            positions: self.positions.view(),
            tables: self.tables.view(),
            row_tables: self.row_tables.view(),
        }
    }
}

fn angle(position: usize, pair: usize, d: usize) -> f64 {
    position as f64 * 1e4f64.powf(-2.0 * pair as f64 / d as f64)
}

impl Case {
    pub fn draw(bench: &Bench, shape: &Shape, seed: u64) -> Case {
        let mut random = Random::new(seed);
        let mut row = |n: usize| (0..n).map(|_| random.normal()).collect::<Vec<f32>>();
        let qkv = shape.lengths.iter().map(|length| row(length * shape.stride())).collect();
        let norms = [row(shape.d), row(shape.d)];
        let bytes = LAYERS * shape.layout().layer_bytes();
        let blocks = shape
            .lengths
            .iter()
            .map(|length| {
                let block = |_| std::sync::Arc::new(Room::new(&bench.gpu, bytes).expect("room"));
                (0..length.div_ceil(BLOCK)).map(block).collect()
            })
            .collect();
        Case { shape: shape.clone(), qkv, norms, blocks }
    }

    /// Heads of the first row that are zeros but for their first element.
    pub fn special(&mut self, special: &[f32]) {
        for (head, value) in special.iter().enumerate() {
            self.qkv[0][head * self.shape.d..][..self.shape.d].fill(0.0);
            self.qkv[0][head * self.shape.d] = *value;
        }
    }

    fn upload(&self, bench: &Bench, rows: &[(usize, usize)]) -> Uploaded {
        let Shape { d, .. } = self.shape;
        let stride = self.shape.stride();
        let numbers = |of: &dyn Fn(&(usize, usize)) -> u32| -> Room {
            bench.room(&rows.iter().map(of).collect::<Vec<_>>())
        };
        let starts: Vec<u32> = self
            .blocks
            .iter()
            .scan(0, |next, blocks| {
                let start = *next;
                *next += blocks.len() as u32;
                Some(start)
            })
            .collect();
        let tables: Vec<u64> =
            self.blocks.iter().flatten().map(|room| room.view().of::<u8>(1)).collect();
        let cos_sin: Vec<f32> = rows
            .iter()
            .flat_map(|(_, position)| (0..d / 2).map(|pair| angle(*position, pair, d)))
            .flat_map(|angle| [angle.cos() as f32, angle.sin() as f32])
            .collect();
        let qkv: Vec<f32> = rows
            .iter()
            .flat_map(|(sequence, position)| &self.qkv[*sequence][position * stride..][..stride])
            .copied()
            .collect();
        Uploaded {
            positions: numbers(&|(_, position)| *position as u32),
            tables: bench.room(&tables),
            row_tables: numbers(&|(sequence, _)| starts[*sequence]),
            cos_sin: bench.room(&cos_sin),
            qkv: bench.room(&qkv),
            norms: [bench.room(&self.norms[0]), bench.room(&self.norms[1])],
            m: rows.len(),
            last: rows.iter().map(|(_, position)| *position).max().expect("a row"),
        }
    }

    fn heads(&self, qkv: View) -> Heads {
        Heads {
            layout: self.shape.layout(),
            heads: self.shape.heads,
            layer: LAYERS - 1,
            qkv,
            stride: self.shape.stride(),
        }
    }

    /// Appends rows: sequence and position.
    pub fn append(&self, bench: &Bench, rows: &[(usize, usize)]) -> Result<Queries, GpuError> {
        let up = self.upload(bench, rows);
        let heads = self.heads(up.qkv.view());
        let [query, key] = match self.shape.has_norms {
            true => [up.norms[0].view(), up.norms[1].view()],
            false => [View::NONE; 2],
        };
        let mut q = Queries::default();
        q.resize(&bench.gpu, &heads, rows.len())?;
        let norms = HeadNorms { query, key, eps: 1e-5 };
        launch::rope_append(&*bench.gpu, &heads, &up.places(), up.cos_sin.view(), norms, &q)?;
        Ok(q)
    }

    /// Attention of rows that were appended, `[m][k]`.
    pub fn attend(
        &self,
        bench: &Bench,
        rows: &[(usize, usize)],
        is_int8: bool,
    ) -> Result<Inputs, GpuError> {
        self.attend_in(bench, rows, is_int8, &mut Splits::default())
    }

    fn attend_in(
        &self,
        bench: &Bench,
        rows: &[(usize, usize)],
        is_int8: bool,
        splits: &mut Splits,
    ) -> Result<Inputs, GpuError> {
        let q = self.append(bench, rows)?;
        let up = self.upload(bench, rows);
        let mut out = Inputs::default();
        out.resize(&bench.gpu, rows.len(), self.k(), is_int8)?;
        let heads = self.heads(up.qkv.view());
        launch::attention(&bench.gpu, &heads, &up.places(), &q, &out, splits)?;
        Ok(out)
    }

    pub fn k(&self) -> usize {
        padded(self.shape.heads * self.shape.d)
    }

    /// Puts drawn numbers into every place of the store, as its type has them.
    pub fn fill(&self, bench: &Bench) -> Result<(), GpuError> {
        let (layout, mut random) = (self.shape.layout(), Random::new(17));
        let head_bytes = layout.layer_bytes() / layout.kv_heads;
        let (padded, scales) = (layout.padded(), head_bytes - 2 * BLOCK * layout.padded());
        let mut unit = || (random.next() >> 40) as f32 / (1 << 24) as f32;
        for block in self.blocks.iter().flatten() {
            let layer = block.view().skip((LAYERS - 1) * layout.layer_bytes());
            for head in 0..layout.kv_heads {
                let head = layer.skip(head * head_bytes);
                match layout.dtype {
                    KvDtype::F32 => {
                        let all: Vec<f32> =
                            (0..head_bytes / 4).map(|_| 2.0 * unit() - 1.0).collect();
                        head.write(&*bench.gpu, &all)?;
                    }
                    KvDtype::F16 => {
                        let all: Vec<f16> = (0..head_bytes / 2)
                            .map(|_| f16::from_f32(2.0 * unit() - 1.0))
                            .collect();
                        head.write(&*bench.gpu, &all)?;
                    }
                    KvDtype::Int8 => {
                        let (keys, values) = (head, head.skip(BLOCK * (padded + padded / 8)));
                        for levels in [keys, values] {
                            let all: Vec<i8> = (0..BLOCK * padded)
                                .map(|_| (254.0 * unit() - 127.0) as i8)
                                .collect();
                            levels.write(&*bench.gpu, &all)?;
                        }
                        let all: Vec<f32> = (0..scales / 4).map(|_| 0.01 + 0.01 * unit()).collect();
                        let (of_keys, of_values) = all.split_at(BLOCK * padded / GROUP);
                        keys.skip(BLOCK * padded).write(&*bench.gpu, of_keys)?;
                        values.skip(BLOCK * padded).write(&*bench.gpu, of_values)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything that is stored, as bytes.
    pub fn stored(&self, bench: &Bench) -> Vec<u8> {
        let read = |room: &std::sync::Arc<Room>| bench.read::<u8>(room.view(), room.bytes());
        self.blocks.iter().flatten().flat_map(read).collect()
    }

    /// A head as it is after its norm, if it has one.
    fn normed(&self, sequence: usize, position: usize, head: usize) -> Vec<f32> {
        let Shape { heads, kv_heads, d, has_norms, .. } = self.shape;
        let x = &self.qkv[sequence][position * self.shape.stride() + head * d..][..d];
        if !has_norms || head >= heads + kv_heads {
            return x.to_vec();
        }
        let weight = &self.norms[usize::from(head >= heads)];
        reference::rms_norm(x, weight, 1e-5).iter().map(|v| *v as f32).collect()
    }

    fn rotated(&self, sequence: usize, position: usize, head: usize) -> Vec<f32> {
        let (x, d) = (self.normed(sequence, position, head), self.shape.d);
        let turn = |i: usize| {
            let (sin, cos) = angle(position, i % (d / 2), d).sin_cos();
            let (a, b) = (f64::from(x[i % (d / 2)]), f64::from(x[i % (d / 2) + d / 2]));
            if i < d / 2 { a * cos - b * sin } else { b * cos + a * sin }
        };
        (0..d).map(|i| turn(i) as f32).collect()
    }

    /// A head of the keys (or values) as the store's type holds it.
    fn held(&self, x: &[f32], is_key: bool) -> Vec<f32> {
        let d = self.shape.d;
        match self.shape.dtype {
            KvDtype::F32 => x.to_vec(),
            KvDtype::F16 => x.iter().map(|v| f16::from_f32(*v).to_f32()).collect(),
            KvDtype::Int8 if is_key => {
                let (levels, scales) = reference::quantize_key(x);
                let mut out = vec![0f32; d];
                for (i, level) in levels.iter().enumerate() {
                    out[i / 2 + i % 2 * (d / 2)] = f32::from(*level) * scales[i / GROUP];
                }
                out
            }
            KvDtype::Int8 => {
                let (levels, scale) = reference::quantize_value(x);
                levels.iter().map(|level| f32::from(*level) * scale).collect()
            }
        }
    }

    /// `[m][k]`, by the specification on the store's values.
    fn expected(&self, rows: &[(usize, usize)]) -> Vec<f64> {
        let Shape { heads, kv_heads, d, dtype, .. } = self.shape;
        let mut out = vec![0f64; rows.len() * self.k()];
        for (row, (sequence, position)) in rows.iter().enumerate() {
            for head in 0..heads {
                let shared = head / (heads / kv_heads);
                let all = |first: usize, is_key: bool| -> Vec<f32> {
                    let one = |at: usize| match is_key {
                        true => self.held(&self.rotated(*sequence, at, first + shared), true),
                        false => self.held(&self.normed(*sequence, at, first + shared), false),
                    };
                    (0..=*position).flat_map(one).collect()
                };
                let q = self.rotated(*sequence, *position, head);
                let q = if dtype == KvDtype::Int8 { self.held(&q, true) } else { q };
                let (k, v) = (all(heads, true), all(heads + kv_heads, false));
                let scale = 1.0 / (d as f32).sqrt();
                let attended = reference::attention(&q, &k, &v, 1, *position, d, scale);
                out[row * self.k() + head * d..][..d].copy_from_slice(&attended);
            }
        }
        out
    }
}

/// All positions of all sequences, but for the last `but` of each.
pub fn before(shape: &Shape, but: usize) -> Vec<(usize, usize)> {
    let of = |(sequence, length): (usize, &usize)| {
        (0..length - but).map(move |position| (sequence, position))
    };
    shape.lengths.iter().enumerate().flat_map(of).collect()
}

/// The last `n` positions of all sequences.
pub fn last(shape: &Shape, n: usize) -> Vec<(usize, usize)> {
    let of = |(sequence, length): (usize, &usize)| {
        (length - n..*length).map(move |position| (sequence, position))
    };
    shape.lengths.iter().enumerate().flat_map(of).collect()
}

pub fn shapes() -> Vec<Shape> {
    let shape = |heads, kv_heads, d, lengths: &[usize]| Shape {
        dtype: KvDtype::Int8,
        heads,
        kv_heads,
        d,
        lengths: lengths.to_vec(),
        has_norms: d % 4 == 2,
    };
    vec![
        shape(4, 2, 64, &[4]),
        shape(6, 2, 6, &[17, 3]),
        // The first token sees one split, the second two.
        shape(3, 3, 10, &[258]),
        shape(2, 1, 96, &[19, 5]),
        shape(2, 1, 256, &[12]),
        shape(4, 1, 32, &[600, 300]),
    ]
}

#[test]
fn attention_is_near_the_specification_and_the_same_in_any_batch() {
    for (seed, shape) in (1u64..).zip(shapes()) {
        for dtype in KvDtype::ALL {
            let shape = Shape { dtype, ..shape.clone() };
            let bench = Bench::default();
            let case = Case::draw(&bench, &shape, seed);
            let but = 3;
            case.append(&bench, &before(&shape, but)).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
            let (rows, k) = (last(&shape, but), case.k());
            let out =
                case.attend(&bench, &rows, false).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
            let got: Vec<f32> = bench.read(out.f32(), rows.len() * k);
            let expected = case.expected(&rows);
            let error = relative_l2(&got, &expected);
            // Where the last bit of a rotation decides, a level is another.
            let bound = if dtype == KvDtype::F32 { 1e-6 } else { 1e-3 };
            assert!(error <= bound, "{shape:?}: {error}");
            let out = case.attend(&bench, &rows, true).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
            let got_f64: Vec<f64> = got.iter().map(|v| f64::from(*v)).collect();
            Quantized::read(&bench, &out, rows.len(), k).near(&got_f64);
            for (i, row) in rows.iter().enumerate() {
                let alone = case
                    .attend(&bench, &[*row], false)
                    .unwrap_or_else(|e| panic!("{shape:?}: {e}"));
                let alone: Vec<f32> = bench.read(alone.f32(), k);
                assert_eq!(alone, got[i * k..][..k], "{shape:?} row {i}");
            }
            // Tokens that do not stand side by side.
            let scattered = [rows[rows.len() - 1], (0, 1), rows[1]];
            let out =
                case.attend(&bench, &scattered, false).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
            let scattered: Vec<f32> = bench.read(out.f32(), 3 * k);
            assert_eq!(scattered[2 * k..], got[k..2 * k], "{shape:?}");
            // Heads of other lengths begin in the midst of a sector, or fill half of one.
            if shape.d.is_multiple_of(8) && shape.d > 32 {
                bench.budget();
            }
        }
    }
}

#[test]
fn many_rows_are_taken_in_several_launches_with_the_same_results() {
    let bench = Bench::default();
    let shape = Shape { lengths: vec![20], ..shapes()[0].clone() };
    let case = Case::draw(&bench, &shape, 5);
    let rows = before(&shape, 0);
    for is_int8 in [false, true] {
        let read = |splits: &mut Splits| -> Vec<u32> {
            let out =
                case.attend_in(&bench, &rows, is_int8, splits).unwrap_or_else(|e| panic!("{e}"));
            match is_int8 {
                true => Quantized::read(&bench, &out, rows.len(), case.k()).bits(),
                false => bench.read(out.f32(), rows.len() * case.k()),
            }
        };
        let at_once = read(&mut Splits::default());
        bench.costs();
        // Room for 7 rows of 4 heads.
        let in_parts = read(&mut Splits::of(7 * 4 * 72 * 4));
        assert_eq!(bench.simulated.take_counts()["attention_int8_64"].len(), 3);
        assert_eq!(at_once, in_parts);
    }
}

#[test]
fn sequences_that_share_a_block_read_the_same() {
    let bench = Bench::default();
    let shape = Shape { lengths: vec![260, 259], ..shapes()[0].clone() };
    let mut case = Case::draw(&bench, &shape, 11);
    let shared = case.qkv[0][..256 * shape.stride()].to_vec();
    case.qkv[1][..shared.len()].copy_from_slice(&shared);
    case.blocks[1][0] = std::sync::Arc::clone(&case.blocks[0][0]);
    let first: Vec<(usize, usize)> = (0..256).map(|position| (0, position)).collect();
    case.append(&bench, &first).unwrap();
    let rows = [(0, 256), (0, 257), (1, 256), (1, 257), (1, 258)];
    let out = case.attend(&bench, &rows, false).unwrap_or_else(|e| panic!("{e}"));
    let got: Vec<f32> = bench.read(out.f32(), rows.len() * case.k());
    assert!(relative_l2(&got, &case.expected(&rows)) < 1e-3);
}

#[test]
fn a_store_holds_what_the_specification_says_and_nothing_else_is_written() {
    for (seed, shape) in (1u64..).zip(shapes()) {
        let bench = Bench::default();
        let case = Case::draw(&bench, &shape, seed);
        let rows = last(&shape, 1);
        case.append(&bench, &rows).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
        if shape.d.is_multiple_of(8) {
            bench.budget();
        }
        let (heads, d) = (shape.heads, shape.d);
        let layout = shape.layout();
        let padded = layout.padded();
        for (sequence, position) in &rows {
            let block = &case.blocks[*sequence][position / BLOCK];
            let layer = block.view().skip(layout.layer_bytes());
            let at = position % BLOCK;
            for head in 0..shape.kv_heads {
                let of_head = layer.skip(head * layout.layer_bytes() / shape.kv_heads);
                let levels: Vec<i8> = bench.read(of_head.skip(at * padded), padded);
                let scales = of_head.skip(BLOCK * padded + at * padded / GROUP * 4);
                let scales: Vec<f32> = bench.read(scales, padded / GROUP);
                let (expected, expected_scales) =
                    reference::quantize_key(&case.rotated(*sequence, *position, heads + head));
                // Levels may differ by one where the last bit of a rotation decides.
                assert!(levels.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1));
                assert!(levels.iter().zip(&expected).filter(|(a, b)| a != b).count() <= 1);
                assert!(levels[d..].iter().all(|level| *level == 0));
                assert!(
                    scales.iter().zip(&expected_scales).all(|(a, b)| (a - b).abs() <= 1e-5 * b)
                );
                let values = of_head.skip(BLOCK * (padded + padded / 8));
                let levels: Vec<i8> = bench.read(values.skip(at * padded), padded);
                let scale: Vec<f32> = bench.read(values.skip(BLOCK * padded + 4 * at), 1);
                let value = case.normed(*sequence, *position, heads + shape.kv_heads + head);
                let (expected, expected_scale) = reference::quantize_value(&value);
                assert_eq!((&levels[..d], scale[0]), (&expected[..], expected_scale));
            }
        }
        // A position of a head takes its keys, values and scales, and zeros behind them.
        let written: usize = case
            .blocks
            .iter()
            .flatten()
            .map(|room| room.bytes() - bench.simulated.unwritten(room.view().of::<u8>(1)))
            .sum();
        assert_eq!(written, rows.len() * layout.layer_bytes() / BLOCK);
    }
}
