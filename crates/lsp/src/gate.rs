//! Who may speak LSP over a connection: the holder of a token (`--tcp`), or the owner of a socket
//! (`--socket`).
//!
//! A loopback port can be reached by every user of the machine and, with an HTTP request, by every
//! web page that its browsers show. So what comes is looked at before the server sees any of it:
//! the first line must be a header of LSP's, the first message an `initialize`, and the token must
//! come with it. Anything else is hung up on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lacuna_serving::{Token, say};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::server::Connection;
use super::transport;

/// The first message has to be here by then.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// Longest first message, and longest header line.
const MAX_FIRST_BYTES: usize = 1 << 20;
const MAX_LINE: u64 = 4 << 10;
/// Headers before the first message.
const MAX_HEADERS: usize = 8;
/// Clients at once, those that have not shown their token included.
const MAX_CLIENTS: usize = 64;

pub async fn serve_tcp(
    address: SocketAddr,
    token: Arc<Token>,
    connection: Connection,
) -> anyhow::Result<bool> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("--tcp {address}: cannot listen"))?;
    say(&format!("listening on {}", listener.local_addr()?));
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of file descriptors, for example: that passes when connections end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (connection, token) = (connection.clone(), Arc::clone(&token));
        tokio::spawn(async move {
            let (input, output) = tokio::io::split(stream);
            let mut input = BufReader::new(input);
            match tokio::time::timeout(FIRST_MESSAGE, first_message(&mut input, &token)).await {
                Ok(Ok(first)) => {
                    tracing::info!(%peer, "client connected");
                    transport::serve(std::io::Cursor::new(first).chain(input), output, connection)
                        .await;
                }
                Ok(Err(why)) => tracing::warn!(%peer, "connection refused: {why}"),
                Err(_) => tracing::warn!(%peer, "connection refused: it said nothing"),
            }
            drop(place);
        });
    }
}

/// Reads the first message and asks for the token. Returns the message again, framed, without the
/// token.
async fn first_message(
    input: &mut (impl AsyncRead + Unpin + AsyncBufReadExt),
    token: &Token,
) -> Result<Vec<u8>, &'static str> {
    let (mut length, mut shown) = (None, false);
    for _ in 0..MAX_HEADERS {
        let mut line = Vec::new();
        let read = (&mut *input).take(MAX_LINE).read_until(b'\n', &mut line).await;
        if read.is_err() || line.last() != Some(&b'\n') {
            return Err("no header of LSP's");
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|b| *b == b':').ok_or("no header of LSP's")?;
        let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
        match name.as_slice() {
            b"content-length" => {
                length = std::str::from_utf8(value).ok().and_then(|n| n.parse::<usize>().ok())
            }
            b"content-type" => {}
            b"authorization" => {
                shown =
                    value.split_at_checked(7).is_some_and(|(_, sent)| token.is(sent.trim_ascii()))
            }
            _ => return Err("no header of LSP's"),
        }
    }
    let length =
        length.filter(|length| *length <= MAX_FIRST_BYTES).ok_or("no length of a first message")?;
    let mut body = vec![0; length];
    input.read_exact(&mut body).await.map_err(|_| "a first message that ends early")?;
    let mut message: Value =
        serde_json::from_slice(&body).map_err(|_| "a first message that is no JSON")?;
    if message["method"] != "initialize" {
        return Err("its first message is not initialize");
    }
    for place in ["/params/initializationOptions", "/params/initializationOptions/lacuna"] {
        let options = message.pointer_mut(place).and_then(Value::as_object_mut);
        if let Some(Value::String(sent)) = options.and_then(|options| options.remove("token")) {
            shown |= token.is(sent.as_bytes());
        }
    }
    if !shown {
        return Err(
            "without the token: send Authorization: Bearer TOKEN before the first message, or initializationOptions.token",
        );
    }
    let body = message.to_string();
    Ok(format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// Serves clients on a socket that only its owner can connect to.
#[cfg(unix)]
pub async fn serve_socket(path: &std::path::Path, connection: Connection) -> anyhow::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let name = || format!("--socket {}", path.display());
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!("{}: another server listens there", name());
    }
    // A socket that nobody listens on was left behind; anything else is not ours to remove.
    if std::fs::symlink_metadata(path)
        .is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()))
    {
        std::fs::remove_file(path).with_context(name)?;
    }
    let listener = tokio::net::UnixListener::bind(path).with_context(name)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(name)?;
    say(&format!("listening on {}", path.display()));
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Whoever came between the binding and its rights.
        if stream.peer_cred().map_or(true, |peer| peer.uid() != nix::unistd::geteuid().as_raw()) {
            tracing::warn!("a connection of another user was refused");
            continue;
        }
        let connection = connection.clone();
        tokio::spawn(async move {
            let (input, output) = stream.into_split();
            transport::serve(input, output, connection).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_lsp_with_the_token_comes_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef").unwrap();
        let token = Token::read(&file).unwrap();
        let framed = |headers: &str, body: &str| {
            format!("{headers}Content-Length: {}\r\n\r\n{body}", body.len())
        };
        let initialize =
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}"#;
        let with = |options: &str| {
            initialize
                .replace("\"capabilities\":{}", &format!("\"initializationOptions\":{options}"))
        };
        for (sent, fine) in [
            (framed("Authorization: Bearer 0123456789abcdef\r\n", initialize), true),
            (framed("", &with(r#"{"token":"0123456789abcdef"}"#)), true),
            (framed("", &with(r#"{"lacuna":{"token":"0123456789abcdef"}}"#)), true),
            (framed("", initialize), false),
            (framed("", &with(r#"{"token":"0123456789abcdeg"}"#)), false),
            (framed("Authorization: Bearer nonsense\r\n", initialize), false),
            (
                framed(
                    "Authorization: Bearer 0123456789abcdef\r\n",
                    &initialize.replace("initialize", "shutdown"),
                ),
                false,
            ),
            (
                format!(
                    "POST / HTTP/1.1\r\nHost: localhost\r\n{}",
                    framed("", &with(r#"{"token":"0123456789abcdef"}"#))
                ),
                false,
            ),
            (
                format!(
                    "Host: localhost\r\n{}",
                    framed("", &with(r#"{"token":"0123456789abcdef"}"#))
                ),
                false,
            ),
            ("Content-Length: 99999999999\r\n\r\n".to_owned(), false),
            ("x".repeat(10_000), false),
            (String::new(), false),
        ] {
            let first = first_message(&mut BufReader::new(sent.as_bytes()), &token).await;
            assert_eq!(first.is_ok(), fine, "{sent:.200}: {first:?}");
            assert!(
                first.is_err()
                    || !String::from_utf8(first.unwrap()).unwrap().contains("0123456789abcdef"),
                "the token goes no further"
            );
        }
    }
}
