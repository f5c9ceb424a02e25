//! Many requests at once: cancelling, superseding, and exactly one reply to each. The client checks
//! the last by itself.

use std::time::Duration;

use lacuna_tests::Random;
use serde_json::json;

use super::{Session, URI, change, essence, is_result};

/// A document long enough that a request takes a while.
fn long_text() -> String {
    (0..400).map(|i| format!("value_{i} = compute({i}) + value_{}\n", i / 2)).collect()
}

#[test]
fn a_cancelled_request_is_answered_once() {
    let mut session = Session::start();
    session.open(URI, "python", &format!("{}total = compute(\n", long_text()));
    for line in 200..230 {
        let id = session.complete(URI, line, 5);
        session.notify("$/cancelRequest", json!({"id": id}));
        is_result(&session.reply(id));
    }
    // Cancelling what is answered, or was never asked, does nothing.
    session.notify("$/cancelRequest", json!({"id": 1}));
    session.notify("$/cancelRequest", json!({"id": 4711}));
    session.notify("$/cancelRequest", json!({"id": "text"}));
    assert_eq!(session.items(URI, 400, 16).len(), 1);
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
    assert_eq!(
        essence(reply["result"]["items"].as_array().unwrap()),
        essence(&session.items(URI, 400, 204))
    );
    assert_eq!(session.finish(), Some(0));
}

/// Invariant 4: once the server has said anything that it can only say after an edit, it offers
/// nothing for the text before it.
#[test]
fn nothing_is_offered_for_a_text_that_the_server_knows_to_be_gone() {
    let random = &mut Random::new(41);
    let mut session = Session::start();
    let mut lines: Vec<String> =
        (0..60).map(|i| format!("value_{i} = compute({i}) + value_{}", i / 2)).collect();
    lines.push("total = ".to_owned());
    session.open(URI, "python", &lines.join("\n"));
    let (last, mut version) = (lines.len() - 1, 1);
    // Completions, and for each what was asked behind the edit that followed it.
    let mut asked: Vec<(i64, i64)> = Vec::new();
    let mut suggested = String::new();
    for round in 0..240 {
        let column = lines[last].len();
        let completion = session.complete(URI, last, column);
        // The edit comes at once, or while the answer is made, or when it is there.
        match random.below(4) {
            0 => {}
            1 => std::thread::sleep(Duration::from_micros(random.below(3_000) as u64)),
            _ => {
                let reply = session.reply(completion);
                let item = &reply["result"]["items"][0];
                let start =
                    item["range"]["start"]["character"].as_u64().unwrap_or(column as u64) as usize;
                suggested = item["insertText"]
                    .as_str()
                    .and_then(|text| text.get(column - start..))
                    .unwrap_or_default()
                    .to_owned();
            }
        }
        version += 1;
        let edit = match random.below(8) {
            _ if column > 60 => {
                lines[last].truncate(8);
                change((last, 8), (last, column), "")
            }
            0 if column > 8 => {
                lines[last].pop();
                change((last, column - 1), (last, column), "")
            }
            1 => {
                // Above the cursor; its line stays.
                let line = random.below(last);
                lines[line].push('!');
                change((line, lines[line].len() - 1), (line, lines[line].len() - 1), "!")
            }
            2 | 3 => {
                lines[last].push('q');
                change((last, column), (last, column), "q")
            }
            _ => {
                // What was suggested, where something was.
                let typed = suggested
                    .chars()
                    .next()
                    .filter(char::is_ascii_graphic)
                    .unwrap_or('v')
                    .to_string();
                lines[last].push_str(&typed);
                change((last, column), (last, column), &typed)
            }
        };
        session.change(URI, version, &[edit]);
        asked.push((completion, session.request("lacuna/status", json!({"uri": URI}))));
        if round % 3 == 0 {
            session.reply(completion);
        }
    }
    for (completion, fence) in &asked {
        session.reply(*fence);
        is_result(&session.reply(*completion));
    }
    let place = |id: i64| {
        session
            .received()
            .iter()
            .position(|message| message["id"] == id && message.get("method").is_none())
    };
    let (mut offered, mut late) = (0, 0);
    for (completion, fence) in &asked {
        let (at, behind) = (place(*completion).expect("a reply"), place(*fence).expect("a reply"));
        let items = session.received()[at]["result"]["items"].as_array().map_or(0, Vec::len);
        offered += usize::from(items > 0);
        late += usize::from(at > behind);
        assert!(
            items == 0 || at < behind,
            "offered after the edit was known: {}",
            session.received()[at]
        );
    }
    eprintln!("of {} completions {offered} were offered, {late} came after the edit", asked.len());
    assert!(offered > 60 && late > 20, "the test shows nothing: {offered} offered, {late} late");
    // Every edit was taken: it goes on from the text as it is.
    session.items(URI, last, lines[last].len());
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
    let ids: Vec<i64> = (0..2000)
        .map(|_| session.request("lacuna/no-such-method", json!({"padding": "x".repeat(100)})))
        .collect();
    for id in ids {
        assert_eq!(session.reply(id)["error"]["code"], -32601);
    }
    assert_eq!(session.finish(), Some(0));
}
