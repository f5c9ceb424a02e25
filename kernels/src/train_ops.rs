//! Vector operations of training over rows of f32: norms, softmax, SwiGLU, rotary positions, AdamW.
//!
//! Each body is plain Rust, written so that it vectorises, and compiled three times: for AVX-512,
//! for AVX2 with FMA, and for whatever the build's baseline is. The choice is made once per call.
//! Results of one machine are the same to the bit from run to run; between instruction sets they
//! differ by rounding.

/// Lanes of the partial sums: wide enough for four AVX-512 chains' worth of independent additions.
const LANES: usize = 32;

macro_rules! vectorised {
    ($($(#[$meta:meta])* pub fn $name:ident = $body:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?;)*) => {$(
        $(#[$meta])*
        pub fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                if is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("fma")
                {
                    // SAFETY: the features were just detected (the other three imply AVX-512 F).
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the features were just detected.
                    return unsafe { avx2($($arg),*) };
                }
            }
            $body::<false>($($arg),*)
        }
    )*};
}

vectorised! {
    /// Root-mean-square norm of each row of `x` (rows of `weight.len()`): `z = x / rms(x) ·
    /// weight`; `inverse` takes `1 / rms` of each row.
    ///
    /// Panics: if the lengths do not fit each other.
    pub fn rms_norm = rms_norm_body(x: &[f32], weight: &[f32], eps: f32, z: &mut [f32], inverse: &mut [f32]);

    /// Backward of [`rms_norm`]: adds the input's gradient to `dx` and the weight's to `dweight`.
    pub fn rms_norm_backward = rms_norm_backward_body(
        dz: &[f32], x: &[f32], weight: &[f32], inverse: &[f32], dx: &mut [f32], dweight: &mut [f32],
    );

    /// `h = silu(g) · u` for one row; `gu` is `g` and `u` one after the other.
    pub fn swiglu = swiglu_body(gu: &[f32], h: &mut [f32]);

    /// Backward of [`swiglu`]: from `dh` the gradient of `gu`, overwritten; `dh` becomes `h`,
    /// computed again.
    pub fn swiglu_backward = swiglu_backward_body(gu: &[f32], dh: &mut [f32], dgu: &mut [f32]);

    /// Scales one row of scores and takes its softmax in place; returns the logarithm of the sum of
    /// exponentials.
    pub fn softmax = softmax_body(scores: &mut [f32], scale: f32) -> f32;

    /// From the raw scores of a row and its `log_sum` the probabilities, in place, and from the
    /// gradient of the probabilities that of the raw scores, in place; `delta` is `Σ p · dp` of the
    /// row.
    pub fn softmax_backward = softmax_backward_body(
        scores: &mut [f32], dscores: &mut [f32], scale: f32, log_sum: f32, delta: f32,
    );

    /// Takes more logits (at least one) into a sum of exponentials: of `Σ e^(x − top)` and its
    /// `top` (−∞ and 0 for nothing yet) the new ones.
    pub fn add_exp = add_exp_body(logits: &[f32], top: f32, sum: f32) -> (f32, f32);

    /// Logits become `weight · e^(x − log_sum)`.
    pub fn weighted_exp = weighted_exp_body(logits: &mut [f32], log_sum: f32, weight: f32);

    /// Inner product.
    pub fn dot = dot_body(a: &[f32], b: &[f32]) -> f32;

    /// Rotates the halves of each head of a row by the position's angles (Hugging Face order:
    /// element `i` pairs with `i + head_dim / 2`). `cos_sin` holds `head_dim / 2` cosines, then as
    /// many sines; the inverse rotation takes them with the sines negated.
    pub fn rotate = rotate_body(row: &mut [f32], cos_sin: &[f32], direction: f32);

    /// `to += from`.
    pub fn add = add_body(to: &mut [f32], from: &[f32]);

    /// One AdamW step over a slice of parameters with its gradient and both moments.
    pub fn adamw = adamw_body(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: &AdamW);
}

