//! Notebooks: their cells are documents of their own, and each sees the others as text above and
//! below itself.
//!
//! Owns: which cells belong to which notebook, and in which order. The cells' texts are with the
//! other documents ([`super::documents`]).

use serde::Deserialize;
use serde_json::{Value, json};

use super::view::View;
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
    all: Vec<(String, Vec<String>)>,
}

impl Notebooks {
    pub fn opened(&mut self, notebook: Notebook) {
        let cells = notebook.cells.into_iter().map(|cell| cell.document).collect();
        self.closed(&notebook.uri);
        self.all.push((notebook.uri, cells));
    }

    pub fn closed(&mut self, uri: &str) {
        self.all.retain(|(other, _)| other != uri);
    }

    /// Takes a change of the order over. Numbers beyond the last cell mean the end.
    pub fn changed(&mut self, uri: &str, array: CellArray) {
        let Some((_, cells)) = self.all.iter_mut().find(|(other, _)| other == uri) else { return };
        let start = array.start.min(cells.len());
        let end = start.saturating_add(array.delete_count).min(cells.len());
        cells.splice(start..end, array.cells.into_iter().map(|cell| cell.document));
    }

    /// The documents of a notebook's cells, in order.
    pub fn cells(&self, uri: &str) -> &[String] {
        self.all.iter().find(|(other, _)| other == uri).map_or(&[], |(_, cells)| cells)
    }

    /// The notebook that a document is a cell of.
    pub fn of(&self, cell: &str) -> Option<&str> {
        let has = |cells: &[String]| cells.iter().any(|other| other == cell);
        self.all.iter().find(|(_, cells)| has(cells)).map(|(uri, _)| uri.as_str())
    }

    /// The cells above and below one, in order. `None`: the document is no cell.
    pub fn around(&self, uri: &str) -> Option<(&[String], &[String])> {
        self.all.iter().find_map(|(_, cells)| {
            let at = cells.iter().position(|cell| cell == uri)?;
            Some((&cells[..at], &cells[at + 1..]))
        })
    }

    /// Whether two documents are cells of one notebook.
    pub fn share(&self, uri: &str, other: &str) -> bool {
        self.of(uri).is_some_and(|notebook| self.of(other) == Some(notebook))
    }
}

/// The text of a cell between those of others, and byte `cursor` of the cell in it. `above` and
/// `below`: the nearest first.
pub fn joined(
    view: View,
    cursor: usize,
    above: impl Iterator<Item = String>,
    below: impl Iterator<Item = String>,
) -> (View, usize) {
    let mut before = nearest(above, last_lines);
    before.reverse();
    let (before, after) = (before.concat(), nearest(below, first_lines).concat());
    if before.is_empty() && after.is_empty() {
        return (view, cursor);
    }
    let own = view.document.text();
    let newline = if own.ends_with('\n') || after.is_empty() { "" } else { "\n" };
    let text = format!("{before}{own}{newline}{after}");
    let joined = View::new(view.language, view.document.version(), &text.as_str().into());
    (joined, before.len() + cursor)
}

/// Texts as they come, as far as [`MAX_SIDE_BYTES`] allow; `part` gives what still goes of the
/// first that does not fit.
fn nearest(texts: impl Iterator<Item = String>, part: fn(&str, usize) -> &str) -> Vec<String> {
    let (mut all, mut left) = (Vec::new(), MAX_SIDE_BYTES);
    for mut text in texts {
        if !text.ends_with('\n') {
            text.push('\n');
        }
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
    use crate::documents::Documents;

    /// The text of a cell as its prompts see it, and where its own byte `cursor` is there.
    fn joined(documents: &Documents, uri: &str, cursor: usize) -> (String, usize) {
        let (view, cursor) =
            documents.joined(uri, documents.get(uri).unwrap().view.clone(), cursor);
        (view.document.text(), cursor)
    }

    fn array(start: usize, delete_count: usize, cells: &[&str]) -> CellArray {
        CellArray { start, delete_count, cells: named(cells) }
    }

    fn named(cells: &[&str]) -> Vec<Cell> {
        cells.iter().map(|cell| Cell { document: cell.to_string() }).collect()
    }

    #[test]
    fn a_cell_sees_those_of_its_language_in_their_order() {
        let mut documents = Documents::default();
        for (uri, language, text) in [
            ("a", Language::Python, "import os\n"),
            ("b", Language::Text, "# Notes"),
            ("c", Language::Python, "x = 1"),
            ("d", Language::Python, "print(x)"),
        ] {
            documents.open(uri, language, 1, &text.into());
        }
        documents
            .notebooks
            .opened(Notebook { uri: "n".to_owned(), cells: named(&["a", "b", "c", "d"]) });
        assert_eq!(joined(&documents, "c", 1), ("import os\nx = 1\nprint(x)\n".to_owned(), 11));
        assert_eq!(joined(&documents, "a", 1), ("import os\nx = 1\nprint(x)\n".to_owned(), 1));
        assert_eq!(joined(&documents, "d", 1), ("import os\nx = 1\nprint(x)".to_owned(), 17));
        assert_eq!(joined(&documents, "b", 1), ("# Notes".to_owned(), 1));
        assert_eq!((documents.notebooks.of("c"), documents.notebooks.of("x")), (Some("n"), None));
        assert!(
            documents.notebooks.share("a", "d") && !documents.notebooks.share("a", "elsewhere")
        );
        documents.notebooks.changed("n", array(0, 1, &[]));
        assert_eq!(joined(&documents, "c", 1).0, "x = 1\nprint(x)\n");
        documents.notebooks.changed("n", array(9, 9, &["a"]));
        assert_eq!(joined(&documents, "c", 1).0, "x = 1\nprint(x)\nimport os\n");
        // One whose text is not known is not shown.
        documents.get_mut("d").unwrap().lose();
        assert_eq!(joined(&documents, "c", 1).0, "x = 1\nimport os\n");
        documents.notebooks.closed("n");
        assert_eq!(joined(&documents, "c", 1).0, "x = 1");
    }

    #[test]
    fn of_many_and_large_cells_the_nearest_whole_lines_are_seen() {
        let mut documents = Documents::default();
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
        documents.notebooks.opened(Notebook {
            uri: "n".to_owned(),
            cells: named(&["far", "a", "near", "c", "b", "far"]),
        });
        let (text, cursor) = joined(&documents, "c", 0);
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
        documents
            .notebooks
            .opened(Notebook { uri: "n".to_owned(), cells: named(&["a", "c", "a"]) });
        assert_eq!(joined(&documents, "c", 0), ("x = 1\n".to_owned(), 0));
    }
}
