//! Messages in and out: framing, one reply per request, and order.
//!
//! tower-lsp's own transport ends at the first malformed message and runs at most a fixed number of
//! handlers. Here a malformed message is answered and skipped, and every handler is polled once in
//! the order in which its message arrived (so that text edits, which happen before a handler's
//! first await, are applied in order) before it goes on beside the others. All of a client's
//! handlers are polled by one task, which sends a reply the moment it is there: an edit cannot come
//! between a handler's last look at the text and its reply.

use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lacuna_serving::json as lossy;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tower_lsp::jsonrpc::{Error, Request, Response};
use tower_lsp::{ExitedError, LspService};
use tower_service::Service;

use super::parent::{self, Parent};
use super::server::{Connection, Server};
use super::{dialects, handlers, wire};

/// A longer message is refused: no editor sends a larger file than we complete.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// So much of a message that is refused is looked at.
const KEPT_OF_SKIPPED: u64 = 64 << 10;
/// Header lines longer than this are garbage.
const MAX_HEADER_BYTES: u64 = 4 << 10;
/// Replies that wait for a client that does not read; then requests wait too, and memory stays
/// bounded.
const MAX_WAITING_REPLIES: usize = 256;

/// LSP's `RequestFailed`: the request was fine, the server cannot.
#[cfg(unix)]
const NOT_SERVED: i64 = -32803;

/// Serves one client until it says `exit` or hangs up. Returns whether it said `shutdown` first.
pub async fn serve(
    input: impl AsyncRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
) -> bool {
    let (mut service, socket) = {
        let build = LspService::build(|client| Server::new(client, connection));
        dialects::register(handlers::register(build)).finish()
    };
    let (mut to_client, mut responses) = socket.split();
    let (replies, waiting) = mpsc::channel::<Value>(MAX_WAITING_REPLIES);
    let writer = tokio::spawn(write_messages(output, waiting));
    let forward = tokio::spawn({
        let replies = replies.clone();
        async move {
            while let Some(request) = to_client.next().await {
                if replies.send(json!(request)).await.is_err() {
                    break;
                }
            }
        }
    });

    // Reading cannot be broken off in the middle of a message, so it has a task of its own.
    let (arrived, mut messages) = mpsc::channel(1);
    let reader = tokio::spawn(async move {
        let mut input = BufReader::new(input);
        loop {
            let message = read_message(&mut input).await;
            let is_last = matches!(message, Ok(None));
            if arrived.send(message).await.is_err() || is_last {
                break;
            }
        }
    });
    let mut running = FuturesUnordered::new();
    let mut parent = None;
    let mut shut_down = false;
    loop {
        let message = tokio::select! {
            biased;
            Some(response) = running.next() => {
                if let Ok(Some(response)) = response
                    && replies.send(json!(response)).await.is_err()
                {
                    break;
                }
                continue;
            }
            message = messages.recv() => message.unwrap_or(Ok(None)),
            () = parent::ended(parent.as_ref()) => {
                tracing::warn!("the process that started this server has ended: so does the session");
                break;
            }
        };
        let mut message = match message {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(Malformed { code, message, body }) => {
                tracing::warn!(message, "malformed message");
                let reply = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
                if replies.send(reply).await.is_err() {
                    break;
                }
                if !body.contains("textDocument/didChange")
                    && !body.contains("notebookDocument/didChange")
                {
                    continue;
                }
                json!({"jsonrpc": "2.0", "method": handlers::UNREADABLE, "params": body})
            }
        };
        let id = message.get("id").cloned();
        if catch_unwind(AssertUnwindSafe(|| mend(&mut message))).is_err() {
            message = json!({"jsonrpc": "2.0", "id": id, "method": null});
        }
        if message.get("method").is_none() && message.get("id").is_some() {
            // A client's answer to one of our requests.
            if let Ok(response) = serde_json::from_value(message) {
                let _ = futures::SinkExt::send(&mut responses, response).await;
            }
            continue;
        }
        let request: Request = match serde_json::from_value(message) {
            Ok(request) => request,
            Err(e) => {
                let error =
                    json!({"code": -32600, "message": format!("not a JSON-RPC 2.0 request: {e}")});
                let reply = json!({"jsonrpc": "2.0", "id": id, "error": error});
                if replies.send(reply).await.is_err() {
                    break;
                }
                continue;
            }
        };
        if request.method() == "initialize" {
            parent = request.params().and_then(|params| Parent::of(params["processId"].as_u64()?));
        }
        let exit = request.method() == "exit";
        shut_down |= request.method() == "shutdown";
        // tower-lsp drops every unknown `$/` method; only notifications may be left unanswered.
        let unanswered = id.clone().filter(|_| request.method().starts_with("$/")).map(|id| {
            let error = json!({"code": -32601, "message": format!("method {} is not known", request.method())});
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        });
        let mut handler = guarded(AssertUnwindSafe(|| service.call(request)), id);
        match first_poll(&mut handler).await {
            Poll::Ready(Ok(response)) => {
                let reply = response.map(|response| json!(response)).or(unanswered);
                if let Some(reply) = reply
                    && replies.send(reply).await.is_err()
                {
                    break;
                }
            }
            Poll::Ready(Err(_exited)) => break,
            Poll::Pending => running.push(handler),
        }
        if exit {
            break;
        }
    }
    // What is already written goes out; nobody waits for handlers that still run.
    drop((service, running));
    forward.abort();
    reader.abort();
    drop(replies);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), writer).await;
    shut_down
}

