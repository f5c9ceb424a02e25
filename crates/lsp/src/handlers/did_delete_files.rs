//! Files are deleted, whatever becomes of their documents.

use tower_lsp::ls_types::DeleteFilesParams;

use crate::server::Server;

/// `workspace/didDeleteFiles`. What was accepted in a file that is deleted was not kept.
pub fn handle(server: &Server, params: &DeleteFilesParams) {
    let Some(observer) = server.observer() else { return };
    let documents = server.documents();
    let gone = params.files.iter().flat_map(|file| documents.at_or_below(&file.uri));
    gone.for_each(|uri| observer.deleted(&uri));
}
