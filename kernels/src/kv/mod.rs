//! Keys and values of one layer as attention reads them: f32, f16 or INT8.
//!
//! Owns the memory ([`memory`]) and its layout ([`layout`]), how a row comes in ([`put`]) and how
//! it is read back ([`take`]); the products are in `ops::attention`. Positions lie in blocks,
//! shared between stores until one writes; in a block, each head has its keys and then its values,
//! so that a head is read in long streams. Start at [`KvStore`].

mod layout;
mod memory;
mod put;
mod take;

use std::fmt;
use std::sync::Arc;

pub(crate) use layout::{BLOCK, Layout, Line, PAGE, PAGES, TILE, bytes, floats, halves};
pub use memory::KvMemory;
use memory::Part;
pub(crate) use put::{Put, gather_group, put_body, quantize_group};
use take::take;

use crate::isa::{self, Row};

/// How keys and values are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvDtype {
    /// As computed: the reference.
    F32,
    /// Rounded to f16; a value that f16 cannot hold counts as not finite.
    F16,
    /// Keys: one scale for 32 elements of a head at a position; values: one scale a head and
    /// position.
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

/// Keys and values of one layer, from position 0 on, in blocks of 512 positions.
///
/// A clone shares the blocks; whoever writes to a shared one gets a copy of it first. Blocks are of
/// that size because a head of a block is what attention reads in one stream: smaller ones would
/// break the streams, and sharing is by whole blocks anyway.
#[derive(Clone)]
pub struct KvStore {
    layout: Layout,
    memory: KvMemory,
    blocks: Vec<Arc<Block>>,
}

/// 512 positions of every head.
struct Block {
    lines: Part,
}

impl Block {
    /// Zeros: places that nobody has written yet must be finite, kernels read whole pages.
    fn new(layout: &Layout, memory: &KvMemory) -> Block {
        Block { lines: memory.zeroed(layout.block_lines()) }
    }

    /// A block with the first `pages` pages of this one.
    fn copy(&self, layout: &Layout, pages: usize) -> Block {
        let mut copy = Block::new(layout, self.lines.memory());
        for range in layout.pages(0..pages) {
            copy.lines[range.clone()].copy_from_slice(&self.lines[range]);
        }
        copy
    }
}

impl KvStore {
    /// An empty store. Panics: a dimension is zero.
    pub fn new(dtype: KvDtype, kv_heads: usize, head_dim: usize) -> Self {
        KvStore::counted(dtype, kv_heads, head_dim, &KvMemory::default())
    }

    /// An empty store whose blocks are counted by `memory`. Panics: a dimension is zero.
    pub fn counted(dtype: KvDtype, kv_heads: usize, head_dim: usize, memory: &KvMemory) -> Self {
        assert!(kv_heads > 0 && head_dim > 0, "{kv_heads} heads of {head_dim} elements");
        KvStore {
            layout: Layout::new(dtype, kv_heads, head_dim),
            memory: memory.clone(),
            blocks: Vec::new(),
        }
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
        self.blocks.len() * BLOCK
    }

