//! Methods of other completion servers, so that their clients work with this one unchanged.
//!
//! Each module has the wire format of one family and turns it into [`Server::answer`] and
//! [`Event`]s; what is answered, and when, is the same for all. Method names that belong to
//! services which we are not (sign-in, chat) get the answer that keeps a client going.

mod copilot;
mod llm_ls;
mod tabby;

use tower_lsp::LspServiceBuilder;

use super::server::Server;

pub use copilot::{ACCEPTED as COPILOT_ACCEPTED, CopilotStatus, is_copilot_client};
pub use tabby::is_tabby_client;

/// What a client says became of a suggestion. `id` is the one that the suggestion was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Shown {
        id: String,
    },
    Accepted {
        id: String,
    },
    /// So many UTF-16 units of the inserted text, counted from its start; `None`: a piece of it.
    PartlyAccepted {
        id: String,
        utf16: Option<usize>,
    },
    Dismissed {
        id: String,
    },
}

/// Adds the methods of all dialects.
pub fn register(builder: LspServiceBuilder<Server>) -> LspServiceBuilder<Server> {
    tabby::register(llm_ls::register(copilot::register(builder)))
}
