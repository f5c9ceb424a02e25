//! Causal attention of new tokens over a [`KvStore`] (grouped queries, flash-style).
//!
//! Positions are taken in blocks of [`BLOCK`] counted from position 0. A block gives a query a
//! partial result (the largest score, the sum of the weights, the weighted values); partial results
//! are merged in the order of the blocks. Which queries are computed together, which blocks run on
//! which thread: neither changes a bit of a token's result.
//!
//! Owns the split of the work ([`attention`]); a block's arithmetic is in `float` (f32 and f16) and
//! `int8*`.

mod float;
mod int8;
#[cfg(target_arch = "x86_64")]
mod int8_avx2;
#[cfg(target_arch = "x86_64")]
mod int8_vnni;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod queries;

use std::cell::Cell;
use std::ops::Range;

use super::body::mul_add;
use crate::isa::{self, Row};
use crate::kv::{BLOCK, KvDtype, KvStore, Layout, Line, PAGES, Put};
use crate::threads::{self, SharedOut};

pub(crate) use queries::{Prepare, Queries};

/// Queries of one kernel call at most.
const MAX_QUERIES: usize = 8;
/// Queries of one work item at most: they share keys and values in the cache.
const MAX_BATCH: usize = 64;

/// Shapes of one attention call.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Query heads; a multiple of the store's heads.
    pub heads: usize,
    /// Tokens in the store before the new ones.
    pub past: usize,
    /// Elements from one token's queries to the next in `q` (≥ heads · head_dim).
    pub q_stride: usize,
}

/// `out[m, heads·d]`: token `i` sits at position `past + i` and sees keys `0 ..= past + i`, scaled
/// by `1/√d`.
///
/// Shapes: `q` `m` rows of `q_stride` (the first heads·d count); `kv` with the new tokens already
/// put. A query with an element that is not finite makes its head's output NaN, and so does every
/// key or value it sees that is not finite ([`KvStore::put_many`]); no other output is touched.
/// Panics: lengths. A token's output has the same bits whatever other tokens are computed with it,
/// on any number of threads. Accuracy: NMSE ≤ 1e-10 against `reference::attention` over what the
/// store holds for f32 and f16; ≤ 1e-5 against `reference::attention_int8` for INT8 (heads of 32
/// elements or more).
pub fn attention(shape: &Attention, q: &[f32], kv: &KvStore, out: &mut [f32]) {
    attention_with(isa::active(), shape, q, kv, out);
}

/// [`attention`] on a given row of the kernel table.
pub fn attention_with(
    row: &'static Row,
    shape: &Attention,
    q: &[f32],
    kv: &KvStore,
    out: &mut [f32],
) {
    run(row, shape, None, q, kv, out);
}

/// [`attention`] of tokens that need not stand side by side: token `i` sits at `positions[i]`
/// (ascending) and sees keys `0 ..= positions[i]`; `shape.past` does not count. Panics: lengths, or
/// positions that do not ascend.
pub fn attention_at(
    shape: &Attention,
    positions: &[usize],
    q: &[f32],
    kv: &KvStore,
    out: &mut [f32],
) {
    assert!(positions.is_sorted_by(|a, b| a < b), "positions ascend");
    let past = positions.first().copied().unwrap_or(0);
    run(isa::active(), &Attention { past, ..*shape }, Some(positions), q, kv, out);
}

