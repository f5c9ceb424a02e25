//! Accepting, in part and in all, by edits alone and with a client that tells.

use lacuna_telemetry::track::Signal;
use lacuna_telemetry::{Int, Text};

use crate::{Screen, outcome};

#[test]
fn one_edit_that_brings_the_text_is_an_acceptance() {
    for by_range in [false, true] {
        let mut s = Screen::new("    return max(sel|\n");
        let id = s.ask(&["f.grades)"])[0];
        s.wait(300);
        // Some clients insert, some replace the range that the item names.
        if by_range {
            s.edit(15..18, "self.grades)")
        } else {
            s.insert("f.grades)")
        };
        assert_eq!(s.outcome(id), outcome("accepted", 9, 0));
        let row = s.row(id);
        assert_eq!((row.text(Text::Evidence), row.text(Text::Watch)), ("inferred", "running"));
        assert_eq!((row.ints.of(Int::VisibleMs), row.ints.of(Int::Shows)), (Some(300), Some(1)));
    }
}

#[test]
fn a_client_that_sends_the_whole_document_accepts_too() {
    let mut s = Screen::new("a = |\nb = 2\n");
    let id = s.ask(&["compute(1)"])[0];
    let whole = 0..s.text.len();
    s.edit(whole, "a = compute(1)\nb = 2\n");
    assert_eq!(s.outcome(id), outcome("accepted", 10, 0));
}

#[test]
fn words_taken_one_by_one() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["self.compute(value)"])[0];
    s.wait(500).insert("self");
    assert_eq!(s.outcome(id), outcome("partly", 4, 0));
    s.wait(500).insert(".compute");
    assert_eq!(s.outcome(id), outcome("partly", 12, 0));
    s.wait(500).insert("(value)");
    assert_eq!(s.outcome(id), outcome("accepted", 19, 0));
    // The parts are watched as one text, from the last part on.
    s.wait(29_999);
    assert_eq!(s.kept(id), []);
    s.wait(1);
    assert_eq!(s.kept(id), [(0, 1000)]);
}

#[test]
fn a_part_then_something_else() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["self.compute(value)"])[0];
    s.insert("self").type_keys(".x");
    assert_eq!(s.outcome(id), outcome("partly", 4, 1));
    assert_eq!(s.row(id).text(Text::Reason), "diverged");
}

#[test]
fn typing_and_then_accepting_counts_each_for_what_it_was() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["self.grades"])[0];
    s.type_keys("se").wait(900).insert("lf.grades");
    assert_eq!(s.outcome(id), outcome("accepted", 9, 2));
}

#[test]
fn typing_all_of_it_is_no_acceptance() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["self.a"])[0];
    s.type_keys("self.a");
    assert_eq!(s.outcome(id), outcome("typed-through", 0, 6));
    assert_eq!(s.row(id).text(Text::Watch), "");
}

#[test]
fn the_client_says_that_one_character_was_accepted_not_typed() {
    let mut s = Screen::new("print(x|\n");
    let id = s.ask(&[")"])[0];
    s.insert(")");
    assert_eq!(s.outcome(id), outcome("typed-through", 0, 1));
    s.wait(3).feed(Signal::Accepted { id });
    assert_eq!(s.outcome(id), outcome("accepted", 1, 0));
    assert_eq!(s.row(id).text(Text::Evidence), "client");
    s.wait(30_000);
    assert_eq!(s.kept(id), [(0, 1000)]);
}

#[test]
fn the_clients_word_may_come_before_its_edit() {
    let mut s = Screen::new("print(x|\n");
    let id = s.ask(&[")"])[0];
    s.feed(Signal::Accepted { id }).insert(")");
    assert_eq!(s.outcome(id), outcome("accepted", 1, 0));
}

#[test]
fn what_was_typed_before_the_clients_word_stays_typed() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["self.a"])[0];
    s.type_keys("s").feed(Signal::Accepted { id }).insert("elf.a");
    assert_eq!(s.outcome(id), outcome("accepted", 5, 1));
}

