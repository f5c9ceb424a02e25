//! One pass of the model over tokens of several sequences: a ragged batch without padding.
//!
//! Products take all tokens as one matrix; attention is block-diagonal because each sequence has
//! its own store of keys and values and its own positions. Does not own: what the sequences are for
//! (`prepack`).

use std::ops::Range;

use lacuna_kernels::kv::KvStore;
use lacuna_kernels::ops::{self, Attention};

use crate::cancel::Cancel;
use crate::forward::{self, Cancelled};
use crate::model::{Layer, Model};
use crate::weights::Input;
use crate::workspace::Workspace;

/// Tokens of one sequence that sit side by side, and their rows in the pass.
pub(crate) struct Segment {
    /// Index of the sequence.
    pub(crate) sequence: usize,
    /// Position of the first token.
    pub(crate) start: usize,
    pub(crate) rows: Range<usize>,
}

/// Runs all layers over `ids`, the tokens of the segments in order of their rows; the result is
/// `w.x` `[ids.len(), hidden]`.
///
/// `stores` are the layers of each sequence; they take the keys and values. After a cancellation
/// they hold some of them.
pub(crate) fn pass(
    model: &Model,
    stores: &mut [&mut [KvStore]],
    segments: &[Segment],
    ids: &[u32],
    cancel: &Cancel,
    w: &mut Workspace,
) -> Result<(), Cancelled> {
    forward::embed(model, ids.iter().copied(), w);
    let positions = segments.iter().flat_map(|s| s.start..s.start + s.rows.len());
    model.rope.fill(positions, &mut w.cos, &mut w.sin);
    for (l, layer) in model.layers.iter().enumerate() {
        if cancel.checkpoint(l == 0) {
            return Err(Cancelled);
        }
        forward::project(model, layer, w);
        attend(model, layer, l, stores, segments, w);
        forward::feed_forward_half(model, layer, w);
    }
    Ok(())
}

/// `x += output(attention(q))`, each segment over its own sequence.
fn attend(
    model: &Model,
    layer: &Layer,
    l: usize,
    stores: &mut [&mut [KvStore]],
    segments: &[Segment],
    w: &mut Workspace,
) {
    let (q_width, kv_width) = (model.spec.q_width(), model.spec.kv_width());
    let width = q_width + 2 * kv_width;
    w.attended.resize(w.qkv.len() / width * q_width, 0.0);
    for Segment { sequence, start, rows } in segments {
        let kv = &mut stores[*sequence][l];
        let qkv = &w.qkv[rows.start * width..rows.end * width];
        kv.grow(start + rows.len());
        kv.put_many(*start, rows.len(), &qkv[q_width..], &qkv[q_width + kv_width..], width);
        let shape =
            Attention { heads: model.spec.attention().heads, past: *start, q_stride: width };
        ops::attention(&shape, qkv, kv, &mut w.attended[rows.start * q_width..rows.end * q_width]);
    }
    layer.output.add_to(Input::Plain(&w.attended), &mut w.x, &mut w.product);
}
