//! Answers in pieces: server-sent events, or JSON lines as Ollama has them.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::Stream;
use lacuna_complete::Filled;
use serde_json::Value;
use tokio::sync::mpsc;

use super::error::ApiError;
use super::run::{Job, run};
use super::state::Shared;

/// Pieces that may wait for a slow reader; generation waits with them.
const WAITING: usize = 64;

#[derive(Clone, Copy, PartialEq)]
pub enum Format {
    /// `data: {…}` and an empty line each.
    Events,
    /// A JSON object a line.
    Lines,
}

impl Format {
    fn frame(self, text: &str) -> Bytes {
        match self {
            Format::Events => format!("data: {text}\n\n").into(),
            Format::Lines => format!("{text}\n").into(),
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Events => "text/event-stream",
            Format::Lines => "application/x-ndjson",
        })
    }
}

/// Starts the job and answers with what `piece(i, text)` makes of each text, then with what
/// `end(model, all)` makes of the whole.
///
/// Errors: what can be told before anything is sent; a failure after that is an error object in the
/// stream.
pub fn respond(
    shared: Arc<Shared>,
    job: Job,
    format: Format,
    piece: impl Fn(usize, &str) -> Value + Send + 'static,
    end: impl FnOnce(&str, &[Filled]) -> Vec<String> + Send + 'static,
) -> Result<Response, ApiError> {
    // Loading is the one refusal that clients wait for, so that it gets its status.
    shared.engine()?;
    let (send, receive) = mpsc::channel::<Bytes>(WAITING);
    let to = send.clone();
    let work = async move {
        let on_text = Box::new(move |i: usize, text: &str| {
            match to.blocking_send(format.frame(&piece(i, text).to_string())) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        let rest = match run(&shared, job, on_text).await {
            Ok((model, all)) => end(&model, &all),
            Err(error) => vec![error.body().to_string()],
        };
        for text in rest {
            if send.send(format.frame(&text)).await.is_err() {
                break;
            }
        }
    };
    let body = Pieces { receive, work: Some(Box::pin(work)) };
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, format.content_type());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The pieces as they come. Owns the work: a client that goes away drops both.
struct Pieces {
    receive: mpsc::Receiver<Bytes>,
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        if let Some(work) = &mut self.work
            && work.as_mut().poll(context).is_ready()
        {
            self.work = None;
        }
        self.receive.poll_recv(context).map(|piece| piece.map(Ok))
    }
}
