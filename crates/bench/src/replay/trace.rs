//! Keystroke traces read from files: one JSON object a line (plain or gzip), as [`lacuna_lsp::trace`]
//! describes it, and what their events are.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
pub use lacuna_lsp::trace::{Event, Trace};
use serde::{Deserialize, Serialize};

/// A longer line is refused.
const MAX_LINE_BYTES: u64 = 64 << 20;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What a keystroke did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The cursor came from elsewhere.
    Arrive,
    /// One character was typed.
    Type,
    /// A line break, perhaps with the next line's indentation.
    Line,
    /// Something was deleted.
    Delete,
    /// More than one character came at once.
    Paste,
}

impl Kind {
    pub fn of(event: &Event) -> Kind {
        match (event.del, event.ins.as_str()) {
            (0, "") => Kind::Arrive,
            (0, text) if text.starts_with(['\n', '\r']) && text.trim().is_empty() => Kind::Line,
            (0, text) if text.chars().nth(1).is_none() => Kind::Type,
            (_, "") => Kind::Delete,
            _ => Kind::Paste,
        }
    }
}

/// Reads the traces of a file; `limit` at most.
pub fn read(path: &Path, limit: usize) -> anyhow::Result<Vec<Trace>> {
    let shown = path.display();
    let mut file = BufReader::new(
        std::fs::File::open(path).with_context(|| format!("trace {shown} cannot be read"))?,
    );
    let zipped = file
        .fill_buf()
        .with_context(|| format!("trace {shown} cannot be read"))?
        .starts_with(&GZIP);
    let mut lines: Box<dyn BufRead> = if zipped {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    let mut traces = Vec::new();
    for number in 1.. {
        let mut line = Vec::new();
        let n = lines
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .with_context(|| format!("trace {shown}, line {number}"))?;
        if n == 0 || traces.len() >= limit {
            break;
        }
        if n as u64 == MAX_LINE_BYTES {
            bail!(
                "trace {shown}, line {number} is longer than {MAX_LINE_BYTES} bytes: is this a trace?"
            );
        }
        if !line.trim_ascii().is_empty() {
            traces.push(
                serde_json::from_slice(&line)
                    .with_context(|| format!("trace {shown}, line {number} is not a trace"))?,
            );
        }
    }
    if traces.is_empty() {
        bail!("trace {shown} is empty: record one with lacuna lsp --record FILE");
    }
    Ok(traces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let kind = |del, ins: &str| Kind::of(&Event { t: 0, at: 0, del, ins: ins.to_owned() });
        let kinds = [
            (0, ""),
            (0, "x"),
            (0, "🦀"),
            (0, "\n    "),
            (0, "\r\n"),
            (3, ""),
            (0, "ab"),
            (2, "ab"),
        ]
        .map(|(d, i)| kind(d, i));
        use Kind::{Arrive, Delete, Line, Paste, Type};
        assert_eq!(kinds, [Arrive, Type, Type, Line, Line, Delete, Paste, Paste]);
    }

    #[test]
    fn what_is_not_a_trace_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        for (text, says) in [
            ("", "empty"),
            ("{}\n", "line 1 is not a trace"),
            ("\n[1]\n", "line 2"),
            ("\u{1f}\u{8b}x", "line 1"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", read(&path, 9).unwrap_err());
            assert!(error.contains("t.jsonl") && error.contains(says), "{text:?}: {error}");
        }
        assert!(read(&dir.path().join("none"), 1).is_err());
    }
}
