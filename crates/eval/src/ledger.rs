//! The ledger: per example hit or miss and edit similarity, as a text file that a reviewer can read
//! and CI compares with.
//!
//! Line by line: `+` or `-` (exact match of the first line), edit similarity, set, id. No text of
//! the examples. `o` instead of the two: the example's language is off, an editor shows nothing
//! there; it is in no number.

use std::fmt;

use crate::run::{Run, RunError, SCORES, ScoreRow};

/// Scores of a fixed set in one mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    pub mode: String,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub mark: Mark,
    /// In thousandths: what is printed is what is compared.
    pub similarity: u32,
    /// Set and id.
    pub name: String,
}

/// What became of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Hit,
    Miss,
    /// Its language is off.
    Off,
}

/// Why a file is no ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the ledger is not `+ 0.123 SET ID`: write it anew with --update-ledger")]
pub struct LedgerError {
    pub line: usize,
}

/// Two ledgers of one set.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerChange {
    pub hits: (usize, usize),
    pub similarity: (f64, f64),
    pub lost: Vec<String>,
    pub gained: Vec<String>,
    /// Examples that count in one of them only: the other has none of that name, or its language is
    /// off there.
    pub others: usize,
}

const HEAD: &str = "# fim-eval ledger, mode ";

impl Ledger {
    pub fn of_run(run: &Run, mode: &str) -> Result<Ledger, RunError> {
        let mut entries = Vec::new();
        for row in run.rows::<ScoreRow>(SCORES, 0)? {
            let row = row?;
            let value = |name: &str| {
                row.modes
                    .iter()
                    .find(|m| m.mode == mode)
                    .and_then(|m| m.values.get(name))
                    .copied()
                    .unwrap_or(0.0)
            };
            let similarity = (value("es") * 1000.0).round() as u32;
            let mark = match (row.off, value("em_line") > 0.5) {
                (true, _) => Mark::Off,
                (false, true) => Mark::Hit,
                (false, false) => Mark::Miss,
            };
            entries.push(Entry { mark, similarity, name: format!("{} {}", row.set, row.id) });
        }
        Ok(Ledger { mode: mode.to_owned(), entries })
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Ledger, LedgerError> {
        let mut mode = String::new();
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if let Some(name) = line.strip_prefix(HEAD) {
                mode = name.split(':').next().unwrap_or("").to_owned();
            }
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            entries.push(entry(line).ok_or(LedgerError { line: index + 1 })?);
        }
        Ok(Ledger { mode, entries })
    }

    pub fn hits(&self) -> usize {
        self.counted().filter(|e| e.mark == Mark::Hit).count()
    }

    /// Mean edit similarity, 0 to 1.
    pub fn similarity(&self) -> f64 {
        self.counted().map(|e| f64::from(e.similarity)).sum::<f64>()
            / 1000.0
            / self.counted().count().max(1) as f64
    }

    /// Entries of languages that are on.
    fn counted(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.mark != Mark::Off)
    }

    /// From `self`, the committed one, to `new`.
    pub fn change(&self, new: &Ledger) -> LedgerChange {
        let old: std::collections::BTreeMap<&str, Mark> =
            self.counted().map(|e| (e.name.as_str(), e.mark)).collect();
        let mut change = LedgerChange {
            hits: (self.hits(), new.hits()),
            similarity: (self.similarity(), new.similarity()),
            lost: Vec::new(),
            gained: Vec::new(),
            others: 0,
        };
        let mut both = 0;
        for entry in new.counted() {
            match old.get(entry.name.as_str()) {
                None => change.others += 1,
                Some(mark) => {
                    both += 1;
                    match (*mark, entry.mark) {
                        (Mark::Hit, Mark::Miss) => change.lost.push(entry.name.clone()),
                        (Mark::Miss, Mark::Hit) => change.gained.push(entry.name.clone()),
                        _ => {}
                    }
                }
            }
        }
        change.others += old.len() - both;
        change
    }
}

