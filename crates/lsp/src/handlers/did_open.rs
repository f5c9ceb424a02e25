//! A document is opened.

use std::path::Path;
use std::sync::Arc;

use lacuna_context::Language;
use lacuna_serving::left_alone::percent_decoded;
use serde_json::Value;

use super::read::read_or_tell;
use crate::about::About;
use crate::server::Server;
use crate::wire::Opened;

/// `textDocument/didOpen`.
pub async fn handle(server: &Server, params: Value) {
    let Some(params) = read_or_tell::<Opened>(server, "textDocument/didOpen", &params).await else {
        return;
    };
    let document = params.text_document;
    let uri = document.identifier.uri;
    let language = match Language::from_lsp_id(&document.language_id) {
        Language::Text => Language::from_path(Path::new(&percent_decoded(&uri))),
        language => language,
    };
    let version = document.identifier.version.unwrap_or(0);
    let Some(session) = server.session.get() else { return };
    let mut documents = server.documents();
    let path = session.shown_path(&uri, documents.notebooks.of(&uri));
    let open = documents.open(&uri, language, version, &document.text.0);
    open.about = Arc::new(About {
        key: format!("{}:{uri}", server.number),
        ..About::new(&uri, &path, &document.language_id)
    });
    server.look_at(open);
    // What is ignored, because it may hold secrets, is not recorded either.
    if let Some(recorder) = &server.recorder
        && server.status.quiet(&open.about).is_none()
        && !open.about.stays_home
    {
        open.recording = Some(recorder.begin(&uri, &open.view));
    }
    if let Some(observer) = session.observer() {
        observer.opened(&uri, language);
    }
}
