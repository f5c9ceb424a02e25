//! [`refresh`]: brings an index up to what lies on disk, in the background.
//!
//! What is known to be as it was (time and size, else the text's hash) is not read again. The lock
//! is held for as long as a batch is put in, never while files are read or parsed.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use sha2::{Digest, Sha256};

use crate::index::{File, Index, Stamp, bytes_of, read};
use crate::walk::{self, Found, Rules, walk};

/// How much of a workspace is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of folders that are looked at.
    pub max_entries: usize,
    pub max_files: usize,
    /// Larger files are passed over: nobody wrote them by hand.
    pub max_file_bytes: u64,
    /// Bytes that the index takes.
    pub max_index_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_entries: 1_000_000,
            max_files: 50_000,
            max_file_bytes: 1 << 20,
            max_index_bytes: 96 << 20,
        }
    }
}

/// Files of a refresh that are done, and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub done: usize,
    pub all: usize,
}

/// What a refresh did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Files that were read, that were as they had been, that are gone.
    pub read: usize,
    pub kept: usize,
    pub removed: usize,
    /// Source files that are larger than [`Limits::max_file_bytes`].
    pub too_large: usize,
    /// The limit at which it ended: what is farther from the root is not in the index.
    pub stopped: Option<&'static str>,
}

/// Files that are put in at once.
const BATCH: usize = 256;

/// Reads what is new or changed in the folder `root`, whose number in the index is `number`, and
/// forgets what is gone. `go_on` is called before each file: it may wait, and ends the work by
/// saying no.
pub fn refresh(
    index: &RwLock<Index>,
    (number, root): (usize, &Path),
    rules: &dyn Rules,
    limits: &Limits,
    go_on: &dyn Fn(Counts) -> bool,
) -> Refreshed {
    let walked = walk(root, rules, limits, &|| !go_on(Counts::default()));
    let mut refreshed =
        Refreshed { too_large: walked.too_large, stopped: walked.stopped, ..Refreshed::default() };
    if walked.stopped == Some("cancelled") {
        return refreshed;
    }
    let known: HashSet<&str> = walked.files.iter().map(|found| found.path.as_str()).collect();
    {
        let mut index = write(index);
        refreshed.removed = index.keep(number, |path| known.contains(path));
        index.settle();
    }
    let mut batch = Vec::new();
    let all = walked.files.len();
    for (done, found) in walked.files.iter().enumerate() {
        if !go_on(Counts { done, all }) {
            refreshed.stopped = Some("cancelled");
            break;
        }
        let (known, n_bytes) = {
            let index = index.read().unwrap_or_else(PoisonError::into_inner);
            (index.stamp(number, &found.path), index.n_bytes())
        };
        let waiting: usize = batch.iter().map(bytes_of).sum();
        if n_bytes + waiting > limits.max_index_bytes {
            refreshed.stopped = Some("memory");
            break;
        }
        let is_same = known.is_some_and(|known| {
            known.modified == found.modified && known.size == found.size && known.modified > 0
        });
        if is_same {
            refreshed.kept += 1;
            continue;
        }
        match changed(number, found, known, limits) {
            Changed::Same(stamp) => {
                refreshed.kept += 1;
                write(index).set_stamp(number, &found.path, stamp);
            }
            Changed::New(file) => {
                refreshed.read += 1;
                batch.push(*file);
            }
            Changed::Gone => {
                let mut index = write(index);
                index.remove(number, &found.path);
                index.settle();
            }
        }
        if batch.len() >= BATCH {
            put(index, &mut batch);
        }
    }
    put(index, &mut batch);
    refreshed
}

enum Changed {
    /// Only its time is another.
    Same(Stamp),
    New(Box<File>),
    Gone,
}

fn changed(root: usize, found: &Found, known: Option<Stamp>, limits: &Limits) -> Changed {
    let Some((text, meta)) = walk::read(&found.file, limits.max_file_bytes) else {
        return Changed::Gone;
    };
    let digest = Sha256::digest(text.as_bytes());
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    let stamp = Stamp { modified: walk::modified(&meta), size: meta.len(), hash };
    if known.is_some_and(|known| known.hash == hash) {
        return Changed::Same(stamp);
    }
    if is_made(&text) {
        return Changed::Gone;
    }
    let (symbols, says) = read(&found.path, &text);
    Changed::New(Box::new(File { root, path: found.path.as_str().into(), stamp, symbols, says }))
}

/// Whether a text is one that nobody wrote: its lines are very long.
fn is_made(text: &str) -> bool {
    text.len() > 20_000 && text.len() / (text.lines().count() + 1) > 300
}

fn put(index: &RwLock<Index>, batch: &mut Vec<File>) {
    if batch.is_empty() {
        return;
    }
    let mut index = write(index);
    batch.drain(..).for_each(|file| index.insert(file));
    index.settle();
}

fn write(index: &RwLock<Index>) -> std::sync::RwLockWriteGuard<'_, Index> {
    index.write().unwrap_or_else(PoisonError::into_inner)
}
