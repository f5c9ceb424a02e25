//! Tests of paired differences: is A better than B, or did it have luck?

use super::random::Random;

/// Exact two-sided sign test: the chance of a split at least as uneven as `wins` against `losses`,
/// ties left out, if either side were as likely. 1 when there is nothing to tell.
///
/// On hits and misses this is McNemar's exact test. Source: Conover 1999, section 3.4.
pub fn sign_test(wins: u64, losses: u64) -> f64 {
    let n = wins + losses;
    if n == 0 {
        return 1.0;
    }
    // Binomial(n, 1/2) from the shorter tail, in logarithms so that thousands of pairs do not
    // underflow.
    let half = -(n as f64) * std::f64::consts::LN_2;
    let mut log_choose = 0.0;
    let mut tail = 0.0;
    for i in 0..=wins.min(losses) {
        tail += (log_choose + half).exp();
        log_choose += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Clusters up to which all ways of exchanging the two sides are tried.
const EXACT_CLUSTERS: usize = 16;
/// Draws when they are too many to try all.
const DRAWS: usize = 20_000;

/// Two-sided permutation test of the sum of differences, one difference a cluster: the share of
/// sign changes whose sum is at least as far from zero. All sign changes up to [`EXACT_CLUSTERS`]
/// clusters that differ, else 20,000 drawn by `seed`, the observed one counted in (so the value is
/// never 0).
///
/// Source: Edgington and Onghena 2007; with clusters exchanged as wholes since their members are
/// not independent.
pub fn permutation_test(differences: &[f64], seed: u64) -> f64 {
    let differences: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if differences.is_empty() {
        return 1.0;
    }
    let observed = differences.iter().sum::<f64>().abs();
    // Sums of other orders of addition may differ in the last bits.
    let at_least = |sum: f64| sum.abs() >= observed - 1e-9 * observed.max(1.0);
    if differences.len() <= EXACT_CLUSTERS {
        let total = 1u32 << differences.len();
        let extreme = (0..total)
            .filter(|mask| {
                at_least(
                    differences
                        .iter()
                        .enumerate()
                        .map(|(i, d)| if mask >> i & 1 == 1 { -d } else { *d })
                        .sum(),
                )
            })
            .count();
        return extreme as f64 / f64::from(total);
    }
    let mut random = Random::new(seed);
    let extreme = (0..DRAWS)
        .filter(|_| {
            let (mut bits, mut left) = (0, 0);
            let sum = differences
                .iter()
                .map(|d| {
                    if left == 0 {
                        (bits, left) = (random.next_u64(), 64);
                    }
                    let flip = bits & 1 == 1;
                    bits >>= 1;
                    left -= 1;
                    if flip { -d } else { *d }
                })
                .sum();
            at_least(sum)
        })
        .count();
    (extreme + 1) as f64 / (DRAWS + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn sign_test_by_hand() {
        close(sign_test(5, 0), 2.0 / 32.0);
        close(sign_test(0, 5), 2.0 / 32.0);
        // 2 · (1 + 10 + 45) / 1024
        close(sign_test(2, 8), 112.0 / 1024.0);
        close(sign_test(3, 3), 1.0);
        close(sign_test(0, 0), 1.0);
        assert!(sign_test(6000, 4000) < 1e-80 && sign_test(5001, 4999) > 0.9);
    }

    #[test]
    fn permutation_test_by_hand() {
        // Of 8 sign changes of (1, 1, 1) two are as far from zero: all the same sign.
        close(permutation_test(&[1.0, 1.0, 1.0], 0), 2.0 / 8.0);
        // Of (3, 1): sums 4, 2, -2, -4.
        close(permutation_test(&[3.0, 0.0, 1.0], 0), 2.0 / 4.0);
        close(permutation_test(&[1.0, -1.0], 0), 1.0);
        close(permutation_test(&[0.0; 4], 0), 1.0);
    }

    #[test]
    fn drawn_and_exact_agree() {
        // Unit differences: the permutation test is the sign test then.
        let differences: Vec<f64> = (0..40).map(|i| if i < 27 { 1.0 } else { -1.0 }).collect();
        let (drawn, exact) = (permutation_test(&differences, 7), sign_test(27, 13));
        assert!((drawn - exact).abs() < 0.006, "{drawn} {exact}");
        close(drawn, permutation_test(&differences, 7));
        assert!(permutation_test(&[1.0; 100], 7) < 1e-4);
    }
}
