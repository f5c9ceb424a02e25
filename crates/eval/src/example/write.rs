//! Writing JSON lines: into a temporary file that takes the name only when everything is in it.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use tempfile::NamedTempFile;

/// Why a file was not written. What had been there is still there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}", path = path.display())]
pub struct WriteError {
    pub path: PathBuf,
    pub source: std::io::Error,
}

/// Rows on their way into a file; `.gz` and `.zst` are compressed. Dropped before
/// [`Writer::finish`], it leaves nothing behind.
///
/// The same rows make the same bytes: no time and no name goes into the compressed forms.
pub struct Writer {
    path: PathBuf,
    sink: Sink,
    rows: u64,
}

enum Sink {
    Plain(BufWriter<NamedTempFile>),
    Gzip(GzEncoder<BufWriter<NamedTempFile>>),
    Zstd(zstd::Encoder<'static, BufWriter<NamedTempFile>>),
}

impl Writer {
    /// Errors: the folder is missing or cannot be written to.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let fail = |source| WriteError { path: path.to_owned(), source };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = BufWriter::new(unfinished_file(folder).map_err(fail)?);
        let sink = match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Sink::Gzip(GzEncoder::new(file, Compression::default())),
            Some("zst") => Sink::Zstd(zstd::Encoder::new(file, 6).map_err(fail)?),
            _ => Sink::Plain(file),
        };
        Ok(Writer { path: path.to_owned(), sink, rows: 0 })
    }

    /// Appends one row.
    pub fn write(&mut self, row: &impl Serialize) -> Result<(), WriteError> {
        let mut bytes = serde_json::to_vec(row).map_err(|e| self.failed(e.into()))?;
        bytes.push(b'\n');
        let result = match &mut self.sink {
            Sink::Plain(w) => w.write_all(&bytes),
            Sink::Gzip(w) => w.write_all(&bytes),
            Sink::Zstd(w) => w.write_all(&bytes),
        };
        result.map_err(|e| self.failed(e))?;
        self.rows += 1;
        Ok(())
    }

    /// Gives the file its name; returns the number of rows.
    pub fn finish(self) -> Result<u64, WriteError> {
        let Writer { path, sink, rows } = self;
        let persist = || {
            let buffered = match sink {
                Sink::Plain(w) => w,
                Sink::Gzip(w) => w.finish()?,
                Sink::Zstd(w) => w.finish()?,
            };
            let file = buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(rows)
        };
        persist().map_err(|source| WriteError { path: path.clone(), source })
    }

    fn failed(&self, source: std::io::Error) -> WriteError {
        WriteError { path: self.path.clone(), source }
    }
}

/// A file without a name of its own yet, beside the one that it will become; gone when it is
/// dropped.
pub(crate) fn unfinished_file(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".lacuna-").suffix(".unfinished");
    #[cfg(unix)]
    {
        // As any file that a program creates: the umask decides.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}
