//! The f32 operations of a transformer layer: RMSNorm, RoPE, SwiGLU, softmax, attention over a KV
//! cache, f32 products.
//!
//! Each body is plain Rust that vectorises ([`body`]) and is compiled once per instruction set; the
//! public functions check lengths and go through the kernel table. `reference.rs` says what each
//! must equal.

use crate::int4::{Finished, Gated};
use crate::isa;
use crate::threads::{self, SharedOut};

pub(crate) mod attention;
mod body;

pub use attention::{Attention, attention, attention_at, attention_with};

/// Pointers to the bodies as compiled for one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) dot: unsafe fn(&[f32], &[f32]) -> f32,
    pub(crate) rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub(crate) silu_mul: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) softmax: unsafe fn(&mut [f32]),
    pub(crate) log_sum_exp: unsafe fn(&[f32]) -> f32,
    pub(crate) top: unsafe fn(&[f32]) -> (f32, usize, f32),
    /// What becomes of the sums of a product: `int4::product` and `int4::swiglu`.
    pub(crate) epilogue: unsafe fn(&Finished),
    pub(crate) gated: unsafe fn(&mut Gated),
    pub(crate) attention: attention::Kernels,
}

#[cfg(target_arch = "x86_64")]
pub(crate) use body::{AVX2, AVX512};
pub(crate) use body::{SCALAR, silu_mul};

/// `out[m,d] = x · weight / rms(x)` row by row; `d = weight.len()`. Panics: lengths. Equals
/// `reference::rms_norm`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let d = weight.len();
    assert!(d > 0 && x.len().is_multiple_of(d), "x is not [m,{d}]");
    assert_eq!(x.len(), out.len(), "output of rms_norm");
    let row = isa::active();
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        // SAFETY: the active row's instruction set was checked when it was chosen.
        unsafe { (row.ops.rms_norm)(x, weight, eps, out) };
    }
}

/// `out[m,f] = silu(gate) · up` where a row of `gate_up` `[m,2f]` holds `gate` then `up`. Panics:
/// lengths. Equals `reference::silu_mul`.
pub fn swiglu(gate_up: &[f32], f: usize, out: &mut [f32]) {
    assert!(f > 0 && gate_up.len().is_multiple_of(2 * f), "gate_up is not [m,{}]", 2 * f);
    assert_eq!(gate_up.len(), 2 * out.len(), "output of swiglu");
    let row = isa::active();
    for (gate_up, out) in gate_up.chunks_exact(2 * f).zip(out.chunks_exact_mut(f)) {
        let (gate, up) = gate_up.split_at(f);
        // SAFETY: the active row's instruction set was checked when it was chosen.
        unsafe { (row.ops.silu_mul)(gate, up, out) };
    }
}

/// Softmax in place over one row (`exp` to 2 ulp; an empty row stays empty). Equals
/// `reference::softmax`.
pub fn softmax(x: &mut [f32]) {
    // SAFETY: the active row's instruction set was checked when it was chosen.
    unsafe { (isa::active().ops.softmax)(x) }
}

/// `log Σ exp(x)`, which turns a logit into a log-probability by subtraction. NaN if any element
/// is.
pub fn log_sum_exp(x: &[f32]) -> f32 {
    // SAFETY: the active row's instruction set was checked when it was chosen.
    unsafe { (isa::active().ops.log_sum_exp)(x) }
}

/// What a greedy choice needs to know of the logits of one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Top {
    /// The first index of the largest logit (NaN is never it).
    pub index: usize,
    /// That logit.
    pub logit: f32,
    /// As [`log_sum_exp`]; NaN if any logit is.
    pub log_sum_exp: f32,
}

/// Logits a thread looks at together; the result does not depend on the number of threads.
const TOP_BLOCK: usize = 4096;
/// Blocks that are remembered at a time.
const TOP_BLOCKS: usize = 64;

