//! The language server, as editors use it and as no editor should.

#[cfg(unix)]
mod attach;
mod confidence;
mod dialects;
mod edits;
mod hostile;
mod items;
mod lifecycle;
mod load;
mod manners;
mod mirror;
mod order;
mod recorded;
mod status;
mod storm;
mod text;

use std::ops::{Deref, DerefMut};

use lacuna_tests::{Client, ModelDir, TinyModel};
use serde_json::{Value, json};

const URI: &str = "file:///project/a.py";
const CANCELLED: i64 = -32800;

/// An initialized server with the tiny model: short answers and no deadline, so that nothing
/// depends on how fast the machine is.
struct Session {
    client: Client,
    _model: ModelDir,
}

impl Session {
    /// A client that offers nothing: positions are UTF-16.
    fn start() -> Session {
        Session::with(json!({"initializationOptions": options()}))
    }

    fn with(params: Value) -> Session {
        let mut session = Session::uninitialized();
        session.initialize(params);
        session
    }

    /// On the row whose results never depend on how many tokens are computed at once.
    fn on_the_scalar_row() -> Session {
        let model = TinyModel::default().write();
        let client = Client::start_with(["--model", model.arg()], &[("LACUNA_ISA", "scalar")]);
        let mut session = Session { client, _model: model };
        session.initialize(json!({"initializationOptions": options()}));
        session
    }

    fn uninitialized() -> Session {
        let model = TinyModel::default().write();
        Session { client: Client::start(["--model", model.arg()]), _model: model }
    }
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

fn options() -> Value {
    json!({"latency": {"deadline_ms": 0}, "show": {"line_tokens": 12, "block_tokens": 12}})
}

/// Capabilities of a client that offers these position encodings.
fn encodings(offered: &[&str]) -> Value {
    json!({"general": {"positionEncodings": offered}})
}

fn range(start: (usize, usize), end: (usize, usize)) -> Value {
    json!({"start": {"line": start.0, "character": start.1}, "end": {"line": end.0, "character": end.1}})
}

fn change(start: (usize, usize), end: (usize, usize), text: &str) -> Value {
    json!({"range": range(start, end), "text": text})
}

/// `true` for a result, `false` for "cancelled"; panics on any other error.
#[track_caller]
fn is_result(reply: &Value) -> bool {
    match reply["error"]["code"].as_i64() {
        None => true,
        Some(CANCELLED) => false,
        Some(_) => panic!("{reply}"),
    }
}

/// Items without the id in their command, which differs from reply to reply.
fn essence(items: &[Value]) -> Vec<(&Value, &Value)> {
    items.iter().map(|item| (&item["insertText"], &item["range"])).collect()
}
