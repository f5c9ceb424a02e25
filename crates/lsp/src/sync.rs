//! Documents as the client has them: what is opened, changed and closed, cells of notebooks included.

use lacuna_context::Language;
use lacuna_serving::left_alone::percent_decoded;
use serde::Deserialize;
use serde_json::Value;
use tower_lsp::ls_types::MessageType;

use super::documents::ChangeError;
use super::memory;
use super::notebooks::{self, CellsChange, ChangedNotebook, ClosedNotebook, OpenedNotebook};
use super::server::Server;
use super::uris::file_path;
use super::wire::{self, Changed, Closed, Opened};

impl Server {
    /// A message that could not be read. It may have been a change of a document.
    pub async fn unreadable(&self, message: Value) {
        let body = message.as_str().unwrap_or_default();
        for uri in self.documents.lose_named_in(body) {
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
        self.documents.open(
            &uri,
            language,
            document.identifier.version.unwrap_or(0),
            &document.text.0,
        );
        if let Some(open) = self.documents.current(&uri) {
            self.manners.opened(&uri, &open);
        }
        if let Some(observer) = self.observer() {
            observer.opened(&uri, language);
        }
        self.status.opened(&uri, &document.language_id);
        if let Some(session) = self.session.get() {
            self.status.look_at(&uri, &self.shown_path(&uri, session));
        }
        self.neighbours.opened(&uri);
        // What is ignored, because it may hold secrets, is not recorded either.
        if let Some(recorder) = &self.recorder
            && let Some(session) = self.session.get()
            && self.status.quiet(&uri, &self.shown_path(&uri, session)).is_none()
            && !self.status.stays_home(&uri, &self.shown_path(&uri, session))
            && let Some(open) = self.documents.current(&uri)
        {
            recorder.opened(&uri, &open);
        }
    }

    /// `textDocument/didChange`.
    pub async fn changed(&self, params: Value) {
        // Everything up to the first await is done in the order in which messages came.
        let document = match read::<Changed>("textDocument/didChange", &params) {
            Ok(params) => params,
            Err(message) => {
                let lost = self.documents.lose_named_in(&params.to_string());
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
                if self.documents.lose(&uri) {
                    self.tell_out_of_step(&uri, &format!("a change could not be read: {error}"))
                        .await;
                }
                return;
            }
        };
        let edited = match self.documents.change(
            &uri,
            document.text_document.version,
            &changes,
            self.encoding(),
        ) {
            Ok(edited) => edited,
            Err(ChangeError::OutOfStep) => return,
            Err(ChangeError::Stale { has, got }) => {
                let cause =
                    format!("a change to version {got} came when version {has} was there already");
                return self.tell_out_of_step(&uri, &cause).await;
            }
            Err(ChangeError::NotOpen) => {
                let message = format!("lacuna: change of {uri}, which is not open, ignored");
                return self.client.log_message(MessageType::WARNING, message).await;
            }
        };
        self.manners.changed(&uri, &edited);
        if let Some(observer) = self.observer() {
            observer.changed(&uri, &edited.edits);
        }
        if let Some(recorder) = &self.recorder {
            recorder.changed(&uri, &edited);
        }
        if let Some(session) = self.session.get() {
            let path = self.shown_path(&uri, session);
            let mut snapshot = edited.snapshot(&self.key(&uri), &path);
            self.neighbours.changed(&uri, snapshot.cursor);
            // While nothing is asked for, nothing is prepared.
            if self.status.quiet(&uri, &path).is_none() && !self.status.is_snoozed() {
                let completer = self.completer(session, &uri);
                let (open, cursor) = self.notebooks.joined(
                    &self.documents,
                    &uri,
                    edited.open.clone(),
                    snapshot.cursor,
                );
                (snapshot.document, snapshot.tree) = (open.document, open.tree);
                let own_cursor = std::mem::replace(&mut snapshot.cursor, cursor);
                snapshot.excerpts =
                    self.excerpts(session, &completer, &uri, &edited.open, own_cursor);
                completer.edited(snapshot);
            }
        }
    }

    /// `notebookDocument/didOpen`: its cells are documents like others.
    pub async fn notebook_opened(&self, params: Value) {
        match read::<OpenedNotebook>("notebookDocument/didOpen", &params) {
            Ok(OpenedNotebook { notebook_document, cell_text_documents }) => {
                self.notebooks.opened(notebook_document);
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
                    let cells = params["notebookDocument"]["uri"]
                        .as_str()
                        .map(|uri| self.notebooks.cells(uri))
                        .unwrap_or_default();
                    let lost = if cells.is_empty() {
                        self.documents.lose_named_in(&params.to_string())
                    } else {
                        cells.into_iter().filter(|cell| self.documents.lose(cell)).collect()
                    };
                    for uri in lost {
                        self.tell_out_of_step(&uri, &message).await;
                    }
                    return;
                }
            };
        let CellsChange { structure, text_content } = change.cells;
        if let Some(structure) = structure {
            self.notebooks.changed(&notebook_document.uri, structure.array);
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
                self.notebooks.closed(&notebook_document.uri);
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
        self.status.closed(&uri);
        self.manners.closed(&uri);
        self.neighbours.closed(&uri);
        if let Some(recorder) = &self.recorder {
            recorder.closed(&uri);
        }
        if let Some(observer) = self.observer() {
            observer.closed(&uri, file_path(&uri).as_deref());
        }
        memory::closed(self.documents.current(&uri).map_or(0, |open| open.document.len_bytes()));
        if self.documents.close(&uri)
            && let Some(session) = self.session.get()
        {
            session.forget(&self.key(&uri));
        }
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
