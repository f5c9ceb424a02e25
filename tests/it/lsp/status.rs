//! Why nothing was suggested, what it cost, and pauses (docs/protocol.md).

use lacuna_tests::{Client, TinyModel};
use serde_json::{Value, json};

use super::{Session, URI, options};

fn watching(more: Value) -> Session {
    let mut options = options();
    for (area, keys) in more.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            options[area][key] = value.clone();
        }
    }
    Session::with(json!({
        "capabilities": {"experimental": {"lacunaStatus": true}},
        "initializationOptions": options,
        "workspaceFolders": [{"uri": "file:///project", "name": "project"}],
    }))
}

fn command(session: &mut Session, name: &str, arguments: Value) -> Value {
    session.result("workspace/executeCommand", json!({"command": name, "arguments": arguments}))
}

fn status_of(session: &mut Session, uri: &str) -> Value {
    session.result("lacuna/status", json!({"textDocument": {"uri": uri}}))
}

#[test]
fn each_answer_is_told_with_what_it_cost() {
    let mut session = watching(json!({}));
    session.open(URI, "python", "x = fo\n");
    assert_eq!(status_of(&mut session, URI)["last"], Value::Null);
    session.items(URI, 0, 6);
    let told = session.notifications("lacuna/status", 1);
    let last = &told[0]["last"];
    assert_eq!(
        (&last["uri"], &last["outcome"], &last["reason"]),
        (&json!(URI), &json!("suggest"), &Value::Null)
    );
    let tokens = |name: &str| last["tokens"][name].as_u64().expect("a count");
    assert_eq!(tokens("cached") + tokens("new"), tokens("prompt"));
    assert!(tokens("generated") > 0 && last["ms"].as_f64().unwrap() > 0.0, "{last}");
    assert_eq!(status_of(&mut session, URI), told[0]);
    assert_eq!(command(&mut session, "lacuna.status", json!([{"uri": URI}])), told[0]);
    // The same place again comes from memory, and says so.
    session.items(URI, 0, 6);
    assert_eq!(session.notifications("lacuna/status", 2)[1]["last"]["fromMemory"], true);
    session.finish();
}

#[test]
fn a_client_that_has_not_asked_for_it_is_told_nothing() {
    let mut session = Session::start();
    session.open(URI, "python", "x = fo\n");
    session.items(URI, 0, 6);
    command(&mut session, "lacuna.pause", json!([]));
    assert_eq!(session.finish(), Some(0));
    assert!(session.received().iter().all(|m| m["method"] != "lacuna/status"));
}

#[test]
fn a_silence_has_a_code_a_meaning_and_a_remedy() {
    for (settings, uri, text, code) in [
        (
            json!({"context": {"max_file_bytes": 1024}}),
            URI,
            "x = 1\n".repeat(500),
            "file-too-large",
        ),
        (
            json!({"show": {"disabled_languages": ["go", "python"]}}),
            URI,
            "x = fo\n".to_owned(),
            "language-off",
        ),
        (
            json!({"context": {"ignore": ["secret/**"]}}),
            "file:///project/secret/a.py",
            "x = fo\n".to_owned(),
            "ignored-path",
        ),
        (json!({}), "file:///project/deep/.env", "TOKEN=\n".to_owned(), "ignored-path"),
        (json!({"show": {"min_confidence": 1.0}}), URI, "x =\n".to_owned(), "low-confidence"),
    ] {
        let mut session = watching(settings);
        session.open(uri, "python", &text);
        assert_eq!(session.items(uri, 0, 3), Vec::<Value>::new(), "{code}");
        let last = session.notifications("lacuna/status", 1)[0]["last"].clone();
        assert_eq!((&last["outcome"], &last["reason"]), (&json!("silence"), &json!(code)));
        assert!(
            last["meaning"].as_str().unwrap().ends_with('.')
                && last["remedy"].as_str().unwrap().ends_with('.'),
            "{last}"
        );
    }
}

