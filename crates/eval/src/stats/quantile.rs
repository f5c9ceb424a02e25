//! Quantiles by the nearest rank.

/// The value below or at which the share `p` (0 to 1) of `values` lies; 0 of nothing. Sorts in
/// place.
pub fn quantile(values: &mut [f64], p: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (p * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).or(values.last()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn nearest_rank() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(
            [0.0, 0.5, 0.95, 1.0].map(|p| quantile(&mut values, p)),
            [1.0, 100.0, 190.0, 200.0]
        );
        assert_eq!((quantile(&mut [], 0.5), quantile(&mut [7.0], 0.01)), (0.0, 7.0));
    }
}
