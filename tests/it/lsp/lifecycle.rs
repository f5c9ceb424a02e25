//! From `initialize` to `exit`: what is announced, agreed on and told, and how the process ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use lacuna_tests::{Client, Home, TinyModel, binary};
use serde_json::{Value, json};

use super::{Session, URI, encodings, options};

#[test]
fn initialize_announces_what_the_server_does() {
    let mut session = Session::uninitialized();
    let result = session.initialize(json!({}));
    assert_eq!(result["serverInfo"]["name"], "lacuna");
    assert!(result["serverInfo"]["version"].is_string());
    let capabilities = &result["capabilities"];
    assert!(
        capabilities["inlineCompletionProvider"].is_object()
            || capabilities["inlineCompletionProvider"] == true,
        "{capabilities}"
    );
    let sync = &capabilities["textDocumentSync"];
    assert!(*sync == 2 || sync["change"] == 2 && sync["openClose"] == true, "{sync}");
    let commands = capabilities["executeCommandProvider"]["commands"].as_array().expect("commands");
    assert!(commands.contains(&json!("lacuna.accepted")), "{commands:?}");
    assert_eq!(session.finish(), Some(0));
}

#[test]
fn the_position_encoding_is_one_that_the_client_offers() {
    for (capabilities, agreed) in [
        (json!({}), "utf-16"),
        (json!({"general": {}}), "utf-16"),
        (encodings(&[]), "utf-16"),
        (encodings(&["utf-16"]), "utf-16"),
        (encodings(&["utf-8"]), "utf-8"),
        (encodings(&["utf-16", "utf-8"]), "utf-8"),
        (encodings(&["utf-8", "utf-16", "utf-32"]), "utf-8"),
        (encodings(&["utf-32"]), "utf-32"),
        (encodings(&["utf-7"]), "utf-16"),
    ] {
        let mut session = Session::uninitialized();
        let result = session.initialize(json!({"capabilities": capabilities}));
        assert_eq!(result["capabilities"]["positionEncoding"], agreed, "{capabilities}");
    }
}

#[test]
fn what_real_clients_send_is_understood() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let root = format!("file://{}", home.work().display());
    // Neovim's help sample for another server, VS Code's usual parameters, and a bare client.
    for params in [
        json!({"initializationOptions": {"editorInfo": {"name": "Neovim", "version": "0.12.0"}, "editorPluginInfo": {"name": "x", "version": "1"}},
            "clientInfo": {"name": "Neovim"}, "rootPath": home.work(), "rootUri": root, "workspaceFolders": [{"uri": root, "name": "w"}],
            "capabilities": {"textDocument": {"inlineCompletion": {"dynamicRegistration": false}},
                "general": {"positionEncodings": ["utf-8", "utf-16", "utf-32"]}}, "trace": "off", "processId": 1}),
        json!({"clientInfo": {"name": "Visual Studio Code"}, "locale": "en", "rootUri": root, "workspaceFolders": null,
            "capabilities": {"general": {"positionEncodings": ["utf-16"], "staleRequestSupport": {"cancel": true, "retryOnContentModified": []}},
                "textDocument": {"inlineCompletion": {"dynamicRegistration": true}}}, "initializationOptions": null, "trace": "verbose"}),
        json!({"workspaceFolders": [{"uri": "untitled:nowhere", "name": ""}, {"uri": root, "name": "w"}]}),
    ] {
        let mut client = Client::start(["--stdio", "--model", model.arg()]);
        client.initialize(params);
        for uri in [
            &format!("{root}/src/a.py"),
            "untitled:Untitled-1",
            "vscode-notebook-cell:/a.ipynb#W1",
            "file:///c%3A/a%20b.py",
        ] {
            client.open(uri, "python", "x = fo\n");
            assert_eq!(client.items(uri, 0, 6).len(), 1, "{uri}");
        }
        assert_eq!(client.finish(), Some(0));
    }
}

#[test]
fn unknown_settings_are_told_once_and_are_not_fatal() {
    let mut options = options();
    options["show"]["colour"] = json!(1);
    options["nonsense"] = json!({"a": 1});
    for options in [options.clone(), json!({"lacuna": options})] {
        let mut session = Session::with(json!({"initializationOptions": options}));
        let told = session.notifications("window/logMessage", 2);
        assert!(told.iter().all(|message| message["type"] == 2), "warnings");
        let message: String =
            told.iter().filter_map(|message| message["message"].as_str()).collect();
        assert!(
            message.contains("show.colour")
                && message.contains("nonsense")
                && !message.contains("deadline_ms"),
            "{message}"
        );
        // What is known still holds: twelve tokens at most, of at most six letters each.
        session.open(URI, "python", "x = fo\n");
        assert!(session.items(URI, 0, 6)[0]["insertText"].as_str().unwrap().len() <= 2 + 12 * 6);
        session.finish();
        assert_eq!(
            session.notifications("window/logMessage", 2).len(),
            2,
            "{:?}",
            session.received()
        );
    }
}

