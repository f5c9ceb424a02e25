//! What is asked: one cursor in one document, borrowed for a request or owned for work in the
//! background.

use std::sync::{Arc, Mutex, PoisonError};

use lacuna_context::{Excerpt, Language, SyntaxTree};
use lacuna_text::Document;

use crate::Eagerness;

/// Whether the user asks, or an editor while its user types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// By the user: what was found is shown, however unsure it is.
    #[default]
    Explicitly,
    /// Shown only where it is likely to be right ([`crate::Settings::least`]).
    Automatically,
}

/// One cursor in one document.
pub struct Request<'a> {
    /// Identifies the document from request to request (its URI or path).
    pub key: &'a str,
    /// Path as the model shall see it; relative to the workspace.
    pub path: Option<&'a str>,
    pub language: Language,
    pub document: &'a Document,
    pub tree: &'a SyntaxTree,
    /// Byte offset of the cursor, on a character boundary.
    pub cursor: usize,
    /// What the caller knows that is worth showing (parts of other files), most stable first; shown
    /// as far as it fits.
    pub excerpts: &'a [Excerpt],
    /// Number of alternatives wanted; at least one.
    pub n: usize,
    pub asked: Asked,
    pub explain: bool,
}

impl<'a> Request<'a> {
    /// A cursor in a text that stands alone; one suggestion is asked for explicitly.
    pub fn at(
        key: &'a str,
        path: Option<&'a str>,
        document: &'a Document,
        tree: &'a SyntaxTree,
        cursor: usize,
    ) -> Request<'a> {
        let (language, asked) = (tree.language(), Asked::Explicitly);
        Request {
            key,
            path,
            language,
            document,
            tree,
            cursor,
            excerpts: &[],
            n: 1,
            asked,
            explain: false,
        }
    }
}

/// A document as it is now, with a place in it: cheap, the text is shared.
#[derive(Clone)]
pub struct Snapshot {
    pub key: String,
    pub path: Option<String>,
    pub language: Language,
    pub document: Document,
    pub tree: SyntaxTree,
    /// Byte offset.
    pub cursor: usize,
    /// As [`Request::excerpts`].
    pub excerpts: Arc<[Excerpt]>,
}

impl Snapshot {
    pub fn request(&self) -> Request<'_> {
        Request {
            key: &self.key,
            path: self.path.as_deref(),
            language: self.language,
            document: &self.document,
            tree: &self.tree,
            cursor: self.cursor,
            excerpts: &self.excerpts,
            n: 1,
            asked: Asked::Automatically,
            explain: false,
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Default)]
pub struct Caller<'a> {
    /// Clients take turns.
    pub client: u64,
    /// Told what has been generated so far.
    pub flight: Option<&'a Flight>,
    /// Texts at the cursor that the user has turned down: neither they, nor their beginnings, nor
    /// what goes on from them is suggested.
    pub refused: &'a [String],
    /// How sure what is shown must be.
    pub eagerness: Eagerness,
}

impl Caller<'_> {
    /// Whether the user has turned this text down.
    pub(crate) fn refuses(&self, text: &str) -> bool {
        self.refused.iter().any(|refused| is_beginning(refused, text))
    }
}

/// Whether one of two texts begins with the other.
pub(crate) fn is_beginning(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// What a running request has generated so far: tells whether a key that was typed meanwhile agrees
/// with it.
#[derive(Debug, Default)]
pub struct Flight {
    text: Mutex<String>,
}

impl Flight {
    /// Whether `typed`, everything since the request was made, is what the answer begins with.
    pub fn agrees(&self, typed: &str) -> bool {
        !typed.is_empty()
            && self.text.lock().unwrap_or_else(PoisonError::into_inner).starts_with(typed)
    }

    /// The answer so far.
    pub fn note(&self, text: &str) {
        let mut all = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        all.clear();
        all.push_str(text);
    }
}