/// The numbers of one AdamW step.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// `1 / (1 − beta1^t)` at step `t`.
    pub correction1: f32,
    /// `1 / (1 − beta2^t)` at step `t`.
    pub correction2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub decay: f32,
    /// Factor on the gradient (from clipping).
    pub gradient_scale: f32,
}

#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to about 1e-7 relative; 0 below −87, so that masked scores vanish, and `e^88` above 88. No
/// branches.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 · 2²³ leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let y = if x < -87.0 { -87.0 } else { x };
    let y = if y > 88.0 { 88.0 } else { y };
    let t = mul_add::<FMA>(y, std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = mul_add::<FMA>(n, -0.693_359_4, y);
    let r = mul_add::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
        p = mul_add::<FMA>(p, r, c);
    }
    let power = f32::from_bits((t.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { p * power }
}

/// `Σ f(a, b)` in a fixed order of `LANES` partial sums.
#[inline(always)]
fn reduce(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut sums = [0.0; LANES];
    let (a_whole, b_whole) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_whole.remainder().iter().zip(b_whole.remainder());
    let mut tail = 0.0;
    for (x, y) in rest {
        tail = f(*x, *y, tail);
    }
    for (a, b) in a_whole.zip(b_whole) {
        for i in 0..LANES {
            sums[i] = f(a[i], b[i], sums[i]);
        }
    }
    sums.iter().sum::<f32>() + tail
}

#[inline(always)]
fn max(x: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; LANES];
    let whole = x.chunks_exact(LANES);
    let mut all = f32::NEG_INFINITY;
    for &v in whole.remainder() {
        all = if v > all { v } else { all };
    }
    for x in whole {
        for i in 0..LANES {
            best[i] = if x[i] > best[i] { x[i] } else { best[i] };
        }
    }
    best.iter().fold(all, |a, &b| if b > a { b } else { a })
}

/// `x = e^(x · scale − shift)`; returns the sum.
#[inline(always)]
fn exp_all<const FMA: bool>(x: &mut [f32], scale: f32, shift: f32) -> f32 {
    let mut sums = [0.0; LANES];
    let mut whole = x.chunks_exact_mut(LANES);
    for x in &mut whole {
        for i in 0..LANES {
            x[i] = exp::<FMA>(mul_add::<FMA>(x[i], scale, -shift));
            sums[i] += x[i];
        }
    }
    let mut tail = 0.0;
    for x in whole.into_remainder() {
        *x = exp::<FMA>(mul_add::<FMA>(*x, scale, -shift));
        tail += *x;
    }
    sums.iter().sum::<f32>() + tail
}

#[inline(always)]
fn rms_norm_body<const FMA: bool>(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    z: &mut [f32],
    inverse: &mut [f32],
) {
    let d = weight.len();
    assert!(d > 0 && x.len() == z.len() && x.len() == inverse.len() * d);
    for ((x, z), inverse) in x.chunks_exact(d).zip(z.chunks_exact_mut(d)).zip(inverse) {
        let square = reduce(x, x, mul_add::<FMA>) / d as f32;
        *inverse = 1.0 / (square + eps).sqrt();
        for ((z, x), w) in z.iter_mut().zip(x).zip(weight) {
            *z = x * *inverse * w;
        }
    }
}

#[inline(always)]
fn rms_norm_backward_body<const FMA: bool>(
    dz: &[f32],
    x: &[f32],
    weight: &[f32],
    inverse: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let d = weight.len();
    assert!(d > 0 && dweight.len() == d && x.len() == inverse.len() * d);
    assert!(dz.len() == x.len() && dx.len() == x.len());
    let rows = dz.chunks_exact(d).zip(x.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(inverse);
    for (((dz, x), dx), &s) in rows {
        let mut sums = [0.0; LANES];
        let whole = d / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            let (dz, x, w) = (&dz[i..i + LANES], &x[i..i + LANES], &weight[i..i + LANES]);
            for j in 0..LANES {
                sums[j] = mul_add::<FMA>(dz[j] * w[j], x[j], sums[j]);
            }
        }
        let mut along = sums.iter().sum::<f32>();
        for i in whole..d {
            along += dz[i] * weight[i] * x[i];
        }
        let along = along * s * s * s / d as f32;
        let columns = dz.iter().zip(x).zip(weight).zip(dx).zip(&mut *dweight);
        for ((((dz, x), w), dx), dw) in columns {
            *dw += dz * x * s;
            *dx += dz * w * s - x * along;
        }
    }
}

