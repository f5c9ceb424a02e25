//! The language server's state and its documents: what is opened, changed and closed, and what
//! `initialize` decides.
//!
//! Requests for completions are answered in [`super::answer`], commands in [`super::commands`];
//! settings that change come in by [`super::configuration`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use lacuna_complete::Completer;
use lacuna_context::Language;
use lacuna_serving::left_alone::percent_decoded;
use lacuna_serving::models::Loaded;
use lacuna_text::Encoding;
use serde::Deserialize;
use serde_json::Value;
use tower_lsp::jsonrpc::{Error, ErrorCode, Result};
use tower_lsp::ls_types::{
    DeleteFilesParams, DidChangeConfigurationParams, DidSaveTextDocumentParams,
    ExecuteCommandOptions, ExecuteCommandParams, FileOperationFilter, FileOperationPattern,
    FileOperationRegistrationOptions, InitializeParams, InitializeResult, InitializedParams,
    InlineCompletionOptions, LSPAny, MessageType, Notebook, NotebookDocumentSyncOptions,
    NotebookSelector, OneOf, PositionEncodingKind, ServerCapabilities, ServerInfo,
    TextDocumentSyncCapability, TextDocumentSyncKind, Uri,
    WorkspaceFileOperationsServerCapabilities, WorkspaceServerCapabilities,
};
use tower_lsp::{Client, LanguageServer};

use super::commands::COMMANDS;
use super::configuration::notices_of;
use super::dialects::{CopilotStatus, is_copilot_client, is_tabby_client};
use super::documents::{ChangeError, Documents, Open};
use super::manners::Manners;
use super::neighbours::Neighbours;
use super::notebooks::{
    self, CellsChange, ChangedNotebook, ClosedNotebook, Notebooks, OpenedNotebook,
};
use super::reasons::Quiet;
use super::record::Recorder;
use super::settings::Settings;
use super::status::{Report, Status, StatusNotification, StatusParams};
use super::telemetry::Observer;
use super::uris::file_path;
use super::wire::{self, Changed, Closed, Opened};
use super::{Connection, memory};

/// One client's server. Models are shared between clients, documents are not.
pub struct Server {
    pub(super) client: Client,
    pub(super) loaded: Arc<Loaded>,
    model_flag: Option<String>,
    pub(super) documents: Documents,
    pub(super) neighbours: Neighbours,
    pub(super) notebooks: Notebooks,
    pub(super) session: OnceLock<Session>,
    pub(super) next_id: AtomicU64,
    pub(super) status: Status,
    pub(super) manners: Manners,
    /// Tells this client from others in the engine they share.
    pub(super) number: u64,
    pub(super) recorder: Option<Arc<Recorder>>,
}

/// Whose client it is, as far as that changes what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Lsp,
    Copilot,
    Tabby,
}

impl Family {
    fn of(options: Option<&LSPAny>) -> Family {
        if is_tabby_client(options) {
            Family::Tabby
        } else if is_copilot_client(options) {
            Family::Copilot
        } else {
            Family::Lsp
        }
    }
}

/// What `initialize` decides.
pub(super) struct Session {
    pub(super) family: Family,
    pub(super) encoding: Encoding,
    /// Another one when settings change.
    pub(super) completer: RwLock<Arc<Completer>>,
    pub(super) settings: Mutex<Settings>,
    roots: Vec<String>,
    /// What becomes of suggestions; `None`: not recorded.
    pub(super) observer: Option<Observer>,
    /// The settings say so still.
    pub(super) is_recorded: AtomicBool,
    /// The client answers `workspace/configuration`.
    pub(super) has_configuration: bool,
}

impl Session {
    pub(super) fn completer(&self) -> Arc<Completer> {
        Arc::clone(&self.completer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Folders of the workspace.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.roots.iter().filter_map(|root| file_path(root)).collect()
    }

    pub(super) fn observer(&self) -> Option<&Observer> {
        self.observer.as_ref().filter(|_| self.is_recorded.load(Ordering::Acquire))
    }

    /// Drops the state of a closed document, whichever arm of an experiment it was in.
    fn forget(&self, key: &str) {
        self.completer().forget(key);
        self.observer
            .iter()
            .flat_map(Observer::completers)
            .for_each(|completer| completer.forget(key));
    }
}

impl Server {
    pub fn new(client: Client, connection: Connection) -> Server {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let Connection { loaded, model, recorder } = connection;
        Server {
            client,
            manners: Manners::default(),
            status: Status::new(&loaded.name, loaded.languages.clone()),
            loaded,
            model_flag: model,
            documents: Documents::default(),
            neighbours: Neighbours::default(),
            notebooks: Notebooks::default(),
            session: OnceLock::new(),
            next_id: AtomicU64::new(1),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            recorder,
        }
    }

    /// A document's name in the engine, which clients share.
    pub(super) fn key(&self, uri: &str) -> String {
        format!("{}:{uri}", self.number)
    }

