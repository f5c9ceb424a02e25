//! [`Event`]: the one kind of row that is stored, exported and analysed, and the names and meanings of its columns.
//!
//! Texts are numbers into a [`Names`] table, so that ten million rows are scanned without ten
//! million strings. The lists below are the schema: the database, Parquet, CSV, JSON Lines and
//! `docs/telemetry.md` are made from or tested against them.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

/// Defines an enum of columns with their names in files and what they mean.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal, $meaning:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $(#[doc = $meaning] $variant,)* }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            pub const COUNT: usize = $name::ALL.len();
            /// Name of the column, in every format.
            pub fn name(self) -> &'static str { match self { $($name::$variant => $text,)* } }
            /// What the column says, in a sentence.
            pub fn meaning(self) -> &'static str { match self { $($name::$variant => $meaning,)* } }
        }
    };
}

columns! {
    /// Columns that hold a name; empty where it does not apply.
    Text {
        Kind = "kind", "request (one answered or silent request), suggestion (one suggestion, however often it was shown) or activity (five minutes of editing)";
        Language = "language", "language of the document";
        Node = "node", "what the cursor was in: comment, string, or the innermost enclosing item";
        Model = "model", "shape of the model, never its path";
        Arms = "arms", "experiments that were running, each as NAME=VARIANT@UNIT, joined by ;";
        State = "state", "suggestion: what became of it; request: offered, silence or cancelled";
        Reason = "reason", "request: why it ended in silence; suggestion: what ended it";
        Evidence = "evidence", "suggestion: inferred from edits, or told by the client";
        Watch = "watch", "what became of the watch over accepted text: running, complete, closed, deleted, ended or lost";
    }
}

columns! {
    /// Columns that hold an integer; null where it does not apply or is not known.
    Int {
        Row = "row", "number of the row within the installation";
        At = "at", "start, in milliseconds since 1970 (UTC)";
        Session = "session", "number of the server's run within the installation";
        Document = "document", "salted hash of the document";
        Trigger = "trigger", "request: 1 asked for by the user, 2 while typing";
        LatencyUs = "latency_us", "time from the request to its answer, less the delay, in microseconds";
        PrefillUs = "prefill_us", "part of it that went into prefill";
        DecodeUs = "decode_us", "part of it that went into decoding";
        PromptTokens = "prompt_tokens", "tokens of the prompt";
        CachedTokens = "cached_tokens", "tokens of the prompt whose KV was warm";
        GeneratedTokens = "generated_tokens", "tokens that were generated";
        FromMemory = "from_memory", "1: answered from ghost text in memory, without the model";
        Chars = "chars", "suggestion: its length; activity: characters typed by hand";
        Lines = "lines", "suggestion: its lines";
        Shows = "shows", "suggestion: how often it came on screen";
        VisibleMs = "visible_ms", "suggestion: time on screen in all, each stay counted up to five minutes";
        LongestMs = "longest_ms", "suggestion: longest stay on screen";
        TypedChars = "typed_chars", "suggestion: characters of it that were typed by hand";
        AcceptedChars = "accepted_chars", "suggestion: characters accepted; activity: characters that came from suggestions";
        Kept30 = "kept_30s", "suggestion: share of the accepted text left after 30 s, in thousandths (1 - Levenshtein / longer length)";
        Kept120 = "kept_2min", "the same after 2 minutes";
        Kept300 = "kept_5min", "the same after 5 minutes";
        Kept600 = "kept_10min", "the same after 10 minutes";
        ActiveMs = "active_ms", "activity: time in which the user was editing (gaps up to two minutes count)";
        DelayUs = "delay_us", "time for which the request was held back before that (`show.delay_ms`), in microseconds";
    }
}

/// Columns that a reader wants; the others stay empty in what it is given.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub texts: &'static [Text],
    pub ints: &'static [Int],
}

impl Columns {
    pub const ALL: Columns = Columns { texts: Text::ALL, ints: Int::ALL };
}

/// Ages at which accepted text is looked at, in milliseconds, with the columns of the results.
pub const CHECKS: [(u64, Int); 4] = [
    (30_000, Int::Kept30),
    (120_000, Int::Kept120),
    (300_000, Int::Kept300),
    (600_000, Int::Kept600),
];

