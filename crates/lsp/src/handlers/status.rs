//! The request `lacuna/status`.

use serde::Deserialize;
use tower_lsp::jsonrpc::Result;

use crate::server::Server;
use crate::status::Report;

/// Parameters of the request `lacuna/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusParams {
    text_document: Option<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    uri: String,
}

/// The last answer and its reason.
pub async fn handle(server: &Server, params: StatusParams) -> Result<Report> {
    Ok(server.report(params.text_document.as_ref().map(|named| named.uri.as_str())))
}
