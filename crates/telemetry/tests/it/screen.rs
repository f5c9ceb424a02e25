//! What is on screen, for how long, and whether it is the same as before.

use std::sync::Arc;

use lacuna_telemetry::track::{Change, Signal};
use lacuna_telemetry::{Int, Text};

use crate::{Screen, outcome};

#[test]
fn seven_hundred_and_fifty_milliseconds_unchanged_are_written_even_if_nothing_follows() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["compute()"])[0];
    s.wait(749);
    assert_eq!(s.row(id).ints.of(Int::LongestMs), Some(0), "the row of the offer");
    s.wait(1);
    assert_eq!(s.row(id).ints.of(Int::LongestMs), Some(750));
    assert_eq!(s.outcome(id), outcome("shown", 0, 0));
}

#[test]
fn writing_something_else_going_away_and_deleting_dismiss() {
    let document: Arc<str> = "file:///a.py".into();
    type Act = fn(&mut Screen);
    let cases: [(&str, Act); 4] = [
        ("diverged", |s| {
            s.insert("y");
        }),
        ("diverged", |s| {
            let at = s.cursor;
            s.edit(at - 1..at, "");
        }),
        ("moved", |s| {
            let document = Arc::clone(&s.document);
            s.feed(Signal::Requested { document: &document, cursor: 0 });
        }),
        ("client", |s| {
            s.feed(Signal::Dismissed { id: 2 });
        }),
    ];
    for (reason, act) in cases {
        let mut s = Screen::new("x = |\n");
        assert_eq!(s.document, document);
        let id = s.ask(&["compute()"])[0];
        assert_eq!(id, 2, "the request's row is the first");
        s.wait(400);
        act(&mut s);
        assert_eq!(s.outcome(id), outcome("dismissed", 0, 0), "{reason}");
        let row = s.row(id);
        assert_eq!((row.text(Text::Reason), row.ints.of(Int::LongestMs)), (reason, Some(400)));
    }
}

#[test]
fn another_answer_supersedes_and_a_silence_withdraws() {
    let mut s = Screen::new("x = |\n");
    let first = s.ask(&["a()"])[0];
    let second = s.ask(&["b()"])[0];
    assert_ne!(first, second);
    assert_eq!(s.outcome(first), outcome("superseded", 0, 0));
    assert_eq!(s.row(first).text(Text::Reason), "replaced");
    s.ask(&[]);
    assert_eq!(s.outcome(second), outcome("superseded", 0, 0));
    assert_eq!(s.row(second).text(Text::Reason), "withdrawn");
}

#[test]
fn the_same_text_is_the_same_suggestion() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["compute(value)"])[0];
    // Asked again, typed on and asked again, dismissed and asked again at the same place.
    assert_eq!(s.ask(&["compute(value)"]), [id]);
    s.type_keys("com");
    assert_eq!(s.ask(&["pute(value)"]), [id]);
    assert_eq!(s.row(id).ints.of(Int::Shows), Some(1));
    s.insert("x");
    assert_eq!(s.outcome(id), outcome("dismissed", 0, 3));
    let at = s.cursor;
    s.edit(at - 1..at, "");
    assert_eq!(s.ask(&["pute(value)"]), [id]);
    let row = s.row(id);
    assert_eq!((row.ints.of(Int::Shows), row.text(Text::State)), (Some(2), "shown"));
    assert_eq!(row.ints.of(Int::Chars), Some(14), "as it was first offered");
    // Accepted, undone, offered again: a new one.
    s.insert("pute(value)");
    let at = s.cursor;
    s.edit(at - 11..at, "");
    let again = s.ask(&["pute(value)"])[0];
    assert_ne!(again, id);
    assert_eq!(s.outcome(id).0, "accepted");
}

#[test]
fn the_same_text_elsewhere_is_another_suggestion() {
    let mut s = Screen::new("x = |\ny = 1\nx = \nz = 1\n");
    let first = s.ask(&["a()"])[0];
    s.cursor = s.text.find("x = \nz").unwrap() + 4;
    let second = s.ask(&["a()"])[0];
    assert_ne!(first, second);
    assert_eq!(s.outcome(first), outcome("dismissed", 0, 0));
}

#[test]
fn equal_lines_above_equal_lines_have_suggestions_of_their_own() {
    let mut s = Screen::new("x = |\nz\nx = \nz\n");
    let first = s.ask(&["f()"])[0];
    s.wait(900).type_keys("#");
    s.cursor = s.text.rfind("x = ").unwrap() + 4;
    let second = s.ask(&["f()"])[0];
    assert_ne!(first, second);
    s.insert("f()");
    assert_eq!(
        (s.outcome(first), s.outcome(second)),
        (outcome("dismissed", 0, 0), outcome("accepted", 3, 0))
    );
}

#[test]
fn a_line_that_moves_keeps_its_suggestion_and_its_twin_has_another() {
    let mut s = Screen::new("a\nx = |\nz\nx = \nz\n");
    let id = s.ask(&["f()"])[0];
    // A line above moves it down; its own line is rewritten by hand.
    let at = s.cursor;
    s.edit(0..0, "# new\n");
    s.cursor = at + 6;
    s.insert("y");
    let at = s.cursor;
    s.edit(at - 1..at, "");
    assert_eq!(s.ask(&["f()"]), [id]);
    s.cursor = s.text.rfind("x = ").unwrap() + 4;
    assert_ne!(s.ask(&["f()"]), [id]);
}

#[test]
fn clients_that_show_alternatives_say_which() {
    let mut s = Screen::new("x = |\n");
    let ids = s.ask(&["a()", "b()"]);
    s.wait(800).feed(Signal::ClientShowed { id: ids[1] });
    s.wait(1_000).insert("z");
    assert_eq!(s.outcome(ids[0]).0, "superseded");
    assert_eq!(s.row(ids[0]).ints.of(Int::VisibleMs), Some(800));
    assert_eq!(s.outcome(ids[1]), outcome("dismissed", 0, 0));
    assert_eq!(s.row(ids[1]).ints.of(Int::VisibleMs), Some(1_000));
}

#[test]
fn closing_and_ending_are_states_of_their_own() {
    for (finish, reason) in [(false, "closed"), (true, "ended")] {
        let mut s = Screen::new("x = |\n");
        let id = s.ask(&["a()"])[0];
        let document = Arc::clone(&s.document);
        s.wait(10).feed(if finish {
            Signal::Finished
        } else {
            Signal::Closed { document: &document }
        });
        assert_eq!(s.outcome(id), outcome("closed", 0, 0));
        assert_eq!(s.row(id).text(Text::Reason), reason);
    }
}

#[test]
fn every_request_has_a_row() {
    let mut s = Screen::new("x = |\n");
    s.ask(&["a()"]);
    s.ask(&[]);
    let requests: Vec<(String, String)> = s
        .rows()
        .iter()
        .filter_map(|c| match c {
            Change::Row(d) if d.text(Text::Kind) == "request" => {
                Some((d.text(Text::State).to_owned(), d.text(Text::Reason).to_owned()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        requests,
        [("offered".to_owned(), String::new()), ("silence".to_owned(), "empty".to_owned())]
    );
}

#[test]
fn memory_is_bounded_however_much_is_shown() {
    let mut s = Screen::new("x = |\n");
    for i in 0..5_000 {
        let item = format!("v{i}()");
        s.ask(&[&item]);
        if i % 3 == 0 {
            s.insert(&item);
            s.edit(4..4, "\n");
        }
    }
    assert!(s.tracker.n_held() < 1_000, "{}", s.tracker.n_held());
}
