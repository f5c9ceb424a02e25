//! `moved.cu`: text at other positions.

use lacuna_kernels::cuda::launch::{self, Heads, Places};
use lacuna_kernels::cuda::store::{BLOCK, Layout};
use lacuna_kernels::cuda::{Gpu, GpuError, Room};
use lacuna_kernels::kv::KvDtype;

use super::{Bench, relative_l2};
use crate::random::Random;

/// A block of one layer with positions `0 .. n` of random heads; what is put in comes out as it is
/// stored.
pub struct Held {
    pub layout: Layout,
    pub room: Room,
    table: Room,
    n: usize,
}

/// Rows that put keys and values of `n` positions, keys not turned.
fn fill(bench: &Bench, layout: Layout, n: usize, seed: u64) -> Result<(Held, Vec<f32>), GpuError> {
    let mut random = Random::new(seed);
    let stride = (1 + 2 * layout.kv_heads) * layout.d;
    let qkv: Vec<f32> = (0..n * stride).map(|_| random.normal()).collect();
    let room = Room::new(&bench.gpu, layout.layer_bytes())?;
    let table = bench.room(&[room.view().of::<u8>(1)]);
    let held = Held { layout, room, table, n };
    let (gpu, rows) = (&*bench.gpu, bench.room(&qkv));
    let cos_sin: Vec<f32> = (0..n * layout.d / 2).flat_map(|_| [1.0, 0.0]).collect();
    held.with(bench, &rows, stride, |heads, places| {
        let mut q = launch::Queries::default();
        q.resize(&bench.gpu, heads, n)?;
        let none = lacuna_kernels::cuda::View::NONE;
        let norms = launch::HeadNorms { query: none, key: none, eps: 0.0 };
        launch::rope_append(gpu, heads, places, bench.room(&cos_sin).view(), norms, &q)
    })?;
    Ok((held, qkv))
}

impl Held {
    fn with<T>(
        &self,
        bench: &Bench,
        qkv: &Room,
        stride: usize,
        body: impl FnOnce(&Heads, &Places) -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        let positions: Vec<u32> = (0..self.n as u32).collect();
        let (positions, starts) = (bench.room(&positions), bench.room(&vec![0u32; self.n]));
        let heads = Heads { layout: self.layout, heads: 1, layer: 0, qkv: qkv.view(), stride };
        let places = Places {
            m: self.n,
            last: self.n - 1,
            positions: positions.view(),
            tables: self.table.view(),
            row_tables: starts.view(),
        };
        body(&heads, &places)
    }

    /// What is stored, as bytes.
    pub fn bytes(&self, bench: &Bench) -> Vec<u8> {
        bench.read(self.room.view(), self.room.bytes())
    }
}

pub fn layouts() -> Vec<Layout> {
    let of = |dtype| [(2, 6), (1, 96), (3, 64)].map(|(kv_heads, d)| Layout { dtype, kv_heads, d });
    KvDtype::ALL.into_iter().flat_map(of).collect()
}

/// Moves positions 2 .. 7 of a block to 11 .. 16 of another; keys turned by `angle` a pair.
pub fn moved(bench: &Bench, layout: Layout, angle: f64) -> Result<(Held, Held), GpuError> {
    let ((source, _), (mut target, _)) = (fill(bench, layout, 9, 1)?, fill(bench, layout, 11, 2)?);
    let cos_sin: Vec<f32> = (0..layout.d / 2)
        .map(|pair| angle * (pair + 1) as f64)
        .flat_map(|angle| [angle.cos() as f32, angle.sin() as f32])
        .collect();
    let (from, to) = ((source.table.view(), 2), (target.table.view(), 11));
    launch::move_kv(&*bench.gpu, layout, 0, from, to, 5, bench.room(&cos_sin).view())?;
    target.n = 16;
    Ok((source, target))
}