#[test]
fn settings_of_the_wrong_kind_are_told_and_not_fatal() {
    for options in [
        json!({"show": {"line_tokens": "x"}}),
        json!({"show": {"line_tokens": 0}}),
        json!([1]),
        json!("x"),
        json!({"kv": 1}),
    ] {
        let mut session = Session::with(json!({"initializationOptions": options}));
        session.open(URI, "python", "x = fo\n");
        assert_eq!(session.items(URI, 0, 6).len(), 1, "{options}");
        assert_eq!(session.finish(), Some(0));
    }
}

#[test]
fn a_mistake_in_a_workspace_file_is_told_and_the_rest_of_it_holds() {
    let home = Home::new();
    home.write("lacuna.toml", "[shwo]\n");
    let mut session = Session::uninitialized();
    let folders = json!([{"uri": format!("file://{}", home.work().display()), "name": "w"}]);
    session.initialize(json!({"initializationOptions": options(), "workspaceFolders": folders}));
    let told = session.notifications("window/logMessage", 1);
    let message = told[0]["message"].as_str().expect("a text");
    assert!(
        message.contains("lacuna.toml:1") && message.contains("shwo") && message.contains("[show]"),
        "{message}"
    );
    session.open(URI, "python", "x = fo\n");
    assert_eq!(session.items(URI, 0, 6).len(), 1);
}

#[test]
fn a_model_with_too_short_a_context_is_an_error_of_initialize() {
    let mut model = TinyModel::default();
    model.config["max_position_embeddings"] = json!(16);
    let model = model.write();
    let mut client = Client::start(["--model", model.arg()]);
    let (_, message) = client.error("initialize", json!({"capabilities": {}}));
    assert!(message.contains("context of 16 tokens"), "{message}");
}

#[test]
fn the_exit_code_says_whether_shutdown_came_first() {
    assert_eq!(Session::start().finish(), Some(0));
    let mut session = Session::start();
    session.notify("exit", Value::Null);
    assert_eq!(session.ended().code(), Some(1), "exit without shutdown");
    let mut session = Session::uninitialized();
    session.notify("exit", Value::Null);
    assert_eq!(session.ended().code(), Some(1), "exit before anything");
}

#[test]
fn a_client_that_hangs_up_ends_the_server() {
    let mut session = Session::start();
    session.open(URI, "python", "x = fo\n");
    session.complete(URI, 0, 6);
    session.hang_up();
    assert!(session.ended().code().is_some(), "ended by itself, not by a signal");

    let mut session = Session::uninitialized();
    session.raw(b"Content-Len");
    session.hang_up();
    assert!(session.ended().code().is_some());

    let mut session = Session::start();
    session.result("shutdown", Value::Null);
    session.hang_up();
    assert_eq!(session.ended().code(), Some(0), "it had said goodbye");
}

#[test]
fn a_socket_serves_clients_one_after_another_and_at_once() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let mut command = home.command(binary());
    let token = home.write_secret("token", "0123456789abcdef0123456789abcdef\n");
    let token = token.to_str().expect("a path").to_owned();
    command
        .args(["lsp", "--tcp", "127.0.0.1:0", "--token-file", &token, "--model", model.arg()])
        .stderr(Stdio::piped());
    let mut server = Client::spawn(&mut command);
    let mut said = String::new();
    BufReader::new(server.child().stderr.take().unwrap()).read_line(&mut said).unwrap();
    let address = said
        .trim()
        .strip_prefix("lacuna: listening on ")
        .unwrap_or_else(|| panic!("{said:?}"))
        .to_owned();
    let connect = || {
        let stream = std::net::TcpStream::connect(&address).unwrap();
        let mut client = Client::over(stream.try_clone().unwrap(), stream);
        client.raw(b"Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n");
        client.initialize(json!({"initializationOptions": options()}));
        client
    };
    // A web page's request is hung up on, and so is a client without the token.
    for sent in [
        "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "Content-Length: 46\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}",
    ] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.is_empty(), "{said:?}");
    }
    let (mut one, mut two) = (connect(), connect());
    // Documents belong to a client.
    one.open(URI, "python", "x = fo\n");
    assert_eq!(one.items(URI, 0, 6).len(), 1);
    let place = json!({"textDocument": {"uri": URI}, "position": {"line": 0, "character": 6}});
    assert_eq!(two.error("textDocument/inlineCompletion", place).0, -32602);
    one.result("shutdown", Value::Null);
    one.notify("exit", Value::Null);
    two.open(URI, "python", "y = ba\n");
    assert_eq!(two.items(URI, 0, 6).len(), 1, "the other one is still served");
    drop(connect());
}

#[test]
fn the_embedded_model_answers() {
    let mut client = Client::start::<&str>([]);
    client.initialize(json!({"initializationOptions": {"latency": {"deadline_ms": 0}, "model": {"path": "/nowhere"}}}));
    let told = client.notifications("window/logMessage", 1);
    assert!(
        told[0]["message"].as_str().is_some_and(|m| m.contains("--model")),
        "it is too late for another model: {told:?}"
    );
    let text = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    retu\n";
    client.open(URI, "python", text);
    let items = client.items(URI, 4, 8);
    for item in &items {
        assert_eq!(item["range"], super::range((4, 4), (4, 8)));
        assert!(item["insertText"].as_str().unwrap().starts_with("retu"));
    }
    assert_eq!(client.finish(), Some(0));
}
