//! When nothing is suggested unasked, in all dialects; and that who asks by hand is answered.

use lacuna_tests::{Client, Home, TinyModel, binary};
use serde_json::{Value, json};

use super::{CANCELLED, Session, URI, change, options};

/// Nobody waits so long: an answer that comes has not waited.
const LONG_MS: u64 = 10_000;

fn with(show: Value) -> Session {
    let mut options = options();
    for (key, value) in show.as_object().into_iter().flatten() {
        options["show"][key] = value.clone();
    }
    Session::with(json!({"initializationOptions": options}))
}

/// Texts of an answer, and why there are none.
fn asked(session: &mut Session, position: (usize, usize), kind: u8) -> (Vec<String>, Value) {
    let params = json!({
        "textDocument": {"uri": URI},
        "position": {"line": position.0, "character": position.1},
        "context": {"triggerKind": kind},
    });
    let reply = session.result("textDocument/inlineCompletion", params);
    let texts = reply["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["insertText"].as_str().expect("text").to_owned());
    let texts = texts.collect();
    let last =
        session.result("lacuna/status", json!({"textDocument": {"uri": URI}}))["last"].clone();
    (texts, last["reason"].clone())
}

fn unasked(session: &mut Session, position: (usize, usize)) -> (Vec<String>, Value) {
    asked(session, position, 2)
}

fn by_hand(session: &mut Session, position: (usize, usize)) -> (Vec<String>, Value) {
    asked(session, position, 1)
}

#[track_caller]
fn assert_silent(answer: (Vec<String>, Value), reason: &str) {
    assert_eq!(answer, (Vec::new(), json!(reason)));
}

#[track_caller]
fn assert_answered(answer: (Vec<String>, Value)) -> String {
    assert_eq!(answer.1, Value::Null, "the tiny model always has something to say");
    answer.0[0].clone()
}

#[test]
fn nothing_comes_unasked_after_an_undo_or_a_deletion_until_something_is_inserted() {
    let mut session = with(json!({}));
    session.open(URI, "python", "total = 1\nx = fo\n");
    assert_answered(unasked(&mut session, (1, 6)));
    session.change(URI, 2, &[change((1, 5), (1, 6), "")]);
    assert_silent(unasked(&mut session, (1, 5)), "after-undo");
    assert_answered(by_hand(&mut session, (1, 5)));
    session.change(URI, 3, &[change((1, 5), (1, 5), "i")]);
    assert_answered(unasked(&mut session, (1, 6)));
    // A name is changed, and changed back.
    session.change(URI, 4, &[change((0, 0), (0, 5), "amount")]);
    assert_answered(unasked(&mut session, (1, 6)));
    session.change(URI, 5, &[change((0, 0), (0, 6), "total")]);
    assert_silent(unasked(&mut session, (1, 6)), "after-undo");
    // Whole texts, as some clients send them.
    session.change(URI, 6, &[json!({"text": "total = 1\nx = fib\n"})]);
    assert_answered(unasked(&mut session, (1, 7)));
    session.change(URI, 7, &[json!({"text": "total = 1\nx = fi\n"})]);
    assert_silent(unasked(&mut session, (1, 6)), "after-undo");
    // A document that is opened again begins anew.
    session.close(URI);
    session.open(URI, "python", "x = fo\n");
    assert_answered(unasked(&mut session, (0, 6)));
}

#[test]
fn comments_documentation_and_strings_are_asked_for_separately() {
    let text = "def f(a):\n    \"\"\"Adds on\"\"\"\n    # a no\n    return \"so\" + st\n";
    let places = [
        ("in_doc_comments", (1, 14), "in-doc-comment"),
        ("in_comments", (2, 10), "in-comment"),
        ("in_strings", (3, 14), "in-string"),
    ];
    for (setting, place, reason) in places {
        for wanted in [json!(true), json!("explicit"), json!(false)] {
            let mut session = with(json!({(setting): wanted}));
            session.open(URI, "python", text);
            for (_, other, of) in places {
                let (unasked, by_hand) =
                    (unasked(&mut session, other).1, by_hand(&mut session, other).1);
                let is_quiet = |answer: &Value| answer == &json!(reason);
                assert_eq!(
                    is_quiet(&unasked),
                    of == reason && wanted != json!(true),
                    "{setting} = {wanted}: {of}"
                );
                assert_eq!(
                    is_quiet(&by_hand),
                    of == reason && wanted == json!(false),
                    "{setting} = {wanted}: {of}"
                );
            }
            assert!(
                !["in-comment", "in-string"]
                    .iter()
                    .any(|code| unasked(&mut session, (3, 20)).1 == json!(code)),
                "code is code: {place:?}"
            );
        }
    }
}

#[test]
fn settings_about_manners_are_in_force_at_once() {
    let mut session = with(json!({}));
    session.open(URI, "python", "# a no\nx = fo\n");
    assert_answered(unasked(&mut session, (0, 6)));
    let push = |session: &mut Session, show: Value| {
        session.notify(
            "workspace/didChangeConfiguration",
            json!({"settings": {"lacuna": {"show": show}}}),
        );
    };
    push(&mut session, json!({"in_comments": "explicit"}));
    assert_silent(unasked(&mut session, (0, 6)), "in-comment");
    assert_answered(by_hand(&mut session, (0, 6)));
    push(&mut session, json!({"in_comments": false}));
    assert_silent(by_hand(&mut session, (0, 6)), "in-comment");
    push(&mut session, json!({"in_comments": true}));
    assert_answered(unasked(&mut session, (0, 6)));
    // Held back, and answered when that ends.
    push(&mut session, json!({"delay_ms": LONG_MS}));
    let waiting = session.complete(URI, 1, 6);
    assert_answered(by_hand(&mut session, (1, 6)));
    assert_eq!(
        session.reply(waiting)["error"]["code"],
        json!(CANCELLED),
        "a newer request ends it"
    );
    push(&mut session, json!({"delay_ms": 1}));
    assert_answered(unasked(&mut session, (1, 6)));
}

#[test]
fn whatever_supersedes_a_request_that_is_held_back_ends_it_at_once() {
    let mut session = with(json!({"delay_ms": LONG_MS}));
    session.open(URI, "python", "x = fo\n");
    let began = std::time::Instant::now();
    let mut version = 1;
    for end in 6..26 {
        let typed = session.complete(URI, 0, end);
        version += 1;
        session.change(URI, version, &[change((0, end), (0, end), "o")]);
        assert_eq!(session.reply(typed)["error"]["code"], json!(CANCELLED));
        let (older, newer) = (session.complete(URI, 0, end + 1), session.complete(URI, 0, end + 1));
        assert_eq!(session.reply(older)["error"]["code"], json!(CANCELLED));
        session.notify("$/cancelRequest", json!({"id": newer}));
        assert_eq!(session.reply(newer)["error"]["code"], json!(CANCELLED));
        by_hand(&mut session, (0, end + 1));
    }
    let closed = session.complete(URI, 0, 6);
    session.close(URI);
    assert_eq!(session.reply(closed)["error"]["code"], json!(CANCELLED));
    assert!(
        began.elapsed().as_millis() < 40 * u128::from(LONG_MS),
        "81 requests, none of which was held to its end"
    );
}

#[test]
fn what_is_typed_through_is_not_held_back() {
    let mut session = with(json!({"delay_ms": LONG_MS}));
    session.open(URI, "python", "x = fo\n");
    let text = assert_answered(by_hand(&mut session, (0, 6)));
    let next = &text["fo".len().."fo".len() + 1];
    session.change(URI, 2, &[change((0, 6), (0, 6), next)]);
    let began = std::time::Instant::now();
    assert_eq!(assert_answered(unasked(&mut session, (0, 7))), text, "the text on screen goes on");
    assert!(began.elapsed().as_millis() < u128::from(LONG_MS));
}

#[test]
fn what_was_dismissed_is_not_offered_again_at_its_place_until_the_line_changes() {
    for telemetry in [true, false] {
        let mut options = options();
        options["telemetry"] = json!({"enabled": telemetry});
        let mut session = Session::with(json!({"initializationOptions": options}));
        session.open(URI, "python", "import os\nx = fo\ny = 2\n");
        let item = session.items(URI, 1, 6)[0].clone();
        let first = item["insertText"].as_str().expect("text").to_owned();
        let id = item["command"]["arguments"][0].clone();
        assert_eq!(assert_answered(unasked(&mut session, (1, 6))), first, "shown is not dismissed");
        session.notify("lacuna/didDismissCompletion", json!({"item": item}));
        session.result(
            "workspace/executeCommand",
            json!({"command": "lacuna.dismissed", "arguments": [id]}),
        );
        // Another line may be offered instead, and be dismissed, until there is none.
        let mut refused = vec![first.clone()];
        let reason = loop {
            let items = session.items(URI, 1, 6);
            let Some(other) = items.first() else {
                break session.result("lacuna/status", json!({"textDocument": {"uri": URI}}))["last"]["reason"].clone();
            };
            let text = other["insertText"].as_str().expect("text").to_owned();
            assert!(
                !refused.iter().any(|old| old.starts_with(&text) || text.starts_with(old.as_str())),
                "{text:?} after {refused:?}"
            );
            refused.push(text);
            assert!(refused.len() < 20);
            session.notify("lacuna/didDismissCompletion", json!({"item": other}));
        };
        assert_eq!(reason, json!("dismissed-before"), "{refused:?}");
        assert!(by_hand(&mut session, (1, 6)).0.contains(&first), "who asks by hand sees it again");
        // Elsewhere lines come and go.
        session.change(
            URI,
            2,
            &[change((0, 0), (0, 0), "import re\n"), change((3, 0), (3, 1), "z")],
        );
        assert!(unasked(&mut session, (2, 6)).0.iter().all(|text| !refused.contains(text)));
        // The line changes, and is as it was.
        session.change(URI, 3, &[change((2, 6), (2, 6), "r")]);
        session.change(URI, 4, &[change((2, 6), (2, 7), "")]);
        session.change(URI, 5, &[change((3, 5), (3, 5), "3")]);
        let now = by_hand(&mut session, (2, 6)).0;
        assert_eq!(assert_answered(unasked(&mut session, (2, 6))), now[0]);
    }
}

/// Each with the event of its own protocol.
#[test]
fn clients_of_other_servers_are_heard_when_they_dismiss() {
    let position = json!({"line": 0, "character": 6});
    let doc =
        json!({"textDocument": {"uri": URI}, "position": position, "context": {"triggerKind": 2}});
    let legacy = json!({"doc": {"uri": URI, "version": 1, "position": position}});
    type Reader = fn(&Value) -> Option<(String, Value)>;
    let copilot: Reader = |reply| {
        let first = reply["completions"].get(0)?;
        Some((first["displayText"].as_str()?.to_owned(), json!({"uuids": [first["uuid"]]})))
    };
    let llm_ls: Reader = |reply| {
        let first = reply["completions"].get(0)?;
        Some((
            first["generated_text"].as_str()?.to_owned(),
            json!({"requestId": reply["request_id"], "shownCompletions": [0]}),
        ))
    };
    let tabby: Reader = |reply| {
        let first = reply["items"].get(0)?;
        Some((
            first["insertText"].as_str()?.to_owned(),
            json!({"type": "dismiss", "eventId": first["data"]["eventId"]}),
        ))
    };
    for (who, method, params, read, event, is_notification) in [
        (
            json!({"editorPluginInfo": {"name": "copilot.lua"}}),
            "getCompletions",
            &legacy,
            copilot,
            "notifyRejected",
            false,
        ),
        (json!({}), "llm-ls/getCompletions", &doc, llm_ls, "llm-ls/rejectCompletion", false),
        (
            json!({"clientInfo": {"tabbyPlugin": {"name": "vim-tabby"}}}),
            "textDocument/inlineCompletion",
            &doc,
            tabby,
            "tabby/telemetry/event",
            true,
        ),
    ] {
        let mut options = options();
        who.as_object().into_iter().flatten().for_each(|(key, value)| options[key] = value.clone());
        let mut session = Session::with(json!({"initializationOptions": options}));
        session.open(URI, "python", "x = fo\n");
        let (text, dismissal) =
            read(&session.result(method, params.clone())).expect("the tiny model says something");
        if is_notification {
            session.notify(event, dismissal)
        } else {
            drop(session.result(event, dismissal))
        }
        let again = read(&session.result(method, params.clone()));
        assert!(again.is_none_or(|(other, _)| other != text), "{method}: {text:?} again");
    }
}

#[test]
fn a_snooze_keeps_quiet_and_is_ended() {
    let mut options = options();
    options["latency"]["background"] = json!(true);
    let mut session = Session::with(json!({
        "capabilities": {"experimental": {"lacunaStatus": true}},
        "initializationOptions": options,
    }));
    session.open(URI, "python", "x = fo\n");
    let snooze = |session: &mut Session, minutes: Value| {
        session.result(
            "workspace/executeCommand",
            json!({"command": "lacuna.snooze", "arguments": [{"minutes": minutes}]}),
        )
    };
    let report = snooze(&mut session, json!(5));
    assert_eq!(
        (&report["state"], session.notifications("lacuna/status", 1)[0] == report),
        (&json!("snoozed"), true)
    );
    assert!(report["snoozedUntil"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{report}");
    assert_silent(unasked(&mut session, (0, 6)), "snoozed");
    assert_answered(by_hand(&mut session, (0, 6)));
    let report = snooze(&mut session, json!(0));
    assert_eq!((&report["state"], report.get("snoozedUntil")), (&json!("ready"), None));
    assert_answered(unasked(&mut session, (0, 6)));
    for wrong in [json!(-1), json!("5"), Value::Null, json!(1e9)] {
        let command = json!({"command": "lacuna.snooze", "arguments": [{"minutes": wrong}]});
        let (code, message) = session.error("workspace/executeCommand", command);
        assert!(code == -32602 && message.contains("minutes"), "{message}");
    }
}

/// What one level shows, a more eager one shows, too; for single languages another holds.
#[test]
fn who_is_less_eager_is_shown_less() {
    let mut session = with(json!({}));
    session.open(URI, "python", "x = fo\n");
    let mut shown = [0; 3];
    for least in 1..40 {
        let least = f64::from(least) / 50.0;
        let mut before = false;
        for (i, eagerness) in ["low", "normal", "high"].into_iter().enumerate() {
            // From least to most: what was shown once is in memory.
            let show = if least < 0.1 {
                json!({"min_confidence": least, "eagerness": eagerness})
            } else {
                json!({"min_confidence": least, "eagerness": "normal", "language": {"python": {"eagerness": eagerness}, "go": {"eagerness": "low"}}})
            };
            session.notify(
                "workspace/didChangeConfiguration",
                json!({"settings": {"lacuna": {"show": show}}}),
            );
            let is_shown = unasked(&mut session, (0, 6)).1 == Value::Null;
            assert!(is_shown || !before, "{least}: {eagerness} shows less");
            before = is_shown;
            shown[i] += usize::from(is_shown);
        }
    }
    assert!(shown[0] < shown[1] && shown[1] < shown[2], "{shown:?} of 39");
}

/// The latency in a row is the engine's; the delay stands beside it.
#[test]
fn telemetry_tells_the_delay_apart() {
    let mut options = options();
    options["show"]["delay_ms"] = json!(150);
    let (home, model) = (Home::new(), TinyModel::default().write());
    let mut command = home.command(binary());
    command.args(["lsp", "--model", model.arg()]);
    let mut session = Session { client: Client::spawn(&mut command), _model: model };
    session.initialize(json!({"initializationOptions": options}));
    session.open(URI, "python", "x = fo\n");
    assert_answered(unasked(&mut session, (0, 6)));
    assert_answered(by_hand(&mut session, (0, 6)));
    assert_eq!(session.finish(), Some(0));
    let rows = home.lacuna(["telemetry", "export", "--format", "jsonl"]).expect_code(0).stdout;
    let rows: Vec<Value> =
        rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let delays: Vec<(i64, i64)> = rows
        .iter()
        .filter(|row| row["kind"] == "request")
        .map(|row| {
            (
                row["trigger"].as_i64().expect("a trigger"),
                row["delay_us"].as_i64().expect("a delay"),
            )
        })
        .collect();
    assert_eq!(delays.len(), 2, "{rows:?}");
    assert!(
        delays.iter().all(|(trigger, us)| if *trigger == 2 {
            *us >= 150_000
        } else {
            *us < 150_000
        }),
        "{delays:?}"
    );
}
