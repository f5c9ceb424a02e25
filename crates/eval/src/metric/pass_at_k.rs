//! pass@k from n runs of which c passed.

/// The unbiased estimate of the chance that at least one of `k` samples passes, from `n` samples of
/// which `c` passed: `1 - C(n-c, k) / C(n, k)`, as a product so that nothing overflows. `None` when
/// there are fewer than `k` samples.
///
/// Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1 and
/// figure 3.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> Option<f64> {
    if k == 0 || k > n || c > n {
        return None;
    }
    if n - c < k {
        return Some(1.0);
    }
    let all_fail: f64 = ((n - c + 1)..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    Some(1.0 - all_fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By counting all subsets, on small numbers.
    fn by_counting(n: usize, c: usize, k: usize) -> f64 {
        let (mut subsets, mut with_pass) = (0u32, 0u32);
        for mask in 0u32..1 << n {
            if mask.count_ones() as usize == k {
                subsets += 1;
                with_pass += u32::from(mask & ((1 << c) - 1) != 0);
            }
        }
        f64::from(with_pass) / f64::from(subsets)
    }

    #[test]
    fn equals_the_count_of_subsets() {
        for n in 1..=10 {
            for c in 0..=n {
                for k in 1..=n {
                    let got = pass_at_k(n, c, k).expect("k is at most n");
                    assert!((got - by_counting(n, c, k)).abs() < 1e-12, "{n} {c} {k}: {got}");
                }
            }
        }
    }

    #[test]
    fn too_few_samples_are_no_estimate() {
        assert_eq!(pass_at_k(5, 2, 6), None);
        assert_eq!(pass_at_k(5, 2, 0), None);
        assert_eq!(pass_at_k(2, 3, 1), None);
        assert_eq!(pass_at_k(1_000_000, 0, 100), Some(0.0));
    }
}
