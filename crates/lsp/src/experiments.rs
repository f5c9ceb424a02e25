//! Which arm of which experiment a document is in, and the completer that serves it there.
//!
//! The store says what runs. It is read once before the first request (if it answers at all: nobody
//! waits long for it), then looked at each second by the recorder's own thread, so that a running
//! editor takes up what `lacuna telemetry experiment start` and `stop` change, and no request waits
//! for a file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Duration;

use lacuna_complete::Completer;
use lacuna_config::Config;
use lacuna_telemetry::Label;
use lacuna_telemetry::experiment::{Arm, Definition, arms_text, assign, unit_of};
use lacuna_telemetry::store::{Store, StoredExperiment};
use serde_json::Value;

use lacuna_serving::models::{self, Loaded};

/// Longest wait for the store's first answer.
const FIRST_LOOK: Duration = Duration::from_secs(5);

pub struct Experiments {
    running: RwLock<Arc<Running>>,
    config: RwLock<Config>,
    /// Completers by the settings of the variants that are in force; `None`: it could not be made.
    completers: Mutex<HashMap<String, Option<Arc<Completer>>>>,
}

/// What runs, as the store said it when it was looked at.
#[derive(Default)]
struct Running {
    stored: Vec<StoredExperiment>,
    salt: Vec<u8>,
    definitions: Vec<(String, Definition)>,
}

/// Where a document stands at a moment.
#[derive(Default)]
pub struct Standing {
    /// For the rows.
    arms: Option<Label>,
    /// What its variants lay over the configuration.
    settings: BTreeMap<String, Value>,
}

impl Standing {
    pub fn arms(&self) -> Label {
        self.arms.clone().unwrap_or(Label::NONE)
    }
}

impl Experiments {
    /// As the store at `path` says; it need not exist. Whoever calls waits for it at most
    /// [`FIRST_LOOK`]: afterwards the recorder looks.
    pub fn of_store(path: &Path, config: &Config) -> Arc<Experiments> {
        let experiments = Arc::new(Experiments {
            running: RwLock::default(),
            config: RwLock::new(config.clone()),
            completers: Mutex::default(),
        });
        if std::fs::symlink_metadata(path).is_ok() {
            let (looking, path, (done, looked)) =
                (Arc::clone(&experiments), path.to_owned(), mpsc::channel());
            let look = move || {
                match Store::open_to_read(&path) {
                    Ok(store) => looking.look(&store),
                    Err(error) => tracing::warn!("experiments are off: {error}"),
                }
                let _ = done.send(());
            };
            let started = std::thread::Builder::new().name("experiments".to_owned()).spawn(look);
            if started.is_ok()
                && looked.recv_timeout(FIRST_LOOK) == Err(mpsc::RecvTimeoutError::Timeout)
            {
                tracing::warn!("the telemetry store does not answer: experiments wait for it");
            }
        }
        experiments
    }

    /// Takes up what has changed in the store.
    pub fn look(&self, store: &Store) {
        let Ok(mut stored) = store
            .experiments()
            .map_err(|error| tracing::debug!(%error, "experiments cannot be read"))
        else {
            return;
        };
        stored.retain(|e| e.stopped.is_none());
        let known = self.running();
        if known.stored == stored && known.salt == store.salt() {
            return;
        }
        let mut definitions = Vec::new();
        for e in &stored {
            match serde_json::from_str(&e.definition) {
                Ok(definition) => definitions.push((e.name.clone(), definition)),
                Err(error) => {
                    tracing::warn!(experiment = e.name, %error, "its definition cannot be read: it is left out")
                }
            }
        }
        let names: Vec<&str> = definitions.iter().map(|(name, _)| name.as_str()).collect();
        tracing::info!(running = names.join(", "), "experiments");
        let running = Running { salt: store.salt().to_vec(), stored, definitions };
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(running);
    }

    /// Takes other settings for the variants to be laid over.
    pub fn reconfigure(&self, config: &Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.completers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where a document stands at a time (milliseconds since 1970).
    pub fn standing(&self, uri: &str, wall: i64) -> Standing {
        let Running { salt, definitions, .. } = &*self.running();
        if definitions.is_empty() {
            return Standing::default();
        }
        let mut settings = BTreeMap::new();
        let arms: Vec<(&str, &str, String)> = definitions
            .iter()
            .map(|(name, definition)| {
                let variant = assign(definition, salt, name, uri, wall);
                settings.extend(definition.variant[variant].settings.clone());
                (name.as_str(), variant, unit_of(definition, salt, name, uri, wall))
            })
            .collect();
        let arms = arms_text(arms.iter().map(|(experiment, variant, unit)| Arm {
            experiment,
            variant,
            unit,
        }));
        Standing { arms: Some(Label::Shared(arms.into())), settings }
    }

    /// The completer for a standing; `base` where no experiment says otherwise.
    pub fn completer(
        &self,
        standing: &Standing,
        base: &Arc<Completer>,
        loaded: &Loaded,
    ) -> Arc<Completer> {
        if standing.settings.is_empty() {
            return Arc::clone(base);
        }
        let key = serde_json::to_string(&standing.settings).unwrap_or_default();
        let mut completers = self.completers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = completers.entry(key).or_insert_with(|| {
            let make = || {
                let base = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
                let config = base.with_settings(&standing.settings)?;
                if config.model.path == base.model.path {
                    loaded.serving(&config)
                } else {
                    models::load_configured(&config.model)?.serving(&config)
                }
            };
            // The unit stays in its arm: who cannot have the treatment is part of what it does.
            make()
                .map_err(|e: anyhow::Error| {
                    tracing::warn!(
                        "a variant's settings cannot be had, the usual ones serve: {e:#}"
                    )
                })
                .ok()
        });
        made.clone().unwrap_or_else(|| Arc::clone(base))
    }

    /// The completers of arms that were made so far.
    pub fn completers(&self) -> Vec<Arc<Completer>> {
        let made = self.completers.lock().unwrap_or_else(PoisonError::into_inner);
        made.values().flatten().cloned().collect()
    }
}
