//! Parquet: every column optional but the installation; texts are dictionary-coded, pages
//! compressed with Zstandard.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::write::write_error;
use super::{EXPERIMENTS_KEY, ExchangeError, INSTALLATION};
use crate::event::{Event, Int, Ints, Names, Text};
use crate::report::Experiment;

/// Rows of a row group: what is held in memory while writing.
const GROUP_ROWS: usize = 100_000;
/// Rows that are read at once.
const BATCH_ROWS: usize = 8_192;

pub struct ParquetRows<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    /// The texts of `pending`, each with the number it has there.
    names: Names,
    pending: Vec<Event>,
}

impl<W: Write + Send> ParquetRows<W> {
    pub fn new(out: W, experiments: &[Experiment]) -> Result<ParquetRows<W>, ExchangeError> {
        let texts = Text::ALL.iter().map(|c| format!("optional binary {} (STRING);", c.name()));
        let ints = Int::ALL.iter().map(|c| format!("optional int64 {};", c.name()));
        let columns: String = texts.chain(ints).collect();
        let schema = parse_message_type(&format!(
            "message lacuna {{ required binary {INSTALLATION} (STRING); {columns} }}"
        ));
        let level = ZstdLevel::try_new(3).map_err(write_error)?;
        let experiments = serde_json::to_string(experiments).map_err(write_error)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(format!("lacuna {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(vec![KeyValue::new(
                EXPERIMENTS_KEY.to_owned(),
                experiments,
            )]))
            .build();
        let schema = Arc::new(schema.map_err(write_error)?);
        let writer =
            SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(write_error)?;
        Ok(ParquetRows { writer, names: Names::default(), pending: Vec::new() })
    }

    pub fn add(&mut self, event: &Event, names: &Names) -> Result<(), ExchangeError> {
        let mut own = *event;
        own.installation = self.names.number(names.text(event.installation));
        for text in &mut own.texts {
            *text = self.names.number(names.text(*text));
        }
        self.pending.push(own);
        if self.pending.len() >= GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    pub fn finish(mut self) -> Result<W, ExchangeError> {
        if !self.pending.is_empty() {
            self.write_group()?;
        }
        self.writer.into_inner().map_err(write_error)
    }

    fn write_group(&mut self) -> Result<(), ExchangeError> {
        let run = || -> parquet::errors::Result<()> {
            let mut group = self.writer.next_row_group()?;
            let text = |number: u32| ByteArray::from(self.names.text(number).as_bytes().to_vec());
            let installations: Vec<ByteArray> =
                self.pending.iter().map(|e| text(e.installation)).collect();
            write_column::<ByteArrayType, _>(&mut group, &installations, None)?;
            for column in Text::ALL {
                let numbers = || self.pending.iter().map(|e| e.text(*column));
                let levels: Vec<i16> = numbers().map(|n| i16::from(n != 0)).collect();
                let values: Vec<ByteArray> = numbers().filter(|n| *n != 0).map(text).collect();
                write_column::<ByteArrayType, _>(&mut group, &values, Some(&levels))?;
            }
            for column in Int::ALL {
                let levels: Vec<i16> =
                    self.pending.iter().map(|e| i16::from(e.int(*column).is_some())).collect();
                let values: Vec<i64> = self.pending.iter().filter_map(|e| e.int(*column)).collect();
                write_column::<Int64Type, _>(&mut group, &values, Some(&levels))?;
            }
            group.close()?;
            Ok(())
        };
        let mut run = run;
        run().map_err(write_error)?;
        self.pending.clear();
        Ok(())
    }
}

