//! A document is closed: whoever knows of it forgets it.

use serde_json::Value;

use super::read::read_or_tell;
use crate::memory;
use crate::server::Server;
use crate::uris::file_path;
use crate::wire::Closed;

/// `textDocument/didClose`.
pub async fn handle(server: &Server, params: Value) {
    let Some(params) = read_or_tell::<Closed>(server, "textDocument/didClose", &params).await
    else {
        return;
    };
    let uri = params.text_document.uri;
    let closed = server.documents().close(&uri);
    let (Some(session), Some(document)) = (server.session.get(), closed) else { return };
    if let Some(observer) = session.observer() {
        observer.closed(&uri, file_path(&uri).as_deref());
    }
    session.forget(&document.about.key);
    memory::closed(document.view.document.len_bytes());
}
