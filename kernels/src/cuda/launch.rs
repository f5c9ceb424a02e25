//! A function a kernel: which one is taken for a shape, its grid, its arguments, and whether
//! everything it reads and writes is there.
//!
//! All panic if a piece of memory is smaller than its shape says, and return what [`Gpu::launch`]
//! returns. Rows have `k` elements, a multiple of 64 ([`super::weights`]).

use std::sync::Arc;

use super::store::{BLOCK, Layout};
use super::weights::{Int4Weights, Shape, Weights};
use super::{Arg, Gpu, GpuError, Launch, Room, View};
use crate::kv::KvDtype;
use crate::reference::GROUP;

/// Tokens that a kernel of decoding takes at most.
pub const FEW: usize = 8;
/// Floats of a split of attention beside its sums.
const TAIL: usize = 8;

/// What is multiplied by a matrix, `[m][k]`.
#[derive(Debug, Default)]
pub struct Inputs {
    room: Option<Room>,
    m: usize,
    k: usize,
    is_int8: bool,
}

impl Inputs {
    /// Room for `m` rows, quantised to INT8 or not.
    pub fn resize(
        &mut self,
        gpu: &Arc<dyn Gpu>,
        m: usize,
        k: usize,
        is_int8: bool,
    ) -> Result<(), GpuError> {
        assert!(m > 0 && k.is_multiple_of(64), "{m} × {k}");
        (self.m, self.k, self.is_int8) = (m, k, is_int8);
        let numbers = k / GROUP * self.stride() * size_of::<f32>();
        let bytes = if is_int8 { m * k + 2 * numbers } else { m * k * size_of::<f32>() };
        grow(gpu, &mut self.room, bytes)
    }

    /// Of the scales and biases of a group, a token each.
    fn stride(&self) -> usize {
        if self.m == 1 { 1 } else { self.m.next_multiple_of(FEW) }
    }

    fn view(&self) -> View {
        self.room.as_ref().map_or(View::NONE, Room::view)
    }

    /// Levels, scales and biases.
    pub fn int8(&self) -> [View; 3] {
        assert!(self.is_int8);
        let numbers = self.k / GROUP * self.stride();
        let scales = self.view().skip(self.m * self.k);
        [self.view(), scales, scales.skip(numbers * size_of::<f32>())]
    }

    fn int8_args(&self) -> [Arg; 3] {
        let numbers = self.k / GROUP * self.stride();
        let [q, scales, biases] = self.int8();
        let [scales, biases] = [scales.of::<f32>(numbers), biases.of::<f32>(numbers)];
        [q.of::<i8>(self.m * self.k), scales, biases].map(Arg::U64)
    }

    /// Values, of inputs that are not quantised.
    pub fn f32(&self) -> View {
        assert!(!self.is_int8);
        self.view()
    }

    /// As few words as the kernels want.
    fn shape_args(&self) -> [Arg; 2] {
        [int(self.k), int(self.stride())]
    }
}

/// Room for at least so many bytes; what was in it is gone when it grows.
pub fn grow(gpu: &Arc<dyn Gpu>, room: &mut Option<Room>, bytes: usize) -> Result<(), GpuError> {
    let fits =
        room.as_ref().is_some_and(|room| room.bytes() >= bytes && Arc::ptr_eq(room.gpu(), gpu));
    if !fits {
        // What was there goes first: there may be no room for both.
        *room = None;
        *room = Some(Room::new(gpu, bytes)?);
    }
    Ok(())
}

fn int(n: usize) -> Arg {
    Arg::U32(u32::try_from(n).expect("sizes of a model fit 32 bits"))
}

fn run(
    gpu: &dyn Gpu,
    kernel: &'static str,
    grid: [usize; 3],
    block: u32,
    args: &[&[Arg]],
) -> Result<(), GpuError> {
    let grid = grid.map(|n| u32::try_from(n).expect("grids fit 32 bits"));
    gpu.launch(Launch { kernel, grid, block }, &args.concat())
}

/// `x` `[m][k]` f32 into `out`, which has its shape.
pub fn quantize(gpu: &dyn Gpu, x: View, out: &Inputs) -> Result<(), GpuError> {
    let Inputs { m, k, .. } = *out;
    let args = [&[Arg::U64(x.of::<f32>(m * k))], &out.int8_args()[..], &out.shape_args()];
    run(gpu, "quantize", [m, 1, 1], 256, &args)
}