/// Distances of the values of every other row from those that are held, where each row's first differs by
/// its number.
pub fn distances(bench: &Bench, layout: Layout) -> Result<(Vec<f32>, Vec<f64>), GpuError> {
    let (held, mut qkv) = fill(bench, layout, 9, 3)?;
    let stride = (1 + 2 * layout.kv_heads) * layout.d;
    let mut expected = Vec::new();
    for (row, values) in qkv.chunks_mut(stride).enumerate() {
        let values = &mut values[(1 + layout.kv_heads) * layout.d..];
        values[0] += row as f32;
        *values.last_mut().expect("an element") -= 1.0;
        if row % 2 == 1 {
            expected.push((row * row) as f64 + 1.0);
        }
    }
    let (fresh, out, rows) =
        (bench.room(&qkv), bench.room(&[7f32; 4]), bench.room(&[1u32, 3, 5, 7]));
    held.with(bench, &fresh, stride, |heads, places| {
        launch::value_distance(&*bench.gpu, heads, places, (rows.view(), 4), out.view())
    })?;
    Ok((bench.read(out.view(), 4), expected))
}

/// Keys of a head at a position, in their own order, then values.
fn read(bench: &Bench, held: &Held, position: usize, head: usize) -> (Vec<f32>, Vec<f32>) {
    let Layout { dtype, kv_heads, d } = held.layout;
    let padded = held.layout.padded();
    let of_head = held.room.view().skip(head * held.layout.layer_bytes() / kv_heads);
    let floats = |at: usize, n: usize| bench.read::<f32>(of_head.skip(at), n);
    let halves = |at: usize| -> Vec<f32> {
        bench.read::<half::f16>(of_head.skip(at), d).iter().map(|v| v.to_f32()).collect()
    };
    match dtype {
        KvDtype::F32 => {
            (floats(4 * position * padded, d), floats(4 * (BLOCK + position) * padded, d))
        }
        KvDtype::F16 => (halves(2 * position * padded), halves(2 * (BLOCK + position) * padded)),
        KvDtype::Int8 => {
            let levels = |at: usize| bench.read::<i8>(of_head.skip(at), d);
            let scales = floats(BLOCK * padded + position * padded / 8, padded / 32);
            let place = |i: usize| if i < d / 2 { 2 * i } else { 2 * (i - d / 2) + 1 };
            let key = levels(position * padded);
            let key = (0..d).map(|i| f32::from(key[place(i)]) * scales[place(i) / 32]).collect();
            let values = BLOCK * (padded + padded / 8);
            let scale = floats(values + BLOCK * padded + 4 * position, 1)[0];
            let value = levels(values + position * padded);
            (key, value.iter().map(|level| f32::from(*level) * scale).collect())
        }
    }
}

#[test]
fn keys_are_turned_and_values_are_as_they_were() {
    for layout in layouts() {
        let bench = Bench::default();
        let (source, target) = moved(&bench, layout, 0.3).unwrap_or_else(|e| panic!("{e}"));
        let rounding = match layout.dtype {
            KvDtype::F32 => 1e-6,
            KvDtype::F16 => 1e-3,
            KvDtype::Int8 => 1.5e-2,
        };
        let d = layout.d;
        for (from, to) in (2..7).zip(11..16) {
            for head in 0..layout.kv_heads {
                let (old, old_value) = read(&bench, &source, from, head);
                let (key, value) = read(&bench, &target, to, head);
                assert_eq!(value, old_value, "{layout:?}");
                let turned: Vec<f64> = (0..d)
                    .map(|i| {
                        let pair = i % (d / 2);
                        let (sin, cos) = (0.3 * (pair + 1) as f64).sin_cos();
                        let (a, b) = (f64::from(old[pair]), f64::from(old[pair + d / 2]));
                        if i < d / 2 { a * cos - b * sin } else { b * cos + a * sin }
                    })
                    .collect();
                assert!(relative_l2(&key, &turned) < rounding, "{layout:?}");
            }
        }
        let (got, expected) = distances(&bench, layout).unwrap_or_else(|e| panic!("{e}"));
        for (got, expected) in got.iter().zip(expected) {
            let bound = if layout.dtype == KvDtype::F32 { 1e-5 } else { 0.06 };
            assert!((f64::from(*got) - expected).abs() <= bound * expected, "{got} {expected}");
        }
        // Nobody else is touched: the positions before are as they were filled.
        let (fresh, _) = fill(&bench, layout, 11, 2).unwrap();
        for position in 0..11 {
            for head in 0..layout.kv_heads {
                assert_eq!(
                    read(&bench, &target, position, head),
                    read(&bench, &fresh, position, head)
                );
            }
        }
        let _: &dyn Gpu = &*bench.gpu;
    }
}