fn entry(line: &str) -> Option<Entry> {
    let mut parts = line.splitn(3, ' ');
    let mark = match parts.next()? {
        "+" => Mark::Hit,
        "-" => Mark::Miss,
        "o" => Mark::Off,
        _ => return None,
    };
    let similarity = (parts.next()?.parse::<f64>().ok().filter(|s| (0.0..=1.0).contains(s))?
        * 1000.0)
        .round() as u32;
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    Some(Entry { mark, similarity, name })
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{HEAD}{}: exact match of the first line, edit similarity, set, id",
            self.mode
        )?;
        write!(
            f,
            "# {} of {} hits, mean edit similarity {:.3}",
            self.hits(),
            self.counted().count(),
            self.similarity()
        )?;
        match self.entries.len() - self.counted().count() {
            0 => writeln!(f)?,
            off => writeln!(f, "; {off} in languages that are off (o) count nowhere")?,
        }
        for e in &self.entries {
            let mark = match e.mark {
                Mark::Hit => '+',
                Mark::Miss => '-',
                Mark::Off => 'o',
            };
            writeln!(f, "{mark} {:.3} {}", f64::from(e.similarity) / 1000.0, e.name)?;
        }
        Ok(())
    }
}

impl LedgerChange {
    /// Whether the run is worse than the ledger: other instruction sets round differently and may
    /// turn single examples, so that one hit in fifty, and a hundredth of similarity, is no drop.
    /// Other examples than the ledger's are one.
    pub fn is_drop(&self) -> bool {
        let (before, after) = self.hits;
        let tolerated = before.div_ceil(50);
        after + tolerated < before
            || self.similarity.1 < self.similarity.0 - 0.01
            || self.others > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(hits: &[bool]) -> Ledger {
        let entry = |(i, hit): (usize, &bool)| Entry {
            mark: if *hit { Mark::Hit } else { Mark::Miss },
            similarity: if *hit { 1000 } else { 995 },
            name: format!("set id {i}"),
        };
        Ledger { mode: "editor".to_owned(), entries: hits.iter().enumerate().map(entry).collect() }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut a = ledger(&[true, false, true]);
        a.entries[2].mark = Mark::Off;
        assert_eq!(Ledger::parse(&a.to_string()), Ok(a));
        for (text, line) in
            [("+ 1.0", 1), ("# x\n* 0.1 s i", 2), ("+ 2.0 s i", 1), ("+ x s i", 1), ("+ 0.5 ", 1)]
        {
            assert_eq!(Ledger::parse(text), Err(LedgerError { line }), "{text:?}");
        }
    }

    #[test]
    fn what_is_off_counts_nowhere() {
        let mut old = ledger(&[true, false, false]);
        old.entries[2] = Entry { mark: Mark::Off, similarity: 0, ..old.entries[2].clone() };
        assert_eq!((old.hits(), old.similarity()), (1, 0.9975));
        assert!(old.to_string().contains("# 1 of 2 hits, mean edit similarity 0.998; 1 in languages that are off (o) count nowhere\n"));
        let same = old.change(&old);
        assert!(!same.is_drop() && same.others == 0);
        // A language that was turned off makes another set of it.
        let turned = ledger(&[true, false, false]).change(&old);
        assert!(turned.is_drop() && turned.others == 1 && turned.lost.is_empty());
    }

    #[test]
    fn a_drop_is_one() {
        let old = ledger(&[true; 50]);
        let with = |misses: usize| {
            let hits: Vec<bool> = (0..50).map(|i| i >= misses).collect();
            old.change(&ledger(&hits))
        };
        assert!(!with(0).is_drop() && !with(1).is_drop() && with(2).is_drop());
        assert_eq!((with(2).lost.len(), with(2).gained.len(), with(2).hits), (2, 0, (50, 48)));
        let fewer = old.change(&ledger(&[true; 49]));
        assert!(fewer.is_drop() && fewer.others == 1);
        let mut similar = old.clone();
        similar.entries.iter_mut().for_each(|e| e.similarity -= 11);
        assert!(old.change(&similar).is_drop());
        assert_eq!(old.change(&old).gained, Vec::<String>::new());
    }
}
