//! The methods of Copilot's language server, current and legacy (copilot.lua with
//! `server.custom_server_filepath`, copilot.vim).
//!
//! There is no account here: whoever asks is told that all is well.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower_lsp::jsonrpc::Result;
use tower_lsp::ls_types::notification::Notification;
use tower_lsp::{Client, LspServiceBuilder};

use crate::answer::Answered;
use crate::dialect::Dialect;
use crate::event::Event;
use crate::handlers::inline_completion;
use crate::handlers::item_events;
use crate::inline::{Params, Place, WirePosition, WireRange};
use crate::server::Server;

/// What its clients show in a status line.
enum CopilotStatus {}

impl Notification for CopilotStatus {
    type Params = Value;
    const METHOD: &'static str = "didChangeStatus";
}

impl CopilotStatus {
    /// There is no account and no network that could fail.
    fn ready() -> Value {
        json!({"busy": false, "message": "", "kind": "Normal"})
    }
}

pub struct Copilot;

impl Dialect<Server> for Copilot {
    fn claims(&self, options: &Value) -> bool {
        options.get("editorPluginInfo").is_some()
    }

    fn accepted(&self) -> &'static str {
        "github.copilot.didAcceptCompletionItem"
    }

    fn greet<'a>(&self, client: &'a Client) -> BoxFuture<'a, ()> {
        client.send_notification::<CopilotStatus>(CopilotStatus::ready()).boxed()
    }

    fn register(&self, builder: LspServiceBuilder<Server>) -> LspServiceBuilder<Server> {
        builder
            .custom_method("checkStatus", Server::copilot_status)
            .custom_method("getVersion", Server::copilot_version)
            .custom_method("setEditorInfo", Server::copilot_ok)
            .custom_method("signIn", Server::copilot_signed_in)
            .custom_method("signInInitiate", Server::copilot_signed_in)
            .custom_method("signInConfirm", Server::copilot_status)
            .custom_method("signOut", Server::copilot_ok)
            .custom_method("copilot/models", Server::copilot_models)
            .custom_method("getCompletions", Server::copilot_completions)
            .custom_method("getCompletionsCycling", Server::copilot_cycling)
            .custom_method("getPanelCompletions", Server::copilot_cycling)
            .custom_method("notifyShown", Server::copilot_shown)
            .custom_method("notifyAccepted", Server::copilot_accepted)
            .custom_method("notifyRejected", Server::copilot_rejected)
            .custom_method("textDocument/copilotPanelCompletion", Server::copilot_panel)
            .custom_method("textDocument/copilotInlineEdit", Server::copilot_inline_edit)
            .custom_method("textDocument/didShowCompletion", item_events::did_show)
            .custom_method(
                "textDocument/didPartiallyAcceptCompletion",
                item_events::did_partially_accept,
            )
            .custom_method("textDocument/didShowInlineEdit", Server::copilot_ignored)
            .custom_method("textDocument/didFocus", Server::copilot_ignored)
    }
}

/// `getCompletions`: the place stands under `doc`, or at the top beside `textDocument`.
#[derive(Deserialize)]
pub struct Legacy {
    doc: Option<LegacyDocument>,
    #[serde(rename = "textDocument")]
    text_document: Option<LegacyDocument>,
    position: Option<WirePosition>,
}

#[derive(Deserialize)]
struct LegacyDocument {
    uri: String,
    position: Option<WirePosition>,
}

impl Legacy {
    fn place(self) -> Option<(String, WirePosition)> {
        let document = self.doc.or(self.text_document)?;
        Some((document.uri, document.position.or(self.position)?))
    }
}

#[derive(Serialize)]
pub struct LegacyCompletions {
    completions: Vec<LegacyCompletion>,
}

/// `text` replaces `range`; `displayText` is what stands right of the cursor.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LegacyCompletion {
    uuid: String,
    text: String,
    display_text: String,
    position: WirePosition,
    range: WireRange,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uuid {
    uuid: String,
    accepted_length: Option<usize>,
}

#[derive(Deserialize)]
pub struct Uuids {
    #[serde(default)]
    uuids: Vec<String>,
}

impl Server {
    async fn copilot_status(&self, _: Value) -> Result<Value> {
        Ok(json!({"status": "OK", "user": "local"}))
    }

    async fn copilot_version(&self, _: Value) -> Result<Value> {
        Ok(json!({"version": env!("CARGO_PKG_VERSION"), "buildType": "lacuna"}))
    }

    async fn copilot_signed_in(&self, _: Value) -> Result<Value> {
        Ok(json!({"status": "AlreadySignedIn", "user": "local"}))
    }

    async fn copilot_ok(&self, _: Value) -> Result<Value> {
        Ok(json!("OK"))
    }

    async fn copilot_models(&self, _: Value) -> Result<Value> {
        let name = self.model_name();
        Ok(json!([{"id": name, "modelName": name, "scopes": ["completion"], "default": true}]))
    }

    async fn copilot_completions(&self, params: Legacy) -> Result<LegacyCompletions> {
        self.copilot_legacy(params, false).await
    }

    async fn copilot_cycling(&self, params: Legacy) -> Result<LegacyCompletions> {
        self.copilot_legacy(params, true).await
    }

    async fn copilot_legacy(&self, params: Legacy, several: bool) -> Result<LegacyCompletions> {
        let Some((uri, position)) = params.place() else {
            return Err(tower_lsp::jsonrpc::Error::invalid_params(
                "doc.uri and doc.position are required",
            ));
        };
        let Answered { place, texts, ids } =
            self.answer(&Params::at(&uri, position, several)).await?;
        let Place { range, restated } = place;
        let completion = |(text, uuid): (String, String)| LegacyCompletion {
            uuid,
            text: format!("{restated}{text}"),
            display_text: text,
            position,
            range,
        };
        Ok(LegacyCompletions { completions: texts.into_iter().zip(ids).map(completion).collect() })
    }

    async fn copilot_panel(&self, params: Params) -> Result<Value> {
        let items = inline_completion::handle(self, params.several()).await?;
        Ok(json!(items))
    }

    /// Edits away from the cursor are not ours yet.
    async fn copilot_inline_edit(&self, _: Value) -> Result<Value> {
        Ok(json!({"edits": []}))
    }

    async fn copilot_shown(&self, params: Uuid) -> Result<Value> {
        self.told_of(&Event::Shown { id: params.uuid });
        Ok(Value::Null)
    }

    async fn copilot_accepted(&self, params: Uuid) -> Result<Value> {
        let id = params.uuid;
        self.told_of(&match params.accepted_length {
            Some(_) => Event::PartlyAccepted { id, utf16: params.accepted_length },
            None => Event::Accepted { id },
        });
        Ok(Value::Null)
    }

    async fn copilot_rejected(&self, params: Uuids) -> Result<Value> {
        params.uuids.into_iter().for_each(|id| self.told_of(&Event::Dismissed { id }));
        Ok(Value::Null)
    }

    async fn copilot_ignored(&self, _: Value) {}
}
