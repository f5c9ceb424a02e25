//! Products that sum over tokens, `C += Lᵀ · R`: the gradients of weights.
//!
//! Both sides are packed as they come up, a few tokens at a time while they are in the cache, and
//! only the packed form (half as large, in the order it is read in) goes to memory.

use super::{MatMut, MatRef, Row, float32};
#[cfg(target_arch = "x86_64")]
use super::{blocked, pack::Tile};

/// Which factor of the product the vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Their elements are rows of the result.
    Left,
    /// Their elements are columns of the result.
    Right,
}

/// One vector for each token, packed for [`add_summed`]. The memory is kept.
pub struct Summands {
    row: Row,
    side: Side,
    width: usize,
    tokens: usize,
    /// Token after token; of the f32 row.
    plain: Vec<f32>,
    #[cfg(target_arch = "x86_64")]
    tiles: Vec<Tile>,
}

/// The vectors of up to [`Summands::PART`] tokens.
pub struct SummandsPart<'a> {
    of: (Side, usize),
    plain: &'a mut [f32],
    #[cfg(target_arch = "x86_64")]
    tiles: &'a mut [Tile],
}

impl Summands {
    /// Tokens in a part, the unit of parallel work.
    pub const PART: usize = 512;
    /// Tokens that are packed at a time.
    pub const BLOCK: usize = 32;

    /// For vectors of `width` elements.
    ///
    /// Panics: if the CPU has no such row ([`Row::is_available`]).
    pub fn new(row: Row, side: Side, width: usize) -> Summands {
        assert!(row.is_available(), "this CPU has no {row} row");
        Summands {
            row,
            side,
            width,
            tokens: 0,
            plain: Vec::new(),
            #[cfg(target_arch = "x86_64")]
            tiles: Vec::new(),
        }
    }

    /// The parts for `tokens` tokens, in order; every block of each is to be
    /// [put](SummandsPart::put).
    pub fn parts(&mut self, tokens: usize) -> Vec<SummandsPart<'_>> {
        self.tokens = tokens;
        let of = (self.side, self.width);
        #[cfg(target_arch = "x86_64")]
        if self.row != Row::F32 {
            let part = blocked::part_tiles(self.width);
            self.tiles.resize(tokens.div_ceil(Self::PART) * part, Tile::ZERO);
            let mut parts: Vec<_> = self
                .tiles
                .chunks_mut(part.max(1))
                .map(|tiles| SummandsPart { of, plain: Default::default(), tiles })
                .collect();
            if let Some(last) = parts.last_mut() {
                // What a longer sequence has left there.
                let blocks = (tokens - 1) % Self::PART / Self::BLOCK + 1;
                last.tiles
                    .chunks_mut(Self::PART / Self::BLOCK)
                    .for_each(|panel| panel[blocks..].fill(Tile::ZERO));
            }
            return parts;
        }
        self.plain.resize(tokens * self.width, 0.0);
        let part = |plain| SummandsPart {
            of,
            plain,
            #[cfg(target_arch = "x86_64")]
            tiles: Default::default(),
        };
        self.plain.chunks_mut((Self::PART * self.width).max(1)).map(part).collect()
    }
}

impl SummandsPart<'_> {
    /// Takes over the vectors of some tokens, the first of which is `first` of the part. A block of
    /// tokens is put whole.
    ///
    /// Panics: if `first` is no multiple of [`Summands::BLOCK`], or the vectors do not fit.
    pub fn put(&mut self, first: usize, vectors: &[f32]) {
        let (side, width) = self.of;
        assert!(first.is_multiple_of(Summands::BLOCK) && vectors.len().is_multiple_of(width));
        #[cfg(target_arch = "x86_64")]
        if !self.tiles.is_empty() {
            for (i, block) in vectors.chunks(Summands::BLOCK * width).enumerate() {
                let block = MatRef::row_major(block, block.len() / width, width);
                blocked::put_summands(
                    self.tiles,
                    side == Side::Left,
                    first / Summands::BLOCK + i,
                    block,
                );
            }
            return;
        }
        self.plain[first * width..][..vectors.len()].copy_from_slice(vectors);
    }
}

/// `c[l, r] += Σ left[l] · right[r]` over all tokens, split over the threads of the current rayon
/// pool.
///
/// Panics: if sides, widths or numbers of tokens do not fit.
pub fn add_summed(left: &Summands, right: &Summands, c: MatMut<'_>) {
    assert!(
        left.side == Side::Left && right.side == Side::Right && left.row == right.row,
        "sides of a sum over tokens"
    );
    assert_eq!(left.tokens, right.tokens, "both sides have the same tokens");
    assert_eq!(
        (left.width, right.width),
        (c.rows, c.cols),
        "the result of a product has the wrong shape"
    );
    if left.tokens == 0 || c.rows == 0 || c.cols == 0 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if left.row != Row::F32 {
        let kernel =
            if left.row == Row::Amx { blocked::Kernel::Amx } else { blocked::Kernel::Avx512Bf16 };
        return blocked::run_summed(kernel, &left.tiles, &right.tiles, c);
    }
    let [left, right] =
        [left, right].map(|side| MatRef::row_major(&side.plain, side.tokens, side.width));
    float32::run(left.transposed(), right, c, true, rayon::current_num_threads());
}