fn run(
    row: &'static Row,
    shape: &Attention,
    positions: Option<&[usize]>,
    q: &[f32],
    kv: &KvStore,
    out: &mut [f32],
) {
    let Attention { heads, past, q_stride } = *shape;
    let (kv_heads, d) = (kv.kv_heads(), kv.head_dim());
    let width = heads * d;
    assert!(
        heads > 0 && heads.is_multiple_of(kv_heads) && q_stride >= width,
        "{shape:?} over {kv:?}"
    );
    assert!(out.len().is_multiple_of(width), "out is not [m,{width}]");
    let m = out.len() / width;
    if m == 0 {
        return;
    }
    assert!(q.len() >= (m - 1) * q_stride + width, "queries of {m} tokens");
    assert!(positions.is_none_or(|positions| positions.len() == m), "positions of {m} tokens");
    let total = positions.map_or(past.checked_add(m), |positions| positions[m - 1].checked_add(1));
    let total = total
        .filter(|total| *total <= kv.tokens())
        .unwrap_or_else(|| panic!("{m} tokens after {past} over {kv:?}"));
    let call = Call { row, shape: *shape, positions, kv, q, group: heads / kv_heads, m, total };
    let plan = Plan::of(&call);
    if plan.segments > 1 {
        return call.run_segmented(&plan, out);
    }
    let out = SharedOut::new(out);
    threads::split(plan.items(), plan.estimated_us, |items| {
        let mut scratch = SCRATCH.take();
        for item in items {
            let (kv_head, queries) = plan.item(item);
            call.run(&mut scratch, kv_head, queries, &out);
        }
        SCRATCH.set(scratch);
    });
}

/// The kernels of one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    /// Stores one head of one position.
    pub(crate) put: unsafe fn(&mut Put),
    /// Brings queries into the form that `int8` or `float` reads.
    pub(crate) prepare: unsafe fn(&mut Prepare),
    /// One block, INT8.
    int8: unsafe fn(&mut Task),
    /// One block, f32 or f16.
    float: unsafe fn(&mut Task),
    /// Merges the partial result of the next block into that of those before it.
    merge: unsafe fn(&mut [f32], &[f32]),
}

/// Up to eight queries against one block of one head.
struct Task<'a> {
    layout: &'a Layout,
    /// The head's lines of the block.
    lines: &'a [Line],
    /// Those of the next block, or nothing: for prefetching.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    next: &'a [Line],
    /// Whether position 0 is in the block.
    begins: bool,
    queries: Queries<'a>,
    /// Positions of the block that each query sees, ascending; the last is not 0. Those beyond the
    /// number of queries are 0.
    seen: [usize; MAX_QUERIES],
    work: &'a mut Work,
    /// Partial results `[queries][partial_len]`, overwritten (arbitrary for a query that sees
    /// nothing).
    out: &'a mut [f32],
}

impl<'a> Task<'a> {
    /// Positions that some query sees.
    fn n_positions(&self) -> usize {
        self.seen[self.queries.n - 1]
    }

    /// The head's keys and values in a page of the block.
    fn head_of_page(&self, page: usize) -> (&'a [Line], &'a [Line]) {
        let (keys, values) = self.layout.page(page);
        (&self.lines[keys], &self.lines[values])
    }
}

/// Buffers of a kernel call; a register never lies across two cache lines.
#[repr(align(64))]
struct Work {
    /// Scores, then weights, in units of log 2.
    scores: [[f32; BLOCK]; MAX_QUERIES],
    /// INT8: weights times the scales of values, in units of `units`.
    levels: [[u8; BLOCK]; MAX_QUERIES],
    /// INT8: weight times scale of the value at position 0, if the block has it.
    first: [f32; MAX_QUERIES],
    /// INT8: one a page and query.
    units: [[f32; MAX_QUERIES]; PAGES],
}

