//! What a run prints and writes.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use atomic_write_file::AtomicWriteFile;
use lacuna_serving::say;

use super::record::Record;
use super::tables;

/// Writes a record to `output` (through a temporary file), or prints it: as JSON or as tables.
pub fn deliver(record: &Record, output: Option<&Path>, json: bool) -> anyhow::Result<()> {
    if let Some(path) = output {
        write(path, &format!("{}\n", serde_json::to_string_pretty(record)?))?;
        say(&format!("wrote {}", path.display()));
    }
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(record)?)?;
    } else {
        write!(out, "{}", tables::of(record))?;
    }
    Ok(())
}

/// Replaces a file, or leaves it as it was.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = AtomicWriteFile::open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.commit()));
    written.with_context(|| {
        format!("{} cannot be written: check that its folder exists", path.display())
    })
}

/// Progress on standard error.
pub fn note(text: &str) {
    say(&format!("bench: {text}"));
}
