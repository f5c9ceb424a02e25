//! lacuna-kernels: slices in, slices out.
//!
//! INT4 weights and their products ([`int4`]), the f32 operations of a transformer layer ([`ops`]),
//! the scalar specification of both ([`reference`]), the choice of the instruction set ([`isa`])
//! and the number of threads ([`threads`]). No model, no file, no token: see `crates/engine` for
//! those. This crate holds all `std::arch` of the workspace.

#![allow(
    clippy::needless_range_loop,
    reason = "lanes and tiles are indexed together across several arrays"
)]

#[cfg(target_arch = "x86_64")]
mod amx;
pub mod cuda;
pub mod int4;
pub mod isa;
pub mod kv;
pub mod limits;
pub mod ops;
mod pages;
pub mod reference;
pub mod team;
pub mod threads;

pub use pages::give_back;

pub use int4::{
    Activations, Epilogue, Int4Error, Int4Matrix, matmul_int4, matmul_quantized, matmul_swiglu,
};
pub mod gemm;
pub mod train_ops;
