//! The first stage: reads the sets, leaves bad rows out by name, draws a sample where one is
//! wanted.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{EXAMPLES, Run, RunError, SKIPPED};
use crate::Example;
use crate::example::{ReadError, Writer};
use crate::format;
use crate::stats::Random;

/// What came of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub rows: u64,
    pub skipped: u64,
    /// The first few skipped rows, in words.
    pub shown: Vec<String>,
}

/// Skipped rows that are put into words for the screen; the file has them all.
const SHOWN: usize = 10;

/// Writes the run's examples: all usable rows of the sets, or about `limit` of them, one drawn by
/// the seed from each of `limit` equal stretches, so that a sample covers all sets and languages as
/// the whole does.
///
/// Errors: a file cannot be read, or there is no usable row.
pub fn select(run: &Run, sets: &[PathBuf]) -> Result<Selection, RunError> {
    let config = &run.manifest.config;
    let limit = match config.limit {
        None => None,
        Some(limit) => {
            let mut rows = 0;
            each(sets, &mut |row| {
                rows += u64::from(row.is_ok());
                Ok(())
            })?;
            (limit < rows).then_some((limit, rows))
        }
    };
    let mut stretches = limit.map(|(limit, rows)| Stretches::new(limit, rows, config.seed));
    let mut selection = Selection::default();
    let skipped_path = run.file(SKIPPED);
    let io = |source| RunError::Io { path: skipped_path.clone(), source };
    let mut skipped = std::io::BufWriter::new(std::fs::File::create(&skipped_path).map_err(io)?);
    let mut writer = Writer::create(&run.file(EXAMPLES))?;
    each(sets, &mut |row| {
        match row {
            Ok(example) => {
                if stretches.as_mut().is_none_or(Stretches::takes) {
                    writer.write(&example)?;
                    selection.rows += 1;
                }
            }
            Err(bad) => {
                selection.skipped += 1;
                writeln!(skipped, "{bad}").map_err(io)?;
                if selection.shown.len() < SHOWN {
                    selection.shown.push(bad);
                }
            }
        }
        Ok(())
    })?;
    skipped.flush().map_err(io)?;
    if selection.rows == 0 {
        let first = selection
            .shown
            .first()
            .map_or_else(String::new, |bad| format!("; {}", bad.replace(char::is_control, " ")));
        return Err(RunError::Empty { skipped: selection.skipped, first });
    }
    writer.finish()?;
    Ok(selection)
}

type Visit<'a> = &'a mut dyn FnMut(Result<Example, String>) -> Result<(), RunError>;

fn each(sets: &[PathBuf], visit: Visit<'_>) -> Result<(), RunError> {
    for path in sets {
        let name = path.file_name().map(Path::new).unwrap_or(path);
        for row in format::open(path)? {
            match row {
                Ok(mut example) => {
                    if example.set.is_empty() {
                        // A file of our own rows without a name is a set of its own.
                        example.set =
                            name.display().to_string().split('.').next().unwrap_or("").to_owned();
                    }
                    named(&mut example);
                    visit(Ok(example))?;
                }
                Err(ReadError::Row(bad)) => visit(Err(bad.to_string()))?,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Names that tables print shall not steer a terminal.
fn named(example: &mut Example) {
    let names = [&mut example.set, &mut example.language];
    for name in names.into_iter().chain(&mut example.node_kind) {
        if name.contains(char::is_control) {
            *name = name.replace(char::is_control, " ");
        }
    }
}

/// Which of `rows` rows are taken: one of each of `limit` stretches.
struct Stretches {
    limit: u64,
    rows: u64,
    random: Random,
    /// The next row, the stretch it lies in, and the row to take from it.
    row: u64,
    stretch: u64,
    wanted: u64,
}

impl Stretches {
    fn new(limit: u64, rows: u64, seed: u64) -> Stretches {
        let mut stretches =
            Stretches { limit, rows, random: Random::new(seed), row: 0, stretch: 0, wanted: 0 };
        stretches.draw();
        stretches
    }

    fn start(&self, stretch: u64) -> u64 {
        (u128::from(stretch) * u128::from(self.rows) / u128::from(self.limit.max(1))) as u64
    }

    fn draw(&mut self) {
        let (start, end) = (self.start(self.stretch), self.start(self.stretch + 1));
        self.wanted = start + self.random.below((end - start).max(1) as usize) as u64;
    }

    /// Whether the next row is taken.
    fn takes(&mut self) -> bool {
        let takes = self.stretch < self.limit && self.row == self.wanted;
        self.row += 1;
        if takes {
            self.stretch += 1;
            if self.stretch < self.limit {
                self.draw();
            }
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_stretch() {
        for (limit, rows) in [(1, 1), (1, 10), (3, 10), (9, 10), (100, 1000)] {
            let taken = |seed| {
                let mut stretches = Stretches::new(limit, rows, seed);
                (0..rows).filter(|_| stretches.takes()).collect::<Vec<u64>>()
            };
            let got = taken(1);
            assert_eq!(got.len() as u64, limit, "{limit} of {rows}");
            for (i, row) in got.iter().enumerate() {
                let i = i as u64;
                assert!((i * rows / limit..(i + 1) * rows / limit).contains(row), "{got:?}");
            }
            assert_eq!(got, taken(1));
        }
        let taken = |seed| {
            let mut stretches = Stretches::new(10, 1000, seed);
            (0..1000).filter(|_| stretches.takes()).collect::<Vec<u64>>()
        };
        assert_ne!(taken(1), taken(2));
    }
}
