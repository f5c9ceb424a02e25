//! Connections: how many, how long a request may take to arrive, and how serving ends.
//!
//! A client that sends slowly, or not at all, holds one of a bounded number of connections for a bounded time and no memory to speak of.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use super::error::ApiError;
use super::run::MAX_BODY_BYTES;

/// What connections are held to.
#[derive(Clone, Copy)]
pub struct Limits {
    pub connections: usize,
    /// For the head of a request; also how long an idle connection is kept.
    pub head: Duration,
    /// For a whole body.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 128, head: Duration::from_secs(30), body: Duration::from_secs(20) }
    }
}

/// Time that running requests get when serving ends.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until `stopped` says so.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        // A connection beyond the limit waits in the system's queue.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = ended(&mut stopped) => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended(&mut stopped) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, for example: that passes when connections end.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (router, mut stopped) = (router.clone(), stopped.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| answer(router.clone(), request, limits));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => {}
                () = ended(&mut stopped) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(GRACE, connection).await;
                }
            }
            drop(place);
        });
    }
    // What still runs holds a place.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GRACE, places.acquire_many(all)).await;
}

/// Waits until serving shall end.
async fn ended(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|s| *s).await;
}

/// Reads the whole body within its limits, then lets the routes answer.
async fn answer(mut router: Router, request: Request<Incoming>, limits: Limits) -> Result<axum::response::Response, Infallible> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Ok(ApiError::too_large().into_response());
    }
    let body = match tokio::time::timeout(limits.body, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(ApiError::too_large().into_response()),
        Ok(Err(_)) => return Ok(ApiError::invalid("the body ended early").into_response()),
        Err(_) => return Ok(ApiError::timed_out().into_response()),
    };
    router.call(Request::from_parts(head, Body::from(body))).await
}
