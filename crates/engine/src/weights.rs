//! Weights in memory: a matrix in f32 or INT4, with an optional bias.

use lacuna_kernels::{Int4Matrix, Activations, matmul_int4, ops};

/// A matrix of `n` outputs × `k` inputs.
pub(crate) enum Matrix {
    F32 { n: usize, k: usize, data: Vec<f32> },
    Int4(Int4Matrix),
}

impl Matrix {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Matrix::F32 { data, .. } => size_of_val(data.as_slice()),
            Matrix::Int4(w) => w.bytes(),
        }
    }

    /// One row as f32 (the embedding of a token).
    pub(crate) fn row(&self, i: usize, out: &mut [f32]) {
        match self {
            Matrix::F32 { k, data, .. } => out.copy_from_slice(&data[i * k..(i + 1) * k]),
            Matrix::Int4(w) => w.dequantize_row(i, out),
        }
    }

    /// `y[m,n] = x[m,k] · wᵀ`
    pub(crate) fn apply(&self, x: &[f32], y: &mut [f32], scratch: &mut Activations) {
        match self {
            Matrix::F32 { n, k, data } => ops::matmul_f32(*n, *k, data, x, y),
            Matrix::Int4(w) => matmul_int4(w, x, y, scratch),
        }
    }
}

/// A matrix and its bias.
pub(crate) struct Linear {
    pub(crate) matrix: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Linear {
    /// `y[m,n] = x[m,k] · wᵀ + bias`
    pub(crate) fn apply(&self, x: &[f32], y: &mut [f32], scratch: &mut Activations) {
        self.matrix.apply(x, y, scratch);
        if let Some(bias) = &self.bias {
            for y in y.chunks_exact_mut(bias.len()) {
                for (y, b) in y.iter_mut().zip(bias) {
                    *y += b;
                }
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.matrix.bytes() + self.bias.as_ref().map_or(0, |b| size_of_val(b.as_slice()))
    }
}
