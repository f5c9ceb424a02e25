//! Round numbers on an axis.

/// The next of 1, 2, 5 × 10ⁿ.
pub(crate) fn round_step(least: f64) -> f64 {
    if least.is_nan() || least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|s| s * power >= least * 0.999).unwrap_or(10.0);
    step * power
}

/// Places of a linear axis from 0 over `most`, about `n` of them; the last is its end.
pub(crate) fn linear(most: f64, n: f64) -> Vec<f64> {
    let step = round_step(most / n);
    let last = (most / step).ceil().max(1.0) as usize;
    (0..=last).map(|i| i as f64 * step).collect()
}

/// Round places on a logarithmic axis: powers of ten, with steps between them where these alone
/// would leave the reader to guess.
pub(crate) fn logarithmic(from: f64, to: f64) -> Vec<f64> {
    let within = |steps: &[f64]| -> Vec<f64> {
        let powers = (-3..12).map(|n| 10f64.powi(n));
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * power));
        // 3 × 0.1 is not written 0.3.
        let round = all.map(|at| (at * 1e3).round() / 1e3);
        round.filter(|at| (from..=to).contains(at)).collect()
    };
    [&[1.0][..], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0]]
        .into_iter()
        .map(within)
        .find(|found| found.len() > 1)
        .unwrap_or_default()
}

/// Without digits that say nothing.
pub(crate) fn number(v: f64) -> String {
    let text = format!("{v:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_times_has_more_than_one_figure_wherever_it_lies() {
        assert_eq!(logarithmic(0.7, 2000.0), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(logarithmic(40.0, 300.0), [50.0, 100.0, 200.0]);
        assert_eq!(logarithmic(140.0, 270.0), [150.0, 200.0, 250.0]);
        assert!(logarithmic(110.0, 140.0).is_empty(), "too narrow for two round ones");
        assert_eq!(logarithmic(0.19, 0.52), [0.2, 0.5]);
        assert!(logarithmic(f64::MAX, 0.0).is_empty());
    }

    #[test]
    fn steps_and_numbers_are_round() {
        assert_eq!([0.0, 0.03, 1.0, 1.1, 7.0].map(round_step), [1.0, 0.05, 1.0, 2.0, 10.0]);
        assert_eq!([0.0, 0.5, 512.0, 1.25].map(number), ["0", "0.5", "512", "1.25"]);
        assert_eq!(linear(11.0, 5.0), [0.0, 5.0, 10.0, 15.0]);
        assert_eq!(linear(0.0, 5.0), [0.0, 1.0]);
    }
}