/// Buffers of a thread, reused from call to call.
#[derive(Default)]
struct Scratch {
    work: Option<Box<Work>>,
    prepared: queries::Prepared,
    /// Partial results of a kernel call.
    partial: Vec<f32>,
    /// Merged partial results of a batch, `[queries][partial_len]`.
    merged: Vec<f32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
    /// Partial results of all blocks of a segmented call, on the calling thread.
    static PARTIALS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Elements of a partial result: values padded to 16, the largest score, the sum, padding.
fn partial_len(layout: &Layout) -> usize {
    layout.columns() * 16 + 16
}

/// Body of [`Kernels::merge`].
#[inline(always)]
fn merge_body<const FMA: bool>(all: &mut [f32], next: &[f32]) {
    assert_eq!(all.len(), next.len());
    let values = all.len() - 16;
    let (all, all_stats) = all.split_at_mut(values);
    let (next, next_stats) = next.split_at(values);
    let (a, b) = (all_stats[0], next_stats[0]);
    // One of the two scales is exactly 1; a NaN stays in the sum.
    let largest = if b > a { b } else { a };
    let (a, b) = (float::exp2::<FMA>(a - largest), float::exp2::<FMA>(b - largest));
    all_stats[0] = largest;
    all_stats[1] = mul_add::<FMA>(next_stats[1], b, all_stats[1] * a);
    for (all, next) in all.as_chunks_mut::<16>().0.iter_mut().zip(next.as_chunks::<16>().0) {
        for lane in 0..16 {
            all[lane] = mul_add::<FMA>(next[lane], b, all[lane] * a);
        }
    }
}

/// How a call is cut into work items.
struct Plan {
    kv_heads: usize,
    /// Queries that see the same keys and values, in order of tokens.
    queries: usize,
    batch: usize,
    batches: usize,
    /// Parts of the positions, computed apart: for few queries on many threads.
    segments: usize,
    estimated_us: u64,
}

impl Plan {
    fn of(call: &Call) -> Plan {
        let layout = call.kv.layout();
        let threads = threads::threads();
        let (queries, kv_heads) = (call.m * call.group, layout.kv_heads);
        let per_us = match layout.dtype {
            KvDtype::Int8 => 50_000,
            KvDtype::F16 | KvDtype::F32 => 15_000,
        };
        let products = queries as u64
            * kv_heads as u64
            * (call.shape.past + call.total).div_ceil(2) as u64
            * 2
            * layout.head_dim as u64;
        let batch =
            (queries * kv_heads).div_ceil(threads * 2).next_multiple_of(MAX_QUERIES).min(MAX_BATCH);
        let batches = queries.div_ceil(batch);
        let items = batches * kv_heads;
        let uneven = items < threads * 4 && !items.is_multiple_of(threads);
        let segments =
            if uneven { (threads * 4).div_ceil(items).min(call.total.div_ceil(BLOCK)) } else { 1 };
        Plan { kv_heads, queries, batch, batches, segments, estimated_us: products / per_us }
    }

    fn items(&self) -> usize {
        self.kv_heads * self.batches
    }

    /// Head and queries of an item. Early batches (few keys) and late ones alternate, so that
    /// contiguous items are equal work.
    fn item(&self, item: usize) -> (usize, Range<usize>) {
        let (kv_head, i) = (item / self.batches, item % self.batches);
        let batch = if i.is_multiple_of(2) { i / 2 } else { self.batches - 1 - i / 2 };
        let first = batch * self.batch;
        (kv_head, first..(first + self.batch).min(self.queries))
    }
}

/// The arguments of [`attention_with`], checked.
struct Call<'a> {
    row: &'static Row,
    shape: Attention,
    /// Where each token sits, unless they follow `shape.past`.
    positions: Option<&'a [usize]>,
    kv: &'a KvStore,
    q: &'a [f32],
    /// Query heads of a key head.
    group: usize,
    m: usize,
    /// Positions that the last token sees.
    total: usize,
}

