//! tabby-agent's extensions: status, configuration, and what became of a suggestion. Chat is not
//! there.

use serde::Deserialize;
use serde_json::{Value, json};
use tower_lsp::LspServiceBuilder;
use tower_lsp::jsonrpc::Result;

use crate::dialect::Dialect;
use crate::event::Event;
use crate::server::Server;

pub struct Tabby;

impl Dialect<Server> for Tabby {
    fn claims(&self, options: &Value) -> bool {
        options.get("clientCapabilities").is_some_and(|c| c.get("tabby").is_some())
            || options["clientInfo"].get("tabbyPlugin").is_some()
    }

    fn data(&self, id: &str) -> Option<Value> {
        Some(json!({"eventId": {"completionId": id, "choiceIndex": 0}}))
    }

    fn is_incomplete(&self) -> Option<bool> {
        Some(false)
    }

    fn register(&self, builder: LspServiceBuilder<Server>) -> LspServiceBuilder<Server> {
        builder
            .custom_method("tabby/status", Server::tabby_status)
            .custom_method("tabby/status/showHelpMessage", Server::tabby_no)
            .custom_method("tabby/status/ignoredIssues/edit", Server::tabby_no)
            .custom_method("tabby/config", Server::tabby_config)
            .custom_method("tabby/telemetry/event", Server::tabby_event)
            .custom_method("tabby/editors/didChangeActiveEditor", Server::tabby_ignored)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TelemetryEvent {
    #[serde(rename = "type")]
    kind: String,
    /// "line" for a word or a line of the suggestion.
    select_kind: Option<String>,
    event_id: EventId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventId {
    completion_id: String,
}

impl Server {
    async fn tabby_status(&self, _: Value) -> Result<Value> {
        Ok(json!({"status": "ready", "tooltip": format!("lacuna: {}", self.model_name())}))
    }

    async fn tabby_config(&self, _: Value) -> Result<Value> {
        Ok(json!({"server": {"endpoint": "", "token": "", "requestHeaders": {}}}))
    }

    async fn tabby_no(&self, _: Value) -> Result<bool> {
        Ok(false)
    }

    async fn tabby_ignored(&self, _: Value) {}

    async fn tabby_event(&self, event: TelemetryEvent) {
        let id = event.event_id.completion_id;
        match (event.kind.as_str(), event.select_kind.as_deref()) {
            ("view", _) => self.told_of(&Event::Shown { id }),
            ("select", None) => self.told_of(&Event::Accepted { id }),
            // How much was taken is not told; the edit shows it.
            ("select", Some(_)) => self.told_of(&Event::PartlyAccepted { id, utf16: None }),
            ("dismiss", _) => self.told_of(&Event::Dismissed { id }),
            (kind, _) => tracing::debug!(kind, "telemetry event of an unknown kind"),
        }
    }
}
