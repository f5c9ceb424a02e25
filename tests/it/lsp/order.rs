//! Many requests at once: cancelling, superseding, and exactly one reply to each. The client checks the last by itself.

use serde_json::json;

use super::{Session, URI, change, essence, is_result};

/// A document long enough that a request takes a while.
fn long_text() -> String {
    (0..400).map(|i| format!("value_{i} = compute({i}) + value_{}\n", i / 2)).collect()
}

#[test]
fn a_cancelled_request_is_answered_once() {
    let mut session = Session::start();
    session.open(URI, "python", &long_text());
    for line in 200..230 {
        let id = session.complete(URI, line, 5);
        session.notify("$/cancelRequest", json!({"id": id}));
        is_result(&session.reply(id));
    }
    // Cancelling what is answered, or was never asked, does nothing.
    session.notify("$/cancelRequest", json!({"id": 1}));
    session.notify("$/cancelRequest", json!({"id": 4711}));
    session.notify("$/cancelRequest", json!({"id": "text"}));
    assert_eq!(session.items(URI, 3, 5).len(), 1);
    session.finish();
}

#[test]
fn a_newer_request_supersedes_the_older_one() {
    let mut session = Session::start();
    session.open(URI, "python", &long_text());
    let ids: Vec<i64> = (200..240).map(|line| session.complete(URI, line, 5)).collect();
    let (last, older) = ids.split_last().unwrap();
    assert!(is_result(&session.reply(*last)), "the newest is answered");
    let answered = older.iter().filter(|id| is_result(&session.reply(**id))).count();
    eprintln!("{answered} of {} older requests were answered", older.len());
    session.finish();
}

#[test]
fn requests_of_other_documents_do_not_supersede_each_other() {
    let mut session = Session::start();
    let uris: Vec<String> = (0..12).map(|i| format!("file:///project/{i}.py")).collect();
    for uri in &uris {
        session.open(uri, "python", &long_text());
    }
    let ids: Vec<i64> = uris.iter().map(|uri| session.complete(uri, 300, 5)).collect();
    for id in ids {
        assert!(is_result(&session.reply(id)));
    }
}

#[test]
fn a_burst_of_typing_ends_with_an_answer_for_the_last_keystroke() {
    let mut session = Session::on_the_scalar_row();
    let text = format!("{}x = \n", long_text());
    session.open(URI, "python", &text);
    let typed: Vec<char> = "compute_2(value) + ".chars().cycle().take(200).collect();
    let mut ids = Vec::new();
    for (i, c) in typed.iter().enumerate() {
        session.change(URI, 2 + i as i64, &[change((400, 4 + i), (400, 4 + i), &c.to_string())]);
        ids.push(session.complete(URI, 400, 5 + i));
    }
    let last = ids.pop().unwrap();
    let reply = session.reply(last);
    assert!(is_result(&reply), "{reply}");
    let answered = ids.iter().filter(|id| is_result(&session.reply(**id))).count();
    eprintln!("{answered} of {} superseded requests were answered", ids.len());
    // And it is the answer for the text as it is now.
    let typed: String = typed.into_iter().collect();
    session.close(URI);
    session.open(URI, "python", &text.replace("x = \n", &format!("x = {typed}\n")));
    assert_eq!(essence(reply["result"]["items"].as_array().unwrap()), essence(&session.items(URI, 400, 204)));
    assert_eq!(session.finish(), Some(0));
}

#[test]
fn an_edit_or_a_close_while_a_request_runs_never_leaves_it_unanswered() {
    let mut session = Session::start();
    for round in 0..20 {
        session.open(URI, "python", &long_text());
        let id = session.complete(URI, 350, 5);
        match round % 3 {
            0 => session.change(URI, 2, &[change((350, 0), (350, 5), "")]),
            1 => session.close(URI),
            _ => session.open(URI, "python", "x = 1\n"),
        }
        is_result(&session.reply(id));
        session.close(URI);
    }
    session.finish();
}

#[test]
fn thousands_of_requests_at_once_are_all_answered() {
    let mut session = Session::start();
    let ids: Vec<i64> = (0..2000).map(|_| session.request("lacuna/no-such-method", json!({"padding": "x".repeat(100)}))).collect();
    for id in ids {
        assert_eq!(session.reply(id)["error"]["code"], -32601);
    }
    assert_eq!(session.finish(), Some(0));
}
