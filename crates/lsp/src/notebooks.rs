//! Notebooks: their cells are documents of their own, and each sees the others as text above and
//! below itself.
//!
//! Owns: which cells belong to which notebook, and in which order. The cells' texts are in
//! [`Documents`], like all texts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lacuna_context::SyntaxTree;
use lacuna_text::Document;
use serde::Deserialize;
use serde_json::{Value, json};

use super::documents::{Documents, Open};
use super::wire::{Identifier, or_default};

/// So much of the other cells is looked at on each side: more than prompts show.
const MAX_SIDE_BYTES: usize = 32 << 10;

/// `notebookDocument/didOpen`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenedNotebook {
    pub notebook_document: Notebook,
    #[serde(default, deserialize_with = "or_default")]
    pub cell_text_documents: Vec<Value>,
}

#[derive(Deserialize)]
pub struct Notebook {
    pub uri: String,
    #[serde(default, deserialize_with = "or_default")]
    pub cells: Vec<Cell>,
}

#[derive(Deserialize)]
pub struct Cell {
    /// URI of its document.
    pub document: String,
}

/// `notebookDocument/didChange`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedNotebook {
    pub notebook_document: Identifier,
    #[serde(default, deserialize_with = "or_default")]
    pub change: NotebookChange,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct NotebookChange {
    #[serde(deserialize_with = "or_default")]
    pub cells: CellsChange,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CellsChange {
    pub structure: Option<Structure>,
    #[serde(deserialize_with = "or_default")]
    pub text_content: Vec<Value>,
}

/// Cells were added, moved or removed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Structure {
    pub array: CellArray,
    #[serde(default, deserialize_with = "or_default")]
    pub did_open: Vec<Value>,
    #[serde(default, deserialize_with = "or_default")]
    pub did_close: Vec<Identifier>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellArray {
    pub start: usize,
    #[serde(default, deserialize_with = "or_default")]
    pub delete_count: usize,
    #[serde(default, deserialize_with = "or_default")]
    pub cells: Vec<Cell>,
}

/// `notebookDocument/didClose`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedNotebook {
    pub notebook_document: Identifier,
    #[serde(default, deserialize_with = "or_default")]
    pub cell_text_documents: Vec<Identifier>,
}

/// The text of one cell, as the parameters of `textDocument/didOpen`.
pub fn opening(cell: Value) -> Value {
    json!({"textDocument": cell})
}

/// A change of one cell, as the parameters of `textDocument/didChange`.
pub fn changing(mut content: Value) -> Value {
    json!({"textDocument": content["document"].take(), "contentChanges": content["changes"].take()})
}

/// A cell that is gone, as the parameters of `textDocument/didClose`.
pub fn closing(cell: &Identifier) -> Value {
    json!({"textDocument": {"uri": cell.uri}})
}

/// Open notebooks: their URI, and those of their cells in order.
#[derive(Default)]
pub struct Notebooks {
    all: Mutex<Vec<(String, Vec<String>)>>,
}

impl Notebooks {
    pub fn opened(&self, notebook: Notebook) {
        let cells = notebook.cells.into_iter().map(|cell| cell.document).collect();
        self.closed(&notebook.uri);
        self.lock().push((notebook.uri, cells));
    }

    pub fn closed(&self, uri: &str) {
        self.lock().retain(|(other, _)| other != uri);
    }

    /// Takes a change of the order over. Numbers beyond the last cell mean the end.
    pub fn changed(&self, uri: &str, array: CellArray) {
        let mut all = self.lock();
        let Some((_, cells)) = all.iter_mut().find(|(other, _)| other == uri) else { return };
        let start = array.start.min(cells.len());
        let end = start.saturating_add(array.delete_count).min(cells.len());
        cells.splice(start..end, array.cells.into_iter().map(|cell| cell.document));
    }

    /// The documents of a notebook's cells, in order.
    pub fn cells(&self, uri: &str) -> Vec<String> {
        self.lock()
            .iter()
            .find(|(other, _)| other == uri)
            .map_or_else(Vec::new, |(_, cells)| cells.clone())
    }

    /// The notebook that a document is a cell of.
    pub fn of(&self, cell: &str) -> Option<String> {
        self.lock()
            .iter()
            .find(|(_, cells)| cells.iter().any(|other| other == cell))
            .map(|(uri, _)| uri.clone())
    }

    /// The cells above and below one, in order. `None`: the document is no cell.
    fn around(&self, uri: &str) -> Option<(Vec<String>, Vec<String>)> {
        let all = self.lock();
        let (cells, at) = all
            .iter()
            .find_map(|(_, cells)| Some((cells, cells.iter().position(|cell| cell == uri)?)))?;
        Some((cells[..at].to_vec(), cells[at + 1..].to_vec()))
    }

    /// Whether two documents are cells of one notebook.
    pub fn share(&self, uri: &str, other: &str) -> bool {
        let has = |cells: &[String], uri: &str| cells.iter().any(|cell| cell == uri);
        self.lock().iter().any(|(_, cells)| has(cells, uri) && has(cells, other))
    }

