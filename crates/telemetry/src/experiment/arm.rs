//! The arms a row was made under, as text: `NAME=VARIANT@UNIT`, several joined by `;`.

use std::fmt;

use super::definition::is_name;

/// One experiment's arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arm<'a> {
    pub experiment: &'a str,
    pub variant: &'a str,
    /// Salted hash of the unit, in hexadecimal.
    pub unit: &'a str,
}

impl fmt::Display for Arm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}@{}", self.experiment, self.variant, self.unit)
    }
}

/// The text form of some arms.
pub fn arms_text<'a>(arms: impl IntoIterator<Item = Arm<'a>>) -> String {
    let texts: Vec<String> = arms.into_iter().map(|a| a.to_string()).collect();
    texts.join(";")
}

/// The arms in a text form; what is not one is passed over.
pub fn parse_arms(text: &str) -> impl Iterator<Item = Arm<'_>> {
    text.split(';').filter_map(|part| {
        let (experiment, rest) = part.split_once('=')?;
        let (variant, unit) = rest.split_once('@')?;
        let hexadecimal = !unit.is_empty() && unit.bytes().all(|b| b.is_ascii_hexdigit());
        (is_name(experiment) && is_name(variant) && hexadecimal).then_some(Arm {
            experiment,
            variant,
            unit,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let arms = [
            Arm { experiment: "order", variant: "b", unit: "01af" },
            Arm { experiment: "x", variant: "control", unit: "0" },
        ];
        let text = arms_text(arms);
        assert_eq!(text, "order=b@01af;x=control@0");
        assert_eq!(parse_arms(&text).collect::<Vec<_>>(), arms);
    }

    #[test]
    fn nonsense_is_passed_over() {
        for text in ["", ";", "a", "a=b", "a=b@", "a=b@xyz", "=b@1", "a=@1", "a b=c@1"] {
            assert_eq!(parse_arms(text).count(), 0, "{text}");
        }
        assert_eq!(parse_arms("junk;a=b@1;=").count(), 1);
    }
}
