//! Methods of other completion servers, so that their clients work with this one unchanged.
//!
//! Each module has the wire format of one family and turns it into [`Server::answer`] and
//! [`Event`](super::event::Event)s; what is answered, and when, is the same for all. Method names that belong to
//! services which we are not (sign-in, chat) get the answer that keeps a client going.

mod copilot;
mod llm_ls;
mod tabby;

use serde_json::Value;
use tower_lsp::LspServiceBuilder;

use super::dialect::Dialect;
use super::server::Server;

/// All there are. The first that claims a client has it.
pub const ALL: [&dyn Dialect<Server>; 4] =
    [&Plain, &llm_ls::LlmLs, &tabby::Tabby, &copilot::Copilot];

/// LSP and no more: whom nobody claims.
struct Plain;

impl Dialect<Server> for Plain {
    fn claims(&self, _: &Value) -> bool {
        false
    }

    fn register(&self, builder: LspServiceBuilder<Server>) -> LspServiceBuilder<Server> {
        builder
    }
}

/// Whose client it is, by its `initializationOptions`.
pub fn dialect_of(options: Option<&Value>) -> &'static dyn Dialect<Server> {
    let options = options.unwrap_or(&Value::Null);
    ALL.into_iter().find(|dialect| dialect.claims(options)).unwrap_or(&Plain)
}

/// Adds the methods of all dialects.
pub fn register(builder: LspServiceBuilder<Server>) -> LspServiceBuilder<Server> {
    ALL.into_iter().fold(builder, |builder, dialect| dialect.register(builder))
}
