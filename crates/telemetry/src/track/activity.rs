//! How long the user edits and how much is typed by hand: what accepted characters are divided by.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Moment;
use crate::event::{Draft, Int, Ints, Label, Text};

/// Length of a row's period.
pub const PERIOD_MS: i64 = 300_000;
/// A longer pause between two edits is not active time.
const MAX_GAP_MS: u64 = 120_000;
/// An edit that brings in more characters was pasted, moved, formatted or generated, not typed.
const MAX_TYPED_CHARS: usize = 80;

#[derive(Clone, Debug)]
struct Period {
    seq: u32,
    language: Label,
    active_ms: u64,
    typed_chars: u64,
    completed_chars: u64,
    changed: bool,
}

/// The rows of the running periods, one a document, period and set of arms: an experiment may start
/// or stop within a period.
#[derive(Debug, Default)]
pub struct Activity {
    periods: HashMap<(Arc<str>, i64, Label), Period>,
    /// Steady time of the last edit in any document.
    last: Option<u64>,
}

/// What one edit was.
pub struct Stroke<'a> {
    pub document: &'a Arc<str>,
    pub language: &'a Label,
    pub arms: &'a Label,
    /// Characters that came from a suggestion by a command.
    pub completed: usize,
    /// Characters that came otherwise.
    pub other: usize,
}

impl Activity {
    /// Counts an edit; `seq` gives numbers to new rows.
    pub fn edited(&mut self, now: Moment, stroke: &Stroke<'_>, seq: impl FnOnce() -> u32) {
        let gap = self.last.replace(now.steady).map_or(0, |last| now.steady.saturating_sub(last));
        let period = now.wall.div_euclid(PERIOD_MS);
        let entry = self
            .periods
            .entry((Arc::clone(stroke.document), period, stroke.arms.clone()))
            .or_insert_with(|| Period {
                seq: seq(),
                language: stroke.language.clone(),
                active_ms: 0,
                typed_chars: 0,
                completed_chars: 0,
                changed: true,
            });
        entry.changed = true;
        entry.active_ms += if gap <= MAX_GAP_MS { gap } else { 0 };
        entry.completed_chars += stroke.completed as u64;
        entry.typed_chars += if stroke.other <= MAX_TYPED_CHARS { stroke.other as u64 } else { 0 };
    }

    /// Characters counted as typed turn out to come from a suggestion.
    pub fn reclassify(&mut self, now: Moment, document: &Arc<str>, chars: usize) {
        let current = now.wall.div_euclid(PERIOD_MS);
        let here = self
            .periods
            .iter_mut()
            .filter(|((of, period, _), _)| of == document && *period == current);
        if let Some((_, period)) = here.max_by_key(|(_, row)| row.seq) {
            let moved = period.typed_chars.min(chars as u64);
            period.typed_chars -= moved;
            period.completed_chars += moved;
            period.changed = true;
        }
    }

    /// Rows that changed since the last call. Periods that are over are forgotten.
    pub fn drain(&mut self, now: Moment, out: &mut Vec<Draft>) {
        let current = now.wall.div_euclid(PERIOD_MS);
        self.periods.retain(|(document, period, arms), row| {
            if std::mem::take(&mut row.changed) {
                out.push(draft(document, *period, arms, row));
            }
            *period >= current
        });
    }
}

fn draft(document: &Arc<str>, period: i64, arms: &Label, row: &Period) -> Draft {
    let mut texts = [const { Label::NONE }; Text::COUNT];
    texts[Text::Kind as usize] = Label::Static("activity");
    texts[Text::Language as usize] = row.language.clone();
    texts[Text::Arms as usize] = arms.clone();
    let ints = Ints::default()
        .with(Int::At, period * PERIOD_MS)
        .with(Int::ActiveMs, row.active_ms as i64)
        .with(Int::Chars, row.typed_chars as i64)
        .with(Int::AcceptedChars, row.completed_chars as i64);
    Draft { seq: row.seq, document: Arc::clone(document), texts, ints }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_and_pastes_do_not_count() {
        let (document, none) = ("d".into(), Label::NONE);
        let mut activity = Activity::default();
        let mut next = 0;
        let start = Moment { steady: 0, wall: 10 * PERIOD_MS };
        for (ms, completed, other) in
            [(0, 0, 1), (500, 0, 1), (120_500, 7, 0), (240_501, 0, 81), (240_600, 0, 80)]
        {
            let stroke =
                Stroke { document: &document, language: &none, arms: &none, completed, other };
            activity.edited(start.after(ms), &stroke, || {
                next += 1;
                next
            });
        }
        activity.reclassify(start.after(240_600), &document, 5);
        let mut rows = Vec::new();
        activity.drain(start.after(241_000), &mut rows);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let value = |column| row.ints.of(column);
        assert_eq!(value(Int::ActiveMs), Some(500 + 120_000 + 99));
        assert_eq!((value(Int::Chars), value(Int::AcceptedChars)), (Some(77), Some(12)));
        activity.drain(start.after(242_000), &mut rows);
        assert_eq!(rows.len(), 1, "nothing changed since");
        activity.drain(start.after(400_000), &mut rows);
        assert!(activity.periods.is_empty());
    }

    #[test]
    fn one_row_a_document_period_and_arm() {
        let mut activity = Activity::default();
        let mut next = 0;
        for (document, ms, arms) in [
            ("a", 0, ""),
            ("b", 1, ""),
            ("a", 2, ""),
            ("a", 3, "x=b@1"),
            ("a", 4, "x=b@1"),
            ("a", 300_000, "x=b@1"),
        ] {
            let document = document.into();
            let stroke = Stroke {
                document: &document,
                language: &Label::NONE,
                arms: &arms.into(),
                completed: 0,
                other: 1,
            };
            activity.edited(Moment { steady: ms, wall: ms as i64 }, &stroke, || {
                next += 1;
                next
            });
        }
        // The newest row of the period is the one that a client's late word is about.
        activity.reclassify(Moment { steady: 300_001, wall: 299_999 }, &"a".into(), 1);
        let mut rows = Vec::new();
        activity.drain(Moment { steady: 300_001, wall: 300_001 }, &mut rows);
        rows.sort_by_key(|r| r.seq);
        let told: Vec<_> = rows
            .iter()
            .map(|r| {
                (r.seq, r.text(Text::Arms), r.ints.of(Int::Chars), r.ints.of(Int::AcceptedChars))
            })
            .collect();
        let row = |seq, arms, typed, accepted| (seq, arms, Some(typed), Some(accepted));
        assert_eq!(
            told,
            [row(1, "", 2, 0), row(2, "", 1, 0), row(3, "x=b@1", 1, 1), row(4, "x=b@1", 1, 0)]
        );
    }
}