/// RMSNorm of rows of `n` elements (the rest of the `k` are zeros, as in `weight`) into `out`, which
/// has their shape.
pub fn rms_norm(
    gpu: &dyn Gpu,
    x: View,
    weight: View,
    n: usize,
    eps: f32,
    out: &Inputs,
) -> Result<(), GpuError> {
    let Inputs { m, k, is_int8, .. } = *out;
    let from = [x.of::<f32>(m * k), weight.of::<f32>(k)].map(Arg::U64);
    let norm = [int(n), Arg::F32(eps)];
    if is_int8 {
        let args = [&from[..], &out.int8_args(), &out.shape_args(), &norm];
        return run(gpu, "rms_norm_quantize", [m, 1, 1], 256, &args);
    }
    let to = [Arg::U64(out.f32().of::<f32>(m * k)), int(k)];
    run(gpu, "rms_norm", [m, 1, 1], 256, &[&from, &to, &norm])
}

/// `silu(gate) · up` of `gate_up` `[m][2k]` into `out`, which has its shape.
pub fn silu_mul(gpu: &dyn Gpu, gate_up: View, out: &Inputs) -> Result<(), GpuError> {
    let Inputs { m, k, is_int8, .. } = *out;
    let from = [Arg::U64(gate_up.of::<f32>(2 * m * k))];
    if is_int8 {
        let args = [&from[..], &out.int8_args(), &out.shape_args()];
        return run(gpu, "silu_mul_quantize", [m, 1, 1], 256, &args);
    }
    let to = [Arg::U64(out.f32().of::<f32>(m * k)), int(k)];
    run(gpu, "silu_mul", [m, 1, 1], 256, &[&from, &to])
}

/// What is added to a product, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// f32 `[rows]`, or none.
    pub bias: View,
    /// Like `y`, or none; may be `y`.
    pub residual: View,
    /// f32, a row each `stride`.
    pub y: View,
    pub stride: usize,
}

impl Output {
    fn args(self, m: usize, shape: Shape) -> [Arg; 3] {
        let size = (m - 1) * self.stride + shape.n;
        assert!(shape.n <= self.stride);
        let bias = self.bias.if_any::<f32>(shape.n);
        [bias, self.residual.if_any::<f32>(size), self.y.of::<f32>(size)].map(Arg::U64)
    }
}

/// `y[m,n] = w · x + bias + residual`. A row has the same bits whatever `m` is.
pub fn matmul(gpu: &dyn Gpu, w: &Weights, x: &Inputs, out: Output) -> Result<(), GpuError> {
    let (m, Shape { n, rows, k }) = (x.m, w.shape());
    assert_eq!(x.k, k, "as many inputs as the matrix has columns");
    let to = out.args(m, w.shape());
    let w = match w {
        Weights::Int4(w) => w,
        Weights::F32(w) => {
            let from = [w.values().of::<f32>(rows * k), x.f32().of::<f32>(m * k)].map(Arg::U64);
            let sizes = [int(n), int(k), int(m), int(out.stride)];
            let grid = [n.div_ceil(8), m.div_ceil(8), 1];
            return run(gpu, "matmul_f32", grid, 256, &[&from, &to, &sizes]);
        }
    };
    let from = [&int4_args(w)[..], &x.int8_args()].concat();
    let sizes = [int(n), int(k), int(x.stride()), int(out.stride), int(m)];
    if m == 1 {
        return run(gpu, "int4_one", [rows / 16, 1, 1], 128, &[&from, &to, &sizes[..4]]);
    }
    let (kernel, grid) = match m {
        ..=FEW => ("int4_few", [rows / 16, 1, 1]),
        _ => ("int4_many", [rows / 64, m.div_ceil(32), 1]),
    };
    run(gpu, kernel, grid, 128, &[&from, &to, &sizes])
}

fn int4_args(w: &Int4Weights) -> [Arg; 2] {
    let Shape { rows, k, .. } = w.shape;
    [w.levels().of::<u8>(rows * k / 2), w.scales().of::<half::f16>(rows * k / GROUP)].map(Arg::U64)
}

