//! Invariants 1 to 3 of the design: split invariance, warm equals cold, a cancelled request leaves
//! no trace.

use std::sync::Arc;

use lacuna_complete::{
    Calibration, Completer, Evidence, Outcome, Reason, Reply, Settings, Snapshot, Suffix,
};
use lacuna_context::Language;
use lacuna_engine::Cancel;
use lacuna_tests::Random;

use super::{Buffer, LAYOUTS, Tiny, boundary, by_the_model, line, program, short, write};

/// One step of a user: typing, backspace, paste, undo, an edit at several cursors, above, below or
/// inside of the windows.
fn step(buffer: &mut Buffer, undo: &mut Vec<Buffer>, random: &mut Random) {
    let before = buffer.clone();
    let text = buffer.document.text();
    let n = text.len();
    match random.below(12) {
        0..=4 => {
            let typed = *random.pick(&["x", " ", "(", "é", "🦀", "\n", "\r\n", "value", "\n    "]);
            buffer.splice(buffer.cursor..buffer.cursor, typed);
        }
        5 => {
            let start = boundary(&text, buffer.cursor.saturating_sub(1 + random.below(3)));
            buffer.splice(start..buffer.cursor, "");
        }
        6 => {
            let paste: String = (0..1 + random.below(12)).map(|i| line(i, random)).collect();
            buffer.splice(buffer.cursor..buffer.cursor, &paste);
        }
        7 => {
            if let Some(old) = undo.pop() {
                *buffer = old;
                return;
            }
        }
        8 => {
            // Several cursors: the same text at three places, from the end to the start.
            let places = [0.9, 0.5, 0.1].map(|share| boundary(&text, (n as f64 * share) as usize));
            let cursor = buffer.cursor;
            for at in places {
                buffer.splice(at..at, "q");
            }
            buffer.cursor = boundary(&buffer.document.text(), cursor);
        }
        9 => {
            // A line above, a line below; the cursor stays where it was.
            let cursor = buffer.cursor;
            let at = text[..boundary(&text, random.below(cursor + 1))]
                .rfind('\n')
                .map_or(0, |at| at + 1);
            let added = line(99, random);
            buffer.splice(at..at, &added);
            buffer.cursor = cursor + added.len();
        }
        10 => {
            let cursor = buffer.cursor;
            let at = boundary(&text, cursor + random.below(n - cursor + 1));
            buffer.splice(at..at, "below\n");
            buffer.cursor = cursor;
        }
        _ => buffer.cursor = boundary(&text, random.below(n + 1)),
    }
    undo.push(before);
    undo.truncate(40);
}

/// How a buffer is completed.
type Ask = fn(&Buffer, &Completer, &Cancel) -> Reply;

/// A user at work, who goes on before the answer is there (at any of the first `checks` layers) or
/// waits for it and hands it to `answered`.
fn walk(
    completer: &Completer,
    ask: Ask,
    seed: u64,
    checks: usize,
    mut answered: impl FnMut(usize, &Buffer, &Reply),
) {
    let random = &mut Random::new(seed);
    let text = program(60, random);
    let mut buffer = Buffer::new(&text, boundary(&text, text.len() / 2));
    let mut undo = Vec::new();
    for round in 0..120 {
        step(&mut buffer, &mut undo, random);
        if random.below(3) == 0 {
            let _ = ask(&buffer, completer, &Cancel::new().at_check(random.below(checks) as u32));
            continue;
        }
        answered(round, &buffer, &ask(&buffer, completer, &Cancel::new()));
    }
}

fn text_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Suggest(items) => items[0].text.clone(),
        Outcome::Silence(reason) => panic!("{reason:?}"),
    }
}

#[test]
fn however_a_buffer_came_about_it_is_completed_the_same_way() {
    let tiny = Tiny::new();
    for (order, seam) in LAYOUTS {
        let settings = Settings { order, seam, ..by_the_model() };
        let warm = tiny.completer(settings.clone());
        let mut reused = 0;
        walk(&warm, Buffer::write, 31, 6, |round, buffer, reply| {
            reused += reply.tokens.cached + reply.tokens.resumed;
            // A document that nobody has seen before, with the same text.
            let cold = tiny.completer(settings.clone());
            let fresh =
                Buffer::new(&buffer.document.text(), buffer.cursor).write(&cold, &Cancel::new());
            assert_eq!(fresh.tokens.cached + fresh.tokens.resumed, 0);
            assert_eq!(
                text_of(&reply.outcome),
                text_of(&fresh.outcome),
                "round {round}, {order:?}, seam {seam}: {:?}",
                reply.tokens
            );
            assert_eq!(reply.tokens.prompt, fresh.tokens.prompt);
        });
        assert!(reused > 0, "nothing was warm: the test shows nothing");
    }
}

