//! Keys and values of one layer as attention reads them: f32, f16 or INT8.
//!
//! Owns the memory and its layout ([`layout`]) and how a row comes in ([`put`]); the products are in `ops::attention`. Positions
//! lie in blocks; in a block, each head has its keys and then its values, so that a head is read in long streams.
//! Start at [`KvStore`].

mod layout;
mod put;

use std::fmt;
use std::ops::Range;

pub(crate) use layout::{BLOCK, Layout, Line, PAGE, PAGES, TILE, bytes, floats, halves};
pub(crate) use put::{Put, gather_group, put_body, quantize_group};

use crate::isa::{self, Row};

/// How keys and values are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvDtype {
    /// As computed: the reference.
    F32,
    /// Rounded to f16; a value that f16 cannot hold counts as not finite.
    F16,
    /// Keys: one scale for 32 elements of a head at a position; values: one scale a head and position.
    Int8,
}

impl KvDtype {
    /// Every type, most exact first.
    pub const ALL: [KvDtype; 3] = [KvDtype::F32, KvDtype::F16, KvDtype::Int8];

    /// The name that settings use.
    pub fn name(self) -> &'static str {
        match self {
            KvDtype::F32 => "f32",
            KvDtype::F16 => "f16",
            KvDtype::Int8 => "int8",
        }
    }
}

impl fmt::Display for KvDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Keys and values of one layer, from position 0 on. Memory grows with use, in steps of a quarter.
pub struct KvStore {
    layout: Layout,
    blocks: usize,
    lines: Vec<Line>,
}

/// A copy of some positions: see [`KvStore::save`].
#[derive(Default)]
pub struct KvSaved {
    pages: Range<usize>,
    lines: Vec<Line>,
}

impl KvStore {
    /// An empty store. Panics: a dimension is zero.
    pub fn new(dtype: KvDtype, kv_heads: usize, head_dim: usize) -> Self {
        assert!(kv_heads > 0 && head_dim > 0, "{kv_heads} heads of {head_dim} elements");
        KvStore { layout: Layout::new(dtype, kv_heads, head_dim), blocks: 0, lines: Vec::new() }
    }

    /// How keys and values are held.
    pub fn dtype(&self) -> KvDtype {
        self.layout.dtype
    }

    /// Heads of keys (and of values).
    pub fn kv_heads(&self) -> usize {
        self.layout.kv_heads
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.layout.head_dim
    }

    /// Positions that there is room for.
    pub fn tokens(&self) -> usize {
        self.blocks * BLOCK
    }

    /// Bytes in memory, room to grow included.
    pub fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }

    /// Makes room for `tokens` positions; keeps what there is. New memory is asked for in steps, so that most calls do nothing.
    pub fn grow(&mut self, tokens: usize) {
        let blocks = tokens.div_ceil(BLOCK);
        if blocks <= self.blocks {
            return;
        }
        let lines = blocks * self.layout.block_lines();
        if lines > self.lines.capacity() {
            let with_room = blocks.max(self.blocks + self.blocks / 4) * self.layout.block_lines();
            self.lines.reserve_exact(with_room - self.lines.len());
        }
        self.lines.resize(lines, Line::ZERO);
        self.blocks = blocks;
    }

    /// Takes the keys `k` and values `v`, `[kv_heads·head_dim]` each, of one position. Panics: see [`KvStore::put_many`].
    pub fn put(&mut self, position: usize, k: &[f32], v: &[f32]) {
        self.put_many(position, 1, k, v, k.len());
    }

    /// Takes `m` positions from `first` on: row `i` of keys is `k[i·stride..][..kv_heads·head_dim]`, of values the same in `v`.
    ///
    /// Where a head's key or value at a position holds an element that is not finite (or that the type cannot hold), whatever
    /// attends to that head and position becomes NaN. Equals `reference::quantize_key` and `reference::quantize_value`.
    /// Panics: lengths, or no room ([`KvStore::grow`]).
    pub fn put_many(&mut self, first: usize, m: usize, k: &[f32], v: &[f32], stride: usize) {
        self.put_many_with(isa::active(), first, m, k, v, stride);
    }

    /// [`KvStore::put_many`] on a given row of the kernel table. Every row stores the same bits.
    pub fn put_many_with(&mut self, row: &'static Row, first: usize, m: usize, k: &[f32], v: &[f32], stride: usize) {
        let Layout { kv_heads, head_dim: d, .. } = self.layout;
        let width = kv_heads * d;
        if m == 0 {
            return;
        }
        assert!(
            first.checked_add(m).is_some_and(|end| end <= self.tokens()),
            "{m} positions from {first} on in room for {}",
            self.tokens()
        );
        let needed = (m - 1) * stride + width;
        assert!(stride >= width && k.len() >= needed && v.len() >= needed, "{m} rows of {width} elements at stride {stride}");
        let layout = self.layout;
        for i in 0..m {
            let position = first + i;
            let block = &mut self.lines[position / BLOCK * layout.block_lines()..][..layout.block_lines()];
            for (head, lines) in block.chunks_exact_mut(layout.head_lines()).enumerate() {
                let at = i * stride + head * d;
                let mut put = Put { layout: &layout, lines, lane: position % BLOCK, k: &k[at..at + d], v: &v[at..at + d] };
                // SAFETY: `row` comes from `isa::row` or `isa::selected`, which checked the instruction set.
                unsafe { (row.ops.attention.put)(&mut put) };
            }
        }
    }

    /// A copy of what [`KvStore::restore`] needs to put `positions` back. Panics: beyond [`KvStore::tokens`].
    pub fn save(&self, positions: Range<usize>) -> KvSaved {
        if positions.is_empty() {
            return KvSaved::default();
        }
        // Whole pages: the other positions in them have not changed when they are put back.
        let pages = positions.start / PAGE..positions.end.div_ceil(PAGE);
        let mut lines = Vec::with_capacity(pages.len() * self.layout.block_lines() / PAGES);
        for range in self.layout.pages(pages.clone()) {
            lines.extend_from_slice(&self.lines[range]);
        }
        KvSaved { pages, lines }
    }

    /// Puts back what [`KvStore::save`] of this store has copied, as far as whole pages that hold those positions go: positions
    /// before them must be as they were then.
    pub fn restore(&mut self, saved: &KvSaved) {
        let mut rest = saved.lines.as_slice();
        for range in self.layout.pages(saved.pages.clone()) {
            let (part, after) = rest.split_at(range.len());
            self.lines[range].copy_from_slice(part);
            rest = after;
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }
}

impl fmt::Debug for KvStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layout { dtype, kv_heads, head_dim, .. } = self.layout;
        write!(f, "KvStore({dtype}, {kv_heads} x {head_dim}, {} positions)", self.tokens())
    }
}
