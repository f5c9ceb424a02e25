//! Weights in memory: a matrix in f32 or INT4, with an optional bias, and the products of a layer.
//!
//! With INT4 weights what precedes a product (norm, activation) is computed on the way into its
//! quantised inputs and what follows (bias, residual sum) on the way out; with f32 weights, the
//! reference, each is a step of its own.

use lacuna_kernels::{Activations, Epilogue, Int4Matrix, matmul_quantized, matmul_swiglu, ops};

/// A matrix of `n` outputs × `k` inputs.
pub(crate) enum Matrix {
    F32 { n: usize, k: usize, data: Vec<f32> },
    Int4(Int4Matrix),
}

/// RMSNorm: weight `[d]` and epsilon.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) eps: f32,
}

/// What goes into a product.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// `x` `[m,k]` as it is.
    Plain(&'a [f32]),
    /// `rms_norm(x)`, `x` `[m,k]`.
    Normed(&'a [f32], Norm<'a>),
    /// `silu(gate) · up` of rows that hold `gate` then `up`, `[m,2k]`.
    Swiglu(&'a [f32]),
}

/// Buffers of a product, reused from call to call.
#[derive(Default)]
pub(crate) struct ProductBuffers {
    activations: Activations,
    gated: Activations,
    gate_up: Vec<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl Matrix {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Matrix::F32 { data, .. } => size_of_val(data.as_slice()),
            Matrix::Int4(w) => w.bytes(),
        }
    }

    /// Rows.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Matrix::F32 { n, .. } => *n,
            Matrix::Int4(w) => w.n(),
        }
    }

    /// One row as f32 (the embedding of a token).
    pub(crate) fn row(&self, i: usize, out: &mut [f32]) {
        match self {
            Matrix::F32 { k, data, .. } => out.copy_from_slice(&data[i * k..(i + 1) * k]),
            Matrix::Int4(w) => w.dequantize_row(i, out),
        }
    }

    /// `y[m,n] = input · wᵀ`, then the epilogue.
    pub(crate) fn apply(
        &self,
        input: Input,
        epilogue: Epilogue,
        y: &mut [f32],
        buffers: &mut ProductBuffers,
    ) {
        match self {
            Matrix::Int4(w) => {
                let activations = &mut buffers.activations;
                match input {
                    Input::Plain(x) => activations.quantize(x, w.k()),
                    Input::Normed(x, norm) => {
                        activations.quantize_rms_norm(x, norm.weight, norm.eps)
                    }
                    Input::Swiglu(gate_up) => activations.quantize_swiglu(gate_up, w.k()),
                }
                matmul_quantized(w, activations, epilogue, y);
            }
            Matrix::F32 { n, k, data } => {
                let ProductBuffers { input: prepared, output, .. } = buffers;
                prepared.resize(y.len() / n * k, 0.0);
                let x = match input {
                    Input::Plain(x) => x,
                    Input::Normed(x, norm) => {
                        ops::rms_norm(x, norm.weight, norm.eps, prepared);
                        prepared
                    }
                    Input::Swiglu(gate_up) => {
                        ops::swiglu(gate_up, *k, prepared);
                        prepared
                    }
                };
                output.resize(y.len(), 0.0);
                ops::matmul_f32(*n, *k, data, x, output);
                for (y, product) in y.chunks_exact_mut(*n).zip(output.chunks_exact(*n)) {
                    for (i, (y, p)) in y.iter_mut().zip(product).enumerate() {
                        let p = p + epilogue.bias.map_or(0.0, |bias| bias[i]);
                        *y = if epilogue.add { *y + p } else { p };
                    }
                }
            }
        }
    }
}

/// A matrix and its bias.
pub(crate) struct Linear {
    pub(crate) matrix: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Linear {
    /// `y[m,n] = input · wᵀ + bias`
    pub(crate) fn apply(&self, input: Input, y: &mut [f32], buffers: &mut ProductBuffers) {
        self.matrix.apply(input, Epilogue { bias: self.bias.as_deref(), add: false }, y, buffers);
    }

    /// `y[m,n] += input · wᵀ + bias`
    pub(crate) fn add_to(&self, input: Input, y: &mut [f32], buffers: &mut ProductBuffers) {
        self.matrix.apply(input, Epilogue { bias: self.bias.as_deref(), add: true }, y, buffers);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.matrix.bytes() + self.bias.as_ref().map_or(0, |b| size_of_val(b.as_slice()))
    }
}

/// `x += down(silu(gate) · up)`, where `gate` and `up` are the halves of `gate_up(norm(x))`; `x`
/// `[m,d]`.
pub(crate) fn feed_forward(
    gate_up: &Linear,
    down: &Linear,
    norm: Norm,
    x: &mut [f32],
    buffers: &mut ProductBuffers,
) {
    let epilogue = Epilogue { bias: down.bias.as_deref(), add: true };
    if let (Linear { matrix: Matrix::Int4(first), bias: None }, Matrix::Int4(second)) =
        (gate_up, &down.matrix)
    {
        let ProductBuffers { activations, gated, gate_up, .. } = buffers;
        activations.quantize_rms_norm(x, norm.weight, norm.eps);
        matmul_swiglu(first, activations, gate_up, gated);
        return matmul_quantized(second, gated, epilogue, x);
    }
    let mut between = std::mem::take(&mut buffers.gate_up);
    between.resize(x.len() / norm.weight.len() * gate_up.matrix.outputs(), 0.0);
    gate_up.apply(Input::Normed(x, norm), &mut between, buffers);
    down.add_to(Input::Swiglu(&between), x, buffers);
    buffers.gate_up = between;
}
