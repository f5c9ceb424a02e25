//! [`Excerpt`]: a piece of context beside the text around the cursor, and the ranked list of them.
//!
//! This is the boundary through which every source of context enters a prompt: whoever knows
//! something worth showing makes excerpts, [`rank`] picks what fits, the prompt takes the result as
//! it is. Sources today: the file's name, its imports and the heads of the enclosing items where
//! the prefix window does not reach them; parts of other files ([`crate::similar`]).

use std::ops::Range;

use lacuna_text::Rope;

use crate::cursor::text;
use crate::{Language, SyntaxTree};

/// Where an excerpt comes from; also the order of excerpts in a prompt: what changes least comes
/// first, so that the prompt's start stays the same between keystrokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExcerptKind {
    /// Path and language of the file.
    Header,
    /// Imports of the file.
    Import,
    /// A definition of something that the code near the cursor names.
    Definition,
    /// A part of another file that looks like the surroundings of the cursor.
    OtherFile,
    /// Heads of the items around the cursor.
    Scope,
    /// What was edited lately, here or elsewhere.
    RecentEdit,
}

/// A piece of text for the prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Excerpt {
    pub kind: ExcerptKind,
    /// The file it is from; `None` for the file being completed.
    pub path: Option<String>,
    pub text: String,
    /// Higher is more useful; comparable across kinds. NaN counts as the least.
    pub score: f32,
}

/// What [`gather`] needs to know about the file being completed.
#[derive(Clone, Copy, Debug)]
pub struct FileFacts<'a> {
    /// As it is to be shown: relative to the workspace where there is one.
    pub path: &'a str,
    pub rope: &'a Rope,
    pub tree: &'a SyntaxTree,
    /// Byte offset of the cursor.
    pub cursor: usize,
    /// First byte of the text that the prompt shows before the cursor.
    pub window_start: usize,
}

/// Excerpts of the file itself: its header, and what the prefix window leaves out of imports and
/// enclosing heads.
pub fn gather(file: &FileFacts) -> Vec<Excerpt> {
    let language = file.tree.language();
    let mut excerpts = vec![Excerpt {
        kind: ExcerptKind::Header,
        path: None,
        text: header(file.path, language),
        score: 1.0,
    }];
    if file.window_start == 0 {
        return excerpts;
    }
    let hidden = |range: &Range<usize>| range.end <= file.window_start;
    let imports: Vec<String> = file
        .tree
        .imports(file.rope)
        .into_iter()
        .filter(|i| hidden(&i.range))
        .map(|i| i.text)
        .collect();
    if !imports.is_empty() {
        excerpts.push(Excerpt {
            kind: ExcerptKind::Import,
            path: None,
            text: imports.join("\n"),
            score: 0.6,
        });
    }
    let heads: Vec<String> = file
        .tree
        .heads(file.rope, file.cursor)
        .into_iter()
        .filter(|(r, _)| hidden(r))
        .map(|(_, t)| t)
        .collect();
    if !heads.is_empty() {
        excerpts.push(Excerpt {
            kind: ExcerptKind::Scope,
            path: None,
            text: heads.join("\n"),
            score: 0.8,
        });
    }
    excerpts
}

fn header(path: &str, language: Language) -> String {
    match language.line_comment() {
        Some(comment) => format!("{comment} {path} ({})", language.name()),
        None => path.to_string(),
    }
}

/// The best excerpts that fit into `budget_bytes`, in the order in which a prompt shows them.
///
/// Best score first, ties in the order given; what does not fit is left out, whole, and smaller
/// ones behind it may still come in. The result is ordered by kind, then as given: a change of
/// scores alone does not reorder it.
pub fn rank(excerpts: Vec<Excerpt>, budget_bytes: usize) -> Vec<Excerpt> {
    let mut order: Vec<usize> = (0..excerpts.len()).collect();
    let score = |i: &usize| {
        if excerpts[*i].score.is_nan() { f32::NEG_INFINITY } else { excerpts[*i].score }
    };
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let mut left = budget_bytes;
    let mut chosen: Vec<usize> = Vec::new();
    for i in order {
        if let Some(rest) = left.checked_sub(excerpts[i].text.len()) {
            left = rest;
            chosen.push(i);
        }
    }
    chosen.sort_by_key(|i| (excerpts[*i].kind, *i));
    let mut excerpts: Vec<Option<Excerpt>> = excerpts.into_iter().map(Some).collect();
    chosen.into_iter().filter_map(|i| excerpts[i].take()).collect()
}

/// Text of the lines that `range` starts on, for heads that go over several lines capped at 400
/// bytes.
pub(crate) fn head_text(rope: &Rope, range: Range<usize>) -> String {
    let line_start = rope.line_to_byte(rope.byte_to_line(range.start));
    let end = crate::cursor::floor_char(rope, range.end.min(line_start + 400));
    text(rope, line_start, end).trim_end().to_string()
}
