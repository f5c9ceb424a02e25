//! Telemetry at its boundaries: signals in, rows out; a store under bad conditions; statistics that
//! keep their promises.

mod accept;
mod exchange;
mod kill;
mod metrics;
mod persistence;
mod screen;
mod statistics;
mod store;

use std::sync::Arc;

use lacuna_telemetry::track::{Answer, Change, Edit, Signal, Tracker};
use lacuna_telemetry::{Draft, Int, Ints, Label, Moment, Text};

/// A client and its document: what it shows, types and accepts, with its own idea of the time.
pub struct Screen {
    pub tracker: Tracker,
    pub document: Arc<str>,
    pub text: String,
    pub cursor: usize,
    pub now: Moment,
    pub changes: Vec<Change>,
}

impl Screen {
    /// `|` marks the cursor.
    pub fn new(text: &str) -> Screen {
        let cursor = text.find('|').expect("a cursor");
        let mut screen = Screen {
            tracker: Tracker::default(),
            document: "file:///a.py".into(),
            text: text.replacen('|', "", 1),
            cursor,
            now: Moment { steady: 1_000, wall: 1_700_000_000_000 },
            changes: Vec::new(),
        };
        let document = Arc::clone(&screen.document);
        screen.feed(Signal::Opened { document: &document, language: "python".into() });
        screen
    }

    pub fn wait(&mut self, ms: u64) -> &mut Screen {
        self.now = self.now.after(ms);
        self
    }

    pub fn feed(&mut self, signal: Signal<'_>) -> &mut Screen {
        self.tracker.feed(self.now, signal);
        self
    }

    /// Replaces bytes of the document; the cursor goes behind what came in.
    pub fn edit(&mut self, bytes: std::ops::Range<usize>, text: &str) -> &mut Screen {
        let document = Arc::clone(&self.document);
        let edit = Edit::trimmed(bytes.start, &self.text[bytes.clone()], text);
        self.tracker
            .feed(self.now, Signal::Edited { document: &document, edit, arms: Label::NONE });
        self.cursor = bytes.start + text.len();
        self.text.replace_range(bytes, text);
        self
    }

    /// Inserts at the cursor.
    pub fn insert(&mut self, text: &str) -> &mut Screen {
        self.edit(self.cursor..self.cursor, text)
    }

    /// Key by key, 100 ms apart.
    pub fn type_keys(&mut self, text: &str) -> &mut Screen {
        for c in text.chars() {
            self.wait(100).insert(&c.to_string());
        }
        self
    }

    /// Asks at the cursor; `items` come 50 ms later. Returns their ids.
    pub fn ask(&mut self, items: &[&str]) -> Vec<u32> {
        let document = Arc::clone(&self.document);
        let requested = self.now;
        self.feed(Signal::Requested { document: &document, cursor: self.cursor });
        self.wait(50);
        let line = self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1);
        let (left, right) = (&self.text[line..self.cursor], &self.text[self.cursor..]);
        let word =
            left.len() - left.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        let answer = Answer {
            document: &document,
            requested,
            cursor: self.cursor,
            stem: &left[left.len() - word..],
            line_prefix: left,
            right,
            items,
            reason: if items.is_empty() { "empty" } else { "" },
            cancelled: false,
            texts: [const { Label::NONE }; Text::COUNT],
            ints: Ints::default().with(Int::LatencyUs, 50_000),
        };
        self.tracker.answered(self.now, &answer)
    }

    /// Everything to be written so far, the running moment included.
    pub fn rows(&mut self) -> &[Change] {
        self.feed(Signal::Tick);
        let taken = self.tracker.take();
        self.changes.extend(taken);
        &self.changes
    }

    /// The last row of a suggestion.
    pub fn row(&mut self, id: u32) -> Draft {
        let of_id = |change: &Change| match change {
            Change::Row(draft) if draft.seq == id && draft.text(Text::Kind) == "suggestion" => {
                Some(draft.as_ref().clone())
            }
            _ => None,
        };
        self.rows()
            .iter()
            .rev()
            .find_map(of_id)
            .unwrap_or_else(|| panic!("no row of suggestion {id}"))
    }

    /// State, characters accepted, characters typed.
    pub fn outcome(&mut self, id: u32) -> (String, i64, i64) {
        let row = self.row(id);
        let int = |column| row.ints.of(column).unwrap_or(0);
        (row.text(Text::State).to_owned(), int(Int::AcceptedChars), int(Int::TypedChars))
    }

    /// What the checks of a suggestion found, in thousandths.
    pub fn kept(&mut self, id: u32) -> Vec<(usize, i64)> {
        let of_id = |change: &Change| match change {
            Change::Check(check) if check.seq == id => Some((
                check.check,
                lacuna_telemetry::track::kept_per_mille(&check.inserted, &check.now),
            )),
            _ => None,
        };
        self.rows().iter().filter_map(of_id).collect()
    }
}

pub fn outcome(state: &str, accepted: i64, typed: i64) -> (String, i64, i64) {
    (state.to_owned(), accepted, typed)
}
