//! Rows of any file: JSON lines or Parquet, and Parquet written from JSON lines.
//!
//! Owns: which of the two a file is, and how JSON values lie in columns. Does not own: what the
//! fields mean (`format`).

mod read_parquet;
mod write_parquet;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::example::{Fault, ReadError, Rows};

pub use write_parquet::{ParquetError, write_parquet};

const PARQUET: &[u8] = b"PAR1";

/// The rows of a file as JSON values.
pub enum Table {
    Lines(Rows<Value>),
    Parquet(read_parquet::ParquetRows),
}

impl Table {
    /// Opens JSON lines (plain, gzip, zstd) or Parquet; the first bytes tell.
    ///
    /// Errors: the file cannot be read, or its Parquet footer is damaged.
    pub fn open(path: &Path) -> Result<Table, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let mut head = Vec::new();
        File::open(path)
            .and_then(|f| f.take(PARQUET.len() as u64).read_to_end(&mut head))
            .map_err(io)?;
        if head == PARQUET {
            return read_parquet::ParquetRows::open(path).map(Table::Parquet);
        }
        Rows::open(path).map(Table::Lines)
    }

    /// `fault` of the row that was read last.
    pub fn bad_row(&self, fault: Fault) -> ReadError {
        match self {
            Table::Lines(rows) => rows.bad_row(fault),
            Table::Parquet(rows) => rows.bad_row(fault),
        }
    }
}

impl Iterator for Table {
    type Item = Result<Value, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Table::Lines(rows) => rows.next(),
            Table::Parquet(rows) => rows.next(),
        }
    }
}
