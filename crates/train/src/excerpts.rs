//! Excerpts of training documents: what a server would show beside a window, chosen and written as
//! it does.
//!
//! Owns the choice for training (which sibling files, how often). The form is
//! `lacuna_prompt::excerpts`'s, the measure of likeness and the file's own excerpts are
//! `lacuna_context`'s.

use std::path::Path;

use lacuna_context::{
    Excerpt, ExcerptKind, FileFacts, Language, OtherFile, Rope, SyntaxTree, gather, rank, similar,
};
use lacuna_prompt::excerpts::{as_shown, excerpt, other_files_bytes};

use crate::mine::Document;
use crate::mine::rng::Rng;

/// Sibling files that are looked at.
const MOST_FILES: usize = 8;
/// Bytes of each.
const MOST_BYTES: usize = 16 << 10;
/// Of the documents with excerpts, those for which siblings are looked at; the others show what
/// stands above their window alone.
const WITH_SIBLINGS: f64 = 0.75;

/// A file with a hole in a window of it.
pub(crate) struct Place<'a> {
    pub document: &'a Document,
    pub tree: &'a SyntaxTree,
    pub rope: &'a Rope,
    /// First byte of the window.
    pub window: usize,
    /// First byte of the hole.
    pub hole: usize,
    /// What the window shows before and after it.
    pub prefix: &'a str,
    pub suffix: &'a str,
}

/// Excerpts as prompts of `budget` tokens show them, in their order: parts of `siblings`, then what
/// the window leaves out above it.
pub(crate) fn excerpts(
    place: &Place<'_>,
    siblings: &[&Document],
    budget: usize,
    rng: &mut Rng,
) -> Vec<String> {
    let path = &place.document.path;
    let language = Language::from_path(Path::new(path));
    let mut found = Vec::new();
    let file = FileFacts {
        path,
        rope: place.rope,
        tree: place.tree,
        cursor: place.hole,
        window_start: place.window,
    };
    let own: Vec<Excerpt> =
        gather(&file).into_iter().filter(|e| e.kind != ExcerptKind::Header).collect();
    if !siblings.is_empty() && (rng.chance(WITH_SIBLINGS) || own.is_empty()) {
        let files: Vec<OtherFile> = siblings
            .iter()
            .take(MOST_FILES)
            .map(|d| {
                // An editor knows the part that was used last: any one.
                let start = d
                    .text
                    .floor_char_boundary(rng.below(d.text.len().saturating_sub(MOST_BYTES) + 1));
                let end = d.text.floor_char_boundary((start + MOST_BYTES).min(d.text.len()));
                OtherFile { path: &d.path, text: &d.text[start..end] }
            })
            .collect();
        let form = |other: &str, text: &str| excerpt(path, other, text);
        found.extend(similar(
            language,
            place.prefix,
            place.suffix,
            &files,
            other_files_bytes(budget),
            form,
        ));
    }
    found.extend(rank(own, budget / 2));
    found.into_iter().map(|e| as_shown(&e.text)).collect()
}

/// Up to [`MOST_FILES`] documents of the same package and language as `documents[at]`: its
/// neighbours in the order of paths, and some from anywhere in the package. `documents` are in the
/// order of package and path.
pub(crate) fn siblings<'a>(
    documents: &[&'a Document],
    at: usize,
    rng: &mut Rng,
) -> Vec<&'a Document> {
    let own = documents[at];
    let alike = |d: &&&Document| d.package == own.package && d.language == own.language;
    let first = documents.partition_point(|d| d.package < own.package);
    let last = documents.partition_point(|d| d.package <= own.package);
    let mut chosen: Vec<usize> = (at.saturating_sub(3).max(first)..(at + 4).min(last)).collect();
    chosen.extend((0..MOST_FILES).map(|_| first + rng.below(last - first)));
    let mut seen = std::collections::HashSet::from([at]);
    let distinct = chosen.into_iter().filter(|i| seen.insert(*i)).map(|i| &documents[i]);
    distinct.filter(alike).take(MOST_FILES).copied().collect()
}
