//! Connections: how many, how long a request may take to arrive, and how serving ends.
//!
//! A client that sends slowly, or not at all, holds one of a bounded number of connections for a
//! bounded time, and all bodies that are under way or being read share a bounded memory. A place is
//! taken by a request, not by a connection: one that has nothing to do is kept while there is room,
//! and makes room when there is none, so that nobody is kept out by those who say nothing. Whether
//! we are there is told without a place.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tower_service::Service;

use super::error::{ApiError, MAX_BODY_BYTES};

/// What connections are held to.
#[derive(Clone, Copy)]
pub struct Limits {
    /// With a request that is at work, arriving or being answered. As many again may wait for their
    /// turn, at most [`MOST_WAITING`].
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
        Limits {
            connections: 128,
            head: Duration::from_secs(5),
            body: Duration::from_secs(20),
            bodies: 64 << 20,
        }
    }
}

/// Requests that wait for a place; further ones are refused.
const MOST_WAITING: usize = 64;
/// Connections beyond all that have something to do.
const RESERVE: usize = 16;
/// The path that needs no place.
const HEALTH: &str = "/health";
/// Time that running requests get when serving ends.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until `stopped` says so.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let turns = Turns::new(limits.connections);
    let bodies = Arc::new(Semaphore::new(limits.bodies));
    let open = Open::new(limits.connections + limits.connections.min(MOST_WAITING) + RESERVE);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended(&mut stopped) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, for example: that passes when connections end.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // One too many of its peer's is hung up on.
        let Some(connection) = Open::enter(&open, peer.ip()) else { continue };
        let _ = stream.set_nodelay(true);
        let (router, bodies, turns, mut stopped) =
            (router.clone(), Arc::clone(&bodies), turns.clone(), stopped.clone());
        tokio::spawn(async move {
            let of_requests = Arc::clone(&connection);
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (router, bodies, turns) = (router.clone(), Arc::clone(&bodies), turns.clone());
                let working = Working::on(&of_requests);
                async move {
                    let turn = if request.uri().path() == HEALTH {
                        Ok(None)
                    } else {
                        turns.take().await.map(Some)
                    };
                    let (response, turn) = match turn {
                        Ok(turn) => (answer(router, request, limits.body, bodies).await, turn),
                        Err(refused) => (refused.into_response(), None),
                    };
                    Ok::<_, Infallible>(
                        response.map(|body| Sending { body, _until_sent: (working, turn) }),
                    )
                }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(serving);
            tokio::select! {
                () = connection.evicted.notified() => {}
                _ = &mut serving => {}
                () = ended(&mut stopped) => {
                    serving.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(GRACE, serving).await;
                }
            }
        });
    }
    // What still runs holds a place.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GRACE, turns.places.acquire_many(all)).await;
}

/// Places for requests, and for those that wait for one.
#[derive(Clone)]
struct Turns {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Turns {
    fn new(places: usize) -> Turns {
        Turns {
            places: Arc::new(Semaphore::new(places)),
            waiting: Arc::new(Semaphore::new(places.min(MOST_WAITING))),
        }
    }

    /// Errors: too many wait already.
    async fn take(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| ApiError::busy())?;
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| ApiError::busy())
    }
}

/// Open connections.
struct Open {
    most: usize,
    state: Mutex<OpenState>,
}

