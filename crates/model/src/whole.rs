//! Files that are written whole or not at all.

use std::io::BufWriter;
use std::path::Path;

use atomic_write_file::AtomicWriteFile;

use crate::error::LoadError;

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;

/// Writes a file that replaces what is there once it is whole. Errors: those of `content`, and of
/// writing; then what is there stays.
pub(crate) fn write_whole<E: From<LoadError>>(
    out: &Path,
    content: impl FnOnce(&mut BufWriter<AtomicWriteFile>) -> Result<(), E>,
) -> Result<(), E> {
    let write = |source| unwritten(out, source);
    let mut to = BufWriter::with_capacity(BUFFER, AtomicWriteFile::open(out).map_err(write)?);
    content(&mut to)?;
    let file = to.into_inner().map_err(|e| write(e.into_error()))?;
    file.commit().map_err(write).map_err(E::from)
}

pub(crate) fn unwritten(path: &Path, source: std::io::Error) -> LoadError {
    LoadError::Write { path: path.to_owned(), source }
}
