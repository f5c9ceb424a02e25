//! The protocols: how a client asks, how it brings accepted text in, and what it tells of it.

use serde_json::{Value, json};

use crate::telemetry::editor::{Editor, Encoding};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// LSP 3.18, nothing told.
    Plain,
    /// The same from a client that sends its whole document with each change.
    WholeDocument,
    /// LSP 3.18 with our events for what is accepted.
    Lacuna,
    /// Copilot's language server as it is now.
    Copilot,
    /// Copilot's methods before there was a standard.
    CopilotLegacy,
    LlmLs,
    Tabby,
}

/// A suggestion as the client has it.
#[derive(Clone, Debug)]
pub struct Offer {
    pub id: u64,
    /// What would come in at the cursor.
    pub rest: String,
    /// What the item restates left of the cursor.
    stem: String,
    item: Value,
}

impl Dialect {
    pub const ALL: [Dialect; 7] = [
        Dialect::Plain,
        Dialect::WholeDocument,
        Dialect::Lacuna,
        Dialect::Copilot,
        Dialect::CopilotLegacy,
        Dialect::LlmLs,
        Dialect::Tabby,
    ];

    pub fn encoding(self) -> Encoding {
        match self {
            Dialect::Plain | Dialect::Lacuna => Encoding::Utf8,
            _ => Encoding::Utf16,
        }
    }

    /// What the client says of itself in `initializationOptions`.
    pub fn introduction(self) -> Value {
        match self {
            Dialect::Copilot | Dialect::CopilotLegacy => {
                json!({"editorInfo": {"name": "Neovim", "version": "0.11.4"}, "editorPluginInfo": {"name": "copilot.lua", "version": "1.0"}})
            }
            Dialect::Tabby => {
                json!({"clientInfo": {"name": "Neovim", "tabbyPlugin": {"name": "vim-tabby", "version": "2.0"}}})
            }
            _ => json!({}),
        }
    }

    pub fn tells_shown(self) -> bool {
        matches!(self, Dialect::Copilot | Dialect::CopilotLegacy | Dialect::Tabby)
    }

    pub fn tells_accepted(self) -> bool {
        !matches!(self, Dialect::Plain | Dialect::WholeDocument)
    }

    pub fn tells_partly(self) -> bool {
        self.tells_accepted() && self != Dialect::LlmLs
    }

    pub fn tells_rejected(self) -> bool {
        matches!(self, Dialect::CopilotLegacy | Dialect::LlmLs | Dialect::Tabby)
    }

    /// Tells of an acceptance before it makes the edit.
    pub fn tells_first(self) -> bool {
        matches!(self, Dialect::Lacuna | Dialect::Tabby)
    }

    pub fn ask(self, editor: &mut Editor) -> Option<Offer> {
        let (line, character) = editor.position(editor.cursor);
        let (uri, position) =
            (editor.uri().to_owned(), json!({"line": line, "character": character}));
        let document = json!({"uri": uri});
        match self {
            Dialect::CopilotLegacy => {
                let doc =
                    json!({"uri": uri, "position": position, "insertSpaces": true, "tabSize": 4});
                let reply = editor.client.result("getCompletions", json!({"doc": doc}));
                let item = reply["completions"].get(0)?.clone();
                let (text, rest) = (string(&item["text"]), string(&item["displayText"]));
                let stem = text.strip_suffix(&rest).expect("displayText ends text").to_owned();
                Some(Offer { id: id(&item["uuid"]), rest, stem, item })
            }
            Dialect::LlmLs => {
                let reply = editor.client.result(
                    "llm-ls/getCompletions",
                    json!({"textDocument": document, "position": position}),
                );
                let rest = string(&reply["completions"].get(0)?["generated_text"]);
                Some(Offer {
                    id: id(&reply["request_id"]),
                    rest,
                    stem: String::new(),
                    item: reply["request_id"].clone(),
                })
            }
            _ => {
                let params = json!({"textDocument": document, "position": position, "context": {"triggerKind": 2}});
                let reply = editor.client.result("textDocument/inlineCompletion", params);
                let item = reply["items"].get(0)?.clone();
                let start = editor.byte(&item["range"]["start"]);
                let stem = editor.text()[start..editor.cursor].to_owned();
                let rest = string(&item["insertText"])
                    .strip_prefix(&stem)
                    .expect("the item restates the word")
                    .to_owned();
                Some(Offer { id: id(&item["command"]["arguments"][0]), rest, stem, item })
            }
        }
    }