#[test]
fn the_likeliest_line_does_not_depend_on_how_a_buffer_came_about() {
    let tiny = Tiny::new();
    let evidence = Evidence { suffix: true, ..Evidence::default() };
    let suffix = Suffix { margin: 6.0, ..Suffix::default() };
    let weights = r#"{"version": 1, "bias": -0.5, "weights": {"mean": 2, "score_p": 3, "over_followed": 1, "ends_here": -2, "order": 1, "left": 0.3},
        "levels": {"low": 0.5, "normal": 0.5, "high": 0.5}}"#;
    let calibration = Some(Arc::new(Calibration::from_json(weights).expect("weights")));
    let settings = Settings { beam: 4, line_tokens: 6, evidence, suffix, calibration, ..short() };
    let (warm, greedy) = (
        tiny.completer(settings.clone()),
        tiny.completer(Settings { beam: 1, ..settings.clone() }),
    );
    let said = |outcome: &Outcome| match outcome {
        Outcome::Suggest(items) => items[0].text.clone(),
        Outcome::Silence(reason) => format!("{reason:?}"),
    };
    let (mut by_the_model, mut reused, mut other) = (0, 0, 0);
    walk(&warm, Buffer::complete, 32, 30, |round, buffer, reply| {
        if reply.from_memory {
            return;
        }
        by_the_model += 1;
        reused += reply.tokens.cached + reply.tokens.resumed;
        let fresh = Buffer::new(&buffer.document.text(), buffer.cursor);
        let cold = fresh.complete(&tiny.completer(settings.clone()), &Cancel::new());
        assert_eq!(said(&reply.outcome), said(&cold.outcome), "round {round}: {:?}", reply.tokens);
        // The same but for how a sum was rounded.
        let apart =
            reply.probability.zip(cold.probability).map_or(0.0, |(warm, cold)| (warm - cold).abs());
        assert!(
            apart < 1e-5 && reply.probability.is_some() == cold.probability.is_some(),
            "round {round}: {apart}, {:?}",
            reply.tokens
        );
        other += usize::from(
            said(&fresh.complete(&greedy, &Cancel::new()).outcome) != said(&reply.outcome),
        );
    });
    assert!(
        by_the_model > 30 && reused > 0 && other > 0,
        "{by_the_model} by the model, {reused} tokens reused, {other} differ from greedy"
    );
}

#[test]
fn a_request_cancelled_at_any_layer_leaves_no_trace() {
    let tiny = Tiny::new();
    let random = &mut Random::new(8);
    let text = program(60, random);
    let buffer = Buffer::new(&text, boundary(&text, text.len() / 2));
    let expected = text_of(&buffer.write(&tiny.completer(by_the_model()), &Cancel::new()).outcome);
    let completer = tiny.completer(by_the_model());
    let mut cancelled = 0;
    for check in 0..40 {
        let reply = buffer.write(&completer, &Cancel::new().at_check(check));
        match reply.outcome {
            Outcome::Silence(reason) => {
                assert_eq!(reason, Reason::Cancelled);
                cancelled += 1;
            }
            Outcome::Suggest(items) => assert_eq!(items[0].text, expected),
        }
        let other = Buffer::new(&text, boundary(&text, text.len() / 3 + check as usize));
        let _ = other.write(&completer, &Cancel::new().at_check(check / 2));
    }
    assert!(cancelled >= 5, "{cancelled} of 40 were cancelled");
    assert_eq!(text_of(&buffer.write(&completer, &Cancel::new()).outcome), expected);
}

#[test]
fn the_memory_of_all_documents_stays_below_its_budget() {
    let tiny = Tiny::new();
    let random = &mut Random::new(2);
    let text = program(60, random);
    let buffer = Buffer::new(&text, boundary(&text, text.len() / 2));
    let one = {
        let completer = tiny.completer(by_the_model());
        let _ = buffer.write(&completer, &Cancel::new());
        completer.kv().bytes
    };
    let budget = one * 5 / 2;
    let completer = tiny.completer(Settings { kv_budget_bytes: budget, ..by_the_model() });
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (completer, buffer) = (&completer, &buffer);
            scope.spawn(move || {
                for i in 0..12 {
                    let key = format!("document {thread} {}", i % 5);
                    let reply = write(completer, &buffer.request(&key, 1), &Cancel::new());
                    assert!(
                        matches!(
                            reply.outcome,
                            Outcome::Suggest(_) | Outcome::Silence(Reason::OverBudget)
                        ),
                        "{:?}",
                        reply.outcome
                    );
                }
            });
        }
    });
    let stats = completer.kv();
    assert!(stats.bytes <= budget && stats.evicted_bytes > 0, "{stats:?}");
    // And one that no prompt fits into says so.
    let tight = tiny.completer(Settings { kv_budget_bytes: 1000, ..by_the_model() });
    assert_eq!(buffer.write(&tight, &Cancel::new()).outcome, Outcome::Silence(Reason::OverBudget));
}

#[test]
fn what_is_prepared_for_one_document_takes_no_room_from_a_request_of_another() {
    let tiny = Tiny::new();
    let random = &mut Random::new(3);
    let text = program(60, random);
    let buffer = Buffer::new(&text, boundary(&text, text.len() / 2));
    let alone = tiny.completer(by_the_model());
    let expected = text_of(&buffer.write(&alone, &Cancel::new()).outcome);
    // Room for one document. Whether the work for the other one runs, waits or is done when the
    // request comes is chance; the answer is not.
    let completer = tiny.completer(Settings {
        kv_budget_bytes: alone.kv().bytes,
        background: true,
        ..by_the_model()
    });
    for i in 0..100 {
        let Buffer { document, tree, cursor } = buffer.clone();
        completer.edited(Snapshot {
            key: format!("prepared {i}"),
            path: None,
            language: Language::Python,
            document,
            tree,
            cursor,
            excerpts: Arc::default(),
        });
        let key = format!("asked {i}");
        (0..i * 20).for_each(|_| std::thread::yield_now());
        let reply = write(&completer, &buffer.request(&key, 1), &Cancel::new());
        assert_eq!(text_of(&reply.outcome), expected, "{i}");
    }
}
