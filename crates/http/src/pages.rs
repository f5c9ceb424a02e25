//! What people and their programs look at: counters and the dashboard.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::state::Shared;

/// The page holds its own script and style, and nothing may frame it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Counts every answer by its route; what matches none goes under one name, so that a client cannot
/// make us remember its paths.
pub async fn count(
    State(shared): State<Arc<Shared>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("other", MatchedPath::as_str);
    shared.metrics.answered(route, response.status().as_u16(), start.elapsed().as_secs_f64());
    response
}

pub async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let engine = shared.engine().ok();
    let text = shared.metrics.text(engine.as_ref().map(|engine| &engine.completer));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

pub async fn dashboard(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let (status, text) = shared.dashboard.page().await?;
    let mut response = (status, text).into_response();
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // What was kept is nobody else's business, a proxy's or a browser's disk included.
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
