//! A right operand that many products share, packed once.

use super::{MatMut, MatRef, Row, gemm};
#[cfg(target_arch = "x86_64")]
use super::{blocked, pack::Tile};

/// The right operand of [`gemm_packed`] as the row wants it; the memory is kept from one
/// [`Packed::set`] to the next.
pub struct Packed {
    row: Row,
    rows: usize,
    cols: usize,
    /// Row-major; of the f32 row.
    plain: Vec<f32>,
    #[cfg(target_arch = "x86_64")]
    tiles: Vec<Tile>,
}

impl Packed {
    /// Nothing yet.
    pub fn new(row: Row) -> Packed {
        Packed {
            row,
            rows: 0,
            cols: 0,
            plain: Vec::new(),
            #[cfg(target_arch = "x86_64")]
            tiles: Vec::new(),
        }
    }

    /// Takes over `b`.
    ///
    /// Panics: if the CPU has no such row ([`Row::is_available`]).
    pub fn set(&mut self, b: MatRef<'_>) {
        assert!(self.row.is_available(), "this CPU has no {} row", self.row);
        (self.rows, self.cols) = (b.rows, b.cols);
        #[cfg(target_arch = "x86_64")]
        if self.row != Row::F32 {
            self.tiles.resize(blocked::tiles_of(b.rows, b.cols), Tile::ZERO);
            if !self.tiles.is_empty() {
                blocked::pack_all(&mut self.tiles, b);
            }
            return;
        }
        self.plain.clear();
        self.plain.reserve(b.rows * b.cols);
        for i in 0..b.rows {
            self.plain.extend((0..b.cols).map(|j| b.data[i * b.row_stride + j * b.col_stride]));
        }
    }
}

/// `c[m,n] = a[m,k] · b[k,n]`, or `c += a · b` if `accumulate`, on the calling thread: what
/// [`gemm`] computes, in the bf16 rows to the bit.
///
/// Panics: if the shapes disagree.
pub fn gemm_packed(a: MatRef<'_>, b: &Packed, c: MatMut<'_>, accumulate: bool) {
    assert_eq!(a.cols, b.rows, "inner sizes of a product differ");
    assert_eq!((a.rows, b.cols), (c.rows, c.cols), "the result of a product has the wrong shape");
    #[cfg(target_arch = "x86_64")]
    if c.rows > 0 && c.cols > 0 && a.cols > 0 {
        match b.row {
            Row::Amx => {
                return blocked::run_packed(blocked::Kernel::Amx, a, &b.tiles, c, accumulate);
            }
            Row::Bf16 => {
                return blocked::run_packed(
                    blocked::Kernel::Avx512Bf16,
                    a,
                    &b.tiles,
                    c,
                    accumulate,
                );
            }
            Row::F32 => {}
        }
    }
    gemm(
        Row::F32,
        a,
        MatRef { data: &b.plain, rows: b.rows, cols: b.cols, row_stride: b.cols, col_stride: 1 },
        c,
        accumulate,
    );
}
