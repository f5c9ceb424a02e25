//! Reading JSON lines, plain, gzipped or zstd-compressed, one row at a time.
//!
//! A bad row is an item of its own with file and line: the caller skips it or stops. Memory is
//! bounded by [`MAX_ROW_BYTES`].

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::de::DeserializeOwned;

/// A row longer than this is refused: it is not source code.
pub const MAX_ROW_BYTES: usize = 16 << 20;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Why reading stopped, or which row is bad.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cannot decompress {path} after line {line}: {source}; it may be damaged or cut off: fetch it again", path = path.display())]
    Damaged { path: PathBuf, line: u64, source: std::io::Error },
    /// The rows after it can still be read.
    #[error(transparent)]
    Row(#[from] BadRow),
}

/// A row that is no example.
#[derive(Debug, thiserror::Error)]
#[error("{path}:{line}: {fault}", path = path.display())]
pub struct BadRow {
    pub path: PathBuf,
    /// From 1; blank lines count.
    pub line: u64,
    pub fault: Fault,
}

/// What is wrong with a row.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("longer than {MAX_ROW_BYTES} bytes")]
    TooLong,
    #[error("not UTF-8 at byte {byte}")]
    NotUtf8 { byte: usize },
    #[error("{}", in_row(.0))]
    Json(serde_json::Error),
    #[error("`{field}` is empty")]
    Empty { field: &'static str },
    #[error("unknown language {language:?}; known here: {known}")]
    Language { language: String, known: &'static str },
    #[error("{0}")]
    Format(&'static str),
}

/// serde_json's words without its line, which is always the first of the row.
fn in_row(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) if error.line() > 0 => format!("{what} at column {}", error.column()),
        _ => text,
    }
}

/// The rows of a file, as they come.
pub struct Rows<T> {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    compressed: bool,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
    row: PhantomData<fn() -> T>,
}

impl<T> Rows<T> {
    /// Opens a file; how it is compressed is told by its first bytes.
    ///
    /// Errors: [`ReadError::Io`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        // A short read here would only miss compression in a file of fewer than four bytes.
        let head = file.fill_buf().map_err(io)?;
        let (reader, compressed): (Box<dyn BufRead + Send>, bool) = if head.starts_with(GZIP) {
            (Box::new(BufReader::new(MultiGzDecoder::new(file))), true)
        } else if head.starts_with(ZSTD) {
            (Box::new(BufReader::new(zstd::Decoder::with_buffer(file).map_err(io)?)), true)
        } else {
            (Box::new(file), false)
        };
        Ok(Rows {
            path: path.to_owned(),
            reader,
            compressed,
            line: 0,
            buffer: Vec::new(),
            ended: false,
            row: PhantomData,
        })
    }

    /// Number of the line that the last row came from.
    pub fn line(&self) -> u64 {
        self.line
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `fault` of the row that was read last.
    pub fn bad_row(&self, fault: Fault) -> ReadError {
        ReadError::Row(BadRow { path: self.path.clone(), line: self.line, fault })
    }

    fn failed(&mut self, source: std::io::Error) -> ReadError {
        self.ended = true;
        let path = self.path.clone();
        if self.compressed {
            ReadError::Damaged { path, line: self.line, source }
        } else {
            ReadError::Io { path, source }
        }
    }

    /// The next line that is not blank into `buffer`; `Some(false)` when it is too long, `None` at
    /// the end.
    fn next_line(&mut self) -> std::io::Result<Option<bool>> {
        loop {
            self.buffer.clear();
            let n = self
                .reader
                .by_ref()
                .take(MAX_ROW_BYTES as u64 + 1)
                .read_until(b'\n', &mut self.buffer)?;
            if n == 0 {
                return Ok(None);
            }
            self.line += 1;
            if self.buffer.last() != Some(&b'\n') && n > MAX_ROW_BYTES {
                self.skip_line()?;
                return Ok(Some(false));
            }
            if self.line == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some(true));
            }
        }
    }

    /// Reads past the end of the line without keeping it.
    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                return Ok(());
            }
            match available.iter().position(|&b| b == b'\n') {
                Some(end) => {
                    self.reader.consume(end + 1);
                    return Ok(());
                }
                None => {
                    let n = available.len();
                    self.reader.consume(n);
                }
            }
        }
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<T, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.next_line() {
            Err(source) => Some(Err(self.failed(source))),
            Ok(None) => {
                self.ended = true;
                None
            }
            Ok(Some(false)) => Some(Err(self.bad_row(Fault::TooLong))),
            Ok(Some(true)) => Some(parse(&self.buffer).map_err(|fault| self.bad_row(fault))),
        }
    }
}

fn parse<T: DeserializeOwned>(row: &[u8]) -> Result<T, Fault> {
    let text = std::str::from_utf8(row).map_err(|e| Fault::NotUtf8 { byte: e.valid_up_to() })?;
    serde_json::from_str(text.trim_end()).map_err(Fault::Json)
}
