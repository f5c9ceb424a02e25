//! What must be stored, kept by the one who acts: written from what the documentation says of
//! states, not from the server's code.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dialect::Dialect;

/// One suggestion as its row must be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub state: &'static str,
    pub typed: usize,
    pub accepted: usize,
    /// The client told something of it.
    pub told: bool,
    /// Thousandths that are left of what was accepted; `None`: nothing was, or it cannot be told
    /// when it went.
    pub kept: Option<i64>,
}

#[derive(Default)]
pub struct Ledger {
    entries: BTreeMap<u64, Entry>,
    pub requests: usize,
}

/// Sums, as the report tells them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub accepted: usize,
    pub partly: usize,
    pub typed_through: usize,
    pub dismissed: usize,
    pub superseded: usize,
    pub closed: usize,
    pub accepted_chars: usize,
}

impl Ledger {
    /// A suggestion comes on screen, for the first time or again.
    pub fn shown(&mut self, id: u64, told: bool) {
        let entry = self.entries.entry(id).or_default();
        entry.state = if entry.accepted > 0 { "partly" } else { "shown" };
        entry.told |= told;
    }

    pub fn typed(&mut self, id: u64, chars: usize) {
        self.entry(id).typed += chars;
    }

    /// `kept`: thousandths that will be left after thirty seconds.
    pub fn accepted(&mut self, id: u64, chars: usize, whole: bool, told: bool, kept: i64) {
        let entry = self.entry(id);
        entry.accepted += chars;
        entry.state = if whole { "accepted" } else { "partly" };
        entry.told |= told;
        entry.kept = Some(kept);
    }

    /// It is over.
    pub fn ended(&mut self, id: u64, state: &'static str, told: bool) {
        let entry = self.entry(id);
        entry.state = if entry.accepted > 0 { "partly" } else { state };
        entry.told |= told;
    }

    /// Accepted text was edited away at a time that nobody promises.
    pub fn kept_is_open(&mut self, id: u64) {
        self.entry(id).kept = None;
    }

    pub fn n_watched(&self) -> usize {
        self.entries.values().filter(|e| e.accepted > 0).count()
    }

    fn entry(&mut self, id: u64) -> &mut Entry {
        self.entries.get_mut(&id).expect("a suggestion that was shown")
    }

    pub fn counts(&self) -> Counts {
        let of = |state: &str| self.entries.values().filter(|e| e.state == state).count();
        Counts {
            accepted: of("accepted"),
            partly: of("partly"),
            typed_through: of("typed-through"),
            dismissed: of("dismissed"),
            superseded: of("superseded"),
            closed: of("closed"),
            accepted_chars: self.entries.values().map(|e| e.accepted).sum(),
        }
    }

    /// Compares with the rows of the session.
    pub fn compare(&self, dialect: Dialect, rows: &[Value]) {
        let number = |row: &Value, column: &str| row[column].as_i64();
        let of_kind = |kind: &'static str| rows.iter().filter(move |r| r["kind"] == kind);
        assert_eq!(of_kind("request").count(), self.requests, "{dialect:?}: requests");
        let completed: i64 = of_kind("activity").filter_map(|r| number(r, "accepted_chars")).sum();
        assert_eq!(
            completed as usize,
            self.counts().accepted_chars,
            "{dialect:?}: characters that came from suggestions"
        );
        let mut seen = 0;
        for row in of_kind("suggestion") {
            let id = number(row, "row").expect("a row number") as u64 & 0xffff_ffff;
            let entry = self
                .entries
                .get(&id)
                .unwrap_or_else(|| panic!("{dialect:?}: nobody was shown {row}"));
            let kept = number(row, "kept_30s");
            let found = Entry {
                state: STATES
                    .iter()
                    .find(|s| row["state"] == **s)
                    .copied()
                    .unwrap_or_else(|| panic!("{dialect:?}: no such state: {row}")),
                typed: number(row, "typed_chars").unwrap_or(0) as usize,
                accepted: number(row, "accepted_chars").unwrap_or(0) as usize,
                told: row["evidence"] == "client",
                kept: if entry.accepted > 0 && entry.kept.is_none() { None } else { kept },
            };
            assert_eq!(found, *entry, "{dialect:?}: {row}");
            let watch = if entry.accepted > 0 { "ended" } else { "" };
            assert_eq!(row["watch"].as_str().unwrap_or(""), watch, "{dialect:?}: {row}");
            seen += 1;
        }
        assert_eq!(seen, self.entries.len(), "{dialect:?}: suggestions");
    }
}

const STATES: [&str; 8] = [
    "offered",
    "shown",
    "accepted",
    "partly",
    "typed-through",
    "dismissed",
    "superseded",
    "closed",
];

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.accepted += other.accepted;
        self.partly += other.partly;
        self.typed_through += other.typed_through;
        self.dismissed += other.dismissed;
        self.superseded += other.superseded;
        self.closed += other.closed;
        self.accepted_chars += other.accepted_chars;
    }

    /// Compares with the report on the whole store.
    pub fn compare(&self, dialect: Dialect, report: &Value) {
        let all = &report["all"];
        let count = |key: &str| all[key].as_u64().expect("a count") as usize;
        let told = Counts {
            accepted: count("accepted"),
            partly: count("partly"),
            typed_through: count("typed_through"),
            dismissed: count("dismissed"),
            superseded: count("superseded"),
            // What is neither of the others.
            closed: count("suggestions")
                - ["accepted", "partly", "typed_through", "dismissed", "superseded"]
                    .iter()
                    .map(|k| count(k))
                    .sum::<usize>(),
            accepted_chars: count("accepted_chars"),
        };
        assert_eq!(told, *self, "{dialect:?}: the report");
    }
}
