//! What clients tell of an item, as Copilot's clients and ours do.

use serde::Deserialize;
use serde_json::Value;

use crate::event::Event;
use crate::server::Server;

/// Parameters of `textDocument/didShowCompletion` and `textDocument/didPartiallyAcceptCompletion`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventParams {
    item: Value,
    /// Of a partial accept: UTF-16 units from the start of `insertText`.
    accepted_length: Option<u64>,
}

impl EventParams {
    /// The item's id, which is the argument of its command.
    fn id(&self) -> Option<&str> {
        self.item["command"]["arguments"][0].as_str()
    }
}

/// `textDocument/didShowCompletion`.
pub async fn did_show(server: &Server, params: EventParams) {
    if let Some(id) = params.id() {
        server.told_of(&Event::Shown { id: id.to_owned() });
    }
}

/// `textDocument/didPartiallyAcceptCompletion`.
pub async fn did_partially_accept(server: &Server, params: EventParams) {
    if let (Some(id), Some(utf16)) = (params.id(), params.accepted_length) {
        server.told_of(&Event::PartlyAccepted { id: id.to_owned(), utf16: Some(utf16 as usize) });
    }
}

/// `lacuna/didDismissCompletion`.
pub async fn did_dismiss(server: &Server, params: EventParams) {
    if let Some(id) = params.id() {
        server.told_of(&Event::Dismissed { id: id.to_owned() });
    }
}
