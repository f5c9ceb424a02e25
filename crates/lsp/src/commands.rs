//! `workspace/executeCommand`.

use serde_json::Value;
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{ExecuteCommandParams, LSPAny};

use super::dialects;
use super::event::Event;
use super::server::Server;
use super::status::{PAUSE, RESUME, SNOOZE, STATUS, StatusNotification};

/// Command by which a client tells that an item was dismissed; its only argument is the item's id.
const DISMISSED: &str = "lacuna.dismissed";

/// What there is.
pub fn commands() -> Vec<String> {
    let mut all: Vec<&str> = dialects::ALL.map(|dialect| dialect.accepted()).to_vec();
    all.dedup();
    all.extend([DISMISSED, PAUSE, RESUME, SNOOZE, STATUS]);
    all.into_iter().map(str::to_owned).collect()
}

impl Server {
    pub(super) async fn execute(&self, params: &ExecuteCommandParams) -> Result<Option<LSPAny>> {
        let arguments = &params.arguments;
        let id = || arguments.first().and_then(LSPAny::as_str).map(str::to_owned);
        match params.command.as_str() {
            accepted if dialects::ALL.iter().any(|dialect| dialect.accepted() == accepted) => {
                id().into_iter().for_each(|id| self.told_of(&Event::Accepted { id }));
                Ok(None)
            }
            DISMISSED => {
                id().into_iter().for_each(|id| self.told_of(&Event::Dismissed { id }));
                Ok(None)
            }
            PAUSE => self.told(PAUSE, self.status.pause(arguments)).await,
            RESUME => self.told(RESUME, self.status.resume(arguments)).await,
            SNOOZE => self.told(SNOOZE, self.status.snooze(arguments)).await,
            STATUS => {
                let uri = arguments.first().and_then(|argument| argument["uri"].as_str());
                Ok(Some(self.report(uri).into_value()))
            }
            other => Err(Error::invalid_params(format!(
                "unknown command {other}: this server knows {}",
                commands().join(", ")
            ))),
        }
    }

    /// The status after a command that changes it, also for whoever watches it.
    async fn told(
        &self,
        command: &str,
        done: std::result::Result<(), String>,
    ) -> Result<Option<Value>> {
        done.map_err(|e| Error::invalid_params(format!("{command}: {e}")))?;
        let report = self.report(None).into_value();
        if self.status.wants_notifications() {
            self.client.send_notification::<StatusNotification>(report.clone()).await;
        }
        Ok(Some(report))
    }
}
