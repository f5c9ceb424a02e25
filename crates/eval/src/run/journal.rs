//! A JSON-lines file that grows row by row and survives being cut off.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::RunError;

/// A file that is appended to.
pub(super) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    rows: u64,
}

impl Journal {
    /// Opens or creates the file; a last row without its line break is cut off.
    pub fn open(path: &Path) -> Result<Journal, RunError> {
        Self::open_with(path, u64::MAX)
    }

    /// As [`Journal::open`], and cuts the file down to `rows`.
    pub fn open_with(path: &Path, max_rows: u64) -> Result<Journal, RunError> {
        let io = |source| RunError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        let (mut rows, mut good, mut at) = (0, 0u64, 0u64);
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut buffer = vec![0; 1 << 20];
        'all: loop {
            let n = reader.read(&mut buffer).map_err(io)?;
            if n == 0 {
                break;
            }
            for (i, _) in buffer[..n].iter().enumerate().filter(|(_, b)| **b == b'\n') {
                if rows == max_rows {
                    break 'all;
                }
                rows += 1;
                good = at + i as u64 + 1;
            }
            at += n as u64;
        }
        file.set_len(good).map_err(io)?;
        file.seek(SeekFrom::Start(good)).map_err(io)?;
        Ok(Journal { path: path.to_owned(), file: BufWriter::new(file), rows })
    }

    /// Rows in the file.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn append(&mut self, row: &impl Serialize) -> Result<(), RunError> {
        let mut bytes = serde_json::to_vec(row).map_err(|e| self.failed(e.into()))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(|e| self.failed(e))?;
        self.rows += 1;
        Ok(())
    }

    /// Hands everything to the system: what is flushed survives us.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush().map_err(|e| self.failed(e))
    }

    fn failed(&self, source: std::io::Error) -> RunError {
        RunError::Io { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_row_is_written_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.jsonl");
        let mut journal = Journal::open(&path).expect("a new file");
        for n in 0..3 {
            journal.append(&n).expect("room");
        }
        journal.flush().expect("room");
        drop(journal);
        let whole = std::fs::read(&path).expect("the file");
        assert_eq!(whole, b"0\n1\n2\n");
        std::fs::write(&path, b"0\n1\n{\"cut").expect("the file");
        let mut journal = Journal::open(&path).expect("the file");
        assert_eq!(journal.rows(), 2);
        journal.append(&2).expect("room");
        journal.flush().expect("room");
        assert_eq!(std::fs::read(&path).expect("the file"), whole);
        assert_eq!(Journal::open_with(&path, 1).expect("the file").rows(), 1);
        assert_eq!(std::fs::read(&path).expect("the file"), b"0\n");
    }
}
