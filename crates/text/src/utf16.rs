//! [`Utf16Text`]: text as editors hold it that count in UTF-16, where half of a surrogate pair may stand alone.
//!
//! UTF-8 has no such thing. A lone half is therefore a placeholder of the same length (one UTF-16
//! unit, one character, three bytes as in WTF-8) and an entry in a list beside the text; when its
//! other half arrives next to it, the two become the character that they mean.

/// What stands for a lone half.
const PLACEHOLDER: char = char::REPLACEMENT_CHARACTER;
/// Its bytes.
pub(crate) const HALF_BYTES: usize = PLACEHOLDER.len_utf8();

/// A lone half: `text[at..at + 3]` is its placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    /// Byte offset.
    pub at: usize,
    pub unit: u16,
}

impl Half {
    pub(crate) fn is_high(self) -> bool {
        self.unit < 0xDC00
    }
}

/// Text of which some characters may be lone halves of surrogate pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Utf16Text {
    text: String,
    /// By place.
    halves: Vec<Half>,
}

impl Utf16Text {
    /// The text with a U+FFFD for each lone half.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends one unit. A half that completes the half before it becomes a character with it.
    pub fn push_unit(&mut self, unit: u16) {
        if let Some(c) = char::from_u32(u32::from(unit)) {
            self.text.push(c);
            return;
        }
        let end = self.text.len();
        if let Some(last) = self.halves.last().copied()
            && last.at + HALF_BYTES == end
            && let Some(Ok(whole)) = char::decode_utf16([last.unit, unit]).next()
        {
            self.halves.pop();
            self.text.truncate(last.at);
            self.text.push(whole);
            return;
        }
        self.halves.push(Half { at: end, unit });
        self.text.push(PLACEHOLDER);
    }

    /// Appends a text; a half at its start completes one at the end of this.
    pub fn push(&mut self, other: &Utf16Text) {
        let mut from = 0;
        let mut rest = other.halves.as_slice();
        if let [first, tail @ ..] = rest
            && first.at == 0
        {
            self.push_unit(first.unit);
            (from, rest) = (HALF_BYTES, tail);
        }
        let base = self.text.len();
        self.text.push_str(other.text.get(from..).unwrap_or_default());
        self.halves
            .extend(rest.iter().map(|half| Half { at: half.at - from + base, unit: half.unit }));
    }

    pub(crate) fn halves(&self) -> &[Half] {
        &self.halves
    }

    /// The units that an editor would hold.
    pub fn units(&self) -> Vec<u16> {
        let mut halves = self.halves.iter().peekable();
        let mut units = Vec::with_capacity(self.text.len());
        for (at, c) in self.text.char_indices() {
            match halves.next_if(|half| half.at == at) {
                Some(half) => units.push(half.unit),
                None => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
        units
    }
}

impl From<&str> for Utf16Text {
    fn from(text: &str) -> Utf16Text {
        Utf16Text { text: text.to_owned(), halves: Vec::new() }
    }
}

impl From<String> for Utf16Text {
    fn from(text: String) -> Utf16Text {
        Utf16Text { text, halves: Vec::new() }
    }
}

impl FromIterator<u16> for Utf16Text {
    fn from_iter<I: IntoIterator<Item = u16>>(units: I) -> Utf16Text {
        let mut text = Utf16Text::default();
        for c in char::decode_utf16(units) {
            match c {
                Ok(c) => text.text.push(c),
                Err(half) => text.push_unit(half.unpaired_surrogate()),
            }
        }
        text
    }
}
