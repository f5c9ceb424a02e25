//! Parquet from JSON lines: a column a field, in alphabetical order, all optional.
//!
//! Text, whole numbers, other numbers and truth values have columns of their type. Lists, objects
//! and fields of more than one type are JSON text, and declared as such, so that they come back as
//! they were. The lines are read twice: first for the types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{
    Compression, ConvertedType, LogicalType, Repetition, Type as Physical, ZstdLevel,
};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::Table;
use crate::example::{Fault, ReadError};

/// Rows of a row group.
const GROUP_ROWS: usize = 1_000;
/// Bytes of text after which a row group is closed early.
const GROUP_BYTES: usize = 64 << 20;

/// Why a Parquet file was not written. What had been there is still there.
#[derive(Debug, thiserror::Error)]
pub enum ParquetError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{path} has no rows: a Parquet file needs columns", path = path.display())]
    Empty { path: PathBuf },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Text,
    Whole,
    Number,
    Truth,
    Json,
}

/// Writes the rows of `lines` (JSON lines) to `out`; returns their number.
///
/// Errors: a row that is no object, no rows at all, or a file cannot be read or written.
pub fn write_parquet(lines: &Path, out: &Path) -> Result<u64, ParquetError> {
    let mut columns: BTreeMap<String, Column> = BTreeMap::new();
    each(lines, |row| {
        for (name, value) in row {
            let Some(column) = column_of(&value) else { continue };
            columns
                .entry(name)
                .and_modify(|c| *c = if *c == column { *c } else { Column::Json })
                .or_insert(column);
        }
        Ok(())
    })?;
    if columns.is_empty() {
        return Err(ParquetError::Empty { path: lines.to_owned() });
    }
    let fail = |source| ParquetError::Write { path: out.to_owned(), source };
    let broken = |e: parquet::errors::ParquetError| fail(std::io::Error::other(e));
    let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = crate::example::unfinished_file(folder).map_err(fail)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer =
        SerializedFileWriter::new(file, schema(&columns).map_err(broken)?, Arc::new(properties))
            .map_err(broken)?;
    let (mut group, mut bytes, mut rows) = (Vec::new(), 0, 0);
    each(lines, |row| {
        bytes += row.values().map(|v| v.as_str().map_or(8, str::len)).sum::<usize>();
        group.push(row);
        rows += 1;
        if group.len() >= GROUP_ROWS || bytes >= GROUP_BYTES {
            write_group(&mut writer, &columns, &group).map_err(broken)?;
            group.clear();
            bytes = 0;
        }
        Ok(())
    })?;
    if !group.is_empty() {
        write_group(&mut writer, &columns, &group).map_err(broken)?;
    }
    let file = writer.into_inner().map_err(broken)?;
    file.persist(out).map_err(|e| fail(e.error))?;
    Ok(rows)
}

fn each(
    lines: &Path,
    mut body: impl FnMut(Map<String, Value>) -> Result<(), ParquetError>,
) -> Result<(), ParquetError> {
    let mut table = Table::open(lines)?;
    while let Some(row) = table.next() {
        match row? {
            Value::Object(row) => body(row)?,
            _ => return Err(table.bad_row(Fault::Format("not a JSON object")).into()),
        }
    }
    Ok(())
}

fn column_of(value: &Value) -> Option<Column> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => Column::Truth,
        Value::Number(n) if n.is_i64() => Column::Whole,
        Value::Number(n) if n.is_f64() => Column::Number,
        Value::Number(_) | Value::Array(_) | Value::Object(_) => Column::Json,
        Value::String(_) => Column::Text,
    })
}

fn schema(columns: &BTreeMap<String, Column>) -> parquet::errors::Result<Arc<Type>> {
    let mut fields = Vec::new();
    for (name, column) in columns {
        let (physical, logical) = match column {
            Column::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Column::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Column::Whole => (Physical::INT64, None),
            Column::Number => (Physical::DOUBLE, None),
            Column::Truth => (Physical::BOOLEAN, None),
        };
        let converted = match column {
            Column::Text => ConvertedType::UTF8,
            Column::Json => ConvertedType::JSON,
            _ => ConvertedType::NONE,
        };
        let field = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .with_converted_type(converted);
        fields.push(Arc::new(field.build()?));
    }
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

fn write_group<W: std::io::Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    columns: &BTreeMap<String, Column>,
    rows: &[Map<String, Value>],
) -> parquet::errors::Result<()> {
    let mut group = writer.next_row_group()?;
    for (name, column) in columns {
        match column {
            Column::Text => write::<ByteArrayType, _>(&mut group, name, rows, |v| {
                v.as_str().map(ByteArray::from)
            })?,
            Column::Json => write::<ByteArrayType, _>(&mut group, name, rows, |v| {
                (!v.is_null()).then(|| ByteArray::from(v.to_string().into_bytes()))
            })?,
            Column::Whole => write::<Int64Type, _>(&mut group, name, rows, Value::as_i64)?,
            Column::Number => write::<DoubleType, _>(&mut group, name, rows, Value::as_f64)?,
            Column::Truth => write::<BoolType, _>(&mut group, name, rows, Value::as_bool)?,
        }
    }
    group.close()?;
    Ok(())
}

/// One column of a row group; a definition level of 0 is a null.
fn write<T: DataType, W: std::io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    name: &str,
    rows: &[Map<String, Value>],
    value: impl Fn(&Value) -> Option<T::T>,
) -> parquet::errors::Result<()> {
    let cells: Vec<Option<T::T>> = rows.iter().map(|row| row.get(name).and_then(&value)).collect();
    let levels: Vec<i16> = cells.iter().map(|c| i16::from(c.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(&values, Some(&levels), None)?;
        column.close()?;
    }
    Ok(())
}
