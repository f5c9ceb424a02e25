//! What an answer looks like: ranges, restated words, encodings, alternatives.

use serde_json::{Value, json};

use super::text::{Unit, accept, position};
use super::{Session, URI, change, encodings, options, range};

/// Asks at the end of `before` in `before + after`, checks what holds for every item, and returns
/// them.
#[track_caller]
fn items_at(
    session: &mut Session,
    language: &str,
    before: &str,
    after: &str,
    unit: Unit,
) -> Vec<Value> {
    let text = format!("{before}{after}");
    session.open(URI, language, &text);
    let (line, character) = position(&text, before.len(), unit);
    let items = session.items(URI, line, character);
    let word: String = {
        let reversed: Vec<char> =
            before.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        reversed.into_iter().rev().collect()
    };
    let start = position(&text, before.len() - word.len(), unit);
    for item in &items {
        assert_eq!(item["range"], range(start, (line, character)), "{before:?}");
        let inserted = item["insertText"].as_str().expect("plain text");
        assert!(
            inserted.starts_with(&word) && inserted.len() > word.len(),
            "{word:?} {inserted:?}"
        );
        assert!(
            accept(&text, item, unit).starts_with(before)
                && accept(&text, item, unit).ends_with(after)
        );
        assert_eq!(item["command"]["command"], "lacuna.accepted");
        assert!(
            item["command"]["title"].is_string()
                && item["command"]["arguments"].as_array().is_some_and(|a| a.len() == 1)
        );
    }
    session.close(URI);
    items
}

#[test]
fn an_item_restates_the_typed_word_in_a_range_on_one_line() {
    let mut session = Session::start();
    for (language, before, after) in [
        ("python", "x = fo", "\n"),
        ("python", "x = ", "\n"),
        ("python", "for item in items:\n    item", "\n\nprint(1)\n"),
        ("rust", "fn main() {\n    let value = va", ";\n}\n"),
        ("javascript", "const a = b.c", ";\n"),
        ("typescript", "const total: numb", " = 1;\n"),
        ("plaintext", "Dear Sir or Mad", ""),
        ("plaintext", "a", ""),
    ] {
        let items = items_at(&mut session, language, before, after, Unit::Utf16);
        assert_eq!(items.len(), 1, "{language} {before:?}");
    }
}

#[test]
fn an_empty_document_and_an_empty_line_are_places_too() {
    let mut session = Session::start();
    for (before, after) in [("", ""), ("", "x = 1\n"), ("x = 1\n", ""), ("x = 1\n", "\ny = 2\n")] {
        items_at(&mut session, "python", before, after, Unit::Utf16);
    }
}

#[test]
fn characters_count_in_the_unit_that_was_agreed_on() {
    for (offered, unit) in
        [(&["utf-8", "utf-16"][..], Unit::Utf8), (&["utf-16"], Unit::Utf16), (&[], Unit::Utf16)]
    {
        let mut session = Session::with(
            json!({"capabilities": encodings(offered), "initializationOptions": options()}),
        );
        for before in [
            "s = '🦀'; fo",
            "s = '漢字'; fo",
            "naïve = übe",
            "# e\u{301}\u{200d}👩‍👩‍👧 \nx = '🦀🦀' + wo",
            "漢字",
        ] {
            let items = items_at(&mut session, "python", before, "\n", unit);
            assert_eq!(items.len(), 1, "{before:?} {unit:?}");
        }
    }
}

#[test]
fn a_position_inside_a_character_is_taken_as_its_start() {
    let mut session = Session::start();
    session.open(URI, "plaintext", "ab🦀cd");
    // Character 3 is between the two halves of the crab.
    for item in session.items(URI, 0, 3) {
        assert_eq!(item["range"], range((0, 0), (0, 2)));
    }
    session.finish();
}

#[test]
fn lines_that_end_in_crlf_and_lines_indented_with_tabs() {
    let mut session = Session::start();
    for before in
        ["x = 1\r\ny = fo", "def f():\r\n\tif x:\r\n\t\tvalue = va", "\t\t\tfo", "a\r\n\r\n\r\nfo"]
    {
        for after in ["\r\nz = 2\r\n", "", "\r\n"] {
            let items = items_at(&mut session, "python", before, after, Unit::Utf16);
            assert_eq!(items.len(), 1, "{before:?} {after:?}");
            assert!(!items[0]["insertText"].as_str().unwrap().contains('\r'));
        }
    }
    // A character past the content of the line, between `\r` and `\n`, means its end.
    session.open(URI, "python", "ab\r\ncd\r\n");
    for character in [3, 99] {
        let params =
            json!({"textDocument": {"uri": URI}, "position": {"line": 0, "character": character}});
        let result = session.result("textDocument/inlineCompletion", params);
        assert_eq!(result["items"][0]["range"], range((0, 0), (0, 2)));
    }
}

