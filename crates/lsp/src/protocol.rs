//! LSP's own messages but those of documents: what `initialize` decides and offers.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, RwLock};

use lacuna_text::Encoding;
use serde_json::Value;
use tower_lsp::LanguageServer;
use tower_lsp::jsonrpc::{ErrorCode, Result};
use tower_lsp::ls_types::{
    DeleteFilesParams, DidChangeConfigurationParams, DidSaveTextDocumentParams,
    ExecuteCommandOptions, ExecuteCommandParams, FileOperationFilter, FileOperationPattern,
    FileOperationRegistrationOptions, InitializeParams, InitializeResult, InitializedParams,
    InlineCompletionOptions, LSPAny, MessageType, Notebook, NotebookDocumentSyncOptions,
    NotebookSelector, OneOf, PositionEncodingKind, ServerCapabilities, ServerInfo,
    TextDocumentSyncCapability, TextDocumentSyncKind, Uri,
    WorkspaceFileOperationsServerCapabilities, WorkspaceServerCapabilities,
};

use super::commands::commands;
use super::configuration::notices_of;
use super::dialects::dialect_of;
use super::server::{Server, Session, error};
use super::settings::Settings;
use super::telemetry::Observer;
use super::uris::file_path;

impl LanguageServer for Server {
    async fn initialize(&self, params: InitializeParams) -> Result<InitializeResult> {
        let notify =
            params.capabilities.experimental.as_ref().is_some_and(|e| e["lacunaStatus"] == true);
        let offered =
            params.capabilities.general.and_then(|g| g.position_encodings).unwrap_or_default();
        // utf-8 costs no conversion; utf-16 is what a client that offers nothing means.
        let (encoding, kind) = if offered.contains(&PositionEncodingKind::UTF8) {
            (Encoding::Utf8, PositionEncodingKind::UTF8)
        } else if offered.contains(&PositionEncodingKind::UTF32)
            && !offered.contains(&PositionEncodingKind::UTF16)
        {
            (Encoding::Utf32, PositionEncodingKind::UTF32)
        } else {
            (Encoding::Utf16, PositionEncodingKind::UTF16)
        };
        let roots: Vec<Uri> =
            params.workspace_folders.into_iter().flatten().map(|folder| folder.uri).collect();
        let root = roots.first().and_then(|uri| uri.to_file_path().map(|p| p.into_owned()));
        let dialect = dialect_of(params.initialization_options.as_ref());
        // Other servers' options (`editorInfo` …) come this way too; ours lie under `lacuna` or at
        // the top.
        let editor = params.initialization_options.map(|o| o.get("lacuna").cloned().unwrap_or(o));
        let mut settings = Settings::new(root, self.model_flag.clone(), editor);
        let resolved =
            settings.resolve().map_err(|e| error(ErrorCode::InternalError, format!("{e:#}")))?;
        let completer = self
            .loaded
            .serving(&resolved.config)
            .map_err(|e| error(ErrorCode::InternalError, format!("{e:#}")))?;
        resolved.warn();
        let observer = Observer::start(&resolved.config, &self.loaded);
        settings.take(Value::Null, &resolved, observer.is_some());
        let session = self.session.get_or_init(|| Session {
            dialect,
            encoding,
            is_recorded: AtomicBool::new(observer.is_some()),
            observer,
            completer: RwLock::new(completer),
            settings: Mutex::new(settings),
            roots: roots.iter().map(|uri| uri.as_str().to_owned()).collect(),
            has_configuration: params
                .capabilities
                .workspace
                .and_then(|workspace| workspace.configuration)
                == Some(true),
        });
        self.status.configure(&resolved.config, session.folders(), notify);
        self.status.set_notices(notices_of(&resolved));
        Ok(InitializeResult {
            capabilities: ServerCapabilities {
                position_encoding: Some(kind),
                text_document_sync: Some(TextDocumentSyncCapability::Kind(
                    TextDocumentSyncKind::INCREMENTAL,
                )),
                inline_completion_provider: Some(OneOf::Right(InlineCompletionOptions::default())),
                execute_command_provider: Some(ExecuteCommandOptions {
                    commands: commands(),
                    ..ExecuteCommandOptions::default()
                }),
                workspace: Some(WorkspaceServerCapabilities {
                    workspace_folders: None,
                    file_operations: Some(WorkspaceFileOperationsServerCapabilities {
                        did_delete: Some(FileOperationRegistrationOptions {
                            filters: vec![any_file()],
                        }),
                        ..WorkspaceFileOperationsServerCapabilities::default()
                    }),
                }),
                experimental: Some(serde_json::json!({"lacunaStatus": true})),
                notebook_document_sync: params
                    .capabilities
                    .notebook_document
                    .map(|_| OneOf::Left(every_notebook())),
                ..ServerCapabilities::default()
            },
            server_info: Some(ServerInfo {
                name: "lacuna".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
            ..InitializeResult::default()
        })
    }

    async fn initialized(&self, _: InitializedParams) {
        if let Some(session) = self.session.get() {
            session.dialect.greet(&self.client).await;
        }
        for notice in self.status.notices() {
            self.client.log_message(MessageType::WARNING, format!("lacuna: {notice}")).await;
        }
    }

    async fn shutdown(&self) -> Result<()> {
        if let Some(observer) = self.observer() {
            observer.finish();
        }
        Ok(())
    }

    /// What was accepted in a file that is deleted was not kept.
    async fn did_delete_files(&self, params: DeleteFilesParams) {
        let Some(observer) = self.observer() else { return };
        let documents = self.documents();
        let gone = params.files.iter().flat_map(|file| documents.at_or_below(&file.uri));
        gone.for_each(|uri| observer.deleted(&uri));
    }

    /// Not asked for, but some clients send it to everybody. What is saved may be a file that says
    /// what to leave alone.
    async fn did_save(&self, params: DidSaveTextDocumentParams) {
        let name = params.text_document.uri.as_str().rsplit('/').next().unwrap_or("");
        let Some(session) = self.session.get() else { return };
        if [".gitignore", ".ignore", ".lacunaignore"].contains(&name) {
            self.documents().iter_mut().for_each(|document| self.look_at(document));
        }
        if name == "lacuna.toml"
            || lacuna_config::user_file()
                .is_some_and(|own| file_path(params.text_document.uri.as_str()) == Some(own))
        {
            self.reconfigure(session, None).await;
        }
    }

    /// Editors send this unasked, often with nothing of ours: then those that answer are asked.
    async fn did_change_configuration(&self, params: DidChangeConfigurationParams) {
        self.take_settings(&params.settings).await;
    }

    async fn execute_command(&self, params: ExecuteCommandParams) -> Result<Option<LSPAny>> {
        self.execute(&params).await
    }
}

/// All cells of all notebooks, in one piece with their order.
fn every_notebook() -> NotebookDocumentSyncOptions {
    let every =
        NotebookSelector::ByNotebook { notebook: Notebook::String("*".to_owned()), cells: None };
    NotebookDocumentSyncOptions { notebook_selector: vec![every], save: None }
}

/// For capabilities that name files.
fn any_file() -> FileOperationFilter {
    let pattern =
        FileOperationPattern { glob: "**/*".to_owned(), ..FileOperationPattern::default() };
    FileOperationFilter { scheme: Some("file".to_owned()), pattern }
}