#[test]
fn every_silence_is_in_the_log_with_its_code() {
    let model = TinyModel::default().write();
    for (settings, uri, pause, code) in [
        (json!({}), URI, json!([{}]), "paused"),
        (json!({}), URI, json!([{"uri": URI}]), "paused-here"),
        (json!({}), URI, json!([{"language": "python"}]), "paused-language"),
        (json!({"show": {"disabled_languages": ["python"]}}), URI, Value::Null, "language-off"),
        (json!({}), "file:///project/.env", Value::Null, "ignored-path"),
        (json!({"context": {"max_file_bytes": 1024}}), URI, Value::Null, "file-too-large"),
        (json!({"show": {"min_confidence": 1.0}}), URI, Value::Null, "low-confidence"),
    ] {
        let mut client = Client::start_with(["--model", model.arg()], &[("LACUNA_LOG", "info")]);
        client.initialize(json!({"initializationOptions": settings}));
        if !pause.is_null() {
            client.result(
                "workspace/executeCommand",
                json!({"command": "lacuna.pause", "arguments": pause}),
            );
        }
        let text =
            if code == "file-too-large" { "x = 1\n".repeat(500) } else { "x = f(\n".to_owned() };
        client.open(uri, "python", &text);
        // Saving is nothing to us, and nothing to the log.
        client.notify("textDocument/didSave", json!({"textDocument": {"uri": uri}}));
        assert_eq!(client.items(uri, 0, 6), Vec::<Value>::new(), "{code}");
        let said = client.await_said(&format!("silence=\"{code}\""));
        assert!(!said.contains("WARN"), "{said}");
    }
}

#[test]
fn a_pause_is_where_it_was_asked_for_and_ends() {
    let other = "file:///project/b.go";
    for (argument, here, there, code) in [
        (json!([]), true, true, "paused"),
        (json!([{}]), true, true, "paused"),
        (json!([{"language": "python"}]), true, false, "paused-language"),
        (json!([{"uri": URI}]), true, false, "paused-here"),
    ] {
        let mut session = watching(json!({}));
        session.open(URI, "python", "x = fo\n");
        session.open(other, "go", "x := fo\n");
        let report = command(&mut session, "lacuna.pause", argument.clone());
        assert_eq!(session.notifications("lacuna/status", 1)[0], report);
        assert_eq!(session.items(URI, 0, 6).is_empty(), here, "{argument}");
        assert_eq!(session.items(other, 0, 7).is_empty(), there, "{argument}");
        let status = status_of(&mut session, URI);
        assert_eq!((&status["state"], &status["last"]["reason"]), (&json!("paused"), &json!(code)));
        assert_eq!(status_of(&mut session, other)["state"], if there { "paused" } else { "ready" });
        command(&mut session, "lacuna.resume", argument);
        assert_eq!(session.items(URI, 0, 6).len(), 1);
        assert_eq!(status_of(&mut session, URI)["state"], "ready");
    }
}

#[test]
fn commands_that_mean_nothing_are_errors() {
    let mut session = watching(json!({}));
    for (name, arguments) in [
        ("lacuna.pause", json!([1])),
        ("lacuna.pause", json!([{"language": "go", "uri": URI}])),
        ("lacuna.resume", json!([{"language": 3}])),
        ("lacuna.resume", json!([{}, {}])),
        ("lacuna.what", json!([])),
    ] {
        let (code, message) = session
            .error("workspace/executeCommand", json!({"command": name, "arguments": arguments}));
        assert!(code == -32602 && message.contains(name), "{code} {message}");
    }
    session.open(URI, "python", "x = fo\n");
    assert_eq!(session.items(URI, 0, 6).len(), 1);
}

#[test]
fn events_of_any_shape_are_taken_without_a_word() {
    let mut session = watching(json!({}));
    session.open(URI, "python", "x = fo\n");
    let item = session.items(URI, 0, 6)[0].clone();
    session.notify("textDocument/didShowCompletion", json!({"item": item}));
    session.notify(
        "textDocument/didPartiallyAcceptCompletion",
        json!({"item": item, "acceptedLength": 3}),
    );
    for params in [
        json!({"item": null}),
        json!({"item": {"command": 1}}),
        json!({}),
        json!([]),
        json!({"item": [], "acceptedLength": -1}),
    ] {
        session.notify("textDocument/didShowCompletion", params.clone());
        session.notify("textDocument/didPartiallyAcceptCompletion", params);
    }
    assert_eq!(session.items(URI, 0, 6).len(), 1);
    assert_eq!(session.finish(), Some(0));
}

