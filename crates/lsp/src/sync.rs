//! Documents as the client has them: what is opened, changed and closed, cells of notebooks included.

use std::sync::Arc;

use lacuna_context::Language;
use lacuna_serving::left_alone::percent_decoded;
use serde::Deserialize;
use serde_json::Value;
use tower_lsp::ls_types::MessageType;

use super::about::About;
use super::document::{ChangeError, OpenDocument};
use super::memory;
use super::notebooks::{self, CellsChange, ChangedNotebook, ClosedNotebook, OpenedNotebook};
use super::server::Server;
use super::uris::file_path;
use super::view::Edited;
use super::wire::{self, Changed, Closed, Opened};

impl Server {
    /// A message that could not be read. It may have been a change of a document.
    pub async fn unreadable(&self, message: Value) {
        let body = message.as_str().unwrap_or_default();
        let lost = self.documents().lose_named_in(body);
        for uri in lost {
            self.tell_out_of_step(&uri, "a change could not be read").await;
        }
    }

    /// `textDocument/didOpen`.
    pub async fn opened(&self, params: Value) {
        let Opened { text_document: document } = match read("textDocument/didOpen", &params) {
            Ok(params) => params,
            Err(message) => return self.client.log_message(MessageType::WARNING, message).await,
        };
        let uri = document.identifier.uri;
        let language = match Language::from_lsp_id(&document.language_id) {
            Language::Text => Language::from_path(std::path::Path::new(&percent_decoded(&uri))),
            language => language,
        };
        let version = document.identifier.version.unwrap_or(0);
        let Some(session) = self.session.get() else { return };
        let mut documents = self.documents();
        let path = session.shown_path(&uri, documents.notebooks.of(&uri));
        let open = documents.open(&uri, language, version, &document.text.0);
        open.about = Arc::new(About {
            key: format!("{}:{uri}", self.number),
            ..About::new(&uri, &path, &document.language_id)
        });
        self.look_at(open);
        // What is ignored, because it may hold secrets, is not recorded either.
        if let Some(recorder) = &self.recorder
            && self.status.quiet(&open.about).is_none()
            && !open.about.stays_home
        {
            open.recording = Some(recorder.begin(&uri, &open.view));
        }
        if let Some(observer) = session.observer() {
            observer.opened(&uri, language);
        }
    }

    /// `textDocument/didChange`.
    pub async fn changed(&self, params: Value) {
        // Everything up to the first await is done in the order in which messages came.
        let document = match read::<Changed>("textDocument/didChange", &params) {
            Ok(params) => params,
            Err(message) => {
                let lost = self.documents().lose_named_in(&params.to_string());
                for uri in lost {
                    self.tell_out_of_step(&uri, &message).await;
                }
                return;
            }
        };
        let uri = document.text_document.uri;
        let changes = match wire::changes(&document.content_changes) {
            Ok(changes) => changes,
            Err(error) => {
                let was_known = self.documents().get_mut(&uri).is_some_and(OpenDocument::lose);
                if was_known {
                    self.tell_out_of_step(&uri, &format!("a change could not be read: {error}"))
                        .await;
                }
                return;
            }
        };
        let version = document.text_document.version;
        let changed = self.documents().change(&uri, version, &changes, self.encoding());
        match changed {
            Ok(edited) => self.edited(&edited),
            Err(ChangeError::OutOfStep) => {}
            Err(ChangeError::Stale { has, got }) => {
                let cause =
                    format!("a change to version {got} came when version {has} was there already");
                self.tell_out_of_step(&uri, &cause).await;
            }
            Err(ChangeError::NotOpen) => {
                let message = format!("lacuna: change of {uri}, which is not open, ignored");
                self.client.log_message(MessageType::WARNING, message).await;
            }
        }
    }

    /// Tells whoever prepares or records something.
    fn edited(&self, edited: &Edited) {
        let Some(session) = self.session.get() else { return };
        let About { uri, .. } = &*edited.about;
        if let Some(observer) = session.observer() {
            observer.changed(uri, &edited.edits);
        }
        // While nothing is asked for, nothing is prepared.
        if self.status.quiet(&edited.about).is_none() && !self.status.is_snoozed() {
            let completer = self.completer(session, uri);
            let mut snapshot = edited.snapshot();
            snapshot.excerpts = self.excerpts(&completer, uri, snapshot.cursor);
            let (view, cursor) = self.documents().joined(uri, edited.view.clone(), snapshot.cursor);
            (snapshot.document, snapshot.tree, snapshot.cursor) =
                (view.document, view.tree, cursor);
            completer.edited(snapshot);
        }
    }

    /// `notebookDocument/didOpen`: its cells are documents like others.
    pub async fn notebook_opened(&self, params: Value) {
        match read::<OpenedNotebook>("notebookDocument/didOpen", &params) {
            Ok(OpenedNotebook { notebook_document, cell_text_documents }) => {
                self.documents().notebooks.opened(notebook_document);
                for cell in cell_text_documents {
                    self.opened(notebooks::opening(cell)).await;
                }
            }
            Err(message) => self.client.log_message(MessageType::WARNING, message).await,
        }
    }

    /// `notebookDocument/didChange`: which cells there are, and what stands in them.
    pub async fn notebook_changed(&self, params: Value) {
        let ChangedNotebook { notebook_document, change } =
            match read("notebookDocument/didChange", &params) {
                Ok(params) => params,
                Err(message) => {
                    let uri = params["notebookDocument"]["uri"].as_str().unwrap_or_default();
                    let lost = self.documents().lose_cells(uri, &params.to_string());
                    for uri in lost {
                        self.tell_out_of_step(&uri, &message).await;
                    }
                    return;
                }
            };
        let CellsChange { structure, text_content } = change.cells;
        if let Some(structure) = structure {
            self.documents().notebooks.changed(&notebook_document.uri, structure.array);
            for cell in structure.did_open {
                self.opened(notebooks::opening(cell)).await;
            }
            for cell in structure.did_close {
                self.closed(notebooks::closing(&cell)).await;
            }
        }
        for content in text_content {
            self.changed(notebooks::changing(content)).await;
        }
    }

    /// `notebookDocument/didClose`.
    pub async fn notebook_closed(&self, params: Value) {
        match read::<ClosedNotebook>("notebookDocument/didClose", &params) {
            Ok(ClosedNotebook { notebook_document, cell_text_documents }) => {
                self.documents().notebooks.closed(&notebook_document.uri);
                for cell in cell_text_documents {
                    self.closed(notebooks::closing(&cell)).await;
                }
            }
            Err(message) => self.client.log_message(MessageType::WARNING, message).await,
        }
    }

    /// `textDocument/didClose`.
    pub async fn closed(&self, params: Value) {
        let uri = match read::<Closed>("textDocument/didClose", &params) {
            Ok(params) => params.text_document.uri,
            Err(message) => return self.client.log_message(MessageType::WARNING, message).await,
        };
        let closed = self.documents().close(&uri);
        let (Some(session), Some(document)) = (self.session.get(), closed) else { return };
        if let Some(observer) = session.observer() {
            observer.closed(&uri, file_path(&uri).as_deref());
        }
        session.forget(&document.about.key);
        memory::closed(document.view.document.len_bytes());
    }
}

/// Parameters of a notification; else what is wrong with them, for the user.
fn read<'a, P: Deserialize<'a>>(method: &str, params: &'a Value) -> Result<P, String> {
    P::deserialize(params).map_err(|e| {
        let message = format!("lacuna: {method} ignored: {e}");
        tracing::warn!(message);
        message
    })
}
