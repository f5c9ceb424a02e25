//! What sets a family of clients apart from those that speak LSP alone.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tower_lsp::{Client, LspServiceBuilder};

use super::inline::ACCEPTED;

/// One family of clients of `S`; what it does not say is as LSP has it.
pub trait Dialect<S>: Sync {
    /// Whether `initializationOptions` are those that its clients send.
    fn claims(&self, options: &Value) -> bool;

    /// Adds its methods.
    fn register(&self, builder: LspServiceBuilder<S>) -> LspServiceBuilder<S>;

    /// Command that its clients run after accepting an item; its only argument is the item's id.
    fn accepted(&self) -> &'static str {
        ACCEPTED
    }

    /// What its clients send back with what they tell of an item.
    fn data(&self, _id: &str) -> Option<Value> {
        None
    }

    /// `isIncomplete` of a list of items, which LSP's has not.
    fn is_incomplete(&self) -> Option<bool> {
        None
    }

    /// Said when the client is ready.
    fn greet<'a>(&self, _client: &'a Client) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}
