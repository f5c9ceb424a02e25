//! The text of a document changes: what follows is prepared at once.

use serde_json::Value;
use tower_lsp::ls_types::MessageType;

use super::read::read;
use crate::about::About;
use crate::document::{ChangeError, OpenDocument};
use crate::server::Server;
use crate::view::Edited;
use crate::wire::{self, Changed};

/// `textDocument/didChange`.
pub async fn handle(server: &Server, params: Value) {
    // Everything up to the first await is done in the order in which messages came.
    let document = match read::<Changed>("textDocument/didChange", &params) {
        Ok(params) => params,
        Err(message) => {
            let lost = server.documents().lose_named_in(&params.to_string());
            return server.tell_out_of_step(lost, &message).await;
        }
    };
    let uri = document.text_document.uri;
    let changes = match wire::changes(&document.content_changes) {
        Ok(changes) => changes,
        Err(error) => {
            let was_known = server.documents().get_mut(&uri).is_some_and(OpenDocument::lose);
            let cause = format!("a change could not be read: {error}");
            return server
                .tell_out_of_step(was_known.then_some(uri).into_iter().collect(), &cause)
                .await;
        }
    };
    let version = document.text_document.version;
    let changed = server.documents().change(&uri, version, &changes, server.encoding());
    match changed {
        Ok(edited) => prepare(server, &edited),
        Err(ChangeError::OutOfStep) => {}
        Err(ChangeError::Stale { has, got }) => {
            let cause =
                format!("a change to version {got} came when version {has} was there already");
            server.tell_out_of_step(vec![uri], &cause).await;
        }
        Err(ChangeError::NotOpen) => {
            let message = format!("lacuna: change of {uri}, which is not open, ignored");
            server.client.log_message(MessageType::WARNING, message).await;
        }
    }
}

/// Tells whoever prepares or records something.
fn prepare(server: &Server, edited: &Edited) {
    let Some(session) = server.session.get() else { return };
    let About { uri, .. } = &*edited.about;
    if let Some(observer) = session.observer() {
        observer.changed(uri, &edited.edits);
    }
    // While nothing is asked for, nothing is prepared.
    if server.status.quiet(&edited.about).is_none() && !server.status.is_snoozed() {
        let completer = server.completer(session, uri);
        let mut snapshot = edited.snapshot();
        snapshot.excerpts = server.excerpts(&completer, uri, snapshot.cursor);
        let (view, cursor) = server.documents().joined(uri, edited.view.clone(), snapshot.cursor);
        (snapshot.document, snapshot.tree, snapshot.cursor) = (view.document, view.tree, cursor);
        completer.edited(snapshot);
    }
}

/// A message that could not be read. It may have been a change of a document.
pub async fn unreadable(server: &Server, message: Value) {
    let body = message.as_str().unwrap_or_default();
    let lost = server.documents().lose_named_in(body);
    server.tell_out_of_step(lost, "a change could not be read").await;
}
