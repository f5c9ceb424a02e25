//! Metrics on the names that two texts use. How names are found is `syntax`'s matter.

use std::collections::BTreeSet;

/// Whether both texts use the same names in the same order. Source: CrossCodeEval's identifier
/// exact match.
pub fn identifier_exact_match(prediction: &[String], middle: &[String]) -> bool {
    prediction == middle
}

/// F1 of the sets of names: `2·tp / (2·tp + fp + fn)`. Source: CrossCodeEval's `id_f1`, but for one
/// case: where neither text uses a name there is nothing to get wrong and the value is 1 (0 there).
pub fn identifier_f1(prediction: &[String], middle: &[String]) -> f64 {
    let prediction: BTreeSet<&String> = prediction.iter().collect();
    let middle: BTreeSet<&String> = middle.iter().collect();
    if prediction.is_empty() && middle.is_empty() {
        return 1.0;
    }
    let both = prediction.intersection(&middle).count() as f64;
    2.0 * both / (prediction.len() + middle.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn by_hand() {
        assert!(identifier_exact_match(&names("a b a"), &names("a b a")));
        assert!(!identifier_exact_match(&names("a b"), &names("b a")));
        assert_eq!(identifier_f1(&names("a b b"), &names("b c")), 2.0 / 4.0);
        assert_eq!(identifier_f1(&names(""), &names("b")), 0.0);
        assert_eq!(identifier_f1(&names(""), &names("")), 1.0);
    }
}
