//! Files that a command is told to write.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use atomic_write_file::AtomicWriteFile;

/// Replaces a file, or leaves it as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_file_with(path, |file| Ok(file.write_all(bytes)?))
}

/// Replaces a file by what `write` writes, or leaves it as it was.
pub fn write_file_with(
    path: &Path,
    write: impl FnOnce(&mut AtomicWriteFile) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = || format!("{} cannot be written: check that its folder exists", path.display());
    let mut file = AtomicWriteFile::open(path).with_context(name)?;
    write(&mut file).and_then(|()| Ok(file.commit()?)).with_context(name)
}
