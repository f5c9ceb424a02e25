//! How much of an accepted text is left.

/// Texts whose Levenshtein matrix has more cells than this (after their common ends are cut) are
/// compared by those ends alone.
const MAX_CELLS: usize = 16_000_000;

/// `1 - Levenshtein(inserted, now) / max(length)`, in thousandths, lengths and edits in characters.
/// Two empty texts: 1000.
///
/// Rounded to nearest, but 1000 means equal and 0 nothing in common. Very long texts (see
/// [`MAX_CELLS`]): everything between their common beginning and end counts as changed, which never
/// overstates what was kept.
pub fn kept_per_mille(inserted: &str, now: &str) -> i64 {
    if inserted == now {
        return 1000;
    }
    let (a, b): (Vec<char>, Vec<char>) = (inserted.chars().collect(), now.chars().collect());
    let longest = a.len().max(b.len());
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail =
        a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let distance = if a.len().saturating_mul(b.len()) > MAX_CELLS {
        a.len().max(b.len())
    } else {
        strsim::generic_levenshtein(&Chars(a), &Chars(b))
    };
    let kept = (longest - distance) as f64 / longest as f64 * 1000.0;
    if distance == longest { 0 } else { (kept.round() as i64).clamp(1, 999) }
}

struct Chars<'a>(&'a [char]);

impl<'a> IntoIterator for &Chars<'a> {
    type Item = &'a char;
    type IntoIter = std::slice::Iter<'a, char>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (inserted, now, kept) in [
            ("", "", 1000),
            ("abc", "abc", 1000),
            ("abc", "", 0),
            ("", "abc", 0),
            ("abc", "xyz", 0),
            ("abcd", "abxd", 750),
            ("kitten", "sitting", 571),
            ("self.grades", "self.marks", 636),
            ("naïve", "naive", 800),
            ("abc", "abcabc", 500),
        ] {
            assert_eq!(kept_per_mille(inserted, now), kept, "{inserted:?} {now:?}");
            assert_eq!(kept_per_mille(now, inserted), kept, "{now:?} {inserted:?}");
        }
    }

    #[test]
    fn the_ends_of_the_scale_are_exact() {
        let long = "a".repeat(10_000);
        assert_eq!(kept_per_mille(&long, &format!("{long}b")), 999);
        assert_eq!(
            kept_per_mille(&format!("{}b", "x".repeat(5_000)), &format!("{}b", "y".repeat(5_000))),
            1
        );
    }
}
