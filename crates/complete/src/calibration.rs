//! From signs to the probability that a line is right: a logistic regression whose weights come
//! with the model.
//!
//! Owns: the form of the weights (`confidence` in a model's config), their bounds, and the one
//! question that is decided by them: whether a suggestion that nobody asked for is shown. Does not
//! own: the signs (`signs`), the fit (`datasets/embedded/fit_confidence.py`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Eagerness, N_SIGNS, Signs};

/// The form that is read.
const VERSION: u32 = 1;
/// Bounds of what a file may hold.
const MAX_BYTES: usize = 64 << 10;
const MAX_TERMS: usize = 512;
const MAX_WEIGHT: f32 = 1000.0;

/// Weights of signs, and of products of two.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    bias: f32,
    terms: Vec<Term>,
    levels: Levels,
}

/// `weight · sign[a] · sign[b]`.
#[derive(Clone, Debug, PartialEq)]
struct Term {
    a: usize,
    b: Option<usize>,
    weight: f32,
}

/// Least probabilities of what is shown unasked, from few suggestions to many.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    pub low: f32,
    /// The default.
    pub normal: f32,
    pub high: f32,
}

impl Levels {
    pub fn of(&self, eagerness: Eagerness) -> f32 {
        match eagerness {
            Eagerness::Low => self.low,
            Eagerness::Normal => self.normal,
            Eagerness::High => self.high,
        }
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    bias: f32,
    weights: BTreeMap<String, f32>,
    levels: Levels,
}

/// Why weights are not taken.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    #[error("confidence: {0} bytes are too many: at most {MAX_BYTES} are read")]
    TooLong(usize),
    #[error("confidence is not of the form that is read: {0}")]
    Form(#[from] serde_json::Error),
    #[error(
        "confidence has version {0}, this program reads version {VERSION}: use a newer program, or fit the weights anew"
    )]
    Version(u32),
    #[error("confidence has {0} weights: at most {MAX_TERMS} are read")]
    TooMany(usize),
    #[error(
        "confidence weighs {0:?}, a sign that this program does not know: use a newer program, or fit the weights anew"
    )]
    Sign(String),
    #[error("confidence.{name} is {value}: it must lie between {low} and {high}")]
    Range { name: String, value: f32, low: f32, high: f32 },
    #[error("confidence.levels must not rise from low to high")]
    Levels,
}

impl Calibration {
    /// Reads weights: `{"version": 1, "bias": b, "weights": {"SIGN": w, "SIGN*SIGN": w, …},
    /// "levels": {"low": p, "normal": p, "high": p}}`.
    ///
    /// Errors: another form or version, a sign that is not known, numbers out of range.
    pub fn from_json(text: &str) -> Result<Calibration, CalibrationError> {
        if text.len() > MAX_BYTES {
            return Err(CalibrationError::TooLong(text.len()));
        }
        let Written { version, bias, weights, levels } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(CalibrationError::Version(version));
        }
        if weights.len() > MAX_TERMS {
            return Err(CalibrationError::TooMany(weights.len()));
        }
        within("bias", bias, -MAX_WEIGHT, MAX_WEIGHT)?;
        let named = Signs::default().named();
        let sign = |name: &str| named.iter().position(|(known, _)| *known == name);
        let mut terms = Vec::new();
        for (name, weight) in weights {
            within(&format!("weights.{}", shortened(&name)), weight, -MAX_WEIGHT, MAX_WEIGHT)?;
            let (a, b) = name.split_once('*').map_or((&*name, None), |(a, b)| (a, Some(b)));
            let known = sign(a).zip(b.map_or(Some(None), |b| sign(b).map(Some)));
            let (a, b) = known.ok_or_else(|| CalibrationError::Sign(shortened(&name)))?;
            terms.push(Term { a, b, weight });
        }
        for (name, value) in [("low", levels.low), ("normal", levels.normal), ("high", levels.high)]
        {
            within(&format!("levels.{name}"), value, 0.0, 1.0)?;
        }
        if levels.low < levels.normal || levels.normal < levels.high {
            return Err(CalibrationError::Levels);
        }
        Ok(Calibration { bias, terms, levels })
    }

    /// The probability that the line with these signs is what the user would write.
    pub fn probability(&self, signs: &Signs) -> f32 {
        let named: [(&str, f32); N_SIGNS] = signs.named();
        let of = |term: &Term| term.weight * named[term.a].1 * term.b.map_or(1.0, |b| named[b].1);
        let odds = self.bias + self.terms.iter().map(of).sum::<f32>();
        1.0 / (1.0 + (-odds).exp())
    }

    pub fn levels(&self) -> Levels {
        self.levels
    }
}