/// Tells a client that it is not served, in answer to its first request, and hangs up.
#[cfg(unix)]
pub async fn refuse(input: impl AsyncRead + Unpin, mut output: impl AsyncWrite + Unpin, why: &str) {
    let mut input = BufReader::new(input);
    while let Ok(Some(message)) = read_message(&mut input).await {
        let Some(id) = message.get("id") else { continue };
        let reply =
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": NOT_SERVED, "message": why}})
                .to_string();
        let _ = output
            .write_all(format!("Content-Length: {}\r\n\r\n{reply}", reply.len()).as_bytes())
            .await;
        let _ = output.shutdown().await;
        return;
    }
}

/// What tower-lsp would read strictly is made such that it can, or goes to a handler of ours.
fn mend(message: &mut Value) {
    let Some(method) = message.get("method").and_then(Value::as_str) else { return };
    if let Some((_, ours)) = handlers::READ_BY_US.iter().find(|(theirs, _)| *theirs == method) {
        message["method"] = json!(ours);
        // Without any, tower-lsp would not call the handler, which has something to say about it.
        if message.get("params").is_none_or(Value::is_null) {
            message["params"] = json!({});
        }
    } else if method == "initialize"
        && let Some(params) = message.get_mut("params")
    {
        wire::mend_initialize(params);
    }
}

type Handled = Result<Option<Response>, ExitedError>;

/// A handler that panics is an error of its request and of nothing else. The panic itself is logged
/// by the hook with its place.
fn guarded<F>(
    call: impl FnOnce() -> F + UnwindSafe,
    id: Option<Value>,
) -> BoxFuture<'static, Handled>
where
    F: Future<Output = Handled> + Send + 'static,
{
    let answer = move |result: std::thread::Result<Handled>| {
        result.unwrap_or_else(|_| {
            let id = id.and_then(|id| serde_json::from_value(id).ok());
            Ok(id.map(|id| Response::from_error(id, Error::internal_error())))
        })
    };
    match catch_unwind(call) {
        Ok(handler) => AssertUnwindSafe(handler).catch_unwind().map(answer).boxed(),
        Err(panic) => std::future::ready(answer(Err(panic))).boxed(),
    }
}

/// Polls a future once, in place.
async fn first_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

async fn write_messages(mut output: impl AsyncWrite + Unpin, mut waiting: mpsc::Receiver<Value>) {
    while let Some(message) = waiting.recv().await {
        let body = message.to_string();
        let head = format!("Content-Length: {}\r\n\r\n", body.len());
        let written = async {
            output.write_all(head.as_bytes()).await?;
            output.write_all(body.as_bytes()).await?;
            output.flush().await
        };
        if written.await.is_err() {
            break;
        }
    }
}

struct Malformed {
    code: i64,
    message: String,
    /// What came, as far as it was kept.
    body: String,
}

fn malformed(message: impl Into<String>) -> Malformed {
    Malformed { code: -32700, message: message.into(), body: String::new() }
}