fn write_column<T: parquet::data_type::DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> parquet::errors::Result<()> {
    let missing =
        || parquet::errors::ParquetError::General("a column more than the schema has".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

/// Gives every row of a file to `take`; returns the experiments that came with it.
///
/// The crate asserts what damaged files break: a panic of it is an error of the file's.
pub fn read_parquet(
    path: &Path,
    names: &mut Names,
    take: impl FnMut(Event),
) -> Result<Vec<Experiment>, ExchangeError> {
    let damaged = || ExchangeError::NotAnExport {
        path: path.to_owned(),
        what: "not a sound Parquet file".to_owned(),
    };
    catch_unwind(AssertUnwindSafe(|| read(path, names, take))).unwrap_or_else(|_| Err(damaged()))
}

fn read(
    path: &Path,
    names: &mut Names,
    mut take: impl FnMut(Event),
) -> Result<Vec<Experiment>, ExchangeError> {
    let wrong = |what: String| ExchangeError::NotAnExport { path: path.to_owned(), what };
    let file =
        File::open(path).map_err(|source| ExchangeError::Io { path: path.to_owned(), source })?;
    let reader = SerializedFileReader::new(file).map_err(|e| wrong(e.to_string()))?;
    let metadata = reader.metadata().file_metadata();
    let stored =
        metadata.key_value_metadata().into_iter().flatten().find(|kv| kv.key == EXPERIMENTS_KEY);
    let experiments = match stored.and_then(|kv| kv.value.as_deref()) {
        Some(text) => {
            serde_json::from_str(text).map_err(|e| wrong(format!("its experiments: {e}")))?
        }
        None => Vec::new(),
    };
    let columns: Vec<String> =
        metadata.schema_descr().columns().iter().map(|c| c.path().string()).collect();
    let place = |name: &str| columns.iter().position(|c| c == name);
    for needed in [INSTALLATION, Text::Kind.name(), Int::At.name()] {
        place(needed).ok_or_else(|| wrong(format!("it has no column {needed}")))?;
    }
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|e| wrong(e.to_string()))?;
        let n = usize::try_from(group.metadata().num_rows())
            .map_err(|_| wrong("a negative number of rows".to_owned()))?;
        // Rows are held a row group at a time; a file that claims more than it can hold is found
        // out by its columns.
        let mut events: Vec<Event> = Vec::new();
        let mut read = |name: &str,
                        set: &mut dyn FnMut(&mut Event, Cell, &mut Names)|
         -> Result<(), ExchangeError> {
            let Some(column) = place(name) else { return Ok(()) };
            let max_level = group.metadata().column(column).column_descr().max_def_level();
            read_column(group.as_ref(), column, max_level, n, |row, cell| {
                if events.len() <= row {
                    events.resize(
                        row + 1,
                        Event { installation: 0, texts: [0; Text::COUNT], ints: Ints::default() },
                    );
                }
                set(&mut events[row], cell, names);
            })
            .map_err(|e| wrong(format!("column {name}: {e}")))
        };
        let number = |cell: Cell, names: &mut Names| match cell {
            Cell::Text(bytes) => names.number(&String::from_utf8_lossy(bytes)),
            _ => 0,
        };
        read(INSTALLATION, &mut |event, cell, names| event.installation = number(cell, names))?;
        for (i, column) in Text::ALL.iter().enumerate() {
            read(column.name(), &mut |event, cell, names| event.texts[i] = number(cell, names))?;
        }
        for column in Int::ALL {
            read(column.name(), &mut |event, cell, _| {
                if let Cell::Int(value) = cell {
                    event.ints.set(*column, Some(value));
                }
            })?;
        }
        events.drain(..).for_each(&mut take);
    }
    Ok(experiments)
}

#[derive(Clone, Copy)]
enum Cell<'a> {
    None,
    Text(&'a [u8]),
    Int(i64),
}

/// Gives the cells of one column to `take`, with their rows.
fn read_column(
    group: &dyn RowGroupReader,
    column: usize,
    max_level: i16,
    n: usize,
    mut take: impl FnMut(usize, Cell<'_>),
) -> parquet::errors::Result<()> {
    let mut row = 0;
    let mut spread =
        |levels: &[i16], n_read: usize, mut value: Box<dyn FnMut() -> Option<CellValue> + '_>| {
            for i in 0..n_read {
                let present = max_level == 0 || levels.get(i).is_some_and(|l| *l == max_level);
                match present.then(&mut value).flatten() {
                    Some(CellValue::Text(bytes)) => take(row, Cell::Text(bytes.data())),
                    Some(CellValue::Int(v)) => take(row, Cell::Int(v)),
                    None => take(row, Cell::None),
                }
                row += 1;
            }
        };
    let flat = max_level <= 1;
    let wrong = |what: &str| parquet::errors::ParquetError::General(what.to_owned());
    match group.get_column_reader(column)? {
        _ if !flat => return Err(wrong("it is nested")),
        ColumnReader::ByteArrayColumnReader(mut reader) => loop {
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let (read, _, _) =
                reader.read_records(BATCH_ROWS, Some(&mut levels), None, &mut values)?;
            let mut values = values.into_iter();
            spread(&levels, read, Box::new(move || values.next().map(CellValue::Text)));
            if read == 0 {
                break;
            }
        },
        ColumnReader::Int64ColumnReader(mut reader) => loop {
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let (read, _, _) =
                reader.read_records(BATCH_ROWS, Some(&mut levels), None, &mut values)?;
            let mut values = values.into_iter();
            spread(&levels, read, Box::new(move || values.next().map(CellValue::Int)));
            if read == 0 {
                break;
            }
        },
        ColumnReader::Int32ColumnReader(mut reader) => loop {
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let (read, _, _) =
                reader.read_records(BATCH_ROWS, Some(&mut levels), None, &mut values)?;
            let mut values = values.into_iter();
            spread(
                &levels,
                read,
                Box::new(move || values.next().map(|v| CellValue::Int(i64::from(v)))),
            );
            if read == 0 {
                break;
            }
        },
        _ => return Err(wrong("it is neither text nor integers")),
    }
    if row == n { Ok(()) } else { Err(wrong(&format!("it has {row} of {n} rows"))) }
}

enum CellValue {
    Text(ByteArray),
    Int(i64),
}