#[derive(Default)]
struct OpenState {
    n: usize,
    /// Of each other machine; programs on this one are not told apart.
    of_peer: HashMap<IpAddr, usize>,
    /// Those with nothing to do, the longest first.
    idle: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

struct Connection {
    open: Arc<Open>,
    peer: IpAddr,
    /// Its number among those with nothing to do.
    idle: Mutex<Option<u64>>,
    /// It has to make room.
    evicted: Arc<Notify>,
}

impl Open {
    fn new(most: usize) -> Arc<Open> {
        Arc::new(Open { most, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, OpenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection; one that has nothing to do makes room for it where that is needed. `None`:
    /// its machine has half of all, or there is no such one.
    fn enter(open: &Arc<Open>, peer: IpAddr) -> Option<Arc<Connection>> {
        let mut state = open.state();
        let of_peer = state.of_peer.get(&peer).copied().unwrap_or(0);
        if of_peer >= open.most / 2 && !peer.to_canonical().is_loopback() {
            return None;
        }
        if state.n >= open.most {
            let (_, evicted) = state.idle.pop_first()?;
            evicted.notify_one();
        }
        state.n += 1;
        *state.of_peer.entry(peer).or_default() += 1;
        drop(state);
        let connection = Connection {
            open: Arc::clone(open),
            peer,
            idle: Mutex::default(),
            evicted: Arc::default(),
        };
        connection.rest();
        Some(Arc::new(connection))
    }
}

impl Connection {
    fn rest(&self) {
        let mut state = self.open.state();
        let number = state.next;
        state.next += 1;
        state.idle.insert(number, Arc::clone(&self.evicted));
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    }

    fn work(&self) {
        let number = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(number) = number {
            self.open.state().idle.remove(&number);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.work();
        let mut state = self.open.state();
        state.n -= 1;
        if let Some(count) = state.of_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                state.of_peer.remove(&self.peer);
            }
        }
    }
}

/// A connection while it has a request to answer.
struct Working(Arc<Connection>);

impl Working {
    fn on(connection: &Arc<Connection>) -> Working {
        connection.work();
        Working(Arc::clone(connection))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.rest();
    }
}

/// The body of a response, and what is held until it is sent.
struct Sending<T> {
    body: Body,
    _until_sent: T,
}

impl<T: Unpin> HttpBody for Sending<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits until serving shall end.
async fn ended(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|s| *s).await;
}

/// Reads the whole body within its limits, then lets the routes answer. A panic is an error of this
/// request and of nothing else.
async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    limit: Duration,
    bodies: Arc<Semaphore>,
) -> Response {
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(limit, read(body, bodies))
        .await
        .unwrap_or_else(|_| Err(ApiError::timed_out()));
    match read {
        // The routes parse the body before they wait for anything; what it held is given back when
        // they have answered.
        Ok((bytes, _held)) => {
            let answering =
                async { router.call(Request::from_parts(head, Body::from(bytes))).await };
            match AssertUnwindSafe(answering).catch_unwind().await {
                Ok(Ok(response)) => response,
                Err(_panic) => ApiError::failed().into_response(),
            }
        }
        Err(refused) => refused.into_response(),
    }
}

/// The whole body, and the share of the common memory that it holds.
async fn read(
    mut body: Incoming,
    bodies: Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(ApiError::too_large());
    }
    let (mut bytes, mut held) = (Vec::new(), None::<OwnedSemaphorePermit>);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::invalid("the body ended early"))?.into_data()
        else {
            continue;
        };
        if bytes.len() + data.len() > MAX_BODY_BYTES {
            return Err(ApiError::too_large());
        }
        // Waiting for memory that others hold would only let more connections pile up.
        let more = Arc::clone(&bodies)
            .try_acquire_many_owned(data.len() as u32)
            .map_err(|_| ApiError::busy())?;
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

    use axum::routing::{get, post};
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
        let router = Router::new()
            .route("/", post(|body: Bytes| async move { body.len().to_string() }))
            .route("/panic", post(|body: Bytes| async move { body[body.len()].to_string() }))
            .route(HEALTH, get(|| async { "ok" }));
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
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes))
            .await
            .expect("the connection ends");
        String::from_utf8(bytes).unwrap()
    }

    fn post_of(body: &str) -> String {
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_loses_its_connection_and_the_next_gets_it() {
        let (address, _stop) =
            served(Limits { connections: 1, head: SHORT, body: LONG, bodies: 1 << 20 }).await;
        let slow = send(address, "POST / HTTP/1.1\r\nHost: loc").await;
        let next = send(address, &post_of("12345")).await;
        assert!(!reply(slow).await.contains("200 OK"));
        assert!(reply(next).await.ends_with("\r\n\r\n5"));
    }

    #[tokio::test]
    async fn those_who_say_nothing_keep_nobody_out() {
        let (address, _stop) =
            served(Limits { connections: 2, head: LONG, body: LONG, bodies: 1 << 20 }).await;
        let most = 2 + 2 + RESERVE;
        let mut silent = Vec::new();
        for i in 0..3 * most {
            silent.push(
                send(address, if i % 2 == 0 { "" } else { "POST / HTTP/1.1\r\nHost: loc" }).await,
            );
            if i % most == most - 1 {
                assert!(reply(send(address, &post_of("12345")).await).await.ends_with("\r\n\r\n5"));
            }
        }
        // The first ones made room, the last ones are there still.
        assert_eq!(reply(silent.remove(0)).await, "");
        let mut last = silent.pop().unwrap();
        last.write_all(b"alhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n12")
            .await
            .unwrap();
        assert!(reply(last).await.ends_with("\r\n\r\n2"));
    }

    #[tokio::test]
    async fn health_is_told_while_every_place_is_taken_and_others_wait_or_are_refused() {
        let (address, _stop) =
            served(Limits { connections: 1, head: LONG, body: LONG, bodies: 1 << 20 }).await;
        let slow =
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\n1";
        let mut first = send(address, slow).await;
        let health = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        // One waits, whichever comes first of the two; the other is refused.
        let [one, two] = [(); 2].map(|()| {
            tokio::spawn(async move { reply(send(address, &post_of("12345")).await).await })
        });
        let (refused, waiting) = futures::future::select(one, two).await.factor_first();
        let refused = refused.unwrap();
        assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
        assert!(reply(send(address, health).await).await.ends_with("ok"));
        first.write_all(b"23").await.unwrap();
        assert!(reply(first).await.ends_with("\r\n\r\n3"));
        assert!(waiting.await.unwrap().ends_with("\r\n\r\n5"));
    }

    #[test]
    fn one_machine_gets_half_of_all_and_this_one_is_not_counted() {
        let open = Open::new(8);
        let of = |peer: [u8; 4], n: usize| {
            (0..n).filter_map(|_| Open::enter(&open, peer.into())).collect::<Vec<_>>()
        };
        let (far, near) = (of([10, 0, 0, 1], 9), of([127, 0, 0, 1], 9));
        assert_eq!((far.len(), near.len()), (4, 9));
        assert!(Open::enter(&open, "::ffff:127.0.0.1".parse().unwrap()).is_some());
        drop(far);
        assert_eq!(of([10, 0, 0, 1], 3).len(), 3);
        drop(near);
        let state = open.state();
        assert!(
            state.n == 0 && state.of_peer.is_empty() && state.idle.is_empty(),
            "all is given back"
        );
    }

    #[tokio::test]
    async fn a_panic_is_the_error_of_its_request() {
        let (address, _stop) =
            served(Limits { connections: 1, head: LONG, body: LONG, bodies: 1 << 20 }).await;
        for _ in 0..3 {
            assert!(
                reply(send(address, &post_of("1").replace("POST /", "POST /panic")).await)
                    .await
                    .starts_with("HTTP/1.1 500")
            );
            assert!(reply(send(address, &post_of("12345")).await).await.ends_with("\r\n\r\n5"));
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_a_time_out() {
        let (address, _stop) =
            served(Limits { connections: 1, head: LONG, body: SHORT, bodies: 1 << 20 }).await;
        let slow = send(address, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{").await;
        let next = send(address, &post_of("12345")).await;
        assert!(reply(slow).await.starts_with("HTTP/1.1 408"));
        assert!(reply(next).await.ends_with("\r\n\r\n5"));
    }

    #[tokio::test]
    async fn bodies_share_a_bounded_memory_and_give_it_back() {
        let (address, _stop) =
            served(Limits { connections: 8, head: LONG, body: LONG, bodies: 1000 }).await;
        let half = "x".repeat(600);
        let mut first =
            send(address, &format!("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 700\r\n\r\n{half}")).await;
        // Refused as soon as the first one's bytes have been read.
        let end = tokio::time::Instant::now() + LONG;
        while !reply(send(address, &post_of(&half)).await).await.starts_with("HTTP/1.1 429") {
            assert!(tokio::time::Instant::now() < end, "never refused");
        }
        assert!(
            reply(send(address, &post_of("12345")).await).await.ends_with("\r\n\r\n5"),
            "a small one still fits"
        );
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
