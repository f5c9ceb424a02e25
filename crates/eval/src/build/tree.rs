//! A repository at one commit: its paths, its licence, its source files.

use super::MAX_FILE_BYTES;
use super::git::{Blob, GitError, Repository};
use super::license;
use super::resolve::FileIndex;

/// `go.mod` files that are read at most.
const MAX_GO_MODULES: usize = 100;

/// What is known of a commit before any of its files is read.
pub struct Tree {
    pub commit: String,
    pub files: FileIndex,
    /// SPDX identifier of the licence file.
    pub license: String,
}

/// The text of a file, or why there is none.
pub enum Source {
    Text(String),
    Not(&'static str),
}

impl Tree {
    pub fn read(repository: &mut Repository, commit: &str) -> Result<Tree, GitError> {
        let mut files = FileIndex::new(repository.files(commit)?);
        let modules: Vec<String> = files
            .ending_with("go.mod")
            .into_iter()
            .take(MAX_GO_MODULES)
            .map(str::to_owned)
            .collect();
        for path in modules {
            if let Source::Text(text) = source(repository, commit, &path)? {
                files.add_go_module(&path, &text);
            }
        }
        let license = match license::licence_file(files.paths()).map(str::to_owned) {
            Some(path) => match source(repository, commit, &path)? {
                Source::Text(text) => license::identify(&text),
                Source::Not(_) => license::UNKNOWN,
            },
            None => license::UNKNOWN,
        };
        Ok(Tree { commit: commit.to_owned(), files, license: license.to_owned() })
    }
}

/// A source file at a commit.
pub fn source(repository: &mut Repository, commit: &str, path: &str) -> Result<Source, GitError> {
    Ok(match repository.blob(commit, path, MAX_FILE_BYTES)? {
        Blob::Bytes(bytes) => text(bytes),
        Blob::Missing => Source::Not("the file is not in the repository at that commit"),
        Blob::TooLong => Source::Not("the file is longer than 1 MiB"),
    })
}

/// Bytes as a text, if they are one. Line breaks stay as they are.
pub fn text(bytes: Vec<u8>) -> Source {
    if bytes.contains(&0) {
        return Source::Not("the file is binary");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Source::Text(text),
        Err(_) => Source::Not("the file is not UTF-8"),
    }
}
