//! Messages of clients, a file each: which there are and who answers them.
//!
//! Those that other completion servers have besides are in [`super::dialects`]; what several of
//! them do is on [`Server`].

mod configuration;
mod did_change;
mod did_close;
mod did_delete_files;
mod did_open;
mod did_save;
mod execute_command;
mod initialize;
pub mod inline_completion;
pub mod item_events;
mod notebook;
mod read;
mod status;

use tower_lsp::jsonrpc::Result;
use tower_lsp::ls_types::{
    DeleteFilesParams, DidChangeConfigurationParams, DidSaveTextDocumentParams,
    ExecuteCommandParams, InitializeParams, InitializeResult, InitializedParams, LSPAny,
};
use tower_lsp::{LanguageServer, LspServiceBuilder};

use super::server::Server;

/// Methods that tower-lsp would read strictly, and drop without a word where it cannot: they go to
/// handlers of ours under these names.
const OPENED: &str = "lacuna/opened";
const CHANGED: &str = "lacuna/changed";
const CLOSED: &str = "lacuna/closed";
const NOTEBOOK_OPENED: &str = "lacuna/notebookOpened";
const NOTEBOOK_CHANGED: &str = "lacuna/notebookChanged";
const NOTEBOOK_CLOSED: &str = "lacuna/notebookClosed";
/// A message that is no JSON, where it may have been a change of a document.
pub const UNREADABLE: &str = "lacuna/unreadable";
pub const READ_BY_US: [(&str, &str); 6] = [
    ("textDocument/didOpen", OPENED),
    ("textDocument/didChange", CHANGED),
    ("textDocument/didClose", CLOSED),
    ("notebookDocument/didOpen", NOTEBOOK_OPENED),
    ("notebookDocument/didChange", NOTEBOOK_CHANGED),
    ("notebookDocument/didClose", NOTEBOOK_CLOSED),
];

/// Adds the methods that the protocol's own list does not have, or reads too strictly.
pub fn register(builder: LspServiceBuilder<Server>) -> LspServiceBuilder<Server> {
    builder
        .custom_method("textDocument/inlineCompletion", inline_completion::handle)
        .custom_method("lacuna/status", status::handle)
        .custom_method("lacuna/didDismissCompletion", item_events::did_dismiss)
        .custom_method(OPENED, did_open::handle)
        .custom_method(CHANGED, did_change::handle)
        .custom_method(CLOSED, did_close::handle)
        .custom_method(UNREADABLE, did_change::unreadable)
        .custom_method(NOTEBOOK_OPENED, notebook::did_open)
        .custom_method(NOTEBOOK_CHANGED, notebook::did_change)
        .custom_method(NOTEBOOK_CLOSED, notebook::did_close)
}

impl LanguageServer for Server {
    async fn initialize(&self, params: InitializeParams) -> Result<InitializeResult> {
        initialize::handle(self, params).await
    }

    async fn initialized(&self, _: InitializedParams) {
        initialize::initialized(self).await;
    }

    async fn shutdown(&self) -> Result<()> {
        if let Some(observer) = self.observer() {
            observer.finish();
        }
        Ok(())
    }

    async fn did_save(&self, params: DidSaveTextDocumentParams) {
        did_save::handle(self, &params).await;
    }

    async fn did_delete_files(&self, params: DeleteFilesParams) {
        did_delete_files::handle(self, &params);
    }

    /// Editors send this unasked, often with nothing of ours: then those that answer are asked.
    async fn did_change_configuration(&self, params: DidChangeConfigurationParams) {
        configuration::handle(self, &params.settings).await;
    }

    async fn execute_command(&self, params: ExecuteCommandParams) -> Result<Option<LSPAny>> {
        execute_command::handle(self, &params).await
    }
}
