//! The watch over accepted text: its anchors, and the ages at which it is looked at.

use std::sync::Arc;

use super::anchor::{Anchored, Edit};
use crate::clock::Moment;
use crate::event::CHECKS;

#[derive(Clone, Debug)]
pub struct Watched {
    pub seq: u32,
    inserted: String,
    anchored: Anchored,
    /// Steady time of the acceptance (of the last part).
    born: u64,
    done: usize,
}

/// The text of one check; the comparison is made later, off the request path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Row of the suggestion.
    pub seq: u32,
    /// Index into [`CHECKS`].
    pub check: usize,
    pub inserted: Arc<str>,
    pub now: Arc<str>,
    /// It is the last one.
    pub last: bool,
}

impl Watched {
    pub fn new(seq: u32, at: usize, text: &str, now: Moment) -> Watched {
        Watched {
            seq,
            inserted: text.to_owned(),
            anchored: Anchored::new(at, text),
            born: now.steady,
            done: 0,
        }
    }

    /// More of the same suggestion was accepted right behind: true if it was taken in, which starts
    /// the ages again.
    pub fn extend(&mut self, at: usize, text: &str, now: Moment) -> bool {
        let follows = self.anchored.range().end == at;
        if follows {
            self.inserted.push_str(text);
            self.anchored.extend(text);
            (self.born, self.done) = (now.steady, 0);
        }
        follows
    }

    pub fn apply(&mut self, edit: Edit<'_>) {
        self.anchored.apply(edit);
    }

    pub fn is_done(&self) -> bool {
        self.done == CHECKS.len()
    }

    /// Takes the checks that are due at `steady`.
    pub fn due(&mut self, steady: u64, mut take: impl FnMut(Check)) {
        let due = CHECKS.iter().filter(|(age, _)| steady.saturating_sub(self.born) >= *age).count();
        if due <= self.done {
            return;
        }
        let (inserted, now): (Arc<str>, Arc<str>) =
            (self.inserted.as_str().into(), self.anchored.text().into());
        for check in self.done..due {
            let last = check + 1 == CHECKS.len();
            take(Check {
                seq: self.seq,
                check,
                inserted: Arc::clone(&inserted),
                now: Arc::clone(&now),
                last,
            });
        }
        self.done = due;
    }

    /// The remaining checks, on a document that is gone.
    pub fn deleted(&mut self, mut take: impl FnMut(Check)) {
        for check in self.done..CHECKS.len() {
            take(Check {
                seq: self.seq,
                check,
                inserted: self.inserted.as_str().into(),
                now: "".into(),
                last: false,
            });
        }
        self.done = CHECKS.len();
    }
}
