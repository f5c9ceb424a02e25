//! [`Index`]: the symbols of all files of a workspace, by name, by owner and by file.
//!
//! Held in a few sorted lists and one text a file. Changing a file costs time that the whole index
//! accounts for (a millisecond for a hundred thousand symbols): in the background, never while
//! somebody waits.

use std::collections::{HashMap, HashSet};

use lacuna_context::{
    Definition, DefinitionKind, ImportPath, Language, Outline, ParseLimit, SyntaxTree, outline,
};

use crate::manifest::{self, Says};
use crate::paths;
use crate::postings::Postings;
use crate::symbols::FileSymbols;

/// What one file may take, on every machine: ordinary text of the largest size that is read is well
/// within it.
const PARSE: ParseLimit = ParseLimit { time: None, steps: 30_000, bytes: 64 << 20 };

/// A file's number in its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(crate) u32);

/// A symbol of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol {
    pub file: FileId,
    pub(crate) at: usize,
}

/// By what a file on disk is known to be as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since 1970; 0: not known.
    pub modified: u64,
    pub size: u64,
    /// The first half of the text's SHA-256.
    pub hash: [u8; 16],
}

#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Which of the workspace's folders it lies in.
    pub root: usize,
    /// Relative to that folder, `/` between its parts.
    pub path: Box<str>,
    pub stamp: Stamp,
    pub symbols: FileSymbols,
    /// What it says of others, where it is a manifest.
    pub says: Box<[Says]>,
}

/// The symbols of a workspace.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// What was removed leaves a gap, that a new file takes when the lists have forgotten it.
    files: Vec<Option<File>>,
    gaps: Vec<u32>,
    gone: HashSet<FileId>,
    by_path: HashMap<(usize, Box<str>), FileId>,
    names: Postings,
    owners: Postings,
    /// By the last part of what a file is imported by, and by its folder's.
    modules: Postings,
    folders: Postings,
    n_symbols: usize,
    /// Of the files, without the lists.
    n_bytes: usize,
}

impl Index {
    /// The index of texts that lie nowhere, as `root` 0: path and text.
    pub fn of_texts<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Index {
        let mut index = Index::default();
        for (path, text) in files {
            index.put(0, path, Stamp::default(), text);
        }
        index.settle();
        index
    }

    /// Puts a file's text in place of what was known of it. The text itself is not kept.
    /// [`Index::settle`] before the next question.
    pub fn put(&mut self, root: usize, path: &str, stamp: Stamp, text: &str) {
        let (symbols, says) = read(path, text);
        self.insert(File { root, path: path.into(), stamp, symbols, says });
    }

    pub(crate) fn insert(&mut self, file: File) {
        if let Some(id) = self.id(file.root, &file.path) {
            self.take(id);
        }
        let id = FileId(self.gaps.pop().unwrap_or(self.files.len() as u32));
        for symbol in 0..file.symbols.len() {
            self.names.add(file.symbols.name(symbol), id, symbol);
            if let Some(owner) = file.symbols.owner(symbol) {
                self.owners.add(owner, id, symbol);
            }
        }
        self.modules.add(paths::last(paths::module(&file.path)), id, 0);
        self.folders.add(paths::last(paths::folder(&file.path)), id, 0);
        self.n_symbols += file.symbols.len();
        self.n_bytes += bytes_of(&file);
        self.by_path.insert((file.root, file.path.clone()), id);
        match self.files.get_mut(id.0 as usize) {
            Some(gap) => *gap = Some(file),
            None => self.files.push(Some(file)),
        }
    }

    /// Forgets a file, or all in a folder. [`Index::settle`] before the next question.
    pub fn remove(&mut self, root: usize, path: &str) {
        let gone: Vec<FileId> = match self.id(root, path) {
            Some(id) => vec![id],
            None => self
                .files()
                .filter(|(_, file)| {
                    let rest = file.path.strip_prefix(path);
                    file.root == root && rest.is_some_and(|rest| rest.starts_with('/'))
                })
                .map(|(id, _)| id)
                .collect(),
        };
        gone.into_iter().for_each(|id| self.take(id));
    }

    /// Keeps of a root only the files that are named.
    pub(crate) fn keep(&mut self, root: usize, is_kept: impl Fn(&str) -> bool) -> usize {
        let is_gone = |file: &File| file.root == root && !is_kept(&file.path);
        let gone: Vec<FileId> =
            self.files().filter(|(_, file)| is_gone(file)).map(|(id, _)| id).collect();
        let n = gone.len();
        gone.into_iter().for_each(|id| self.take(id));
        n
    }

    /// Takes a file out; the lists forget it, and its number is given again, when they are settled.
    fn take(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(id.0 as usize).and_then(Option::take) {
            self.n_symbols -= file.symbols.len();
            self.n_bytes -= bytes_of(&file);
            self.by_path.remove(&(file.root, file.path));
            self.gone.insert(id);
        }
    }

    /// After the last [`Index::put`] or [`Index::remove`].
    pub fn settle(&mut self) {
        let lists = [&mut self.names, &mut self.owners, &mut self.modules, &mut self.folders];
        if !self.gone.is_empty() {
            for list in lists {
                list.forget(|id| self.gone.contains(&id));
            }
            self.gaps.extend(self.gone.drain().map(|id| id.0));
        } else {
            lists.into_iter().for_each(Postings::settle);
        }
    }

    pub fn n_files(&self) -> usize {
        self.by_path.len()
    }

    pub fn n_symbols(&self) -> usize {
        self.n_symbols
    }

