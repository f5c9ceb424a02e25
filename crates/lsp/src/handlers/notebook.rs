//! Notebooks are opened, changed and closed: their cells are documents like others.

use serde_json::Value;

use super::read::{read, read_or_tell};
use super::{did_change, did_close, did_open};
use crate::notebooks::{self, CellsChange, ChangedNotebook, ClosedNotebook, OpenedNotebook};
use crate::server::Server;

/// `notebookDocument/didOpen`: its cells are documents like others.
pub async fn did_open(server: &Server, params: Value) {
    let read = read_or_tell::<OpenedNotebook>(server, "notebookDocument/didOpen", &params).await;
    let Some(OpenedNotebook { notebook_document, cell_text_documents }) = read else { return };
    server.documents().notebooks.opened(notebook_document);
    for cell in cell_text_documents {
        did_open::handle(server, notebooks::opening(cell)).await;
    }
}

/// `notebookDocument/didChange`: which cells there are, and what stands in them.
pub async fn did_change(server: &Server, params: Value) {
    let ChangedNotebook { notebook_document, change } =
        match read("notebookDocument/didChange", &params) {
            Ok(params) => params,
            Err(message) => {
                let uri = params["notebookDocument"]["uri"].as_str().unwrap_or_default();
                let lost = server.documents().lose_cells(uri, &params.to_string());
                return server.tell_out_of_step(lost, &message).await;
            }
        };
    let CellsChange { structure, text_content } = change.cells;
    if let Some(structure) = structure {
        server.documents().notebooks.changed(&notebook_document.uri, structure.array);
        for cell in structure.did_open {
            did_open::handle(server, notebooks::opening(cell)).await;
        }
        for cell in structure.did_close {
            did_close::handle(server, notebooks::closing(&cell)).await;
        }
    }
    for content in text_content {
        did_change::handle(server, notebooks::changing(content)).await;
    }
}

/// `notebookDocument/didClose`.
pub async fn did_close(server: &Server, params: Value) {
    let read = read_or_tell::<ClosedNotebook>(server, "notebookDocument/didClose", &params).await;
    let Some(ClosedNotebook { notebook_document, cell_text_documents }) = read else { return };
    server.documents().notebooks.closed(&notebook_document.uri);
    for cell in cell_text_documents {
        did_close::handle(server, notebooks::closing(&cell)).await;
    }
}
