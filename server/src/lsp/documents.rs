//! Open documents: text, syntax tree, and the request that is running for each.

use dashmap::DashMap;
use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::Cancel;
use lacuna_text::{Document, EditError, Encoding, Range};

/// One open document. Cloning is cheap: the rope and the tree share their memory with the clone.
#[derive(Clone)]
pub struct Open {
    pub document: Document,
    pub tree: SyntaxTree,
    pub language: Language,
}

struct Entry {
    open: Open,
    /// Raised when a newer request or a newer text makes the running one useless.
    running: Option<Cancel>,
}

/// All open documents by URI.
#[derive(Default)]
pub struct Documents {
    entries: DashMap<String, Entry>,
}

/// Why a document could not be changed.
pub enum ChangeError {
    NotOpen,
    /// The edit's range is outside the text; the document is left as it was.
    Edit(EditError),
}

impl Documents {
    pub fn open(&self, uri: &str, language: Language, version: i32, text: &str) {
        let document = Document::new(text, version);
        let tree = SyntaxTree::parse(language, document.rope());
        let entry = Entry { open: Open { document, tree, language }, running: None };
        if let Some(old) = self.entries.insert(uri.to_owned(), entry) {
            stop(old.running);
        }
    }

    pub fn close(&self, uri: &str) -> bool {
        match self.entries.remove(uri) {
            Some((_, entry)) => {
                stop(entry.running);
                true
            }
            None => false,
        }
    }

    /// Applies the edits of one `didChange` in order. A request that runs on the old text is cancelled.
    pub fn change(
        &self,
        uri: &str,
        version: i32,
        edits: impl IntoIterator<Item = (Option<Range>, String)>,
        encoding: Encoding,
    ) -> Result<(), ChangeError> {
        let mut entry = self.entries.get_mut(uri).ok_or(ChangeError::NotOpen)?;
        stop(entry.running.take());
        // On an error half-way the text stays as it was before the whole notification.
        let mut open = entry.open.clone();
        for (range, text) in edits {
            match range {
                Some(range) => {
                    let info = open.document.apply(range, encoding, &text).map_err(ChangeError::Edit)?;
                    open.tree.edit(&info);
                }
                None => {
                    open.document.replace_all(&text);
                    open.tree = SyntaxTree::parse(open.language, open.document.rope());
                }
            }
        }
        open.tree.reparse(open.document.rope());
        open.document.set_version(version);
        entry.open = open;
        Ok(())
    }

    /// A snapshot to complete on; `cancel` becomes the running request, the one before it is cancelled.
    pub fn begin(&self, uri: &str, cancel: &Cancel) -> Option<Open> {
        let mut entry = self.entries.get_mut(uri)?;
        stop(entry.running.replace(cancel.clone()));
        Some(entry.open.clone())
    }
}

fn stop(running: Option<Cancel>) {
    if let Some(cancel) = running {
        cancel.cancel();
    }
}
