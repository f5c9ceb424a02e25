//! Bodies of the f32 operations, written so that they vectorise, and their versions per instruction
//! set.
//!
//! `FMA` selects fused multiply-add, which only pays where the instruction exists (elsewhere it is
//! a library call).

use super::Table;

const LANES: usize = 32;

#[inline(always)]
pub(super) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn sum_lanes(lanes: &[f32; LANES]) -> f32 {
    let mut halved = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            halved[i] += halved[i + width];
        }
        width /= 2;
    }
    halved[0]
}

#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            acc[i] = mul_add::<FMA>(a[i], b[i], acc[i]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sum_lanes(&acc) + rest
}

/// `exp(x)` to about 2 ulp for `x ≤ 0` or moderate; 0 below −87, saturating above 88, NaN stays
/// NaN.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.0 { -87.0 } else { clamped };
    let shifted = mul_add::<FMA>(clamped, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // ln 2 in two parts keeps the reduction exact.
    let r = mul_add::<FMA>(n, -0.693_359_4, clamped);
    let r = mul_add::<FMA>(n, 2.121_944_4e-4, r);
    let p = mul_add::<FMA>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = mul_add::<FMA>(p, r, 8.333_452e-3);
    let p = mul_add::<FMA>(p, r, 4.166_579_6e-2);
    let p = mul_add::<FMA>(p, r, 1.666_666_5e-1);
    let p = mul_add::<FMA>(p, r, 0.5);
    let p = mul_add::<FMA>(p, r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let value = p * power;
    if x < -87.0 { 0.0 } else { value }
}

#[inline(always)]
fn rms_norm<const FMA: bool>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = dot::<FMA>(x, x) / x.len() as f32;
    let inverse = 1.0 / (mean + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = *x * inverse * *w;
    }
}

#[inline(always)]
pub(crate) fn silu_mul<const FMA: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
        *out = *g / (1.0 + exp::<FMA>(-*g)) * *u;
    }
}

#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, v| if *v > a { *v } else { a })
}

/// Replaces `x` by `exp(x - shift)` and returns the sum.
#[inline(always)]
fn exp_in_place<const FMA: bool>(x: &mut [f32], shift: f32) -> f32 {
    let mut acc = [0f32; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = exp::<FMA>(chunk[i] - shift);
            acc[i] += chunk[i];
        }
    }
    let mut sum = sum_lanes(&acc);
    for v in rest {
        *v = exp::<FMA>(*v - shift);
        sum += *v;
    }
    sum
}

#[inline(always)]
pub(super) fn softmax<const FMA: bool>(x: &mut [f32]) {
    let shift = largest(x);
    let inverse = 1.0 / exp_in_place::<FMA>(x, shift);
    for v in x {
        *v *= inverse;
    }
}

#[inline(always)]
fn log_sum_exp<const FMA: bool>(x: &[f32]) -> f32 {
    let shift = largest(x);
    let mut acc = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            acc[i] += exp::<FMA>(chunk[i] - shift);
        }
    }
    let rest: f32 = rest.iter().map(|v| exp::<FMA>(*v - shift)).sum();
    shift + (sum_lanes(&acc) + rest).ln()
}

/// Maximum of `x` and where it first stands (NaN is never it), and `Σ exp(x - maximum)`. Not empty.
#[inline(always)]
fn top<const FMA: bool>(x: &[f32]) -> (f32, usize, f32) {
    let most = largest(x);
    // Nothing but minus infinity sums to 0, not to NaN.
    let shift = if most == f32::NEG_INFINITY { 0.0 } else { most };
    let mut acc = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            acc[i] += exp::<FMA>(chunk[i] - shift);
        }
    }
    let rest: f32 = rest.iter().map(|v| exp::<FMA>(*v - shift)).sum();
    (most, x.iter().position(|v| *v == most).unwrap_or(0), sum_lanes(&acc) + rest)
}

macro_rules! version {
    ($table:ident, $module:ident, $fma:literal, $(#[$feature:meta])?) => {
        mod $module {
            use crate::int4::{Finished, Gated, epilogue_body, gated_body};

            $(#[$feature])?
            pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
                super::dot::<$fma>(a, b)
            }
            $(#[$feature])?
            pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
                super::rms_norm::<$fma>(x, weight, eps, out)
            }
            $(#[$feature])?
            pub(super) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
                super::silu_mul::<$fma>(gate, up, out)
            }
            $(#[$feature])?
            pub(super) fn softmax(x: &mut [f32]) {
                super::softmax::<$fma>(x)
            }
            $(#[$feature])?
            pub(super) fn log_sum_exp(x: &[f32]) -> f32 {
                super::log_sum_exp::<$fma>(x)
            }
            $(#[$feature])?
            pub(super) fn top(x: &[f32]) -> (f32, usize, f32) {
                super::top::<$fma>(x)
            }
            /// # Safety
            /// See `int4::epilogue_body`.
            $(#[$feature])?
            pub(super) unsafe fn epilogue(finished: &Finished) {
                // SAFETY: the caller's promise.
                unsafe { epilogue_body(finished) }
            }
            $(#[$feature])?
            pub(super) fn gated(gated: &mut Gated) {
                gated_body::<$fma>(gated)
            }
        }
        pub(crate) const $table: Table = Table {
            dot: $module::dot,
            rms_norm: $module::rms_norm,
            silu_mul: $module::silu_mul,
            softmax: $module::softmax,
            log_sum_exp: $module::log_sum_exp,
            top: $module::top,
            epilogue: $module::epilogue,
            gated: $module::gated,
            attention: crate::ops::attention::$table,
        };
    };
}

version!(SCALAR, scalar, false,);
#[cfg(target_arch = "x86_64")]
version!(AVX2, avx2, true, #[target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "x86_64")]
version!(AVX512, avx512, true, #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]);