fn within(name: &str, value: f32, low: f32, high: f32) -> Result<(), CalibrationError> {
    // Not a number is in no range.
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(CalibrationError::Range { name: name.to_owned(), value, low, high })
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Whether a suggestion that nobody asked for is shown. One that is asked for always is.
pub fn passes(probability: f32, least: f32) -> bool {
    probability >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bias: &str, weights: &str, levels: &str) -> String {
        format!(
            "{{\"version\": 1, \"bias\": {bias}, \"weights\": {{{weights}}}, \"levels\": {levels}}}"
        )
    }

    const LEVELS: &str = "{\"low\": 0.7, \"normal\": 0.5, \"high\": 0.2}";

    #[test]
    fn weights_and_products_make_a_probability() {
        let read =
            |weights: &str| Calibration::from_json(&json("0.5", weights, LEVELS)).expect("weights");
        let signs = Signs { score: -1.0, is_rest_empty: true, ..Signs::default() };
        let odds = |p: f32| (p / (1.0 - p)).ln();
        assert!((odds(read("").probability(&signs)) - 0.5).abs() < 1e-5);
        assert!((odds(read("\"rest_empty\": 2").probability(&signs)) - 2.5).abs() < 1e-5);
        let expected = 0.5 + 2.0 * (-1f32).exp();
        assert!(
            (odds(read("\"rest_empty*score_p\": 2").probability(&signs)) - expected).abs() < 1e-5
        );
        assert_eq!(read("").levels(), Levels { low: 0.7, normal: 0.5, high: 0.2 });
        // Whatever a search comes to, it is a probability.
        let wild = Signs {
            mean: f32::NEG_INFINITY,
            least: f32::NEG_INFINITY,
            score: f32::NEG_INFINITY,
            end: f32::NEG_INFINITY,
            ends_here: Some(1.0),
            ..signs
        };
        let p = read("\"mean\": 9, \"score\": 9, \"end\": 9, \"ends_here\": -9, \"least*end\": 3")
            .probability(&wild);
        assert!((0.0..=1.0).contains(&p), "{p}");
    }

    #[test]
    fn hostile_weights_are_refused_with_what_is_wrong() {
        let many = (0..600).map(|i| format!("\"{i}\": 0")).collect::<Vec<_>>().join(",");
        for (text, told) in [
            (String::new(), "not of the form"),
            ("[]".to_owned(), "not of the form"),
            ("[".repeat(60_000), "not of the form"),
            (" ".repeat(70_000), "70000 bytes are too many"),
            (json("0", "", LEVELS).replace("\"version\": 1", "\"version\": 2"), "has version 2"),
            (json("0", "", LEVELS).replace("version", "versio"), "not of the form"),
            (json("1e9", "", LEVELS), "confidence.bias is 1000000000"),
            (json("1e39", "", LEVELS), "confidence.bias"),
            (json("null", "", LEVELS), "not of the form"),
            (json("0", "\"mean\": -1e4", LEVELS), "confidence.weights.mean is -10000"),
            (
                json("0", "\"luck\": 1", LEVELS),
                "weighs \"luck\", a sign that this program does not know",
            ),
            (json("0", "\"mean*luck\": 1", LEVELS), "weighs \"mean*luck\""),
            (json("0", "\"mean*mean*mean\": 1", LEVELS), "weighs \"mean*mean*mean\""),
            (json("0", "\"*\": 1", LEVELS), "weighs \"*\""),
            (json("0", &many, LEVELS), "600 weights"),
            (
                json("0", "", "{\"low\": 1.5, \"normal\": 0.5, \"high\": 0.2}"),
                "confidence.levels.low is 1.5",
            ),
            (json("0", "", "{\"low\": 0.1, \"normal\": 0.5, \"high\": 0.2}"), "must not rise"),
            (json("0", "", "{\"low\": 0.1}"), "not of the form"),
        ] {
            let error = Calibration::from_json(&text).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
            assert!(error.len() < 300, "{error}");
        }
    }

    #[test]
    fn every_sign_has_a_name_of_its_own() {
        let mut names = Signs::default().named().map(|(name, _)| name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(names.iter().all(|name| !name.contains('*')));
    }
}
