//! Token healing: the last, perhaps partial, token of the prefix is taken back and the answer must begin with its bytes.
//!
//! A cursor in the middle of a word cuts a token in two (`retu|rn`); the tokens before the cut are ones the model never saw in that
//! place. Taking the last token back and constraining the first new tokens restores the split that the model was trained on.

use crate::Tokenizer;

/// What the answer must still begin with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Healing {
    rolled_back: Vec<u8>,
    matched: usize,
}

impl Healing {
    pub(crate) fn new(rolled_back: Vec<u8>) -> Healing {
        Healing { rolled_back, matched: 0 }
    }

    /// Bytes that the answer restates: they are already in the user's file and are cut from its start.
    pub fn rolled_back(&self) -> &[u8] {
        &self.rolled_back
    }

    /// Whether some of the bytes are still to be matched.
    pub fn is_active(&self) -> bool {
        self.matched < self.rolled_back.len()
    }

    /// Whether a token with these bytes may come next.
    pub fn allows(&self, token: &[u8]) -> bool {
        let rest = &self.rolled_back[self.matched..];
        !token.is_empty() && (token.starts_with(rest) || rest.starts_with(token))
    }

    /// Notes that a token with these bytes was chosen.
    pub fn push(&mut self, token: &[u8]) {
        self.matched = (self.matched + token.len()).min(self.rolled_back.len());
    }
}

/// Takes the last token off `prefix`, unless the prefix is empty or ends with a line.
///
/// One token is enough for byte-pair vocabularies: the boundary before the last token is one that the tokenizer itself chose. A line
/// break is a boundary that models know (training cuts there too); behind indentation the last token may well become a longer one.
pub(crate) fn roll_back(tokenizer: &Tokenizer, prefix: &mut Vec<u32>) -> Healing {
    match prefix.last() {
        Some(&last) if tokenizer.token_bytes(last).last().is_some_and(|&byte| byte != b'\n') => {
            prefix.pop();
            Healing::new(tokenizer.token_bytes(last).to_vec())
        }
        _ => Healing::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_may_be_shorter_equal_or_longer_than_what_is_left() {
        let mut h = Healing::new(b"retu".to_vec());
        assert!(h.allows(b"return") && h.allows(b"re") && h.allows(b"retu"));
        assert!(!h.allows(b"rex") && !h.allows(b"") && !h.allows(b"x"));
        h.push(b"re");
        assert!(h.is_active() && h.allows(b"turn") && !h.allows(b"return"));
        h.push(b"turn");
        assert!(!h.is_active());
    }
}
