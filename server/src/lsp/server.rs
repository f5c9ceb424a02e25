//! What the language server answers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use lacuna_complete::{Caller, Completer, Outcome, Reason};
use lacuna_context::{Excerpt, Language};
use lacuna_prompt::excerpts::other_files_bytes;
use lacuna_text::Encoding;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower_lsp::jsonrpc::{Error, ErrorCode, Result};
use tower_lsp::ls_types::{
    ConfigurationItem, DeleteFilesParams, DidChangeConfigurationParams, DidSaveTextDocumentParams, ExecuteCommandOptions,
    ExecuteCommandParams, FileOperationFilter, FileOperationPattern, FileOperationRegistrationOptions, InitializeParams, InitializeResult,
    InitializedParams, InlineCompletionOptions, LSPAny, MessageType, Notebook, NotebookDocumentSyncOptions, NotebookSelector, OneOf,
    PositionEncodingKind, ServerCapabilities, ServerInfo, TextDocumentSyncCapability, TextDocumentSyncKind, Uri,
    WorkspaceFileOperationsServerCapabilities, WorkspaceServerCapabilities,
};
use tower_lsp::{Client, LanguageServer};

use super::dialects::{COPILOT_ACCEPTED, CopilotStatus, Event, is_copilot_client, is_tabby_client};
use super::documents::{ChangeError, Documents, Open, Ticket};
use super::inline::{ACCEPTED, Params, Place, WireItem, site};
use super::neighbours::Neighbours;
use super::notebooks::{self, CellsChange, ChangedNotebook, ClosedNotebook, Notebooks, OpenedNotebook};
use super::reasons::{Quiet, quiet_advice};
use super::record::Recorder;
use super::secrets::{has_secret, keep_secrets};
use super::settings::{Settings, ours};
use super::status::{EventParams, PAUSE, RESUME, Report, STATUS, Status, StatusNotification, StatusParams};
use super::telemetry::{Answered as Observation, Observer};
use super::uris::file_path;
use super::wire::{self, Changed, Closed, Opened};
use super::{Connection, memory};
use crate::config;
use crate::left_alone::percent_decoded;
use crate::models::Loaded;
use crate::raise::RaiseOnDrop;

/// One client's server. Models are shared between clients, documents are not.
pub struct Server {
    client: Client,
    loaded: Arc<Loaded>,
    model_flag: Option<String>,
    documents: Documents,
    neighbours: Neighbours,
    notebooks: Notebooks,
    session: OnceLock<Session>,
    next_id: AtomicU64,
    status: Status,
    /// Tells this client from others in the engine they share.
    number: u64,
    recorder: Option<Arc<Recorder>>,
}

/// Whose client it is, as far as that changes what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
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
struct Session {
    family: Family,
    encoding: Encoding,
    /// Another one when settings change.
    completer: RwLock<Arc<Completer>>,
    settings: Mutex<Settings>,
    roots: Vec<String>,
    /// What becomes of suggestions; `None`: not recorded.
    observer: Option<Observer>,
    /// The settings say so still.
    is_recorded: AtomicBool,
    /// The client answers `workspace/configuration`.
    has_configuration: bool,
}

/// Longest wait for a client's settings.
const ANSWER: Duration = Duration::from_secs(10);

/// What `workspace/executeCommand` takes.
const COMMANDS: [&str; 5] = [ACCEPTED, COPILOT_ACCEPTED, PAUSE, RESUME, STATUS];

