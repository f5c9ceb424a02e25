//! One client's server: what it knows between two messages.
//!
//! Messages come in by [`super::handlers`]; what several of them, or other servers' methods, need is
//! here and in [`super::answer`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use lacuna_complete::Completer;
use lacuna_serving::left_alone::percent_decoded;
use lacuna_serving::models::Loaded;
use lacuna_text::Encoding;
use tower_lsp::Client;
use tower_lsp::jsonrpc::{Error, ErrorCode};
use tower_lsp::ls_types::MessageType;

use super::dialect::Dialect;
use super::document::OpenDocument;
use super::documents::Documents;
use super::reasons::Quiet;
use super::record::Recorder;
use super::settings::Settings;
use super::status::{Last, Report, Status, StatusNotification};
use super::telemetry::Observer;
use super::uris::file_path;

/// What every client's server is made from.
#[derive(Clone)]
pub struct Connection {
    pub loaded: Arc<Loaded>,
    /// The flag `--model`.
    pub model: Option<String>,
    pub recorder: Option<Arc<Recorder>>,
}

/// One client's server. Models are shared between clients, documents are not.
pub struct Server {
    pub(super) client: Client,
    pub(super) loaded: Arc<Loaded>,
    pub(super) model_flag: Option<String>,
    documents: Mutex<Documents>,
    pub(super) session: OnceLock<Session>,
    pub(super) next_id: AtomicU64,
    pub(super) status: Status,
    /// Tells this client from others in the engine they share.
    pub(super) number: u64,
    pub(super) recorder: Option<Arc<Recorder>>,
}

/// What `initialize` decides.
pub(super) struct Session {
    pub(super) dialect: &'static dyn Dialect<Server>,
    pub(super) encoding: Encoding,
    /// Another one when settings change.
    pub(super) completer: RwLock<Arc<Completer>>,
    pub(super) settings: Mutex<Settings>,
    pub(super) roots: Vec<String>,
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
    pub(super) fn forget(&self, key: &str) {
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
            status: Status::new(&loaded.name, loaded.languages.clone()),
            loaded,
            model_flag: model,
            documents: Mutex::default(),
            session: OnceLock::new(),
            next_id: AtomicU64::new(1),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            recorder,
        }
    }

    /// Held for as long as nothing is waited for.
    pub(super) fn documents(&self) -> MutexGuard<'_, Documents> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what files and settings say of a document.
    pub(super) fn look_at(&self, document: &mut OpenDocument) {
        self.status.look_at(Arc::make_mut(&mut document.about));
        document.show = self.status.show();
    }

    /// The completer for a document's edits: an experiment may have one of its own.
    pub(super) fn completer(&self, session: &Session, uri: &str) -> Arc<Completer> {
        match session.observer() {
            Some(observer) => observer.completer(uri, &session.completer(), &self.loaded),
            None => session.completer(),
        }
    }

    /// Tells the user, and whoever asks why, that the text of documents is not known any more.
    pub(super) async fn tell_out_of_step(&self, lost: Vec<String>, cause: &str) {
        for uri in lost {
            self.note(&uri, Last::quiet(&uri, Quiet::OutOfStep));
            let message =
                format!("lacuna: {uri} is not completed until it is opened again: {cause}");
            tracing::warn!(message);
            self.client.log_message(MessageType::WARNING, message).await;
            self.tell_status(&uri).await;
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

    /// The state as seen from a document, else from the one that was answered last.
    pub(super) fn report(&self, uri: Option<&str>) -> Report {
        let documents = self.documents();
        let document = uri.map_or_else(|| documents.latest(), |uri| documents.get(uri));
        let about = document.map(|document| &*document.about);
        self.status.report(
            uri.or(about.map(|about| about.uri.as_str())),
            about.map(|about| about.language_id.as_str()),
            document.and_then(OpenDocument::last),
        )
    }

    /// Keeps what a request ended in. A document that was closed meanwhile leaves nothing behind.
    pub(super) fn note(&self, uri: &str, last: Last) {
        if let Some(document) = self.documents().get_mut(uri) {
            document.note(last);
        }
    }

    pub(super) async fn tell_status(&self, uri: &str) {
        if self.status.wants_notifications() {
            let report = self.report(Some(uri)).into_value();
            self.client.send_notification::<StatusNotification>(report).await;
        }
    }
}

impl Session {
    /// The path as the model sees it: below a workspace folder where possible, else the file's
    /// name. `notebook`: what the document is a cell of; a cell's own name is the editor's, not a
    /// file's.
    pub(super) fn shown_path(&self, uri: &str, notebook: Option<&str>) -> String {
        let uri = percent_decoded(notebook.unwrap_or(uri));
        let root = |root: &String| percent_decoded(root.trim_end_matches('/'));
        let relative =
            self.roots.iter().find_map(|folder| uri.strip_prefix(&root(folder))?.strip_prefix('/'));
        relative.unwrap_or_else(|| uri.rsplit('/').next().unwrap_or(&uri)).to_owned()
    }
}

pub(super) fn error(code: ErrorCode, message: String) -> Error {
    Error { code, message: message.into(), data: None }
}

impl Drop for Server {
    /// The client has gone: its documents leave the engine it shared, and what was learned is kept.
    fn drop(&mut self) {
        let Some(session) = self.session.get() else { return };
        for document in std::mem::take(&mut *self.documents()).iter() {
            session.forget(&document.about.key);
        }
        self.loaded.remember_costs(&session.completer());
    }
}
