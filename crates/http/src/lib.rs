//! `lacuna serve`: the same engine over HTTP, in the dialects that existing clients speak.
//!
//! Owns: routes, wire formats, limits against misuse. Does not own: prompts, generation, the
//! editor's rules (`lacuna-complete`). Start reading at [`router`] for what is answered, [`listen`]
//! for how connections are held within bounds, [`guard`] for who may ask.

mod dashboard;
mod dialect;
mod error;
mod guard;
mod listen;
mod llama;
mod metrics;
mod ollama;
mod openai;
mod pages;
mod run;
mod state;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::sync::watch;

use lacuna_serving::{Token, models, say};
use state::Shared;

/// Serve completions over HTTP: /infill, /v1/completions, /v1/fim/completions, /api/generate,
/// /health, /metrics; and /dashboard
#[derive(clap::Args)]
pub struct Args {
    /// Address to listen on; anything but loopback needs --token-file [default: http.listen,
    /// 127.0.0.1:8012]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// File whose first line is the token that clients send as `Authorization: Bearer TOKEN`
    #[arg(long, value_name = "F")]
    token_file: Option<PathBuf>,
    /// Model: a directory in Hugging Face layout or a packed file [default: the embedded model]
    #[arg(long, value_name = "M")]
    model: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let resolved = lacuna_config::resolve_here(args.model.as_deref())?;
    resolved.warn();
    let http = &resolved.config.http;
    let address = match args.listen {
        Some(address) => address,
        None => http.listen.parse().with_context(|| {
            format!("http.listen = {:?}: use an address like 127.0.0.1:8012", http.listen)
        })?,
    };
    let token_file = args
        .token_file
        .clone()
        .or_else(|| (!http.token_file.is_empty()).then(|| PathBuf::from(&http.token_file)));
    let token = token_file.as_deref().map(Token::read).transpose()?;
    if !address.ip().is_loopback() && token.is_none() {
        bail!(
            "--listen {address} can be reached from other machines: give --token-file F with a secret in it, or use 127.0.0.1"
        );
    }
    let limits = listen::Limits { connections: http.max_connections, ..listen::Limits::default() };
    let dashboard = dashboard::Dashboard::new(&resolved.config);
    let shared = Arc::new(Shared::new(http.max_requests, token, dashboard));

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (stop, stopped) = watch::channel(false);
    ctrlc::set_handler(move || {
        let _ = stop.send(true);
    })?;
    let config = resolved.config;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("--listen {address}: cannot listen there"))?;
        let address = listener.local_addr()?;
        say(&format!("listening on http://{address}"));
        // Clients that ask while the weights are read get 503, as they know it from llama-server.
        let loading = tokio::task::spawn_blocking({
            let shared = Arc::clone(&shared);
            move || {
                let loaded = models::load_configured(&config.model)?;
                let completer = loaded.completer(&config)?;
                shared.ready(loaded.name, completer);
                anyhow::Ok(())
            }
        });
        let serving = listen::serve(listener, router(Arc::clone(&shared)), limits, stopped);
        tokio::pin!(serving);
        tokio::select! {
            loaded = loading => loaded??,
            () = &mut serving => return anyhow::Ok(()),
        }
        serving.await;
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}

fn router(shared: Arc<Shared>) -> Router {
    let asked = Router::new()
        .route("/infill", post(llama::infill))
        .route("/props", get(llama::props))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/fim/completions", post(openai::fim_completions))
        .route("/v1/models", get(openai::models))
        .route("/api/generate", post(ollama::generate))
        .route("/api/tags", get(ollama::tags))
        .route("/api/show", post(ollama::show))
        .route("/api/version", get(ollama::version))
        .route("/metrics", get(pages::metrics))
        .layer(from_fn_with_state(Arc::clone(&shared), guard::token));
    let looked_at = Router::new()
        .route("/dashboard", get(pages::dashboard))
        .layer(from_fn_with_state(Arc::clone(&shared), guard::password));
    // Whether we are there may be asked without a token: load balancers do.
    Router::new()
        .route("/health", get(llama::health))
        // Who types the address into a browser is looking for the one page there is.
        .route("/", get(|| async { axum::response::Redirect::temporary("/dashboard") }))
        .merge(asked)
        .merge(looked_at)
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(error::MAX_BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(&shared), guard::no_browsers))
        .layer(from_fn_with_state(Arc::clone(&shared), pages::count))
        .with_state(shared)
}

/// Sends a body to every route that takes one, before a model is there: the parsers alone answer.
pub async fn send_to_parsers(body: &[u8]) {
    use tower_service::Service;
    let mut routes = router(Arc::new(Shared::new(
        1,
        None,
        dashboard::Dashboard::new(&lacuna_config::Config::default()),
    )));
    for path in ["/infill", "/v1/completions", "/v1/fim/completions", "/api/generate"] {
        let request = axum::http::Request::post(path).body(axum::body::Body::from(body.to_vec()));
        let Ok(request) = request else { continue };
        let Ok(response) = routes.call(request).await;
        assert!(
            response.status().is_client_error()
                || response.status() == axum::http::StatusCode::SERVICE_UNAVAILABLE,
            "{path}"
        );
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn while_the_model_loads_clients_are_told_to_wait() {
        let mut routes = router(Arc::new(Shared::new(
            1,
            None,
            dashboard::Dashboard::new(&lacuna_config::Config::default()),
        )));
        let infill = r#"{"input_prefix": "a", "input_suffix": "b"}"#;
        for (method, path, body, status) in [
            ("GET", "/health", "", StatusCode::SERVICE_UNAVAILABLE),
            ("POST", "/infill", infill, StatusCode::SERVICE_UNAVAILABLE),
            (
                "POST",
                "/v1/completions",
                r#"{"prompt": "a", "stream": true}"#,
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            ("GET", "/v1/models", "", StatusCode::SERVICE_UNAVAILABLE),
            ("GET", "/metrics", "", StatusCode::OK),
            ("GET", "/", "", StatusCode::TEMPORARY_REDIRECT),
        ] {
            let request =
                Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
            let response = routes.call(request).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
            assert!(
                !status.is_server_error() || body.windows(13).any(|w| w == b"Loading model"),
                "{path}: {body:?}"
            );
        }
    }
    #[tokio::test]
    async fn a_name_needs_the_right_token_and_not_just_any_header() {
        let dashboard = || dashboard::Dashboard::new(&lacuna_config::Config::default());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef").unwrap();
        let token = || Some(Token::read(&file).unwrap());
        for (token, host, sent, passes) in [
            (None, "127.0.0.1", None, true),
            (None, "evil.example", None, false),
            (None, "evil.example", Some("Bearer 0123456789abcdef"), false),
            (None, "evil.example", Some("x"), false),
            (token(), "evil.example", None, false),
            (token(), "evil.example", Some("Bearer wrong"), false),
            (token(), "evil.example", Some("Bearer 0123456789abcdef"), true),
            (token(), "evil.example", Some("Basic OjAxMjM0NTY3ODlhYmNkZWY="), true),
        ] {
            let mut routes = router(Arc::new(Shared::new(1, token, dashboard())));
            for path in ["/health", "/dashboard"] {
                let mut request = Request::builder().uri(path).header("host", host);
                if let Some(sent) = sent {
                    request = request.header("authorization", sent);
                }
                let status =
                    routes.call(request.body(Body::empty()).unwrap()).await.unwrap().status();
                let refused = [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED].contains(&status);
                assert_eq!(refused, !passes, "{path} of {host} with {sent:?}: {status}");
            }
        }
    }
}
