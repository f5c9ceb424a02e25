//! Accepted text followed through edits: against the document itself, at the ages that count, and
//! to its known ends.

use std::sync::Arc;

use lacuna_telemetry::Text;
use lacuna_telemetry::track::{Anchored, Edit, Signal};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Screen;

fn accepted(text: &str, item: &str) -> (Screen, u32) {
    let mut s = Screen::new(text);
    let id = s.ask(&[item])[0];
    s.insert(item);
    (s, id)
}

#[test]
fn checks_are_made_on_the_text_of_their_moment() {
    let (mut s, id) = accepted("x = |\n", "compute(value)");
    // Deleted at 100 s: the check at 30 s saw it whole though nothing happened at 30 s, the others
    // see it gone.
    s.wait(100_000).edit(4..18, "").wait(600_000);
    assert_eq!(s.kept(id), [(0, 1000), (1, 0), (2, 0), (3, 0)]);
    assert_eq!(s.row(id).text(Text::Watch), "complete");
}

#[test]
fn what_is_changed_inside_counts_and_what_is_around_does_not() {
    let (mut s, id) = accepted("x = |\ny = 1\n", "abcdefghij");
    s.edit(0..0, "# above\n").edit(12..12, "before").edit(28..28, "behind");
    let at = s.text.find("cde").unwrap();
    s.edit(at..at + 3, "CD");
    assert!(s.text.contains("beforeabCDfghijbehind"), "{}", s.text);
    s.wait(30_000);
    assert_eq!(s.kept(id), [(0, 700)]);
}

#[test]
fn the_same_words_elsewhere_do_not_keep_it() {
    let (mut s, id) = accepted("compute(value)\nx = |\n", "compute(value)");
    let at = s.text.rfind("compute").unwrap();
    s.edit(at..at + 14, "").wait(30_000);
    assert_eq!(s.kept(id), [(0, 0)]);
}

#[test]
fn undo_and_redo() {
    let (mut s, id) = accepted("x = |\n", "compute(value)");
    s.edit(4..18, "").insert("compute(value)").wait(30_000);
    // Redone text was not accepted again: what stands there came in from outside.
    assert_eq!(s.kept(id), [(0, 0)]);
}

#[test]
fn a_formatter_that_rewrites_the_document_changes_what_it_changes() {
    let (mut s, id) = accepted("def f():\n  |\n", "return compute(value)");
    let formatted = "def f():\n    return compute(value)\n";
    let whole = 0..s.text.len();
    s.edit(whole, formatted).wait(30_000);
    assert_eq!(s.kept(id), [(0, 1000)]);
}

#[test]
fn closing_and_ending_stop_the_watch_and_deleting_decides_it() {
    let (mut s, id) = accepted("x = |\n", "compute(value)");
    let document = Arc::clone(&s.document);
    s.wait(40_000).feed(Signal::Closed { document: &document }).wait(600_000);
    assert_eq!((s.kept(id), s.row(id).text(Text::Watch)), (vec![(0, 1000)], "closed"));

    let (mut s, id) = accepted("x = |\n", "compute(value)");
    s.wait(40_000).feed(Signal::Deleted { document: &document });
    assert_eq!(
        (s.kept(id), s.row(id).text(Text::Watch)),
        (vec![(0, 1000), (1, 0), (2, 0), (3, 0)], "deleted")
    );

    let (mut s, id) = accepted("x = |\n", "compute(value)");
    s.wait(20_000).feed(Signal::Finished);
    assert_eq!((s.kept(id), s.row(id).text(Text::Watch)), (vec![], "ended"));
}

#[test]
fn a_computer_that_slept_looks_once_and_finds_what_was_there() {
    let (mut s, id) = accepted("x = |\n", "compute(value)");
    // Eight hours on the calendar, as a steady clock that runs on during sleep would have it.
    s.wait(8 * 3_600_000).edit(4..18, "");
    assert_eq!(s.kept(id), [(0, 1000), (1, 1000), (2, 1000), (3, 1000)]);
    // And one that stands still: nothing is due.
    let (mut s, id) = accepted("x = |\n", "compute(value)");
    s.now.wall += 8 * 3_600_000;
    s.edit(4..18, "");
    assert_eq!(s.kept(id), []);
}

#[test]
fn edits_across_characters_of_a_client_that_counts_wrongly_do_not_panic() {
    let (mut s, id) = accepted("x = |\n", "naïve(é)");
    let document = Arc::clone(&s.document);
    let edit = Edit::new(7..8, "z");
    s.feed(Signal::Edited { document: &document, edit, arms: "".into() }).wait(30_000);
    assert_eq!(s.kept(id), [(0, 0)]);
}

/// The anchors against the document: whatever is edited, they delimit the text they say. And
/// against a reference that marks every character: those that were inserted and are still there lie
/// between the anchors, in their order.
#[test]
fn anchors_follow_any_edit_script() {
    let mut cases = 0;
    for seed in 0..300 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let alphabet: Vec<char> = "abé\n漢".chars().collect();
        let any = |most: usize, random: &mut ChaCha8Rng| -> String {
            let n = random.random_range(0..=most);
            (0..n).map(|_| alphabet[random.random_range(0..alphabet.len())]).collect()
        };
        let (before, inserted, after) =
            (any(12, &mut random), format!("a{}", any(10, &mut random)), any(12, &mut random));
        // A character with the number it was inserted with, if it was.
        let mut marked: Vec<(char, Option<usize>)> = before.chars().map(|c| (c, None)).collect();
        marked.extend(inserted.chars().enumerate().map(|(i, c)| (c, Some(i))));
        marked.extend(after.chars().map(|c| (c, None)));
        let mut anchored = Anchored::new(before.len(), &inserted);
        for _ in 0..40 {
            let text: String = marked.iter().map(|m| m.0).collect();
            let from = random.random_range(0..=marked.len());
            let to = (from + random.random_range(0..4usize)).min(marked.len());
            let new = any(3, &mut random);
            let byte = |n: usize| marked[..n].iter().map(|m| m.0.len_utf8()).sum::<usize>();
            let (start, end) = (byte(from), byte(to));
            let edit = Edit::trimmed(start, &text[start..end], &new);
            // The reference sees the trimmed edit too: what an edit leaves alone it does not touch.
            let char_at = |b: usize| text[..b].chars().count();
            let fresh: Vec<(char, Option<usize>)> = edit.text.chars().map(|c| (c, None)).collect();
            marked.splice(char_at(edit.start)..char_at(edit.end), fresh);
            anchored.apply(edit);
            let text: String = marked.iter().map(|m| m.0).collect();
            assert_eq!(&text[anchored.range()], anchored.text(), "seed {seed}");
            let survivors: Vec<(usize, usize)> = marked
                .iter()
                .enumerate()
                .filter_map(|(at, m)| m.1.map(|number| (at, number)))
                .collect();
            let between = text[..anchored.range().start].chars().count()
                ..text[..anchored.range().end].chars().count();
            assert!(
                survivors.iter().all(|(at, _)| between.contains(at)),
                "seed {seed}: {survivors:?} {between:?}"
            );
            // Nothing from outside is at the ends unless all that was inserted is gone.
            if let (Some(first), Some(last)) = (survivors.first(), survivors.last()) {
                assert!(first.0 >= between.start && last.0 < between.end, "seed {seed}");
            } else {
                assert!(anchored.text().chars().all(|c| alphabet.contains(&c)));
            }
            cases += 1;
        }
    }
    assert_eq!(cases, 300 * 40);
}
