//! What a run prints and writes.

use std::io::Write;
use std::path::Path;

use lacuna_serving::{say, write_file};

use super::record::Record;
use super::tables;

/// Writes a record to `output` (through a temporary file), or prints it: as JSON or as tables.
pub fn deliver(record: &Record, output: Option<&Path>, json: bool) -> anyhow::Result<()> {
    if let Some(path) = output {
        write_file(path, format!("{}\n", serde_json::to_string_pretty(record)?).as_bytes())?;
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

/// Progress on standard error.
pub fn note(text: &str) {
    say(&format!("bench: {text}"));
}
