//! A document is saved.

use tower_lsp::ls_types::DidSaveTextDocumentParams;

use super::configuration::reconfigure;
use crate::server::Server;
use crate::uris::file_path;

/// `textDocument/didSave`. Not asked for, but some clients send it to everybody. What is saved may be a file that says
/// what to leave alone.
pub async fn handle(server: &Server, params: &DidSaveTextDocumentParams) {
    let name = params.text_document.uri.as_str().rsplit('/').next().unwrap_or("");
    let Some(session) = server.session.get() else { return };
    if [".gitignore", ".ignore", ".lacunaignore"].contains(&name) {
        server.documents().iter_mut().for_each(|document| server.look_at(document));
    }
    if name == "lacuna.toml"
        || lacuna_config::user_file()
            .is_some_and(|own| file_path(params.text_document.uri.as_str()) == Some(own))
    {
        reconfigure(server, session, None).await;
    }
}