/// Largest logit and normaliser in one pass over the logits. Panics: no logits.
pub fn top(logits: &[f32]) -> Top {
    assert!(!logits.is_empty(), "no logits");
    let row = isa::active();
    let mut best = Top { index: 0, logit: f32::NEG_INFINITY, log_sum_exp: 0.0 };
    // The sum is relative to the largest so far.
    let mut sum = 0f32;
    for (part, logits) in logits.chunks(TOP_BLOCK * TOP_BLOCKS).enumerate() {
        let mut found = [(0f32, 0usize, 0f32); TOP_BLOCKS];
        let blocks = logits.len().div_ceil(TOP_BLOCK);
        let shared = SharedOut::new(&mut found);
        threads::split(blocks, logits.len() as u64 / 1_500, |range| {
            for b in range {
                let block = &logits[b * TOP_BLOCK..logits.len().min((b + 1) * TOP_BLOCK)];
                // SAFETY: `found` outlives the split; a block belongs to one thread. The active row
                // was checked for this CPU.
                unsafe { shared.part(b, 1)[0] = (row.ops.top)(block) };
            }
        });
        for (b, (logit, index, block_sum)) in found[..blocks].iter().enumerate() {
            if *logit > best.logit {
                sum *= (best.logit - logit).exp();
                (best.logit, best.index) = (*logit, (part * TOP_BLOCKS + b) * TOP_BLOCK + index);
            }
            // A block of nothing but minus infinity (or NaN) has no distance to the best.
            sum += if *logit == best.logit {
                *block_sum
            } else {
                block_sum * (logit - best.logit).exp()
            };
        }
    }
    best.log_sum_exp = best.logit + sum.ln();
    best
}

/// Rotates every head of `x` `[heads·d]` in place; `cos` and `sin` `[d/2]` belong to the token's
/// position.
///
/// Pairs are `(i, i + d/2)`, as in the Hugging Face checkpoints. Panics: lengths.
pub fn rope(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    assert!(
        half > 0 && sin.len() == half && x.len().is_multiple_of(2 * half),
        "heads of {} elements",
        2 * half
    );
    for head in x.chunks_exact_mut(2 * half) {
        let (a, b) = head.split_at_mut(half);
        for ((a, b), (cos, sin)) in a.iter_mut().zip(b).zip(cos.iter().zip(sin)) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

/// [`rope`] of the first `rotated` elements of each row of `x` `[m,width]`; row `i` of `cos` and
/// `sin` `[m,half]` belongs to it. Panics: lengths.
pub fn rope_rows(
    x: &mut [f32],
    width: usize,
    rotated: usize,
    cos: &[f32],
    sin: &[f32],
    half: usize,
) {
    assert!(width > 0 && rotated <= width && x.len().is_multiple_of(width), "x is not [m,{width}]");
    let m = x.len() / width;
    assert!(
        half > 0 && cos.len() == m * half && sin.len() == cos.len(),
        "cos and sin are not [{m},{half}]"
    );
    let shared = SharedOut::new(x);
    threads::split(m, (m * rotated) as u64 / 2_000, |rows| {
        for row in rows {
            // SAFETY: `x` outlives the split; a row belongs to one thread.
            let x = unsafe { shared.part(row * width, rotated) };
            rope(x, &cos[row * half..(row + 1) * half], &sin[row * half..(row + 1) * half]);
        }
    });
}

/// `y[m,n] = x[m,k] · wᵀ`, `w` `[n,k]` row-major f32. Panics: lengths. Equals
/// `reference::matmul_f32`.
pub fn matmul_f32(n: usize, k: usize, w: &[f32], x: &[f32], y: &mut [f32]) {
    assert!(n > 0 && k > 0, "a matrix of {n} x {k}");
    assert_eq!(w.len(), n.checked_mul(k).expect("n * k fits"), "w is not [{n},{k}]");
    assert!(x.len().is_multiple_of(k), "x is not [m,{k}]");
    let m = x.len() / k;
    assert_eq!(y.len(), m * n, "y is not [{m},{n}]");
    if m >= 4 {
        let threads = if m as u64 * (n * k) as u64 > 4_000_000 { threads::threads() } else { 1 };
        let parallelism = if threads > 1 {
            ::gemm::Parallelism::Rayon(threads)
        } else {
            ::gemm::Parallelism::None
        };
        // SAFETY: the strides describe `y` [m,n], `x` [m,k] and the transpose of `w` [n,k]; their
        // lengths were checked.
        unsafe {
            ::gemm::gemm(
                m,
                n,
                k,
                y.as_mut_ptr(),
                1,
                n as isize,
                false,
                x.as_ptr(),
                1,
                k as isize,
                w.as_ptr(),
                k as isize,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
        return;
    }
    let row = isa::active();
    let out = SharedOut::new(y);
    threads::split(n, (n * k) as u64 / 8_000, |columns| {
        for j in columns {
            for i in 0..m {
                // SAFETY: the active row's instruction set was checked when it was chosen.
                let dot = unsafe { (row.ops.dot)(&w[j * k..(j + 1) * k], &x[i * k..(i + 1) * k]) };
                // SAFETY: `y` outlives the split; every column belongs to one thread.
                let place = unsafe { out.part(i * n + j, 1) };
                place[0] = dot;
            }
        }
    });
}