    /// Bytes in memory; blocks shared with other stores count in full ([`KvMemory`] counts them
    /// once).
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| size_of_val(&*block.lines)).sum()
    }

    /// Bytes that one more block takes, and how many positions it holds.
    pub fn block_size(&self) -> (usize, usize) {
        (self.layout.block_lines() * size_of::<Line>(), BLOCK)
    }

    /// Makes room for `tokens` positions, block by block; keeps what there is.
    pub fn grow(&mut self, tokens: usize) {
        while self.tokens() < tokens {
            self.blocks.push(Arc::new(Block::new(&self.layout, &self.memory)));
        }
    }

    /// Gives back the blocks behind the one that holds position `tokens - 1`.
    pub fn shrink(&mut self, tokens: usize) {
        self.blocks.truncate(tokens.div_ceil(BLOCK));
    }

    /// Prepares writing from position `from` on when what stands there is not needed any more:
    /// shared blocks are copied only as far as positions before `from` go, or left to the others.
    pub fn rewrite(&mut self, from: usize) {
        let first = from / BLOCK;
        let shared = |block: &Arc<Block>| Arc::strong_count(block) > 1;
        if let Some(after) = self.blocks.get(first + 1..)
            && let Some(n) = after.iter().position(shared)
        {
            self.blocks.truncate(first + 1 + n);
        }
        if let Some(block) = self.blocks.get_mut(first).filter(|block| shared(block)) {
            if from.is_multiple_of(BLOCK) {
                self.blocks.truncate(first);
            } else {
                *block = Arc::new(block.copy(&self.layout, (from % BLOCK).div_ceil(PAGE)));
            }
        }
    }

    /// Takes the keys `k` and values `v`, `[kv_heads·head_dim]` each, of one position. Panics: see
    /// [`KvStore::put_many`].
    pub fn put(&mut self, position: usize, k: &[f32], v: &[f32]) {
        self.put_many(position, 1, k, v, k.len());
    }

    /// Takes `m` positions from `first` on: row `i` of keys is
    /// `k[i·stride..][..kv_heads·head_dim]`, of values the same in `v`.
    ///
    /// Where a head's key or value at a position holds an element that is not finite (or that the
    /// type cannot hold), whatever attends to that head and position becomes NaN. Equals
    /// `reference::quantize_key` and `reference::quantize_value`. Panics: lengths, or no room
    /// ([`KvStore::grow`]).
    pub fn put_many(&mut self, first: usize, m: usize, k: &[f32], v: &[f32], stride: usize) {
        self.put_many_with(isa::active(), first, m, k, v, stride);
    }

    /// [`KvStore::put_many`] on a given row of the kernel table. Every row stores the same bits.
    pub fn put_many_with(
        &mut self,
        row: &'static Row,
        first: usize,
        m: usize,
        k: &[f32],
        v: &[f32],
        stride: usize,
    ) {
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
        assert!(
            stride >= width && k.len() >= needed && v.len() >= needed,
            "{m} rows of {width} elements at stride {stride}"
        );
        let layout = self.layout;
        for i in 0..m {
            let position = first + i;
            let block = self.block_mut(position / BLOCK);
            for (head, lines) in block.chunks_exact_mut(layout.head_lines()).enumerate() {
                let at = i * stride + head * d;
                let mut put = Put {
                    layout: &layout,
                    lines,
                    lane: position % BLOCK,
                    k: &k[at..at + d],
                    v: &v[at..at + d],
                };
                // SAFETY: `row` comes from `isa::row` or `isa::selected`, which checked the
                // instruction set.
                unsafe { (row.ops.attention.put)(&mut put) };
            }
        }
    }

    /// The keys and values of one position as the store holds them, `[kv_heads·head_dim]` each:
    /// [`KvStore::put`] of them stores the same again (to one unit in the last place of an INT8
    /// scale). A key that was not finite comes back as NaN. Panics: lengths, no such position.
    pub fn read(&self, position: usize, k: &mut [f32], v: &mut [f32]) {
        let (layout, d) = (&self.layout, self.layout.head_dim);
        assert!(
            k.len() == layout.kv_heads * d && v.len() == k.len(),
            "keys and values of {self:?}"
        );
        assert!(position < self.tokens(), "position {position} of {self:?}");
        let heads = k.chunks_exact_mut(d).zip(v.chunks_exact_mut(d));
        for (head, (k, v)) in heads.enumerate() {
            take(layout, self.head(position / BLOCK, head), position % BLOCK, k, v);
        }
    }

    fn block_mut(&mut self, block: usize) -> &mut [Line] {
        let place = &mut self.blocks[block];
        if Arc::get_mut(place).is_none() {
            *place = Arc::new(place.copy(&self.layout, PAGES));
        }
        &mut Arc::get_mut(place).expect("nobody else has the copy").lines
    }

    /// A head's lines of a block; nothing beyond the last block.
    pub(crate) fn head(&self, block: usize, head: usize) -> &[Line] {
        let n = self.layout.head_lines();
        self.blocks.get(block).map_or(&[], |block| &block.lines[head * n..(head + 1) * n])
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }
}

impl fmt::Debug for KvStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layout { dtype, kv_heads, head_dim, .. } = self.layout;
        write!(f, "KvStore({dtype}, {kv_heads} x {head_dim}, {} positions)", self.tokens())
    }
}