    /// The completer for a document's edits: an experiment may have one of its own.
    fn completer(&self, session: &Session, uri: &str) -> Arc<Completer> {
        match session.observer() {
            Some(observer) => observer.completer(uri, &session.completer(), &self.loaded),
            None => session.completer(),
        }
    }

    /// Why a document is left alone, if it is.
    pub(super) fn quiet(&self, open: &Open, uri: &str, path: &str) -> Option<Quiet> {
        if open.out_of_step { Some(Quiet::OutOfStep) } else { self.status.quiet(uri, path) }
    }

    /// Tells the user, and whoever asks why, that the text of a document is not known any more.
    async fn tell_out_of_step(&self, uri: &str, cause: &str) {
        self.status.note_quiet(uri, Quiet::OutOfStep);
        let message = format!("lacuna: {uri} is not completed until it is opened again: {cause}");
        tracing::warn!(message);
        self.client.log_message(MessageType::WARNING, message).await;
        self.tell_status(uri).await;
    }

    /// A message that could not be read. It may have been a change of a document.
    pub async fn unreadable(&self, message: Value) {
        let body = message.as_str().unwrap_or_default();
        for uri in self.documents.lose_named_in(body) {
            self.tell_out_of_step(&uri, "a change could not be read").await;
        }
    }

    pub(super) fn observer(&self) -> Option<&Observer> {
        self.session.get()?.observer()
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.session.get().map_or(Encoding::Utf16, |s| s.encoding)
    }

    pub fn model_name(&self) -> &str {
        &self.loaded.name
    }

    /// `lacuna/status`: the last answer and its reason.
    pub async fn status(&self, params: StatusParams) -> Result<Report> {
        Ok(self.status.answer(&params))
    }

    pub(super) async fn tell_status(&self, uri: &str) {
        if self.status.wants_notifications() {
            self.client
                .send_notification::<StatusNotification>(self.status.report(Some(uri)).into_value())
                .await;
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

    /// The path as the model sees it: below a workspace folder where possible, else the file's
    /// name.
    pub(super) fn shown_path(&self, uri: &str, session: &Session) -> String {
        // A cell's own name is the editor's, not a file's.
        let uri = percent_decoded(self.notebooks.of(uri).as_deref().unwrap_or(uri));
        let root = |root: &String| percent_decoded(root.trim_end_matches('/'));
        let relative = session
            .roots
            .iter()
            .find_map(|folder| uri.strip_prefix(&root(folder))?.strip_prefix('/'));
        relative.unwrap_or_else(|| uri.rsplit('/').next().unwrap_or(&uri)).to_owned()
    }
}

/// Parameters of a notification; else what is wrong with them, for the user.
fn read<'a, P: Deserialize<'a>>(method: &str, params: &'a Value) -> std::result::Result<P, String> {
    P::deserialize(params).map_err(|e| {
        let message = format!("lacuna: {method} ignored: {e}");
        tracing::warn!(message);
        message
    })
}

pub(super) fn error(code: ErrorCode, message: String) -> Error {
    Error { code, message: message.into(), data: None }
}

impl Drop for Server {
    /// The client has gone: its documents leave the engine it shared, and what was learned is kept.
    fn drop(&mut self) {
        let Some(session) = self.session.get() else { return };
        for uri in self.documents.close_all() {
            session.forget(&self.key(&uri));
        }
        self.loaded.remember_costs(&session.completer());
    }
}

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
        let family = Family::of(params.initialization_options.as_ref());
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
            family,
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
        self.manners.configure(&resolved.config.show);
        self.status.set_notices(notices_of(&resolved));
        Ok(InitializeResult {
            capabilities: ServerCapabilities {
                position_encoding: Some(kind),
                text_document_sync: Some(TextDocumentSyncCapability::Kind(
                    TextDocumentSyncKind::INCREMENTAL,
                )),
                inline_completion_provider: Some(OneOf::Right(InlineCompletionOptions::default())),
                execute_command_provider: Some(ExecuteCommandOptions {
                    commands: COMMANDS.map(str::to_owned).to_vec(),
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
        if self.session.get().is_some_and(|session| session.family == Family::Copilot) {
            self.client.send_notification::<CopilotStatus>(CopilotStatus::ready()).await;
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
        let gone = params.files.iter().flat_map(|file| self.documents.at_or_below(&file.uri));
        gone.for_each(|uri| observer.deleted(&uri));
    }

    /// Not asked for, but some clients send it to everybody. What is saved may be a file that says
    /// what to leave alone.
    async fn did_save(&self, params: DidSaveTextDocumentParams) {
        let name = params.text_document.uri.as_str().rsplit('/').next().unwrap_or("");
        let Some(session) = self.session.get() else { return };
        if [".gitignore", ".ignore", ".lacunaignore"].contains(&name) {
            for uri in self.documents.uris() {
                self.status.look_at(&uri, &self.shown_path(&uri, session));
            }
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