/// `context.other_files`: prompts grow by what resembles the place in other open files, never by
/// what is ignored.
#[test]
fn other_open_files_are_shown_where_that_is_wanted() {
    let text = "c = Circle(radius)\nc.\n";
    let prompt = |wanted: bool, other: Option<&str>| {
        let mut session = watching(json!({"context": {"other_files": wanted}}));
        if let Some(uri) = other {
            session.open(uri, "python", "class Circle:\n    radius = 1\n");
        }
        session.open(URI, "python", text);
        session.items(URI, 1, 2);
        let told = session.notifications("lacuna/status", 1);
        session.finish();
        told[0]["last"]["tokens"]["prompt"].as_u64().expect("a count")
    };
    let alone = prompt(true, None);
    assert!(prompt(true, Some("file:///project/shapes.py")) > alone);
    assert_eq!(prompt(true, Some("file:///project/.env")), alone, "it may hold secrets");
    assert_eq!(prompt(false, Some("file:///project/shapes.py")), alone);
}

/// A tiny model that says what it was trained for.
fn trained_for(languages: &[&str]) -> lacuna_tests::ModelDir {
    let mut model = TinyModel::default();
    model.config["code_languages"] = json!(languages);
    model.write()
}

/// The reason in a document of this language, and the remedy; `None`: there was an answer of the
/// model.
fn off(model: &str, show: Value, id: &str, uri: &str, trigger: u8) -> Option<String> {
    let mut client = Client::start_with(["--model", model], &[]);
    client.initialize(
        json!({"initializationOptions": {"latency": {"deadline_ms": 0}, "show": show}}),
    );
    client.open(uri, id, "x = fo\n");
    let params = json!({
        "textDocument": {"uri": uri}, "position": {"line": 0, "character": 6}, "context": {"triggerKind": trigger},
    });
    client.result("textDocument/inlineCompletion", params);
    let last =
        client.result("lacuna/status", json!({"textDocument": {"uri": uri}}))["last"].clone();
    (last["reason"] == "language-off")
        .then(|| last["remedy"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_language_that_the_model_was_not_trained_for_is_off_until_it_is_turned_on() {
    let model = trained_for(&["python", "lua"]);
    let all = TinyModel::default().write();
    let (lua, rust, python) =
        (("lua", "file:///a.lua"), ("rust", "file:///a.rs"), ("python", "file:///a.py"));
    for (model, show, (id, uri), is_off) in [
        (&model, json!({}), python, false),
        (&model, json!({}), lua, false),
        (&model, json!({}), rust, true),
        (&model, json!({"languages": ["trained", "rust"]}), rust, false),
        (&model, json!({"languages": ["trained", "rust"]}), python, false),
        (&model, json!({"languages": ["rust"]}), python, true),
        (&model, json!({"languages": ["*"]}), rust, false),
        (&model, json!({"languages": ["*"], "disabled_languages": ["rust"]}), rust, true),
        (&model, json!({"disabled_languages": ["*"]}), python, true),
        (&all, json!({}), rust, false),
        (&all, json!({}), ("plaintext", "untitled:Untitled-1"), false),
    ] {
        for trigger in [1, 2] {
            let remedy = off(model.arg(), show.clone(), id, uri, trigger);
            assert_eq!(remedy.is_some(), is_off, "{show} {id}, trigger {trigger}");
            assert!(remedy.is_none_or(
                |remedy| remedy.contains(":Lacuna language on") && remedy.contains("Turn On")
            ));
        }
    }
}

#[test]
fn a_language_is_turned_on_while_the_server_runs() {
    let model = trained_for(&["python"]);
    let mut client = Client::start_with(["--model", model.arg()], &[]);
    client.initialize(json!({"initializationOptions": {"latency": {"deadline_ms": 0}}}));
    client.open("file:///a.lua", "lua", "x = fo\n");
    let reason = |client: &mut Client| {
        client.items("file:///a.lua", 0, 6);
        client.result("lacuna/status", json!({"textDocument": {"uri": "file:///a.lua"}}))["last"]["reason"].clone()
    };
    assert_eq!(reason(&mut client), "language-off");
    client.notify(
        "workspace/didChangeConfiguration",
        json!({"settings": {"lacuna": {"show": {"languages": ["trained", "lua"]}}}}),
    );
    assert_ne!(reason(&mut client), "language-off");
}
