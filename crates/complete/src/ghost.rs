//! Ghost text in memory: while the user types what was suggested, the rest is answered without the
//! model.
//!
//! A suggestion is kept when it is contradicted: after a typo and a backspace it fits again.
//! Suggestions may be for a text that is not there yet: the line after an accepted one is prepared
//! before it is accepted.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use lacuna_text::Document;

use crate::Item;

/// The bytes around the cursor that must be unchanged. No prompt reaches further than this on
/// either side.
const AROUND: usize = 32 << 10;
/// Suggestions kept for a document.
const KEPT: usize = 16;

/// Suggestions made in one document, the newest first.
#[derive(Default)]
pub(crate) struct Ghosts {
    recent: VecDeque<Ghost>,
    hasher: RandomState,
}

/// Suggestions made at one place.
struct Ghost {
    /// Byte offset at which the items would be inserted.
    anchor: usize,
    /// Of the text around it.
    before: u64,
    after: u64,
    items: Vec<Item>,
}

impl Ghosts {
    /// Keeps what was suggested at `cursor`.
    pub fn add(&mut self, document: &Document, cursor: usize, items: Vec<Item>) {
        let (before, after) =
            (self.hash_before(document, cursor), self.hash_after(document, cursor));
        self.recent.retain(|g| (g.anchor, g.before, g.after) != (cursor, before, after));
        self.recent.truncate(KEPT - 1);
        self.recent.push_front(Ghost { anchor: cursor, before, after, items });
    }

    /// What is left of the suggestions that agree with what was typed since; `None` when nothing
    /// does or anything else changed.
    ///
    /// Backspace regrows the text, as long as the cursor does not go back beyond the anchor.
    pub fn recall(&self, document: &Document, cursor: usize) -> Option<Vec<Item>> {
        self.recent.iter().find_map(|ghost| {
            let recalled = ghost.remainder(document, cursor)?;
            let unchanged = self.hash_after(document, cursor) == ghost.after
                && self.hash_before(document, ghost.anchor) == ghost.before;
            unchanged.then_some(recalled)
        })
    }

    fn hash_before(&self, document: &Document, at: usize) -> u64 {
        self.hasher.hash_one(document.slice(at.saturating_sub(AROUND)..at).as_bytes())
    }

    fn hash_after(&self, document: &Document, at: usize) -> u64 {
        self.hasher.hash_one(document.slice(at..at + AROUND).as_bytes())
    }
}

impl Ghost {
    fn remainder(&self, document: &Document, cursor: usize) -> Option<Vec<Item>> {
        let longest = self.items.iter().map(|i| i.text.len()).max()?;
        let n_typed = cursor.checked_sub(self.anchor).filter(|n| *n < longest)?;
        let typed = document.slice(self.anchor..cursor);
        if typed.len() != n_typed {
            return None; // the anchor is inside of a character now
        }
        let rest = |item: &Item| {
            let rest = item.text.strip_prefix(&*typed)?;
            (!rest.is_empty()).then(|| Item { text: rest.to_owned(), ..item.clone() })
        };
        let items: Vec<Item> = self.items.iter().filter_map(rest).collect();
        (!items.is_empty()).then_some(items)
    }
}

/// At most `max` bytes at the end, whole characters.
pub(crate) fn tail(text: &str, max: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(max))..]
}

