//! The server has the text that the editor has, or it says that it has not (`out-of-step`).

use lacuna_tests::Home;
use serde_json::{Value, json};

use super::{Session, URI, change, encodings, essence, options, range};

/// Sends a message whose body is not what a JSON library would write.
fn raw(session: &mut Session, body: &[u8]) {
    session.raw(&[format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat());
}

/// What a document that was opened with this text says at the end of its first line.
#[track_caller]
fn expected(session: &mut Session, text: &str, character: usize) -> Vec<(Value, Value)> {
    // Another document of the same name: prompts show it.
    let uri = "file:///fresh/a.py";
    session.open(uri, "python", text);
    let items = by_hand(session, uri, character);
    session.close(uri);
    essence(&items).into_iter().map(|(text, range)| (text.clone(), range.clone())).collect()
}

/// Asked by the user: what comes unasked does not come after a deletion.
#[track_caller]
fn by_hand(session: &mut Session, uri: &str, character: usize) -> Vec<Value> {
    let position = json!({"line": 0, "character": character});
    let params =
        json!({"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 1}});
    session.result("textDocument/inlineCompletion", params)["items"]
        .as_array()
        .expect("items")
        .clone()
}

#[track_caller]
fn holds(session: &mut Session, text: &str) {
    let character = text.lines().next().unwrap_or_default().encode_utf16().count();
    let expected = expected(session, text, character);
    let items = by_hand(session, URI, character);
    let items: Vec<_> =
        essence(&items).into_iter().map(|(text, range)| (text.clone(), range.clone())).collect();
    assert!(!items.is_empty());
    assert_eq!(items, expected, "{text:?}");
}

fn reason(session: &mut Session) -> Value {
    session.result("lacuna/status", json!({"textDocument": {"uri": URI}}))["last"]["reason"].clone()
}

#[test]
fn ranges_past_the_end_are_clamped_and_reversed_ones_turned_round() {
    let mut session = Session::start();
    for (before, edit, after) in [
        ("x = fo\nb", change((1, 0), (2, 0), ""), "x = fo\n"),
        ("a\nb\nc", change((0, 0), (3, 0), "x = fo\n"), "x = fo\n"),
        ("a\nb\nc", change((0, 0), (2_147_483_647, 0), "x = fo"), "x = fo"),
        ("x = ", change((7, 0), (7, 0), "fo"), "x = fo"),
        ("x = fob", change((0, 7), (0, 6), ""), "x = fo"),
        (
            "y",
            json!({"range": {"start": {"line": -1, "character": -5}, "end": {"line": 0, "character": 1.0}}, "text": "x = fo"}),
            "x = fo",
        ),
    ] {
        session.open(URI, "python", before);
        session.change(URI, 2, &[edit]);
        holds(&mut session, after);
        session.close(URI);
    }
    session.finish();
}

#[test]
fn halves_of_an_emoji_in_two_changes_come_out_as_the_emoji() {
    let mut session = Session::start();
    let half = |version: i32, character: usize, half: &str| {
        let at = json!({"line": 0, "character": character});
        let text = json!({"textDocument": {"uri": URI, "version": version}, "contentChanges": [{"range": {"start": at, "end": at}, "text": "?"}]});
        let message = json!({"jsonrpc": "2.0", "method": "textDocument/didChange", "params": text});
        message.to_string().replace('?', half).into_bytes()
    };
    session.open(URI, "python", "x = \"\" + fo\n");
    raw(&mut session, &half(2, 5, "\\ud83d"));
    raw(&mut session, &half(3, 6, "\\uDE00"));
    holds(&mut session, "x = \"😀\" + fo\n");
    // The later half first, and as bytes.
    session.change(URI, 4, &[change((0, 5), (0, 7), "")]);
    let with_bytes = |version, bytes: &[u8]| {
        let body = half(version, 5, "?");
        let at = body.windows(3).position(|w| w == b"\"?\"").unwrap() + 1;
        [&body[..at], bytes, &body[at + 1..]].concat()
    };
    raw(&mut session, &with_bytes(5, b"\xED\xB8\x80"));
    raw(&mut session, &with_bytes(6, b"\xED\xA0\xBD"));
    holds(&mut session, "x = \"😀\" + fo\n");
    // A half that stays alone is as long as the editor has it.
    session.change(URI, 7, &[change((0, 6), (0, 7), "")]);
    session.change(URI, 8, &[change((0, 7), (0, 12), " + ba")]);
    holds(&mut session, "x = \"\u{fffd}\" + ba\n");
    session.finish();
}

#[test]
fn a_text_with_lone_halves_and_invalid_bytes_is_opened() {
    for encoding in ["utf-16", "utf-8", "utf-32"] {
        let mut session = Session::with(
            json!({"initializationOptions": options(), "capabilities": encodings(&[encoding])}),
        );
        let head = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didOpen\",\"params\":{{\"textDocument\":{{\"uri\":\"{URI}\",\"languageId\":\"python\",\"version\":1,\"text\":\"a\\n"
        );
        let body = [head.as_bytes(), b"# caf\xe9 \\ud83d\\nx = fo\\n\"}}}"].concat();
        raw(&mut session, &body);
        // Columns behind the byte and the half: the line becomes `x = fo` if they are where the
        // editor has them.
        let half = if encoding == "utf-8" { 3 } else { 1 };
        session.change(
            URI,
            2,
            &[change((0, 0), (1, 0), ""), change((0, 0), (0, 7 + half), "x = fo")],
        );
        let items = session.items(URI, 0, 6);
        assert_eq!(items[0]["range"], range((0, 4), (0, 6)), "{encoding}");
        session.finish();
    }
}

#[test]
fn a_document_that_missed_a_change_is_silent_until_it_is_opened_again_or_replaced() {
    let mut session = Session::with(json!({
        "capabilities": {"experimental": {"lacunaStatus": true}},
        "initializationOptions": options(),
    }));
    let unreadable: [fn(&mut Session); 5] = [
        |s| {
            s.notify(
                "textDocument/didChange",
                json!({"textDocument": {"uri": URI, "version": 3}, "contentChanges": [{"range": 7, "text": ""}]}),
            )
        },
        |s| {
            s.notify("textDocument/didChange", json!({"textDocument": {"uri": URI, "version": 3}, "contentChanges": [{"text": null}]}))
        },
        |s| s.change(URI, 0, &[change((0, 0), (0, 0), "late")]),
        |s| {
            raw(s, format!("{{\"method\":\"textDocument/didChange\",\"params\":{{\"textDocument\":{{\"uri\":\"{URI}\" ...").as_bytes())
        },
        |s| raw(s, b"{\"method\":\"textDocument/didChange\",\"params\":{\"contentCh"),
    ];
    for (n, lose) in unreadable.into_iter().enumerate() {
        session.open(URI, "python", "x = fo\n");
        assert_eq!(session.items(URI, 0, 6).len(), 1);
        lose(&mut session);
        assert!(session.items(URI, 0, 6).is_empty());
        // Told at once and once, and whoever asks why is told again.
        let told = session.notifications("window/logMessage", n + 1);
        assert!(told[n]["message"].as_str().unwrap().contains("a.py is not completed"), "{told:?}");
        assert_eq!(reason(&mut session), "out-of-step");
        // Later changes are no cure, however good.
        session.change(URI, 9, &[change((0, 0), (0, 0), "y")]);
        assert!(session.items(URI, 0, 6).is_empty());
        if n % 2 == 0 {
            session.change(URI, 10, &[json!({"text": "x = ba\n"})]);
            holds(&mut session, "x = ba\n");
        }
        session.close(URI);
    }
    session.finish();
}

#[test]
fn versions_may_be_missing_and_names_may_be_written_in_any_way() {
    let mut session = Session::start();
    for uri in [
        "file:///w/my proj/a.py",
        "file:///w/é.py",
        "file:///w/[id].py",
        "file:///w/100%.py",
        "file:///w/a^b|c.py",
        "x y",
    ] {
        for version in [Value::Null, json!("one"), json!(1.0), json!(1u64 << 40)] {
            let document =
                json!({"uri": uri, "languageId": "python", "version": version, "text": "x = f"});
            session.notify("textDocument/didOpen", json!({"textDocument": document}));
            session.notify(
                "textDocument/didChange",
                json!({"textDocument": {"uri": uri, "version": version}, "contentChanges": [change((0, 5), (0, 5), "o")]}),
            );
            session
                .notify("textDocument/didChange", json!({"textDocument": {"uri": uri}, "contentChanges": [change((0, 6), (0, 6), "o")]}));
            assert_eq!(
                session.items(uri, 0, 7)[0]["range"],
                range((0, 4), (0, 7)),
                "{uri} {version}"
            );
            session.close(uri);
        }
    }
    session.finish();
}

#[test]
fn the_root_is_found_in_whichever_field_names_it() {
    let home = Home::new();
    home.write("my é [proj]/lacuna.toml", "[show]\ndisabled_languages = [\"python\"]\n");
    let folder = home.work().join("my é [proj]");
    let path = folder.display().to_string();
    let uri = format!("file://{path}");
    for named in [
        json!({"workspaceFolders": [{"uri": uri, "name": "w"}]}),
        json!({"workspaceFolders": [{"uri": uri}]}),
        json!({"workspaceFolders": null, "rootUri": uri}),
        json!({"workspaceFolders": [], "rootUri": uri.replace(' ', "%20")}),
        json!({"rootPath": path}),
        json!({"rootUri": null, "rootPath": path}),
    ] {
        let mut session = Session::with(named.clone());
        let document = format!("{uri}/a.py");
        session.open(&document, "python", "x = fo\n");
        assert!(session.items(&document, 0, 6).is_empty(), "{named}");
        let status = session.result("lacuna/status", json!({"textDocument": {"uri": document}}));
        assert_eq!(status["last"]["reason"], "language-off", "{named}");
        session.finish();
    }
}

#[test]
fn null_means_what_leaving_out_means() {
    let mut session = Session::start();
    session.open(URI, "python", "x = fo\n");
    for context in [
        Value::Null,
        json!({}),
        json!({"triggerKind": null}),
        json!({"triggerKind": null, "selectedCompletionInfo": null}),
    ] {
        let params = json!({"textDocument": {"uri": URI}, "position": {"line": 0, "character": 6}, "context": context});
        assert_eq!(
            session.result("textDocument/inlineCompletion", params)["items"]
                .as_array()
                .unwrap()
                .len(),
            1,
            "{context}"
        );
    }
    session.finish();
}

#[test]
fn a_long_line_of_wide_characters_is_completed_wherever_its_limits_fall() {
    let mut session = Session::start();
    for (language, uri) in [
        ("python", "file:///p/a.py"),
        ("rust", "file:///p/a.rs"),
        ("javascript", "file:///p/a.js"),
        ("c", "file:///p/a.c"),
    ] {
        for pad in ["", "x", "xx"] {
            let text = format!("s = \"{pad}{}\"\n", "é".repeat(2_100));
            session.open(uri, language, &text);
            for character in [2_000, 2_048, 2_108] {
                session.items(uri, 0, character);
            }
            session.change(uri, 2, &[change((0, 2_100), (0, 2_100), "漢")]);
            session.items(uri, 0, 2_101);
            session.close(uri);
        }
    }
    assert_eq!(session.finish(), Some(0));
}

#[test]
fn cells_of_a_notebook_see_each_other() {
    let mut session = Session::start();
    let cell = |name: &str| format!("vscode-notebook-cell:/n.ipynb#{name}");
    let document = |name: &str, text: &str| json!({"uri": cell(name), "languageId": "python", "version": 1, "text": text});
    let kinds = |names: &[&str]| {
        names.iter().map(|name| json!({"kind": 2, "document": cell(name)})).collect::<Vec<_>>()
    };
    let notebook = |version: i32| json!({"uri": "file:///n.ipynb", "version": version});
    session.notify(
        "notebookDocument/didOpen",
        json!({
            "notebookDocument": {"uri": "file:///n.ipynb", "notebookType": "jupyter-notebook", "version": 1, "cells": kinds(&["a", "c"])},
            "cellTextDocuments": [document("a", "def circle(r):\n    return 3 * r"), document("c", "print(y)")],
        }),
    );
    let structure = json!({"array": {"start": 1, "deleteCount": 0, "cells": kinds(&["b"])}, "didOpen": [document("b", "y = c")]});
    let added =
        json!({"notebookDocument": notebook(2), "change": {"cells": {"structure": structure}}});
    session.notify("notebookDocument/didChange", added);
    let typed = json!({"document": {"uri": cell("b"), "version": 2}, "changes": [change((0, 5), (0, 5), "i")]});
    session.notify(
        "notebookDocument/didChange",
        json!({"notebookDocument": notebook(3), "change": {"cells": {"textContent": [typed]}}}),
    );
    // An answer, and the tokens that it was made from.
    let seen = |session: &mut Session, uri: &str, line: usize| {
        let item = session.items(uri, line, 6)[0].clone();
        assert_eq!(item["range"], range((line, 4), (line, 6)), "in the places of the cell");
        let status = session.result("lacuna/status", json!({"textDocument": {"uri": uri}}));
        (item["insertText"].clone(), status["last"]["tokens"]["prompt"].clone())
    };
    // As if it were one file.
    session.open(
        "file:///whole/n.ipynb",
        "python",
        "def circle(r):\n    return 3 * r\ny = ci\nprint(y)\n",
    );
    session.open("file:///alone/n.ipynb", "python", "y = ci");
    let of_cell = seen(&mut session, &cell("b"), 0);
    assert_eq!(seen(&mut session, "file:///whole/n.ipynb", 2), of_cell);
    assert_ne!(seen(&mut session, "file:///alone/n.ipynb", 0).1, of_cell.1);
    // What cannot be read of one notebook concerns no other document.
    session.notify(
        "notebookDocument/didChange",
        json!({"notebookDocument": notebook(4), "change": 7}),
    );
    assert!(session.items(&cell("b"), 0, 6).is_empty());
    assert_eq!(session.items("file:///alone/n.ipynb", 0, 6).len(), 1);
    assert_eq!(session.notifications("window/logMessage", 3).len(), 3, "one a cell");
    let cells: Vec<Value> = ["a", "b", "c"].iter().map(|name| json!({"uri": cell(name)})).collect();
    session.notify(
        "notebookDocument/didClose",
        json!({"notebookDocument": {"uri": "file:///n.ipynb"}, "cellTextDocuments": cells}),
    );
    let asked =
        json!({"textDocument": {"uri": cell("b")}, "position": {"line": 0, "character": 0}});
    assert!(session.error("textDocument/inlineCompletion", asked).1.contains("not open"));
    session.finish();
}

#[test]
fn cells_are_asked_for_in_one_piece_by_those_who_know_notebooks() {
    for (capabilities, asked) in
        [(json!({}), false), (json!({"notebookDocument": {"synchronization": {}}}), true)]
    {
        let mut session = Session::uninitialized();
        let initialized = session
            .initialize(json!({"initializationOptions": options(), "capabilities": capabilities}));
        let sync = &initialized["capabilities"]["notebookDocumentSync"];
        assert_eq!(sync["notebookSelector"][0]["notebook"] == "*", asked, "{sync}");
        session.finish();
    }
}

#[test]
fn settings_that_change_are_in_force_where_they_can_be() {
    let mut session = Session::start();
    session.open(URI, "python", "x = fo\n");
    let length =
        |session: &mut Session| session.items(URI, 0, 6)[0]["insertText"].as_str().unwrap().len();
    let long = length(&mut session);
    let set = |session: &mut Session, settings: Value| {
        session.notify("workspace/didChangeConfiguration", json!({"settings": settings}))
    };
    // What editors send unasked is nothing of ours.
    for nothing in [
        Value::Null,
        json!({}),
        json!({"lacuna": null}),
        json!({"http": {"proxy": "x"}, "python": {"a": 1}}),
        json!(7),
    ] {
        set(&mut session, nothing);
    }
    set(
        &mut session,
        json!({"lacuna": {"show": {"line_tokens": 2, "block_tokens": 2}, "telemetry": {"dir": "elsewhere"}}}),
    );
    assert!(length(&mut session) < long);
    let told = |session: &mut Session, n: usize| {
        let messages = session.notifications("window/logMessage", n);
        messages
            .iter()
            .map(|message| message["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = &told(&mut session, 2)[..2];
    assert!(first[0].contains("now in force: show.block_tokens, show.line_tokens"), "{first:?}");
    assert!(
        first[0].contains("started again: telemetry.dir")
            && first[1].contains("telemetry.dir take effect when"),
        "{first:?}"
    );
    let notices = session.result("lacuna/status", json!({}))["notices"].clone();
    assert!(notices[0].as_str().unwrap().starts_with("telemetry.dir"), "{notices}");
    // What is not said any more is as it was at the start.
    set(
        &mut session,
        json!({"show": {"disabled_languages": ["python"]}, "telemetry": {"dir": "elsewhere"}}),
    );
    assert!(session.items(URI, 0, 6).is_empty());
    assert_eq!(reason(&mut session), "language-off");
    set(
        &mut session,
        json!({"lacuna": {"show": {"disabled_languages": []}, "telemetry": {"dir": "elsewhere"}}}),
    );
    assert_eq!(length(&mut session), long);
    // What cannot be used is named; the rest holds.
    set(
        &mut session,
        json!({"lacuna": {"show": {"line_tokens": "x", "block_tokens": 2}, "telemetry": {"dir": "elsewhere"}}}),
    );
    assert_eq!(session.items(URI, 0, 6).len(), 1);
    assert!(
        told(&mut session, 6)
            .iter()
            .any(|told| told.contains("line_tokens") && told.contains("\"x\""))
    );
    session.finish();
}

#[test]
fn a_client_that_says_only_that_something_changed_is_asked() {
    let capabilities = json!({"workspace": {"configuration": true}});
    let mut session =
        Session::with(json!({"initializationOptions": options(), "capabilities": capabilities}));
    session.open(URI, "python", "x = fo\n");
    session.notify("workspace/didChangeConfiguration", json!({"settings": null}));
    assert_eq!(
        session.notifications("workspace/configuration", 1)[0]["items"][0]["section"],
        "lacuna"
    );
    let id = session
        .received()
        .iter()
        .find(|message| message["method"] == "workspace/configuration")
        .map(|asked| asked["id"].clone());
    session.send(&json!({"jsonrpc": "2.0", "id": id, "result": [{"show": {"disabled_languages": ["python"]}}]}));
    session.notifications("window/logMessage", 1);
    assert!(session.items(URI, 0, 6).is_empty());
    session.finish();
}

#[test]
fn a_saved_configuration_is_read_again() {
    let home = Home::new();
    let uri = format!("file://{}/a.py", home.work().display());
    let mut session = Session::with(
        json!({"rootUri": format!("file://{}", home.work().display()), "initializationOptions": options()}),
    );
    session.open(&uri, "python", "x = fo\n");
    assert_eq!(session.items(&uri, 0, 6).len(), 1);
    home.write("lacuna.toml", "[show]\ndisabled_languages = [\"python\"]\n");
    session.notify(
        "textDocument/didSave",
        json!({"textDocument": {"uri": format!("file://{}/lacuna.toml", home.work().display())}}),
    );
    assert!(session.items(&uri, 0, 6).is_empty());
    session.finish();
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_ends_with_the_process_that_started_it() {
    let mut editor = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let mut session =
        Session::with(json!({"processId": editor.id(), "initializationOptions": options()}));
    session.open(URI, "python", "x = fo\n");
    assert_eq!(session.items(URI, 0, 6).len(), 1);
    editor.kill().unwrap();
    editor.wait().unwrap();
    assert_eq!(session.ended().code(), Some(1), "nobody has said goodbye");
}
