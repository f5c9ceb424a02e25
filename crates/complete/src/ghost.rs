//! Ghost text that is being typed through: while the user types what was suggested, the rest is answered from memory.

use crate::Item;

/// The bytes around the cursor that must be unchanged. No prompt reaches further than this on either side.
const AROUND: usize = 32 << 10;

/// Suggestions made at one place of one document.
#[derive(Clone, Debug)]
pub(crate) struct Ghost {
    /// Byte offset at which the items would be inserted.
    anchor: usize,
    before: String,
    after: String,
    items: Vec<Item>,
}

impl Ghost {
    /// `prefix` and `suffix` are the whole text left and right of the cursor.
    pub fn new(prefix: &str, suffix: &str, items: Vec<Item>) -> Ghost {
        Ghost { anchor: prefix.len(), before: tail(prefix, AROUND).to_owned(), after: head(suffix, AROUND).to_owned(), items }
    }

    /// What is left of the items that agree with what was typed since; `None` when nothing does or anything else changed.
    ///
    /// Backspace regrows the text, as long as the cursor does not go back beyond the anchor.
    pub fn remainder(&self, prefix: &str, suffix: &str) -> Option<Vec<Item>> {
        let typed = prefix.get(self.anchor..)?;
        if tail(&prefix[..self.anchor], AROUND) != self.before || head(suffix, AROUND) != self.after {
            return None;
        }
        let left: Vec<Item> = self
            .items
            .iter()
            .filter_map(|item| {
                let rest = item.text.strip_prefix(typed)?;
                (!rest.is_empty()).then(|| Item { text: rest.to_owned(), logprob: item.logprob })
            })
            .collect();
        (!left.is_empty()).then_some(left)
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

    fn ghost() -> Ghost {
        let item = |text: &str| Item { text: text.into(), logprob: -1.0 };
        Ghost::new("def f", "\nx", vec![item("oo(a):"), item("ib(n):")])
    }

    fn texts(items: Option<Vec<Item>>) -> Vec<String> {
        items.unwrap_or_default().into_iter().map(|i| i.text).collect()
    }

    #[test]
    fn agreeing_keystrokes_shorten_it_and_backspace_regrows_it() {
        let g = ghost();
        assert_eq!(texts(g.remainder("def f", "\nx")), ["oo(a):", "ib(n):"]);
        assert_eq!(texts(g.remainder("def fo", "\nx")), ["o(a):"]);
        assert_eq!(texts(g.remainder("def foo(a)", "\nx")), [":"]);
        assert_eq!(texts(g.remainder("def f", "\nx")).len(), 2);
    }

    #[test]
    fn anything_else_ends_it() {
        let g = ghost();
        assert!(g.remainder("def fx", "\nx").is_none(), "disagrees");
        assert!(g.remainder("def foo(a):", "\nx").is_none(), "typed to its end");
        assert!(g.remainder("def ", "\nx").is_none(), "cursor before the anchor");
        assert!(g.remainder("def fo", "\ny").is_none(), "the suffix changed");
        assert!(g.remainder("dxf fo", "\nx").is_none(), "the prefix changed");
    }

    #[test]
    fn an_anchor_inside_a_character_is_no_match() {
        let g = Ghost::new("a", "", vec![Item { text: "b".into(), logprob: 0.0 }]);
        assert!(g.remainder("🦀", "").is_none());
    }
}
