//! Clients of other servers, which do not know that this is another one.

use serde_json::{Value, json};

use super::{Session, URI, options};

const TEXT: &str = "def f(a):\n    return a\n\n\ndef g(b):\n    ret";

fn opened(params: Value) -> Session {
    let mut session = Session::with(params);
    session.open(URI, "python", TEXT);
    session
}

fn copilot() -> Session {
    let mut options = options();
    options["editorInfo"] = json!({"name": "Neovim", "version": "0.11.4"});
    options["editorPluginInfo"] = json!({"name": "copilot.lua", "version": "1.0"});
    opened(json!({"initializationOptions": options}))
}

#[test]
fn copilot_lua_signs_in_completes_and_tells_what_became_of_it() {
    let mut session = copilot();
    session.notify(
        "workspace/didChangeConfiguration",
        json!({"settings": {"telemetry": {"telemetryLevel": "off"}}}),
    );
    assert_eq!(
        session.result("checkStatus", json!({"options": {"localChecksOnly": false}, "_": true}))["status"],
        json!("OK")
    );
    assert!(session.result("getVersion", json!({"_": true}))["version"].is_string());
    session
        .result("setEditorInfo", json!({"editorInfo": {"name": "n", "version": "1"}, "_": true}));

    let position = json!({"line": 5, "character": 7});
    let doc = json!({"uri": URI, "version": 1, "relativePath": "a.py", "insertSpaces": true, "tabSize": 4, "indentSize": 4, "position": position});
    let params = json!({"doc": doc, "textDocument": {"uri": URI, "version": 1, "relativePath": "a.py"}, "position": position, "_": true});
    let reply = session.result("getCompletions", params.clone());
    let completions = reply["completions"].as_array().expect("a list").clone();
    let Some(first) = completions.first() else { panic!("the tiny model says something: {reply}") };
    let (text, display) = (first["text"].as_str().unwrap(), first["displayText"].as_str().unwrap());
    // `text` replaces the range, which ends at the cursor; `displayText` is what is new.
    assert_eq!(text, format!("ret{display}"));
    assert_eq!(first["range"], json!({"start": {"line": 5, "character": 4}, "end": position}));
    assert_eq!(first["position"], position);

    assert!(session.result("getCompletionsCycling", params)["completions"].is_array());
    let uuid = first["uuid"].as_str().unwrap();
    assert_eq!(session.result("notifyShown", json!({"uuid": uuid, "_": true})), Value::Null);
    assert_eq!(
        session.result("notifyAccepted", json!({"uuid": uuid, "acceptedLength": 3, "_": true})),
        Value::Null
    );
    assert_eq!(session.result("notifyRejected", json!({"uuids": [uuid], "_": true})), Value::Null);
}

#[test]
fn a_current_copilot_client_gets_its_own_accept_command() {
    let mut session = copilot();
    let params = json!({"textDocument": {"uri": URI, "version": 1}, "position": {"line": 5, "character": 7}, "context": {"triggerKind": 2},
        "formattingOptions": {"tabSize": 4, "insertSpaces": true}});
    let reply = session.result("textDocument/inlineCompletion", params);
    let item = reply["items"][0].clone();
    assert_eq!(item["command"]["command"], json!("github.copilot.didAcceptCompletionItem"));
    session.notify("textDocument/didShowCompletion", json!({"item": item}));
    session.notify(
        "textDocument/didPartiallyAcceptCompletion",
        json!({"item": item, "acceptedLength": 4}),
    );
    session.notify("textDocument/didFocus", json!({"textDocument": {"uri": URI}}));
    session.result("workspace/executeCommand", item["command"].clone());
    let edits = session.result(
        "textDocument/copilotInlineEdit",
        json!({"textDocument": {"uri": URI, "version": 1}, "position": {"line": 0, "character": 0}}),
    );
    assert_eq!(edits, json!({"edits": []}));
}

#[test]
fn llm_ls_clients_get_text_for_the_cursor() {
    let mut session = opened(json!({"initializationOptions": options()}));
    let params = json!({
        "textDocument": {"uri": URI}, "position": {"line": 5, "character": 7}, "ide": "neovim", "model": "bigcode/starcoder2-3b", "backend": "ollama",
        "url": "http://localhost:11434", "apiToken": null, "tokensToClear": ["<|endoftext|>"], "contextWindow": 1024, "requestBody": {},
        "tokenizerConfig": null, "tlsSkipVerifyInsecure": false, "disableUrlPathCompletion": false,
        "fim": {"enabled": true, "prefix": "<fim_prefix>", "middle": "<fim_middle>", "suffix": "<fim_suffix>"},
    });
    let reply = session.result("llm-ls/getCompletions", params);
    let id = reply["request_id"].as_str().expect("an id").to_owned();
    assert!(reply["completions"][0]["generated_text"].is_string(), "{reply}");
    let decision = json!({"requestId": id, "acceptedCompletion": 0, "shownCompletions": [0]});
    assert_eq!(session.result("llm-ls/acceptCompletion", decision.clone()), Value::Null);
    assert_eq!(session.result("llm-ls/rejectCompletion", decision), Value::Null);
}

#[test]
fn tabby_clients_get_event_ids_and_a_status() {
    let mut options = options();
    options["clientInfo"] =
        json!({"name": "Neovim", "tabbyPlugin": {"name": "vim-tabby", "version": "2.0"}});
    let mut session = opened(json!({"initializationOptions": options}));
    assert_eq!(
        session.result("tabby/status", json!({"recheckConnection": true}))["status"],
        json!("ready")
    );
    assert!(session.result("tabby/config", json!({}))["server"].is_object());
    let params = json!({"textDocument": {"uri": URI}, "position": {"line": 5, "character": 7}, "context": {"triggerKind": 2}});
    let reply = session.result("textDocument/inlineCompletion", params);
    assert_eq!(reply["isIncomplete"], json!(false));
    let event = reply["items"][0]["data"]["eventId"].clone();
    assert!(event["completionId"].is_string(), "{reply}");
    for kind in ["view", "select", "dismiss", "something new"] {
        session.notify(
            "tabby/telemetry/event",
            json!({"type": kind, "eventId": event, "viewId": "v", "elapsed": 12}),
        );
    }
    // Chat is not ours: an error, and life goes on.
    assert_eq!(session.error("tabby/chat/edit", json!({})).0, -32601);
    assert_eq!(session.result("tabby/status", json!({}))["status"], json!("ready"));
}

#[test]
fn wrong_parameters_of_any_dialect_are_an_error() {
    let mut session = opened(json!({"initializationOptions": options()}));
    for (method, params) in [
        ("getCompletions", json!({})),
        ("getCompletions", json!({"doc": {"uri": URI}})),
        (
            "getCompletions",
            json!({"doc": {"uri": "file:///not/open.py", "position": {"line": 0, "character": 0}}}),
        ),
        ("llm-ls/getCompletions", json!({"textDocument": {"uri": URI}})),
        ("llm-ls/acceptCompletion", json!({"requestId": 3})),
        ("notifyAccepted", json!({})),
    ] {
        assert_eq!(session.error(method, params.clone()).0, -32602, "{method} {params}");
    }
}