/// A suggestion counts as read if it stayed on screen at least this long, or was accepted.
pub const READ_MS: i64 = 750;

/// An absent integer.
const NULL: i64 = i64::MIN;

/// A text that is often the same. Equal if the texts are.
#[derive(Clone, Debug)]
pub enum Label {
    Static(&'static str),
    Shared(Arc<str>),
    /// Worked out when it is first read, which the writer's thread does, not the one that records.
    Later(Arc<LazyLock<&'static str, Work>>),
}

type Work = Box<dyn FnOnce() -> &'static str + Send>;

impl Label {
    pub const NONE: Label = Label::Static("");

    pub fn later(text: impl FnOnce() -> &'static str + Send + 'static) -> Label {
        Label::Later(Arc::new(LazyLock::new(Box::new(text))))
    }

    pub fn as_str(&self) -> &str {
        match self {
            Label::Static(text) => text,
            Label::Shared(text) => text,
            Label::Later(text) => text,
        }
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Label) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Label {}

impl Hash for Label {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.as_str().hash(hasher);
    }
}

impl From<&'static str> for Label {
    fn from(text: &'static str) -> Label {
        Label::Static(text)
    }
}

impl From<Arc<str>> for Label {
    fn from(text: Arc<str>) -> Label {
        Label::Shared(text)
    }
}

/// Integers of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ints([i64; Int::COUNT]);

impl Default for Ints {
    fn default() -> Ints {
        Ints([NULL; Int::COUNT])
    }
}

impl Ints {
    pub fn of(&self, column: Int) -> Option<i64> {
        let value = self.0[column as usize];
        (value != NULL).then_some(value)
    }

    pub fn set(&mut self, column: Int, value: Option<i64>) {
        self.0[column as usize] = value.unwrap_or(NULL);
    }

    pub fn with(mut self, column: Int, value: i64) -> Ints {
        self.set(column, Some(value));
        self
    }
}

/// A row on its way into the store. Its document is not hashed yet: the store has the salt.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Number of the row within the session; writing the same one again replaces it.
    pub seq: u32,
    pub document: Arc<str>,
    pub texts: [Label; Text::COUNT],
    pub ints: Ints,
}

impl Draft {
    pub fn text(&self, column: Text) -> &str {
        self.texts[column as usize].as_str()
    }
}

/// A stored row; its texts are numbers into the [`Names`] it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub installation: u32,
    pub texts: [u32; Text::COUNT],
    pub ints: Ints,
}

impl Event {
    pub fn text(&self, column: Text) -> u32 {
        self.texts[column as usize]
    }

    pub fn int(&self, column: Int) -> Option<i64> {
        self.ints.of(column)
    }
}

/// Texts by number. Number 0 is the empty text.
#[derive(Clone, Debug)]
pub struct Names {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Default for Names {
    fn default() -> Names {
        let mut names = Names { texts: Vec::new(), numbers: HashMap::new() };
        names.number("");
        names
    }
}

impl Names {
    /// The number of `text`, which is added if it is new.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// The number of `text`, if it has one.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// The text of a number; the empty text for a number that was never given out.
    pub fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_names_are_unique() {
        let mut names: Vec<&str> =
            Text::ALL.iter().map(|c| c.name()).chain(Int::ALL.iter().map(|c| c.name())).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_text_for_later_is_worked_out_once_and_not_before_it_is_read() {
        let (told, reads) = std::sync::mpsc::channel();
        let label = Label::later(move || {
            told.send(()).unwrap();
            "function"
        });
        let again = label.clone();
        assert!(reads.try_recv().is_err());
        assert_eq!((label.as_str(), again.as_str()), ("function", "function"));
        assert_eq!(reads.iter().count(), 1);
    }

    #[test]
    fn names_are_numbered_once() {
        let mut names = Names::default();
        let a = names.number("a");
        assert_eq!((names.number(""), names.number("a"), names.number("b")), (0, a, a + 1));
        assert_eq!((names.text(a), names.text(99), names.find("c")), ("a", "", None));
    }
}
