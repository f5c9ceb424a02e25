//! [`Postings`]: from a text to the files, or to the symbols in them, that have to do with it.
//!
//! A sorted list of 12 bytes an entry; texts are hashed, so whoever looks one up compares what is
//! found.

use crate::index::FileId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Posting {
    hash: u32,
    file: u32,
    symbol: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Postings {
    /// Sorted up to `n_sorted`.
    all: Vec<Posting>,
    n_sorted: usize,
}

impl Postings {
    /// Notes one; [`Postings::settle`] before the next lookup.
    pub fn add(&mut self, text: &str, file: FileId, symbol: usize) {
        self.all.push(Posting { hash: hash(text), file: file.0, symbol: symbol as u32 });
    }

    pub fn settle(&mut self) {
        if self.n_sorted < self.all.len() {
            // Mostly sorted: cheap.
            self.all.sort();
            self.n_sorted = self.all.len();
        }
    }

    /// Forgets what concerns the files that are named.
    pub fn forget(&mut self, is_meant: impl Fn(FileId) -> bool) {
        self.all.retain(|posting| !is_meant(FileId(posting.file)));
        // What was sorted has moved.
        self.n_sorted = 0;
        self.settle();
    }

    /// Files and symbols that may have to do with a text, in the order of the files.
    pub fn of(&self, text: &str) -> impl Iterator<Item = (FileId, usize)> + '_ {
        let hash = hash(text);
        let sorted = &self.all[..self.n_sorted];
        let start = sorted.partition_point(|posting| posting.hash < hash);
        sorted[start..]
            .iter()
            .take_while(move |posting| posting.hash == hash)
            .map(|posting| (FileId(posting.file), posting.symbol as usize))
    }

    pub fn n_bytes(&self) -> usize {
        size_of_val(self.all.as_slice())
    }
}

/// FNV-1a, folded.
fn hash(text: &str) -> u32 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) as u32 ^ hash as u32
}
