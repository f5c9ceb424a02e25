//! Whether a backward pass is the derivative of the forward one, by finite differences.

use std::ops::Range;

use crate::trainer::random::Random;
use crate::trainer::shape::{Kind, Layout, Shape};

/// Numbers of about this size.
pub(super) fn numbers(n: usize, size: f32, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| size * random.normal()).collect()
}

/// `Σ a · b`.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Asserts that `gradient` is that of `f` at `x`: along itself, and along random directions.
pub(super) fn assert_gradient(what: &str, x: &[f32], gradient: &[f32], f: impl Fn(&[f32]) -> f64) {
    let norm = dot(gradient, gradient).sqrt() as f32;
    assert!(norm > 1e-3, "{what} has no gradient");
    let along: Vec<f32> = gradient.iter().map(|g| g / norm).collect();
    for trial in 0..3 {
        let mut direction = along.clone();
        if trial > 0 {
            let random = numbers(x.len(), 1.0 / (x.len() as f32).sqrt(), trial);
            direction.iter_mut().zip(random).for_each(|(d, r)| *d += r);
        }
        let at = |h: f32| {
            let moved: Vec<f32> = x.iter().zip(&direction).map(|(x, d)| x + h * d).collect();
            f(&moved)
        };
        let h = 0.01;
        let got = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * f64::from(h));
        let want = dot(gradient, &direction);
        let error = (got - want).abs() / want.abs().max(0.1 * f64::from(norm));
        assert!(error < 5e-3, "{what}: {got} by differences, {want} by the backward pass");
    }
}

/// A layer with its layout and parameters that are large enough for differences.
pub(super) fn tiny() -> (Shape, Layout, Vec<f32>) {
    let shape = Shape {
        d: 12,
        layers: 1,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        ff: 10,
        vocab: 1_100,
        ..Shape::default()
    };
    let layout = Layout::new(&shape);
    let mut p = layout.initial(0.3, 7);
    for t in layout.tensors.iter().filter(|t| t.kind == Kind::Norm) {
        p[t.range.clone()].iter_mut().zip(numbers(t.cols, 0.2, 3)).for_each(|(p, r)| *p += r);
    }
    (shape, layout, p)
}

/// Asserts that `g` holds the gradients of `f` at the parameters `p` in all these places, and
/// nothing elsewhere.
pub(super) fn assert_parameters(
    places: &[(&str, &Range<usize>)],
    p: &[f32],
    g: &[f32],
    f: impl Fn(&[f32]) -> f64,
) {
    for (name, place) in places {
        assert_gradient(name, &p[(*place).clone()], &g[(*place).clone()], |part| {
            let mut moved = p.to_vec();
            moved[(*place).clone()].copy_from_slice(part);
            f(&moved)
        });
    }
    let elsewhere = |i: &usize| places.iter().all(|(_, place)| !place.contains(i));
    assert!((0..g.len()).filter(elsewhere).all(|i| g[i] == 0.0), "a gradient of other weights");
}