#[test]
fn an_acceptance_that_the_edits_do_not_show_is_believed_but_not_watched() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["compute()"])[0];
    // The client expanded it as a snippet and formatted it in one go.
    s.insert("Compute ( )").feed(Signal::Accepted { id });
    assert_eq!(s.outcome(id), outcome("accepted", 9, 0));
    assert_eq!(s.row(id).text(Text::Watch), "lost");
}

#[test]
fn partial_acceptance_by_the_clients_word() {
    for before in [true, false] {
        let mut s = Screen::new("x = |\n");
        let id = s.ask(&["a(b)"])[0];
        if before {
            s.feed(Signal::PartlyAccepted { id, chars: Some(1) }).insert("a");
        } else {
            s.insert("a").feed(Signal::PartlyAccepted { id, chars: Some(1) });
        }
        assert_eq!(s.outcome(id), outcome("partly", 1, 0), "before: {before}");
    }
}

#[test]
fn what_was_typed_before_it_was_sent_again_is_not_taken_for_the_piece() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["abc(d)"])[0];
    s.type_keys("a");
    assert_eq!(s.ask(&["bc(d)"]), [id]);
    // One character of what was sent last, told before the edit that brings it.
    s.feed(Signal::PartlyAccepted { id, chars: Some(1) }).insert("b");
    assert_eq!(s.outcome(id), outcome("partly", 1, 1));
}

#[test]
fn a_piece_of_untold_length_is_what_the_edit_brings() {
    for (before, asked) in [(true, false), (true, true), (false, false)] {
        let mut s = Screen::new("x = |\n");
        let id = s.ask(&["a(b)"])[0];
        s.type_keys("a");
        if asked {
            // The key before it is over, however shortly ago it was.
            assert_eq!(s.ask(&["(b)"]), [id]);
        } else {
            s.wait(400);
        }
        if before {
            s.feed(Signal::PartlyAccepted { id, chars: None }).wait(5).insert("(");
        } else {
            s.insert("(").wait(5).feed(Signal::PartlyAccepted { id, chars: None });
        }
        assert_eq!(s.outcome(id), outcome("partly", 1, 1), "before: {before}, asked: {asked}");
        assert_eq!(s.row(id).text(Text::Evidence), "client");
        s.type_keys("b");
        assert_eq!(s.outcome(id), outcome("partly", 1, 2), "what is typed afterwards is typed");
    }
}

#[test]
fn an_acceptance_is_told_once_and_for_all() {
    let mut s = Screen::new("x = |\n");
    let id = s.ask(&["compute()"])[0];
    s.insert("compute()").feed(Signal::Accepted { id }).feed(Signal::Accepted { id });
    s.feed(Signal::Dismissed { id }).feed(Signal::PartlyAccepted { id, chars: Some(3) });
    assert_eq!(s.outcome(id), outcome("accepted", 9, 0));
}

#[test]
fn events_about_nothing_are_nothing() {
    let mut s = Screen::new("x = |\n");
    for id in [0, 1, 77, u32::MAX] {
        s.feed(Signal::Accepted { id })
            .feed(Signal::Dismissed { id })
            .feed(Signal::ClientShowed { id });
        s.feed(Signal::PartlyAccepted { id, chars: Some(usize::MAX) })
            .feed(Signal::PartlyAccepted { id, chars: None });
    }
    assert!(s.rows().is_empty());
}

#[test]
fn the_alternative_that_was_taken_counts_not_the_first() {
    let mut s = Screen::new("x = |\n");
    let ids = s.ask(&["first()", "second()", "third()"]);
    s.wait(900).insert("second()");
    assert_eq!(s.outcome(ids[0]), outcome("superseded", 0, 0));
    assert_eq!(s.outcome(ids[1]), outcome("accepted", 8, 0));
    assert_eq!(s.outcome(ids[2]), outcome("offered", 0, 0));
}