    /// Brings some of the suggestion in, from its beginning.
    pub fn bring(self, editor: &mut Editor, offer: &Offer, text: &str) {
        let cursor = editor.cursor;
        match self {
            Dialect::Lacuna | Dialect::Copilot | Dialect::Tabby => {
                let start = cursor - offer.stem.len();
                editor.edit(start..cursor, &format!("{}{text}", offer.stem), false);
            }
            _ => editor.edit(cursor..cursor, text, self == Dialect::WholeDocument),
        }
    }

    pub fn shown(self, editor: &mut Editor, offer: &Offer) {
        match self {
            Dialect::Copilot => {
                editor.client.notify("textDocument/didShowCompletion", json!({"item": offer.item}))
            }
            Dialect::CopilotLegacy => {
                editor.client.result("notifyShown", json!({"uuid": offer.item["uuid"]}));
            }
            Dialect::Tabby => tabby(editor, offer, json!({"type": "view"})),
            _ => {}
        }
    }

    pub fn accepted(self, editor: &mut Editor, offer: &Offer) {
        match self {
            Dialect::Lacuna | Dialect::Copilot => {
                editor.client.result("workspace/executeCommand", offer.item["command"].clone());
            }
            Dialect::CopilotLegacy => {
                editor.client.result("notifyAccepted", json!({"uuid": offer.item["uuid"]}));
            }
            Dialect::LlmLs => {
                let decision = json!({"requestId": offer.item, "acceptedCompletion": 0, "shownCompletions": [0]});
                editor.client.result("llm-ls/acceptCompletion", decision);
            }
            Dialect::Tabby => tabby(editor, offer, json!({"type": "select"})),
            Dialect::Plain | Dialect::WholeDocument => {}
        }
    }

    /// The first `text` of what was offered was accepted.
    pub fn accepted_partly(self, editor: &mut Editor, offer: &Offer, text: &str) {
        let length = (offer.stem.as_str().to_owned() + text).encode_utf16().count();
        match self {
            Dialect::Lacuna | Dialect::Copilot => {
                editor.client.notify(
                    "textDocument/didPartiallyAcceptCompletion",
                    json!({"item": offer.item, "acceptedLength": length}),
                );
            }
            Dialect::CopilotLegacy => {
                editor.client.result(
                    "notifyAccepted",
                    json!({"uuid": offer.item["uuid"], "acceptedLength": length}),
                );
            }
            Dialect::Tabby => tabby(editor, offer, json!({"type": "select", "selectKind": "line"})),
            _ => {}
        }
    }

    pub fn rejected(self, editor: &mut Editor, offer: &Offer) {
        match self {
            Dialect::CopilotLegacy => {
                editor.client.result("notifyRejected", json!({"uuids": [offer.item["uuid"]]}));
            }
            Dialect::LlmLs => {
                editor.client.result(
                    "llm-ls/rejectCompletion",
                    json!({"requestId": offer.item, "shownCompletions": [0]}),
                );
            }
            Dialect::Tabby => tabby(editor, offer, json!({"type": "dismiss"})),
            _ => {}
        }
    }
}

fn tabby(editor: &mut Editor, offer: &Offer, mut event: Value) {
    event["eventId"] = offer.item["data"]["eventId"].clone();
    event["viewId"] = json!("v");
    event["elapsed"] = json!(12);
    editor.client.notify("tabby/telemetry/event", event);
}

fn string(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Ids are the last part of row numbers.
fn id(value: &Value) -> u64 {
    value.as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no number: {value}"))
}