/// `silu(gate · x + bias) · (up · x + bias)` into `out` `[m][width]`, of a matrix that is gate and
/// up, `width` rows each. `between` is used where one launch is not enough.
pub fn swiglu(
    gpu: &Arc<dyn Gpu>,
    w: &Weights,
    x: &Inputs,
    bias: View,
    out: &Inputs,
    between: &mut Option<Room>,
) -> Result<(), GpuError> {
    let (m, Shape { rows, k, .. }) = (x.m, w.shape());
    let width = rows / 2;
    assert!(out.m == m && out.k == width && x.k == k);
    match w {
        Weights::Int4(w) if m <= FEW => {
            let bias = [Arg::U64(bias.if_any::<f32>(rows))];
            let from = [&int4_args(w)[..], &x.int8_args(), &bias, &out.int8_args()].concat();
            let sizes = [int(width), int(k), int(x.stride()), int(out.stride()), int(m)];
            let (kernel, sizes) =
                if m == 1 { ("swiglu_one", &sizes[..4]) } else { ("swiglu_few", &sizes[..]) };
            run(&**gpu, kernel, [width / 32, 1, 1], 512, &[&from, sizes])
        }
        _ => {
            grow(gpu, between, m * rows * size_of::<f32>())?;
            let y = between.as_ref().map_or(View::NONE, Room::view);
            matmul(&**gpu, w, x, Output { bias, residual: View::NONE, y, stride: rows })?;
            silu_mul(&**gpu, y, out)
        }
    }
}

/// Rows `ids` `[m]` of a matrix into `x` `[m][k]`. Panics: see above; an id that the matrix does not
/// have is the caller's to refuse.
pub fn embed(gpu: &dyn Gpu, w: &Weights, ids: View, m: usize, x: View) -> Result<(), GpuError> {
    let Shape { rows, k, .. } = w.shape();
    let to = [ids.of::<u32>(m), x.of::<f32>(m * k)].map(Arg::U64);
    match w {
        Weights::Int4(w) => {
            run(gpu, "embed_int4", [m, 1, 1], 128, &[&int4_args(w), &to, &[int(k)]])
        }
        Weights::F32(w) => {
            let from = [Arg::U64(w.values().of::<f32>(rows * k))];
            run(gpu, "embed_f32", [m, 1, 1], 128, &[&from, &to, &[int(k)]])
        }
    }
}

/// The rows of a batch: where each sits, and where its sequence's blocks are.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Rows.
    pub m: usize,
    /// The last position, for the size of grids.
    pub last: usize,
    /// u32 `[m]`
    pub positions: View,
    /// Addresses of blocks, u64: all tables one behind the other.
    pub tables: View,
    /// u32 `[m]`: where in `tables` each row's begins.
    pub row_tables: View,
}

/// A layer's attention, and where its parts lie.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    pub layout: Layout,
    pub heads: usize,
    /// Which layer of the blocks.
    pub layer: usize,
    /// f32 `[m][stride]`: queries, keys, values of a row.
    pub qkv: View,
    pub stride: usize,
}

impl Heads {
    fn kv_heads(&self) -> usize {
        self.layout.kv_heads
    }

    fn layer_offset(&self) -> Arg {
        Arg::U64((self.layer * self.layout.layer_bytes()) as u64)
    }
}

/// Queries as attention takes them.
#[derive(Debug, Default)]
pub struct Queries {
    room: Option<Room>,
}

impl Queries {
    /// Bytes of the levels (or values) of a row, and of its scales.
    fn row_bytes(heads: &Heads) -> (usize, usize) {
        let scales = heads.layout.padded() / GROUP * size_of::<f32>();
        let scales = if heads.layout.dtype == KvDtype::Int8 { scales } else { 0 };
        (heads.heads * heads.layout.query_bytes(), heads.heads * scales)
    }

    pub fn resize(&mut self, gpu: &Arc<dyn Gpu>, heads: &Heads, m: usize) -> Result<(), GpuError> {
        let (levels, scales) = Queries::row_bytes(heads);
        grow(gpu, &mut self.room, m * (levels + scales))
    }

    /// Levels (or values) and scales of `m` rows.
    fn views(&self, heads: &Heads, m: usize) -> [View; 2] {
        let all = self.room.as_ref().map_or(View::NONE, Room::view);
        [all, all.skip(m * Queries::row_bytes(heads).0)]
    }

    /// Rows `rows` of `other`, which has `m`, to the first places here.
    pub fn gather(
        &self,
        gpu: &dyn Gpu,
        heads: &Heads,
        other: &Queries,
        m: usize,
        rows: &[usize],
    ) -> Result<(), GpuError> {
        let (levels, scales) = Queries::row_bytes(heads);
        let ([q, q_scales], [from, from_scales]) =
            (self.views(heads, rows.len()), other.views(heads, m));
        for (to, row) in rows.iter().enumerate() {
            from.skip(row * levels).copy(gpu, q.skip(to * levels), levels)?;
            from_scales.skip(row * scales).copy(gpu, q_scales.skip(to * scales), scales)?;
        }
        Ok(())
    }
}

