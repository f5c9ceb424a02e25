//! [`SyntaxTree`]: the tree of one document, kept up to date through edits, within a limit.
//!
//! A tree that could not be made within it is absent, never stale: every question about it then has
//! the answer of a text without a grammar. All walks are loops over a cursor, so that deep nesting
//! costs heap, not stack.

use std::cell::Cell;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use lacuna_text::{Document, EditInfo, Rope};
use tree_sitter::{InputEdit, Node, ParseOptions, Parser, Point, Tree, TreeCursor};

use crate::Language;

/// What one parse may take before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLimit {
    /// By the clock, for those who wait; none where a result must not depend on how busy the
    /// machine is.
    pub time: Option<Duration>,
    /// Hundreds of the parser's operations: about 80 bytes of ordinary code.
    pub steps: u64,
    /// Bytes that the lexer reads, again and again where a text makes it look far ahead.
    pub bytes: u64,
}

impl ParseLimit {
    /// While somebody types.
    pub const INTERACTIVE: ParseLimit =
        ParseLimit { time: Some(Duration::from_millis(500)), ..ParseLimit::REPEATABLE };
    /// The same on every machine: for corpora and scores. Ordinary text of [`MAX_PARSE_BYTES`] is
    /// within it; the worst known texts take some ten seconds.
    pub const REPEATABLE: ParseLimit = ParseLimit { time: None, steps: 200_000, bytes: 512 << 20 };
}

/// What is handed to the parser at a time, so that reading far ahead is noticed.
const READ_BYTES: usize = 4096;

/// Longer texts are not parsed at all: a tree takes some twenty times the memory of its text.
pub const MAX_PARSE_BYTES: usize = 8 << 20;

/// The syntax tree of one text, or its absence.
#[derive(Clone)]
pub struct SyntaxTree {
    language: Language,
    tree: Option<Tree>,
    /// Bytes of the text whose parse was given up. Not tried again until the text is a quarter
    /// shorter, or else every keystroke would pay the limit.
    gave_up_at: Option<usize>,
    limit: ParseLimit,
    /// Whoever asks waits no longer than this, whatever the limit says.
    deadline: Option<Instant>,
}

impl SyntaxTree {
    pub fn parse(language: Language, rope: &Rope) -> SyntaxTree {
        SyntaxTree::parse_within(language, rope, ParseLimit::INTERACTIVE)
    }

    /// As [`SyntaxTree::parse`], with another limit for this parse and those of the tree's edits
    /// and previews. For results that must not depend on how busy the machine is.
    pub fn parse_within(language: Language, rope: &Rope, limit: ParseLimit) -> SyntaxTree {
        let mut tree = SyntaxTree { language, tree: None, gave_up_at: None, limit, deadline: None };
        tree.reparse(rope);
        tree
    }

    /// Of a whole text that nobody types: the same tree on every machine.
    pub fn parse_str(language: Language, text: &str) -> SyntaxTree {
        SyntaxTree::parse_str_within(language, text, ParseLimit::REPEATABLE)
    }

    /// As [`SyntaxTree::parse_str`], with another limit.
    pub fn parse_str_within(language: Language, text: &str, limit: ParseLimit) -> SyntaxTree {
        let mut tree = SyntaxTree { language, tree: None, gave_up_at: None, limit, deadline: None };
        tree.run(text.len(), |byte| text.as_bytes().get(byte..).unwrap_or_default());
        tree
    }

    /// The same tree, whose further parses and previews are given up at `deadline`.
    pub fn until(self, deadline: Option<Instant>) -> SyntaxTree {
        SyntaxTree { deadline, ..self }
    }

    pub fn language(&self) -> Language {
        self.language
    }

    /// False for [`Language::Text`] and when the parse was given up.
    pub fn is_present(&self) -> bool {
        self.tree.is_some()
    }

    /// Notes an edit of the text. Call [`SyntaxTree::reparse`] before the next question.
    pub fn edit(&mut self, edit: &EditInfo) {
        if let Some(tree) = &mut self.tree {
            tree.edit(&InputEdit {
                start_byte: edit.start_byte,
                old_end_byte: edit.old_end_byte,
                new_end_byte: edit.new_end_byte,
                start_position: point(edit.start_point),
                old_end_position: point(edit.old_end_point),
                new_end_position: point(edit.new_end_point),
            });
        }
    }

    /// Brings the tree up to date with `rope`, reusing what the noted edits left untouched.
    pub fn reparse(&mut self, rope: &Rope) {
        let len = rope.len_bytes();
        self.run(len, |byte| {
            if byte >= len {
                return &[];
            }
            let (chunk, chunk_start, ..) = rope.chunk_at_byte(byte);
            &chunk.as_bytes()[byte - chunk_start..]
        });
    }

