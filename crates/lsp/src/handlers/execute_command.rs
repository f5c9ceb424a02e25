//! Commands: what became of an item, pauses, the snooze, the status.

use serde_json::Value;
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{ExecuteCommandParams, LSPAny};

use crate::dialects;
use crate::event::Event;
use crate::server::Server;
use crate::status::{PAUSE, RESUME, SNOOZE, STATUS, StatusNotification};

/// Command by which a client tells that an item was dismissed; its only argument is the item's id.
const DISMISSED: &str = "lacuna.dismissed";

/// What there is.
pub fn commands() -> Vec<String> {
    let mut all: Vec<&str> = dialects::ALL.map(|dialect| dialect.accepted()).to_vec();
    all.dedup();
    all.extend([DISMISSED, PAUSE, RESUME, SNOOZE, STATUS]);
    all.into_iter().map(str::to_owned).collect()
}

/// `workspace/executeCommand`.
pub async fn handle(server: &Server, params: &ExecuteCommandParams) -> Result<Option<LSPAny>> {
    let arguments = &params.arguments;
    let id = || arguments.first().and_then(LSPAny::as_str).map(str::to_owned);
    match params.command.as_str() {
        accepted if dialects::ALL.iter().any(|dialect| dialect.accepted() == accepted) => {
            id().into_iter().for_each(|id| server.told_of(&Event::Accepted { id }));
            Ok(None)
        }
        DISMISSED => {
            id().into_iter().for_each(|id| server.told_of(&Event::Dismissed { id }));
            Ok(None)
        }
        PAUSE => told(server, PAUSE, server.status.pause(arguments)).await,
        RESUME => told(server, RESUME, server.status.resume(arguments)).await,
        SNOOZE => told(server, SNOOZE, server.status.snooze(arguments)).await,
        STATUS => {
            let uri = arguments.first().and_then(|argument| argument["uri"].as_str());
            Ok(Some(server.report(uri).into_value()))
        }
        other => Err(Error::invalid_params(format!(
            "unknown command {other}: this server knows {}",
            commands().join(", ")
        ))),
    }
}

/// The status after a command that changes it, also for whoever watches it.
async fn told(
    server: &Server,
    command: &str,
    done: std::result::Result<(), String>,
) -> Result<Option<Value>> {
    done.map_err(|e| Error::invalid_params(format!("{command}: {e}")))?;
    let report = server.report(None).into_value();
    if server.status.wants_notifications() {
        server.client.send_notification::<StatusNotification>(report.clone()).await;
    }
    Ok(Some(report))
}
