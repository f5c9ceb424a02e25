//! The text of a document at one moment, and how it came to be.

use std::sync::Arc;

use lacuna_complete::Snapshot;
use lacuna_context::{Language, SyntaxTree};
use lacuna_text::{Document, Encoding, Utf16Text};

use super::about::About;
use super::wire::Change;

/// A document's text and tree. Cloning is cheap: both share their memory with the clone.
#[derive(Clone)]
pub struct View {
    pub document: Document,
    pub tree: SyntaxTree,
    pub language: Language,
}

/// An edit that was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Byte offset.
    pub start: usize,
    pub text: String,
    pub removed: String,
    /// In characters: where, and how many went.
    pub at_char: usize,
    pub deleted_chars: usize,
}

/// A document after a change, and what the change was.
pub struct Edited {
    pub about: Arc<About>,
    pub view: View,
    pub edits: Vec<Edit>,
}

impl View {
    pub fn new(language: Language, version: i32, text: &Utf16Text) -> View {
        let document = Document::from_utf16(text, version);
        let tree = SyntaxTree::parse(language, document.rope());
        View { document, tree, language }
    }

    /// Applies edits in order.
    pub fn apply(&mut self, changes: &[Change], encoding: Encoding) -> Vec<Edit> {
        let edits = changes.iter().map(|change| self.apply_one(change, encoding)).collect();
        self.tree.reparse(self.document.rope());
        edits
    }

    fn apply_one(&mut self, change: &Change, encoding: Encoding) -> Edit {
        let old = self.document.clone();
        let (start, end, new_end) = match change.range {
            Some(range) => {
                let info = self.document.apply_utf16(range, encoding, &change.text.0);
                self.tree.edit(&info);
                (info.start_byte, info.old_end_byte, info.new_end_byte)
            }
            None => {
                *self = View::new(self.language, old.version(), &change.text.0);
                (0, old.len_bytes(), self.document.len_bytes())
            }
        };
        let chars = |byte| old.rope().byte_to_char(byte);
        let (at_char, deleted_chars) = (chars(start), chars(end) - chars(start));
        let text = self.document.slice(start..new_end).into_owned();
        Edit { start, text, removed: old.slice(start..end).into_owned(), at_char, deleted_chars }
    }
}

impl Edited {
    /// Where the last edit left the cursor, a byte.
    pub fn cursor(&self) -> usize {
        let cursor = self.edits.last().map_or(0, |edit| edit.start + edit.text.len());
        cursor.min(self.view.document.len_bytes())
    }

    /// The document with the cursor where the last edit left it.
    pub fn snapshot(&self) -> Snapshot {
        let View { document, tree, language } = self.view.clone();
        Snapshot {
            key: self.about.key.clone(),
            path: Some(self.about.path.clone()),
            language,
            cursor: self.cursor(),
            document,
            tree,
            excerpts: Arc::default(),
        }
    }
}
