//! What this machine's speed is remembered by: a small file in the user's cache folder, one entry a
//! model and kernel row.
//!
//! A file that is missing, damaged or not ours is no error: it is learned again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};
use lacuna_complete::Costs;

use super::private;

/// A larger file is not ours.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Models that are remembered; the file is begun anew beyond.
const MAX_ENTRIES: usize = 256;

/// `XDG_CACHE_HOME/lacuna/costs.json`, or below `~/.cache`.
pub fn file() -> Option<PathBuf> {
    Some(choose_base_strategy().ok()?.cache_dir().join("lacuna").join("costs.json"))
}

/// Names what the costs belong to: they change with model, kernel row and threads.
pub fn key(model: &str) -> String {
    format!(
        "{model}, {}, {} threads",
        lacuna_engine::kernel_row().unwrap_or("unknown"),
        lacuna_engine::threads()
    )
}

/// What is known about `key`; nothing if the file does not say so soundly.
pub fn read(file: &Path, key: &str) -> Costs {
    all(file).remove(key).filter(Costs::is_sound).unwrap_or_default()
}

/// Remembers the costs of `key` beside those of others. Failing is no error: it is a cache.
pub fn write(file: &Path, key: &str, costs: &Costs) {
    let mut entries = all(file);
    if entries.len() >= MAX_ENTRIES {
        entries.clear();
    }
    entries.insert(key.to_owned(), costs.clone());
    let written =
        serde_json::to_string_pretty(&entries).map_err(std::io::Error::from).and_then(|text| {
            private::create_folder(file.parent().unwrap_or(Path::new(".")))?;
            private::write_whole(file, text.as_bytes())
        });
    if let Err(error) = written {
        tracing::debug!(%error, file = %file.display(), "costs are not remembered");
    }
}

fn all(file: &Path) -> BTreeMap<String, Costs> {
    let small = std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.len() <= MAX_FILE_BYTES);
    let text = small.then(|| std::fs::read(file).ok()).flatten().unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn costs_are_remembered_and_a_damaged_file_is_learned_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new").join("costs.json");
        let mut costs = Costs::default();
        (1..9).for_each(|n| costs.note_prefill(100 * n, Duration::from_millis(30 * n as u64)));
        write(&file, "a", &costs);
        write(&file, "b", &Costs::default());
        let known = read(&file, "a").prefill(1000).unwrap();
        assert!(known.abs_diff(Duration::from_millis(300)) < Duration::from_millis(5), "{known:?}");
        assert_eq!(read(&file, "c"), Costs::default());
        let whole = std::fs::read(&file).unwrap();
        for damaged in [
            &whole[..whole.len() / 2],
            b"",
            b"[1, 2]",
            b"{\"a\": {\"prefill\": [1e999, 0, 0, 0, 0]}}",
            b"{\"a\": {\"prefill\": [9, -1, 0, 0, 0], \"token\": [1, 1]}}",
            b"\xff\xfe",
        ] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(
                read(&file, "a"),
                Costs::default(),
                "{:?}",
                String::from_utf8_lossy(damaged)
            );
            write(&file, "a", &costs);
            assert_eq!(read(&file, "a").prefill(1000), Some(known));
            std::fs::write(&file, damaged).unwrap();
        }
        write(Path::new("/proc/no/such/folder/costs.json"), "a", &costs);
    }
}
