//! Reading exports, and merging those of several installations or periods.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::parquet::read_parquet;
use super::write::Format;
use super::{ExchangeError, INSTALLATION};
use crate::event::{Event, Int, Ints, Names, Text};
use crate::report::Experiment;

/// Longer lines are not of an export.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Rows of several exports: each row once, however many exports it is in.
#[derive(Default)]
pub struct Merged {
    pub names: Names,
    pub events: Vec<Event>,
    pub experiments: Vec<Experiment>,
    /// Place of a row by installation and number.
    places: HashMap<(u32, i64), usize>,
    /// Rows that were in more than one export.
    pub repeated: usize,
}

impl Merged {
    /// Adds the rows of a file. A row that is there already is replaced: later exports know more of
    /// it.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ExchangeError> {
        let Merged { names, events, places, repeated, .. } = self;
        let experiments = read_file(path, names, |event| {
            let place = event
                .int(Int::Row)
                .map(|row| *places.entry((event.installation, row)).or_insert(events.len()));
            match place.and_then(|place| events.get_mut(place)) {
                Some(old) => {
                    *old = event;
                    *repeated += 1;
                }
                None => events.push(event),
            }
        })?;
        for experiment in experiments {
            if !self.experiments.iter().any(|e| e.name == experiment.name) {
                self.experiments.push(experiment);
            }
        }
        Ok(())
    }
}

/// Gives every row of an export to `take`, its texts numbered by `names`; returns the experiments
/// that came with it.
pub fn read_file(
    path: &Path,
    names: &mut Names,
    take: impl FnMut(Event),
) -> Result<Vec<Experiment>, ExchangeError> {
    match Format::of(path) {
        Some(Format::Parquet) => read_parquet(path, names, take),
        Some(Format::Jsonl) => read_jsonl(path, names, take).map(|()| Vec::new()),
        Some(Format::Csv) => read_csv(path, names, take).map(|()| Vec::new()),
        None => Err(ExchangeError::NotAnExport {
            path: path.to_owned(),
            what: "the file's name does not tell its format".to_owned(),
        }),
    }
}

fn open(path: &Path) -> Result<BufReader<File>, ExchangeError> {
    File::open(path)
        .map(BufReader::new)
        .map_err(|source| ExchangeError::Io { path: path.to_owned(), source })
}

fn read_jsonl(
    path: &Path,
    names: &mut Names,
    mut take: impl FnMut(Event),
) -> Result<(), ExchangeError> {
    let mut reader = open(path)?;
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let wrong = |what: String| ExchangeError::Line { path: path.to_owned(), line, what };
        let n = reader
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_line(&mut text)
            .map_err(|e| wrong(e.to_string()))?;
        if n == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let object: Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        take(
            of_cells(names, |name| {
                object.get(name).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            })
            .map_err(wrong)?,
        );
    }
    Ok(())
}

fn read_csv(
    path: &Path,
    names: &mut Names,
    mut take: impl FnMut(Event),
) -> Result<(), ExchangeError> {
    let mut reader = csv::Reader::from_reader(open(path)?);
    let header = reader
        .headers()
        .map_err(|e| ExchangeError::NotAnExport { path: path.to_owned(), what: e.to_string() })?
        .clone();
    let places: HashMap<&str, usize> =
        header.iter().enumerate().map(|(i, name)| (name, i)).collect();
    for (i, record) in reader.records().enumerate() {
        let wrong = |what: String| ExchangeError::Line { path: path.to_owned(), line: i + 2, what };
        let record = record.map_err(|e| wrong(e.to_string()))?;
        let cell = |name: &str| {
            places
                .get(name)
                .and_then(|at| record.get(*at))
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
        };
        take(of_cells(names, cell).map_err(wrong)?);
    }
    Ok(())
}

/// A row from its cells by name.
fn of_cells(names: &mut Names, cell: impl Fn(&str) -> Option<String>) -> Result<Event, String> {
    let needed = |name: &str| cell(name).ok_or_else(|| format!("there is no {name}"));
    let installation = names.number(&needed(INSTALLATION)?);
    needed(Text::Kind.name())?;
    needed(Int::At.name())?;
    let mut event = Event { installation, texts: [0; Text::COUNT], ints: Ints::default() };
    for (text, column) in event.texts.iter_mut().zip(Text::ALL) {
        *text = names.number(&cell(column.name()).unwrap_or_default());
    }
    for column in Int::ALL {
        if let Some(text) = cell(column.name()) {
            let value = text
                .parse()
                .map_err(|_| format!("{} = {text:?} is not an integer", column.name()))?;
            event.ints.set(*column, Some(value));
        }
    }
    Ok(event)
}
