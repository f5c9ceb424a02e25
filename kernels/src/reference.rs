//! The specification: what every kernel must compute, in plain scalar Rust. Frozen; never optimise
//! this file.
//!
//! Works on row-major data as it lies in a file, accumulates in `f64`, knows nothing of tiles,
//! lanes or threads.

use half::f16;

/// Weights that share one scale, along `k`.
pub const GROUP: usize = 32;

/// INT8 activations of one row: `x ≈ q · scale`, one scale a group of 32.
///
/// A group whose largest magnitude is below 1e-30 becomes zeros with scale 0. A group with a NaN or
/// an infinity becomes zeros with scale NaN, so that the output of its row is NaN and the fault is
/// seen.
pub fn quantize_activations(x: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let mut q = Vec::with_capacity(x.len());
    let mut scales = Vec::with_capacity(x.len().div_ceil(GROUP));
    for group in x.chunks(GROUP) {
        let finite = group.iter().all(|v| v.is_finite());
        let largest = group.iter().fold(0f32, |a, v| a.max(v.abs()));
        let (scale, inverse) = if !finite {
            (f32::NAN, 0.0)
        } else if largest < 1e-30 {
            (0.0, 0.0)
        } else {
            (largest / 127.0, 127.0 / largest)
        };
        scales.push(scale);
        q.extend(group.iter().map(|v| (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8));
    }
    (q, scales)
}

/// Inputs that share a scale in [`gemm_int4_requantized`].
pub const COARSE_BLOCK: usize = 512;

/// [`gemm_int4`] with coarser scales: activations in INT8 with one scale for 512 k, weights in INT8
/// with one scale a row for 512 k, `w8 = round((q - 8) · r / 256)` halves up, where `r = round(4064
/// · s / s_max)` and `w ≈ w8 · s_max · 8 / 127`.
pub fn gemm_int4_requantized(
    n: usize,
    k: usize,
    nibbles: &[u8],
    scales: &[f16],
    m: usize,
    x: &[f32],
) -> Vec<f64> {
    let (row_bytes, groups) = (k.div_ceil(2), k.div_ceil(GROUP));
    let mut y = vec![0f64; m * n];
    for start in (0..k).step_by(COARSE_BLOCK) {
        let block = start..k.min(start + COARSE_BLOCK);
        for i in 0..m {
            let x = &x[i * k..][block.clone()];
            let finite = x.iter().all(|v| v.is_finite());
            let largest = x.iter().fold(0f32, |a, v| a.max(v.abs()));
            let (x_scale, inverse) = if !finite {
                (f32::NAN, 0.0)
            } else if largest < 1e-30 {
                (0.0, 0.0)
            } else {
                (largest / 127.0, 127.0 / largest)
            };
            for j in 0..n {
                let scale = |kk: usize| scales[j * groups + kk / GROUP].to_f32();
                let largest_scale = block.clone().fold(1e-20f32, |a, kk| a.max(scale(kk).abs()));
                let mut dot = 0i64;
                for (kk, x) in block.clone().zip(x) {
                    let byte = nibbles[j * row_bytes + kk / 2];
                    let nibble = if kk % 2 == 0 { byte & 15 } else { byte >> 4 };
                    let r = (scale(kk) * (4064.0 / largest_scale)).round_ties_even() as i32;
                    let w8 = ((i32::from(nibble) - 8) * r + 128) >> 8;
                    dot +=
                        i64::from(w8) * (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i64;
                }
                y[i * n + j] +=
                    dot as f64 * f64::from(largest_scale) * (8.0 / 127.0) * f64::from(x_scale);
            }
        }
    }
    y
}

/// `y[m,n] = x[m,k] · dequant(w)[k,n]` with activations quantised to INT8 per group of 32.
///
/// Shapes: `nibbles` `[n, ⌈k/2⌉]` (low nibble = even k), `scales` `[n, ⌈k/32⌉]`, `x` `[m,k]`;
/// returns `[m,n]`.
pub fn gemm_int4(
    n: usize,
    k: usize,
    nibbles: &[u8],
    scales: &[f16],
    m: usize,
    x: &[f32],
) -> Vec<f64> {
    let (row_bytes, groups) = (k.div_ceil(2), k.div_ceil(GROUP));
    assert_eq!(nibbles.len(), n * row_bytes);
    assert_eq!(scales.len(), n * groups);
    assert_eq!(x.len(), m * k);
    let mut y = vec![0f64; m * n];
    for i in 0..m {
        let (q, q_scales) = quantize_activations(&x[i * k..(i + 1) * k]);
        for j in 0..n {
            let mut sum = 0f64;
            for g in 0..groups {
                let mut dot = 0i32;
                for kk in g * GROUP..((g + 1) * GROUP).min(k) {
                    let byte = nibbles[j * row_bytes + kk / 2];
                    let nibble = if kk % 2 == 0 { byte & 15 } else { byte >> 4 };
                    dot += (i32::from(nibble) - 8) * i32::from(q[kk]);
                }
                sum += f64::from(dot)
                    * f64::from(scales[j * groups + g].to_f32())
                    * f64::from(q_scales[g]);
            }
            y[i * n + j] = sum;
        }
    }
    y
}

/// `y[m,n] = x[m,k] · wᵀ`, `w` `[n,k]` row-major.
pub fn matmul_f32(n: usize, k: usize, w: &[f32], m: usize, x: &[f32]) -> Vec<f64> {
    let mut y = vec![0f64; m * n];
    for i in 0..m {
        for j in 0..n {
            y[i * n + j] = (0..k).map(|l| f64::from(w[j * k + l]) * f64::from(x[i * k + l])).sum();
        }
    }
    y
}

/// `out[i] = x[i] · weight[i] / sqrt(mean(x²) + eps)` for one row.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / x.len() as f64;
    let inverse = 1.0 / (mean + f64::from(eps)).sqrt();
    x.iter().zip(weight).map(|(v, w)| f64::from(*v) * inverse * f64::from(*w)).collect()
}

/// Softmax of one row.
pub fn softmax(x: &[f32]) -> Vec<f64> {
    let largest = x.iter().fold(f64::NEG_INFINITY, |a, v| a.max(f64::from(*v)));
    let exps: Vec<f64> = x.iter().map(|v| (f64::from(*v) - largest).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}

/// `silu(gate) · up`, element by element.
pub fn silu_mul(gate: &[f32], up: &[f32]) -> Vec<f64> {
    gate.iter()
        .zip(up)
        .map(|(g, u)| {
            let g = f64::from(*g);
            g / (1.0 + (-g).exp()) * f64::from(*u)
        })
        .collect()
}

/// Causal attention of one head: query `i` sits at position `past + i` and sees keys `0 ..= past +
/// i`.
///
/// Shapes: `q` `[m,d]`, `k` and `v` `[past+m,d]`; returns `[m,d]`.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    m: usize,
    past: usize,
    d: usize,
    scale: f32,
) -> Vec<f64> {
    let mut out = vec![0f64; m * d];
    for i in 0..m {
        let keys = past + i + 1;
        let dot = |t: usize| {
            (0..d).map(|c| f64::from(q[i * d + c]) * f64::from(k[t * d + c])).sum::<f64>()
        };
        let scores: Vec<f64> = (0..keys).map(|t| dot(t) * f64::from(scale)).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let sum: f64 = exps.iter().sum();
        for (t, e) in exps.iter().enumerate() {
            for c in 0..d {
                out[i * d + c] += e / sum * f64::from(v[t * d + c]);
            }
        }
    }
    out
}

/// Positions that share a unit of quantised attention weights.
pub const KV_PAGE: usize = 64;

/// INT8 of one head of a key (or of a query): [`quantize_activations`] of its elements in the order
/// `0, d/2, 1, d/2 + 1, …` (even `d`; else as they are), which puts the pairs that RoPE rotates
/// into the same group.
pub fn quantize_key(k: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let d = k.len();
    let place = |i: usize| if d.is_multiple_of(2) { i / 2 + i % 2 * (d / 2) } else { i };
    quantize_activations(&(0..d).map(|i| k[place(i)]).collect::<Vec<f32>>())
}

/// INT8 of one head of a value: one scale; zeros with scale 0 where the largest magnitude is below
/// 1e-30.
pub fn quantize_value(v: &[f32]) -> (Vec<i8>, f32) {
    let largest = v.iter().fold(0f32, |a, v| a.max(v.abs()));
    let (scale, inverse) =
        if largest < 1e-30 { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
    (v.iter().map(|v| (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8).collect(), scale)
}

/// [`attention`] of one head with queries, keys, values and weights quantised. All inputs are
/// finite.
///
/// Scores are products of [`quantize_key`] of query and key. A weight times the scale of its value
/// is rounded to an integer of 0 to 255, in units of 1/255 of the largest of the [`KV_PAGE`]
/// positions around it (counted from position 0) for this query; the sum of the weights, by which
/// the result is divided, is that of the weights before rounding. Position 0, where models rest the
/// attention that they have no use for, would make the unit too coarse for its page: its weight is
/// not rounded, and is not among those of which the unit is a part.
pub fn attention_int8(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    m: usize,
    past: usize,
    d: usize,
    scale: f32,
) -> Vec<f64> {
    let keys: Vec<_> = k.chunks_exact(d).map(quantize_key).collect();
    let values: Vec<_> = v.chunks_exact(d).map(quantize_value).collect();
    let mut out = vec![0f64; m * d];
    for i in 0..m {
        let (q, q_scales) = quantize_key(&q[i * d..(i + 1) * d]);
        let group = |x: &[i8], y: &[i8]| {
            x.iter().zip(y).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum::<i32>()
        };
        let score = |(k, k_scales): &(Vec<i8>, Vec<f32>)| -> f64 {
            let groups = q.chunks(GROUP).zip(k.chunks(GROUP)).zip(q_scales.iter().zip(k_scales));
            groups
                .map(|((q, k), (q_scale, k_scale))| {
                    f64::from(group(q, k)) * f64::from(*q_scale) * f64::from(*k_scale)
                })
                .sum()
        };
        let scores: Vec<f64> =
            keys[..past + i + 1].iter().map(|k| score(k) * f64::from(scale)).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let (first, first_scale) = &values[0];
        for c in 0..d {
            out[i * d + c] = weights[0] * f64::from(*first_scale) * f64::from(first[c]) / sum;
        }
        for (page, (weights, values)) in
            weights.chunks(KV_PAGE).zip(values.chunks(KV_PAGE)).enumerate()
        {
            let mut scaled: Vec<f64> =
                weights.iter().zip(values).map(|(w, (_, scale))| w * f64::from(*scale)).collect();
            if page == 0 {
                scaled[0] = 0.0;
            }
            let unit = scaled.iter().copied().fold(0f64, f64::max) / 255.0;
            for (scaled, (value, _)) in scaled.iter().zip(values) {
                let level = if unit == 0.0 { 0.0 } else { (scaled / unit).round_ties_even() };
                for c in 0..d {
                    out[i * d + c] += level * unit * f64::from(value[c]) / sum;
                }
            }
        }
    }
    out
}