    /// The tree as it would be if `bytes` of `document` were replaced by `text`.
    pub fn preview(&self, document: &Document, bytes: Range<usize>, text: &str) -> SyntaxTree {
        let mut document = document.clone();
        let mut tree = self.clone();
        tree.edit(&document.splice(bytes, text));
        tree.reparse(document.rope());
        tree
    }

    fn run<'a>(&mut self, len: usize, read: impl Fn(usize) -> &'a [u8]) {
        let old = self.tree.take();
        let Some(grammar) = self.language.grammar() else { return };
        if len > MAX_PARSE_BYTES || self.gave_up_at.is_some_and(|at| len > at - at / 4) {
            return;
        }
        let mut parser = Parser::new();
        if parser.set_language(grammar).is_err() {
            return;
        }
        let (start, limit, deadline) = (Instant::now(), self.limit, self.deadline);
        let (mut steps, bytes) = (0, Cell::new(0));
        let mut progress = |_: &tree_sitter::ParseState| {
            steps += 1;
            let late = limit.time.is_some_and(|time| start.elapsed() > time)
                || deadline.is_some_and(|deadline| Instant::now() > deadline);
            if late || steps > limit.steps || bytes.get() > limit.bytes {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let mut read = |byte, _| {
            let text = read(byte);
            let text = &text[..text.len().min(READ_BYTES)];
            bytes.set(bytes.get() + text.len() as u64);
            text
        };
        let options = ParseOptions::new().progress_callback(&mut progress);
        self.tree = parser.parse_with_options(&mut read, old.as_ref(), Some(options));
        self.gave_up_at = self.tree.is_none().then_some(len);
    }

    /// ERROR and MISSING nodes; 0 without a tree.
    pub fn n_errors(&self) -> usize {
        self.n_errors_in(0..usize::MAX)
    }

    /// ERROR and MISSING nodes that touch `bytes`.
    pub fn n_errors_in(&self, bytes: Range<usize>) -> usize {
        let mut n = 0;
        self.walk(|node, _, _| {
            n += usize::from(node.is_error() || node.is_missing());
            let touches = node.start_byte() <= bytes.end && node.end_byte() >= bytes.start;
            if node.has_error() && touches { Visit::Into } else { Visit::Over }
        });
        n
    }

    /// One line a node, in order: two spaces a level, kind, byte range. For `--explain` and for
    /// tests.
    pub fn dump(&self, max_nodes: usize) -> String {
        let mut text = String::new();
        let mut n = 0;
        self.walk(|node, _, depth| {
            let missing = if node.is_missing() { " MISSING" } else { "" };
            let indent = 2 * depth.min(40);
            text.push_str(&format!(
                "{:indent$}{}{missing} {:?}\n",
                "",
                node.kind(),
                node.byte_range()
            ));
            n += 1;
            if n < max_nodes { Visit::Into } else { Visit::Stop }
        });
        text
    }

    pub(crate) fn root(&self) -> Option<Node<'_>> {
        self.tree.as_ref().map(Tree::root_node)
    }

    /// Visits nodes in preorder, without recursion: the node, the cursor on it, its depth (the
    /// root's is 0).
    pub(crate) fn walk<'tree>(
        &'tree self,
        mut visit: impl FnMut(Node<'tree>, &TreeCursor<'tree>, usize) -> Visit,
    ) {
        let Some(root) = self.root() else { return };
        let mut cursor = root.walk();
        // Counted here: the cursor's own `depth()` takes time proportional to its answer.
        let mut depth = 0;
        loop {
            match visit(cursor.node(), &cursor, depth) {
                Visit::Stop => return,
                Visit::Into if cursor.goto_first_child() => {
                    depth += 1;
                    continue;
                }
                _ => {}
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return;
                }
                depth -= 1;
            }
        }
    }

    /// Visits the nodes that contain `byte`, from the root inwards.
    pub(crate) fn descend(&self, byte: usize, mut visit: impl FnMut(Node<'_>)) {
        let Some(root) = self.root() else { return };
        let mut cursor = root.walk();
        loop {
            let node = cursor.node();
            if node.start_byte() > byte {
                return;
            }
            visit(node);
            if cursor.goto_first_child_for_byte(byte).is_none() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for SyntaxTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyntaxTree")
            .field("language", &self.language)
            .field("present", &self.is_present())
            .finish()
    }
}

pub(crate) enum Visit {
    /// Go on with the node's children.
    Into,
    /// Go on after the node.
    Over,
    Stop,
}

fn point(p: lacuna_text::Point) -> Point {
    Point { row: p.row, column: p.column }
}