impl Call<'_> {
    /// Where the output (and the query, but for the stride) of a query of a head begins: token and
    /// element.
    fn place(&self, kv_head: usize, query: usize) -> (usize, usize) {
        (query / self.group, (kv_head * self.group + query % self.group) * self.kv.head_dim())
    }

    /// Positions that a query sees.
    fn seen(&self, query: usize) -> usize {
        let token = query / self.group;
        self.positions.map_or(self.shape.past + token, |positions| positions[token]) + 1
    }

    fn prepare(&self, scratch: &mut Scratch, kv_head: usize, queries: Range<usize>) {
        let (d, layout) = (self.kv.head_dim(), self.kv.layout());
        let n = queries.len();
        scratch.prepared.begin(layout, n);
        for (i, query) in queries.enumerate() {
            let (token, at) = self.place(kv_head, query);
            let q = &self.q[token * self.shape.q_stride + at..][..d];
            // SAFETY: the row's instruction set was checked when it was made.
            unsafe { (self.row.ops.attention.prepare)(&mut scratch.prepared.place(layout, i, q)) };
        }
    }

    /// Computes the partial results of `blocks`, in order, and hands each to `take(scratch's merged
    /// results, query, block, partial)`.
    fn blocks(
        &self,
        scratch: &mut Scratch,
        kv_head: usize,
        queries: Range<usize>,
        blocks: Range<usize>,
        mut take: impl FnMut(&mut [f32], usize, usize, &[f32]),
    ) {
        self.prepare(scratch, kv_head, queries.clone());
        let layout = self.kv.layout();
        let Scratch { work, prepared, partial, merged } = scratch;
        let work = work.get_or_insert_with(Work::new);
        let len = partial_len(layout);
        partial.resize(MAX_QUERIES * len, 0.0);
        let kernels = &self.row.ops.attention;
        let kernel = if layout.dtype == KvDtype::Int8 { kernels.int8 } else { kernels.float };
        for block in blocks {
            let first_position = block * BLOCK;
            let (lines, next) = (self.kv.head(block, kv_head), self.kv.head(block + 1, kv_head));
            for (g, first) in queries.clone().step_by(MAX_QUERIES).enumerate() {
                let n = MAX_QUERIES.min(queries.end - first);
                let mut seen = [0; MAX_QUERIES];
                for (i, seen) in seen.iter_mut().enumerate().take(n) {
                    *seen = self.seen(first + i).saturating_sub(first_position).min(BLOCK);
                }
                if seen[n - 1] == 0 {
                    continue;
                }
                let queries = prepared.group(layout, g, n);
                let mut task = Task {
                    layout,
                    lines,
                    next,
                    begins: block == 0,
                    queries,
                    seen,
                    work,
                    out: &mut partial[..n * len],
                };
                // SAFETY: the row's instruction set was checked when it was made.
                unsafe { kernel(&mut task) };
                for i in 0..n {
                    if seen[i] > 0 {
                        take(merged, first + i, block, &partial[i * len..(i + 1) * len]);
                    }
                }
            }
        }
    }

    /// The results of some queries of a head.
    fn run(
        &self,
        scratch: &mut Scratch,
        kv_head: usize,
        queries: Range<usize>,
        out: &SharedOut<f32>,
    ) {
        let len = partial_len(self.kv.layout());
        let first = queries.start;
        scratch.merged.resize(MAX_BATCH * len, 0.0);
        let n_blocks = self.seen(queries.end - 1).div_ceil(BLOCK);
        self.blocks(
            scratch,
            kv_head,
            queries.clone(),
            0..n_blocks,
            |merged, query, block, partial| {
                let merged = &mut merged[(query - first) * len..][..len];
                self.merge(merged, block, partial);
            },
        );
        for query in queries {
            let (token, at) = self.place(kv_head, query);
            let d = self.kv.head_dim();
            // SAFETY: `out` outlives the split; one head of one token belongs to one item.
            let out = unsafe { out.part(token * self.shape.heads * d + at, d) };
            finish(&scratch.merged[(query - first) * len..][..len], out);
        }
    }

    fn merge(&self, merged: &mut [f32], block: usize, partial: &[f32]) {
        if block == 0 {
            merged.copy_from_slice(partial);
        } else {
            // SAFETY: the row's instruction set was checked when it was made.
            unsafe { (self.row.ops.attention.merge)(merged, partial) };
        }
    }

    /// [`Call::run`] with the blocks of a query on several threads: the partial results are kept,
    /// and merged at the end.
    fn run_segmented(&self, plan: &Plan, out: &mut [f32]) {
        let (d, len) = (self.kv.head_dim(), partial_len(self.kv.layout()));
        let n_blocks = self.total.div_ceil(BLOCK);
        let mut partials = PARTIALS.take();
        partials.resize((plan.kv_heads * plan.queries * n_blocks * len).max(partials.len()), 0.0);
        let at = |kv_head: usize, query: usize, block: usize| {
            ((kv_head * plan.queries + query) * n_blocks + block) * len
        };
        let shared = SharedOut::new(&mut partials);
        threads::split(plan.items() * plan.segments, plan.estimated_us, |parts| {
            let mut scratch = SCRATCH.take();
            for part in parts {
                let (item, segment) = (part / plan.segments, part % plan.segments);
                let (kv_head, queries) = plan.item(item);
                let blocks =
                    n_blocks * segment / plan.segments..n_blocks * (segment + 1) / plan.segments;
                self.blocks(&mut scratch, kv_head, queries, blocks, |_, query, block, partial| {
                    // SAFETY: `partials` outlives the split; one block of one query belongs to one
                    // part.
                    unsafe { shared.part(at(kv_head, query, block), len) }.copy_from_slice(partial);
                });
            }
            SCRATCH.set(scratch);
        });
        let mut scratch = SCRATCH.take();
        scratch.merged.resize(MAX_BATCH * len, 0.0);
        let merged = &mut scratch.merged[..len];
        for kv_head in 0..plan.kv_heads {
            for query in 0..plan.queries {
                for block in 0..self.seen(query).div_ceil(BLOCK) {
                    self.merge(merged, block, &partials[at(kv_head, query, block)..][..len]);
                }
                let (token, first) = self.place(kv_head, query);
                finish(merged, &mut out[token * self.shape.heads * d + first..][..d]);
            }
        }
        SCRATCH.set(scratch);
        PARTIALS.set(partials);
    }
}

