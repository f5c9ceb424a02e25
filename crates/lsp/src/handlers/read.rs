//! Parameters of notifications as clients really send them.

use serde::Deserialize;
use serde_json::Value;
use tower_lsp::ls_types::MessageType;

use crate::server::Server;

/// Errors: what is wrong with them, for the user.
pub fn read<'a, P: Deserialize<'a>>(method: &str, params: &'a Value) -> Result<P, String> {
    P::deserialize(params).map_err(|e| {
        let message = format!("lacuna: {method} ignored: {e}");
        tracing::warn!(message);
        message
    })
}

/// `None`: they cannot be read, and the user is told.
pub async fn read_or_tell<'a, P: Deserialize<'a>>(
    server: &Server,
    method: &str,
    params: &'a Value,
) -> Option<P> {
    match read(method, params) {
        Ok(params) => Some(params),
        Err(message) => {
            server.client.log_message(MessageType::WARNING, message).await;
            None
        }
    }
}
