//! Read-only memory maps of weight files: the one module of this crate with `unsafe`.
#![allow(unsafe_code, reason = "a memory map is unsafe by nature; it is confined to this module")]

use std::fs::File;
use std::path::Path;

use crate::error::LoadError;

/// A file's bytes.
pub(crate) enum Bytes {
    Mapped(memmap2::Mmap),
    /// An empty file, which cannot be mapped.
    Empty,
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Empty => &[],
        }
    }
}

/// Maps `path`. Errors: it cannot be opened, or is not a regular file.
pub(crate) fn map(path: &Path) -> Result<Bytes, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(LoadError::NotAModel { path: path.to_owned() });
    }
    if metadata.len() == 0 {
        return Ok(Bytes::Empty);
    }
    // SAFETY: the map is private to this process and read-only. Whoever truncates the file while it
    // is being read can still make the process fault, as with every mapped file; nothing refers to
    // the map once a model is loaded.
    unsafe { memmap2::Mmap::map(&file) }.map(Bytes::Mapped).map_err(read)
}
