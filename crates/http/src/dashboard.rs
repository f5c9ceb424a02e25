//! `/dashboard`: the report on what this machine recorded, for a browser.
//!
//! Reading a large store takes seconds: one page is made at a time, off the threads that answer
//! requests, and serves everybody for ten times as long as it took, so that no number of reloads
//! costs more than a tenth of one core.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::StatusCode;
use lacuna_config::Config;
use lacuna_serving::store;
use lacuna_telemetry::metrics::Zone;
use lacuna_telemetry::report::{to_message_page, to_page};
use lacuna_telemetry::store::StoreError;
use tokio::sync::Mutex;

use super::error::ApiError;

/// A page is as good as new for so many times as long as it took to make.
const FRESH: u32 = 10;

pub struct Dashboard {
    config: Config,
    page: Mutex<Option<Page>>,
}

struct Page {
    until: Instant,
    status: StatusCode,
    text: Bytes,
}

impl Dashboard {
    pub fn new(config: &Config) -> Dashboard {
        Dashboard { config: config.clone(), page: Mutex::default() }
    }

    /// The page; who comes while it is made waits for it.
    pub async fn page(&self) -> Result<(StatusCode, Bytes), ApiError> {
        let mut page = self.page.lock().await;
        if let Some(page) = page.as_ref().filter(|p| Instant::now() < p.until) {
            return Ok((page.status, page.text.clone()));
        }
        let config = self.config.clone();
        let begun = Instant::now();
        let (status, text) = tokio::task::spawn_blocking(move || make(&config)).await?;
        let text = Bytes::from(text);
        *page = Some(Page {
            until: Instant::now() + begun.elapsed().min(Duration::from_secs(60)) * FRESH,
            status,
            text: text.clone(),
        });
        Ok((status, text))
    }
}

fn make(config: &Config) -> (StatusCode, String) {
    let recording = if config.telemetry.enabled {
        "Editors that complete with lacuna record here what became of its suggestions."
    } else {
        "Recording is switched off: telemetry.enabled is false in the configuration."
    };
    match store::report(config, None, Zone::Local) {
        Ok(report) => (StatusCode::OK, to_page(&report)),
        Err(error) if matches!(error.downcast_ref(), Some(StoreError::Missing { .. })) => {
            (StatusCode::OK, to_message_page("Nothing has been recorded yet", recording))
        }
        Err(error) => {
            tracing::warn!("no dashboard: {error:#}");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                to_message_page("The record cannot be read", &format!("{error:#}")),
            )
        }
    }
}
