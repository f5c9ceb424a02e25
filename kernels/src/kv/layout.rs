//! Where each element of a block lies.
//!
//! A block holds [`BLOCK`] positions of every head; a head's part is the keys of its pages of
//! [`PAGE`] positions, one after the other, then the values of its pages: streams long enough for a
//! core's prefetchers. A line is 64 bytes. A page holds:
//!
//! | | keys: 4 tiles of 16 positions | values |
//! |---|---|---|
//! | f32 | `[d][16]` | `[64][⌈d/16⌉·16]` |
//! | f16 | `[d][16]`, rounded up to whole lines | `[64][⌈d/16⌉·16]` |
//! | INT8 | f32 scales `[⌈d/32⌉][16]`, then u8 `[⌈d/4⌉][16][4]`, 128 added | f32 scales `[64]`, then i8 `[⌈d/16⌉][16 quads of positions][16][4]` |
//!
//! INT8 keys have their elements in [`pair_source`] order, so that a group of 32 holds whole
//! rotation pairs: the few elements of a key that are far larger than the rest come in such pairs,
//! and spoil the scale of one group instead of two.

use std::ops::Range;

use super::KvDtype;

/// Positions of a block.
pub(crate) const BLOCK: usize = 512;
/// Positions of a page.
pub(crate) const PAGE: usize = 64;
/// Positions of a tile.
pub(crate) const TILE: usize = 16;
/// Pages of a block.
pub(crate) const PAGES: usize = BLOCK / PAGE;
/// Tiles of a page.
const TILES: usize = PAGE / TILE;
/// Elements of an INT8 key that share a scale.
pub(crate) const GROUP: usize = crate::reference::GROUP;

/// 64 bytes, the unit of the store.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

const _: () = assert!(size_of::<Line>() == 64 && align_of::<Line>() == 64);

impl Line {
    pub(crate) const ZERO: Line = Line([0; 64]);
}

/// Shape of a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) dtype: KvDtype,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl Layout {
    pub(crate) fn new(dtype: KvDtype, kv_heads: usize, head_dim: usize) -> Self {
        Layout { dtype, kv_heads, head_dim }
    }

    /// Scales of an INT8 key.
    pub(crate) fn groups(&self) -> usize {
        self.head_dim.div_ceil(GROUP)
    }

    /// Four elements each of an INT8 key.
    pub(crate) fn quads(&self) -> usize {
        self.head_dim.div_ceil(4)
    }

    /// Sixteen elements each of a value.
    pub(crate) fn columns(&self) -> usize {
        self.head_dim.div_ceil(16)
    }

    /// Lines of a key tile.
    pub(crate) fn tile_lines(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => self.head_dim,
            KvDtype::F16 => self.head_dim.div_ceil(2),
            KvDtype::Int8 => self.groups() + self.quads(),
        }
    }

    /// Lines of the keys of a head of a page.
    pub(crate) fn key_lines(&self) -> usize {
        TILES * self.tile_lines()
    }

    /// Lines of the values of a head of a page.
    pub(crate) fn value_lines(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => PAGE * self.columns(),
            KvDtype::F16 => PAGE / 2 * self.columns(),
            KvDtype::Int8 => PAGE / 16 + self.columns() * (PAGE / 4),
        }
    }

    /// Lines of one head of a block.
    pub(crate) fn head_lines(&self) -> usize {
        PAGES * (self.key_lines() + self.value_lines())
    }

    /// Lines of a block.
    pub(crate) fn block_lines(&self) -> usize {
        self.kv_heads * self.head_lines()
    }

    /// Where the keys and the values of page `page` (of a block) lie in a head's lines.
    #[inline(always)]
    pub(crate) fn page(&self, page: usize) -> (Range<usize>, Range<usize>) {
        let (keys, values) = (self.key_lines(), self.value_lines());
        let first = PAGES * keys + page * values;
        (page * keys..(page + 1) * keys, first..first + values)
    }
}

impl Layout {
    /// Where everything of some pages (counted from position 0) lies in the lines of a store.
    pub(crate) fn pages(&self, pages: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let layout = *self;
        pages.flat_map(move |page| {
            (0..layout.kv_heads).flat_map(move |head| {
                let at = page / PAGES * layout.block_lines() + head * layout.head_lines();
                let (keys, values) = layout.page(page % PAGES);
                [at + keys.start..at + keys.end, at + values.start..at + values.end]
            })
        })
    }
}

/// Which element of a head stands at place `i` of an INT8 key or query: `0, d/2, 1, d/2 + 1, …` for
/// even `d`, else `i`.
#[inline(always)]
pub(crate) fn pair_source(d: usize, i: usize) -> usize {
    if d.is_multiple_of(2) { i / 2 + i % 2 * (d / 2) } else { i }
}

/// The bytes of some lines.
#[inline(always)]
pub(crate) fn bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 64 initialised bytes without padding.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
}

/// Some lines as f32.
#[inline(always)]
pub(crate) fn floats(lines: &[Line]) -> &[f32] {
    // SAFETY: 16 f32 a line, any bits are an f32, and a line is aligned to 64.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 16) }
}

/// Some lines as the bits of f16.
#[inline(always)]
pub(crate) fn halves(lines: &[Line]) -> &[u16] {
    // SAFETY: 32 u16 a line, any bits are a u16, and a line is aligned to 64.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 32) }
}

/// [`bytes`], writable.
#[inline(always)]
pub(super) fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as in `bytes`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64) }
}

/// [`floats`], writable.
#[inline(always)]
pub(super) fn floats_mut(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: as in `floats`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 16) }
}

/// [`halves`], writable.
#[inline(always)]
pub(super) fn halves_mut(lines: &mut [Line]) -> &mut [u16] {
    // SAFETY: as in `halves`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 32) }
}
