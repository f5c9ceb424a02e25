//! How sure a suggestion must be that nobody asked for, by how eager the user wants them.

/// How much is shown unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eagerness {
    /// Only what is very likely right.
    Low,
    #[default]
    Normal,
    /// Also what is less likely.
    High,
}

/// Natural log-odds between two levels where a model does not come with its own: with even odds at
/// `normal`, 27 and 73 %.
const STEP: f32 = 1.0;

impl Eagerness {
    /// The least confidence, where `normal` is that of [`Eagerness::Normal`]. What shows
    /// everything, or nothing, does so at each level.
    pub fn least(self, normal: f32) -> f32 {
        if self == Eagerness::Normal || normal <= 0.0 || normal >= 1.0 {
            return normal;
        }
        let odds =
            (normal / (1.0 - normal)).ln() + if self == Eagerness::Low { STEP } else { -STEP };
        1.0 / (1.0 + (-odds).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_less_is_shown_what_is_surer() {
        use Eagerness::*;
        for normal in [1e-6, 0.05, 0.3, 0.5, 0.9, 0.999] {
            assert_eq!(Normal.least(normal), normal);
            assert!(
                High.least(normal) < normal
                    && normal < Low.least(normal)
                    && Low.least(normal) < 1.0,
                "{normal}"
            );
        }
        assert!((Low.least(0.5) - 0.731).abs() < 1e-3 && (High.least(0.5) - 0.269).abs() < 1e-3);
        for all in [0.0, 1.0] {
            assert_eq!([Low, Normal, High].map(|eagerness| eagerness.least(all)), [all; 3]);
        }
    }
}