    /// The document of a cell between the texts of the other cells of its language, and byte
    /// `cursor` of the cell in it. Any other document as it is.
    pub fn joined(
        &self,
        documents: &Documents,
        uri: &str,
        open: Open,
        cursor: usize,
    ) -> (Open, usize) {
        let Some((above, below)) = self.around(uri) else { return (open, cursor) };
        let text = |cell: &String| {
            let other = documents
                .current(cell)
                .filter(|other| other.language == open.language && !other.out_of_step)?;
            let mut text = other.document.text();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            Some(text)
        };
        let mut before: Vec<String> = nearest(above.iter().rev().filter_map(text), last_lines);
        before.reverse();
        let (before, after) =
            (before.concat(), nearest(below.iter().filter_map(text), first_lines).concat());
        if before.is_empty() && after.is_empty() {
            return (open, cursor);
        }
        let own = open.document.text();
        let newline = if own.ends_with('\n') || after.is_empty() { "" } else { "\n" };
        let document =
            Document::new(&format!("{before}{own}{newline}{after}"), open.document.version());
        let tree = SyntaxTree::parse(open.language, document.rope());
        (Open { document, tree, ..open }, before.len() + cursor)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Vec<String>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Texts as they come, as far as [`MAX_SIDE_BYTES`] allow; `part` gives what still goes of the
/// first that does not fit.
fn nearest(texts: impl Iterator<Item = String>, part: fn(&str, usize) -> &str) -> Vec<String> {
    let (mut all, mut left) = (Vec::new(), MAX_SIDE_BYTES);
    for text in texts {
        if text.len() > left {
            all.push(part(&text, left).to_owned());
            break;
        }
        left -= text.len();
        all.push(text);
    }
    all
}

/// Whole lines from the end of a text, at most so many bytes.
fn last_lines(text: &str, bytes: usize) -> &str {
    let from = text.len() - bytes;
    let line = text.as_bytes()[from - 1..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(text.len(), |at| from + at);
    &text[line..]
}

/// Whole lines from the start of a text, at most so many bytes.
fn first_lines(text: &str, bytes: usize) -> &str {
    let end = text.as_bytes()[..bytes].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use lacuna_context::Language;

    use super::*;

    fn array(start: usize, delete_count: usize, cells: &[&str]) -> CellArray {
        CellArray { start, delete_count, cells: named(cells) }
    }

    fn named(cells: &[&str]) -> Vec<Cell> {
        cells.iter().map(|cell| Cell { document: cell.to_string() }).collect()
    }

    #[test]
    fn a_cell_sees_those_of_its_language_in_their_order() {
        let (documents, notebooks) = (Documents::default(), Notebooks::default());
        for (uri, language, text) in [
            ("a", Language::Python, "import os\n"),
            ("b", Language::Text, "# Notes"),
            ("c", Language::Python, "x = 1"),
            ("d", Language::Python, "print(x)"),
        ] {
            documents.open(uri, language, 1, &text.into());
        }
        notebooks.opened(Notebook { uri: "n".to_owned(), cells: named(&["a", "b", "c", "d"]) });
        let joined = |uri: &str| {
            let (open, cursor) =
                notebooks.joined(&documents, uri, documents.current(uri).unwrap(), 1);
            (open.document.text(), cursor)
        };
        assert_eq!(joined("c"), ("import os\nx = 1\nprint(x)\n".to_owned(), 11));
        assert_eq!(joined("a"), ("import os\nx = 1\nprint(x)\n".to_owned(), 1));
        assert_eq!(joined("d"), ("import os\nx = 1\nprint(x)".to_owned(), 17));
        assert_eq!(joined("b"), ("# Notes".to_owned(), 1));
        assert_eq!((notebooks.of("c").as_deref(), notebooks.of("x")), (Some("n"), None));
        assert!(notebooks.share("a", "d") && !notebooks.share("a", "elsewhere"));
        notebooks.changed("n", array(0, 1, &[]));
        assert_eq!(joined("c").0, "x = 1\nprint(x)\n");
        notebooks.changed("n", array(9, 9, &["a"]));
        assert_eq!(joined("c").0, "x = 1\nprint(x)\nimport os\n");
        // One whose text is not known is not shown.
        documents.lose("d");
        assert_eq!(joined("c").0, "x = 1\nimport os\n");
        notebooks.closed("n");
        assert_eq!(joined("c").0, "x = 1");
    }

    #[test]
    fn of_many_and_large_cells_the_nearest_whole_lines_are_seen() {
        let (documents, notebooks) = (Documents::default(), Notebooks::default());
        let cell = |name: &str| (0..6000).map(|i| format!("{name}é{i}\n")).collect::<String>();
        let (above, below) = (cell("a"), cell("b"));
        for (uri, text) in [
            ("a", above.as_str()),
            ("near", "near\n"),
            ("c", "x = 1\n"),
            ("b", &below),
            ("far", "far\n"),
        ] {
            documents.open(uri, Language::Python, 1, &text.into());
        }
        notebooks.opened(Notebook {
            uri: "n".to_owned(),
            cells: named(&["far", "a", "near", "c", "b", "far"]),
        });
        let (open, cursor) = notebooks.joined(&documents, "c", documents.current("c").unwrap(), 0);
        let text = open.document.text();
        let (before, after) = (&text[..cursor], text[cursor..].strip_prefix("x = 1\n").unwrap());
        for side in [before, after] {
            assert!((MAX_SIDE_BYTES - 16..=MAX_SIDE_BYTES).contains(&side.len()), "{}", side.len());
        }
        assert!(before.starts_with("aé") && format!("{above}near\n").ends_with(before));
        assert!(after.ends_with('\n') && below.starts_with(after));
        // A single line longer than all is not cut.
        documents.open(
            "a",
            Language::Python,
            1,
            &format!("{}\n", "x".repeat(2 * MAX_SIDE_BYTES)).as_str().into(),
        );
        notebooks.opened(Notebook { uri: "n".to_owned(), cells: named(&["a", "c", "a"]) });
        let (open, cursor) = notebooks.joined(&documents, "c", documents.current("c").unwrap(), 0);
        assert_eq!((open.document.text().as_str(), cursor), ("x = 1\n", 0));
    }
}
