//! Simulated rows as the tracker hands rows to the store, so that a store can be filled with them.

use std::sync::Arc;

use crate::event::{CHECKS, Draft, Event, Int, Ints, Label, Names, Text};
use crate::track::{Change, Check};

/// Characters of the text that checks are made to compare: what was kept is stored in hundredths.
const COMPARED: usize = 100;

pub struct Drafts {
    labels: Vec<Label>,
    /// Its first characters, by how many.
    kept: Vec<Arc<str>>,
}

impl Drafts {
    /// For rows whose texts are numbered by `names`.
    pub fn new(names: &Names) -> Drafts {
        let text = "x".repeat(COMPARED);
        Drafts {
            labels: (0..names.len() as u32).map(|n| Label::Shared(names.text(n).into())).collect(),
            kept: (0..=COMPARED).map(|n| text[..n].into()).collect(),
        }
    }

    /// What writes `event` as row `seq` of its session: the row, and a look for each check that was
    /// made.
    pub fn add(&self, seq: u32, event: &Event, document: &Arc<str>, changes: &mut Vec<Change>) {
        let texts: [Label; Text::COUNT] =
            std::array::from_fn(|c| self.labels[event.texts[c] as usize].clone());
        let mut ints = Ints::default();
        for column in Int::ALL {
            ints.set(*column, event.int(*column));
        }
        changes.push(Change::Row(Box::new(Draft {
            seq,
            document: Arc::clone(document),
            texts,
            ints,
        })));
        for (check, (_, column)) in CHECKS.iter().enumerate() {
            if let Some(kept) = event.int(*column) {
                let now = &self.kept[(kept.clamp(0, 1000) as usize) * COMPARED / 1000];
                let (inserted, now, last) =
                    (Arc::clone(&self.kept[COMPARED]), Arc::clone(now), check + 1 == CHECKS.len());
                changes.push(Change::Check(Check { seq, check, inserted, now, last }));
            }
        }
    }
}
