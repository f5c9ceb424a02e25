//! The embedding: a row for each token.

use super::add;

/// `x` `[n,d]`: the rows of `ids`.
pub(crate) fn forward(embedding: &[f32], ids: &[u32], d: usize, x: &mut [f32]) {
    for (x, &id) in x.chunks_exact_mut(d).zip(ids) {
        x.copy_from_slice(&embedding[id as usize * d..][..d]);
    }
}

/// Adds `dx` to the rows of the gradient, token after token; where `trained` (ascending) is given,
/// only to those.
pub(crate) fn backward(dx: &[f32], ids: &[u32], d: usize, trained: Option<&[u32]>, g: &mut [f32]) {
    for (dx, &id) in dx.chunks_exact(d).zip(ids) {
        if trained.is_none_or(|ids| ids.binary_search(&id).is_ok()) {
            add(&mut g[id as usize * d..][..d], dx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_gradient_of_all_its_tokens() {
        let (embedding, ids) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 0, 2]);
        let mut x = [0.0; 6];
        forward(&embedding, &ids, 2, &mut x);
        assert_eq!(x, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        let (dx, mut g) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0; 6]);
        backward(&dx, &ids, 2, None, &mut g);
        assert_eq!(g, [4.0, 5.0, 1.0, 1.0, 7.0, 9.0]);
        backward(&dx, &ids, 2, Some(&[0, 1]), &mut g);
        assert_eq!(g, [7.0, 9.0, 1.0, 1.0, 7.0, 9.0]);
    }
}
