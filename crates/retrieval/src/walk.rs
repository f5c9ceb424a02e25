//! Finds the source files of a folder. Hostile trees are bounded: nothing but folders is entered
//! and nothing but regular files is found, links are not followed, and counts have limits.

use std::collections::VecDeque;
use std::fs::{DirEntry, File, Metadata, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use lacuna_context::Language;

use crate::manifest;
use crate::refresh::Limits;

/// Which files nobody may see: the caller's.
pub trait Rules {
    /// Whether a file, or a folder with all that is in it, is left alone.
    fn leaves(&self, path: &Path, is_folder: bool) -> bool;
}

/// No rules.
impl Rules for () {
    fn leaves(&self, _: &Path, _: bool) -> bool {
        false
    }
}

/// A file that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub file: PathBuf,
    /// Relative to the folder that was walked, `/` between its parts.
    pub path: String,
    /// Nanoseconds since 1970; 0 where the system does not say.
    pub modified: u64,
    pub size: u64,
}

/// What a walk has found.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    pub files: Vec<Found>,
    /// Files that are larger than what is read.
    pub too_large: usize,
    /// The limit at which it was ended, if it was.
    pub stopped: Option<&'static str>,
}

/// Folders of other people's code and of what is made.
const SKIPPED: [&str; 5] =
    ["node_modules", "bower_components", "__pycache__", "site-packages", "CMakeFiles"];
/// Files that say that their folder can be made again.
const MADE: [&str; 2] = ["CACHEDIR.TAG", "pyvenv.cfg"];
const MAX_DEPTH: usize = 64;

/// The files below `root` in languages with a grammar, and the manifests; the nearest first, so
/// that a limit leaves out the farthest.
pub fn walk(
    root: &Path,
    rules: &dyn Rules,
    limits: &Limits,
    is_cancelled: &dyn Fn() -> bool,
) -> Walked {
    let mut walked = Walked::default();
    let mut folders = VecDeque::from([(root.to_owned(), String::new(), 0)]);
    let mut n_entries = 0;
    while let Some((folder, below, depth)) = folders.pop_front() {
        // A folder that cannot be read, or is gone, has nothing in it.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let room = limits.max_entries - n_entries;
        let mut entries: Vec<DirEntry> = entries.take(room + 1).flatten().collect();
        if entries.len() > room {
            walked.stopped = Some("entries of folders");
            entries.truncate(room);
        }
        n_entries += entries.len();
        let is_made =
            entries.iter().any(|entry| MADE.iter().any(|name| entry.file_name() == *name));
        if is_made && depth > 0 {
            continue;
        }
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            if is_cancelled() {
                walked.stopped = Some("cancelled");
                return walked;
            }
            // Of the entry itself: a link is neither.
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            if kind.is_dir() {
                let is_skipped = name.starts_with('.') || SKIPPED.contains(&name);
                if !is_skipped && depth < MAX_DEPTH && !rules.leaves(&entry.path(), true) {
                    folders.push_back((entry.path(), path, depth + 1));
                }
                continue;
            }
            let is_source =
                Language::from_path(name.as_ref()) != Language::Text || manifest::is_manifest(name);
            if !kind.is_file() || !is_source || rules.leaves(&entry.path(), false) {
                continue;
            }
            let Ok(meta) = entry.metadata() else { continue };
            if meta.len() > limits.max_file_bytes {
                walked.too_large += 1;
                continue;
            }
            if walked.files.len() >= limits.max_files {
                walked.stopped = Some("files");
                return walked;
            }
            let modified = modified(&meta);
            walked.files.push(Found { file: entry.path(), path, modified, size: meta.len() });
        }
        if walked.stopped.is_some() {
            return walked;
        }
    }
    walked
}

pub(crate) fn modified(meta: &Metadata) -> u64 {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// The text of a regular file of at most `max` bytes; characters that are no UTF-8 are replaced.
/// `None`: it is something else, larger, binary, or cannot be read.
pub(crate) fn read(path: &Path, max: u64) -> Option<(String, Metadata)> {
    let file = open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > max {
        return None;
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize + 1);
    file.take(max + 1).read_to_end(&mut bytes).ok()?;
    let is_binary = bytes.iter().take(8192).any(|byte| *byte == 0);
    if bytes.len() as u64 > max || is_binary {
        return None;
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    Some((text, meta))
}

/// Opens a file without waiting: one that has become a pipe since would wait for its writer.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use nix::fcntl::OFlag;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits());
    }
    options.open(path)
}
