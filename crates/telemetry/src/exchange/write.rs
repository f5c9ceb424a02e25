//! [`RowWriter`]: rows into a file, one at a time.

use std::io::Write;

use serde_json::{Map, Value};

use super::parquet::ParquetRows;
use super::{ExchangeError, INSTALLATION};
use crate::event::{Event, Int, Names, Text};
use crate::report::Experiment;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    Jsonl,
    Csv,
}

impl Format {
    /// By a file's extension.
    pub fn of(path: &std::path::Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "parquet" => Some(Format::Parquet),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }
}

/// Writes rows; [`RowWriter::finish`] completes the file.
pub struct RowWriter<W: Write + Send>(Kind<W>);

enum Kind<W: Write + Send> {
    Parquet(ParquetRows<W>),
    Jsonl(W),
    Csv(csv::Writer<W>),
}

impl<W: Write + Send> RowWriter<W> {
    /// `experiments` go into Parquet's metadata; the other formats have no place for them.
    pub fn new(
        out: W,
        format: Format,
        experiments: &[Experiment],
    ) -> Result<RowWriter<W>, ExchangeError> {
        Ok(RowWriter(match format {
            Format::Parquet => Kind::Parquet(ParquetRows::new(out, experiments)?),
            Format::Jsonl => Kind::Jsonl(out),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                let texts = Text::ALL.iter().map(|c| c.name());
                let header = [INSTALLATION]
                    .into_iter()
                    .chain(texts)
                    .chain(Int::ALL.iter().map(|c| c.name()));
                writer.write_record(header).map_err(write_error)?;
                Kind::Csv(writer)
            }
        }))
    }

    pub fn add(&mut self, event: &Event, names: &Names) -> Result<(), ExchangeError> {
        match &mut self.0 {
            Kind::Parquet(rows) => rows.add(event, names),
            Kind::Jsonl(out) => writeln!(out, "{}", to_object(event, names)).map_err(write_error),
            Kind::Csv(writer) => {
                let texts = Text::ALL.iter().map(|c| names.text(event.text(*c)).to_owned());
                let ints = Int::ALL
                    .iter()
                    .map(|c| event.int(*c).map_or_else(String::new, |v| v.to_string()));
                let record = [names.text(event.installation).to_owned()]
                    .into_iter()
                    .chain(texts)
                    .chain(ints);
                writer.write_record(record).map_err(write_error)
            }
        }
    }

    /// Completes the file and gives back what it was written to.
    pub fn finish(self) -> Result<W, ExchangeError> {
        match self.0 {
            Kind::Parquet(rows) => rows.finish(),
            Kind::Jsonl(mut out) => out.flush().map_err(write_error).map(|()| out),
            Kind::Csv(writer) => writer.into_inner().map_err(|e| write_error(e.into_error())),
        }
    }
}

pub(super) fn write_error(error: impl std::fmt::Display) -> ExchangeError {
    ExchangeError::Write(error.to_string())
}

/// The row as a JSON object, without the columns that do not apply.
pub(super) fn to_object(event: &Event, names: &Names) -> Value {
    let mut object = Map::new();
    object.insert(INSTALLATION.to_owned(), names.text(event.installation).into());
    for column in Text::ALL {
        let text = names.text(event.text(*column));
        if !text.is_empty() {
            object.insert(column.name().to_owned(), text.into());
        }
    }
    for column in Int::ALL {
        if let Some(value) = event.int(*column) {
            object.insert(column.name().to_owned(), value.into());
        }
    }
    Value::Object(object)
}
