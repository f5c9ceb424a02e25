//! One client's server: what it knows between two messages.
//!
//! Messages come in by [`super::protocol`] (what `initialize` decides) and [`super::sync`] (documents); requests for
//! completions are answered in [`super::answer`], commands in [`super::commands`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use lacuna_complete::Completer;
use lacuna_serving::left_alone::percent_decoded;
use lacuna_serving::models::Loaded;
use lacuna_text::Encoding;
use tower_lsp::Client;
use tower_lsp::jsonrpc::{Error, ErrorCode, Result};
use tower_lsp::ls_types::MessageType;

use super::dialect::Dialect;
use super::documents::{Documents, Open};
use super::manners::Manners;
use super::neighbours::Neighbours;
use super::notebooks::Notebooks;
use super::reasons::Quiet;
use super::record::Recorder;
use super::settings::Settings;
use super::status::{Report, Status, StatusNotification, StatusParams};
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
    pub(super) fn completer(&self, session: &Session, uri: &str) -> Arc<Completer> {
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
    pub(super) async fn tell_out_of_step(&self, uri: &str, cause: &str) {
        self.status.note_quiet(uri, Quiet::OutOfStep);
        let message = format!("lacuna: {uri} is not completed until it is opened again: {cause}");
        tracing::warn!(message);
        self.client.log_message(MessageType::WARNING, message).await;
        self.tell_status(uri).await;
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
