//! Messages in and out: framing, one reply per request, and order.
//!
//! tower-lsp's own transport ends at the first malformed message and runs at most a fixed number of handlers. Here a malformed
//! message is answered and skipped, and every handler is polled once in the order in which its message arrived (so that text
//! edits, which happen before a handler's first await, are applied in order) before it goes on beside the others. All of a client's
//! handlers are polled by one task, which sends a reply the moment it is there: an edit cannot come between a handler's last look at
//! the text and its reply.

use std::pin::Pin;
use std::task::Poll;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tower_lsp::LspService;
use tower_lsp::jsonrpc::Request;
use tower_service::Service;

use super::server::Server;
use super::{Connection, dialects};

/// A longer message is refused: no editor sends a larger file than we complete.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Header lines longer than this are garbage.
const MAX_HEADER_BYTES: u64 = 4 << 10;
/// Replies that wait for a client that does not read; then requests wait too, and memory stays bounded.
const MAX_WAITING_REPLIES: usize = 256;

/// Serves one client until it says `exit` or hangs up. Returns whether it said `shutdown` first.
pub async fn serve(
    input: impl AsyncRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
) -> bool {
    let (mut service, socket) = {
        let build = LspService::build(|client| Server::new(client, connection));
        let build = build.custom_method("textDocument/inlineCompletion", Server::inline_completion);
        dialects::register(build.custom_method("lacuna/status", Server::status)).finish()
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
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(Malformed { code, message }) => {
                tracing::warn!(message, "malformed message");
                let reply = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
                if replies.send(reply).await.is_err() {
                    break;
                }
                continue;
            }
        };
        if message.get("method").is_none() && message.get("id").is_some() {
            // A client's answer to one of our requests.
            if let Ok(response) = serde_json::from_value(message) {
                let _ = futures::SinkExt::send(&mut responses, response).await;
            }
            continue;
        }
        let id = message.get("id").cloned();
        let request: Request = match serde_json::from_value(message) {
            Ok(request) => request,
            Err(e) => {
                let error = json!({"code": -32600, "message": format!("not a JSON-RPC 2.0 request: {e}")});
                let reply = json!({"jsonrpc": "2.0", "id": id, "error": error});
                if replies.send(reply).await.is_err() {
                    break;
                }
                continue;
            }
        };
        let exit = request.method() == "exit";
        shut_down |= request.method() == "shutdown";
        // tower-lsp drops every unknown `$/` method; only notifications may be left unanswered.
        let unanswered = id.filter(|_| request.method().starts_with("$/")).map(|id| {
            let error = json!({"code": -32601, "message": format!("method {} is not known", request.method())});
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        });
        let mut handler = service.call(request);
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
}

fn malformed(message: impl Into<String>) -> Malformed {
    Malformed { code: -32700, message: message.into() }
}

/// One message; `None` at the end of the input. After an error the next message can be read.
async fn read_message(input: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Option<Value>, Malformed> {
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
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => match value.trim().parse() {
                Ok(n) => length = Some(n),
                Err(_) => garbage = Some(format!("Content-Length is not a number: {:.40}", value.trim())),
            },
            Some((name, _)) if name.eq_ignore_ascii_case("content-type") => {}
            _ => garbage = Some(format!("not a header line: {line:.40}")),
        }
    }
    let length = length.unwrap_or(0);
    if length > MAX_MESSAGE_BYTES {
        // The body is skipped so that the next message is found.
        let skipped = tokio::io::copy(&mut input.take(length as u64), &mut tokio::io::sink()).await;
        if skipped.is_err() {
            return Ok(None);
        }
        return Err(malformed(format!("message of {length} bytes is larger than the {MAX_MESSAGE_BYTES} allowed")));
    }
    // Grown as bytes arrive: a lying length allocates nothing.
    let mut body = Vec::new();
    match input.take(length as u64).read_to_end(&mut body).await {
        Ok(n) if n == length => {}
        _ => return Ok(None),
    }
    let value: Value = serde_json::from_slice(&body).map_err(|e| malformed(format!("message is not JSON: {e}")))?;
    if !value.is_object() {
        return Err(Malformed { code: -32600, message: "message is not a JSON object".to_owned() });
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
        ] {
            let all = read_all(format!("{good}{bad}{good}").as_bytes()).await;
            assert_eq!(all, [Ok(json!({})), Err(code), Ok(json!({}))], "{bad:?}");
        }
    }

    #[tokio::test]
    async fn the_end_of_input_is_the_end_wherever_it_comes() {
        for cut in ["", "Content-Len", "Content-Length: 10\r\n", "Content-Length: 10\r\n\r\n{\"a\"", "Content-Length: 99999999999\r\n\r\nx"]
        {
            let all = read_all(cut.as_bytes()).await;
            assert!(all.iter().all(Result::is_err), "{cut:?}");
        }
    }
}