/// At most `max` bytes at the start, whole characters.
pub(crate) fn head(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item {
        Item { text: text.into(), logprob: -1.0, mean: 0.5, probability: None }
    }

    /// What is recalled for a prefix and a suffix.
    fn recall(ghosts: &Ghosts, prefix: &str, suffix: &str) -> Vec<String> {
        let document = Document::new(&format!("{prefix}{suffix}"), 0);
        let recalled = ghosts.recall(&document, prefix.len());
        recalled.unwrap_or_default().into_iter().map(|i| i.text).collect()
    }

    fn ghosts(prefix: &str, suffix: &str, items: &[&str]) -> Ghosts {
        let mut ghosts = Ghosts::default();
        let document = Document::new(&format!("{prefix}{suffix}"), 0);
        ghosts.add(&document, prefix.len(), items.iter().map(|t| item(t)).collect());
        ghosts
    }

    #[test]
    fn agreeing_keystrokes_shorten_it_and_backspace_regrows_it() {
        let g = ghosts("def f", "\nx", &["oo(a):", "ib(n):"]);
        assert_eq!(recall(&g, "def f", "\nx"), ["oo(a):", "ib(n):"]);
        assert_eq!(recall(&g, "def fo", "\nx"), ["o(a):"]);
        assert_eq!(recall(&g, "def foo(a)", "\nx"), [":"]);
        assert_eq!(recall(&g, "def fq", "\nx"), [""; 0], "a typo");
        assert_eq!(recall(&g, "def f", "\nx").len(), 2, "taken back");
    }

    #[test]
    fn anything_else_ends_it() {
        let g = ghosts("def f", "\nx", &["oo(a):", "ib(n):"]);
        for (prefix, suffix, why) in [
            ("def fx", "\nx", "disagrees"),
            ("def foo(a):", "\nx", "typed to its end"),
            ("def ", "\nx", "cursor before the anchor"),
            ("def fo", "\ny", "the suffix changed"),
            ("dxf fo", "\nx", "the prefix changed"),
        ] {
            assert!(recall(&g, prefix, suffix).is_empty(), "{why}");
        }
        assert!(
            recall(&ghosts("a", "", &["b"]), "🦀", "").is_empty(),
            "an anchor inside of a character"
        );
    }

    #[test]
    fn the_newest_that_fits_is_taken_and_old_ones_go() {
        let mut g = Ghosts::default();
        for i in 0..100 {
            let text = format!("{i};\n");
            g.add(&Document::new(&text, 0), text.len(), vec![item(&format!("next{i}"))]);
        }
        assert_eq!(g.recent.len(), KEPT);
        assert!(recall(&g, "1;\n", "").is_empty());
        assert_eq!(recall(&g, "98;\nn", ""), ["ext98"]);
        g.add(&Document::new("98;\n", 0), 4, vec![item("other")]);
        assert_eq!((recall(&g, "98;\n", ""), g.recent.len()), (vec!["other".to_owned()], KEPT));
    }

    /// What the whole texts say, kept plainly.
    struct Plain {
        before: String,
        after: String,
        items: Vec<String>,
    }

    fn plain_recall(kept: &[Plain], prefix: &str, suffix: &str) -> Vec<String> {
        let of = |g: &Plain| {
            let typed = prefix.strip_prefix(g.before.as_str()).filter(|_| suffix == g.after)?;
            let left = |item: &String| {
                item.strip_prefix(typed).filter(|rest| !rest.is_empty()).map(str::to_owned)
            };
            let items: Vec<String> = g.items.iter().filter_map(left).collect();
            (!items.is_empty()).then_some(items)
        };
        kept.iter().rev().find_map(of).unwrap_or_default()
    }

    #[test]
    fn ten_thousand_typing_scripts_are_answered_as_the_whole_texts_say() {
        const TEXTS: [&str; 8] = ["a", "ab", "abc(é)", "🦀b", "\n    c", "b\n", "x", "éé"];
        let mut state = 1u64;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % n as u64) as usize
        };
        let (mut from_memory, mut agreeing) = (0, 0);
        for script in 0..10_000 {
            let (mut prefix, mut suffix) = ("s = ".to_owned(), "\nend".to_owned());
            let mut ghosts = Ghosts::default();
            let mut kept: Vec<Plain> = Vec::new();
            let mut shown = String::new();
            for _ in 0..14 {
                match below(10) {
                    // The next character of what is shown, a whole accept, a typo, backspaces,
                    // edits elsewhere, a jump.
                    0..=3 if !shown.is_empty() => prefix.push(shown.chars().next().unwrap()),
                    4 if !shown.is_empty() => prefix.push_str(&shown),
                    0..=5 => prefix.push_str(TEXTS[below(8)]),
                    6 => drop(prefix.pop()),
                    7 => prefix.insert(0, 'é'),
                    8 => suffix.push('x'),
                    _ => {
                        let at = prefix.floor_char_boundary(below(prefix.len() + 1));
                        suffix.insert_str(0, &prefix.split_off(at));
                    }
                }
                let document = Document::new(&format!("{prefix}{suffix}"), 0);
                let recalled = recall(&ghosts, &prefix, &suffix);
                assert_eq!(
                    recalled,
                    plain_recall(&kept, &prefix, &suffix),
                    "script {script}: {prefix:?} {suffix:?}"
                );
                if let Some(first) = recalled.first() {
                    from_memory += 1;
                    agreeing += usize::from(!shown.is_empty());
                    shown.clone_from(first);
                    continue;
                }
                let items: Vec<String> = (0..1 + below(2))
                    .map(|_| format!("{}{}", TEXTS[below(8)], TEXTS[below(8)]))
                    .collect();
                shown.clone_from(&items[0]);
                ghosts.add(&document, prefix.len(), items.iter().map(|t| item(t)).collect());
                kept.retain(|g| (&g.before, &g.after) != (&prefix, &suffix));
                kept.push(Plain { before: prefix.clone(), after: suffix.clone(), items });
                if kept.len() > KEPT {
                    kept.remove(0);
                }
            }
        }
        assert!(
            from_memory > 10_000 && agreeing > 10_000,
            "{from_memory} answers from memory: the test shows little"
        );
    }
}
