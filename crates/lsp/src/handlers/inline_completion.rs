//! Items for a place, as LSP and Tabby's clients have them.

use serde::Serialize;
use tower_lsp::jsonrpc::{Error, Result};

use crate::answer::Answered;
use crate::inline::{Params, WireItem};
use crate::server::Server;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemList {
    /// Of tabby's protocol, not of LSP's: its clients alone get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_incomplete: Option<bool>,
    items: Vec<WireItem>,
}

/// `textDocument/inlineCompletion`.
pub async fn handle(server: &Server, params: Params) -> Result<ItemList> {
    let dialect = server.session.get().ok_or_else(Error::invalid_request)?.dialect;
    let Answered { place, texts, ids } = server.answer(&params).await?;
    let item = |(text, id): (String, String)| {
        WireItem::new(&place, &text, dialect.data(&id), id, dialect.accepted())
    };
    let items = texts.into_iter().zip(ids).map(item).collect();
    Ok(ItemList { is_incomplete: dialect.is_incomplete(), items })
}
