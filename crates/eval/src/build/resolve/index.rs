//! The paths of a repository, for look-ups by their end and by folder.

use std::collections::{BTreeSet, HashMap};

use super::folder;

/// All files of a repository at one commit.
#[derive(Default)]
pub struct FileIndex {
    paths: BTreeSet<String>,
    by_name: HashMap<String, Vec<String>>,
    by_folder: HashMap<String, Vec<String>>,
    /// Go module and the folder of its `go.mod`.
    go_modules: Vec<(String, String)>,
}

impl FileIndex {
    pub fn new(paths: impl IntoIterator<Item = String>) -> FileIndex {
        let mut index = FileIndex { paths: paths.into_iter().collect(), ..FileIndex::default() };
        for path in &index.paths {
            let name = path.rsplit('/').next().unwrap_or(path);
            index.by_name.entry(name.to_owned()).or_default().push(path.clone());
            index.by_folder.entry(folder(path).to_owned()).or_default().push(path.clone());
        }
        index
    }

    /// In order of bytes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    pub fn contains(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Files that are `tail` or end with `/tail`, sorted.
    pub fn ending_with(&self, tail: &str) -> Vec<&str> {
        let name = tail.rsplit('/').next().unwrap_or(tail);
        let named = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        named
            .iter()
            .map(String::as_str)
            .filter(|p| p.strip_suffix(tail).is_some_and(|r| r.is_empty() || r.ends_with('/')))
            .collect()
    }

    /// Files that lie directly in `folder`, sorted.
    pub fn in_folder(&self, folder: &str) -> &[String] {
        self.by_folder.get(folder).map_or(&[], Vec::as_slice)
    }

    /// Folders that are `tail` or end with `/tail`, sorted.
    pub fn folders_ending_with(&self, tail: &str) -> Vec<&str> {
        let ends =
            |f: &&str| f.strip_suffix(tail).is_some_and(|r| r.is_empty() || r.ends_with('/'));
        let mut found: Vec<&str> = self.by_folder.keys().map(String::as_str).filter(ends).collect();
        found.sort_unstable();
        found
    }

    /// Tells the index what a `go.mod` says.
    pub fn add_go_module(&mut self, path: &str, text: &str) {
        let module = text.lines().find_map(|line| line.trim().strip_prefix("module "));
        if let Some(module) = module {
            let module = module.split("//").next().unwrap_or("").trim().trim_matches('"');
            self.go_modules.push((module.to_owned(), folder(path).to_owned()));
            // The longest module that fits is the right one.
            self.go_modules.sort_by(|a, b| (b.0.len(), &b.0).cmp(&(a.0.len(), &a.0)));
        }
    }

    pub(super) fn go_modules(&self) -> &[(String, String)] {
        &self.go_modules
    }
}