impl Session {
    fn completer(&self) -> Arc<Completer> {
        Arc::clone(&self.completer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Folders of the workspace.
    fn folders(&self) -> Vec<PathBuf> {
        self.roots.iter().filter_map(|root| file_path(root)).collect()
    }

    fn observer(&self) -> Option<&Observer> {
        self.observer.as_ref().filter(|_| self.is_recorded.load(Ordering::Acquire))
    }

    /// Drops the state of a closed document, whichever arm of an experiment it was in.
    fn forget(&self, key: &str) {
        self.completer().forget(key);
        self.observer.iter().flat_map(Observer::completers).for_each(|completer| completer.forget(key));
    }
}

/// A superseded or cancelled request; clients keep what they show.
const REQUEST_CANCELLED: i64 = -32800;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemList {
    /// Of tabby's protocol, not of LSP's: its clients alone get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_incomplete: Option<bool>,
    items: Vec<WireItem>,
}

/// Suggestions for one place, whatever the dialect of the client.
pub struct Answered {
    pub place: Place,
    /// Text right of the cursor, best first; empty for a silence.
    pub texts: Vec<String>,
    /// One for each text: what clients call it when they tell what became of it.
    pub ids: Vec<String>,
}

impl Server {
    pub fn new(client: Client, connection: Connection) -> Server {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let Connection { loaded, model, recorder } = connection;
        Server {
            client,
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
    fn key(&self, uri: &str) -> String {
        format!("{}:{uri}", self.number)
    }

    /// The completer for a document's edits: an experiment may have one of its own.
    fn completer(&self, session: &Session, uri: &str) -> Arc<Completer> {
        match session.observer() {
            Some(observer) => observer.completer(uri, &session.completer(), &self.loaded),
            None => session.completer(),
        }
    }

    /// What prompts for this place show of other open documents, where that is wanted.
    fn excerpts(&self, session: &Session, completer: &Completer, uri: &str, open: &Open, cursor: usize) -> Arc<[Excerpt]> {
        let settings = completer.settings();
        if !settings.other_files {
            return Arc::default();
        }
        let path = self.shown_path(uri, session);
        self.neighbours.excerpts(uri, &path, open, cursor, other_files_bytes(settings.prompt_tokens), |other| {
            let path = self.shown_path(other, session);
            // What is ignored, because it may hold secrets, is not shown elsewhere either, nor what git does not keep.
            // Cells of the same notebook are there as text above and below.
            let is_quiet =
                self.status.quiet(other, &path).is_some() || self.status.stays_home(other, &path) || self.notebooks.share(uri, other);
            self.documents.current(other).filter(|open| !is_quiet && !open.out_of_step).map(|open| (path, open))
        })
    }

    /// Why a document is left alone, if it is.
    fn quiet(&self, open: &Open, uri: &str, path: &str) -> Option<Quiet> {
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

    fn observer(&self) -> Option<&Observer> {
        self.session.get()?.observer()
    }

    fn encoding(&self) -> Encoding {
        self.session.get().map_or(Encoding::Utf16, |s| s.encoding)
    }

    pub async fn inline_completion(&self, params: Params) -> Result<ItemList> {
        let Answered { place, texts, ids } = self.answer(&params).await?;
        let family = self.session.get().map_or(Family::Lsp, |s| s.family);
        let command = if family == Family::Copilot { COPILOT_ACCEPTED } else { ACCEPTED };
        let item = |(text, id): (String, String)| WireItem::new(&place, &text, id, command, family == Family::Tabby);
        let is_incomplete = (family == Family::Tabby).then_some(false);
        Ok(ItemList { is_incomplete, items: texts.into_iter().zip(ids).map(item).collect() })
    }

    /// Completes at a place. One reply each; superseded requests end in an error that clients ignore.
    pub async fn answer(&self, params: &Params) -> Result<Answered> {
        let session = self.session.get().ok_or_else(Error::invalid_request)?;
        let uri = params.text_document.uri.clone();
        let ticket = Ticket::default();
        let open = self
            .documents
            .begin(&uri, &ticket)
            .ok_or_else(|| Error::invalid_params(format!("document {uri} is not open: send textDocument/didOpen first")))?;
        let asked = open.clone();
        let site = site(open, params, session.encoding);
        self.documents.locate(&uri, &ticket, site.cursor());
        if let Some(recorder) = &self.recorder {
            recorder.asked(&uri, &asked, site.cursor());
        }
        // Dropped with this handler when the client sends `$/cancelRequest`.
        let _raise = RaiseOnDrop(ticket.cancel.clone());
        let path = self.shown_path(&uri, session);
        if let Some(quiet) = self.quiet(&asked, &uri, &path) {
            tracing::info!(silence = quiet_advice(quiet).code, "inlineCompletion");
            self.status.note_quiet(&uri, quiet);
            self.tell_status(&uri).await;
            return Ok(Answered { place: site.into_place(), texts: Vec::new(), ids: Vec::new() });
        }
        if has_secret(&asked.document, site.cursor()) {
            self.status.note_quiet(&uri, Quiet::SecretLine);
            self.tell_status(&uri).await;
            return Ok(Answered { place: site.into_place(), texts: Vec::new(), ids: Vec::new() });
        }
        let client_cursor = asked.document.offset_clamped(params.position.into(), session.encoding);
        let observed = session.observer().map(|o| (o, o.asked(&uri, client_cursor, params.is_automatic())));
        let completer = match &observed {
            Some((observer, observed)) => observer.completer_of(observed, &session.completer(), &self.loaded),
            None => session.completer(),
        };
        let (key, number) = (self.key(&uri), self.number);
        let excerpts = self.excerpts(session, &completer, &uri, &asked, site.cursor());
        self.neighbours.used(&uri, site.cursor());
        let own_cursor = site.cursor();
        let site = site.within(|open, cursor| self.notebooks.joined(&self.documents, &uri, open, cursor));
        let running = tokio::task::spawn_blocking(move || {
            let caller = Caller { client: number, flight: Some(&ticket.flight) };
            let reply = site.complete(&completer, (&key, &path), &excerpts, caller, &ticket.cancel);
            (site, reply, ticket)
        });
        let (site, mut reply, ticket) = running.await.map_err(|e| {
            tracing::error!(error = %e, "completion failed");
            Error::internal_error()
        })?;
        keep_secrets(&asked.document, own_cursor, &mut reply);
        if !ticket.is_stale() && reply.outcome != Outcome::Silence(Reason::Cancelled) {
            self.status.note(&uri, &reply);
            self.tell_status(&uri).await;
        }
        // Asked for again: other messages were handled meanwhile.
        let stale = ticket.is_stale();
        tracing::info!(
            cached = reply.tokens.cached,
            resumed = reply.tokens.resumed,
            shifted = reply.tokens.shifted,
            prefilled = reply.tokens.prefilled,
            generated = reply.tokens.generated,
            drafted = reply.tokens.drafted,
            accepted = reply.tokens.accepted,
            from_memory = reply.from_memory,
            ms = reply.ms.total,
            silence = match &reply.outcome {
                Outcome::Silence(reason) => reason.code(),
                // Found, but for a text that is gone: nobody sees it.
                Outcome::Suggest(_) if stale => Reason::Cancelled.code(),
                Outcome::Suggest(_) => "",
            },
            "inlineCompletion"
        );
        let ids = observed.map_or_else(Vec::new, |(observer, observed)| {
            let (start, restated) = site.restated();
            let start = asked.document.offset_clamped(start, session.encoding).min(client_cursor);
            let answered = Observation { uri: &uri, open: &asked, cursor: client_cursor, start, restated, reply: &reply, stale };
            observer.answered(&observed, &answered)
        });
        // The text has changed or a newer request runs: whatever was found belongs to a text that is gone.
        if stale || reply.outcome == Outcome::Silence(Reason::Cancelled) {
            return Err(error(ErrorCode::ServerError(REQUEST_CANCELLED), "superseded by a newer request or edit".to_owned()));
        }
        let texts: Vec<String> = match reply.outcome {
            Outcome::Suggest(items) => items.into_iter().map(|item| item.text).collect(),
            Outcome::Silence(_) => Vec::new(),
        };
        let mut ids = ids.into_iter();
        // Without a record of what becomes of them, any number will do.
        let id = |_: &String| ids.next().map_or_else(|| self.next_id.fetch_add(1, Ordering::Relaxed).to_string(), |id| id.to_string());
        let ids = texts.iter().map(id).collect();
        Ok(Answered { place: site.into_place(), texts, ids })
    }

    /// What a client says of a suggestion.
    pub fn note(&self, event: &Event) {
        tracing::info!(?event, "suggestion");
        let Some(observer) = self.observer() else { return };
        match event {
            Event::Shown { id } => observer.showed(id),
            Event::Accepted { id } => observer.accepted(id),
            Event::PartlyAccepted { id, utf16 } => observer.accepted_partly(id, *utf16),
            Event::Dismissed { id } => observer.dismissed(id),
        }
    }

    pub fn model_name(&self) -> &str {
        &self.loaded.name
    }

    /// `lacuna/status`: the last answer and its reason.
    pub async fn status(&self, params: StatusParams) -> Result<Report> {
        Ok(self.status.answer(&params))
    }

    pub async fn did_show(&self, params: EventParams) {
        if let Some(id) = params.id() {
            self.note(&Event::Shown { id: id.to_owned() });
        }
    }

    pub async fn did_partially_accept(&self, params: EventParams) {
        if let (Some(id), Some(utf16)) = (params.id(), params.accepted_length) {
            self.note(&Event::PartlyAccepted { id: id.to_owned(), utf16: Some(utf16 as usize) });
        }
    }

    async fn tell_status(&self, uri: &str) {
        if self.status.wants_notifications() {
            self.client.send_notification::<StatusNotification>(self.status.report(Some(uri)).into_value()).await;
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
        self.documents.open(&uri, language, document.identifier.version.unwrap_or(0), &document.text.0);
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
                    self.tell_out_of_step(&uri, &format!("a change could not be read: {error}")).await;
                }
                return;
            }
        };
        let edited = match self.documents.change(&uri, document.text_document.version, &changes, self.encoding()) {
            Ok(edited) => edited,
            Err(ChangeError::OutOfStep) => return,
            Err(ChangeError::Stale { has, got }) => {
                let cause = format!("a change to version {got} came when version {has} was there already");
                return self.tell_out_of_step(&uri, &cause).await;
            }
            Err(ChangeError::NotOpen) => {
                let message = format!("lacuna: change of {uri}, which is not open, ignored");
                return self.client.log_message(MessageType::WARNING, message).await;
            }
        };
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
            if self.status.quiet(&uri, &path).is_none() {
                let completer = self.completer(session, &uri);
                let (open, cursor) = self.notebooks.joined(&self.documents, &uri, edited.open.clone(), snapshot.cursor);
                (snapshot.document, snapshot.tree) = (open.document, open.tree);
                let own_cursor = std::mem::replace(&mut snapshot.cursor, cursor);
                snapshot.excerpts = self.excerpts(session, &completer, &uri, &edited.open, own_cursor);
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
        let ChangedNotebook { notebook_document, change } = match read("notebookDocument/didChange", &params) {
            Ok(params) => params,
            Err(message) => {
                let cells = params["notebookDocument"]["uri"].as_str().map(|uri| self.notebooks.cells(uri)).unwrap_or_default();
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

    /// Takes what the client says of its settings now. `None`: nothing new, but files may have changed.
    async fn reconfigure(&self, session: &Session, sent: Option<Value>) {
        // Everything up to the first await is done in the order in which messages came.
        let told = match self.put_in_force(session, sent) {
            Ok(told) => told,
            Err(error) => vec![(MessageType::WARNING, format!("the new settings are not taken: {error:#}"))],
        };
        for (kind, message) in told {
            self.client.log_message(kind, format!("lacuna: {message}")).await;
        }
    }

    /// What there is to say of it.
    fn put_in_force(&self, session: &Session, sent: Option<Value>) -> anyhow::Result<Vec<(MessageType, String)>> {
        let mut settings = session.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let since = sent.unwrap_or_else(|| settings.since().clone());
        let resolved = settings.resolve_with(&since)?;
        let old = session.completer();
        self.loaded.remember_costs(&old);
        let new = self.loaded.serving(&resolved.config)?;
        let changed = settings.take(since, &resolved, session.observer.is_some());
        *session.completer.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.status.configure(&resolved.config, session.folders(), self.status.wants_notifications());
        for uri in self.documents.uris() {
            self.status.look_at(&uri, &self.shown_path(&uri, session));
        }
        self.record_or_not(session, &resolved.config);
        let mut notices = notices_of(&resolved);
        let told = changed.told().map(|text| (MessageType::INFO, text));
        if !changed.later.is_empty() {
            notices.push(format!("{} take effect when the server is started again", changed.later.join(", ")));
        }
        let fresh = self.status.set_notices(notices).into_iter().map(|notice| (MessageType::WARNING, notice));
        Ok(told.into_iter().chain(fresh).collect())
    }

    /// What becomes of suggestions is recorded from now on, or is not.
    fn record_or_not(&self, session: &Session, config: &config::Config) {
        let Some(observer) = &session.observer else { return };
        observer.reconfigure(config);
        let was = session.is_recorded.swap(config.telemetry.enabled, Ordering::AcqRel);
        for uri in self.documents.uris().into_iter().filter(|_| was != config.telemetry.enabled) {
            if was {
                observer.closed(&uri, None);
            } else if let Some(open) = self.documents.current(&uri) {
                observer.opened(&uri, open.language);
            }
        }
    }

    /// `textDocument/didClose`.
    pub async fn closed(&self, params: Value) {
        let uri = match read::<Closed>("textDocument/didClose", &params) {
            Ok(params) => params.text_document.uri,
            Err(message) => return self.client.log_message(MessageType::WARNING, message).await,
        };
        self.status.closed(&uri);
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

    /// The path as the model sees it: below a workspace folder where possible, else the file's name.
    fn shown_path(&self, uri: &str, session: &Session) -> String {
        // A cell's own name is the editor's, not a file's.
        let uri = percent_decoded(self.notebooks.of(uri).as_deref().unwrap_or(uri));
        let root = |root: &String| percent_decoded(root.trim_end_matches('/'));
        let relative = session.roots.iter().find_map(|folder| uri.strip_prefix(&root(folder))?.strip_prefix('/'));
        relative.unwrap_or_else(|| uri.rsplit('/').next().unwrap_or(&uri)).to_owned()
    }
}

/// What the user should know of the settings, in sentences.
fn notices_of(resolved: &config::Resolved) -> Vec<String> {
    resolved.untrusted.iter().cloned().chain(resolved.problems.iter().map(config::Problem::told)).collect()
}

/// Parameters of a notification; else what is wrong with them, for the user.
fn read<'a, P: Deserialize<'a>>(method: &str, params: &'a Value) -> std::result::Result<P, String> {
    P::deserialize(params).map_err(|e| {
        let message = format!("lacuna: {method} ignored: {e}");
        tracing::warn!(message);
        message
    })
}

fn error(code: ErrorCode, message: String) -> Error {
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
        let notify = params.capabilities.experimental.as_ref().is_some_and(|e| e["lacunaStatus"] == true);
        let offered = params.capabilities.general.and_then(|g| g.position_encodings).unwrap_or_default();
        // utf-8 costs no conversion; utf-16 is what a client that offers nothing means.
        let (encoding, kind) = if offered.contains(&PositionEncodingKind::UTF8) {
            (Encoding::Utf8, PositionEncodingKind::UTF8)
        } else if offered.contains(&PositionEncodingKind::UTF32) && !offered.contains(&PositionEncodingKind::UTF16) {
            (Encoding::Utf32, PositionEncodingKind::UTF32)
        } else {
            (Encoding::Utf16, PositionEncodingKind::UTF16)
        };
        let roots: Vec<Uri> = params.workspace_folders.into_iter().flatten().map(|folder| folder.uri).collect();
        let root = roots.first().and_then(|uri| uri.to_file_path().map(|p| p.into_owned()));
        let family = Family::of(params.initialization_options.as_ref());
        // Other servers' options (`editorInfo` …) come this way too; ours lie under `lacuna` or at the top.
        let editor = params.initialization_options.map(|o| o.get("lacuna").cloned().unwrap_or(o));
        let mut settings = Settings::new(root, self.model_flag.clone(), editor);
        let resolved = settings.resolve().map_err(|e| error(ErrorCode::InternalError, format!("{e:#}")))?;
        let completer = self.loaded.serving(&resolved.config).map_err(|e| error(ErrorCode::InternalError, format!("{e:#}")))?;
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
            has_configuration: params.capabilities.workspace.and_then(|workspace| workspace.configuration) == Some(true),
        });
        self.status.configure(&resolved.config, session.folders(), notify);
        self.status.set_notices(notices_of(&resolved));
        Ok(InitializeResult {
            capabilities: ServerCapabilities {
                position_encoding: Some(kind),
                text_document_sync: Some(TextDocumentSyncCapability::Kind(TextDocumentSyncKind::INCREMENTAL)),
                inline_completion_provider: Some(OneOf::Right(InlineCompletionOptions::default())),
                execute_command_provider: Some(ExecuteCommandOptions {
                    commands: COMMANDS.map(str::to_owned).to_vec(),
                    ..ExecuteCommandOptions::default()
                }),
                workspace: Some(WorkspaceServerCapabilities {
                    workspace_folders: None,
                    file_operations: Some(WorkspaceFileOperationsServerCapabilities {
                        did_delete: Some(FileOperationRegistrationOptions { filters: vec![any_file()] }),
                        ..WorkspaceFileOperationsServerCapabilities::default()
                    }),
                }),
                experimental: Some(serde_json::json!({"lacunaStatus": true})),
                notebook_document_sync: params.capabilities.notebook_document.map(|_| OneOf::Left(every_notebook())),
                ..ServerCapabilities::default()
            },
            server_info: Some(ServerInfo { name: "lacuna".to_owned(), version: Some(env!("CARGO_PKG_VERSION").to_owned()) }),
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

    /// Not asked for, but some clients send it to everybody. What is saved may be a file that says what to leave alone.
    async fn did_save(&self, params: DidSaveTextDocumentParams) {
        let name = params.text_document.uri.as_str().rsplit('/').next().unwrap_or("");
        let Some(session) = self.session.get() else { return };
        if [".gitignore", ".ignore", ".lacunaignore"].contains(&name) {
            for uri in self.documents.uris() {
                self.status.look_at(&uri, &self.shown_path(&uri, session));
            }
        }
        if name == "lacuna.toml" || config::user_file().is_some_and(|own| file_path(params.text_document.uri.as_str()) == Some(own)) {
            self.reconfigure(session, None).await;
        }
    }

    /// Editors send this unasked, often with nothing of ours: then those that answer are asked.
    async fn did_change_configuration(&self, params: DidChangeConfigurationParams) {
        let Some(session) = self.session.get() else { return };
        let mut sent = ours(&params.settings);
        if sent.is_none() && params.settings.is_null() && session.has_configuration {
            let item = ConfigurationItem { scope_uri: None, section: Some("lacuna".to_owned()) };
            // A client that never answers keeps no handler here.
            let asked = tokio::time::timeout(ANSWER, self.client.configuration(vec![item])).await;
            sent = asked.ok().and_then(Result::ok).and_then(|mut all| all.pop()).filter(Value::is_object);
        }
        if let Some(sent) = sent {
            self.reconfigure(session, Some(sent)).await;
        }
    }

    async fn execute_command(&self, params: ExecuteCommandParams) -> Result<Option<LSPAny>> {
        match params.command.as_str() {
            ACCEPTED | COPILOT_ACCEPTED => {
                if let Some(id) = params.arguments.first().and_then(LSPAny::as_str) {
                    self.note(&Event::Accepted { id: id.to_owned() });
                }
                Ok(None)
            }
            command @ (PAUSE | RESUME) => {
                let done = if command == PAUSE { self.status.pause(&params.arguments) } else { self.status.resume(&params.arguments) };
                done.map_err(|e| Error::invalid_params(format!("{command}: {e}")))?;
                if self.status.wants_notifications() {
                    self.client.send_notification::<StatusNotification>(self.status.report(None).into_value()).await;
                }
                Ok(Some(self.status.report(None).into_value()))
            }
            STATUS => {
                let uri = params.arguments.first().and_then(|argument| argument["uri"].as_str());
                Ok(Some(self.status.report(uri).into_value()))
            }
            other => Err(Error::invalid_params(format!("unknown command {other}: this server knows {}", COMMANDS.join(", ")))),
        }
    }
}

/// All cells of all notebooks, in one piece with their order.
fn every_notebook() -> NotebookDocumentSyncOptions {
    let every = NotebookSelector::ByNotebook { notebook: Notebook::String("*".to_owned()), cells: None };
    NotebookDocumentSyncOptions { notebook_selector: vec![every], save: None }
}

/// For capabilities that name files.
fn any_file() -> FileOperationFilter {
    let pattern = FileOperationPattern { glob: "**/*".to_owned(), ..FileOperationPattern::default() };
    FileOperationFilter { scheme: Some("file".to_owned()), pattern }
}
