//! Connections: how many, how long a request may take to arrive, and how serving ends.
//!
//! A client that sends slowly, or not at all, holds one of a bounded number of connections for a bounded time, and all bodies that are
//! under way or being read share a bounded memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
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
    /// Bytes of all bodies that are arriving or have not been parsed yet.
    pub bodies: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 128, head: Duration::from_secs(30), body: Duration::from_secs(20), bodies: 64 << 20 }
    }
}

/// Time that running requests get when serving ends.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until `stopped` says so.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let bodies = Arc::new(Semaphore::new(limits.bodies));
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
        let (router, bodies, mut stopped) = (router.clone(), Arc::clone(&bodies), stopped.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(router.clone(), request, limits.body, Arc::clone(&bodies)));
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
async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    limit: Duration,
    bodies: Arc<Semaphore>,
) -> Result<axum::response::Response, Infallible> {
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(limit, read(body, bodies)).await.unwrap_or_else(|_| Err(ApiError::timed_out()));
    match read {
        // The routes parse the body before they wait for anything; what it held is given back when they have answered.
        Ok((bytes, _held)) => router.call(Request::from_parts(head, Body::from(bytes))).await,
        Err(refused) => Ok(refused.into_response()),
    }
}

/// The whole body, and the share of the common memory that it holds.
async fn read(mut body: Incoming, bodies: Arc<Semaphore>) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(ApiError::too_large());
    }
    let (mut bytes, mut held) = (Vec::new(), None::<OwnedSemaphorePermit>);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::invalid("the body ended early"))?.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY_BYTES {
            return Err(ApiError::too_large());
        }
        // Waiting for memory that others hold would only let more connections pile up.
        let more = Arc::clone(&bodies).try_acquire_many_owned(data.len() as u32).map_err(|_| ApiError::busy())?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.into(), held))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    /// A limit that no test runs into.
    const LONG: Duration = Duration::from_secs(60);

    /// Serves one route, which tells how long the body is.
    async fn served(limits: Limits) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }));
        tokio::spawn(serve(listener, router, limits, stopped));
        (address, stop)
    }

    async fn send(address: SocketAddr, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    async fn reply(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
        String::from_utf8(bytes).unwrap()
    }

    fn post_of(body: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_loses_its_connection_and_the_next_gets_it() {
        let (address, _stop) = served(Limits { connections: 1, head: SHORT, body: LONG, bodies: 1 << 20 }).await;
        let slow = send(address, "POST / HTTP/1.1\r\nHost: loc").await;
        let next = send(address, &post_of("12345")).await;
        assert!(!reply(slow).await.contains("200 OK"));
        assert!(reply(next).await.ends_with("\r\n\r\n5"));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_a_time_out() {
        let (address, _stop) = served(Limits { connections: 1, head: LONG, body: SHORT, bodies: 1 << 20 }).await;
        let slow = send(address, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{").await;
        let next = send(address, &post_of("12345")).await;
        assert!(reply(slow).await.starts_with("HTTP/1.1 408"));
        assert!(reply(next).await.ends_with("\r\n\r\n5"));
    }

    #[tokio::test]
    async fn bodies_share_a_bounded_memory_and_give_it_back() {
        let (address, _stop) = served(Limits { connections: 8, head: LONG, body: LONG, bodies: 1000 }).await;
        let half = "x".repeat(600);
        let mut first =
            send(address, &format!("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 700\r\n\r\n{half}")).await;
        // Refused as soon as the first one's bytes have been read.
        let end = tokio::time::Instant::now() + LONG;
        while !reply(send(address, &post_of(&half)).await).await.starts_with("HTTP/1.1 429") {
            assert!(tokio::time::Instant::now() < end, "never refused");
        }
        assert!(reply(send(address, &post_of("12345")).await).await.ends_with("\r\n\r\n5"), "a small one still fits");
        first.write_all(&half.as_bytes()[..100]).await.unwrap();
        assert!(reply(first).await.ends_with("\r\n\r\n700"));
        while !reply(send(address, &post_of(&half)).await).await.ends_with("\r\n\r\n600") {
            assert!(tokio::time::Instant::now() < end, "never given back");
        }
    }

    #[tokio::test]
    async fn a_body_in_chunks_is_refused_where_it_becomes_too_large() {
        let (address, _stop) = served(Limits::default()).await;
        let mut stream =
            send(address, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        // Sent until nobody takes any more, and never more than three times the limit.
        let mut sent = 0;
        while sent < 3 * MAX_BODY_BYTES && stream.write_all(chunk.as_bytes()).await.is_ok() {
            sent += 0x10000;
        }
        // The refusal may be lost with the connection; that the server goes on may not.
        drop(stream);
        assert!(sent >= MAX_BODY_BYTES, "{sent} bytes");
        assert!(reply(send(address, &post_of("12345")).await).await.ends_with("\r\n\r\n5"));
    }
}