#[inline(always)]
fn swiglu_body<const FMA: bool>(gu: &[f32], h: &mut [f32]) {
    assert_eq!(gu.len(), 2 * h.len());
    let (g, u) = gu.split_at(h.len());
    for ((h, g), u) in h.iter_mut().zip(g).zip(u) {
        *h = g / (1.0 + exp::<FMA>(-g)) * u;
    }
}

#[inline(always)]
fn swiglu_backward_body<const FMA: bool>(gu: &[f32], dh: &mut [f32], dgu: &mut [f32]) {
    assert!(gu.len() == 2 * dh.len() && dgu.len() == gu.len());
    let (g, u) = gu.split_at(dh.len());
    let (dg, du) = dgu.split_at_mut(dh.len());
    for ((((g, u), dh), dg), du) in g.iter().zip(u).zip(dh).zip(dg).zip(du) {
        let sigmoid = 1.0 / (1.0 + exp::<FMA>(-g));
        let silu = g * sigmoid;
        *du = *dh * silu;
        *dg = *dh * u * (sigmoid + silu * (1.0 - sigmoid));
        *dh = silu * u;
    }
}

#[inline(always)]
fn softmax_body<const FMA: bool>(scores: &mut [f32], scale: f32) -> f32 {
    let top = max(scores) * scale;
    let sum = exp_all::<FMA>(scores, scale, top);
    let inverse = 1.0 / sum;
    scores.iter_mut().for_each(|p| *p *= inverse);
    top + sum.ln()
}

#[inline(always)]
fn softmax_backward_body<const FMA: bool>(
    scores: &mut [f32],
    dscores: &mut [f32],
    scale: f32,
    log_sum: f32,
    delta: f32,
) {
    assert_eq!(scores.len(), dscores.len());
    for (p, d) in scores.iter_mut().zip(dscores) {
        *p = exp::<FMA>(mul_add::<FMA>(*p, scale, -log_sum));
        *d = *p * (*d - delta) * scale;
    }
}

#[inline(always)]
fn add_exp_body<const FMA: bool>(logits: &[f32], top: f32, sum: f32) -> (f32, f32) {
    let largest = max(logits);
    let new = if largest > top { largest } else { top };
    let mut sums = [0.0; LANES];
    let whole = logits.chunks_exact(LANES);
    let mut more: f32 = whole.remainder().iter().map(|x| exp::<FMA>(x - new)).sum();
    for x in whole {
        // Two loops: as one the compiler does not vectorise it.
        let mut terms = [0.0; LANES];
        for (term, x) in terms.iter_mut().zip(x) {
            *term = exp::<FMA>(x - new);
        }
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum += term;
        }
    }
    more += sums.iter().sum::<f32>();
    (new, sum * exp::<FMA>(top - new) + more)
}

#[inline(always)]
fn weighted_exp_body<const FMA: bool>(logits: &mut [f32], log_sum: f32, weight: f32) {
    logits.iter_mut().for_each(|x| *x = weight * exp::<FMA>(*x - log_sum));
}

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    reduce(a, b, mul_add::<FMA>)
}

