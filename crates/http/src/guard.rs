//! Who may ask: the holder of the token, and no web page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lacuna_serving::Token;

use super::error::ApiError;
use super::state::Shared;

/// Whether a request carries the token.
fn is_sent(token: &Token, headers: &HeaderMap) -> bool {
    secret(headers, "bearer ").is_some_and(|sent| token.is(sent))
}

/// As [`is_sent`], for browsers: the password of HTTP's basic authentication, under any name.
fn is_password(token: &Token, headers: &HeaderMap) -> bool {
    let pair = secret(headers, "basic ").and_then(|pair| STANDARD.decode(pair).ok());
    let pair = pair.unwrap_or_default();
    let password = pair.iter().position(|b| *b == b':').map(|colon| &pair[colon + 1..]);
    password.is_some_and(|password| token.is(password))
}

/// What `Authorization` says behind this scheme.
fn secret<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a [u8]> {
    let sent = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (said, secret) = sent.split_at_checked(scheme.len())?;
    said.eq_ignore_ascii_case(scheme.as_bytes()).then(|| secret.trim_ascii())
}

/// Lets a request through that carries the token, if there is one.
pub async fn token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match &shared.token {
        Some(token) if !is_sent(token, request.headers()) => {
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
            if !is_sent(token, request.headers()) && !is_password(token, request.headers()) =>
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
        Some(token) if is_sent(token, headers) || is_password(token, headers) => {
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

    fn token() -> Token {
        Token::parse("0123456789abcdef").unwrap()
    }

    fn sent(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        is_sent(&token(), &headers)
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
        assert!(!is_sent(&token(), &HeaderMap::new()));
    }

    #[test]
    fn a_browser_sends_it_as_a_password() {
        let sent = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            is_password(&token(), &headers)
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
}
