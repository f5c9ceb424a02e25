//! Who may ask: the holder of the token, and no web page.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::error::ApiError;
use super::state::Shared;
use crate::private;

/// A shorter secret can be guessed.
const MIN_TOKEN_BYTES: usize = 16;
const MAX_TOKEN_BYTES: usize = 4096;

/// The secret that clients must send.
pub struct Token(String);

impl Token {
    /// The first line of a file.
    pub fn read(path: &Path) -> anyhow::Result<Token> {
        let name = || format!("token file {}", path.display());
        private::check_secret(path).with_context(|| "token file".to_owned())?;
        let length = std::fs::metadata(path).with_context(name)?.len();
        if length > MAX_TOKEN_BYTES as u64 {
            bail!("{} has {length} bytes: its first line shall be the token", name());
        }
        let text = std::fs::read_to_string(path).with_context(name)?;
        let token = text.lines().next().unwrap_or("").trim().to_owned();
        if token.len() < MIN_TOKEN_BYTES || !token.bytes().all(|b| b.is_ascii_graphic()) {
            bail!(
                "{}: the first line must be at least {MIN_TOKEN_BYTES} printable characters without blanks, e.g. from `openssl rand -hex 32`",
                name()
            );
        }
        Ok(Token(token))
    }

    /// Whether this is the token; compared as in [`Token::is_sent`].
    pub fn is(&self, sent: &[u8]) -> bool {
        sent.ct_eq(self.0.as_bytes()).into()
    }

    /// Compared in a time that does not tell how much of a guess is right (its length may be told).
    fn is_sent(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).map(|v| v.as_bytes()).unwrap_or_default();
        let sent = sent
            .split_at_checked(7)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, token)| token.trim_ascii());
        sent.is_some_and(|token| token.ct_eq(self.0.as_bytes()).into())
    }

    /// As [`Token::is_sent`], for browsers: the password of HTTP's basic authentication, under any
    /// name.
    fn is_password(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).map(|v| v.as_bytes()).unwrap_or_default();
        let sent = sent
            .split_at_checked(6)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"basic "))
            .map(|(_, pair)| pair.trim_ascii());
        let pair = sent.and_then(|pair| STANDARD.decode(pair).ok()).unwrap_or_default();
        let password = pair.iter().position(|b| *b == b':').map(|colon| &pair[colon + 1..]);
        password.is_some_and(|password| password.ct_eq(self.0.as_bytes()).into())
    }
}

/// Lets a request through that carries the token, if there is one.
pub async fn token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match &shared.token {
        Some(token) if !token.is_sent(request.headers()) => {
            ApiError::unauthorized().into_response()
        }
        _ => next.run(request).await,
    }
}

/// As [`token`], for pages: browsers ask for the token as a password, and send it again by
/// themselves. Not for requests that change something or cost something, which another site's page
/// could then make in the user's name.
pub async fn password(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match &shared.token {
        Some(token)
            if !token.is_sent(request.headers()) && !token.is_password(request.headers()) =>
        {
            ask_for_password()
        }
        _ => next.run(request).await,
    }
}

fn ask_for_password() -> Response {
    let mut refusal = ApiError::unauthorized().into_response();
    let ask = HeaderValue::from_static(
        "Basic realm=\"lacuna: any name, the server's token as password\", charset=\"UTF-8\"",
    );
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
    refusal
}

/// Refuses requests that a browser makes for a page: those carry `Origin`, and pages that reach us
/// by a name that was bound to a loopback address carry that name in `Host`. Programs send neither.
pub async fn no_browsers(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return ApiError::forbidden(
            "requests of web pages are refused: there is no cross-origin access",
        )
        .into_response();
    }
    let host = request.uri().host().map(str::to_owned).or_else(|| {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        host.parse::<Uri>().ok()?.host().map(str::to_owned)
    });
    let by_address = host.as_deref().is_none_or(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
    });
    // With the token a name is fine: a reverse proxy sends its own, and a page does not know the
    // token.
    match &shared.token {
        _ if by_address => next.run(request).await,
        Some(token) if token.is_sent(headers) || token.is_password(headers) => {
            next.run(request).await
        }
        Some(_) => ask_for_password(),
        None => ApiError::forbidden(
            "ask by address or as localhost: other names need a server with --token-file",
        )
        .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        Token("0123456789abcdef".into()).is_sent(&headers)
    }

    #[test]
    fn only_the_token_itself_passes() {
        assert!(sent("Bearer 0123456789abcdef"));
        assert!(sent("bearer  0123456789abcdef"));
        for wrong in [
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcdef0",
            "Bearer ",
            "Bearer",
            "Basic 0123456789abcdef",
            "",
        ] {
            assert!(!sent(wrong), "{wrong:?}");
        }
        assert!(!Token("0123456789abcdef".into()).is_sent(&HeaderMap::new()));
    }

    #[test]
    fn a_browser_sends_it_as_a_password() {
        let sent = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            Token("0123456789abcdef".into()).is_password(&headers)
        };
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for right in ["me:0123456789abcdef", ":0123456789abcdef", "ä:0123456789abcdef"] {
            assert!(sent(&basic(right)), "{right}");
        }
        for wrong in [
            "0123456789abcdef",
            "me:0123456789abcde",
            "me:x:0123456789abcdef",
            "0123456789abcdef:",
            "",
            ":",
        ] {
            assert!(!sent(&basic(wrong)), "{wrong}");
        }
        for wrong in ["Basic", "Basic ", "Basic %%%", "Bearer 0123456789abcdef", ""] {
            assert!(!sent(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_token_file_that_protects_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (text, fine) in [
            ("0123456789abcdef\nmore", true),
            ("short", false),
            ("", false),
            ("0123456789 abcdef", false),
            ("0123456789abcdeé", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Token::read(&path).is_ok(), fine, "{text:?}");
        }
        assert!(Token::read(&dir.path().join("none")).is_err());
    }
}