#[inline(always)]
fn rotate_body<const FMA: bool>(row: &mut [f32], cos_sin: &[f32], direction: f32) {
    let head_dim = cos_sin.len();
    assert!(head_dim > 0 && row.len().is_multiple_of(head_dim));
    let (cos, sin) = cos_sin.split_at(head_dim / 2);
    for head in row.chunks_exact_mut(head_dim) {
        let (low, high) = head.split_at_mut(head_dim / 2);
        for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let s = s * direction;
            let (x, y) = (*a, *b);
            *a = x * c - y * s;
            *b = mul_add::<FMA>(x, s, y * c);
        }
    }
}

#[inline(always)]
fn add_body<const FMA: bool>(to: &mut [f32], from: &[f32]) {
    assert_eq!(to.len(), from.len());
    to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
}

#[inline(always)]
fn adamw_body<const FMA: bool>(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: &AdamW,
) {
    assert!(p.len() == g.len() && p.len() == m.len() && p.len() == v.len());
    let s = *step;
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let g = g * s.gradient_scale;
        *m = mul_add::<FMA>(s.beta1, *m, (1.0 - s.beta1) * g);
        *v = mul_add::<FMA>(s.beta2, *v, (1.0 - s.beta2) * g * g);
        *p -= s.rate * (*m * s.correction1 / ((*v * s.correction2).sqrt() + s.eps) + s.decay * *p);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere_and_zero_far_below() {
        let mut worst = 0f64;
        for i in -86_000..88_000 {
            let x = i as f32 / 1000.0;
            let want = f64::from(x).exp();
            for got in [exp::<true>(x), exp::<false>(x)] {
                worst = worst.max((f64::from(got) - want).abs() / want);
            }
        }
        assert!(worst < 3e-7, "{worst:e}");
        for far in [-88.0, -1e4, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(exp::<true>(far), 0.0);
        }
        assert!(exp::<true>(f32::INFINITY).is_finite());
    }

    #[test]
    fn softmax_sums_to_one_at_every_length() {
        for n in [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 1023] {
            let scores: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.3).collect();
            let mut p = scores.clone();
            let log_sum = softmax(&mut p, 0.5);
            let want = scores.iter().map(|x| f64::from(x * 0.5).exp()).sum::<f64>().ln();
            assert!((f64::from(log_sum) - want).abs() < 1e-5, "{n}: {log_sum} {want}");
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{n}");
            // The backward pass finds the same probabilities from the logarithm alone.
            let (mut again, mut d) = (scores.clone(), vec![1.0; n]);
            softmax_backward(&mut again, &mut d, 0.5, log_sum, 1.0);
            assert!(again.iter().zip(&p).all(|(a, b)| (a - b).abs() < 1e-6), "{n}");
            assert!(d.iter().all(|d| *d == 0.0), "{n}: a constant gradient moves nothing");
        }
    }

    #[test]
    fn a_sum_of_exponentials_in_parts_is_that_of_all() {
        let logits: Vec<f32> = (0..100).map(|i| (i * 37 % 23) as f32 * 2.0 - 20.0).collect();
        let want = logits.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        for cut in [1, 32, 50, 99] {
            let (first, rest) = logits.split_at(cut);
            let (top, sum) = add_exp(first, f32::NEG_INFINITY, 0.0);
            let (top, sum) = add_exp(rest, top, sum);
            assert!((f64::from(top + sum.ln()) - want).abs() < 1e-5, "{cut}: {top} {sum}");
        }
        let mut p = logits.clone();
        weighted_exp(&mut p, want as f32, 0.25);
        assert!((p.iter().sum::<f32>() - 0.25).abs() < 1e-5);
    }

    #[test]
    fn rotation_turns_back() {
        let row: Vec<f32> = (0..64).map(|i| i as f32 - 20.0).collect();
        let cos_sin: Vec<f32> =
            (0..16).map(|i| (i as f32).cos()).chain((0..16).map(|i| (i as f32).sin())).collect();
        let mut turned = row.clone();
        rotate(&mut turned, &cos_sin, 1.0);
        assert!((dot(&turned, &turned) - dot(&row, &row)).abs() < 0.1);
        rotate(&mut turned, &cos_sin, -1.0);
        assert!(turned.iter().zip(&row).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
