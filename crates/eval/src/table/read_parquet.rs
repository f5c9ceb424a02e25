//! Rows of a Parquet file as JSON values.
//!
//! Nulls are left out of a row; columns that are declared as JSON become what their text says;
//! bytes that are UTF-8 become text.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::ConvertedType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use crate::example::{BadRow, Fault, ReadError};

/// Iterator over the rows of a file.
pub struct ParquetRows {
    path: PathBuf,
    rows: RowIter<'static>,
    /// Names of the columns that hold JSON as text.
    json: Vec<String>,
    row: u64,
    ended: bool,
}

impl ParquetRows {
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        let damaged = |source| ReadError::Damaged { path: path.to_owned(), line: 0, source };
        let file =
            File::open(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(damaged)?;
        let schema = reader.metadata().file_metadata().schema();
        let is_json = |t: &&parquet::schema::types::TypePtr| {
            t.get_basic_info().converted_type() == ConvertedType::JSON
        };
        let json =
            schema.get_fields().iter().filter(is_json).map(|t| t.name().to_owned()).collect();
        let rows = guarded(|| Ok(RowIter::from_file_into(Box::new(reader)))).map_err(damaged)?;
        Ok(ParquetRows { path: path.to_owned(), rows, json, row: 0, ended: false })
    }

    pub(super) fn bad_row(&self, fault: Fault) -> ReadError {
        ReadError::Row(BadRow { path: self.path.clone(), line: self.row, fault })
    }

    fn value(&self, row: &Row) -> Result<Value, Fault> {
        let mut object = Map::new();
        for (name, field) in row.get_column_iter() {
            let mut value = value(field);
            if let Value::String(text) = &value
                && self.json.contains(name)
            {
                value = serde_json::from_str(text).map_err(Fault::Json)?;
            }
            if !value.is_null() {
                object.insert(name.clone(), value);
            }
        }
        Ok(Value::Object(object))
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Value, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match guarded(|| self.rows.next().transpose()) {
            Ok(None) => {
                self.ended = true;
                None
            }
            Ok(Some(row)) => {
                self.row += 1;
                Some(self.value(&row).map_err(|fault| self.bad_row(fault)))
            }
            Err(source) => {
                self.ended = true;
                Some(Err(ReadError::Damaged { path: self.path.clone(), line: self.row, source }))
            }
        }
    }
}

/// The crate asserts what damaged files break: a panic of it is an error of the file's.
fn guarded<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> std::io::Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(std::io::Error::other),
        Err(_) => Err(std::io::Error::other("not a sound Parquet file")),
    }
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(v) => (*v).into(),
        Field::Byte(v) => (*v).into(),
        Field::Short(v) => (*v).into(),
        Field::Int(v) | Field::Date(v) | Field::TimeMillis(v) => (*v).into(),
        Field::Long(v)
        | Field::TimeMicros(v)
        | Field::TimestampMillis(v)
        | Field::TimestampMicros(v) => (*v).into(),
        Field::UByte(v) => (*v).into(),
        Field::UShort(v) => (*v).into(),
        Field::UInt(v) => (*v).into(),
        Field::ULong(v) => (*v).into(),
        Field::Float16(v) => f32::from(*v).into(),
        Field::Float(v) => (*v).into(),
        Field::Double(v) => (*v).into(),
        Field::Decimal(_) => field.to_string().into(),
        Field::Str(v) => v.clone().into(),
        Field::Bytes(v) => String::from_utf8_lossy(v.data()).into_owned().into(),
        Field::Group(row) => row
            .get_column_iter()
            .map(|(name, field)| (name.clone(), value(field)))
            .collect::<Map<_, _>>()
            .into(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            map.entries().iter().map(|(k, v)| (key(k), value(v))).collect::<Map<_, _>>().into()
        }
    }
}

fn key(field: &Field) -> String {
    match field {
        Field::Str(text) => text.clone(),
        other => other.to_string(),
    }
}