#[test]
fn a_request_by_hand_gets_alternatives() {
    let mut session = Session::start();
    session.open(URI, "python", "x = fo\n");
    let params = json!({"textDocument": {"uri": URI}, "position": {"line": 0, "character": 6}, "context": {"triggerKind": 1}});
    let result = session.result("textDocument/inlineCompletion", params);
    let texts: Vec<&str> = result["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["insertText"].as_str().unwrap())
        .collect();
    assert!((2..=3).contains(&texts.len()), "{texts:?}");
    assert!((1..texts.len()).all(|i| !texts[..i].contains(&texts[i])), "{texts:?}");
    let ids: Vec<&Value> =
        result["items"].as_array().unwrap().iter().map(|i| &i["command"]["arguments"][0]).collect();
    assert!((1..ids.len()).all(|i| !ids[..i].contains(&ids[i])), "{ids:?}");
}

#[test]
fn a_client_may_leave_the_context_out() {
    let mut session = Session::start();
    session.open(URI, "python", "x = fo\n");
    let params = json!({"textDocument": {"uri": URI, "version": 1}, "position": {"line": 0, "character": 6},
        "formattingOptions": {"tabSize": 4, "insertSpaces": true}});
    assert_eq!(
        session.result("textDocument/inlineCompletion", params)["items"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn items_go_on_from_the_selected_entry_of_the_suggestion_list() {
    let mut session = Session::start();
    session.open(URI, "python", "import os\nos.pa\n");
    for (selected, text) in [
        (range((1, 3), (1, 5)), "path"),
        (range((1, 3), (1, 5)), "pathsep"),
        (range((1, 5), (1, 5)), "thconf"),
    ] {
        let params = json!({"textDocument": {"uri": URI}, "position": {"line": 1, "character": 5},
            "context": {"triggerKind": 2, "selectedCompletionInfo": {"range": selected, "text": text}}});
        let result = session.result("textDocument/inlineCompletion", params);
        let items = result["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "{text}");
        assert_eq!(items[0]["range"], selected);
        let inserted = items[0]["insertText"].as_str().unwrap();
        assert!(inserted.starts_with(text) && inserted.len() > text.len(), "{inserted:?}");
    }
    // The document itself was not touched, and a selection that cannot be is left aside.
    for selected in [range((0, 0), (1, 5)), range((7, 0), (7, 1)), range((1, 5), (1, 3))] {
        let params = json!({"textDocument": {"uri": URI}, "position": {"line": 1, "character": 5},
            "context": {"triggerKind": 2, "selectedCompletionInfo": {"range": selected, "text": "path"}}});
        let result = session.result("textDocument/inlineCompletion", params);
        assert_eq!(result["items"][0]["range"], range((1, 3), (1, 5)));
    }
}

#[test]
fn what_is_typed_of_a_suggestion_leaves_the_rest_of_it() {
    let mut session = Session::start();
    let mut text = "total = 1\nx = fo\n".to_owned();
    session.open(URI, "python", &text);
    let items = session.items(URI, 1, 6);
    let accepted = accept(&text, &items[0], Unit::Utf16);
    let suggested = items[0]["insertText"].as_str().unwrap()[2..].to_owned();
    assert!(suggested.len() > 3 && suggested.is_ascii());
    for (i, c) in suggested.char_indices() {
        session.change(URI, 2 + i as i64, &[change((1, 6 + i), (1, 6 + i), &c.to_string())]);
        text.insert("total = 1\nx = fo".len() + i, c);
        let items = session.items(URI, 1, 7 + i);
        if i + 1 < suggested.len() {
            assert_eq!(items[0]["range"], range((1, 4), (1, 7 + i)));
            assert_eq!(accept(&text, &items[0], Unit::Utf16), accepted, "after {i} characters");
        }
    }
    assert_eq!(text, accepted, "typed to its end");
}

#[test]
fn going_back_regrows_the_suggestion_and_another_letter_ends_it() {
    let mut session = Session::start();
    session.open(URI, "plaintext", "fo");
    let first = session.items(URI, 0, 2)[0]["insertText"].clone();
    let next = first.as_str().unwrap()[2..3].to_owned();
    session.change(URI, 2, &[change((0, 2), (0, 2), &next)]);
    assert_eq!(session.items(URI, 0, 3)[0]["insertText"], first);
    session.change(URI, 3, &[change((0, 2), (0, 3), "")]);
    assert_eq!(session.items(URI, 0, 2)[0]["insertText"], first);
    session.change(URI, 4, &[change((0, 2), (0, 2), "9")]);
    let other = session.items(URI, 0, 3);
    assert!(other[0]["insertText"].as_str().unwrap().starts_with("fo9"), "{other:?}");
}

#[test]
fn nothing_to_say_is_an_empty_list() {
    let mut options = options();
    options["context"] = json!({"max_file_bytes": 1024});
    let mut session = Session::with(json!({"initializationOptions": options}));
    session.open(URI, "python", &"x = 1\n".repeat(500));
    assert_eq!(session.items(URI, 0, 5), Vec::<Value>::new());
    session.change(URI, 2, &[json!({"text": "x = fo"})]);
    assert_eq!(session.items(URI, 0, 6).len(), 1);
}

#[test]
fn text_that_looks_like_a_marker_is_completed_as_text() {
    let mut session = Session::start();
    items_at(
        &mut session,
        "plaintext",
        "<|fim_suffix|><|endoftext|> wo",
        "<|fim_middle|>\n",
        Unit::Utf16,
    );
    items_at(&mut session, "python", "x = '<|fim_prefix|>' + wo", "\n", Unit::Utf16);
}
