//! Dense matrix products for training: `C (+)= A · B` in f32, with the products taken in bf16 where
//! the CPU has the instructions for it.
//!
//! Owns: the checked views [`MatRef`] and [`MatMut`], the choice of the instruction row ([`Row`]),
//! the products [`gemm`] and [`gemm_packed`] (this thread alone) and [`add_summed`] (split over the
//! current rayon pool). Does not own: INT4 or INT8 products, which serve inference. Start with
//! [`gemm`], then `blocked.rs` for the loop order and `pack.rs` for the layout.
//!
//! Every row adds the terms of an element in one fixed order that no thread count changes, so a
//! result is the same to the bit from run to run on one machine.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
#[cfg(target_arch = "x86_64")]
mod blocked;
mod float32;
#[cfg(target_arch = "x86_64")]
mod pack;
mod packed;
mod row;
mod summed;
#[cfg(test)]
mod tests;

pub use packed::{Packed, gemm_packed};
pub use row::{Row, UnknownRow};
pub use summed::{Side, Summands, SummandsPart, add_summed};

/// A read-only matrix view: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> MatRef<'a> {
    /// A view with explicit strides (in elements).
    ///
    /// Panics: if the last element lies outside `data`.
    pub fn new(
        data: &'a [f32],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Self {
        assert!(
            extent(rows, cols, row_stride, col_stride) <= data.len(),
            "matrix {rows}×{cols} with strides {row_stride}, {col_stride} exceeds its {} elements",
            data.len()
        );
        MatRef { data, rows, cols, row_stride, col_stride }
    }

    /// Row-major `rows × cols` without gaps.
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols, 1)
    }

    /// The same data seen as its transpose.
    pub fn transposed(self) -> Self {
        MatRef {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// A writable matrix view with contiguous rows: element `(i, j)` is `data[i * row_stride + j]`.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// A view with an explicit row stride (in elements); what lies between the rows is left alone.
    ///
    /// Panics: if the last element lies outside `data` or rows overlap.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            rows <= 1 || row_stride >= cols,
            "rows of {cols} elements overlap at stride {row_stride}"
        );
        let extent = extent(rows, cols, row_stride, 1);
        assert!(
            extent <= data.len(),
            "matrix {rows}×{cols} with row stride {row_stride} exceeds its {} elements",
            data.len()
        );
        MatMut { data: &mut data[..extent], rows, cols, row_stride }
    }

    /// Row-major `rows × cols` without gaps.
    pub fn row_major(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }
}

/// Number of elements from the first to the last of a view.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 {
        return 0;
    }
    let last = (rows - 1).checked_mul(row_stride).zip((cols - 1).checked_mul(col_stride));
    last.and_then(|(r, c)| r.checked_add(c)?.checked_add(1)).expect("matrix extent overflows")
}

/// `c[m,n] = a[m,k] · b[k,n]`, or `c += a · b` if `accumulate`, on the calling thread.
///
/// Accumulated in f32; the rows [`Row::Bf16`] and [`Row::Amx`] round the operands to bf16 (8 bits
/// of mantissa) first. Panics: if the shapes disagree or the CPU has no such row
/// ([`Row::is_available`]).
pub fn gemm(row: Row, a: MatRef<'_>, b: MatRef<'_>, c: MatMut<'_>, accumulate: bool) {
    assert!(row.is_available(), "this CPU has no {row} row");
    assert_eq!(a.cols, b.rows, "inner sizes of a product differ");
    assert_eq!((a.rows, b.cols), (c.rows, c.cols), "the result of a product has the wrong shape");
    if c.rows == 0 || c.cols == 0 {
        return;
    }
    if a.cols == 0 {
        if !accumulate {
            c.data.chunks_mut(c.row_stride).for_each(|r| r[..c.cols].fill(0.0));
        }
        return;
    }
    match row {
        Row::F32 => float32::run(a, b, c, accumulate, 1),
        #[cfg(target_arch = "x86_64")]
        Row::Bf16 => blocked::run(blocked::Kernel::Avx512Bf16, a, b, c, accumulate),
        #[cfg(target_arch = "x86_64")]
        Row::Amx => blocked::run(blocked::Kernel::Amx, a, b, c, accumulate),
        #[cfg(not(target_arch = "x86_64"))]
        Row::Bf16 | Row::Amx => unreachable!("checked by is_available"),
    }
}
