//! What all requests share: the engine once it is loaded, the places for running requests, the
//! counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use lacuna_complete::Completer;
use lacuna_serving::Token;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::dashboard::Dashboard;
use super::error::ApiError;
use super::metrics::Metrics;

/// A loaded model.
pub struct Engine {
    pub name: String,
    pub completer: Completer,
}

pub struct Shared {
    engine: OnceLock<Arc<Engine>>,
    places: Arc<Semaphore>,
    pub token: Option<Token>,
    pub metrics: Metrics,
    pub dashboard: Dashboard,
    ids: AtomicU64,
}

impl Shared {
    /// `max_requests` may run or wait for their turn at once; further ones are refused.
    pub fn new(max_requests: usize, token: Option<Token>, dashboard: Dashboard) -> Shared {
        Shared {
            engine: OnceLock::new(),
            places: Arc::new(Semaphore::new(max_requests)),
            token,
            metrics: Metrics::default(),
            dashboard,
            ids: AtomicU64::new(0),
        }
    }

    pub fn ready(&self, name: String, completer: Completer) {
        let _ = self.engine.set(Arc::new(Engine { name, completer }));
    }

    /// The engine. Errors: 503 while it is being loaded.
    pub fn engine(&self) -> Result<Arc<Engine>, ApiError> {
        self.engine.get().cloned().ok_or_else(ApiError::loading)
    }

    /// A place for one request. Errors: 429 when all are taken; waiting would only pile up work
    /// that nobody reads any more.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| ApiError::busy())
    }

    /// A number that no other reply of this process has.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}
