//! Token healing: the last, perhaps partial, word of the prefix is taken back and the answer must
//! begin with its bytes.
//!
//! A cursor in the middle of a word cuts a token in two (`retu|rn`); the tokens before the cut are
//! ones the model never saw in that place. Taking the last word back and constraining the first new
//! tokens restores the split that the model was trained on.

use crate::Tokenizer;

/// What the answer must still begin with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Healing {
    /// What the answer begins with: what was taken back, and perhaps more.
    wanted: Vec<u8>,
    n_rolled_back: usize,
    matched: usize,
}

impl Healing {
    pub(crate) fn new(rolled_back: Vec<u8>) -> Healing {
        Healing { n_rolled_back: rolled_back.len(), wanted: rolled_back, matched: 0 }
    }

    /// The same, and the answer goes on with `text`, which is not among [`Healing::rolled_back`].
    pub fn followed_by(&self, text: &str) -> Healing {
        Healing { wanted: [&self.wanted, text.as_bytes()].concat(), ..self.clone() }
    }

    /// Bytes that the answer restates: they are already in the user's file and are cut from its
    /// start.
    pub fn rolled_back(&self) -> &[u8] {
        &self.wanted[..self.n_rolled_back]
    }

    /// Whether some of the bytes are still to be matched.
    pub fn is_active(&self) -> bool {
        self.matched < self.wanted.len()
    }

    /// Whether a token with these bytes may come next.
    pub fn allows(&self, token: &[u8]) -> bool {
        let rest = &self.wanted[self.matched..];
        !token.is_empty() && (token.starts_with(rest) || rest.starts_with(token))
    }

    /// Notes that a token with these bytes was chosen.
    pub fn push(&mut self, token: &[u8]) {
        self.matched = (self.matched + token.len()).min(self.wanted.len());
    }
}

/// A word is taken back up to this many tokens; a longer one (a hash, a base64 text) is not worth
/// the constraint.
const MAX_TOKENS: usize = 6;

/// Takes the last token off `prefix`, and with it the tokens of the same word, unless the prefix is
/// empty or ends with a line.
///
/// A cut word is split in places where the whole word would not be (` r` `an` for the beginning of
/// ` range`), so going back to any boundary inside it is not enough. A line break is a boundary
/// that models know (training cuts there too); behind indentation the last token may well become a
/// longer one.
pub(crate) fn roll_back(tokenizer: &Tokenizer, prefix: &mut Vec<u32>) -> Healing {
    let bytes = |id: Option<&u32>| id.map_or(&[][..], |&id| tokenizer.token_bytes(id));
    if bytes(prefix.last()).last().is_none_or(|&byte| byte == b'\n') {
        return Healing::default();
    }
    let mut start = prefix.len() - 1;
    while start > 0 && prefix.len() - start < MAX_TOKENS {
        let inside_a_word = bytes(prefix.get(start)).first().copied().is_some_and(is_word)
            && bytes(prefix.get(start - 1)).last().copied().is_some_and(is_word);
        if !inside_a_word {
            break;
        }
        start -= 1;
    }
    let rolled_back = tokenizer.decode(&prefix[start..]);
    prefix.truncate(start);
    Healing::new(rolled_back)
}

/// Letters and digits; a byte of a longer character counts as one.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
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

    #[test]
    fn an_answer_may_be_told_how_to_go_on() {
        let mut h = Healing::new(b"  ".to_vec()).followed_by("x =");
        assert_eq!(h.rolled_back(), b"  ");
        assert!(h.allows(b"  x") && h.allows(b" ") && !h.allows(b"  y"));
        h.push(b"  x");
        assert!(h.is_active() && h.allows(b" =") && h.allows(b" == 1") && !h.allows(b"."));
        h.push(b" =");
        assert!(!h.is_active() && h.rolled_back() == b"  ");
    }
}