/// Weighted values over the sum of the weights.
fn finish(merged: &[f32], out: &mut [f32]) {
    let (values, stats) = merged.split_at(merged.len() - 16);
    let inverse = 1.0 / stats[1];
    for (out, value) in out.iter_mut().zip(values) {
        *out = value * inverse;
    }
}

impl Work {
    fn new() -> Box<Work> {
        Box::new(Work {
            scores: [[0.0; BLOCK]; MAX_QUERIES],
            levels: [[0; BLOCK]; MAX_QUERIES],
            first: [0.0; MAX_QUERIES],
            units: [[0.0; MAX_QUERIES]; PAGES],
        })
    }
}

macro_rules! kernels {
    ($table:ident, $module:ident, $fma:literal, $lanes:ty, $int8:path, $(#[$feature:meta])?) => {
        mod $module {
            use super::{Prepare, Put, Task};

            $(#[$feature])?
            pub(super) fn put(put: &mut Put) {
                crate::kv::put_body(put)
            }
            $(#[$feature])?
            pub(super) fn prepare(prepare: &mut Prepare) {
                super::queries::prepare_body(prepare)
            }
            $(#[$feature])?
            pub(super) fn float(task: &mut Task) {
                super::float::block::<$fma, $lanes>(task)
            }
            $(#[$feature])?
            pub(super) fn merge(all: &mut [f32], next: &[f32]) {
                super::merge_body::<$fma>(all, next)
            }
        }
        pub(crate) const $table: Kernels =
            Kernels { put: $module::put, prepare: $module::prepare, int8: $int8, float: $module::float, merge: $module::merge };
    };
}

kernels!(SCALAR, scalar, false, [f32; 16], int8::block,);
#[cfg(target_arch = "x86_64")]
kernels!(AVX2, avx2, true, crate::ops::attention::lanes::Avx2, int8_avx2::block, #[target_feature(enable = "avx2,fma,f16c")]);
#[cfg(target_arch = "x86_64")]
kernels!(
    AVX512,
    avx512,
    true,
    crate::ops::attention::lanes::Avx512,
    int8_vnni::block,
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
);
