//! What is agreed with a client at the start.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, RwLock};

use lacuna_text::Encoding;
use serde_json::{Value, json};
use tower_lsp::jsonrpc::{ErrorCode, Result};
use tower_lsp::ls_types::{
    ExecuteCommandOptions, FileOperationFilter, FileOperationPattern,
    FileOperationRegistrationOptions, InitializeParams, InitializeResult, InlineCompletionOptions,
    MessageType, Notebook, NotebookDocumentSyncOptions, NotebookSelector, OneOf,
    PositionEncodingKind, ServerCapabilities, ServerInfo, TextDocumentSyncCapability,
    TextDocumentSyncKind, Uri, WorkspaceFileOperationsServerCapabilities,
    WorkspaceServerCapabilities,
};

use super::configuration::notices_of;
use super::execute_command::commands;
use crate::dialects::dialect_of;
use crate::server::{Server, Session, error};
use crate::settings::Settings;
use crate::telemetry::Observer;

/// `initialize`.
pub async fn handle(server: &Server, params: InitializeParams) -> Result<InitializeResult> {
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
    let mut settings = Settings::new(root, server.model_flag.clone(), editor);
    let resolved =
        settings.resolve().map_err(|e| error(ErrorCode::InternalError, format!("{e:#}")))?;
    let completer = server
        .loaded
        .serving(&resolved.config)
        .map_err(|e| error(ErrorCode::InternalError, format!("{e:#}")))?;
    resolved.warn();
    let observer = Observer::start(&resolved.config, &server.loaded);
    settings.take(Value::Null, &resolved, observer.is_some());
    let session = server.session.get_or_init(|| Session {
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
    server.status.configure(&resolved.config, session.folders(), notify);
    server.status.set_notices(notices_of(&resolved));
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
            experimental: Some(json!({"lacunaStatus": true})),
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

/// `initialized`.
pub async fn initialized(server: &Server) {
    if let Some(session) = server.session.get() {
        session.dialect.greet(&server.client).await;
    }
    for notice in server.status.notices() {
        server.client.log_message(MessageType::WARNING, format!("lacuna: {notice}")).await;
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
