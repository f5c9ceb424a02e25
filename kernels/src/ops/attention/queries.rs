//! Queries in the form that the block kernels read: eight side by side, scaled; quantised for INT8.

use super::MAX_QUERIES;
use crate::kv::{KvDtype, Layout, gather_group, quantize_group};

/// Elements of a query that share a scale.
const GROUP: usize = crate::reference::GROUP;

/// Queries of a batch, in groups of eight. Buffers are reused.
#[derive(Default)]
pub(super) struct Prepared {
    /// f32 and f16: `[groups of eight][d][8]`, times `log2(e)/√d`.
    floats: Vec<[f32; MAX_QUERIES]>,
    /// INT8: `[groups of eight][d/4][8][4]`, in the order of the keys.
    quads: Vec<[[i8; 4]; MAX_QUERIES]>,
    /// INT8: `[groups of eight][d/32][8]`, times `log2(e)/√d`.
    scales: Vec<[f32; MAX_QUERIES]>,
    /// INT8: `-128 Σ q`, because 128 is added to keys.
    bias: Vec<[i32; MAX_QUERIES]>,
}

/// Up to eight queries of a batch.
pub(crate) struct Queries<'a> {
    pub(super) n: usize,
    pub(super) floats: &'a [[f32; MAX_QUERIES]],
    pub(super) quads: &'a [[[i8; 4]; MAX_QUERIES]],
    pub(super) scales: &'a [[f32; MAX_QUERIES]],
    pub(super) bias: &'a [[i32; MAX_QUERIES]],
}

/// One query on its way into its places.
pub(crate) struct Prepare<'a> {
    q: &'a [f32],
    lane: usize,
    scale: f32,
    floats: &'a mut [[f32; MAX_QUERIES]],
    quads: &'a mut [[[i8; 4]; MAX_QUERIES]],
    scales: &'a mut [[f32; MAX_QUERIES]],
    bias: &'a mut [[i32; MAX_QUERIES]],
}

impl Prepared {
    /// Room for `n` queries.
    pub(super) fn begin(&mut self, layout: &Layout, n: usize) {
        let groups = n.div_ceil(MAX_QUERIES);
        if layout.dtype == KvDtype::Int8 {
            self.quads.resize(groups * layout.quads(), [[0; 4]; MAX_QUERIES]);
            self.scales.resize(groups * layout.groups(), [0.0; MAX_QUERIES]);
            self.bias.resize(groups * layout.groups(), [0; MAX_QUERIES]);
        } else {
            self.floats.resize(groups * layout.head_dim, [0.0; MAX_QUERIES]);
        }
    }

    /// Where query `i` of the batch goes.
    pub(super) fn place<'a>(&'a mut self, layout: &Layout, i: usize, q: &'a [f32]) -> Prepare<'a> {
        let group = i / MAX_QUERIES;
        let scale = std::f32::consts::LOG2_E / (layout.head_dim as f32).sqrt();
        let mut prepare = Prepare {
            q,
            lane: i % MAX_QUERIES,
            scale,
            floats: &mut [],
            quads: &mut [],
            scales: &mut [],
            bias: &mut [],
        };
        if layout.dtype == KvDtype::Int8 {
            prepare.quads = part(&mut self.quads, group, layout.quads());
            prepare.scales = part(&mut self.scales, group, layout.groups());
            prepare.bias = part(&mut self.bias, group, layout.groups());
        } else {
            prepare.floats = part(&mut self.floats, group, layout.head_dim);
        }
        prepare
    }

    /// Group `group` of eight, of which `n` count.
    pub(super) fn group(&self, layout: &Layout, group: usize, n: usize) -> Queries<'_> {
        let range = |len: usize| group * len..(group + 1) * len;
        if layout.dtype == KvDtype::Int8 {
            let (quads, groups) = (range(layout.quads()), range(layout.groups()));
            Queries {
                n,
                floats: &[],
                quads: &self.quads[quads],
                scales: &self.scales[groups.clone()],
                bias: &self.bias[groups],
            }
        } else {
            Queries {
                n,
                floats: &self.floats[range(layout.head_dim)],
                quads: &[],
                scales: &[],
                bias: &[],
            }
        }
    }
}

fn part<T>(all: &mut [T], group: usize, len: usize) -> &mut [T] {
    &mut all[group * len..(group + 1) * len]
}

/// Body of [`super::Kernels::prepare`].
#[inline(always)]
pub(super) fn prepare_body(prepare: &mut Prepare) {
    let Prepare { q, lane, scale, .. } = *prepare;
    if prepare.quads.is_empty() {
        // The sum is NaN if an element is: every score is then.
        let fault = if q.iter().all(|v| v.is_finite()) { 0.0 } else { f32::NAN };
        for (place, q) in prepare.floats.iter_mut().zip(q) {
            place[lane] = q * scale + fault;
        }
        return;
    }
    for (g, quads) in prepare.quads.chunks_mut(GROUP / 4).enumerate() {
        let (levels, group_scale, sum) = quantize_group(&gather_group(q, g));
        prepare.scales[g][lane] = group_scale * scale;
        prepare.bias[g][lane] = -128 * sum;
        for (quad, levels) in quads.iter_mut().zip(levels.as_chunks::<4>().0) {
            quad[lane] = *levels;
        }
    }
}
