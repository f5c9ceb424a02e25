//! `lacuna lsp`: the language server.
//!
//! Start reading at [`handlers`] for the messages that there are, [`answer`] for the one request
//! that matters, [`documents`] for what is known of open documents, [`transport`] for how messages
//! come and go, [`status`] and [`manners`] for why nothing may be answered.

mod about;
mod answer;
#[cfg(unix)]
mod attach;
mod dialect;
mod dialects;
pub mod document;
pub mod documents;
mod event;
mod experiments;
mod gate;
mod handlers;
pub mod inline;
pub mod manners;
mod memory;
mod neighbours;
pub mod notebooks;
mod parent;
mod reasons;
mod record;
pub mod requests;
mod secrets;
mod server;
pub mod settings;
mod status;
pub mod telemetry;
pub mod trace;
mod transport;
mod uris;
pub mod view;
pub mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use lacuna_config::ModelConfig;
use lacuna_serving::Token;
use lacuna_serving::models;

pub use about::About;
pub use reasons::{Advice, quiet_advice};
pub use secrets::{keep_secrets, quiet_line};
pub use status::Status;
pub use transport::read_messages;

use self::record::Recorder;
use self::server::Connection;

/// Run the language server on standard input and output
#[derive(clap::Args)]
pub struct Args {
    /// Listen on a loopback address instead, e.g. 127.0.0.1:7777 (port 0: any; the one taken is
    /// printed on stderr). Needs --token-file: other users and web pages reach it too
    #[arg(long, value_name = "ADDR", requires = "token_file")]
    tcp: Option<SocketAddr>,
    /// File whose first line is the token that clients of --tcp send: a header `Authorization:
    /// Bearer TOKEN` before their first message, or `token` in its initializationOptions
    #[arg(long, value_name = "F", requires = "tcp")]
    token_file: Option<PathBuf>,
    /// Listen on this socket instead; only its owner can connect
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["tcp", "attach"])]
    socket: Option<PathBuf>,
    /// Model: a directory in Hugging Face layout or a packed file [default: the embedded model]
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Append the session's keystrokes to this file, as traces for `lacuna bench replay`. The text
    /// of every document that is opened is in it; paths are hashed
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Use one engine for all editors: attach to it, start it where there is none. Without this
    /// flag a running one is used, none is started
    #[arg(long, conflicts_with_all = ["tcp", "record", "no_attach"])]
    attach: bool,
    /// Run the engine in this process, whatever else runs
    #[arg(long)]
    no_attach: bool,
    /// Seconds after which an engine without editors ends
    #[arg(long, value_name = "S", default_value_t = 300)]
    engine_idle: u64,
    /// Be that engine, on this socket
    #[arg(long, value_name = "SOCKET", hide = true, conflicts_with_all = ["tcp", "record", "attach"])]
    engine: Option<PathBuf>,
    /// Accepted because editors pass it; standard input and output are the default
    #[arg(long, hide = true)]
    stdio: bool,
}

/// Serves until the client ends it; whether that was as the protocol asks.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    if let Some(address) = args.tcp
        && !address.ip().is_loopback()
    {
        bail!(
            "--tcp {address} is not a loopback address: the token would cross a network in the clear, use 127.0.0.1"
        );
    }
    let token = args.token_file.as_deref().map(Token::read).transpose()?;
    // The model is loaded before the first message, so that a bad --model is an exit code rather
    // than a silent server.
    let resolved = lacuna_config::resolve_here(args.model.as_deref())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    #[cfg(unix)]
    if let Some(clean) = runtime.block_on(attached(args, &resolved.config.model))? {
        runtime.shutdown_background();
        return Ok(clean);
    }
    let loaded = Arc::new(models::load_configured(&resolved.config.model)?);
    let recorder = args.record.as_deref().map(Recorder::new).transpose()?.map(Arc::new);
    let connection = Connection { loaded, model: args.model.clone(), recorder };
    #[cfg(unix)]
    if let Some(socket) = &args.engine {
        runtime.block_on(attach::serve_engine(
            socket,
            connection,
            Duration::from_secs(args.engine_idle),
        ))?;
        return Ok(true);
    }
    let clean = runtime.block_on(async {
        #[cfg(unix)]
        if let Some(path) = &args.socket {
            return gate::serve_socket(path, connection).await;
        }
        match args.tcp.zip(token) {
            None => {
                let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
                Ok(transport::serve(input, output, connection).await)
            }
            Some((address, token)) => gate::serve_tcp(address, Arc::new(token), connection).await,
        }
    })?;
    // A read of standard input that is still blocked must not keep the process alive after `exit`.
    runtime.shutdown_background();
    Ok(clean)
}

/// Passes messages to the engine of this user, if there is one or one is wanted. `None`: this
/// process has to be the engine itself.
#[cfg(unix)]
async fn attached(args: &Args, model: &ModelConfig) -> anyhow::Result<Option<bool>> {
    if args.no_attach
        || args.engine.is_some()
        || args.tcp.is_some()
        || args.socket.is_some()
        || args.record.is_some()
    {
        return Ok(None);
    }
    let socket = match attach::socket(model) {
        Ok(socket) => socket,
        Err(error) if args.attach => return Err(error),
        // Nobody asked for a shared engine: not being able to have one is no reason to fail.
        Err(error) => {
            tracing::info!(%error, "no shared engine");
            return Ok(None);
        }
    };
    if !args.attach && !attach::is_running(&socket).await {
        return Ok(None);
    }
    attach::attach(&socket, model, Duration::from_secs(args.engine_idle)).await.map(Some)
}

/// For `lacuna doctor`: whether an engine runs that an editor with this model would share.
pub fn describe_engine(model: &ModelConfig) -> String {
    #[cfg(unix)]
    return attach::describe(model);
    #[cfg(not(unix))]
    return format!("not on this system (model {})", model.path);
}
