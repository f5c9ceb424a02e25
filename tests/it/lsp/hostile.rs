//! What no editor should send: each gets a proper error, and the server goes on.

use serde_json::{Value, json};

use super::{Session, URI};

const INVALID_PARAMS: i64 = -32602;
const METHOD_NOT_FOUND: i64 = -32601;
const NOT_INITIALIZED: i64 = -32002;
const INVALID_REQUEST: i64 = -32600;
const PARSE_ERROR: i64 = -32700;

fn params(uri: &str, line: i64, character: i64) -> Value {
    json!({"textDocument": {"uri": uri}, "position": {"line": line, "character": character}, "context": {"triggerKind": 2}})
}

/// The server still completes.
#[track_caller]
fn alive(session: &mut Session) {
    let uri = "file:///project/alive.py";
    session.open(uri, "python", "x = fo\n");
    assert_eq!(session.items(uri, 0, 6).len(), 1);
    session.close(uri);
}

#[test]
fn places_that_are_not_there() {
    let mut session = Session::start();
    session.open(URI, "python", "x = 1\nab");
    let (code, message) = session
        .error("textDocument/inlineCompletion", params("file:///project/never-opened.py", 0, 0));
    assert_eq!(code, INVALID_PARAMS, "{message}");
    assert!(message.contains("never-opened.py") && message.contains("not open"), "{message}");
    // A place beyond a line means its end, one beyond the text the text's end.
    let mut items = |line: i64, character: i64| {
        let result = session.result("textDocument/inlineCompletion", params(URI, line, character));
        result["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["insertText"].clone(), item["range"].clone()))
            .collect::<Vec<_>>()
    };
    for ((line, character), there) in [
        ((0, 6), (0, 5)),
        ((1, 3), (1, 2)),
        ((2, 0), (1, 2)),
        ((4_294_967_295, 4_294_967_295), (1, 2)),
        ((0, 4_294_967_295), (0, 5)),
    ] {
        assert_eq!(items(line, character), items(there.0, there.1), "{line}:{character}");
    }
    session.close(URI);
    let (code, _) = session.error("textDocument/inlineCompletion", params(URI, 0, 0));
    assert_eq!(code, INVALID_PARAMS, "a closed document is not open");
    alive(&mut session);
    session.finish();
}

#[test]
fn parameters_that_are_none() {
    let mut session = Session::start();
    session.open(URI, "python", "x = 1\n");
    for bad in [
        Value::Null,
        json!([]),
        json!({}),
        json!({"textDocument": {}, "position": {"line": 0, "character": 0}}),
        json!({"textDocument": {"uri": 7}, "position": {"line": 0, "character": 0}}),
        json!({"textDocument": {"uri": URI}}),
        json!({"textDocument": {"uri": URI}, "position": {"line": -1, "character": 0}}),
        json!({"textDocument": {"uri": URI}, "position": {"line": 0.5, "character": 0}}),
        json!({"textDocument": {"uri": URI}, "position": {"line": 1u64 << 40, "character": 0}}),
        json!({"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}, "context": {"triggerKind": 999}}),
        json!({"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}, "context": {"selectedCompletionInfo": {"range": 1}}}),
    ] {
        let (code, message) = session.error("textDocument/inlineCompletion", bad.clone());
        assert!(code == INVALID_PARAMS && !message.is_empty(), "{bad}: {code} {message}");
    }
    alive(&mut session);
}

#[test]
fn methods_that_are_unknown() {
    let mut session = Session::start();
    for method in [
        "textDocument/hover",
        "textDocument/completion",
        "textDocument/inlineCompletions",
        "",
        "lacuna/x",
    ] {
        assert_eq!(session.error(method, params(URI, 0, 0)).0, METHOD_NOT_FOUND, "{method}");
    }
    // A request is a request, whatever its name; a notification that is unknown is left aside.
    assert_eq!(session.error("$/request", json!({})).0, METHOD_NOT_FOUND);
    session.notify("$/foo", json!({}));
    session.notify("$/setTrace", json!({"value": "verbose"}));
    session.notify("textDocument/didShowCompletion", json!({}));
    session.notify("workspace/didChangeConfiguration", json!({"settings": {}}));
    // A request sent as a notification gets no reply; a notification sent as a request gets one.
    session.notify("textDocument/inlineCompletion", params(URI, 0, 0));
    let id = session.request("textDocument/didOpen", json!({}));
    assert!(session.reply(id)["error"].is_object());
    alive(&mut session);
    assert_eq!(session.finish(), Some(0));
    assert!(session.received().iter().all(|m| m["id"].is_null() || m["id"].as_i64().is_some()));
}

#[test]
fn commands_known_and_unknown() {
    let mut session = Session::start();
    session.open(URI, "python", "x = fo\n");
    let item = session.items(URI, 0, 6)[0].clone();
    assert_eq!(session.result("workspace/executeCommand", item["command"].clone()), Value::Null);
    assert_eq!(
        session.result("workspace/executeCommand", json!({"command": "lacuna.accepted"})),
        Value::Null
    );
    assert_eq!(
        session.result(
            "workspace/executeCommand",
            json!({"command": "lacuna.accepted", "arguments": [{"a": []}, 7]})
        ),
        Value::Null
    );
    let (code, message) =
        session.error("workspace/executeCommand", json!({"command": "rm", "arguments": ["-rf"]}));
    assert!(
        code == INVALID_PARAMS && message.contains("rm") && message.contains("lacuna.accepted"),
        "{code} {message}"
    );
}

/// Waits for an error without an id, after `count` of them have been seen before.
#[track_caller]
fn error_without_id(session: &mut Session, before: usize) -> Option<i64> {
    // Replies come in the order of the messages: after this one the error is there.
    session.ask("lacuna/sync", json!({}));
    let mut errors =
        session.received().iter().filter(|m| m["id"].is_null() && m["error"].is_object());
    errors.nth(before).map(|m| m["error"]["code"].as_i64().expect("a code"))
}

#[test]
fn garbage_is_answered_without_an_id_and_skipped() {
    let mut session = Session::start();
    let message = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let cases: Vec<(Vec<u8>, i64)> = vec![
        (message("{"), PARSE_ERROR),
        (message("nonsense"), PARSE_ERROR),
        (message("{\"jsonrpc\": \"2.0\", \"id\": 1"), PARSE_ERROR),
        (message(&"[".repeat(100_000)), PARSE_ERROR),
        (b"Content-Length: 2\r\n\r\n\xff\xfe".to_vec(), PARSE_ERROR),
        (b"Content-Length: 0\r\n\r\n".to_vec(), PARSE_ERROR),
        (message("[]"), INVALID_REQUEST),
        (message("[{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"shutdown\"}]"), INVALID_REQUEST),
        (message("7"), INVALID_REQUEST),
        (message("null"), INVALID_REQUEST),
        (message("{\"jsonrpc\": \"1.0\", \"method\": \"shutdown\"}"), INVALID_REQUEST),
        (message("{\"jsonrpc\": \"2.0\", \"method\": 7}"), INVALID_REQUEST),
        (message("{}"), INVALID_REQUEST),
        (b"Content-Length: many\r\n\r\n".to_vec(), PARSE_ERROR),
        (b"Content-Length: -1\r\n\r\n".to_vec(), PARSE_ERROR),
        (b"Content-Length: 99999999999999999999999\r\n\r\n".to_vec(), PARSE_ERROR),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), PARSE_ERROR),
        (b"\xff\xfe\x00\x01\r\n\r\n".to_vec(), PARSE_ERROR),
        (["x".repeat(100_000).as_bytes(), b"\r\n\r\n"].concat(), PARSE_ERROR),
    ];
    for (i, (bytes, code)) in cases.iter().enumerate() {
        session.raw(bytes);
        assert_eq!(
            error_without_id(&mut session, i),
            Some(*code),
            "{:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        );
    }
    // Empty lines between messages, other headers and lower case are no faults.
    session.raw(b"\r\n\r\ncontent-length: 47\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"$/x\",\"params\":[1,2]}");
    alive(&mut session);
    assert_eq!(session.finish(), Some(0));
}

#[test]
fn a_message_that_is_too_long_is_skipped() {
    let mut session = Session::start();
    let length = (64 << 20) + 1;
    session.raw(format!("Content-Length: {length}\r\n\r\n").as_bytes());
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        session.raw(&piece);
    }
    session.raw(b"x");
    assert_eq!(error_without_id(&mut session, 0), Some(PARSE_ERROR));
    alive(&mut session);
}

#[test]
fn a_length_that_lies_ends_with_the_input() {
    let mut session = Session::start();
    session.raw(b"Content-Length: 4294967296\r\n\r\n{}");
    session.hang_up();
    assert!(session.ended().code().is_some(), "no crash");
}

#[test]
fn ids_that_are_text_are_given_back() {
    let mut session = Session::start();
    for id in [json!("seven"), json!("7"), json!(""), json!(-5), json!(0)] {
        session.request_as(id.clone(), "lacuna/x", json!({}));
        assert_eq!(session.reply_to(&id)["error"]["code"], METHOD_NOT_FOUND);
    }
    alive(&mut session);
}

#[test]
fn answers_to_nothing_are_left_aside() {
    let mut session = Session::start();
    session.send(&json!({"jsonrpc": "2.0", "id": 99, "result": null}));
    session.send(&json!({"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": "no"}}));
    session.send(&json!({"jsonrpc": "2.0", "id": null, "result": 7}));
    alive(&mut session);
}

#[test]
fn changes_that_cannot_be_read_leave_the_document_silent_until_it_is_opened_again() {
    let mut session = Session::start();
    let other = "file:///project/other.py";
    session.change(other, 2, &[json!({"text": "x"})]);
    session.close(other);
    session.open(URI, "python", "x = fo\n");
    session.notify(
        "textDocument/didChange",
        json!({"textDocument": {"uri": URI, "version": 4}, "contentChanges": "no"}),
    );
    session.notify("textDocument/didOpen", json!({"textDocument": 7}));
    session.notify("textDocument/didClose", json!(null));
    assert!(session.items(URI, 0, 6).is_empty());
    // Each was told to the user, without the text.
    let told = session.notifications("window/logMessage", 4);
    assert!(
        told.iter().all(|t| t["message"]
            .as_str()
            .is_some_and(|m| m.contains("lacuna: ") && !m.contains("x = fo"))),
        "{told:?}"
    );
    assert!(
        told[0]["message"].as_str().unwrap().contains("other.py")
            && told[1]["message"].as_str().unwrap().contains("a.py"),
        "{told:?}"
    );
    // A second `didOpen` replaces the text.
    session.open(URI, "python", "y = ba\n");
    assert!(session.items(URI, 0, 6)[0]["insertText"].as_str().unwrap().starts_with("ba"));
    session.close(URI);
    session.close(URI);
    alive(&mut session);
}

#[test]
fn nothing_works_before_initialize_or_after_shutdown() {
    let mut session = Session::uninitialized();
    assert_eq!(
        session.error("textDocument/inlineCompletion", params(URI, 0, 0)).0,
        NOT_INITIALIZED
    );
    assert_eq!(session.error("shutdown", Value::Null).0, NOT_INITIALIZED);
    session.open(URI, "python", "x = 1\n");
    assert!(session.error("initialize", json!("nonsense")).0 == INVALID_PARAMS);
    session.initialize(json!({}));
    assert_eq!(
        session.error("initialize", json!({"capabilities": {}})).0,
        INVALID_REQUEST,
        "only once"
    );
    alive(&mut session);
    session.result("shutdown", Value::Null);
    assert_eq!(
        session.error("textDocument/inlineCompletion", params(URI, 0, 0)).0,
        INVALID_REQUEST
    );
    session.notify("exit", Value::Null);
    assert_eq!(session.ended().code(), Some(0));
}