    /// Bytes on the heap, about.
    pub fn n_bytes(&self) -> usize {
        let lists = [&self.names, &self.owners, &self.modules, &self.folders];
        self.n_bytes + lists.into_iter().map(Postings::n_bytes).sum::<usize>()
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (FileId, &File)> {
        self.files
            .iter()
            .enumerate()
            .filter_map(|(id, file)| file.as_ref().map(|file| (FileId(id as u32), file)))
    }

    pub(crate) fn file(&self, id: FileId) -> Option<&File> {
        self.files.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn id(&self, root: usize, path: &str) -> Option<FileId> {
        self.by_path.get(&(root, path.into())).copied()
    }

    /// What is known of a file on disk.
    pub fn stamp(&self, root: usize, path: &str) -> Option<Stamp> {
        Some(self.file(self.id(root, path)?)?.stamp)
    }

    pub(crate) fn set_stamp(&mut self, root: usize, path: &str, stamp: Stamp) {
        if let Some(id) = self.id(root, path)
            && let Some(Some(file)) = self.files.get_mut(id.0 as usize)
        {
            file.stamp = stamp;
        }
    }

    pub fn path(&self, id: FileId) -> &str {
        self.file(id).map_or("", |file| &file.path)
    }

    pub fn language(&self, id: FileId) -> Language {
        self.file(id).map_or(Language::Text, |file| file.symbols.language)
    }

    /// Symbols of that name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Symbol> + 'a {
        self.names
            .of(name)
            .map(|(file, at)| Symbol { file, at })
            .filter(move |symbol| self.name(*symbol) == name)
    }

    /// Symbols that belong to types of that name.
    pub fn members<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = Symbol> + 'a {
        self.owners
            .of(owner)
            .map(|(file, at)| Symbol { file, at })
            .filter(move |symbol| self.owner(*symbol) == Some(owner))
    }

    /// All symbols of a file, in its order.
    pub fn of_file(&self, file: FileId) -> impl Iterator<Item = Symbol> + use<> {
        let n = self.file(file).map_or(0, |file| file.symbols.len());
        (0..n).map(move |at| Symbol { file, at })
    }

    /// Files that are imported by a path that ends so.
    pub(crate) fn modules<'a>(&'a self, end: &'a str) -> impl Iterator<Item = FileId> + 'a {
        self.modules.of(paths::last(end)).map(|(id, _)| id).filter(move |id| {
            self.file(*id).is_some_and(|file| paths::ends_with(paths::module(&file.path), end))
        })
    }

    /// Files in folders whose path ends so.
    pub(crate) fn in_folders<'a>(&'a self, end: &'a str) -> impl Iterator<Item = FileId> + 'a {
        self.folders.of(paths::last(end)).map(|(id, _)| id).filter(move |id| {
            self.file(*id).is_some_and(|file| paths::ends_with(paths::folder(&file.path), end))
        })
    }

    pub(crate) fn says(&self) -> impl Iterator<Item = (usize, &Says)> {
        self.files().flat_map(|(_, file)| file.says.iter().map(move |says| (file.root, says)))
    }

    fn symbols(&self, symbol: Symbol) -> Option<(&FileSymbols, usize)> {
        let symbols = &self.file(symbol.file)?.symbols;
        (symbol.at < symbols.len()).then_some((symbols, symbol.at))
    }

    pub fn name(&self, symbol: Symbol) -> &str {
        self.symbols(symbol).map_or("", |(file, at)| file.name(at))
    }

    /// Its signature, in one line.
    pub fn head(&self, symbol: Symbol) -> &str {
        self.symbols(symbol).map_or("", |(file, at)| file.head(at))
    }

    /// First line of its doc; empty where there is none.
    pub fn doc(&self, symbol: Symbol) -> &str {
        self.symbols(symbol).map_or("", |(file, at)| file.doc(at))
    }

    pub fn owner(&self, symbol: Symbol) -> Option<&str> {
        self.symbols(symbol).and_then(|(file, at)| file.owner(at))
    }

    pub fn kind(&self, symbol: Symbol) -> DefinitionKind {
        self.symbols(symbol).map_or(DefinitionKind::Variable, |(file, at)| file.kind(at))
    }

    /// From 0.
    pub fn line(&self, symbol: Symbol) -> u32 {
        self.symbols(symbol).map_or(0, |(file, at)| file.line(at))
    }

    pub(crate) fn imports(&self, file: FileId) -> Vec<ImportPath> {
        self.file(file).map_or_else(Vec::new, |file| file.symbols.imports().collect())
    }
}

/// Bytes of a file in an index.
pub(crate) fn bytes_of(file: &File) -> usize {
    // Twice its path: the map by path has its own, and about as much for itself.
    const ENTRY: usize = 48;
    size_of::<File>() + file.symbols.n_bytes() + 2 * file.path.len() + ENTRY
}

/// What a text defines, and what it says of others.
pub(crate) fn read(path: &str, text: &str) -> (FileSymbols, Box<[Says]>) {
    if manifest::is_manifest(path) {
        let symbols = FileSymbols::new(Language::Text, &Outline::default());
        return (symbols, manifest::read(path, text).into());
    }
    let language = Language::from_path(path.as_ref());
    let tree = SyntaxTree::parse_str_within(language, text, PARSE);
    let mut outline = outline(&tree, text);
    outline.definitions.retain(is_shown);
    (FileSymbols::new(language, &outline), Box::default())
}

/// Lines that look like secrets stay at home.
fn is_shown(definition: &Definition) -> bool {
    !lacuna_context::looks_secret(&definition.head)
        && !lacuna_context::looks_secret(&definition.doc)
}