/// One message; `None` at the end of the input. After an error the next message can be read.
async fn read_message(
    input: &mut (impl AsyncBufReadExt + Unpin),
) -> Result<Option<Value>, Malformed> {
    let mut length: Option<usize> = None;
    let mut garbage = None;
    loop {
        let mut line = Vec::new();
        let read = input.take(MAX_HEADER_BYTES).read_until(b'\n', &mut line).await;
        match read {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            match (length, garbage.take()) {
                (Some(_), _) => break,
                (None, Some(garbage)) => return Err(malformed(garbage)),
                (None, None) => continue,
            }
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                match value.trim().parse() {
                    Ok(n) => length = Some(n),
                    Err(_) => {
                        garbage =
                            Some(format!("Content-Length is not a number: {:.40}", value.trim()))
                    }
                }
            }
            Some((name, _)) if name.eq_ignore_ascii_case("content-type") => {}
            _ => garbage = Some(format!("not a header line: {line:.40}")),
        }
    }
    let length = length.unwrap_or(0);
    if length > MAX_MESSAGE_BYTES {
        // The body is skipped so that the next message is found; its start tells what it was.
        let mut head = Vec::new();
        let mut body = input.take(length as u64);
        let start = (&mut body).take(KEPT_OF_SKIPPED).read_to_end(&mut head).await;
        if start.is_err() || tokio::io::copy(&mut body, &mut tokio::io::sink()).await.is_err() {
            return Ok(None);
        }
        let message =
            format!("message of {length} bytes is larger than the {MAX_MESSAGE_BYTES} allowed");
        return Err(Malformed {
            body: String::from_utf8_lossy(&head).into_owned(),
            ..malformed(message)
        });
    }
    // Grown as bytes arrive: a lying length allocates nothing.
    let mut body = Vec::new();
    match input.take(length as u64).read_to_end(&mut body).await {
        Ok(n) if n == length => {}
        _ => return Ok(None),
    }
    let read = catch_unwind(|| {
        let text = lossy::readable(&body);
        serde_json::from_str::<Value>(&text).map_err(|e| Malformed {
            body: text.clone().into_owned(),
            ..malformed(format!("message is not JSON: {e}"))
        })
    });
    let unread = |_| Malformed {
        body: String::from_utf8_lossy(&body).into_owned(),
        ..malformed("message could not be read")
    };
    let value = read.map_err(unread)??;
    if !value.is_object() {
        return Err(Malformed { code: -32600, ..malformed("message is not a JSON object") });
    }
    Ok(Some(value))
}

/// Messages of a whole input and how many of its parts were none.
pub async fn read_messages(bytes: &[u8]) -> (Vec<Value>, usize) {
    let mut input = BufReader::new(bytes);
    let (mut messages, mut malformed) = (Vec::new(), 0);
    loop {
        match read_message(&mut input).await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, malformed),
            Err(_) => malformed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8]) -> Vec<Result<Value, i64>> {
        let mut input = BufReader::new(bytes);
        let mut all = Vec::new();
        loop {
            match read_message(&mut input).await {
                Ok(Some(value)) => all.push(Ok(value)),
                Ok(None) => return all,
                Err(e) => all.push(Err(e.code)),
            }
        }
    }

    #[tokio::test]
    async fn garbage_is_answered_and_the_next_message_is_read() {
        let good = "Content-Length: 2\r\n\r\n{}";
        for (bad, code) in [
            ("Content-Length: 3\r\n\r\n{x}", -32700),
            ("Content-Length: 2\r\n\r\n[]", -32600),
            ("Content-Length: abc\r\n\r\n", -32700),
            ("hello\r\n\r\n", -32700),
            ("Content-Length: 4\r\n\r\n\u{fffd}x", -32700),
            ("Content-Length: 8\r\n\r\n{\"a\": \"\u{1}", -32700),
        ] {
            let all = read_all(format!("{good}{bad}{good}").as_bytes()).await;
            assert_eq!(all, [Ok(json!({})), Err(code), Ok(json!({}))], "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_the_error_of_its_request_and_of_nothing_else() {
        let panics: fn() -> Handled = || panic!("on purpose");
        let late = |id| guarded(move || async move { panics() }, id);
        let early = |id| guarded(move || std::future::ready(panics()), id);
        for handler in [late(Some(json!(7))), early(Some(json!("x")))] {
            let response = json!(handler.await.unwrap().unwrap());
            assert_eq!(response["error"]["code"], -32603, "{response}");
        }
        for handler in [late(None), early(None)] {
            assert!(handler.await.unwrap().is_none(), "a notification is not answered");
        }
        assert!(guarded(|| std::future::ready(Ok(None)), None).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_end_of_input_is_the_end_wherever_it_comes() {
        for cut in [
            "",
            "Content-Len",
            "Content-Length: 10\r\n",
            "Content-Length: 10\r\n\r\n{\"a\"",
            "Content-Length: 99999999999\r\n\r\nx",
        ] {
            let all = read_all(cut.as_bytes()).await;
            assert!(all.iter().all(Result::is_err), "{cut:?}");
        }
    }
}