fn name(dtype: KvDtype, of: [&'static str; 3]) -> &'static str {
    match dtype {
        KvDtype::Int8 => of[0],
        KvDtype::F16 => of[1],
        KvDtype::F32 => of[2],
    }
}

/// Norms of the heads of queries and keys, if there are any, and what is added under the root.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorms {
    /// f32 `[d]` each, or none.
    pub query: View,
    pub key: View,
    pub eps: f32,
}

/// Norms, rotates by `cos_sin` (pairs of f32, `[m][d/2]`), puts keys and values where the rows sit,
/// and makes `q` of the queries.
pub fn rope_append(
    gpu: &dyn Gpu,
    heads: &Heads,
    places: &Places,
    cos_sin: View,
    norms: HeadNorms,
    q: &Queries,
) -> Result<(), GpuError> {
    let (m, layout) = (places.m, heads.layout);
    let all = heads.heads + 2 * heads.kv_heads();
    assert!(all * layout.d <= heads.stride);
    let [levels, scales] = q.views(heads, m);
    let args = [
        Arg::U64(heads.qkv.of::<f32>((m - 1) * heads.stride + all * layout.d)),
        Arg::U64(cos_sin.of::<f32>(m * layout.d)),
        Arg::U64(places.positions.of::<u32>(m)),
        Arg::U64(places.tables.of::<u64>(1)),
        Arg::U64(places.row_tables.of::<u32>(m)),
        Arg::U64(norms.query.if_any::<f32>(layout.d)),
        Arg::U64(norms.key.if_any::<f32>(layout.d)),
        Arg::U64(levels.of::<u8>(m * Queries::row_bytes(heads).0)),
        Arg::U64(scales.of::<u8>(m * Queries::row_bytes(heads).1)),
        int(heads.heads),
        int(heads.kv_heads()),
        int(layout.d),
        int(layout.padded()),
        int(heads.stride),
        heads.layer_offset(),
        Arg::F32(norms.eps),
    ];
    let kernel = name(layout.dtype, ["rope_append_int8", "rope_append_f16", "rope_append_f32"]);
    run(gpu, kernel, [m, all, 1], 32, &[&args])
}

/// Where the splits of attention go before they are joined.
#[derive(Debug)]
pub struct Splits {
    room: Option<Room>,
    /// Bytes that they may take; more rows than fit are taken in several launches, which changes
    /// nothing.
    most_bytes: usize,
}

impl Default for Splits {
    fn default() -> Splits {
        Splits::of(64 << 20)
    }
}

impl Splits {
    /// With so many bytes, or a row.
    pub fn of(most_bytes: usize) -> Splits {
        Splits { room: None, most_bytes }
    }
}

/// Attention of the queries over the keys and values of their sequences, into `out` `[m][k]`,
/// `k ≥ heads · d`.
pub fn attention(
    gpu: &Arc<dyn Gpu>,
    heads: &Heads,
    places: &Places,
    q: &Queries,
    out: &Inputs,
    splits: &mut Splits,
) -> Result<(), GpuError> {
    let (m, layout, n) = (places.m, heads.layout, heads.heads);
    let (d, padded, n_splits) = (layout.d, layout.padded(), places.last / BLOCK + 1);
    assert!(out.m == m && out.k >= n * d);
    let row_bytes = n * n_splits * (padded + TAIL) * size_of::<f32>();
    let at_once = (splits.most_bytes / row_bytes).clamp(1, m);
    grow(gpu, &mut splits.room, at_once * row_bytes)?;
    let partial = splits.room.as_ref().map_or(View::NONE, Room::view);
    let [levels, scales] = q.views(heads, m);
    let (level_bytes, scale_bytes) = Queries::row_bytes(heads);
    let kernel = attention_kernel(layout.dtype, padded);
    let scale = 1.0 / (d as f32).sqrt();
    for first in (0..m).step_by(at_once) {
        let rows = at_once.min(m - first);
        let positions = Arg::U64(places.positions.skip(4 * first).of::<u32>(rows));
        let args = [
            Arg::U64(levels.skip(first * level_bytes).of::<u8>(rows * level_bytes)),
            Arg::U64(scales.skip(first * scale_bytes).of::<u8>(rows * scale_bytes)),
            positions,
            Arg::U64(places.tables.of::<u64>(1)),
            Arg::U64(places.row_tables.skip(4 * first).of::<u32>(rows)),
            Arg::U64(partial.of::<u8>(rows * row_bytes)),
            int(heads.kv_heads()),
            heads.layer_offset(),
            Arg::F32(scale),
        ];
        run(&**gpu, kernel, [n_splits, n, rows], 128, &[&args])?;
        let from = [Arg::U64(partial.of::<u8>(rows * row_bytes)), positions];
        let sizes = [int(n), int(d), int(padded), int(n_splits), int(out.k)];
        let grid = [out.k / GROUP, rows, 1];
        if out.is_int8 {
            let numbers = out.k / GROUP * out.stride() - first;
            let [xq, xs, xb] = out.int8();
            let to = [
                Arg::U64(xq.skip(first * out.k).of::<i8>(rows * out.k)),
                Arg::U64(xs.skip(4 * first).of::<f32>(numbers)),
                Arg::U64(xb.skip(4 * first).of::<f32>(numbers)),
            ];
            let args = [&from[..], &to, &sizes, &[int(out.stride())]];
            run(&**gpu, "attention_join_quantize", grid, 32, &args)?;
        } else {
            let to = [Arg::U64(out.f32().skip(4 * first * out.k).of::<f32>(rows * out.k))];
            run(&**gpu, "attention_join", grid, 32, &[&from, &to, &sizes])?;
        }
    }
    Ok(())
}

fn attention_kernel(dtype: KvDtype, padded: usize) -> &'static str {
    let of = match padded {
        32 => ["attention_int8_32", "attention_f16_32", "attention_f32_32"],
        64 => ["attention_int8_64", "attention_f16_64", "attention_f32_64"],
        128 => ["attention_int8_128", "attention_f16_128", "attention_f32_128"],
        256 => ["attention_int8_256", "attention_f16_256", "attention_f32_256"],
        _ => panic!("no kernel for heads of {padded} elements"),
    };
    name(dtype, of)
}

