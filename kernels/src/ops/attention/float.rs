//! One block over f32 or f16 keys and values, written once over 16 lanes; and the softmax that the
//! portable rows share.

use half::f16;

use super::{MAX_QUERIES, Task, partial_len};
use crate::kv::{BLOCK, KvDtype, Line, PAGE, TILE, floats, halves};
use crate::ops::body::mul_add;

/// Sixteen f32 in the registers of an instruction set. Its functions are sound only where that
/// instruction set runs.
pub(super) trait Lanes: Copy {
    /// Registers that hold sums: queries × [`TILE`]s at once.
    const SUMS: usize;
    fn zero() -> Self;
    fn load(from: &[f32; TILE]) -> Self;
    /// f16 bits.
    fn load_halves(from: &[u16; TILE]) -> Self;
    /// `self + a · b`, `b` in every lane.
    fn add_scaled(self, a: Self, b: f32) -> Self;
    fn store(self, to: &mut [f32; TILE]);
}

/// Plain Rust.
impl Lanes for [f32; TILE] {
    const SUMS: usize = 1;

    #[inline(always)]
    fn zero() -> Self {
        [0.0; TILE]
    }

    #[inline(always)]
    fn load(from: &[f32; TILE]) -> Self {
        *from
    }

    #[inline(always)]
    fn load_halves(from: &[u16; TILE]) -> Self {
        from.map(|bits| f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    fn add_scaled(mut self, a: Self, b: f32) -> Self {
        for lane in 0..TILE {
            self[lane] += a[lane] * b;
        }
        self
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; TILE]) {
        *to = self;
    }
}

/// `2^x` for `x ≤ 0` to about 1 ulp; 0 below −126, NaN stays NaN.
#[inline(always)]
pub(super) fn exp2<const FMA: bool>(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let clamped = if x < -126.0 { -126.0 } else { x };
    let shifted = clamped + MAGIC;
    let r = clamped - (shifted - MAGIC);
    let p = mul_add::<FMA>(1.327_647e-3, r, 9.675_541e-3);
    let p = mul_add::<FMA>(p, r, 5.550_713e-2);
    let p = mul_add::<FMA>(p, r, 2.402_212e-1);
    let p = mul_add::<FMA>(p, r, 6.931_469_4e-1);
    let p = mul_add::<FMA>(p, r, 1.0);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let value = p * power;
    if x < -126.0 { 0.0 } else { value }
}

/// Scores of the first `seen` places become weights `2^(score - largest)`, the rest of the `padded`
/// ones 0. Returns the largest score and the sum of the weights.
#[inline(always)]
pub(super) fn weights<const FMA: bool>(
    scores: &mut [f32; BLOCK],
    seen: usize,
    padded: usize,
) -> (f32, f32) {
    scores[seen..padded].fill(f32::NEG_INFINITY);
    let tiles = scores[..padded].as_chunks_mut::<TILE>().0;
    let mut largest = [f32::NEG_INFINITY; TILE];
    for tile in tiles.iter() {
        for lane in 0..TILE {
            largest[lane] = if tile[lane] > largest[lane] { tile[lane] } else { largest[lane] };
        }
    }
    let largest = largest.iter().fold(f32::NEG_INFINITY, |a, v| if *v > a { *v } else { a });
    let mut sums = [0f32; TILE];
    for tile in tiles.iter_mut() {
        for lane in 0..TILE {
            tile[lane] = exp2::<FMA>(tile[lane] - largest);
            sums[lane] += tile[lane];
        }
    }
    (largest, sum_lanes(&sums))
}

#[inline(always)]
fn sum_lanes(lanes: &[f32; TILE]) -> f32 {
    let mut halved = *lanes;
    let mut width = TILE / 2;
    while width > 0 {
        for i in 0..width {
            halved[i] += halved[i + width];
        }
        width /= 2;
    }
    halved[0]
}

/// Body of [`super::Kernels::float`].
#[inline(always)]
pub(super) fn block<const FMA: bool, L: Lanes>(task: &mut Task) {
    match task.layout.dtype {
        KvDtype::F16 => block_of::<FMA, true, L>(task),
        _ => block_of::<FMA, false, L>(task),
    }
}

#[inline(always)]
fn block_of<const FMA: bool, const HALF: bool, L: Lanes>(task: &mut Task) {
    let (n, tiles) = (task.queries.n, task.n_positions().div_ceil(TILE));
    for tile in 0..tiles {
        let mut first = 0;
        while first < n {
            first += match n - first {
                left if left >= 7 && L::SUMS >= 8 => dots::<HALF, L, 8>(task, tile, first),
                left if left >= 3 && L::SUMS >= 4 => dots::<HALF, L, 4>(task, tile, first),
                left if left >= 2 => dots::<HALF, L, 2>(task, tile, first),
                _ => dots::<HALF, L, 1>(task, tile, first),
            };
        }
    }
    let len = partial_len(task.layout);
    for i in 0..n {
        let out = &mut task.out[i * len..(i + 1) * len];
        let (largest, sum) = weights::<FMA>(&mut task.work.scores[i], task.seen[i], tiles * TILE);
        out.fill(0.0);
        (out[len - 16], out[len - 15]) = (largest, sum);
    }
    for page in 0..tiles.div_ceil(PAGE / TILE) {
        let positions = (tiles * TILE - page * PAGE).min(PAGE);
        for column in 0..task.layout.columns() {
            let mut first = 0;
            while first < n {
                first += match n - first {
                    left if left >= 8 && L::SUMS >= 8 => {
                        weigh::<HALF, L, 8>(task, page, positions, column, first)
                    }
                    left if left >= 4 && L::SUMS >= 4 => {
                        weigh::<HALF, L, 4>(task, page, positions, column, first)
                    }
                    left if left >= 2 => weigh::<HALF, L, 2>(task, page, positions, column, first),
                    _ => weigh::<HALF, L, 1>(task, page, positions, column, first),
                };
            }
        }
    }
}

/// Sixteen elements at place `at` (in units of 16).
#[inline(always)]
fn lanes<const HALF: bool, L: Lanes>(lines: &[Line], at: usize) -> L {
    if HALF {
        L::load_halves(&halves(lines).as_chunks().0[at])
    } else {
        L::load(&floats(lines).as_chunks().0[at])
    }
}

/// Scores of queries `first .. first + Q` in a tile; returns `Q`. Queries that do not exist get
/// scores that nobody reads.
#[inline(always)]
fn dots<const HALF: bool, L: Lanes, const Q: usize>(
    task: &mut Task,
    tile: usize,
    first: usize,
) -> usize {
    let lines = task.layout.tile_lines();
    let (keys, _) = task.head_of_page(tile * TILE / PAGE);
    let keys = &keys[tile % (PAGE / TILE) * lines..][..lines];
    let mut acc = [L::zero(); Q];
    for (c, q) in task.queries.floats.iter().enumerate() {
        let key = lanes::<HALF, L>(keys, c);
        let q: &[f32; Q] = q[first..].first_chunk().expect("Q queries");
        for i in 0..Q {
            acc[i] = acc[i].add_scaled(key, q[i]);
        }
    }
    for i in 0..Q {
        acc[i].store(&mut task.work.scores[first + i].as_chunks_mut().0[tile]);
    }
    Q
}

/// Adds a column of a page's weighted values to the results of queries `first .. first + Q`;
/// returns `Q`.
#[inline(always)]
fn weigh<const HALF: bool, L: Lanes, const Q: usize>(
    task: &mut Task,
    page: usize,
    positions: usize,
    column: usize,
    first: usize,
) -> usize {
    let (len, columns) = (partial_len(task.layout), task.layout.columns());
    let (_, values) = task.head_of_page(page);
    let mut acc = [L::zero(); Q];
    for i in 0..Q {
        acc[i] =
            L::load(task.out[(first + i) * len + column * 16..].first_chunk().expect("a column"));
    }
    let weights: &[[f32; BLOCK]; Q] = task.work.scores[first..].first_chunk().expect("Q queries");
    for t in 0..positions {
        let v = lanes::<HALF, L>(values, t * columns + column);
        for i in 0..Q {
            acc[i] = acc[i].add_scaled(v, weights[i][page * PAGE + t]);
        }
    }
    for i in 0..Q {
        acc[i].store(
            task.out[(first + i) * len + column * 16..].first_chunk_mut().expect("a column"),
        );
    }
    Q
}

const _: () = assert!(MAX_QUERIES == 8);