/// Copies the keys and values of a layer at `from .. from + n` of `source` (addresses of blocks) to
/// `at .. at + n` of `target`, keys turned by `cos_sin` (pairs of f32, `[d/2]`).
#[allow(clippy::too_many_arguments)]
pub fn move_kv(
    gpu: &dyn Gpu,
    layout: Layout,
    layer: usize,
    source: (View, usize),
    target: (View, usize),
    n: usize,
    cos_sin: View,
) -> Result<(), GpuError> {
    let blocks = |at: usize| (at + n).div_ceil(BLOCK);
    let args = [
        Arg::U64(source.0.of::<u64>(blocks(source.1))),
        Arg::U64(target.0.of::<u64>(blocks(target.1))),
        Arg::U64(cos_sin.of::<f32>(layout.d)),
        int(source.1),
        int(target.1),
        int(layout.d),
        int(layout.padded()),
        Arg::U64((layer * layout.layer_bytes()) as u64),
    ];
    let kernel = name(layout.dtype, ["move_int8", "move_f16", "move_f32"]);
    run(gpu, kernel, [n, layout.kv_heads, 1], 32, &[&args])
}

/// Squared distance of the values of the rows `rows` (u32 `[n]`) from those that are held at their
/// places, into `out` f32 `[n]`.
pub fn value_distance(
    gpu: &dyn Gpu,
    heads: &Heads,
    places: &Places,
    (rows, n): (View, usize),
    out: View,
) -> Result<(), GpuError> {
    let (m, layout) = (places.m, heads.layout);
    let all = heads.heads + 2 * heads.kv_heads();
    let args = [
        Arg::U64(heads.qkv.of::<f32>((m - 1) * heads.stride + all * layout.d)),
        Arg::U64(places.positions.of::<u32>(m)),
        Arg::U64(places.tables.of::<u64>(1)),
        Arg::U64(places.row_tables.of::<u32>(m)),
        Arg::U64(rows.of::<u32>(n)),
        Arg::U64(out.of::<f32>(n)),
        int(heads.heads),
        int(heads.kv_heads()),
        int(layout.d),
        int(layout.padded()),
        int(heads.stride),
        heads.layer_offset(),
    ];
    let kernel =
        name(layout.dtype, ["value_distance_int8", "value_distance_f16", "value_distance_f32"]);
    run(gpu, kernel, [n, 1, 1], 32, &[&args])
}
